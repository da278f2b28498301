import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units
import Volumes

/// The pass that brings members up to date: over what is marked, and over nothing else.
@Suite("RAID: members are brought up to date in one pass")
struct RebuildTests {
  /// An array with a row in each of some pages, of which members missed version 2.
  func stale(
    _ level: RAIDLevel, memberCount: Int, pageCount: UInt64, without lost: [Int],
    _ bug: PlantedBug? = nil
  ) throws -> (lab: ArrayLab, blocks: [UInt64]) {
    let memberByteCount = (pageCount * 504 / UInt64(memberCount) + 1024) * 4096
    let lab = ArrayLab(level, memberCount: memberCount, memberByteCount: memberByteCount)
    lab.options.readmissionDelayNanoseconds = 20_000_000
    try lab.create(seed: 1)
    let geometry = try lab.geometry()
    let placement = TablePlacement(geometry)
    #expect(placement.pageCount >= pageCount)
    let blocks = (0..<pageCount).flatMap { page in
      (0..<geometry.dataCount).map { position in
        geometry.block(ofRow: placement.rows(ofPage: page).lowerBound, position: position)
      }
    }
    func write(_ version: UInt8, _ seed: UInt64, without lost: [Int]) throws {
      try lab.play(seed: seed, without: lost) { stage in
        for block in blocks { try await stage.write(block, version) }
        try await stage.client.close()
      }
    }
    try write(1, 2, without: [])
    lab.options.isForced = true
    try write(2, 3, without: lost)
    lab.options.isForced = false
    lab.options.plantedBug = bug
    return (lab, blocks)
  }

  private func settle(_ lab: ArrayLab, seed: UInt64) throws {
    try lab.play(seed: seed) { stage in
      try await stage.waitUntilOptimal()
      await stage.kill()
    }
  }

