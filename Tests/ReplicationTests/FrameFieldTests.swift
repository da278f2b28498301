import DiskFormat
import IO
import Replication
import TestSupport
import Testing

/// Bodies with a right checksum, of which one field makes no sense.
@Suite("Replication: fields of frames")
struct FrameFieldTests {
  /// What a reader says to a golden frame whose body is changed.
  private func refusal(
    _ kind: StreamFrameKind, payloadBlockCount: UInt32? = nil, _ change: (IOBuffer) -> Void
  ) throws -> FormatError? {
    let frame = TestFrame(try GoldenFrames.message(kind))
    change(frame.body)
    if let payloadBlockCount { frame.head.storeUInt32(payloadBlockCount, at: 44) }
    frame.reseal()
    return frame.refusal()
  }

  private func expect(
    _ kind: StreamFrameKind, byte: UInt8, at offset: Int, _ name: String, _ value: UInt64? = nil,
    _ location: SourceLocation = #_sourceLocation
  ) throws {
    #expect(
      try refusal(kind) { $0.storeUInt8(byte, at: offset) }
        == .field(name: name, value: value ?? UInt64(byte)), sourceLocation: location)
  }

  private func expect(
    _ kind: StreamFrameKind, half: UInt32, at offset: Int, _ name: String, _ value: UInt64? = nil,
    _ location: SourceLocation = #_sourceLocation
  ) throws {
    #expect(
      try refusal(kind) { $0.storeUInt32(half, at: offset) }
        == .field(name: name, value: value ?? UInt64(half)), sourceLocation: location)
  }

  private func expect(
    _ kind: StreamFrameKind, word: UInt64, at offset: Int, _ name: String, _ value: UInt64? = nil,
    _ location: SourceLocation = #_sourceLocation
  ) throws {
    #expect(
      try refusal(kind) { $0.storeUInt64(word, at: offset) }
        == .field(name: name, value: value ?? word), sourceLocation: location)
  }

  @Test("resealed without a change each is accepted", arguments: StreamFrameKind.allCases)
  func unchanged(kind: StreamFrameKind) throws {
    #expect(try refusal(kind) { _ in } == nil)
  }

  @Test(
    "no byte that is reserved, or padding, may be anything but zero",
    arguments: [
      (StreamFrameKind.hello, [62, 63, 92, 95, 124, 127, 155, 159]), (.chainAnswer, [13, 15]),
      (.records, [20, 23, 25, 27, 57, 59, 84, 87, 89, 95]), (.refusal, [20, 23, 36, 39]),
      (.standing, [11, 15]), (.copyBegin, [21, 23, 52, 55]), (.copyBlocks, [20, 23, 28, 31]),
      (.checksumsWanted, [20, 23]), (.checksums, [28, 31, 35, 39]), (.handOver, [12, 15]),
      (.blocksWanted, [20, 23]), (.blocks, [20, 23, 27, 31, 44, 47]),
    ])
  func reserved(kind: StreamFrameKind, offsets: [Int]) throws {
    for offset in offsets { try expect(kind, byte: 9, at: offset, "reserved") }
  }

  @Test("a hello with impossible values is refused by field and value")
  func hello() throws {
    #expect(
      try refusal(.hello) { $0.prefix(16).fill(with: 0) } == .field(name: "nodeID", value: 0))
    try expect(.hello, word: 0, at: 32, "blockCount")
    try expect(.hello, word: 1 << 51, at: 32, "blockCount")
    try expect(.hello, word: .max, at: 32, "blockCount")
    for role: UInt8 in [3, 255] { try expect(.hello, byte: role, at: 56, "role") }
    for flags: UInt8 in [16, 128, 255] { try expect(.hello, byte: flags, at: 57, "flags") }
    for policy: UInt8 in [2, 255] { try expect(.hello, byte: policy, at: 58, "lossPolicy") }
    for mode: UInt8 in [3, 255] { try expect(.hello, byte: mode, at: 59, "mode") }
    for count: UInt8 in [0, 17, 255] { try expect(.hello, byte: count, at: 60, "timelineCount") }
    // More than there are; fewer leave bytes over, which are no address.
    try expect(.hello, byte: 5, at: 60, "timelineCount")
    for count: UInt8 in [149, 255] { try expect(.hello, byte: count, at: 61, "addressByteCount") }
    try expect(.hello, byte: 33, at: 61, "addressByteCount")
    try expect(.hello, byte: 24, at: 61, "bodyByteCount", 160)
    try expect(.hello, byte: 0xff, at: 128, "address")
    for control: UInt8 in [0, 9, 10, 27, 127] {
      try expect(.hello, byte: control, at: 130, "address")
    }
    try expect(.hello, half: 0, at: 52, "peerTimeoutMilliseconds")
    // A letter that is cut by the end of the address.
    #expect(try refusal(.hello) { $0.storeUInt8(0xc3, at: 154) }?.fieldName == "address")
  }

  @Test("a history that no node can have is refused: in a hello and in the beginning of a copy")
  func histories() throws {
    for (kind, first, position) in [
      (StreamFrameKind.hello, 64, 40), (.copyBegin, 24, 0),
    ] {
      // The first starts behind the second; both are the same; a position before the last start;
      // one at it with another chain.
      try expect(kind, word: 5001, at: first + 16, "timelines", 5703)
      #expect(
        try refusal(kind) {
          $0.slice(first + 32, 16).copy(from: $0.slice(first, 16))
        } == .field(name: "timelines", value: 5703))
      try expect(kind, word: 4999, at: position, "timelines")
      try expect(kind, word: 5000, at: position, "timelines")
    }
  }

  @Test("answers and acknowledgements that contradict themselves are refused")
  func answers() throws {
    try expect(.chainAnswer, byte: 2, at: 12, "isKnown")
    try expect(.chainAnswer, byte: 0, at: 12, "chain", 0x0bad_cafe)
    try expect(.acknowledgement, word: 5704, at: 8, "logged")
    try expect(.acknowledgement, word: 5703, at: 16, "durable")
    try expect(.acknowledgement, word: 5701, at: 0, "logged", 5702)
    #expect(try refusal(.acknowledgement) { $0.storeUInt64(5702, at: 16) } == nil)
  }

  @Test("refusals and standings with unknown values are refused")
  func codes() throws {
    for code: UInt8 in [0, 10, 255] { try expect(.refusal, byte: code, at: 16, "code") }
    try expect(.refusal, byte: 1, at: 17, "code", 258)
    #expect(
      try refusal(.refusal) { $0.storeUInt8(2, at: 19) }
        == .field(name: "wordsByteCount", value: 524))
    try expect(.refusal, byte: 17, at: 18, "wordsByteCount")
    try expect(.refusal, byte: 8, at: 18, "bodyByteCount", 40)
    try expect(.refusal, byte: 0x80, at: 24, "words")
    try expect(.refusal, byte: 10, at: 24, "words")
    for byte: UInt8 in [2, 255] { try expect(.standing, byte: byte, at: 8, "counts") }
    for byte: UInt8 in [2, 255] { try expect(.standing, byte: byte, at: 9, "lossPolicy") }
    for byte: UInt8 in [3, 255] { try expect(.standing, byte: byte, at: 10, "mode") }
  }

  @Test("the words of a refusal have at most 512 bytes, whatever the body has room for")
  func longWords() {
    var frame = TestFrame(
      .refusal(Refusal(code: .other, words: String(repeating: "a", count: 512))))
    #expect(frame.refusal() == nil)
    frame.resize(bodyByteCount: 24 + 520)
    frame.body.storeUInt8(0x61, at: 24 + 512)
    frame.body.storeUInt8(1, at: 18)
    frame.reseal()
    #expect(frame.refusal() == .field(name: "wordsByteCount", value: 513))
  }
}

