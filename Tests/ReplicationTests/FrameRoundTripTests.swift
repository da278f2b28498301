import DiskFormat
import IO
import Parity
import RAID
import Replication
import TestSupport
import Testing

@Suite("Replication: round trips of frames")
struct FrameRoundTripTests {
  @Test("a frame reads as it was written, whatever it says", arguments: StreamFrameKind.allCases)
  func roundTrip(kind: StreamFrameKind) throws {
    for seed in Seeds.of(200) {
      var samples = FrameSamples(seed: seed)
      let message = samples.message(kind)
      let (timelineID, frameNumber) = (samples.identifier(), max(1, samples.number()))
      let frame = TestFrame(message, timelineID: timelineID, frameNumber: frameNumber)
      let found = try frame.read()
      #expect(found.message == message, "\(Seeds.replay(seed, "FrameRoundTripTests"))")
      #expect(
        found.head
          == StreamFrameHead(
            timelineID: timelineID, frameNumber: frameNumber, kind: kind,
            bodyByteCount: frame.body.byteCount, payloadBlockCount: message.payloadBlockCount))
      #expect(frame.memory.buffer[frame.byteCount] == 0xa5, "it wrote behind its end")
    }
  }

  /// The message is read as it was written, and takes so many bytes of body.
  private func expectWhole(
    _ message: StreamMessage, bodyByteCount: Int, _ location: SourceLocation = #_sourceLocation
  ) throws {
    let frame = TestFrame(message)
    #expect(frame.body.byteCount == bodyByteCount, sourceLocation: location)
    #expect(try frame.read().message == message, sourceLocation: location)
  }

  @Test("the largest of each kind is accepted")
  func largest() throws {
    var samples = FrameSamples(seed: 1)
    var hello = samples.hello()
    hello.blockCount = Hello.blockCountMax
    hello.timelines = (0..<16).map { _ in
      Timeline(timelineID: samples.identifier(), start: hello.position)
    }
    hello.address = String(repeating: "a", count: 148)
    try expectWhole(.hello(hello), bodyByteCount: 64 + 16 * 32 + 152)
    try expectWhole(
      .refusal(Refusal(code: .other, words: String(repeating: "\u{e9}", count: 256))),
      bodyByteCount: 24 + 512)
    try expectWhole(
      .copyBlocks(
        CopyBlocks(
          copyNumber: .max, firstBlock: .max - 256,
          blocks: Array(repeating: .written(checksum: .max), count: 256))),
      bodyByteCount: 24 + 256 * 5)
    try expectWhole(
      .blocks(
        Blocks(
          requestNumber: .max, firstBlock: .max - 256,
          blocks: Array(repeating: .written(checksum: .max), count: 256))),
      bodyByteCount: 24 + 256 * 5)
    let blocks = samples.contents(16384)
    try expectWhole(
      .checksums(
        Checksums(requestNumber: .max, firstBlock: .max - 16384, number: .max, blocks: blocks)),
      bodyByteCount: 32 + 16384 * 9)
    var trims = StreamRecords(
      previousNumber: .max - 8191, previousChain: 1, endChain: 2,
      records: Array(
        repeating: .trim(run: BlockRun(firstBlock: 0, blockCount: .max)), count: 8191),
      checksums: [])
    trims.endChain = trims.computedEndChain
    try expectWhole(.records(trims), bodyByteCount: 24 + 8191 * 32)
    #expect(trims.end.number == .max)
    var writes = StreamRecords(
      previousNumber: 0, previousChain: 1, endChain: 2,
      records: (0..<32).map {
        .write(
          run: BlockRun(firstBlock: .max - 32, blockCount: 32), blocks: $0 * 32..<($0 + 1) * 32)
      }, checksums: (0..<1024).map { $0 })
    writes.endChain = writes.computedEndChain
    try expectWhole(.records(writes), bodyByteCount: 24 + 32 * (24 + 128))
  }

  @Test("the smallest of each kind is accepted: empty texts, one timeline, one block, one record")
  func smallest() throws {
    let zero = StreamPosition(number: 0, chain: 0)
    let timelines = [Timeline(timelineID: .none, start: zero)]
    let hello = Hello(
      nodeID: Identifier(high: 0, low: 1), peerID: .none, blockCount: 1, role: .alone, flags: [],
      lossPolicy: .goOn, mode: .a, peerTimeoutMilliseconds: 1, position: zero,
      timelines: timelines, address: "")
    try expectWhole(.hello(hello), bodyByteCount: 96)
    try expectWhole(.refusal(Refusal(code: .busy)), bodyByteCount: 24)
    try expectWhole(
      .copyBegin(CopyBegin(position: zero, timelines: timelines, pageCount: 0)), bodyByteCount: 56)
    try expectWhole(
      .copyBlocks(CopyBlocks(copyNumber: 1, firstBlock: 0, blocks: [.lost])), bodyByteCount: 40)
    try expectWhole(
      .checksums(
        Checksums(requestNumber: 0, firstBlock: 0, number: 0, blocks: [.neverWritten])),
      bodyByteCount: 48)
    try expectWhole(.chainAnswer(ChainAnswer(number: 0, chain: 0)), bodyByteCount: 16)
    try expectWhole(.chainAnswer(ChainAnswer(number: 0, chain: nil)), bodyByteCount: 16)
  }

  @Test("the encoder says when one more record does not fit: by body, and by payload")
  func room() throws {
    let memory = AlignedMemory.ofTest(StreamFrameHead.bodyBytesMax + 4096)
    let start = StreamPosition(number: 5, chain: 6)
    var trims = StreamRecordsEncoder(memory.buffer, behind: start)
    #expect(trims.isEmpty && trims.position == start)
    while trims.hasRoomForTrim { trims.appendTrim(BlockRun(firstBlock: 1, blockCount: 2)) }
    #expect(trims.position.number == 5 + 8191)
    #expect(!trims.hasRoom(forWriteOf: 1))
    #expect(trims.finish() <= StreamFrameHead.bodyBytesMax)

    var writes = StreamRecordsEncoder(memory.buffer, behind: start)
    while writes.hasRoom(forWriteOf: 31) {
      writes.appendWrite(BlockRun(firstBlock: 9, blockCount: 31)) { UInt32($0) }
    }
    #expect(writes.payloadBlockCount == 33 * 31)
    #expect(writes.hasRoom(forWriteOf: 1) && !writes.hasRoom(forWriteOf: 2))
    #expect(writes.hasRoomForTrim)
    writes.appendWrite(BlockRun(firstBlock: 9, blockCount: 1)) { _ in 0 }
    #expect(!writes.hasRoom(forWriteOf: 1))

    // A buffer that is smaller than a frame may be.
    var small = StreamRecordsEncoder(
      memory.buffer.prefix(24 + 32), behind: start)
    #expect(small.hasRoomForTrim && small.hasRoom(forWriteOf: 2) && !small.hasRoom(forWriteOf: 3))
    small.appendTrim(BlockRun(firstBlock: 1, blockCount: 2))
    #expect(!small.hasRoomForTrim && !small.hasRoom(forWriteOf: 1))
    #expect(small.finish() == 56)
  }

  @Test("a refusal is said whatever its words are: they are cut between letters, without controls")
  func longWords() throws {
    let long = Refusal(code: .other, words: "a" + String(repeating: "\u{e9}", count: 300))
    #expect(long.words == "a" + String(repeating: "\u{e9}", count: 255))
    try expectWhole(.refusal(long), bodyByteCount: 24 + 512)
    let controls = Refusal(code: .other, words: "a\u{1b}[1m\n\u{9b}\u{7f}b")
    #expect(controls.words == "a?[1m???b")
    try expectWhole(.refusal(controls), bodyByteCount: 24 + 16)
  }

  // MARK: Payload

  @Test("a wrong block of payload is named by its block of the device")
  func payloadOfRecords() throws {
    guard case .records(let records) = try GoldenFrames.message(.records) else { return }
    let payload = GoldenFrames.payload(3)
    #expect(records.firstBadBlock(payload.buffer.prefix(3 * 4096)) == nil)
    for (index, block) in [100, 101, 7777].enumerated() as EnumeratedSequence<[UInt64]> {
      for offset in [0, 4095] {
        let damaged = GoldenFrames.payload(3)
        let place = index * 4096 + offset
        damaged.buffer.storeUInt8(damaged.buffer[place] ^ 1, at: place)
        #expect(records.firstBadBlock(damaged.buffer) == block)
      }
      // One that is not there is wrong, and so is one that is cut.
      #expect(records.firstBadBlock(payload.buffer.prefix(index * 4096)) == block)
      #expect(records.firstBadBlock(payload.buffer.prefix(index * 4096 + 4095)) == block)
    }
  }

  @Test("only written blocks of a copy have payload, and a wrong one is named")
  func payloadOfCopies() throws {
    guard case .copyBlocks(let copy) = try GoldenFrames.message(.copyBlocks) else { return }
    let payload = GoldenFrames.payload(2)
    #expect(copy.payloadBlockCount == 2)
    #expect(copy.firstBadBlock(payload.buffer) == nil)
    #expect(copy.firstBadBlock(payload.buffer.prefix(0)) == 384)
    #expect(copy.firstBadBlock(payload.buffer.prefix(4096)) == 387)
    payload.buffer.storeUInt8(0, at: 4096)
    #expect(copy.firstBadBlock(payload.buffer) == 387)
    payload.buffer.storeUInt8(0, at: 4095)
    #expect(copy.firstBadBlock(payload.buffer) == 384)
  }
}