  @Test(
    "the blocks of a page lie together on each member",
    arguments: RAIDLevel.allCases, [4096, 16384, 131072] as [UInt64])
  func pagesLieTogether(level: RAIDLevel, chunkBytes: UInt64) throws {
    for memberCount in level.memberCountMin...9 {
      let geometry = try StripeGeometry(
        level: level, memberCount: memberCount, chunkBytes: chunkBytes, memberBlockCount: 3000)
      let placement = TablePlacement(geometry)
      for page in 0..<placement.pageCount {
        var next = [UInt64?](repeating: nil, count: memberCount)
        for row in placement.rows(ofPage: page) {
          for position in 0..<geometry.width {
            let place = geometry.place(ofRow: row, position: position)
            if let expected = next[place.slot] { #expect(place.memberBlock == expected) }
            next[place.slot] = place.memberBlock + 1
          }
        }
      }
    }
  }

  @Test(
    "a crash at every operation of a rebuild: the next start goes on, and everything is there",
    arguments: [(RAIDLevel.raid1, 2), (.raid5, 3), (.raid10, 4)], [CrashKind.kill, .powerLoss])
  func crashes(shape: (level: RAIDLevel, memberCount: Int), kind: CrashKind) throws {
    let (base, blocks) = try stale(
      shape.level, memberCount: shape.memberCount, pageCount: 3, without: [1])
    var isDone = false
    var operation = 5
    while !isDone {
      let lab = base.copy()
      let hasEnded = Box(false)
      let number = operation
      try lab.play(seed: UInt64(operation)) { stage in
        let plan = stage.machine.faultPlan
        plan.fail(operation: plan.operationCount + number, with: .crash(kind))
        // Clients write meanwhile, so that checkpoints come between.
        try await stage.write(blocks[2], 2)
        try await stage.waitUntilOptimal()
        try await stage.client.close()
        hasEnded.value = true
      }
      isDone = hasEnded.value
      try settle(lab, seed: 4)
      let found = try lab.found(blocks, without: [0])
      #expect(found.allSatisfy { $0 == .version(2) }, "crash at \(operation): \(found)")
      operation += operation < 60 ? 3 : 11
    }
    #expect(operation > 60)
  }

  @Test(
    "a rebuild that was paused goes on after a kill with what is left, and copies nothing again")
  func goesOn() throws {
    let (lab, blocks) = try stale(.raid1, memberCount: 2, pageCount: 24, without: [1])
    let done = Box(UInt64(0))
    try lab.play(seed: 4) { stage in
      stage.setLatency(microseconds: 2000)
      #expect(await stage.waitForRebuild { $0.donePages >= 14 })
      await stage.client.pauseRebuild()
      await stage.pass(milliseconds: 500)
      let status = try #require(await stage.client.status().rebuild)
      #expect(status.isPaused && status.slots == [1])
      #expect(status.donePages < 24)
      done.value = status.donePages
      await stage.pass(milliseconds: 2000)
      #expect(await stage.client.status().rebuild?.donePages == done.value)
      await stage.kill()
    }
    let left = 24 - done.value
    try lab.play(seed: 5) { stage in
      stage.setLatency(microseconds: 2000)
      #expect(await stage.waitForRebuild { _ in true })
      #expect(await stage.client.status().rebuild?.pages == left)
      let before = await stage.client.status().members[1].writeBytes
      try await stage.waitUntilOptimal()
      // A block and two slots of the table copy for each page; the rest is map and superblocks.
      let written = await stage.client.status().members[1].writeBytes - before
      #expect(written <= left * 3 * 4096 + 24 * 4096, "\(written) bytes for \(left) pages")
      await stage.kill()
    }
    let found = try lab.found(blocks, without: [0])
    #expect(found.allSatisfy { $0 == .version(2) }, "\(found)")
  }

  @Test("a start that is told that rebuilds are paused leaves them so, and says how to go on")
  func staysPaused() throws {
    let (lab, blocks) = try stale(.raid1, memberCount: 2, pageCount: 4, without: [1])
    lab.options.rebuildIsPaused = true
    try lab.play(seed: 4) { stage in
      #expect(await stage.waitForRebuild { _ in true })
      await stage.pass(milliseconds: 5000)
      let status = await stage.client.status()
      #expect(status.rebuildIsPaused && status.rebuild?.isPaused == true)
      #expect(status.rebuild?.donePages == 0 && status.members[1].state == .syncing)
      #expect(status.cause.contains("rebuilds are paused"))
      #expect(status.action.contains("'ashlar rebuild NAME --resume'"))
      await stage.client.resumeRebuild()
      try await stage.waitUntilOptimal()
      #expect(await stage.client.status().rebuildIsPaused == false)
      try await stage.client.close()
    }
    let found = try lab.found(blocks, without: [0])
    #expect(found.allSatisfy { $0 == .version(2) }, "\(found)")
  }

  @Test("where nothing is brought up to date by itself, a word does it, and commands go on anyway")
  func held() throws {
    let lab = ArrayLab(.raid6, memberCount: 4, extraCount: 3)
    lab.options.destageDelayNanoseconds = 1_000_000
    lab.options.isForced = true
    let blocks = (0..<24 as Range<UInt64>).map { $0 * 5 }
    try lab.create(seed: 1, spareCount: 1)
    try lab.play(seed: 2, without: [1]) { stage in
      for block in blocks { try await stage.write(block, 1) }
      try await stage.client.close()
    }
    lab.options.resyncsAutomatically = false
    try lab.play(seed: 3) { stage in
      let ids = await stage.client.status().members.map(\.memberID)
      // One that came back, and a spare, wait, however long.
      await stage.pass(milliseconds: 100_000)
      let held = await stage.client.status()
      #expect(held.members[1].state == .out && held.rebuild == nil && held.reserves.count == 1)
      #expect(held.resyncIsHeld && held.action.contains("'ashlar rebuild NAME --resume'"))
      // A replacement of a member that serves, and a new member, do not.
      try await stage.client.replace(ids[0], lab.handle(5, stage.machine))
      let isReplaced = await stage.waitFor(milliseconds: 60_000) {
        $0.members[0].memberID != ids[0] && $0.members[0].state == .current
      }
      #expect(isReplaced)
      try await stage.client.fail(ids[2])
      await stage.pass(milliseconds: 5000)
      #expect(await stage.client.status().reserves.count == 1)
      #expect(try await stage.client.add(lab.handle(6, stage.machine)) == .slot(2))
      #expect(await stage.waitFor(milliseconds: 60_000) { $0.members[2].state == .current })
      // So does a member that an operator takes again.
      let new = await stage.client.status().members[2].memberID
      try await stage.client.fail(new)
      #expect(try await stage.client.reinstate(new) == 2)
      #expect(await stage.waitFor(milliseconds: 60_000) { $0.members[2].state == .current })
      // And then the word.
      #expect(await stage.client.status().members[1].state == .out)
      await stage.client.resumeRebuild()
      try await stage.waitUntilOptimal()
      let after = await stage.client.status()
      #expect(!after.resyncIsHeld && after.members[1].memberID == ids[1])
      // The spare is free again, too.
      try await stage.client.fail(after.members[3].memberID)
      try await stage.waitUntilOptimal()
      #expect(await stage.client.status().reserves.isEmpty)
      try await stage.client.close()
    }
  }

  @Test("a crash costs what was not settled yet, and no more")
  func crashCosts() throws {
    let (lab, blocks) = try stale(.raid1, memberCount: 2, pageCount: 200, without: [1])
    try lab.play(seed: 4) { stage in
      stage.setLatency(microseconds: 200)
      #expect(await stage.waitForRebuild { $0.donePages >= 150 })
      await stage.losePower()
    }
    try lab.play(seed: 5) { stage in
      #expect(await stage.waitForRebuild { _ in true })
      let pages = await stage.client.status().rebuild?.pages ?? .max
      #expect(pages <= 200 - 64, "\(pages) pages are left")
      try await stage.waitUntilOptimal()
      await stage.kill()
    }
    let found = try lab.found(blocks, without: [0])
    #expect(found.allSatisfy { $0 == .version(2) }, "\(found)")
  }

  @Test(
    "what is written behind the position of the pass, and ahead of it, is on the member as well")
  func racingWrites() throws {
    for bug in [nil, PlantedBug.rebuildMissesWritesBehind] {
      let (lab, blocks) = try stale(.raid1, memberCount: 2, pageCount: 24, without: [1], bug)
      lab.options.destageDelayNanoseconds = 1_000_000
      let (behind, ahead) = (blocks[1], blocks[22])
      try lab.play(seed: 4) { stage in
        stage.setLatency(microseconds: 2000, synchronizeFactor: 4)
        #expect(await stage.waitForRebuild { $0.donePages >= 6 })
        try await stage.write(behind, 3)
        try await stage.write(ahead, 3)
        #expect(await stage.waitForRebuild { $0.donePages < 20 })
        try await stage.waitUntilOptimal()
        await stage.kill()
      }
      let found = try lab.found([behind, ahead, blocks[10]], without: [0])
      #expect((found == [.version(3), .version(3), .version(2)]) == (bug == nil), "\(found)")
    }
  }

  @Test("two members are brought up to date in one pass")
  func twoAtOnce() throws {
    let (lab, blocks) = try stale(.raid6, memberCount: 5, pageCount: 8, without: [1, 3])
    try lab.play(seed: 4) { stage in
      stage.setLatency(microseconds: 2000)
      #expect(await stage.waitForRebuild { $0.slots.sorted() == [1, 3] })
      #expect(await stage.client.status().rebuild?.pages == 8)
      try await stage.waitUntilOptimal()
      await stage.kill()
    }
    let found = try lab.found(blocks, without: [0, 2])
    #expect(found.allSatisfy { $0 == .version(2) }, "\(found)")
  }

  @Test("a block that nobody can give is named, costs nothing else, and is never garbage")
  func latentError() throws {
    let (lab, blocks) = try stale(.raid5, memberCount: 3, pageCount: 4, without: [1])
    // Another block of the row in page 2, and its member, which is not the one that is rebuilt.
    let home = try lab.home(
      row: TablePlacement(try lab.geometry()).rows(ofPage: 2).lowerBound, position: 0)
    #expect(home.slot != 1)
    let found = Box([Found]())
    let status = Box<ArrayStatus?>(nil)
    let named = Box<RebuildStatus?>(nil)
    try lab.play(seed: 4) { stage in
      lab.media[home.slot].makeUnreadable(
        ByteRange(from: home.range.offsetBytes, to: home.range.offsetBytes + 512))
      stage.setLatency(microseconds: 1000)
      #expect(await stage.waitForRebuild { _ in true })
      while let rebuild = await stage.client.status().rebuild {
        if !rebuild.isJoining { named.value = rebuild }
        await stage.pass(milliseconds: 0.2)
      }
      await stage.pass(milliseconds: 1000)
      for block in blocks { found.value.append(await stage.find(block)) }
      status.value = await stage.client.status()
      await stage.kill()
    }
    #expect(status.value?.members[1].state == .current)
    #expect(named.value?.namedBlockCount == 2, "\(String(describing: named.value))")
    let told = status.value?.events.compactMap(\.offsetBytes) ?? []
    #expect(told.contains(blocks[4] * 4096) && told.contains(blocks[5] * 4096))
    for (index, block) in found.value.enumerated() {
      #expect(block == (index / 2 == 2 ? .unreadable : .version(2)), "\(index): \(block)")
    }
  }

  @Test("a page's mark goes when its blocks are durable on the member, not before")
  func marksAreDurable() throws {
    for bug in [nil, PlantedBug.changedFlagClearedEarly] {
      var wrong: [Int] = []
      let (base, blocks) = try stale(.raid1, memberCount: 2, pageCount: 6, without: [1], bug)
      for instant in stride(from: 10, to: 200, by: 10) {
        let lab = base.copy()
        try lab.play(seed: 4) { stage in
          stage.setLatency(microseconds: 500)
          stage.setLatency(microseconds: 2000, synchronizeFactor: 20, of: [1])
          #expect(await stage.waitForRebuild { $0.donePages >= 1 })
          await stage.client.pauseRebuild()
          await stage.pass(milliseconds: Double(instant))
          await stage.losePower([0: .keepAll])
        }
        try settle(lab, seed: 5)
        let found = try lab.found(blocks, without: [0])
        if !found.allSatisfy({ $0 == .version(2) }) { wrong.append(instant) }
      }
      #expect(wrong.isEmpty == (bug == nil), "\(wrong)")
    }
  }

  @Test("a member is not believed before the pass has ended")
  func believedEarly() throws {
    for bug in [nil, PlantedBug.believedBeforePassEnds] {
      let (lab, blocks) = try stale(.raid5, memberCount: 3, pageCount: 4, without: [1], bug)
      try settle(lab, seed: 4)
      let found = try lab.found(blocks, without: [0])
      #expect(found.allSatisfy { $0 == .version(2) } == (bug == nil), "\(found)")
    }
  }

  @Test("a member that joins a pass, or leaves and comes back, gets everything")
  func joinsLater() throws {
    let (lab, blocks) = try stale(.raid6, memberCount: 5, pageCount: 12, without: [1, 3])
    lab.options.destageDelayNanoseconds = 1_000_000
    lab.options.memberDeadlineNanoseconds = 100_000_000
    try lab.play(seed: 4) { stage in
      stage.setLatency(microseconds: 2000)
      #expect(await stage.waitForRebuild { $0.donePages >= 3 })
      stage.disks[3]?.isStuck = true
      await stage.pass(milliseconds: 300)
      #expect(await stage.client.status().members[3].state == .out)
      try await stage.write(blocks[0], 3)
      stage.disks[3]?.release()
      try await stage.waitUntilOptimal()
      await stage.kill()
    }
    let found = try lab.found(blocks, without: [0, 2])
    #expect(
      found[0] == .version(3) && found.dropFirst().allSatisfy { $0 == .version(2) }, "\(found)")
  }
}

extension ArrayStage {
  /// Waits until the rebuild is as asked; false when it has ended before.
  func waitForRebuild(_ isMeant: (RebuildStatus) -> Bool) async -> Bool {
    let end = machine.nowNanoseconds + 20_000_000_000
    while machine.nowNanoseconds < end {
      let status = await client.status()
      if let rebuild = status.rebuild, !rebuild.isJoining, isMeant(rebuild) { return true }
      if status.rebuild == nil, status.state == .optimal { return false }
      await machine.sleep(nanoseconds: 200_000)
    }
    return false
  }
}

extension ArrayClient {
  func pauseRebuild() { volume.engine.assumeIsolated { $0.pauseRebuild() } }
  func resumeRebuild() { volume.engine.assumeIsolated { $0.resumeRebuild() } }
}
