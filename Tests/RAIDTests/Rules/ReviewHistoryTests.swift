import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

@Suite("RAID: histories of the review")
struct ReviewHistoryTests {
  @Test("L5: a server that is killed in its first destage, again and again, drains a full log at last")
  func killedWhileDraining() throws {
    let lab = try ArrayLab.filled(.raid5, memberCount: 3)
    lab.options.dirtyBytesMax = 8 << 20
    let geometry = try lab.geometry()
    let blocks = (0..<400 as Range<UInt64>).map { geometry.block(ofRow: $0, position: 0) }
    let written = Box(0)
    try lab.play(seed: 4) { stage in
      try await stage.client.write(0, [UInt8](repeating: 1, count: 800 * 4096))
      try await stage.client.close()
    }
    // The log is filled while nothing can be destaged.
    try lab.play(seed: 3) { stage in
      stage.machine.faultPlan.fail(
        operation: stage.machine.faultPlan.count(of: .read) + 1, of: .read, with: .stuck,
        persistently: true)
      stage.machine.start {
        for block in blocks {
          try? await stage.write(block, 2)
          written.value += 1
        }
      }
      var last = -1
      while written.value > last {
        last = written.value
        await stage.pass(milliseconds: 20)
      }
      await stage.kill()
    }
    #expect(written.value < 400)
    let hasBegun = Box(false)
    for life in 0..<60 as Range<UInt64> {
      do {
        try lab.play(seed: 100 + life, milliseconds: 60_000) { stage in
          let first = await stage.client.status()
          hasBegun.value = await stage.waitFor {
            await stage.client.status().lastSequence > first.lastSequence
          }
          await stage.kill()
        }
      } catch {
        Issue.record("life \(life): \(error)")
        break
      }
      // Everything is home, or nothing can be brought home any more.
      if !hasBegun.value { break }
    }
    try lab.play(seed: 999, milliseconds: 60_000) { stage in
      try await stage.client.close()
    }
    let found = try lab.found([blocks[0], blocks[written.value - 1]])
    #expect(found == [.version(2), .version(2)])
  }

  private static let second: UInt64 = 1_000_000_000

