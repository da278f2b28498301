import DiskFormat
import Geometry
import IO
import Parity
import Simulator
import TestSupport

/// Values for tests, drawn from a seed: every field takes what it may.
struct Samples {
  private var source: RandomSource

  init(seed: UInt64) {
    source = RandomSource(seed: seed)
  }

  mutating func number() -> UInt64 {
    // Large and small ones alike: a number that only fits by luck shows.
    source.next() >> (source.next() % 64)
  }

  mutating func below(_ bound: Int) -> Int { Int(source.next() % UInt64(bound)) }

  mutating func identifier() -> Identifier {
    Identifier(high: source.next(), low: source.next())
  }

  mutating func checksum() -> UInt32 { UInt32(truncatingIfNeeded: source.next()) }

  // MARK: Superblock

  mutating func geometry() throws -> StripeGeometry {
    let level = RAIDLevel.allCases[below(RAIDLevel.allCases.count)]
    let countMin = level.memberCountMin
    return try StripeGeometry(
      level: level, memberCount: countMin + below(33 - countMin),
      chunkBytes: 4096 << UInt64(below(9)), memberBlockCount: 256 + source.next() >> 20)
  }

  mutating func superblock() throws -> Superblock {
    let geometry = try geometry()
    let memberIDs = (0..<geometry.memberCount).map { _ in identifier() }
    let slot = below(geometry.memberCount)
    let states: [MemberState] = [.current, .out, .syncing, .failed]
    let logByteCount = UInt64(1 + below(1 << 20)) * 4096
    let eventCount = number()
    return Superblock(
      arrayID: identifier(), memberID: memberIDs[slot], slot: slot, name: name(),
      level: geometry.level, memberCount: geometry.memberCount,
      chunkBytes: geometry.chunkBlockCount * 4096, memberBlockCount: geometry.memberBlockCount,
      layout: MemberLayout(geometry: geometry, logByteCount: logByteCount),
      createdSeconds: number(), eventCount: eventCount, configurationID: identifier(),
      memberIDs: memberIDs,
      memberStates: memberIDs.map { _ in states[below(4)] },
      timelines: (0..<below(17)).map { _ in
        Timeline(
          timelineID: identifier(), start: StreamPosition(number: number(), chain: checksum()))
      },
      superblockSequence: number(), isClean: below(2) == 0, logEpoch: number(),
      epochFirstSequence: number(), checkpointSequence: number(), checkpointChain: checksum(),
      checkpointClientSequence: number(),
      logTailOffset: UInt64(below(Int(logByteCount / 4096) + 1)) * 4096, horizon: number(),
      pageSequence: number(), ownerNonce: below(2) == 0 ? .none : identifier(),
      heartbeat: number(),
      configurationHistory: (0..<below(Int(min(eventCount, 32)) + 1)).map { _ in identifier() },
      reserves: reserves(memberCount: geometry.memberCount),
      logPolicy: LogPolicy.allCases[below(LogPolicy.allCases.count)],
      checkpointClientChain: checksum(), replication: replication())
  }

  /// Any role, with any peers.
  private mutating func replication() -> ReplicationState {
    var state = ReplicationState()
    guard below(3) > 0 else { return state }
    state.role = below(2) == 0 ? .primary : .replica
    state.lossPolicy = LossPolicy.allCases[below(2)]
    state.isConsistent = below(2) == 0
    state.isHandedOver = below(2) == 0
    state.undoID = below(2) == 0 ? .none : identifier()
    state.peerTimeoutMilliseconds = 1 + checksum() >> 1
    for _ in 0..<below(ReplicationState.peerCountMax + 1) {
      state.peers.append(
        Peer(
          nodeID: identifier(), mode: ReplicaMode.allCases[below(3)], counts: below(2) == 0,
          position: StreamPosition(number: number(), chain: checksum()),
          sinceSeconds: number(), address: name()))
    }
    return state
  }

  /// In any seats, with targets of their own or none.
  private mutating func reserves(memberCount: Int) -> [Reserve] {
    var targets = Array(0..<memberCount)
    return (0..<Superblock.reserveCountMax).compactMap { index -> Reserve? in
      guard below(3) == 0 else { return nil }
      let target =
        below(2) == 0 && !targets.isEmpty ? targets.remove(at: below(targets.count)) : nil
      return Reserve(seat: memberCount + index, memberID: identifier(), targetSlot: target)
    }
  }

