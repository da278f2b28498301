import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

@Suite("RAID: long reads")
struct LongReadTests {
  private static let areaBytes = 3 << 20
  private static let content: [UInt8] = {
    var random = RandomSource(seed: 11)
    return (0..<areaBytes / 8).flatMap { _ in
      let number = random.next()
      return (0..<8).map { UInt8(truncatingIfNeeded: number >> UInt64(8 * $0)) }
    }
  }()

  private static func latency(_ nanoseconds: UInt64) -> DiskLatency {
    DiskLatency(
      shortestNanoseconds: nanoseconds, longestNanoseconds: nanoseconds, slowPerMillion: 0)
  }

  /// An array whose first 3 MiB are full, all of it at home.
  private static func filled(
    _ level: RAIDLevel, memberCount: Int, chunkBytes: UInt64
  ) throws -> ArrayLab {
    let lab = ArrayLab(
      level, memberCount: memberCount, memberByteCount: 8 << 20, chunkBytes: chunkBytes)
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let client = try await lab.start(machine)
      for start in stride(from: 0, to: areaBytes, by: 65536) {
        try await client.write(UInt64(start), Array(content[start..<start + 65536]))
      }
      try await client.close()
    }
    return lab
  }

  @Test(
    "all of a mebibyte is asked for at once: it takes as long as one operation",
    arguments: [(RAIDLevel.raid5, 4), (.raid6, 4), (.raid10, 4), (.raid1, 2), (.raid0, 3)])
  func allAtOnce(level: RAIDLevel, memberCount: Int) throws {
    let lab = try Self.filled(level, memberCount: memberCount, chunkBytes: 65536)
    let machine = SimulatedMachine(seed: 3)
    try machine.run {
      let handles = lab.handles(machine)
      let client = try await lab.start(machine, handles)
      let range = ByteRange(from: 1 << 20, to: 2 << 20)
      // The pages of the table.
      _ = try await client.read(range)
      for handle in handles { handle.disk.latency = Self.latency(5_000_000) }
      let start = machine.nowNanoseconds
      let isRight = try await client.read(range) == Array(Self.content[1 << 20..<2 << 20])
      #expect(isRight)
      #expect(machine.nowNanoseconds - start < 10_000_000)
      try await client.close()
    }
  }

  @Test(
    "what a slow member brings late, by any of 256 operations, does not replace what was solved")
  func slowMember() throws {
    let lab = try Self.filled(.raid5, memberCount: 4, chunkBytes: 4096)
    lab.options.hedgeNanosecondsMin = 1_000_000
    let home = try lab.layout().dataOffset
    for (slow, milliseconds) in (0..<4).flatMap({ slow in [2, 5, 8].map { (slow, UInt64($0)) } }) {
      let copy = ArrayLab(.raid5, memberCount: 4, copying: lab)
      for row in 0..<UInt64(86) { copy.media[slow].flipBits(at: home + row * 4096) }
      let machine = SimulatedMachine(seed: 3 + milliseconds)
      try machine.run {
        let handles = copy.handles(machine)
        let client = try await copy.start(machine, handles)
        // Latencies, of what is not rotten.
        _ = try await client.read(ByteRange(from: 2 << 20, to: 3 << 20))
        handles[slow].disk.latency = Self.latency(milliseconds * 1_000_000)
        let found = try await client.read(ByteRange(from: 0, to: 1 << 20))
        let isRight = found == Array(Self.content[..<(1 << 20)])
        #expect(isRight, "\(slow) after \(milliseconds) ms")
        try await client.close()
      }
    }
  }

  @Test("more long reads at once than have long buffers, aligned or not, all bring what is there")
  func manyAtOnce() throws {
    let lab = try Self.filled(.raid5, memberCount: 4, chunkBytes: 65536)
    let machine = SimulatedMachine(seed: 3)
    try machine.run {
      let client = try await lab.start(machine)
      await withTaskGroup(of: Void.self) { group in
        for number in 0..<48 {
          group.addTask {
            let from = number * 37_517 % (1 << 20)
            let byteCount = 262_143 + number * 41_003
            let range = ByteRange(
              from: UInt64(from), to: UInt64(min(from + byteCount, Self.areaBytes)))
            let found = try? await client.read(range)
            let isRight = found == Array(Self.content[from..<Int(range.endBytes)])
            #expect(isRight, "\(range.byteCount) bytes from \(from)")
          }
        }
      }
      try await client.close()
    }
  }

  @Test("a long read with rot in the middle is healed, block by block")
  func rotInside() throws {
    let lab = try Self.filled(.raid5, memberCount: 4, chunkBytes: 65536)
    let block = 300
    let wanted = Array(Self.content[block * 4096..<(block + 1) * 4096])
    // Home comes behind the log, which has a copy as well.
    var place: (slot: Int, offsetBytes: UInt64)?
    for slot in lab.media.indices {
      for offset in stride(from: 0, to: lab.media[slot].live.byteCount, by: 4096)
      where lab.media[slot].live.bytes(ByteRange(from: offset, to: offset + 4096)) == wanted {
        if offset > place?.offsetBytes ?? 0 { place = (slot, offset) }
      }
    }
    let (slot, offset) = try #require(place)
    lab.media[slot].flipBits(at: offset)
    let machine = SimulatedMachine(seed: 3)
    try machine.run {
      let client = try await lab.start(machine)
      let found = try await client.read(ByteRange(from: 1 << 20, to: 2 << 20))
      let isRight = found == Array(Self.content[1 << 20..<2 << 20])
      #expect(isRight)
      // The keeper of home heals behind the read.
      for _ in 0..<200 where await client.status().healedBlockCount == 0 {
        await machine.sleep(nanoseconds: 10_000_000)
      }
      try await client.close()
    }
    let healed = lab.media[slot].live.bytes(ByteRange(from: offset, to: offset + 4096))
    #expect(healed == wanted)
  }
}