/// The same of lists of records and blocks.
extension FrameFieldTests {
  // Where the records begin in the golden frame: `docs/formats/replication-stream.md` shows it.
  private static let firstWrite = 24
  private static let secondWrite = 56
  private static let trim = 88

  @Test("records with impossible values are refused by field and value")
  func records() throws {
    let (first, second, trim) = (Self.firstWrite, Self.secondWrite, Self.trim)
    // More than fit; more than there are; fewer leave bytes over.
    for count: UInt32 in [0, 4, .max] { try expect(.records, half: count, at: 16, "recordCount") }
    try expect(.records, half: 2, at: 16, "bodyByteCount", 120)
    try expect(.records, word: .max - 2, at: 0, "previousNumber")
    for kind: UInt8 in [0, 3, 4, 5, 6, 255] { try expect(.records, byte: kind, at: first, "kind") }
    for count: UInt32 in [0, 33, 4096, .max] {
      try expect(.records, half: count, at: first + 4, "blockCount")
    }
    // More than the payload has.
    try expect(.records, half: 4, at: first + 4, "blockCount")
    try expect(.records, word: .max - 1, at: first + 8, "firstBlock")
    // The last run that there can be is read; but the chain is another then.
    try expect(.records, word: .max - 2, at: first + 8, "endChain", 0x4b2d_76f8)
    for number: UInt64 in [0, 5700, 5702, .max] {
      try expect(.records, word: number, at: first + 16, "clientSequence")
    }
    try expect(.records, word: 5701, at: second + 16, "clientSequence")
    try expect(.records, word: 5702, at: trim + 24, "clientSequence")
    try expect(.records, word: 0, at: trim + 16, "blockCount")
    try expect(.records, word: .max - (1 << 20) + 1, at: trim + 16, "blockCount")
    try expect(.records, word: .max - (1 << 20), at: trim + 16, "endChain", 0x4b2d_76f8)
    // The numbers go on from what the head says.
    try expect(.records, word: 5701, at: 0, "clientSequence", 5701)
  }

