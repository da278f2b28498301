import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// The histories of the rules of table and superblocks, T1 to T3 (docs/array.md, section 8).
@Suite("Rules: table and superblocks")
struct TableHistoryTests {
  /// What is wrong with what the next start finds, when the power fails at any operation of the
  /// second of two ways home, and tears what was not synced; nil when nothing ever is.
  private func firstWrong(_ base: ArrayLab) throws -> String? {
    var number = 1
    while true {
      let lab = base.copy()
      let (count, hasEnded) = (number, Box(false))
      try lab.play(seed: 3) { stage in
        for medium in lab.media { medium.unflushedFate = .torn }
        let plan = stage.machine.faultPlan
        for version in 2...3 as ClosedRange<UInt8> {
          // Their entries are in two sectors of one page.
          try await stage.write(1, version)
          try await stage.write(100, version, durably: true)
          if version == 3 {
            plan.fail(operation: plan.operationCount + count, with: .crash(.powerLoss))
          }
          await stage.pass(milliseconds: 40)
        }
        hasEnded.value = true
      }
      if hasEnded.value { return number > 12 ? nil : "only \(number) operations" }
      let found = try lab.found([0, 1, 100])
      let isNew = found[1...].allSatisfy { $0 == .version(2) || $0 == .version(3) }
      if !isNew || found[0] != .version(1) { return "operation \(number): \(found)" }
      number += 1
    }
  }

  @Test("T1: X and then Y into one slot of a table page, and the power loss tears both")
  func tableSlots() throws {
    for bug in [nil, PlantedBug.tableSlotOverwritten] {
      let lab = try ArrayLab.filled(.raid1, memberCount: 2, bug, blocks: [0, 1, 100])
      lab.options.destageDelayNanoseconds = 1_000_000
      let wrong = try firstWrong(lab)
      #expect((wrong == nil) == (bug == nil), "\(wrong ?? "nothing")")
    }
  }

  @Test("T1: X and then Y into one place of a superblock, and the power loss damages both")
  func superblockSlots() throws {
    for bug in [nil, PlantedBug.superblockSlotOverwritten] {
      let lab = try ArrayLab.filled(.raid1, memberCount: 2, bug, blocks: [1, 100])
      lab.options.destageDelayNanoseconds = 1_000_000
      try lab.play(seed: 3) { stage in
        try await stage.write(1, 2, durably: true)
        // Once round the log, so that it does not go back to what an old superblock says.
        for _ in 0..<24 {
          try await stage.client.write(200 * 4096, [UInt8](repeating: 5, count: 65536))
        }
        await stage.pass(milliseconds: 100)
        stage.setLatency(microseconds: 50)
        try await stage.write(100, 2, durably: true)
        #expect(await stage.wait { (0...1).allSatisfy { lab.hasUnsyncedSuperblock($0) } })
        for medium in lab.media { medium.faultRates.damagedSectorAtPowerLoss = 1_000_000 }
        await stage.losePower()
      }
      let found = try lab.found([1, 100])
      #expect((found == [.version(2), .version(2)]) == (bug == nil), "\(found)")
    }
  }

  @Test(
    "T2: a random write dirties r+1 page copies, which have all there is to say of its row",
    arguments: [(RAIDLevel.raid5, 4), (.raid6, 5)])
  func pagesByRow(level: RAIDLevel, memberCount: Int) throws {
    for bug in [nil, PlantedBug.tableSplitByMember] {
      let lab = try ArrayLab.filled(level, memberCount: memberCount, bug, positionCount: 2)
      lab.options.destageDelayNanoseconds = 1_000_000
      let row = try lab.blocks(ofRow: 0, count: 2)
      let layout = try lab.layout()
      let table = ByteRange(from: layout.tableOffset, to: layout.mapOffset)
      let before = lab.media.map { $0.live.bytes(table) }
      try lab.play(seed: 3) { stage in
        try await stage.write(row[0], 2)
        await stage.pass(milliseconds: 200)
        await stage.kill()
      }
      var changedCount = 0
      for (slot, medium) in lab.media.enumerated() {
        let after = medium.live.bytes(table)
        for start in stride(from: 0, to: after.count, by: 4096)
        where after[start..<start + 4096] != before[slot][start..<start + 4096] {
          changedCount += 1
        }
      }
      #expect(try changedCount == lab.geometry().redundancy + 1)
      // Entries of parity that come later are too late for whoever needs parity now.
      let found = try lab.found(row, without: [lab.home(row: 0, position: 0).slot])
      #expect((found == [.version(2), .version(1)]) == (bug == nil), "\(found)")
    }
  }

  @Test("T3: a zeroed table page is lost, and its blocks are not zeros")
  func zeroedPage() throws {
    for bug in [nil, PlantedBug.zeroPageIsNeverWritten] {
      let lab = try ArrayLab.filled(.raid5, memberCount: 3, bug, blocks: [0])
      try lab.damagePage(0) { medium, range in
        medium.overwrite(at: range.offsetBytes, with: [UInt8](repeating: 0, count: 4096))
      }
      #expect(try lab.found(0) == (bug == nil ? .unreadable : .zeros))
    }
  }
}

extension ArrayLab {
  /// Does something to every slot of every copy of a table page, or of one member's.
  func damagePage(
    _ page: UInt64, of member: Int? = nil, _ damage: (SimulatedMedium, ByteRange) -> Void
  ) throws {
    let placement = TablePlacement(try geometry())
    let layout = try layout()
    for copy in 0..<placement.copyCount {
      let slot = placement.slot(ofPage: page, copy: copy)
      guard member == nil || member == slot else { continue }
      for version in 0...1 {
        let start =
          layout.tableOffset + placement.offsetBytes(ofPage: page, copy: copy, slot: version)
        damage(media[slot], ByteRange(from: start, to: start + 4096))
      }
    }
  }
}
