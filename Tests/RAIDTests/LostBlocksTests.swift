import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import Testing
import Units
import Volumes

/// What an array says of blocks that it cannot give back.
@Suite("RAID: blocks beyond redundancy are told")
struct LostBlocksTests {
  private static let second: UInt64 = 1_000_000_000

  @Test(
    "a lost block makes the array damaged, is counted and named, until it is written or trimmed",
    arguments: [(RAIDLevel.raid0, 2), (.raid1, 2), (.raid5, 3), (.raid6, 4), (.raid10, 4)],
    [false, true])
  func isTold(shape: (level: RAIDLevel, memberCount: Int), isTrimmed: Bool) throws {
    let lab = ArrayLab(shape.level, memberCount: shape.memberCount)
    lab.options.destageDelayNanoseconds = 1_000_000
    try lab.create(seed: 1)
    let first = SimulatedMachine(seed: 2)
    try first.run {
      let client = try await lab.start(first)
      for number in 0..<8 as Range<UInt64> {
        try await client.write(number * 4096, lab.block(1, number))
      }
      try await client.close()
    }
    let geometry = try lab.geometry()
    for position in 0...geometry.redundancy {
      let home = try lab.home(row: 0, position: position)
      lab.media[home.slot].flipBits(at: home.range.offsetBytes)
    }
    let lost = try lab.blocks(ofRow: 0, count: min(geometry.dataCount, geometry.redundancy + 1))
    let second = SimulatedMachine(seed: 3)
    try second.run {
      let client = try await lab.start(second)
      // Nobody has met them.
      #expect(await client.status().state == .optimal)
      for block in lost {
        await #expect(throws: VolumeError.self) { try await client.read(lab.range(block)) }
      }
      // Told twice is not counted twice.
      _ = try? await client.read(lab.range(lost[0]))
      await second.sleep(nanoseconds: Self.second)
      let status = await client.status()
      #expect(status.state == .damaged)
      #expect(status.lostBlockCount == UInt64(lost.count))
      let named = status.lostRuns.flatMap { $0.firstBlock..<$0.firstBlock + $0.blockCount }
      #expect(named == lost.sorted())
      guard case .impaired(let cause, let action) = await client.health() else {
        Issue.record("blocks are lost, and the device is \(await client.health())")
        return
      }
      #expect(cause.contains("lost") && action.contains("write"))
      #expect(status.cause == cause)
      let told = status.events.compactMap(\.offsetBytes)
      #expect(told.sorted() == lost.map { $0 * 4096 }.sorted())
      for block in lost {
        if isTrimmed {
          try await client.trim(lab.range(block))
        } else {
          try await client.write(block * 4096, lab.block(2, block))
        }
      }
      #expect(await client.status().state == .optimal)
      await second.sleep(nanoseconds: Self.second)
      #expect(await client.status().state == .optimal)
      #expect(await client.health() == .optimal)
      for block in lost {
        let expected = isTrimmed ? [UInt8](repeating: 0, count: 4096) : lab.block(2, block)
        #expect(try await client.read(lab.range(block)) == expected)
      }
      try await client.close()
    }
  }

  @Test("a block that can be read again, because a member is back, is not lost any more")
  func comesBack() throws {
    let lab = ArrayLab(.raid5, memberCount: 3)
    lab.options.destageDelayNanoseconds = 1_000_000
    lab.options.readmissionDelayNanoseconds = 100_000_000
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let handles = lab.cables(machine)
      let client = try await lab.start(machine, cables: handles)
      let row = try lab.blocks(ofRow: 0, count: 2)
      for number in row { try await client.write(number * 4096, lab.block(1, number)) }
      try await client.flush()
      let block = row[0]
      await machine.sleep(nanoseconds: Self.second)
      let own = try lab.home(row: 0, position: 0)
      let other = try lab.home(row: 0, position: 1).slot
      handles[other].disk.cut()
      lab.media[own.slot].flipBits(at: own.range.offsetBytes)
      await #expect(throws: VolumeError.self) { try await client.read(lab.range(block)) }
      #expect(await client.wait(other, .out, nanoseconds: 10 * Self.second))
      #expect(await client.status().state == .damaged)
      #expect(await client.status().lostBlockCount == 1)
      #expect(await client.status().action.hasPrefix("see why at each member's line"))
      handles[other].disk.mend()
      #expect(await client.wait(other, .current, nanoseconds: 60 * Self.second))
      await machine.sleep(nanoseconds: Self.second)
      let status = await client.status()
      #expect(status.state == .optimal)
      #expect(status.lostBlockCount == 0)
      #expect(try await client.read(lab.range(block)) == lab.block(1, block))
      try await client.close()
    }
  }

  @Test("where too few members answer, no block is called lost")
  func absentIsNotLost() throws {
    let lab = ArrayLab(.raid5, memberCount: 3)
    lab.options.destageDelayNanoseconds = 1_000_000
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let handles = lab.cables(machine)
      let client = try await lab.start(machine, cables: handles)
      for number in 0..<8 as Range<UInt64> {
        try await client.write(number * 4096, lab.block(1, number))
      }
      try await client.flush()
      await machine.sleep(nanoseconds: Self.second)
      handles[1].disk.cut()
      handles[2].disk.cut()
      for number in 0..<8 as Range<UInt64> { _ = try? await client.read(lab.range(number)) }
      await machine.sleep(nanoseconds: Self.second)
      let status = await client.status()
      #expect(status.state == .failed)
      #expect(status.redundancyLeft == nil)
      #expect(status.lostBlockCount == 0)
      try? await client.close()
    }
  }

  @Test("a block that could not be read for a while is not lost when it has been read")
  func heals() throws {
    let lab = ArrayLab(.raid0, memberCount: 2)
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let client = try await lab.start(machine)
      try await client.write(0, lab.block(1, 0), durably: true)
      await machine.sleep(nanoseconds: Self.second)
      let home = try lab.home(row: 0, position: 0)
      lab.media[home.slot].flipBits(at: home.range.offsetBytes)
      await #expect(throws: VolumeError.self) { try await client.read(lab.range(0)) }
      #expect(await client.status().state == .damaged)
      lab.media[home.slot].flipBits(at: home.range.offsetBytes)
      #expect(try await client.read(lab.range(0)) == lab.block(1, 0))
      #expect(await client.status().state == .optimal)
      try await client.close()
    }
  }

  @Test("a healed block is a checksum error once")
  func healedIsCountedOnce() throws {
    let lab = ArrayLab(.raid5, memberCount: 3)
    try lab.create(seed: 1)
    let first = SimulatedMachine(seed: 2)
    try first.run {
      let client = try await lab.start(first)
      try await client.write(0, lab.block(1, 0))
      try await client.close()
    }
    let home = try lab.home(row: 0, position: 0)
    lab.media[home.slot].flipBits(at: home.range.offsetBytes)
    let second = SimulatedMachine(seed: 3)
    try second.run {
      let client = try await lab.start(second)
      #expect(try await client.read(lab.range(0)) == lab.block(1, 0))
      await second.sleep(nanoseconds: Self.second)
      let status = await client.status()
      #expect(status.members[home.slot].checksumErrorCount == 1)
      #expect(status.members[home.slot].healedCount == 1)
      #expect(status.healedBlockCount == 1)
      #expect(status.events.last?.offsetBytes == 0)
      #expect(status.state == .optimal)
      try await client.close()
    }
  }
}
