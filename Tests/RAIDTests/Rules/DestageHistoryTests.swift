import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units
import Volumes

/// The histories of the way home, D1 and D4 to D7 (docs/array.md, section 8).
///
/// D2 and D3 are about writes that go home directly, which there are none of.
@Suite("Rules: destage")
struct DestageHistoryTests {
  // MARK: D1

  /// Rows of four members with version 1 everywhere; one block of row 0 then goes home again.
  private func destaged(_ bug: PlantedBug?) throws -> ArrayLab {
    let lab = try ArrayLab.filled(.raid5, memberCount: 4, bug, positionCount: 3)
    lab.options.destageDelayNanoseconds = 1_000_000
    return lab
  }

  /// What is wrong after a power loss at some operation of the destage, with a clean block's member
  /// lost; nil when nothing ever is.
  private func firstWrong(_ base: ArrayLab, versions: [UInt8] = [2]) throws -> String? {
    let blocks = try base.blocks(ofRow: 0, count: 3)
    let clean = try base.home(row: 0, position: 1).slot
    var number = 1
    while true {
      let lab = base.copy()
      let (count, acknowledged, hasEnded) = (number, Box<UInt8>(1), Box(false))
      try lab.play(seed: 3) { stage in
        for medium in lab.media { medium.unflushedFate = .loseAll }
        stage.setLatency(microseconds: 50)
        for version in versions {
          if version == versions.last {
            let plan = stage.machine.faultPlan
            plan.fail(operation: plan.operationCount + count, with: .crash(.powerLoss))
          }
          try await stage.write(blocks[0], version, durably: true)
          acknowledged.value = version
          // The next version comes while the one before is on its way.
          await stage.pass(milliseconds: version == versions.last ? 60 : 3)
        }
        hasEnded.value = true
      }
      if hasEnded.value { return number > 15 ? nil : "only \(number) operations" }
      let found = try lab.found(blocks, without: [clean])
      guard case .version(let newest) = found[0], newest >= acknowledged.value,
        found[1...] == [.version(1), .version(1)]
      else { return "operation \(number): \(found)" }
      number += 1
    }
  }

  @Test("D1: intent, parity, data, table: a crash anywhere costs no clean block of the row")
  func order() throws {
    #expect(try firstWrong(destaged(nil)) == nil)
  }

  @Test(
    "D1: the same in another order loses a clean block",
    arguments: [PlantedBug.parityBeforeIntent, .parityAfterData, .tableBeforeData])
  func otherOrder(bug: PlantedBug) throws {
    #expect(try firstWrong(destaged(bug)) != nil)
  }

  @Test("D1: a row is not destaged again before its table page is durable")
  func againTooEarly() throws {
    #expect(try firstWrong(destaged(nil), versions: [2, 3]) == nil)
  }

  // MARK: D4

  /// Two blocks of row 0 rot, the client writes another one, and then more than the log holds.
  ///
  /// What the write leaves behind is checked, and that the row is whole again when all of it has
  /// been written.
  private func writeBesideRot(_ lab: ArrayLab, rotten: [Int], written: Int) throws {
    let row = try lab.blocks(ofRow: 0, count: 3)
    for position in rotten {
      let home = try lab.home(row: 0, position: position)
      lab.media[home.slot].flipBits(at: home.range.offsetBytes + 5)
    }
    let far = try lab.blocks(ofRow: 16, count: 1)[0] * 4096
    try lab.play(seed: 3, milliseconds: 3000) { stage in
      try await stage.write(row[written], 2, durably: true)
      // It goes on only if the row's record does not stay in the log.
      for round in 0..<64 as Range<UInt8> {
        try await stage.client.write(far, [UInt8](repeating: round, count: 65536))
      }
      for position in 0..<3 {
        let expected: Found =
          position == written ? .version(2) : rotten.contains(position) ? .unreadable : .version(1)
        #expect(await stage.find(row[position]) == expected)
        if expected != .version(2) { try await stage.write(row[position], 2) }
      }
      try await stage.client.close()
    }
    for lost in 0..<4 {
      let found = try lab.found(row, without: [lost])
      #expect(found == [.version(2), .version(2), .version(2)], "without \(lost): \(found)")
    }
  }

  @Test("D4: two bad blocks of a RAID-5 row, and the client writes the third: it goes home")
  func writeBesideTwoBad() throws {
    let lab = try ArrayLab.filled(.raid5, memberCount: 4, positionCount: 3)
    lab.options.destageDelayNanoseconds = 1_000_000
    lab.options.sealDelayNanoseconds = 1_000_000
    try writeBesideRot(lab, rotten: [0, 1], written: 2)
  }

