import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// Promise P6: a request of up to 64 KiB is there as a whole after a crash, or not at all.
@Suite("RAID: requests are atomic (P6)")
struct AtomicRequestTests {
  /// What is written over what, where: across rows, and beside sectors of others.
  private static let areaByteCount = 128 << 10
  private static let old = [UInt8](repeating: 1, count: areaByteCount)

  @Test(
    "16 KiB and 64 KiB are whole or absent after a crash at any operation, with members lost in it",
    arguments: [RAIDLevel.raid0, .raid1, .raid5, .raid6, .raid10], [16384, 65536])
  func wholeOrAbsent(level: RAIDLevel, byteCount: Int) throws {
    let lab = try Self.filledLab(level)
    let losses = Self.losses(level, memberCount: lab.media.count)
    // One of the sizes begins and ends inside a block.
    let offset = byteCount == 16384 ? 25088 : 24576
    var whole = Self.old
    whole.replaceSubrange(
      offset..<offset + byteCount, with: [UInt8](repeating: 2, count: byteCount))
    var number = 0
    var wasSeen: Set<Bool> = []
    while true {
      number += 1
      let kind = number % 3 == 0 ? CrashKind.kill : .powerLoss
      let torn = ArrayLab(level, memberCount: lab.media.count, copying: lab)
      let (wasHit, isAcknowledged) = try Self.crash(torn, at: number, kind, offset, byteCount)
      guard wasHit else { break }
      let found = try Self.read(torn, without: losses[number % losses.count], seed: number)
      let isThere = found[offset] == 2
      #expect(found == (isThere ? whole : Self.old), "torn by a \(kind) at operation \(number)")
      #expect(isThere || !isAcknowledged || kind == .powerLoss)
      wasSeen.insert(isThere)
    }
    #expect(number > 5)
    #expect(wasSeen == [true, false], "crashes before and after it took effect")
  }

  private static func filledLab(_ level: RAIDLevel) throws -> ArrayLab {
    let memberCount =
      switch level {
      case .raid0: 2
      case .raid1, .raid5, .raid10: 3
      case .raid6: 4
      }
    let lab = ArrayLab(level, memberCount: memberCount)
    lab.options.destageDelayNanoseconds = 1_000_000
    lab.options.isForced = true
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let client = try await lab.start(machine)
      for start in stride(from: 0, to: Self.areaByteCount, by: 65536) {
        try await client.write(UInt64(start), Array(Self.old[start..<start + 65536]))
      }
      try await client.close()
    }
    return lab
  }

  /// Every set of members that may be lost, nobody among them.
  private static func losses(_ level: RAIDLevel, memberCount: Int) -> [SlotSet] {
    let most =
      switch level {
      case .raid0: 0
      case .raid5, .raid10: 1
      case .raid6: 2
      case .raid1: memberCount - 1
      }
    return (0..<1 << memberCount).map { bits in
      SlotSet((0..<memberCount).filter { bits & 1 << $0 != 0 })
    }.filter { $0.count <= most }
  }

  /// One write, flushed and taken home, until the operation of this number, counted from the write.
  private static func crash(
    _ lab: ArrayLab, at number: Int, _ kind: CrashKind, _ offset: Int, _ byteCount: Int
  ) throws -> (wasHit: Bool, isAcknowledged: Bool) {
    let machine = SimulatedMachine(seed: UInt64(number))
    let isAcknowledged = Box(false)
    try machine.run {
      let client = try await lab.start(machine)
      machine.faultPlan.fail(
        operation: machine.faultPlan.operationCount + number, with: .crash(kind))
      try await client.write(UInt64(offset), [UInt8](repeating: 2, count: byteCount))
      isAcknowledged.value = true
      try await client.flush()
      await machine.sleep(nanoseconds: 20_000_000)
      try await client.close()
    }
    return (machine.faultPlan.hitCount > 0, isAcknowledged.value)
  }

  private static func read(
    _ lab: ArrayLab, without lost: SlotSet, seed: Int
  ) throws -> [UInt8] {
    let machine = SimulatedMachine(seed: 1000 + UInt64(seed))
    let found = try machine.run {
      let client = try await lab.start(machine, without: lost)
      let bytes = try await client.read(ByteRange(from: 0, to: UInt64(areaByteCount)))
      try await client.close()
      return bytes
    }
    return try #require(found)
  }
}