  private mutating func name() -> String {
    let letters = ["a", "Z", "7", "-", " ", "\u{e9}", "\u{65e5}", "\u{1f9f1}"]
    var name = ""
    for _ in 0..<below(40) {
      let longer = name + letters[below(letters.count)]
      if longer.utf8.count <= Superblock.nameBytesMax { name = longer }
    }
    return name
  }

  // MARK: Batch

  mutating func run(_ blockCountMax: Int) -> BlockRun {
    let blockCount = UInt64(1 + below(blockCountMax))
    let first = number()
    return BlockRun(firstBlock: min(first, .max - blockCount), blockCount: blockCount)
  }

  mutating func header() -> LogBatchHeader {
    let sequence = max(number(), 1)
    let slots = (0..<32).filter { _ in below(8) == 0 }
    return LogBatchHeader(
      arrayID: identifier(), epoch: number(), sequence: sequence, previousChain: checksum(),
      horizon: number() % sequence, checkpointSequence: number() % sequence,
      clientSequence: number(),
      copies: (slots.isEmpty ? [below(32)] : slots).map {
        BatchCopy(slot: $0, offsetBytes: UInt64(below(1 << 40)) * 4096)
      },
      previousRuns: (0..<(below(2) == 0 ? 0 : below(65))).map { _ in run(1 << 30) })
  }

  mutating func intent() -> RowIntent {
    let blocks = (0..<1 + below(32)).map { _ -> IntentBlock in
      switch below(4) {
      case 0: .unchanged
      case 1: .trimmed
      case 2: .lost
      default: .written(batchSequence: number(), checksum: checksum())
      }
    }
    return RowIntent(
      row: number(), blocks: blocks,
      paritySectorChecksums: (0..<below(3) * 8).map { _ in checksum() })
  }

  mutating func direct() -> DirectIntent {
    let run = run(below(4) == 0 ? 16 : 1)
    return DirectIntent(
      run: run,
      old: (0..<run.blockCount).map { _ in
        switch below(4) {
        case 0: .neverWritten
        case 1: .lost
        default: .written(checksum: checksum())
        }
      },
      sectorChecksums: (0..<run.blockCount * 8).map { _ in checksum() })
  }

  /// Records without the index of their payload, which the encoder counts.
  mutating func records(_ count: Int) -> [LogRecord] {
    var payloadIndex = 0
    return (0..<count).map { _ in
      switch below(5) {
      case 0:
        let run = run(below(4) == 0 ? 16 : 1)
        defer { payloadIndex += Int(run.blockCount) }
        return .write(
          run: run, clientSequence: number(), payloadIndex: payloadIndex,
          checksums: (0..<run.blockCount).map { _ in checksum() })
      case 1: return .trim(run: run(1 << 40), clientSequence: number())
      case 2: return .position(StreamPosition(number: number(), chain: checksum()))
      case 3: return .direct(direct())
      default: return .intent(intent())
      }
    }
  }

  mutating func batch(recordCount: Int) -> SealedBatch {
    SealedBatch(header(), records(recordCount))
  }
}

/// A batch with its bytes.
struct SealedBatch {
  let memory: AlignedMemory
  let batch: LogBatch

  init(_ header: LogBatchHeader, _ records: [LogRecord]) {
    memory = AlignedMemory.ofTest(LogBatchHeader.headerBytesMax)
    // What the buffer held before must not matter.
    memory.buffer.fill(with: 0xa5)
    var encoder = LogBatchEncoder(
      memory.buffer, copyCount: header.copies.count, previousRunCount: header.previousRuns.count)
    for record in records { encoder.append(record) }
    let (headerByteCount, chain) = encoder.finish(header)
    batch = LogBatch(
      header: header, headerByteCount: headerByteCount,
      payloadBlockCount: encoder.payloadBlockCount, records: records, chain: chain)
  }

  var area: IOBuffer {
    let buffer = memory.buffer
    return buffer.prefix(batch.headerByteCount)
  }
}

extension LogBatchEncoder {
  mutating func append(_ record: LogRecord) {
    switch record {
    case .write(let run, let clientSequence, _, let checksums):
      appendWrite(run, clientSequence: clientSequence) { checksums[$0] }
    case .trim(let run, let clientSequence): appendTrim(run, clientSequence: clientSequence)
    case .intent(let intent): appendIntent(intent)
    case .direct(let intent): appendDirect(intent)
    case .position(let position): appendPosition(position)
    }
  }
}
