import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units
import Volumes

/// The histories of writes that go home directly: D1 to D3, and L4 for these (docs/array.md,
/// section 8).
@Suite("Rules: direct writes")
struct DirectHistoryTests {
  /// Four stripes of two blocks on each of three data members; 96 KiB.
  private static let blocks: Range<UInt64> = 0..<24

  /// Version 1 in all of them.
  private func filled(
    _ level: RAIDLevel, memberCount: Int, _ bug: PlantedBug? = nil
  ) throws -> ArrayLab {
    try ArrayLab.filled(level, memberCount: memberCount, bug, blocks: Array(Self.blocks))
  }

  private func content(_ lab: ArrayLab, _ version: UInt8) -> [UInt8] {
    Self.blocks.flatMap { lab.block(version, $0) }
  }

  /// The sectors of the versions 1 to 3, by block.
  private static let sectorsOfVersions: [[[[UInt8]]]] = {
    let lab = ArrayLab(.raid5, memberCount: 3)
    return blocks.map { number in
      (1...3 as ClosedRange<UInt8>).map { version in
        let bytes = lab.block(version, number)
        return (0..<8).map { Array(bytes[$0 * 512..<$0 * 512 + 512]) }
      }
    }
  }()

  /// What the next start finds: for each block the versions of its sectors; nil is unreadable, 0 is
  /// what nobody wrote.
  private func sectors(_ lab: ArrayLab, without lost: [Int] = []) throws -> [[UInt8]?] {
    let next = lab.copy()
    next.options.isForced = true
    next.options.resyncsAutomatically = false
    let found = Box([[UInt8]?]())
    try next.play(seed: 77, without: lost) { stage in
      for number in Self.blocks {
        guard let bytes = try? await stage.client.read(next.range(number)) else {
          found.value.append(nil)
          continue
        }
        found.value.append(
          (0..<8).map { sector in
            let content = Array(bytes[sector * 512..<sector * 512 + 512])
            let index = Self.sectorsOfVersions[Int(number)].firstIndex { $0[sector] == content }
            return index.map { UInt8($0 + 1) } ?? 0
          })
      }
    }
    return found.value
  }

  /// What is wrong after a crash at some operation of a direct write of version 2; nil when
  /// nothing ever is.
  ///
  /// What was flushed is there with any member lost.
  private func firstWrong(
    _ base: ArrayLab, _ kind: CrashKind, _ fates: [UnflushedFate], hasSeam: Bool = false
  ) throws -> String? {
    var number = 1
    while true {
      let lab = base.copy()
      let (count, isFlushed, hasEnded) = (number, Box(false), Box(false))
      for (slot, medium) in lab.media.enumerated() {
        medium.unflushedFate = fates[(slot + count) % fates.count]
      }
      try lab.play(seed: 3) { stage in
        stage.setLatency(microseconds: 50)
        let plan = stage.machine.faultPlan
        plan.fail(operation: plan.operationCount + count, with: .crash(kind))
        if hasSeam {
          await self.writeSeam(stage, 2)
        } else {
          try await stage.client.write(0, self.content(lab, 2))
        }
        try await stage.client.flush()
        isFlushed.value = true
        // Until the table has it, and beyond.
        await stage.pass(milliseconds: 60)
        hasEnded.value = true
      }
      let redundancy = try lab.geometry().redundancy
      if hasEnded.value { return number > 10 ? nil : "only \(number) operations" }
      let found = try sectors(lab)
      for (block, versions) in found.enumerated() {
        guard let versions, versions.allSatisfy({ $0 == 2 || ($0 == 1 && !isFlushed.value) })
        else { return "operation \(number), block \(block): \(String(describing: versions))" }
      }
      if isFlushed.value, redundancy > 0 {
        let lost = number % lab.media.count
        guard try sectors(lab, without: [lost]).allSatisfy({ $0?.allSatisfy { $0 == 2 } ?? false })
        else { return "operation \(number), without \(lost)" }
      }
      number += 1
    }
  }

  /// Three long writes at once, of which the second ends where the third begins, inside a stripe.
  private func writeSeam(_ stage: ArrayStage, _ version: UInt8) async {
    let endedCount = Box(0)
    for blocks in [48..<72, 0..<20, 20..<44] as [Range<UInt64>] {
      stage.machine.start {
        try? await stage.client.write(
          blocks.lowerBound * 4096, blocks.flatMap { stage.lab.block(version, $0) })
        endedCount.value += 1
      }
    }
    #expect(await stage.wait(milliseconds: 20_000) { endedCount.value == 3 })
  }