  @Test("T8: a block that could not be read while a member was resynced is on it all the same")
  func resyncMeetsReadError() throws {
    let lab = ArrayLab(.raid1, memberCount: 2)
    lab.options.destageDelayNanoseconds = 1_000_000
    lab.options.readmissionDelayNanoseconds = 100_000_000
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let handles = lab.cables(machine)
      let client = try await lab.start(machine, cables: handles)
      for number in 0..<4 as Range<UInt64> {
        try await client.write(number * 4096, lab.block(1, number))
      }
      try await client.flush()
      await machine.sleep(nanoseconds: Self.second)
      handles[1].disk.cut()
      try await client.write(4096, lab.block(2, 1), durably: true)
      #expect(await client.wait(1, .out, nanoseconds: 10 * Self.second))
      await machine.sleep(nanoseconds: Self.second)
      // For a while the only good copy cannot be read.
      let home = try lab.homes(row: 1)[0]
      lab.media[0].flipBits(at: home.offsetBytes)
      handles[1].disk.mend()
      #expect(await client.wait(1, .current, nanoseconds: 60 * Self.second))
      lab.media[0].flipBits(at: home.offsetBytes)
      await machine.sleep(nanoseconds: 5 * Self.second)
      #expect(await client.status().state == .optimal)
      let copy = ByteRange(from: try lab.homes(row: 1)[1].offsetBytes, to: try lab.homes(row: 1)[1].endBytes)
      #expect(lab.media[1].live.bytes(copy) == lab.block(2, 1))
      try await client.close()
    }
  }

  @Test("P9: writes go on while a returned member gets many table pages")
  func resyncOfManyPages() throws {
    let lab = ArrayLab(.raid1, memberCount: 2, memberByteCount: 256 << 20)
    lab.options.destageDelayNanoseconds = 1_000_000
    lab.options.readmissionDelayNanoseconds = 100_000_000
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let handles = lab.cables(machine)
      let client = try await lab.start(machine, cables: handles)
      try await client.write(0, lab.block(1, 0), durably: true)
      handles[1].disk.cut()
      try await client.write(0, lab.block(2, 0), durably: true)
      #expect(await client.wait(1, .out, nanoseconds: 10 * Self.second))
      // A block of each page.
      let pageCount: UInt64 = 240
      for page in 0..<pageCount {
        let block = page * 252
        try await client.write(block * 4096, lab.block(3, block))
      }
      try await client.flush()
      await machine.sleep(nanoseconds: Self.second)
      // Slow to sync: a disk that turns.
      for disk in handles.map(\.disk) {
        disk.disk.latency = DiskLatency(
          shortestNanoseconds: 1_000_000, longestNanoseconds: 1_000_000, synchronizeFactor: 100,
          slowPerMillion: 0)
      }
      handles[1].disk.mend()
      #expect(await client.wait(1, .syncing, nanoseconds: 10 * Self.second))
      var longest: UInt64 = 0
      var count = 0
      while await client.state(1) == .syncing {
        let begin = machine.nowNanoseconds
        let block = UInt64(count % 1000)
        try await client.write(block * 4096, lab.block(4, block))
        longest = max(longest, machine.nowNanoseconds - begin)
        count += 1
      }
      #expect(await client.state(1) == .current)
      #expect(longest < 10 * Self.second)
      try await client.close()
    }
  }

  @Test("P9: writes go on while the space of many trimmed pages is given back")
  func trimOfManyPages() throws {
    let lab = ArrayLab(.raid1, memberCount: 2, memberByteCount: 256 << 20)
    lab.options.destageDelayNanoseconds = 1_000_000
    lab.options.dirtyBytesMax = 256 << 10
    try lab.create(seed: 1)
    try lab.play(seed: 2) { stage in
      let pageCount: UInt64 = 240
      for page in 0..<pageCount { try await stage.write(page * 252, 1) }
      try await stage.client.flush()
      await stage.pass(milliseconds: 1000)
      stage.setLatency(microseconds: 20_000, synchronizeFactor: 1)
      try await stage.client.trim(ByteRange(from: 0, to: pageCount * 252 * 4096))
      let before = stage.machine.faultPlan.count(of: .clear)
      var longest: UInt64 = 0
      for count in 0..<1000 as Range<UInt64> {
        let begin = stage.machine.nowNanoseconds
        try await stage.write(count, 2)
        longest = max(longest, stage.machine.nowNanoseconds - begin)
      }
      #expect(longest < 2 * Self.second)
      try await stage.client.close()
      #expect(stage.machine.faultPlan.count(of: .clear) - before >= 470)
    }
  }

  @Test(
    "T5, T8: members leave and return one after the other, and any one may be lost then",
    arguments: [(RAIDLevel.raid1, 2), (.raid1, 3), (.raid5, 3), (.raid5, 4), (.raid6, 4), (.raid10, 4), (.raid10, 3), (.raid10, 5)])
  func returnsInTurn(shape: (level: RAIDLevel, memberCount: Int)) throws {
    try Self.returnInTurn(shape.level, shape.memberCount, 0)
  }

  private static func returnInTurn(_ level: RAIDLevel, _ memberCount: Int, _ seed: UInt64) throws {
    let lab = ArrayLab(level, memberCount: memberCount, memberByteCount: 4 << 20, chunkBytes: 4096 << (seed % 3))
    lab.options.readmissionDelayNanoseconds = 50_000_000
    lab.options.memberDeadlineNanoseconds = 2_000_000_000
    try lab.create(seed: seed * 7 + 1)
    let model = Box([UInt64: UInt8]())
    let deviceBlockCount = try lab.geometry().blockCount
    let blockCount = min(700, deviceBlockCount)
    let machine = SimulatedMachine(seed: seed * 7 + 2)
    defer { machine.crash(.kill) }
    @Sendable func draw(_ count: UInt64) -> UInt64 { machine.randomNumber() % count }
    if draw(2) == 0 { lab.options.tableCacheBytes = 8192 }
    if draw(2) == 0 { lab.options.destageDelayNanoseconds = draw(20_000_000) }
    if draw(3) == 0 { lab.options.destageRowCountMax = 1 + Int(draw(8)) }
    let isOptimal = Box(false)
    try machine.run(within: Simulation.Limits(virtualNanoseconds: 2_000_000_000_000)) {
      let handles = lab.cables(machine)
      let client = try await lab.start(machine, cables: handles)
      for handle in handles {
        handle.disk.disk.latency = DiskLatency(
          shortestNanoseconds: 20_000, longestNanoseconds: 20_000 + draw(300_000), synchronizeFactor: 4,
          slowPerMillion: 0)
      }
      let isEnding = Box(false)
      let hasEnded = Box(false)
      machine.start {
        while !isEnding.value {
          let block = draw(2) == 0 ? draw(blockCount) : draw(40)
          let length = min(1 + draw(draw(4) == 0 ? 60 : 4), blockCount - block)
          do {
            switch draw(10) {
            case 0:
              let whole = draw(4) == 0
              let range = whole ? ByteRange(from: 0, to: deviceBlockCount * 4096)
                : ByteRange(from: block * 4096, to: (block + length) * 4096)
              try await client.trim(range)
              for number in range.offsetBytes / 4096..<range.endBytes / 4096 { model.value[number] = nil }
            case 1: try await client.flush()
            default:
              var bytes: [UInt8] = []
              var versions: [UInt64: UInt8] = [:]
              for number in block..<block + length {
                let version = UInt8(1 + draw(9))
                versions[number] = version
                bytes += [UInt8](repeating: Self.mark(version, number), count: 4096)
              }
              try await client.write(block * 4096, bytes)
              for (number, version) in versions { model.value[number] = version }
            }
          } catch {
            Issue.record("\(level) \(memberCount) seed \(seed): \(error) \(await client.status().cause)")
            break
          }
          await machine.sleep(nanoseconds: draw(30_000_000))
        }
        hasEnded.value = true
      }
      for _ in 0..<4 {
        await machine.sleep(nanoseconds: draw(300_000_000))
        let slot = Int(draw(UInt64(memberCount)))
        handles[slot].disk.cut()
        await machine.sleep(nanoseconds: draw(400_000_000))
        handles[slot].disk.mend()
        await machine.sleep(nanoseconds: Self.second)
        for _ in 0..<5_000 where await client.status().state != .optimal {
          await machine.sleep(nanoseconds: 20_000_000)
        }
        guard await client.status().state == .optimal else {
          Issue.record("\(level) \(memberCount) seed \(seed) slot \(slot): \(await client.status().state) \(await client.status().cause) \(handles.map(\.disk.connectionCount)) \(await client.status().events.suffix(8).map(\.text))")
          break
        }
      }
      isEnding.value = true
      while !hasEnded.value { await machine.sleep(nanoseconds: 1_000_000) }
      try await client.flush()
      for _ in 0..<1_000 where await client.status().state != .optimal {
        await machine.sleep(nanoseconds: 5_000_000)
      }
      isOptimal.value = await client.status().state == .optimal
      if !isOptimal.value { Issue.record("not optimal: \(await client.status().cause)") }
      for medium in lab.media { medium.unflushedFate = .loseAll }
      machine.crash(.powerLoss)
      await machine.sleep(nanoseconds: 1)
    }
    guard isOptimal.value else { return }
    for lost in 0..<memberCount {
      let copy = ArrayLab(level, memberCount: memberCount, copying: lab)
      copy.options.isForced = true
      let reader = SimulatedMachine(seed: 5)
      defer { reader.crash(.kill) }
      try reader.run {
        let client = try await copy.start(reader, without: SlotSet([lost]))
        for block in 0..<blockCount {
          let expected = model.value[block].map { Self.mark($0, block) } ?? 0
          let bytes = try? await client.read(copy.range(block))
          if bytes != [UInt8](repeating: expected, count: 4096) {
            Issue.record("\(level) \(memberCount) seed \(seed) without \(lost): block \(block) is \(bytes?.first ?? 255), not \(expected)")
            return
          }
        }
      }
    }
  }

  private static func mark(_ version: UInt8, _ number: UInt64) -> UInt8 {
    UInt8(truncatingIfNeeded: UInt64(version) &* 29 &+ number &* 7) | 1
  }

  @Test("T1: a superblock that a lost connection left unsynced is not the only one when the next is written")
  func superblocksOfReturned() throws {
    let lab = ArrayLab(.raid1, memberCount: 2)
    lab.options.readmissionDelayNanoseconds = 100_000_000
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    defer { machine.crash(.kill) }
    let wasTorn = Box(false)
    try machine.run {
      let handles = lab.cables(machine)
      let client = try await lab.start(machine, cables: handles)
      try await client.write(0, lab.block(1, 0), durably: true)
      for (disk, latency) in zip(handles.map(\.disk), [500_000, 50_000] as [UInt64]) {
        disk.disk.latency = DiskLatency(
          shortestNanoseconds: latency, longestNanoseconds: latency, synchronizeFactor: 4,
          slowPerMillion: 0)
      }
      // A checkpoint: its superblock is on member 1, and not synced.
      let first = ByteRange(from: 0, to: 4096)
      let second = ByteRange(from: 4096, to: 8192)
      func isUnsynced(_ range: ByteRange) -> Bool {
        lab.media[1].live.bytes(range) != lab.media[1].durable.bytes(range)
      }
      for _ in 0..<100_000 where !(isUnsynced(first) || isUnsynced(second)) {
        await machine.sleep(nanoseconds: 20_000)
      }
      #expect(isUnsynced(first) != isUnsynced(second))
      handles[1].disk.cut()
      handles[1].disk.mend()
      #expect(await client.wait(1, .out, nanoseconds: Self.second))
      for _ in 0..<1_000_000 where !(isUnsynced(first) && isUnsynced(second)) {
        await machine.sleep(nanoseconds: 20_000)
        if await client.state(1) == .current { break }
      }
      wasTorn.value = isUnsynced(first) && isUnsynced(second)
    }
    #expect(!wasTorn.value)
  }
}

extension ArrayStage {
  fileprivate func waitFor(milliseconds: Int = 2000, _ isSeen: () async -> Bool) async -> Bool {
    for _ in 0..<milliseconds * 10 {
      if await isSeen() { return true }
      await pass(milliseconds: 0.1)
    }
    return false
  }
}
