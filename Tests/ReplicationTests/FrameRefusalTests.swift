import DiskFormat
import IO
import Replication
import TestSupport
import Testing

@Suite("Replication: frames that are refused")
struct FrameRefusalTests {
  // MARK: Damage

  @Test("every single bit flip of head and body is refused", arguments: StreamFrameKind.allCases)
  func everyBit(kind: StreamFrameKind) throws {
    let frame = TestFrame(try GoldenFrames.message(kind), timelineID: GoldenFrames.timelineID)
    let bytes = frame.bytes
    var wrong: [Int] = []
    for bit in 0..<bytes.byteCount * 8 {
      bytes.storeUInt8(bytes[bit / 8] ^ 1 << UInt8(bit % 8), at: bit / 8)
      let isExpected =
        switch frame.refusal() {
        case nil, .misplaced: false
        case .noMagic: bit / 8 < 8
        case .version: (8..<12).contains(bit / 8)
        // Only the head is looked at before the checksum.
        case .field: (32..<64).contains(bit / 8)
        case .checksum: bit / 8 >= 12
        }
      if !isExpected { wrong.append(bit) }
      bytes.storeUInt8(bytes[bit / 8] ^ 1 << UInt8(bit % 8), at: bit / 8)
    }
    #expect(wrong.isEmpty)
    #expect(frame.refusal() == nil)
  }

