import DiskFormat
import IO
import Parity
import RAID
import Replication
import Simulator
import TestSupport

/// A frame with its bytes, without its payload.
struct TestFrame {
  let memory: AlignedMemory
  var byteCount: Int

  /// Writes a message over memory that held something else.
  init(_ message: StreamMessage, timelineID: Identifier = .none, frameNumber: UInt64 = 1) {
    memory = AlignedMemory.ofTest(StreamFrameHead.byteCount + StreamFrameHead.bodyBytesMax + 4096)
    memory.buffer.fill(with: 0xa5)
    byteCount = message.encode(
      into: memory.buffer, timelineID: timelineID, frameNumber: frameNumber)
  }

  var bytes: IOBuffer {
    let buffer = memory.buffer
    return buffer.prefix(byteCount)
  }

  var head: IOBuffer {
    let buffer = memory.buffer
    return buffer.prefix(StreamFrameHead.byteCount)
  }

  var body: IOBuffer {
    let bytes = bytes
    return bytes.dropFirst(StreamFrameHead.byteCount)
  }

  /// Makes a body of another length out of it, zeros at its end, and says so in the head.
  mutating func resize(bodyByteCount: Int) {
    let old = byteCount
    byteCount = StreamFrameHead.byteCount + bodyByteCount
    let bytes = bytes
    if byteCount > old { bytes.dropFirst(old).fill(with: 0) }
    head.storeUInt32(UInt32(bodyByteCount), at: StreamFrameHead.Field.bodyByteCount.offset)
  }

  /// Makes the checksum right again after a change, by the rule of the page.
  func reseal() {
    bytes.storeUInt32(0, at: 12)
    bytes.storeUInt32(CRC32C.checksum(bytes.bytes), at: 12)
  }

  /// What the reader says of it.
  func read() throws(FormatError) -> (head: StreamFrameHead, message: StreamMessage) {
    try StreamMessage.verify(head: head, body: body)
  }

  /// Why the reader refuses it; nil when it accepts.
  func refusal() -> FormatError? {
    do throws(FormatError) {
      _ = try read()
      return nil
    } catch {
      return error
    }
  }
}

extension FormatError {
  /// The field that it names.
  var fieldName: String? {
    if case .field(let name, _) = self { name } else { nil }
  }
}

extension StreamRecords {
  /// The chain behind the last record.
  var computedEndChain: UInt32 {
    var position = start
    for record in records {
      position.number += 1
      switch record {
      case .write(let run, let blocks):
        position.chain = RecordChain.after(position.chain, write: run, number: position.number) {
          checksums[blocks.lowerBound + $0]
        }
      case .trim(let run):
        position.chain = RecordChain.after(position.chain, trim: run, number: position.number)
      }
    }
    return position.chain
  }
}

/// Messages drawn from a seed: every field takes what it may.
struct FrameSamples {
  private var source: RandomSource

  init(seed: UInt64) {
    source = RandomSource(seed: seed)
  }

  mutating func number() -> UInt64 {
    // Large and small ones alike: a number that only fits by luck shows.
    source.next() >> (source.next() % 64)
  }

  mutating func below(_ bound: Int) -> Int { source.index(below: bound) }
  mutating func byte() -> UInt8 { UInt8(truncatingIfNeeded: source.next()) }
  mutating func checksum() -> UInt32 { UInt32(truncatingIfNeeded: source.next()) }
  mutating func identifier() -> Identifier { Identifier(high: source.next(), low: source.next()) }

  mutating func one<Value>(of values: [Value]) -> Value { values[below(values.count)] }

  mutating func run(_ blockCount: UInt64) -> BlockRun {
    BlockRun(firstBlock: min(number(), .max - blockCount), blockCount: blockCount)
  }

  /// Text of at most so many bytes.
  mutating func text(_ bytesMax: Int) -> String {
    let letters = ["a", "Z", "7", ":", " ", "\u{e9}", "\u{65e5}", "\u{1f9f1}"]
    var text = ""
    for _ in 0..<below(40) {
      let longer = text + one(of: letters)
      if longer.utf8.count <= bytesMax { text = longer }
    }
    return text
  }

  /// Starts that never fall, and a position that is not before the last.
  mutating func history() -> (timelines: [Timeline], position: StreamPosition) {
    var start = StreamPosition(number: number() / 32, chain: checksum())
    let timelines = (0..<1 + below(16)).map { _ -> Timeline in
      start.number += number() / 64
      return Timeline(timelineID: identifier(), start: start)
    }
    if below(2) == 0 {
      start.number += 1 + number() / 64
      start.chain = checksum()
    }
    return (timelines, start)
  }

