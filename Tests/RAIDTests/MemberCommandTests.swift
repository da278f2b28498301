import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// What commands about members do while an array serves, and what they refuse.
@Suite("RAID: members that are failed, removed, added and replaced")
struct MemberCommandTests {
  private static let blocks: [UInt64] = [0, 1, 2, 7, 30, 31, 100]

  private func lab(
    _ level: RAIDLevel, _ memberCount: Int, extraCount: Int = 1
  ) throws -> ArrayLab {
    let lab = try ArrayLab.filled(
      level, memberCount: memberCount, blocks: Self.blocks, extraCount: extraCount)
    lab.options.destageDelayNanoseconds = 1_000_000
    return lab
  }

  private func expectAll(
    _ lab: ArrayLab, _ version: UInt8, without lost: [Int] = [], _ note: String = ""
  ) throws {
    let found = try lab.found(Self.blocks, without: lost)
    #expect(
      found == Self.blocks.map { _ in .version(version) }, "\(note) without \(lost): \(found)")
  }

  private static let shapes: [(RAIDLevel, Int)] = [
    (.raid1, 2), (.raid1, 3), (.raid5, 3), (.raid6, 4), (.raid10, 4),
  ]

  @Test("a member that failed by command is replaced by a new one", arguments: shapes)
  func failAndAdd(level: RAIDLevel, memberCount: Int) throws {
    let lab = try lab(level, memberCount)
    try lab.play(seed: 3) { stage in
      let old = await stage.client.status().members[1].memberID
      try await stage.client.fail(old)
      #expect(await stage.client.status().members[1].state == .out)
      for block in Self.blocks { try await stage.write(block, 2) }
      let seat = try await stage.client.add(lab.handle(memberCount, stage.machine))
      #expect(seat == .slot(1))
      for block in Self.blocks { try await stage.write(block, 3) }
      try await stage.waitUntilOptimal()
      #expect(await stage.client.status().members[1].memberID != old)
      try await stage.client.close()
    }
    // Who was there before is refused by name; the others, with the new one, suffice.
    for slot in 0..<memberCount where slot != 1 {
      try expectAll(lab, 3, without: [slot], "\(level)")
    }
    try expectAll(lab, 3, without: [memberCount])
  }

  @Test("a member that serves is replaced by its copy", arguments: shapes + [(.raid0, 2)])
  func replaceServing(level: RAIDLevel, memberCount: Int) throws {
    let lab = try lab(level, memberCount)
    try lab.play(seed: 3) { stage in
      let old = await stage.client.status().members[1].memberID
      try await stage.client.replace(old, lab.handle(memberCount, stage.machine))
      let before = await stage.client.status()
      #expect(before.members[1].memberID == old && before.members[1].state == .current)
      #expect(before.reserves.map(\.targetSlot) == [1])
      for version: UInt8 in 2...4 {
        for block in Self.blocks { try await stage.write(block, version) }
      }
      let isReplaced = await stage.waitFor(milliseconds: 20_000) {
        $0.members[1].memberID != old && $0.reserves.isEmpty
      }
      #expect(isReplaced)
      try await stage.waitUntilOptimal()
      try await stage.client.close()
    }
    try expectAll(lab, 4, without: [1])
    if level != .raid0 {
      for slot in 0..<memberCount where slot != 1 {
        try expectAll(lab, 4, without: [slot], "\(level)")
      }
    }
  }

  @Test("a spare takes the slot of a member that failed, at once")
  func spareAtOnce() throws {
    let lab = try lab(.raid5, 3)
    try lab.play(seed: 3) { stage in
      let seat = try await stage.client.add(lab.handle(3, stage.machine))
      #expect(seat == .spare(seat: 3))
      #expect(await stage.client.status().state == .optimal)
      for medium in lab.media[2...2] { medium.faultRates.writeError = 1_000_000 }
      for block in Self.blocks { try await stage.write(block, 2, durably: true) }
      let start = stage.machine.nowNanoseconds
      try await stage.waitUntilOptimal()
      #expect(stage.machine.nowNanoseconds - start < lab.options.spareDelayNanoseconds)
      #expect(await stage.client.status().reserves.isEmpty)
      try await stage.client.close()
    }
    lab.media[2].faultRates = DiskFaultRates()
    for slot in 0..<2 { try expectAll(lab, 2, without: [slot]) }
  }

  @Test("a spare with which the array was created takes the slot of a member that failed")
  func spareFromTheBeginning() throws {
    let lab = ArrayLab(.raid5, memberCount: 3, extraCount: 1)
    lab.options.destageDelayNanoseconds = 1_000_000
    try lab.create(seed: 1, spareCount: 1)
    try lab.play(seed: 3) { stage in
      let begun = await stage.client.status()
      #expect(begun.state == .optimal && begun.reserves.map(\.seat) == [3])
      let spare = try #require(begun.reserves.first).member.memberID
      for block in Self.blocks { try await stage.write(block, 1) }
      try await stage.client.fail(begun.members[1].memberID)
      try await stage.waitUntilOptimal()
      let rebuilt = await stage.client.status()
      #expect(rebuilt.members[1].memberID == spare && rebuilt.reserves.isEmpty)
      try await stage.client.close()
    }
    for slot in [0, 2] { try expectAll(lab, 1, without: [slot]) }
  }

  @Test("a spare takes the slot of a member that is gone after the delay, and not before")
  func spareAfterDelay() throws {
    let lab = try lab(.raid1, 2)
    try lab.play(seed: 3) { stage in
      _ = try await stage.client.add(lab.handle(2, stage.machine))
      try await stage.client.close()
    }
    lab.options.isForced = true
    try lab.play(seed: 4, without: [1]) { stage in
      await stage.pass(milliseconds: 59_000)
      #expect(await stage.client.status().reserves.count == 1)
      await stage.pass(milliseconds: 2000)
      try await stage.waitUntilOptimal()
      #expect(await stage.client.status().reserves.isEmpty)
      try await stage.client.close()
    }
    try expectAll(lab, 1, without: [0])
  }

  @Test(
    "removing a spare, a replacement under way and a member that is out; the last is not taken back"
  )
  func remove() throws {
    let lab = try lab(.raid1, 2, extraCount: 2)
    try lab.play(seed: 3) { stage in
      let ids = await stage.client.status().members.map(\.memberID)
      _ = try await stage.client.add(lab.handle(2, stage.machine))
      let spare = try #require(await stage.client.status().reserves.first).member.memberID
      try await stage.client.remove(spare)
      #expect(await stage.client.status().reserves.isEmpty)
      stage.setLatency(microseconds: 500)
      try await stage.client.replace(ids[0], lab.handle(3, stage.machine))
      let copy = try #require(await stage.client.status().reserves.first).member.memberID
      try await stage.client.remove(copy)
      #expect(await stage.client.status().reserves.isEmpty)
      await #expect(throws: MemberCommandError.isServing(slot: 1)) {
        try await stage.client.remove(ids[1])
      }
      try await stage.client.fail(ids[1])
      try await stage.client.remove(ids[1])
      #expect(await stage.client.status().members[1].memberID == .none)
      for block in Self.blocks { try await stage.write(block, 2) }
      await stage.pass(milliseconds: 100_000)
      #expect(await stage.client.status().state == .degraded)
      try await stage.client.close()
    }
    try lab.play(seed: 4) { stage in
      await stage.pass(milliseconds: 10_000)
      #expect(await stage.client.status().members[1].state == .missing)
      #expect(await stage.find(0) == .version(2))
      // The same disk, as a new member.
      let seat = try await stage.client.add(lab.handle(1, stage.machine))
      #expect(seat == .slot(1))
      try await stage.waitUntilOptimal()
      try await stage.client.close()
    }
    try expectAll(lab, 2, without: [0])
  }

  @Test("what cannot be done is refused, and nothing changes")
  func refusals() throws {
    let lab = try lab(.raid5, 3, extraCount: 2)
    try lab.play(seed: 3) { stage in
      let ids = await stage.client.status().members.map(\.memberID)
      let stranger = Identifier(high: 1, low: 1)
      await #expect(throws: MemberCommandError.notAMember(stranger)) {
        try await stage.client.fail(stranger)
      }
      let small = SimulatedMedium(byteCount: 1 << 20)
      let needed = try lab.layout().endBytes(geometry: try lab.geometry())
      await #expect(throws: MemberCommandError.tooSmall(neededBytes: needed, haveBytes: 1 << 20)) {
        _ = try await stage.client.add(
          ArrayLab.Handle(
            name: "small", disk: SimulatedDisk(stage.machine, small), byteCount: 1 << 20))
      }
      // One of its own, by another name.
      await #expect(throws: MemberCommandError.isMember(name: "member0", memberID: ids[0])) {
        _ = try await stage.client.add(lab.handle(0, stage.machine))
      }
      // One that cannot be written does not become a member.
      lab.media[3].faultRates.writeError = 1_000_000
      await #expect(throws: MemberCommandError.self) {
        _ = try await stage.client.add(lab.handle(3, stage.machine))
      }
      #expect(await stage.client.status().reserves.isEmpty)
      try await stage.client.replace(ids[0], lab.handle(4, stage.machine))
      lab.media[3].faultRates = DiskFaultRates()
      await #expect(throws: MemberCommandError.self) {
        try await stage.client.replace(ids[0], lab.handle(3, stage.machine))
      }
      try await stage.waitUntilOptimal()
      #expect(await stage.waitFor(milliseconds: 10_000) { $0.reserves.isEmpty })
      try await stage.client.fail(ids[1])
      await #expect(throws: MemberCommandError.self) { try await stage.client.fail(ids[2]) }
      #expect(await stage.client.status().members[2].state == .current)
      try await stage.client.close()
    }
  }

  @Test("a replacement that fails or hangs is dropped, and the slot's member is none the worse")
  func failingReplacement() throws {
    for hangs in [false, true] {
      let lab = try lab(.raid1, 2)
      lab.options.memberDeadlineNanoseconds = 500_000_000
      try lab.play(seed: 3) { stage in
        let ids = await stage.client.status().members.map(\.memberID)
        let handle = lab.handle(2, stage.machine)
        handle.disk.latency = DiskLatency(
          shortestNanoseconds: 2_000_000, longestNanoseconds: 2_000_000, slowPerMillion: 0)
        try await stage.client.replace(ids[1], handle)
        if hangs {
          handle.disk.isStuck = true
        } else {
          lab.media[2].faultRates.writeError = 1_000_000
        }
        for block in Self.blocks { try await stage.write(block, 2, durably: true) }
        #expect(await stage.waitFor(milliseconds: 20_000) { $0.reserves.isEmpty })
        let after = await stage.client.status()
        #expect(after.members.map(\.memberID) == ids)
        #expect(after.members.allSatisfy { $0.state == .current })
        handle.disk.release()
        try await stage.client.close()
      }
      try expectAll(lab, 2, without: [0])
      try expectAll(lab, 2, without: [1, 2])
    }
  }

  @Test(
    "a member that fails while it is being replaced: its replacement takes the slot and is completed"
  )
  func targetFails() throws {
    let lab = try lab(.raid5, 3)
    try lab.play(seed: 3) { stage in
      let ids = await stage.client.status().members.map(\.memberID)
      let handle = lab.handle(3, stage.machine)
      handle.disk.latency = DiskLatency(
        shortestNanoseconds: 3_000_000, longestNanoseconds: 3_000_000, slowPerMillion: 0)
      try await stage.client.replace(ids[1], handle)
      for block in Self.blocks.prefix(3) { try await stage.write(block, 2) }
      try await stage.client.fail(ids[1])
      for block in Self.blocks { try await stage.write(block, 3) }
      #expect(await stage.waitFor(milliseconds: 10_000) { $0.members[1].memberID != ids[1] })
      try await stage.waitUntilOptimal()
      try await stage.client.close()
    }
    for slot in [0, 2] { try expectAll(lab, 3, without: [slot]) }
  }

  @Test(
    "who takes the slot of a member while it joins the log gets all of it, and is not believed before"
  )
  func slotTakenAmidResync() throws {
    let lab = ArrayLab(.raid1, memberCount: 2, memberByteCount: 16 << 20, extraCount: 1)
    lab.options.destageDelayNanoseconds = 1_000_000
    lab.options.isForced = true
    let blocks = (0..<24 as Range<UInt64>).map { $0 * 100 }
    try lab.create(seed: 1)
    try lab.play(seed: 2) { stage in
      _ = try await stage.client.add(lab.handle(2, stage.machine))
      for block in blocks { try await stage.write(block, 1) }
      try await stage.client.close()
    }
    try lab.play(seed: 3, without: [1]) { stage in
      for block in blocks { try await stage.write(block, 2) }
      try await stage.client.close()
    }
    // Much waits in the log, so that it takes a while to join it.
    lab.options.destageDelayNanoseconds = ArrayLab.never
    try lab.play(seed: 4) { stage in
      let old = await stage.client.status().members[1].memberID
      for block in blocks { try await stage.write(block + 1, 2) }
      stage.setLatency(microseconds: 2000, synchronizeFactor: 1)
      // All its blocks are there, and it waits for its log.
      #expect(
        await stage.waitFor(milliseconds: 60_000) {
          $0.members[1].state == .syncing && $0.rebuild?.isJoining == true
        })
      try await stage.client.fail(old)
      #expect(await stage.waitFor(milliseconds: 60_000) { $0.members[1].memberID != old })
      try await stage.waitUntilOptimal()
      try await stage.client.close()
    }
    let found = try lab.found(blocks, without: [0, 1])
    #expect(found.allSatisfy { $0 == .version(2) }, "\(found)")
  }

  @Test("a replacement goes on after a restart, also one that was not there for a while")
  func restartedReplacement() throws {
    let lab = try lab(.raid1, 2)
    try lab.play(seed: 3) { stage in
      let ids = await stage.client.status().members.map(\.memberID)
      let handle = lab.handle(2, stage.machine)
      handle.disk.latency = DiskLatency(
        shortestNanoseconds: 5_000_000, longestNanoseconds: 5_000_000, slowPerMillion: 0)
      try await stage.client.replace(ids[1], handle)
      await stage.losePower()
    }
    try lab.play(seed: 4, without: [2]) { stage in
      #expect(await stage.client.status().reserves.map(\.targetSlot) == [1])
      for block in Self.blocks { try await stage.write(block, 2) }
      try await stage.client.close()
    }
    try lab.play(seed: 5) { stage in
      #expect(await stage.waitFor(milliseconds: 20_000) { $0.reserves.isEmpty })
      try await stage.client.close()
    }
    try expectAll(lab, 2, without: [0])
    try expectAll(lab, 2, without: [1])
  }
}

extension ArrayStage {
  /// Lets the machine go on until status says something.
  func waitFor(
    milliseconds: Int, _ isSeen: @Sendable (ArrayStatus) -> Bool
  ) async -> Bool {
    let end = machine.nowNanoseconds + UInt64(milliseconds) * 1_000_000
    while !isSeen(await client.status()) {
      guard machine.nowNanoseconds < end else { return false }
      await pass(milliseconds: 1)
    }
    return true
  }
}