  private func eager(_ lab: ArrayLab) -> ArrayLab {
    lab.options.destageDelayNanoseconds = 1_000_000
    return lab
  }

  // MARK: D1, D2

  @Test(
    "D1, D2: a crash at any operation of a direct write leaves each sector old or new",
    arguments: [
      (RAIDLevel.raid5, 4), (.raid6, 5), (.raid10, 4), (.raid10, 3), (.raid1, 2), (.raid0, 3),
    ])
  func anyCrash(level: RAIDLevel, memberCount: Int) throws {
    let base = eager(try filled(level, memberCount: memberCount))
    #expect(try firstWrong(base, .kill, [.keepAll]) == nil)
    #expect(try firstWrong(base, .powerLoss, [.loseAll]) == nil)
    #expect(try firstWrong(base, .powerLoss, [.torn, .loseAll, .keepAll]) == nil)
  }

  @Test(
    "D1, D2: the same with home before the intent, or without what was there before",
    arguments: [PlantedBug.directHomeBeforeIntent, .directIntentWithoutOld])
  func anyCrashBroken(bug: PlantedBug) throws {
    let base = eager(try filled(.raid5, memberCount: 4, bug))
    #expect(try firstWrong(base, .powerLoss, [.torn, .loseAll, .keepAll]) != nil)
  }

  @Test("D2: rot under an interrupted direct write is solved from parity, not adopted")
  func rot() throws {
    for bug in [nil, PlantedBug.rotAdoptedAsTorn] {
      let lab = try filled(.raid5, memberCount: 4, bug)
      let home = try lab.home(row: 1, position: 1)
      lab.media[home.slot].flipBits(at: home.range.offsetBytes + 700)
      try lab.play(seed: 3) { stage in
        stage.setLatency(microseconds: 50)
        try await stage.client.write(0, self.content(lab, 2))
        #expect(lab.isUnsynced(home.slot, home.range))
        await stage.losePower()
      }
      let isAllOld = try sectors(lab).allSatisfy { $0?.allSatisfy { $0 == 1 } ?? false }
      #expect(isAllOld == (bug == nil))
    }
  }

  @Test("D2: a table page tells of a direct write only when that is durable")
  func earlyTable() throws {
    for bug in [nil, PlantedBug.tableBeforeDirectHome] {
      let base = eager(try filled(.raid0, memberCount: 2, bug))
      let wrong = try firstUnreadable(base)
      #expect((wrong != nil) == (bug != nil), "\(wrong ?? "nothing")")
    }
  }

  /// The same as `firstWrong` without a flush, with one member that keeps all and one that loses all.
  private func firstUnreadable(_ base: ArrayLab) throws -> String? {
    for number in 1...40 {
      let lab = base.copy()
      try lab.play(seed: 3) { stage in
        for (slot, medium) in lab.media.enumerated() {
          medium.unflushedFate = slot == 0 ? .keepAll : .loseAll
        }
        // The one that keeps is done first.
        stage.setLatency(microseconds: 50, of: [0])
        stage.setLatency(microseconds: 200, of: [1])
        let plan = stage.machine.faultPlan
        plan.fail(operation: plan.operationCount + number, with: .crash(.powerLoss))
        try await stage.client.write(0, self.content(lab, 2))
        await stage.pass(milliseconds: 100)
      }
      if try sectors(lab).contains(where: { $0 == nil }) { return "operation \(number)" }
    }
    return nil
  }

  // MARK: D3

  @Test("D3: a member fails amid a direct write, which is durable before it is acknowledged")
  func memberFails() throws {
    for bug in [nil, PlantedBug.failedDirectAcknowledged] {
      let lab = try filled(.raid5, memberCount: 4, bug)
      let failed = Box(-1)
      try lab.play(seed: 3) { stage in
        stage.setLatency(microseconds: 50)
        let plan = stage.machine.faultPlan
        // Two copies of the intent, then one write for each member.
        plan.fail(operation: plan.count(of: .write) + 4, of: .write, with: .failure(5))
        try await stage.client.write(0, self.content(lab, 2))
        failed.value =
          await stage.client.status().members.firstIndex { $0.state == .out } ?? -1
        await stage.losePower([0: .torn, 1: .torn, 2: .torn, 3: .torn])
      }
      try #require(failed.value >= 0)
      let isThere = try sectors(lab, without: [failed.value]).allSatisfy {
        $0?.allSatisfy { $0 == 2 } ?? false
      }
      #expect(isThere == (bug == nil))
    }
  }

