import DiskFormat
import IO
import Parity
import RAID
import Replication
import TestSupport
import Testing

/// What the fixtures hold.
///
/// They were written by a program that knows the page of `docs/formats` and nothing of this code;
/// every later version has to understand them.
enum GoldenFrames {
  static let timelineID = Identifier(high: 0xd1d2_d3d4_d5d6_d7d8, low: 0xd9da_dbdc_ddde_dfd0)

  private static let timelines = [
    Timeline(
      timelineID: Identifier(high: 0x1111_1111_2222_3333, low: 0x4444_5555_5555_5555),
      start: StreamPosition(number: 0, chain: 0)),
    Timeline(timelineID: timelineID, start: StreamPosition(number: 5000, chain: 0x0bad_cafe)),
  ]
  private static let position = StreamPosition(number: 5703, chain: 0x89ab_cdef)
  /// Of blocks full of 0x11, 0x22 and 0x33.
  static let checksums: [UInt32] = [0x1bff_16cd, 0x795a_9e22, 0x96fd_7e37]

  static let messages: [(file: String, message: StreamMessage)] = [
    (
      "frame-hello-v2.hex",
      .hello(
        Hello(
          nodeID: Identifier(high: 0xa54f_1c0e_7d3b_4e6f, low: 0x9081_a2b3_c4d5_e6f7),
          peerID: Identifier(high: 0x0123_abcd_4567_89ab, low: 0xcdef_0123_4567_89ab),
          blockCount: 262_144, role: .primary, flags: [.isConsistent, .isOpen],
          lossPolicy: .goOn, mode: .c, peerTimeoutMilliseconds: 2000, position: position,
          timelines: timelines, address: "nbd+ashlar://10.0.0.2:10810"))
    ),
    ("frame-chain-answer-v2.hex", .chainAnswer(ChainAnswer(number: 5000, chain: 0x0bad_cafe))),
    (
      "frame-records-v2.hex",
      .records(
        StreamRecords(
          previousNumber: 5700, previousChain: 0x89ab_cdef, endChain: 0x4b2d_76f8,
          records: [
            .write(run: BlockRun(firstBlock: 100, blockCount: 2), blocks: 0..<2),
            .write(run: BlockRun(firstBlock: 7777, blockCount: 1), blocks: 2..<3),
            .trim(run: BlockRun(firstBlock: 1 << 20, blockCount: 4096)),
          ], checksums: checksums))
    ),
    (
      "frame-acknowledgement-v2.hex",
      .acknowledgement(Acknowledgement(received: 5703, logged: 5702, durable: 5690, copied: 17))
    ),
    ("frame-flush-request-v2.hex", .flushRequest(FlushRequest(number: 5703))),
    ("frame-keep-alive-v2.hex", .keepAlive(KeepAlive(number: 5703, durable: 5701))),
    (
      "frame-refusal-v2.hex",
      .refusal(
        Refusal(code: .diverged, firstNumber: 5000, secondNumber: 5703, words: "both went on"))
    ),
    (
      "frame-standing-v2.hex",
      .standing(Standing(number: 5703, counts: true, lossPolicy: .stop, mode: .b))
    ),
    ("frame-standing-noted-v2.hex", .standingNoted(StandingNoted(number: 5703))),
    (
      "frame-copy-begin-v2.hex",
      .copyBegin(CopyBegin(position: position, timelines: timelines, pageCount: 2081))
    ),
    (
      "frame-copy-blocks-v2.hex",
      .copyBlocks(
        CopyBlocks(
          copyNumber: 17, firstBlock: 384,
          blocks: [
            .written(checksum: checksums[0]), .neverWritten, .lost,
            .written(checksum: checksums[1]),
          ]))
    ),
    ("frame-copy-end-v2.hex", .copyEnd(CopyEnd(copyNumber: 17, number: 5710))),
    (
      "frame-checksums-wanted-v2.hex",
      .checksumsWanted(ChecksumsWanted(requestNumber: 9, firstBlock: 8192, blockCount: 16384))
    ),
    (
      "frame-checksums-v2.hex",
      .checksums(
        Checksums(
          requestNumber: 9, firstBlock: 8192, number: 5710,
          blocks: [.written(hash: 0x0123_4567_89ab_cdef), .lost, .neverWritten]))
    ),
    (
      "frame-hand-over-v2.hex",
      .handOver(HandOver(position: StreamPosition(number: 5710, chain: 0x1357_9bdf)))
    ),
    (
      "frame-blocks-wanted-v2.hex",
      .blocksWanted(BlocksWanted(requestNumber: 11, firstBlock: 8200, blockCount: 256))
    ),
    (
      "frame-blocks-v2.hex",
      .blocks(
        Blocks(
          requestNumber: 11, firstBlock: 8200,
          blocks: [.written(checksum: checksums[1]), .neverWritten, .lost]))
    ),
  ]

