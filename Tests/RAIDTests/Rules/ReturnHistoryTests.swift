import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// The histories of members that come back: T4, T5, T7 and T8 (docs/array.md, section 8).
@Suite("Rules: members that come back")
struct ReturnHistoryTests {
  /// A mirror whose member 1 missed version 2 of block 0.
  private func mirrorWithStaleMember(_ bug: PlantedBug?, leavesLog: Bool = false) throws -> ArrayLab
  {
    let lab = try ArrayLab.filled(.raid1, memberCount: 2, bug, blocks: [0])
    lab.options.isForced = true
    try lab.play(seed: 3, without: [1]) { stage in
      try await stage.write(0, 2, durably: true)
      if leavesLog { await stage.kill() } else { try await stage.client.close() }
    }
    lab.options.isForced = false
    return lab
  }

  @Test("T4: a stale member's table page is not believed, now or when the member is in sync")
  func staleTablePage() throws {
    for bug in [nil, PlantedBug.syncingMemberIsRead] {
      let lab = try mirrorWithStaleMember(bug)
      // Now the only good copy of the page rots: the block is lost, and not what it was before.
      try lab.damagePage(0, of: 0) { $0.flipBits(at: $1.offsetBytes + 100) }
      let found = Box([Found]())
      try lab.play(seed: 4) { stage in
        found.value.append(await stage.find(0))
        await stage.pass(milliseconds: 500)
        found.value.append(await stage.find(0))
        try? await stage.client.close()
      }
      found.value.append(try lab.found(0))
      #expect((found.value.contains(.version(1))) == (bug != nil), "\(found.value)")
    }
  }

  @Test("T4: redundancy counts as restored when the member has what the log holds, not before")
  func redundancyOfLog() throws {
    for bug in [nil, PlantedBug.resyncForgetsLog] {
      let lab = try mirrorWithStaleMember(bug, leavesLog: true)
      try lab.play(seed: 4) { stage in
        try await stage.waitUntilOptimal()
        await stage.kill()
      }
      let found = try lab.found(0, without: [0])
      #expect((found == .version(2)) == (bug == nil), "\(found)")
    }
  }

  @Test("T5: a member loses its power, and writes that it had completed but not synced")
  func unsyncedWrites() throws {
    for bug in [nil, PlantedBug.mapMissesUnsynced] {
      let lab = try ArrayLab.filled(.raid5, memberCount: 3, bug, row: 2, positionCount: 2)
      lab.options.destageDelayNanoseconds = 5_000_000
      lab.options.memberDeadlineNanoseconds = 20_000_000
      // A block whose member has no copy of its table page: else that copy is missed anyway.
      let placement = TablePlacement(try lab.geometry())
      let keepers = (0..<placement.copyCount).map { placement.slot(ofPage: 0, copy: $0) }
      let position = try #require(
        try (0..<2).first { !keepers.contains(try lab.home(row: 2, position: $0).slot) })
      let row = try lab.blocks(ofRow: 2, count: 2)
      let block = row[position]
      let home = try lab.home(row: 2, position: position)
      try lab.play(seed: 3) { stage in
        stage.setLatency(microseconds: 50)
        try await stage.write(block, 2, durably: true)
        let before = stage.synchronizeCount
        // The intent on two members, then parity.
        #expect(await stage.wait { stage.synchronizeCount == before + 3 })
        // Its next fdatasync does not end before the power does.
        stage.setLatency(microseconds: 50, synchronizeFactor: 2000, of: [home.slot])
        let medium = lab.media[home.slot]
        #expect(await stage.wait { medium.live.bytes(home.range) == lab.block(2, block) })
        await stage.pass(milliseconds: 0.2)
        let left = medium.durable.copy()
        #expect(left.bytes(home.range) == lab.block(1, block))
        await stage.pass(milliseconds: 200)
        #expect(await stage.client.status().members[home.slot].state == .out)
        medium.overwrite(
          at: 0, with: left.bytes(ByteRange(from: 0, to: left.byteCount)))
        stage.setLatency(microseconds: 50)
        try await stage.waitUntilOptimal()
        await stage.kill()
      }
      let lost = try lab.home(row: 2, position: 1 - position).slot
      let found = try [lab.found(row, without: [lost]), lab.found(row, without: [keepers[0]])]
      var expected: [Found] = [.version(1), .version(1)]
      expected[position] = .version(2)
      #expect(found.allSatisfy { $0 == expected } == (bug == nil), "\(found)")
    }
  }

  @Test("T7: a write that is stuck in a hung member lands after newer ones, and overwrites nothing")
  func lateWrite() throws {
    for bug in [nil, PlantedBug.oldWritesNotDrained] {
      let lab = try ArrayLab.filled(.raid1, memberCount: 2, bug, blocks: [0])
      lab.options.destageDelayNanoseconds = 5_000_000
      lab.options.memberDeadlineNanoseconds = 100_000_000
      let slot = 1
      let place = try lab.homes(row: 0)[slot]
      try lab.play(seed: 3) { stage in
        // What it hangs at is the way home, not the table.
        #expect(await stage.find(0) == .version(1))
        try await stage.write(0, 2, durably: true)
        stage.disks[slot]?.isStuck = true
        await stage.pass(milliseconds: 500)
        #expect(await stage.client.status().members[slot].state == .out)
        try await stage.write(0, 3, durably: true)
        // It answers again, but for what it has.
        stage.disks[slot]?.isStuck = false
        await stage.pass(milliseconds: 10_000)
        #expect(lab.media[slot].live.bytes(place) == lab.block(bug == nil ? 1 : 3, 0))
        stage.disks[slot]?.release()
        await stage.pass(milliseconds: 10_000)
        try await stage.waitUntilOptimal()
        await stage.kill()
      }
      let found = try lab.found(0, without: [1 - slot])
      #expect((found == .version(3)) == (bug == nil), "\(found)")
    }
  }

  @Test("T8: a resync restores table pages")
  func tablePages() throws {
    for bug in [nil, PlantedBug.resyncForgetsTable] {
      let lab = try mirrorWithStaleMember(bug)
      try lab.play(seed: 4) { stage in
        try await stage.waitUntilOptimal()
        await stage.kill()
      }
      let found = try lab.found(0, without: [0])
      #expect((found == .version(2)) == (bug == nil), "\(found)")
    }
  }

  @Test("T8: a resync restores data and parity, and 'optimal' is said only then")
  func dataAndParity() throws {
    let blocks = Array(0..<16 as Range<UInt64>)
    let base = try ArrayLab.filled(.raid6, memberCount: 4, blocks: blocks)
    for slot in 0..<4 {
      let lab = base.copy()
      try lab.play(seed: 3, without: [slot]) { stage in
        for block in blocks { try await stage.write(block, 2) }
        try await stage.client.close()
      }
      try lab.play(seed: 4) { stage in
        try await stage.waitUntilOptimal()
        await stage.kill()
      }
      // Everything that it has to give is needed when two others are gone.
      let lost = [(slot + 1) % 4, (slot + 2) % 4]
      let found = try lab.found(blocks, without: lost)
      #expect(found.allSatisfy { $0 == .version(2) }, "\(slot) without \(lost): \(found)")
    }
  }
}
