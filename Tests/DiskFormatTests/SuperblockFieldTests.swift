import DiskFormat
import Geometry
import IO
import TestSupport
import Testing

@Suite("DiskFormat: superblock fields")
struct SuperblockFieldTests {
  private typealias Field = Superblock.Field

  /// What a reader says to a good superblock with some bytes changed and a right checksum.
  private func refusal(_ change: (IOBuffer) -> Void) throws -> FormatError? {
    let memory = AlignedMemory.ofTest(4096)
    let bytes = memory.buffer
    try Golden.superblock().encode(into: bytes)
    change(bytes)
    bytes.reseal()
    return DiskFormatTests.refusal { () throws(FormatError) in try Superblock.decode(bytes) }
  }

  private func expect(_ field: Field, byte: UInt8, at index: Int = 0) throws {
    #expect(
      try refusal { $0.storeUInt8(byte, at: field.offset + index) }?.fieldName == field.rawValue,
      "\(field) with \(byte) at \(index)")
  }

  private func expect(_ field: Field, word: UInt64) throws {
    #expect(
      try refusal { $0.storeUInt64(word, at: field.offset) }?.fieldName == field.rawValue,
      "\(field) with \(word)")
  }

  @Test("resealed without a change it is accepted")
  func unchanged() throws {
    #expect(try refusal { _ in } == nil)
  }

  @Test("a level, state or count that does not exist is refused by name")
  func numbers() throws {
    for level: UInt8 in [2, 3, 4, 7, 11, 255] { try expect(.level, byte: level) }
    for count: UInt8 in [33, 255] { try expect(.memberCount, byte: count) }
    for slot: UInt8 in [4, 255] { try expect(.slot, byte: slot) }
    for clean: UInt8 in [2, 255] { try expect(.isClean, byte: clean) }
    for count: UInt8 in [17, 255] { try expect(.timelineCount, byte: count) }
    // Of 3 events none can have more than 3 before it.
    for count: UInt8 in [4, 33, 255] { try expect(.configurationHistoryCount, byte: count) }
    for count: UInt8 in [65, 255] { try expect(.nameByteCount, byte: count) }
    for state: UInt8 in [4, 255] { try expect(.memberStates, byte: state, at: 3) }
  }

  @Test("fewer members than the level needs are refused")
  func tooFewMembers() throws {
    for count: UInt8 in [0, 1, 2] {
      let error = try refusal {
        $0.storeUInt8(count, at: Field.memberCount.offset)
        // No trace of the others.
        $0.slice(Field.memberStates.offset, 32).fill(with: 0)
        let used = Field.memberIDs.offset + Int(count) * 16
        $0.slice(used, Field.memberIDs.byteRange.upperBound - used).fill(with: 0)
      }
      #expect(error == .field(name: "memberCount", value: UInt64(count)))
    }
  }

  @Test("a chunk, size or layout that does not fit the others is refused by name")
  func layout() throws {
    for bytes: UInt64 in [0, 1, 2048, 4097, 12288, 2 << 20, 1 << 63, .max] {
      try expect(.chunkBytes, word: bytes)
    }
    for blocks: UInt64 in [0, 1, 15, 17, 262_145, 1 << 48, 1 << 60, .max] {
      try expect(.memberBlockCount, word: blocks)
    }
    for bytes: UInt64 in [0, 1, 4095, (64 << 20) + 1, 1 << 60, 1 << 63, .max] {
      try expect(.logByteCount, word: bytes)
    }
    let offsets: [Field] = [
      .logOffset, .tableOffset, .tableByteCount, .mapOffset, .mapByteCount, .dataOffset,
    ]
    for field in offsets {
      for word: UInt64 in [0, 4096, 1, .max] { try expect(field, word: word) }
    }
    // One more block of log moves all behind it.
    #expect(
      try refusal { $0.storeUInt64((64 << 20) + 4096, at: Field.logByteCount.offset) }?.fieldName
        == "tableOffset")
    for offset: UInt64 in [1, 4095, (64 << 20) + 4096, .max] {
      try expect(.logTailOffset, word: offset)
    }
  }

  @Test("the largest members there may be overflow nothing", arguments: RAIDLevel.allCases)
  func largest(level: RAIDLevel) throws {
    for count in [level.memberCountMin, 7, 32] {
      let geometry = try StripeGeometry(
        level: level, memberCount: count, chunkBytes: 4096, memberBlockCount: 1 << 48 - 1)
      let logByteCount = Superblock.logBytesBound - 4096
      var superblock = try Golden.superblock()
      superblock.level = level
      superblock.memberCount = count
      superblock.chunkBytes = 4096
      superblock.memberBlockCount = geometry.memberBlockCount
      superblock.layout = MemberLayout(geometry: geometry, logByteCount: logByteCount)
      superblock.memberIDs = (0..<count).map { Identifier(high: 1, low: UInt64($0)) }
      superblock.slot = count - 1
      superblock.memberID = superblock.memberIDs[count - 1]
      superblock.memberStates = Array(repeating: .current, count: count)
      superblock.logTailOffset = logByteCount
      let memory = AlignedMemory.ofTest(4096)
      superblock.encode(into: memory.buffer)
      #expect(try Superblock.decode(memory.buffer) == superblock)
      #expect(superblock.layout.endBytes(geometry: geometry) < 1 << 63)
    }
  }

  @Test("a name that is not UTF-8, or has control characters, is refused")
  func name() throws {
    for byte: UInt8 in [0x00, 0x0a, 0x1b, 0x7f, 0x80, 0xc0, 0xff] {
      try expect(.name, byte: byte, at: 1)
    }
    // U+0085, a control character of two bytes.
    #expect(
      try refusal {
        $0.storeUInt8(0xc2, at: Field.name.offset)
        $0.storeUInt8(0x85, at: Field.name.offset + 1)
      } == .field(name: "name", value: 0x85))
    // A letter that is cut at the end.
    #expect(
      try refusal { $0.storeUInt8(0xc3, at: Field.name.offset + 5) }?.fieldName == "name")
  }

  @Test("identifiers of nobody, or of one member in two slots, are refused")
  func identifiers() throws {
    func clear(_ field: Field, at index: Int = 0) -> (IOBuffer) -> Void {
      { $0.slice(field.offset + index * 16, 16).fill(with: 0) }
    }
    #expect(try refusal(clear(.arrayID))?.fieldName == "arrayID")
    #expect(try refusal(clear(.memberID))?.fieldName == "memberID")
    #expect(try refusal(clear(.timelines))?.fieldName == "timelines")
    #expect(
      try refusal(clear(.configurationHistory, at: 1))
        == .field(name: "configurationHistory", value: 1))
    // Slot 1 is out: nobody need be there. Slot 0 is current.
    #expect(try refusal(clear(.memberIDs, at: 1)) == nil)
    #expect(try refusal(clear(.memberIDs, at: 0)) == .field(name: "memberIDs", value: 0))
    #expect(try refusal(clear(.memberIDs, at: 2)) == .field(name: "memberIDs", value: 2))
    #expect(
      try refusal {
        $0.slice(Field.memberIDs.offset + 48, 16).copy(
          from: $0.slice(Field.memberIDs.offset, 16))
      } == .field(name: "memberIDs", value: 3))
  }

  @Test("only a member can have been failed: not nobody")
  func failedMember() throws {
    let states = Field.memberStates.offset
    #expect(try refusal { $0.storeUInt8(3, at: states + 1) } == nil)
    #expect(
      try refusal {
        $0.storeUInt8(3, at: states + 1)
        $0.slice(Field.memberIDs.offset + 16, 16).fill(with: 0)
      } == .field(name: "memberIDs", value: 1))
  }

  @Test("a reserve in a seat, as a spare and as a replacement, says who it is and reads back")
  func reserves() throws {
    var superblock = try Golden.superblock()
    let spare = Identifier(high: 7, low: 7)
    superblock.reserves = [
      Reserve(seat: 4, memberID: spare),
      Reserve(seat: 11, memberID: Identifier(high: 7, low: 8), targetSlot: 3),
    ]
    (superblock.slot, superblock.memberID) = (4, spare)
    let memory = AlignedMemory.ofTest(4096)
    let bytes = memory.buffer
    superblock.encode(into: bytes)
    #expect(try Superblock.decode(bytes) == superblock)
    // Nobody in its seat, or somebody else.
    bytes.storeUInt8(5, at: Field.slot.offset)
    bytes.reseal()
    #expect(
      DiskFormatTests.refusal { () throws(FormatError) in try Superblock.decode(bytes) }
        == .field(name: "slot", value: 5))
    bytes.storeUInt8(11, at: Field.slot.offset)
    bytes.reseal()
    #expect(
      DiskFormatTests.refusal { () throws(FormatError) in try Superblock.decode(bytes) }
        == .field(name: "reserveIDs", value: 7))
  }

  @Test("a target without a reserve, or that no slot has, and a member twice are refused")
  func impossibleReserves() throws {
    try expect(.reserveTargets, byte: 1, at: 7)
    for target: UInt8 in [5, 255] {
      #expect(
        try refusal {
          $0.storeUInt8(1, at: Field.reserveIDs.offset)
          $0.storeUInt8(target, at: Field.reserveTargets.offset)
        }?.fieldName == "reserveTargets")
    }
    // The target of two.
    #expect(
      try refusal {
        for index in 0..<2 {
          $0.storeUInt8(UInt8(index + 1), at: Field.reserveIDs.offset + index * 16)
          $0.storeUInt8(2, at: Field.reserveTargets.offset + index)
        }
      } == .field(name: "reserveTargets", value: 1))
    let golden = try Golden.superblock()
    for twice in [golden.memberIDs[1], Identifier(high: 1, low: 2)] {
      let error = try refusal {
        for (index, memberID) in [(0, Identifier(high: 1, low: 2)), (3, twice)] {
          let offset = Field.reserveIDs.offset + index * 16
          $0.storeUInt64(memberID.high.byteSwapped, at: offset)
          $0.storeUInt64(memberID.low.byteSwapped, at: offset + 8)
        }
      }
      #expect(error == .field(name: "reserveIDs", value: 3))
    }
  }

  @Test("a log policy that is not known is refused, and each that is known opens")
  func logPolicy() throws {
    try expect(.logPolicy, byte: 2)
    try expect(.logPolicy, byte: 255)
    #expect(try refusal { $0.storeUInt8(1, at: Field.logPolicy.offset) } == nil)
    for policy in LogPolicy.allCases { #expect(LogPolicy(name: policy.name) == policy) }
    #expect(LogPolicy(name: "none") == nil)
  }

  @Test("bytes that this version leaves unused are refused when they are not zero")
  func unused() throws {
    for field: Field in [.reserved3] {
      try expect(field, byte: 1)
      try expect(field, byte: 1, at: field.byteRange.count - 1)
    }
    try expect(.name, byte: 0x61, at: 6)
    try expect(.memberStates, byte: 1, at: 4)
    try expect(.memberIDs, byte: 1, at: 4 * 16)
    try expect(.timelines, byte: 1, at: 24)
    try expect(.timelines, byte: 1, at: 383)
    try expect(.configurationHistory, byte: 1, at: 2 * 16)
    try expect(.configurationHistory, byte: 1, at: 511)
  }

  @Test("a superblock of a later version is intact, a damaged or short one is not")
  func intact() throws {
    let memory = AlignedMemory.ofTest(4096)
    try Golden.superblock().encode(into: memory.buffer)
    let bytes = memory.buffer
    #expect(Superblock.isIntact(bytes))
    bytes.storeUInt32(3, at: Field.version.offset)
    #expect(!Superblock.isIntact(bytes))
    bytes.reseal()
    #expect(Superblock.isIntact(bytes))
    #expect(!Superblock.isIntact(bytes.prefix(4095)))
    bytes.flipBit(4095 * 8)
    #expect(!Superblock.isIntact(bytes))
  }

  @Test("what no reader would accept is not written")
  func notWritten() async {
    await #expect(processExitsWith: .failure) {
      var superblock = try Golden.superblock()
      superblock.memberStates.removeLast()
      let memory = AlignedMemory.ofTest(4096)
      superblock.encode(into: memory.buffer)
      withExtendedLifetime(memory) {}
    }
    await #expect(processExitsWith: .failure) {
      var superblock = try Golden.superblock()
      superblock.name = String(repeating: "a", count: 65)
      let memory = AlignedMemory.ofTest(4096)
      superblock.encode(into: memory.buffer)
      withExtendedLifetime(memory) {}
    }
  }
}
