import DiskFormat
import IO
import TestSupport
import Testing

@Suite("DiskFormat: configuration history")
struct ConfigurationHistoryTests {
  private func history(_ count: Int) -> [Identifier] {
    (0..<count).map { Identifier(high: 7, low: UInt64($0) + 1) }
  }

  private func sample(seed: UInt64, historyCount: Int) throws -> Superblock {
    var samples = Samples(seed: seed)
    var superblock = try samples.superblock()
    superblock.eventCount = 40
    superblock.configurationHistory = history(historyCount)
    return superblock
  }

  @Test("reads as it was written, from none to as many as there may be", arguments: [0, 1, 31, 32])
  func roundTrip(count: Int) throws {
    let superblock = try sample(seed: UInt64(count), historyCount: count)
    let memory = AlignedMemory.ofTest(4096)
    superblock.encode(into: memory.buffer)
    #expect(try Superblock.decode(memory.buffer) == superblock)
    #expect(Superblock.isIntact(memory.buffer))
  }

  @Test("is refused when it is longer than the event count, too long, or names nothing")
  func refused() throws {
    var superblock = try sample(seed: 1, historyCount: 3)
    superblock.eventCount = 2
    #expect(throws: FormatError.field(name: "configurationHistoryCount", value: 3)) {
      try superblock.validate()
    }
    superblock.eventCount = 3
    try superblock.validate()
    superblock.configurationHistory[2] = .none
    #expect(throws: FormatError.field(name: "configurationHistory", value: 2)) {
      try superblock.validate()
    }
    superblock.eventCount = 100
    superblock.configurationHistory = history(33)
    #expect(throws: FormatError.field(name: "configurationHistoryCount", value: 33)) {
      try superblock.validate()
    }
  }

  @Test("a damaged version number leaves the superblock not intact")
  func damagedVersion() throws {
    let memory = AlignedMemory.ofTest(4096)
    try sample(seed: 2, historyCount: 2).encode(into: memory.buffer)
    let buffer = memory.buffer
    buffer.storeUInt8(3, at: Superblock.Field.version.offset)
    #expect(throws: FormatError.version(found: 3, supported: 2)) {
      try Superblock.decode(buffer)
    }
    #expect(!Superblock.isIntact(buffer))
  }
}