  @Test("D4: a bad block and bad parity, and the client writes another: the bad one becomes lost")
  func lostBlock() throws {
    for bug in [nil, PlantedBug.lostBlocksRow] {
      let lab = try ArrayLab.filled(.raid5, memberCount: 4, bug, positionCount: 3)
      lab.options.destageDelayNanoseconds = 1_000_000
      lab.options.sealDelayNanoseconds = 1_000_000
      if bug == nil {
        try writeBesideRot(lab, rotten: [1, 3], written: 0)
      } else {
        // The record is pinned, the log fills, and writes hang.
        let failure = #expect(throws: SimulationFailure.self) {
          try writeBesideRot(lab, rotten: [1, 3], written: 0)
        }
        #expect(failure?.isHang == true)
      }
    }
  }

  // MARK: D5, D6

  @Test("D5: a row changes while a read looks at its copies, and the read heals nothing of it")
  func readAndDestage() throws {
    for bug in [nil, PlantedBug.healWithoutRecheck] {
      var brokenCount = 0
      for seed in 3..<6 as Range<UInt64> {
        let lab = try ArrayLab.filled(.raid1, memberCount: 2, bug, blocks: [0])
        lab.options.destageDelayNanoseconds = 1_000_000
        lab.options.hedgeNanosecondsMin = 10_000_000_000
        let home = try lab.homes(row: 0)
        let (new, old) = (lab.block(2, 0), lab.block(1, 0))
        let (lost, seen) = (Box(0), Box(Found.version(1)))
        try lab.play(seed: seed) { stage in
          #expect(await stage.find(0) == .version(1))
          // The member that is asked has a bad moment, so the reader asks both; the other one takes
          // its time.
          stage.setLatency(microseconds: 1000)
          let plan = stage.machine.faultPlan
          let before = plan.count(of: .read)
          plan.fail(operation: before + 1, of: .read, with: .failure(5))
          stage.machine.start { seen.value = await stage.find(0) }
          #expect(await stage.wait { plan.count(of: .read) == before + 1 })
          let fast = stage.disks[0]?.inFlightCount == 1 ? 0 : 1
          let slow = 1 - fast
          lost.value = fast
          stage.setLatency(microseconds: 50, of: [fast])
          stage.setLatency(microseconds: 40_000, of: [slow])
          #expect(await stage.wait { plan.count(of: .read) == before + 3 })
          // Meanwhile the block goes home anew.
          stage.setLatency(microseconds: 50)
          try await stage.write(0, 2, durably: true)
          let isHome = await stage.wait(milliseconds: 30) {
            lab.media[0].durable.bytes(home[0]) == new && lab.media[1].durable.bytes(home[1]) == new
          }
          #expect(isHome)
          stage.setLatency(microseconds: 2000, synchronizeFactor: 1)
          _ = await stage.wait(milliseconds: 60) { lab.media[slow].live.bytes(home[slow]) == old }
          await stage.kill()
        }
        if try lab.found(0, without: [lost.value]) != .version(2) { brokenCount += 1 }
        #expect(try lab.found(0) == .version(2))
        // And no false corruption either.
        #expect(seen.value == .version(1) || seen.value == .version(2))
      }
      #expect((brokenCount > 0) == (bug != nil), "\(brokenCount)")
    }
  }

  @Test("D6: a damaged sector of parity and a lost member are two losses, and RAID-6 bears both")
  func damagedSector() throws {
    for bug in [nil, PlantedBug.solvedRowsUnverified] {
      let lab = try ArrayLab.filled(.raid6, memberCount: 4, bug, positionCount: 2)
      let row = try lab.blocks(ofRow: 0, count: 2)
      let (b, c) = (row[0], row[1])
      lab.options.destageDelayNanoseconds = 20_000_000
      try lab.play(seed: 4) { stage in
        stage.setLatency(microseconds: 50)
        try await stage.write(b, 2, durably: true)
        let before = stage.synchronizeCount
        // The intent on three members, then parity: it is being synced when the power goes.
        #expect(await stage.wait { stage.synchronizeCount == before + 5 })
        await stage.losePower()
      }
      let parity = try lab.home(row: 0, position: 2)
      let garbage = (0..<512).map { UInt8(truncatingIfNeeded: $0 &* 73) }
      lab.media[parity.slot].overwrite(at: parity.range.offsetBytes + 1024, with: garbage)
      let clean = try lab.home(row: 0, position: 1).slot
      let found = try lab.found([b, c], without: [clean])
      #expect((found == [.version(2), .version(1)]) == (bug == nil), "\(found)")
    }
  }

  // MARK: D7

  @Test("D7: a trim of a device that was never written costs nothing, however large it is")
  func wholeTrim() throws {
    for bug in [nil, PlantedBug.trimPinsForever] {
      let lab = ArrayLab(.raid5, memberCount: 3, memberByteCount: 16 << 20)
      lab.options.plantedBug = bug
      try lab.create(seed: 21)
      let machine = SimulatedMachine(seed: 22)
      let costs = Box(0)
      try machine.run {
        let client = try await lab.start(machine)
        let whole = ByteRange(from: 0, to: await client.byteCount)
        let before = machine.faultPlan.operationCount
        try await client.trim(whole)
        costs.value = machine.faultPlan.operationCount - before
        if bug == nil { try await client.close() }
      }
      machine.crash(.kill)
      #expect((costs.value == 0) == (bug == nil))
    }
  }

  @Test("D7: a trim of everything that was written does not hold the checkpoint")
  func writtenTrim() throws {
    for bug in [nil, PlantedBug.trimPinsForever] {
      let lab = try ArrayLab.filled(
        .raid5, memberCount: 3, bug, blocks: [0, 1000, 3000], memberByteCount: 16 << 20)
      lab.options.destageDelayNanoseconds = 1_000_000
      try lab.play(seed: 3) { stage in
        let before = stage.machine.faultPlan.operationCount
        try await stage.client.trim(ByteRange(from: 0, to: await stage.client.byteCount))
        try await stage.client.flush()
        await stage.pass(milliseconds: 200)
        let cost = stage.machine.faultPlan.operationCount - before
        #expect((cost < 40) == (bug == nil), "\(cost)")
        let status = await stage.client.status()
        // All that may lie behind it is the batch that was written last.
        #expect(bug != nil || status.checkpointSequence + 1 >= status.lastSequence)
        await stage.kill()
      }
      #expect(try lab.found([0, 1000, 3000]) == [.zeros, .zeros, .zeros])
    }
  }
}
