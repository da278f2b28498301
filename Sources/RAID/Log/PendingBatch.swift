import DiskFormat
import Geometry
import IO
import Parity

/// A batch from its first record to its acknowledgement; used again and again.
///
/// The payload lies behind the room for the largest header, and the header, when its size is
/// known, right before the payload: the batch is one piece of memory.
final class PendingBatch {
  /// A client's record, and who waits for it.
  @safe
  struct Record {
    enum Kind { case write, trim }
    var kind: Kind
    var run: BlockRun
    var payload: IOBuffer?
    var payloadIndex = 0
    /// How many of its blocks may need intents.
    var unsettledBlockCount: Int
    var token: UInt64
    /// It came from a primary, between the records of clients, and has no number.
    var isCopy = false
    // Safe: resumed once: with true when it is acknowledged, with false when the log has stopped.
    private var waiter: UnsafeContinuation<Bool, Never>?

    init(write run: BlockRun, payload: IOBuffer, unsettledBlockCount: Int, token: UInt64) {
      kind = .write
      self.run = run
      self.payload = payload
      self.unsettledBlockCount = unsettledBlockCount
      self.token = token
    }

    init(trim run: BlockRun, unsettledBlockCount: Int, token: UInt64) {
      kind = .trim
      self.run = run
      self.unsettledBlockCount = unsettledBlockCount
      self.token = token
    }

    mutating func setWaiter(_ continuation: UnsafeContinuation<Bool, Never>) {
      unsafe waiter = unsafe continuation
    }

    mutating func resume(returning isLogged: Bool) {
      unsafe waiter?.resume(returning: isLogged)
      unsafe waiter = nil
    }
  }

  private(set) var memory: OwnedBuffer
  private let memories: OwnedBufferPool
  private let headerBytesMax: Int
  private(set) var records: [Record] = []
  private(set) var checksums: [UInt32] = []
  private(set) var payloadBlockCount = 0
  /// The descriptors of the records so far.
  private(set) var descriptorBytes = 0
  private(set) var unsettledBlockCount = 0

  // From here on: known when it is taken to be written.
  var sequence: UInt64 = 0
  var copies: [BatchCopy] = []
  private(set) var bytes: IOBuffer
  var isSeal = false
  var isWritten = false
  /// Where client records end before and behind it.
  private(set) var start = StreamPosition(number: 0, chain: 0)
  private(set) var end = StreamPosition(number: 0, chain: 0)
  /// When it was handed over to be written.
  var preparedNanoseconds: UInt64 = 0
  var intents: IntentRequest?

  init?(limits: LogLimits, memories: OwnedBufferPool) {
    guard let memory = memories.take() else { return nil }
    self.memory = memory
    self.memories = memories
    headerBytesMax = limits.headerBytesMax
    bytes = memory.buffer
    records.reserveCapacity(limits.payloadBlockCountMax)
    checksums.reserveCapacity(limits.payloadBlockCountMax)
  }

  var isEmpty: Bool { records.isEmpty }
  /// Whether it has records that are numbered.
  var hasNumbered: Bool { end.number > start.number }
  var copySlots: SlotSet { SlotSet(copies.lazy.map(\.slot)) }
  /// Its payload as one piece.
  var payload: IOBuffer {
    let buffer = memory.buffer
    return buffer.slice(headerBytesMax, payloadBlockCount * 4096)
  }

  /// Makes it an empty one.
  func reset() {
    records.removeAll(keepingCapacity: true)
    checksums.removeAll(keepingCapacity: true)
    payloadBlockCount = 0
    descriptorBytes = 0
    unsettledBlockCount = 0
    copies.removeAll(keepingCapacity: true)
    isSeal = false
    isWritten = false
    intents = nil
  }

  /// Leaves its memory to whoever may still use it.
  ///
  /// - Returns: false when there is no other.
  func replaceMemory() -> Bool {
    guard let memory = memories.take() else { return false }
    self.memory.isAbandoned = true
    self.memory = memory
    bytes = memory.buffer
    return true
  }

  /// Takes a record, with a copy of its payload and the checksum of each block.
  func add(_ record: Record) {
    var record = record
    unsettledBlockCount += record.unsettledBlockCount
    switch record.kind {
    case .trim:
      descriptorBytes += LogBatchEncoder.trimRecordBytes
    case .write:
      let blockCount = Int(record.run.blockCount)
      descriptorBytes += LogBatchEncoder.writeRecordBytes(blockCount: blockCount)
      record.payloadIndex = payloadBlockCount
      if let payload = record.payload { take(payload, blockCount: blockCount) }
    }
    record.payload = nil
    records.append(record)
  }

