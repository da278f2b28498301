import Geometry
import IO
import Parity
import RAID
import Simulator
import TestSupport
import Testing
import Units
import Volumes

/// Data that ends with its own CRC32C, as PostgreSQL's pg_control and directory blocks of ext4 do: every CRC32C
/// of it is the same, whatever its version (ADR 0025).
@Suite("RAID: a lost write of data that ends with its own checksum")
struct OwnChecksumTests {
  /// A block of 4092 bytes and their CRC32C.
  private func block(_ lab: ArrayLab, _ version: UInt8) -> [UInt8] {
    let content = Array(lab.block(version, 0).prefix(4092))
    // Safe: the span is used while the array lives.
    let checksum = unsafe CRC32C.checksum(content.span.bytes)
    return content + (0..<4).map { UInt8(truncatingIfNeeded: checksum >> (8 * $0)) }
  }

  @Test(
    "P4: a member that kept the version before gives nobody the old data",
    arguments: [
      (RAIDLevel.raid1, 2, 0), (.raid1, 2, 1), (.raid5, 3, 0), (.raid6, 4, 0), (.raid10, 4, 0),
    ])
  func oldVersion(level: RAIDLevel, memberCount: Int, position: Int) throws {
    let lab = ArrayLab(level, memberCount: memberCount)
    try lab.create(seed: 1)
    var homes: [[UInt8]] = []
    for version in 1...2 as ClosedRange<UInt8> {
      let machine = SimulatedMachine(seed: UInt64(version) + 1)
      try machine.run {
        let client = try await lab.start(machine)
        try await client.write(0, self.block(lab, version))
        try await client.close()
      }
      homes.append(try home(lab, position))
    }
    #expect(homes[0] != homes[1], "the block is not home")
    // What a write that was acknowledged and lost leaves behind.
    let place = try lab.home(row: 0, position: position)
    let old = homes[0]
    let machine = SimulatedMachine(seed: 4)
    try machine.run {
      let disk = SimulatedDisk(machine, lab.media[place.slot])
      let memory = AlignedMemory.holding(old)
      try await disk.write(at: place.range.offsetBytes, from: memory.buffer.prefix(4096))
      try await disk.synchronize()
      withExtendedLifetime(memory) {}
      await disk.close()
    }
    let reader = SimulatedMachine(seed: 5)
    try reader.run {
      let client = try await lab.start(reader)
      for _ in 0..<20 {
        #expect(try await client.read(lab.range(0)) == self.block(lab, 2))
      }
      try await client.close()
    }
  }

  private func home(_ lab: ArrayLab, _ position: Int) throws -> [UInt8] {
    let place = try lab.home(row: 0, position: position)
    let memory = try #require(AlignedMemory(byteCount: 4096))
    defer { withExtendedLifetime(memory) {} }
    lab.media[place.slot].copyBytes(place.range, into: memory.buffer.prefix(4096))
    return memory.buffer.prefix(4096).array
  }
}