  @Test("D3: a direct write that fails on a RAID-0 is not acknowledged, and costs nothing else")
  func failsAlone() throws {
    let lab = try filled(.raid0, memberCount: 3)
    try lab.play(seed: 3) { stage in
      let plan = stage.machine.faultPlan
      plan.fail(operation: plan.count(of: .write) + 3, of: .write, with: .failure(28))
      await #expect(throws: VolumeError.self) {
        try await stage.client.write(0, self.content(lab, 2))
      }
      await stage.kill()
    }
    for versions in try sectors(lab) {
      #expect(versions?.allSatisfy { $0 == 1 || $0 == 2 } ?? false)
    }
  }

  @Test(
    "P9: all clients are answered when the array stops amid a round, also those of the round behind it"
  )
  func stopsAmidRounds() throws {
    for number in 1...12 {
      let lab = try filled(.raid0, memberCount: 3)
      try lab.play(seed: 3) { stage in
        stage.setLatency(microseconds: 100)
        let (begunCount, endedCount) = (Box(0), Box(0))
        for client in 0..<8 as Range<UInt64> {
          stage.machine.start {
            for round in 0..<4 as Range<UInt64> {
              let first = client * 96 + round * 24
              begunCount.value += 1
              try? await stage.client.write(
                first * 4096, (first..<first + 24).flatMap { lab.block(2, $0) })
              endedCount.value += 1
            }
          }
        }
        let plan = stage.machine.faultPlan
        plan.fail(operation: plan.count(of: .write) + number * 6, of: .write, with: .failure(28))
        #expect(
          await stage.wait(milliseconds: 30_000) { endedCount.value == 32 },
          "write \(number * 6): \(endedCount.value) of \(begunCount.value) requests were answered")
        await stage.kill()
      }
    }
  }

  // MARK: L4

  @Test("L4: what a direct write replaces in the log stays until that is durable")
  func replaced() throws {
    for bug in [nil, PlantedBug.directOvertakesLogged] {
      let base = try filled(.raid5, memberCount: 4, bug)
      var wrong: String?
      for number in 1...30 where wrong == nil {
        let lab = base.copy()
        try lab.play(seed: 3) { stage in
          stage.setLatency(microseconds: 50)
          for medium in lab.media { medium.unflushedFate = .loseAll }
          try await stage.write(7, 2, durably: true)
          let plan = stage.machine.faultPlan
          plan.fail(operation: plan.operationCount + number, with: .crash(.powerLoss))
          try await stage.client.write(0, self.content(lab, 3))
          await stage.pass(milliseconds: 10)
          await stage.losePower()
        }
        let found = try sectors(lab)[7]
        if !(found?.allSatisfy { $0 == 2 || $0 == 3 } ?? false) {
          wrong = "operation \(number): \(String(describing: found))"
        }
      }
      #expect((wrong != nil) == (bug != nil), "\(wrong ?? "nothing")")
    }
  }

  @Test("a record behind a direct write counts, one before it does not: also after kill -9")
  func order() throws {
    let lab = try filled(.raid5, memberCount: 4)
    try lab.play(seed: 3) { stage in
      try await stage.write(7, 3)
      try await stage.client.write(0, self.content(lab, 2))
      try await stage.write(8, 3)
      try await stage.client.trim(lab.range(9))
      #expect(await stage.find(7) == .version(2))
      await stage.kill()
    }
    #expect(
      try lab.found([6, 7, 8, 9]) == [.version(2), .version(2), .version(3), .zeros])
  }

  // MARK: Seams

  @Test(
    "D1, D2: a crash at any operation of direct writes with a boundary stripe leaves each sector old or new",
    arguments: [(RAIDLevel.raid5, 4), (.raid6, 5)])
  func seamCrash(level: RAIDLevel, memberCount: Int) throws {
    let base = eager(try filled(level, memberCount: memberCount))
    #expect(try firstWrong(base, .kill, [.keepAll], hasSeam: true) == nil)
    #expect(try firstWrong(base, .powerLoss, [.loseAll], hasSeam: true) == nil)
    #expect(try firstWrong(base, .powerLoss, [.torn, .loseAll, .keepAll], hasSeam: true) == nil)
    let broken = eager(try filled(level, memberCount: memberCount, .directHomeBeforeIntent))
    #expect(try firstWrong(broken, .powerLoss, [.torn, .loseAll, .keepAll], hasSeam: true) != nil)
  }

  @Test(
    "the rows of the boundary stripe between two long writes that are under way go home directly")
  func seam() throws {
    let lab = try filled(.raid5, memberCount: 4)
    // The second block of its first chunk, and one behind the last one, for which nobody came.
    let homes = try [19, 20, 43].map { (block: UInt64) in
      let at = try lab.geometry().rowPosition(ofBlock: block)
      return try lab.home(row: at.row, position: at.position)
    }
    try lab.play(seed: 3) { stage in
      stage.setLatency(microseconds: 50)
      await self.writeSeam(stage, 2)
      let areHome = zip(homes, [19, 20, 43] as [UInt64]).map { home, block in
        lab.media[home.slot].live.bytes(home.range) == lab.block(2, block)
      }
      #expect(areHome == [true, true, false])
      for block in 0..<72 as Range<UInt64> where !(44..<48).contains(block) {
        #expect(await stage.find(block) == .version(2))
      }
      try await stage.client.close()
    }
    #expect(try lab.found([0, 18, 19, 20, 43, 71]) == .init(repeating: .version(2), count: 6))
  }

  @Test("D3: a member fails amid direct writes with a boundary stripe, and then the power goes")
  func seamWithoutMember() throws {
    for number in 1...24 {
      let lab = try filled(.raid5, memberCount: 4)
      lab.options.resyncsAutomatically = false
      try lab.play(seed: 3) { stage in
        stage.setLatency(microseconds: 50)
        let plan = stage.machine.faultPlan
        plan.fail(
          operation: plan.count(of: .write) + number, of: .write, with: .failure(5))
        await self.writeSeam(stage, 2)
        for block in Self.blocks {
          #expect(await stage.find(block) == .version(2), "write \(number)")
        }
        await stage.losePower([0: .torn, 1: .keepAll, 2: .torn])
      }
      for (block, versions) in try sectors(lab).enumerated() {
        let isRight = versions?.allSatisfy { $0 == 1 || $0 == 2 } ?? false
        #expect(isRight, "write \(number), block \(block): \(String(describing: versions))")
      }
    }
  }

  @Test("direct writes of many clients, one behind the other, all come home and are answered")
  func stream() throws {
    let lab = try filled(.raid5, memberCount: 4)
    lab.options.destageDelayNanoseconds = 5_000_000
    try lab.play(seed: 3) { stage in
      stage.setLatency(microseconds: 100)
      let next = Box(UInt64(0))
      let endedCount = Box(0)
      for _ in 0..<4 {
        stage.machine.start {
          while next.value < 400 {
            let first = next.value
            next.value += 20
            try? await stage.client.write(
              first * 4096, (first..<first + 20).flatMap { lab.block(2, $0) })
          }
          endedCount.value += 1
        }
      }
      #expect(await stage.wait(milliseconds: 20_000) { endedCount.value == 4 })
      for block in 0..<400 as Range<UInt64> { #expect(await stage.find(block) == .version(2)) }
      try await stage.client.close()
    }
    #expect(try lab.found([0, 19, 20, 399]) == .init(repeating: .version(2), count: 4))
  }

  // MARK: Which go home directly

  @Test("only whole rows of requests beyond 64 KiB go home directly, and with `full` nothing does")
  func policy() throws {
    for (policy, byteCount, isDirect) in [
      (LogPolicy.auto, 98304, true), (.auto, 65536, false), (.full, 98304, false),
    ] as [(LogPolicy, Int, Bool)] {
      let lab = try filled(.raid5, memberCount: 4)
      lab.options.logPolicy = policy
      let home = try lab.home(row: 0, position: 0)
      let bytes = Array(content(lab, 2).prefix(byteCount))
      try lab.play(seed: 3) { stage in
        try await stage.client.write(0, bytes)
        let isHome = lab.media[home.slot].live.bytes(home.range) == lab.block(2, 0)
        #expect(isHome == isDirect, "\(policy) \(byteCount)")
        #expect(await stage.client.status().logPolicy == policy)
        await stage.kill()
      }
      #expect(try lab.found(0) == .version(2))
    }
  }

  @Test("on an array that is not optimal everything takes the log")
  func degraded() throws {
    let lab = try filled(.raid5, memberCount: 4)
    let home = try lab.home(row: 0, position: 0)
    let lost = (home.slot + 1) % 4
    lab.options.isForced = true
    try lab.play(seed: 3, without: [lost]) { stage in
      try await stage.client.write(0, self.content(lab, 2))
      #expect(lab.media[home.slot].live.bytes(home.range) == lab.block(1, 0))
      await stage.kill()
    }
  }

  // MARK: With all the rest

  @Test("reads of what is being written directly wait for it, and count no false corruption")
  func reads() throws {
    let lab = try filled(.raid5, memberCount: 4)
    let isDone = Box(false)
    try lab.play(seed: 3) { stage in
      stage.setLatency(microseconds: 300)
      stage.machine.start {
        for version in [2, 3, 2, 3] as [UInt8] {
          try? await stage.client.write(0, self.content(lab, version))
        }
        isDone.value = true
      }
      var seen: Set<String> = []
      while !isDone.value {
        let found = await stage.find(13)
        seen.insert("\(found)")
        guard case .version = found else { break }
      }
      #expect(seen.isSubset(of: ["version(1)", "version(2)", "version(3)"]), "\(seen)")
      let counts = await stage.client.status().members.map(\.checksumErrorCount)
      #expect(counts == [0, 0, 0, 0])
      try await stage.client.close()
    }
  }

  @Test(
    "D2: a scrub that writes a table page anew makes the direct writes durable that it tells of")
  func scrubbedTable() throws {
    for bug in [nil, PlantedBug.tableBeforeDirectHome] {
      let lab = try filled(.raid5, memberCount: 4, bug)
      lab.options.destageDelayNanoseconds = ArrayLab.never
      let placement = TablePlacement(try lab.geometry())
      let slot = placement.slot(ofPage: 0, copy: 0)
      let tableOffset = try lab.layout().tableOffset
      try lab.play(seed: 3) { stage in
        for medium in lab.media { medium.unflushedFate = .loseAll }
        try await stage.client.write(0, self.content(lab, 2))
        // Both slots of a copy: it is written anew, though its page is about to be.
        for version in 0...1 {
          let offset = placement.offsetBytes(ofPage: 0, copy: 0, slot: version)
          lab.media[slot].overwrite(
            at: tableOffset + offset, with: [UInt8](repeating: 9, count: 4096))
        }
        #expect(try await stage.scrub(.repair).ranges.map(\.outcome) == [.repaired])
        await stage.losePower()
      }
      let isRight = try sectors(lab).allSatisfy { $0?.allSatisfy { $0 == 1 || $0 == 2 } ?? false }
      #expect(isRight == (bug == nil))
    }
  }

  @Test("a long write that holds its range does not wait for room that those have who wait for it")
  func roomAndHolds() throws {
    let lab = try filled(.raid5, memberCount: 4)
    lab.options.dirtyBytesMax = 256 << 10
    lab.options.destageDelayNanoseconds = 2_000_000
    let endedCount = Box(0)
    try lab.play(seed: 3) { stage in
      stage.setLatency(microseconds: 200)
      for _ in 0..<4 {
        // Its ends lie inside blocks, and take the log.
        stage.machine.start {
          try? await stage.client.write(
            512, Array(self.content(lab, 2).dropFirst(512).dropLast(512)))
          endedCount.value += 1
        }
        for first in stride(from: UInt64(0), to: 24, by: 8) {
          stage.machine.start {
            let blocks = (first..<first + 8).flatMap { lab.block(3, $0) }
            try? await stage.client.write(first * 4096, blocks)
            endedCount.value += 1
          }
        }
      }
      #expect(await stage.wait(milliseconds: 20_000) { endedCount.value == 16 })
      try await stage.client.close()
    }
  }

  @Test("L5: a log that is full of small writes does not hang direct ones")
  func fullLog() throws {
    let lab = try filled(.raid5, memberCount: 4)
    lab.options.destageDelayNanoseconds = 2_000_000
    lab.options.sealDelayNanoseconds = 2_000_000
    try lab.play(seed: 3) { stage in
      for round in 0..<60 as Range<UInt64> {
        for block in 0..<16 as Range<UInt64> {
          try await stage.write(30 + (round * 7 + block * 5) % 400, UInt8(1 + round % 3))
        }
        try await stage.client.write(0, self.content(lab, UInt8(1 + round % 3)))
      }
      #expect(await stage.find(5) == .version(3))
      try await stage.client.close()
    }
    #expect(try lab.found([0, 23]) == [.version(3), .version(3)])
  }
}