  mutating func blocks(_ count: Int) -> [StreamBlock] {
    (0..<count).map { _ in
      switch below(4) {
      case 0: .neverWritten
      case 1: .lost
      default: .written(checksum: checksum())
      }
    }
  }

  mutating func contents(_ count: Int) -> [BlockContent] {
    (0..<count).map { _ in
      switch below(4) {
      case 0: .neverWritten
      case 1: .lost
      default: .written(hash: number())
      }
    }
  }

  mutating func records(_ count: Int) -> StreamRecords {
    var records = StreamRecords(
      previousNumber: min(number(), .max - UInt64(count)), previousChain: checksum(),
      endChain: 0, records: [], checksums: [])
    for _ in 0..<count {
      if below(3) == 0 {
        records.records.append(.trim(run: run(max(1, number()))))
        continue
      }
      let first = records.checksums.count
      let blockCount = 1 + below(below(4) == 0 ? 32 : 2)
      records.checksums += (0..<blockCount).map { _ in checksum() }
      records.records.append(
        .write(run: run(UInt64(blockCount)), blocks: first..<first + blockCount))
    }
    records.endChain = records.computedEndChain
    return records
  }

  mutating func hello() -> Hello {
    let history = history()
    return Hello(
      nodeID: identifier(), peerID: below(2) == 0 ? .none : identifier(),
      blockCount: 1 + number() % Hello.blockCountMax, role: one(of: NodeRole.allCases),
      flags: Hello.Flags(rawValue: UInt8(below(16))), lossPolicy: one(of: LossPolicy.allCases),
      mode: one(of: ReplicaMode.allCases), peerTimeoutMilliseconds: max(1, checksum()),
      position: history.position, timelines: history.timelines,
      address: text(Hello.addressBytesMax))
  }

  mutating func message(_ kind: StreamFrameKind) -> StreamMessage {
    switch kind {
    case .hello: return .hello(hello())
    case .chainAnswer:
      return .chainAnswer(ChainAnswer(number: number(), chain: below(2) == 0 ? nil : checksum()))
    case .records: return .records(records(1 + below(30)))
    case .acknowledgement:
      let received = number()
      let logged = min(received, number())
      return .acknowledgement(
        Acknowledgement(
          received: received, logged: logged, durable: min(logged, number()), copied: number()))
    case .flushRequest: return .flushRequest(FlushRequest(number: number()))
    case .keepAlive: return .keepAlive(KeepAlive(number: number(), durable: number()))
    case .refusal:
      return .refusal(
        Refusal(
          code: one(of: Refusal.Code.allCases), firstNumber: number(), secondNumber: number(),
          words: text(Refusal.wordsBytesMax)))
    case .standing:
      return .standing(
        Standing(
          number: number(), counts: below(2) == 0, lossPolicy: one(of: LossPolicy.allCases),
          mode: one(of: ReplicaMode.allCases)))
    case .standingNoted: return .standingNoted(StandingNoted(number: number()))
    case .copyBegin, .copyBlocks, .copyEnd: return copyMessage(kind)
    case .checksumsWanted:
      let run = run(UInt64(1 + below(Checksums.blockCountMax)))
      return .checksumsWanted(
        ChecksumsWanted(
          requestNumber: number(), firstBlock: run.firstBlock, blockCount: Int(run.blockCount)))
    case .checksums:
      let blocks = contents(1 + below(40))
      return .checksums(
        Checksums(
          requestNumber: number(), firstBlock: run(UInt64(blocks.count)).firstBlock,
          number: number(), blocks: blocks))
    case .handOver:
      return .handOver(
        HandOver(position: StreamPosition(number: number(), chain: checksum())))
    case .blocksWanted:
      let run = run(UInt64(1 + below(Blocks.blockCountMax)))
      return .blocksWanted(
        BlocksWanted(
          requestNumber: max(1, number()), firstBlock: run.firstBlock,
          blockCount: Int(run.blockCount)))
    case .blocks:
      let blocks = blocks(1 + below(40))
      return .blocks(
        Blocks(
          requestNumber: number(), firstBlock: run(UInt64(blocks.count)).firstBlock,
          blocks: blocks))
    }
  }

  private mutating func copyMessage(_ kind: StreamFrameKind) -> StreamMessage {
    switch kind {
    case .copyBegin:
      let history = history()
      return .copyBegin(
        CopyBegin(
          position: history.position, timelines: history.timelines, pageCount: number()))
    case .copyBlocks:
      let blocks = blocks(1 + below(40))
      return .copyBlocks(
        CopyBlocks(
          copyNumber: max(1, number()), firstBlock: run(UInt64(blocks.count)).firstBlock,
          blocks: blocks))
    default: return .copyEnd(CopyEnd(copyNumber: number(), number: number()))
    }
  }
}