  static func message(_ kind: StreamFrameKind) throws -> StreamMessage {
    try #require(messages.first { $0.message.kind == kind }?.message)
  }

  /// Blocks full of 0x11, 0x22 and so on.
  static func payload(_ blockCount: Int) -> AlignedMemory {
    let payload = AlignedMemory.ofTest(blockCount * 4096)
    for index in 0..<blockCount {
      payload.buffer.slice(index * 4096, 4096).fill(with: UInt8(0x11 * (index + 1)))
    }
    return payload
  }
}

@Suite("Replication: golden frames")
struct FrameGoldenTests {
  @Test("there is one of each kind")
  func complete() {
    #expect(GoldenFrames.messages.map(\.message.kind) == StreamFrameKind.allCases)
  }

  @Test(
    "a frame of version 2 is understood, and written the same", arguments: StreamFrameKind.allCases)
  func golden(kind: StreamFrameKind) throws {
    let (file, message) = try #require(
      GoldenFrames.messages.first { $0.message.kind == kind })
    let bytes = try Documents.dump("ReplicationTests", file).bytes
    let memory = AlignedMemory.holding(bytes)
    let found = try StreamMessage.verify(
      head: memory.buffer.prefix(64), body: memory.buffer.slice(64..<bytes.count))
    #expect(found.message == message)
    #expect(
      found.head
        == StreamFrameHead(
          timelineID: GoldenFrames.timelineID, frameNumber: 40 + UInt64(kind.rawValue), kind: kind,
          bodyByteCount: bytes.count - 64, payloadBlockCount: message.payloadBlockCount))
    let frame = TestFrame(
      message, timelineID: GoldenFrames.timelineID, frameNumber: 40 + UInt64(kind.rawValue))
    #expect(frame.bytes.array == bytes)
  }
}

@Suite("Replication: the page of docs/formats")
struct FramePageTests {
  private func check<Field: FormatField>(
    _ heading: String, _ field: Field.Type, byteCount: Int
  ) throws {
    let fields = Field.allCases.map {
      FieldRow(name: $0.rawValue, offset: $0.offset, byteCount: $0.byteRange.count)
    }
    #expect(FieldRow.tile(fields, byteCount: byteCount), "\(Field.self)")
    #expect(
      try Documents.fieldRows("replication-stream.md", "### \(heading)") == fields, "\(heading)")
  }

  @Test("the fields of the head and of each body tile them, and the page has each in its place")
  func fields() throws {
    try check("Head", StreamFrameHead.Field.self, byteCount: StreamFrameHead.byteCount)
    try check("Hello", Hello.Field.self, byteCount: Hello.fixedByteCount)
    try check("Timeline", StreamTimeline.Field.self, byteCount: StreamTimeline.byteCount)
    try check("Chain answer", ChainAnswer.Field.self, byteCount: ChainAnswer.byteCount)
    try check("Records", StreamRecords.Field.self, byteCount: StreamRecords.fixedByteCount)
    try check("Acknowledgement", Acknowledgement.Field.self, byteCount: Acknowledgement.byteCount)
    try check("Flush request", FlushRequest.Field.self, byteCount: FlushRequest.byteCount)
    try check("Keep-alive", KeepAlive.Field.self, byteCount: KeepAlive.byteCount)
    try check("Refusal", Refusal.Field.self, byteCount: Refusal.fixedByteCount)
    try check("Standing", Standing.Field.self, byteCount: Standing.byteCount)
    try check("Standing noted", StandingNoted.Field.self, byteCount: StandingNoted.byteCount)
    try check("Copy begin", CopyBegin.Field.self, byteCount: CopyBegin.fixedByteCount)
    try check("Copy blocks", CopyBlocks.Field.self, byteCount: CopyBlocks.fixedByteCount)
    try check("Copy end", CopyEnd.Field.self, byteCount: CopyEnd.byteCount)
    try check("Checksums wanted", ChecksumsWanted.Field.self, byteCount: ChecksumsWanted.byteCount)
    try check("Checksums", Checksums.Field.self, byteCount: Checksums.fixedByteCount)
    try check("Hand over", HandOver.Field.self, byteCount: HandOver.byteCount)
    try check("Blocks wanted", BlocksWanted.Field.self, byteCount: BlocksWanted.byteCount)
    try check("Blocks", Blocks.Field.self, byteCount: Blocks.fixedByteCount)
  }

  @Test("the dump in the page is the golden frame of records")
  func dump() throws {
    #expect(
      try Documents.shownDump("replication-stream.md")
        == Documents.dump("ReplicationTests", "frame-records-v2.hex").lines)
  }
}