  private func take(_ source: IOBuffer, blockCount: Int) {
    let buffer = memory.buffer
    for index in 0..<blockCount {
      let block = buffer.slice(headerBytesMax + payloadBlockCount * 4096, 4096)
      block.copy(from: source.slice(index * 4096, 4096))
      checksums.append(BlockChecksum.of(block.bytes))
      payloadBlockCount += 1
    }
  }

  /// Takes the descriptors' size of intents.
  func add(intents: IntentRequest, descriptorBytes: Int) {
    self.intents = intents
    self.descriptorBytes = descriptorBytes
  }

  /// The size of the header area with so many copies and runs.
  func headerByteCount(copyCount: Int, previousRunCount: Int) -> Int {
    let fixed = LogBatchEncoder.fixedBytes(
      copyCount: copyCount, previousRunCount: previousRunCount)
    return (fixed + descriptorBytes + 4095) & ~4095
  }

  /// Writes the header area, before the payload.
  ///
  /// - Parameters:
  ///   - header: all of it but `clientSequence`.
  ///   - position: where client records ended before this batch.
  ///   - countsEveryBatch: the planted bug of rule L8.
  /// - Returns: the chain checksum of the batch; where client records end behind it is `end`.
  func encode(
    _ header: LogBatchHeader, behind position: StreamPosition, countsEveryBatch: Bool
  ) -> UInt32 {
    let size = headerByteCount(
      copyCount: header.copies.count, previousRunCount: header.previousRuns.count)
    precondition(size <= headerBytesMax, "a batch whose header is too large")
    let buffer = memory.buffer
    let area = buffer.slice(headerBytesMax - size, size)
    area.fill(with: 0)
    var header = header
    start = position
    end = position
    var encoder = LogBatchEncoder(
      area, copyCount: header.copies.count, previousRunCount: header.previousRuns.count)
    for record in records {
      let number = record.isCopy ? 0 : end.number + 1
      switch record.kind {
      case .write:
        encoder.appendWrite(record.run, clientSequence: number) {
          checksums[record.payloadIndex + $0]
        }
      case .trim:
        encoder.appendTrim(record.run, clientSequence: number)
      }
      if !record.isCopy { advanceEnd(over: record, number) }
    }
    if let intents {
      for intent in intents.intents { encoder.appendIntent(intent) }
      for intent in intents.direct { encoder.appendDirect(intent) }
      if let position = intents.position {
        encoder.appendPosition(position)
        (start, end) = (position, position)
      }
    }
    if countsEveryBatch && records.isEmpty { end.number += 1 }
    header.clientSequence = end.number
    let (headerByteCount, chain) = encoder.finish(header)
    precondition(headerByteCount == size, "a header of another size than was planned")
    bytes = buffer.slice(headerBytesMax - size, size + payloadBlockCount * 4096)
    return chain
  }

  private func advanceEnd(over record: Record, _ number: UInt64) {
    switch record.kind {
    case .write:
      end.chain = RecordChain.after(end.chain, write: record.run, number: number) {
        checksums[record.payloadIndex + $0]
      }
    case .trim:
      end.chain = RecordChain.after(end.chain, trim: record.run, number: number)
    }
    end.number = number
  }

  /// The blocks that its records name, coarsened.
  func runs(into runs: inout [BlockRun]) {
    runs.removeAll(keepingCapacity: true)
    for record in records { runs.append(record.run) }
    runs.coarsen(to: LogBatchEncoder.previousRunCountMax)
  }

  /// Resumes everybody who waits for a record.
  func resumeAll(returning isLogged: Bool) {
    for index in records.indices { records[index].resume(returning: isLogged) }
    intents?.resume(returning: isLogged ? sequence : nil)
    intents = nil
  }
}

/// Intents that are to become a batch, and who waits for them.
@safe
final class IntentRequest {
  let intents: ArraySlice<RowIntent>
  /// Of direct writes: they wait for nothing, and get nothing where log space is short (rule L5).
  let direct: [DirectIntent]
  let isPinned: Bool
  /// Where client records count from, from now on.
  let position: StreamPosition?
  // Safe: resumed once, and cleared at the same time.
  private var waiter: UnsafeContinuation<UInt64?, Never>?

  init(
    _ intents: ArraySlice<RowIntent>, direct: [DirectIntent] = [], isPinned: Bool,
    position: StreamPosition? = nil, waiter: UnsafeContinuation<UInt64?, Never>
  ) {
    self.intents = intents
    self.direct = direct
    self.isPinned = isPinned
    self.position = position
    unsafe self.waiter = unsafe waiter
  }

  /// Whether it is dropped rather than kept waiting for room.
  var isOptional: Bool { !direct.isEmpty }

  /// Tells the batch's number; nil when the log has stopped, or an optional one found no room.
  func resume(returning sequence: UInt64?) {
    unsafe waiter?.resume(returning: sequence)
    unsafe waiter = nil
  }
}