  @Test("whatever of records is changed, the chain no longer follows, even where all else is right")
  func chain() throws {
    // The chains themselves; first blocks, a checksum of each write, the trim's count.
    for offset in [8, 12] + [32, 48, 52, 64, 80, 96, 104] {
      let refusal = try refusal(.records) { $0.storeUInt8($0[offset] ^ 1, at: offset) }
      #expect(refusal?.fieldName == "endChain", "\(offset)")
    }
  }

  @Test("payload that is not what records and copies name is refused")
  func payloadCounts() throws {
    for count: UInt32 in [0, 1] {
      #expect(
        try refusal(.records, payloadBlockCount: count) { _ in }
          == .field(name: "blockCount", value: 2))
    }
    #expect(
      try refusal(.records, payloadBlockCount: 2) { _ in } == .field(name: "blockCount", value: 1))
    for count: UInt32 in [4, 1024] {
      #expect(
        try refusal(.records, payloadBlockCount: count) { _ in }
          == .field(name: "payloadBlockCount", value: UInt64(count)))
    }
    for count: UInt32 in [0, 1, 3, 4, 1024] {
      #expect(
        try refusal(.copyBlocks, payloadBlockCount: count) { _ in }
          == .field(name: "payloadBlockCount", value: UInt64(count)))
    }
  }

  @Test("a write of 33 blocks is refused, however much payload there is")
  func longWrite() {
    var records = StreamRecords(
      previousNumber: 0, previousChain: 0, endChain: 0,
      records: [.write(run: BlockRun(firstBlock: 0, blockCount: 32), blocks: 0..<32)],
      checksums: Array(repeating: 5, count: 32))
    records.endChain = records.computedEndChain
    var frame = TestFrame(.records(records))
    #expect(frame.refusal() == nil)
    frame.resize(bodyByteCount: 24 + LogBatchEncoder.writeRecordBytes(blockCount: 33))
    frame.body.storeUInt32(33, at: 28)
    frame.head.storeUInt32(33, at: 44)
    frame.reseal()
    #expect(frame.refusal() == .field(name: "blockCount", value: 33))
  }

  @Test("a list of blocks with impossible values is refused by field and value")
  func blocks() throws {
    for (kind, count, list, sums, second, name, max) in [
      (.copyBlocks, 16, 24, 32, 4, "checksums", 256), (.blocks, 16, 24, 32, 4, "checksums", 256),
      (.checksums, 24, 32, 40, 8, "hashes", 16384),
    ] as [(StreamFrameKind, Int, Int, Int, Int, String, UInt32)] {
      for blockCount in [0, max + 1, .max] {
        try expect(kind, half: blockCount, at: count, "blockCount")
      }
      // As many as are allowed, but not there.
      try expect(kind, half: max, at: count, "blockCount")
      for state: UInt8 in [3, 255] { try expect(kind, byte: state, at: list, "states") }
      // The first is written; without that its checksum is none.
      for state: UInt8 in [0, 2] {
        #expect(try refusal(kind) { $0.storeUInt8(state, at: list) }?.fieldName == name)
      }
      // The second is not.
      try expect(kind, half: 7, at: sums + second, name)
      try expect(kind, word: .max, at: 8, "firstBlock")
    }
    try expect(.copyBlocks, word: 0, at: 0, "copyNumber")
  }

  @Test("a question for too many blocks, or for some behind the last number, is refused")
  func questions() throws {
    for count: UInt32 in [0, 16385, .max] {
      try expect(.checksumsWanted, half: count, at: 16, "blockCount")
    }
    try expect(.checksumsWanted, word: .max - 16383, at: 8, "firstBlock")
    #expect(try refusal(.checksumsWanted) { $0.storeUInt64(.max - 16384, at: 8) } == nil)
    for count: UInt32 in [0, 257, .max] {
      try expect(.blocksWanted, half: count, at: 16, "blockCount")
    }
    try expect(.blocksWanted, word: 0, at: 0, "requestNumber")
    try expect(.blocksWanted, word: .max - 255, at: 8, "firstBlock")
    #expect(try refusal(.blocksWanted) { $0.storeUInt64(.max - 256, at: 8) } == nil)
  }
}