  @Test(
    "a body that is shorter or longer than it should be is refused, with a right checksum, too",
    arguments: StreamFrameKind.allCases)
  func everyLength(kind: StreamFrameKind) throws {
    let message = try GoldenFrames.message(kind)
    let wholeByteCount = TestFrame(message).body.byteCount
    for bodyByteCount in stride(from: 0, through: wholeByteCount + 64, by: 8) {
      var frame = TestFrame(message)
      frame.resize(bodyByteCount: bodyByteCount)
      frame.reseal()
      let refusal = frame.refusal()
      #expect((refusal == nil) == (bodyByteCount == wholeByteCount), "\(bodyByteCount)")
      #expect(refusal == nil || refusal?.fieldName != nil)
    }
    // Fewer bytes than the head says.
    let frame = TestFrame(message)
    let cut = frame.body.prefix(wholeByteCount - 8)
    #expect(throws: FormatError.field(name: "bodyByteCount", value: UInt64(wholeByteCount))) {
      _ = try StreamMessage.verify(head: frame.head, body: cut)
    }
  }

  @Test("bytes with a right checksum never trap, and what is accepted is what is written")
  func fuzz() throws {
    var (acceptedCount, refusedCount) = (0, 0)
    let payload = AlignedMemory.ofTest(StreamFrameHead.payloadBlocksMax * 4096)
    let written = AlignedMemory.ofTest(StreamFrameHead.byteCount + StreamFrameHead.bodyBytesMax)
    for seed in Seeds.of(400) {
      var samples = FrameSamples(seed: seed)
      for kind in StreamFrameKind.allCases {
        var frame = TestFrame(samples.message(kind))
        for _ in 0..<8 {
          damage(&frame, &samples)
          guard case (let head, let message)? = try? frame.read() else {
            refusedCount += 1
            continue
          }
          acceptedCount += 1
          let byteCount = message.encode(
            into: written.buffer, timelineID: head.timelineID, frameNumber: head.frameNumber)
          #expect(
            written.buffer.prefix(byteCount).isEqual(to: frame.bytes),
            "\(Seeds.replay(seed, "FrameRefusalTests"))")
          check(message, payload.buffer.prefix(samples.below(4) * 4096))
        }
      }
    }
    // Neither alone would show anything.
    #expect(acceptedCount > refusedCount / 50 && refusedCount > acceptedCount / 50)
  }

  /// Changes some bytes, or all, or the length, and makes the checksum right.
  private func damage(_ frame: inout TestFrame, _ samples: inout FrameSamples) {
    if samples.below(8) == 0 { frame.resize(bodyByteCount: samples.below(40) * 8) }
    if samples.below(16) == 0 {
      for offset in 64..<max(64, frame.byteCount) {
        frame.bytes.storeUInt8(samples.byte(), at: offset)
      }
    }
    for _ in 0..<samples.below(3) {
      let offset = 16 + samples.below(frame.byteCount - 16)
      // The size stays true: else nothing behind it is tried.
      if StreamFrameHead.Field.bodyByteCount.byteRange.contains(offset) { continue }
      frame.bytes.storeUInt8(samples.one(of: [0, 1, 0xff, samples.byte()]), at: offset)
    }
    frame.reseal()
  }

  /// Looks for bad blocks where most are.
  private func check(_ message: StreamMessage, _ payload: IOBuffer) {
    switch message {
    case .records(let records): _ = records.firstBadBlock(payload)
    case .copyBlocks(let copy): _ = copy.firstBadBlock(payload)
    case .blocks(let blocks): _ = blocks.firstBadBlock(payload)
    default: #expect(message.payloadBlockCount == 0)
    }
  }

  // MARK: The head

  private func headRefusal(
    _ kind: StreamFrameKind, _ change: (IOBuffer) -> Void
  ) throws -> FormatError? {
    let frame = TestFrame(try GoldenFrames.message(kind))
    change(frame.head)
    do throws(FormatError) {
      _ = try StreamFrameHead.decode(frame.head)
      return nil
    } catch {
      return error
    }
  }

  @Test("a head with sizes beyond the bounds is refused before anything else is there")
  func sizes() throws {
    typealias Field = StreamFrameHead.Field
    for byteCount: UInt32 in [0, 8, 262_136, 262_144] {
      #expect(try headRefusal(.hello) { $0.storeUInt32(byteCount, at: 40) } == nil)
    }
    for byteCount: UInt32 in [1, 7, 9, 262_145, 262_152, 1 << 31, .max] {
      #expect(
        try headRefusal(.hello) { $0.storeUInt32(byteCount, at: 40) }
          == .field(name: "bodyByteCount", value: UInt64(byteCount)))
    }
    for kind in StreamFrameKind.allCases {
      let max: UInt32 = [.records, .copyBlocks, .blocks].contains(kind) ? 1024 : 0
      for count: UInt32 in [0, 1, 1024, 1025, 1 << 31, .max] {
        let error = FormatError.field(name: "payloadBlockCount", value: UInt64(count))
        #expect(
          try headRefusal(kind) { $0.storeUInt32(count, at: 44) } == (count <= max ? nil : error),
          "\(kind) \(count)")
      }
    }
  }

  @Test("a head of another kind, version or number, or with reserved bytes, is refused by field")
  func headFields() throws {
    for kind in [0, 18, 255] as [UInt8] {
      #expect(
        try headRefusal(.hello) { $0.storeUInt8(kind, at: 48) }
          == .field(name: "kind", value: UInt64(kind)))
    }
    for version: UInt32 in [0, 1, .max] {
      #expect(
        try headRefusal(.hello) { $0.storeUInt32(version, at: 8) }
          == .version(found: version, supported: 2))
    }
    for offset in 49..<64 {
      #expect(
        try headRefusal(.hello) { $0.storeUInt8(7, at: offset) }
          == .field(name: "reserved", value: 7))
    }
    #expect(
      try headRefusal(.hello) { $0.storeUInt64(0, at: 32) }
        == .field(name: "frameNumber", value: 0))
    for byte: UInt8 in [0, 255] {
      #expect(try headRefusal(.hello) { $0.fill(with: byte) } == .noMagic)
    }
    let frame = TestFrame(try GoldenFrames.message(.hello))
    for byteCount in [0, 1, 11, 63] {
      #expect(throws: FormatError.field(name: "byteCount", value: UInt64(byteCount))) {
        _ = try StreamFrameHead.decode(frame.head.prefix(byteCount))
      }
    }
  }

  @Test("a head that says payload where there is none is refused, however it came about")
  func payloadOfOthers() throws {
    let frame = TestFrame(try GoldenFrames.message(.flushRequest))
    let head = StreamFrameHead(
      timelineID: .none, frameNumber: 1, kind: .flushRequest, bodyByteCount: 8,
      payloadBlockCount: 1)
    #expect(throws: FormatError.field(name: "payloadBlockCount", value: 1)) {
      _ = try StreamMessage.decode(head: head, body: frame.body)
    }
  }
}
