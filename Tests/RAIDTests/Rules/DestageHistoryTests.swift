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
        for (index, version) in versions.enumerated() {
          try await stage.write(blocks[0], version, durably: true)
          acknowledged.value = version
          let plan = stage.machine.faultPlan
          if index == versions.count - 1 {
            plan.fail(operation: plan.operationCount + count, with: .crash(.powerLoss))
          }
          // The next version comes while the first is on its way.
          await stage.pass(milliseconds: version == versions.last ? 60 : 7)
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

  @Test("D4: two bad blocks of a RAID-5 row are lost, and a write to a third goes home")
  func lostBlocks() throws {
    do {
      let lab = ArrayLab(.raid5, memberCount: 4)
      try lab.create(seed: 11)
      let maker = SimulatedMachine(seed: 12)
      let geometry = try lab.geometry()
      let blocks = (0..<3).map { geometry.block(ofRow: 0, position: $0) }
      try maker.run {
        let client = try await lab.start(maker)
        for block in blocks { try await client.write(block * 4096, lab.block(1, block)) }
        try await client.close()
      }
      for position in 0..<2 {
        let slot = geometry.place(ofRow: 0, position: position).slot
        lab.media[slot].flipBits(at: try lab.layout().dataOffset + 5)
      }
      let machine = SimulatedMachine(seed: 13)
      let outcome = Result {
        try machine.run(within: Simulation.Limits(virtualNanoseconds: 30_000_000_000)) {
          let client = try await lab.start(machine)
          try await client.write(blocks[2] * 4096, lab.block(2, blocks[2]), durably: true)
          // More than the log holds: it goes on only if the row's record does not stay in it.
          let far = geometry.block(ofRow: 16, position: 0) * 4096
          for round in 0..<64 {
            try await client.write(far, [UInt8](repeating: UInt8(round), count: 65536))
          }
          #expect(
            try await client.read(lab.range(blocks[2]))
              == lab.block(2, blocks[2]))
          for block in blocks[..<2] {
            await #expect(throws: VolumeError.self) {
              try await client.read(lab.range(block))
            }
            try await client.write(block * 4096, lab.block(3, block))
          }
          try await client.close()
        }
      }
      try outcome.get()
      // What was written is whole again, without any one member.
      for lost in 0..<4 {
        let copy = ArrayLab(.raid5, memberCount: 4, copying: lab)
        copy.options.isForced = true
        let reader = SimulatedMachine(seed: 14)
        try reader.run {
          let client = try await copy.start(reader, without: SlotSet([lost]))
          for (position, block) in blocks.enumerated() {
            let found = try await client.read(
              lab.range(block))
            #expect(found == lab.block(position == 2 ? 2 : 3, block))
          }
          try await client.close()
        }
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
        let lost = Box(0)
        try lab.play(seed: seed) { stage in
          #expect(await stage.find(0) == .version(1))
          // The member that is asked has a bad moment, so the reader asks both; the other one takes
          // its time.
          stage.setLatency(microseconds: 1000)
          let plan = stage.machine.faultPlan
          let before = plan.count(of: .read)
          plan.fail(operation: before + 1, of: .read, with: .failure(5))
          stage.machine.start { _ = await stage.find(0) }
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
}
