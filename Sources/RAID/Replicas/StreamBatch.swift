package import DiskFormat
package import IO

// Safe: everything that has one runs on the executor of its array.
/// Client records that lie together in memory, on their way to replicas.
///
/// It does not change, and keeps its memory from being used for anything else.
package final class StreamBatch: @unchecked Sendable {
  /// One record; the place of its blocks among payload and checksums.
  package struct Record: Sendable {
    package var isTrim: Bool
    package var run: BlockRun
    package var payloadIndex: Int

    package init(isTrim: Bool, run: BlockRun, payloadIndex: Int) {
      self.isTrim = isTrim
      self.run = run
      self.payloadIndex = payloadIndex
    }
  }

  /// Where records end before and behind it.
  package let start: StreamPosition
  package let end: StreamPosition
  package let records: [Record]
  /// Checksum of each payload block, without a mask.
  package let checksums: [UInt32]
  package let payload: IOBuffer
  private let memory: OwnedBuffer
  private let memories: OwnedBufferPool?

  init(
    start: StreamPosition, end: StreamPosition, records: [Record], checksums: [UInt32],
    payload: IOBuffer, memory: OwnedBuffer, memories: OwnedBufferPool?
  ) {
    self.start = start
    self.end = end
    self.records = records
    self.checksums = checksums
    self.payload = payload
    self.memory = memory
    self.memories = memories
    memory.operationSubmitted()
  }

  deinit {
    memory.operationReturned()
    // The log may not be done with it yet: then it goes on with it.
    if memory.isAbandoned, memory.isIdle { memories?.give(memory) }
  }

  package var payloadBlockCount: Int { payload.byteCount / 4096 }

  /// What of it lies behind a number; nil for nothing.
  package func behind(_ number: UInt64) -> StreamBatch? {
    guard number > start.number else { return self }
    guard number < end.number else { return nil }
    var position = start
    var index = 0
    while position.number < number {
      position = self.position(behind: records[index], position)
      index += 1
    }
    let rest = Array(records[index...])
    let first = rest.first { !$0.isTrim }?.payloadIndex ?? checksums.count
    return StreamBatch(
      start: position, end: end,
      records: rest.map {
        Record(
          isTrim: $0.isTrim, run: $0.run,
          payloadIndex: $0.isTrim ? 0 : $0.payloadIndex - first)
      },
      checksums: Array(checksums[first...]), payload: payload.dropFirst(first * 4096),
      memory: memory, memories: nil)
  }

  private func position(behind record: Record, _ position: StreamPosition) -> StreamPosition {
    let number = position.number + 1
    let chain =
      record.isTrim
      ? RecordChain.after(position.chain, trim: record.run, number: number)
      : RecordChain.after(position.chain, write: record.run, number: number) {
        checksums[record.payloadIndex + $0]
      }
    return StreamPosition(number: number, chain: chain)
  }

  /// The chain at a number inside it, its ends included.
  package func chain(at number: UInt64) -> UInt32? {
    guard number >= start.number, number <= end.number else { return nil }
    var position = start
    for record in records where position.number < number {
      position = self.position(behind: record, position)
    }
    return position.chain
  }
}

/// The newest batches, in order and without a gap: replicas that keep up are sent these.
struct StreamWindow {
  private var batches = LogQueue<StreamBatch>()
  private var byteCount = 0
  /// Beyond it the oldest are forgotten: whoever lacks them reads the log.
  private static let byteCountMax = 32 << 20

  mutating func append(_ batch: StreamBatch) {
    if let last = batches.last, last.end != batch.start { removeAll() }
    batches.append(batch)
    byteCount += batch.payload.byteCount
    while byteCount > Self.byteCountMax, batches.count > 1 { removeFirst() }
  }

  /// Forgets what ends up to a number.
  mutating func forget(through number: UInt64) {
    while let first = batches.first, first.end.number <= number { removeFirst() }
  }

  mutating func removeAll() {
    batches.removeAll()
    byteCount = 0
  }

  private mutating func removeFirst() {
    byteCount -= batches.first?.payload.byteCount ?? 0
    batches.removeFirst()
  }

  /// The batch that holds the record behind a number.
  func batch(behind number: UInt64) -> StreamBatch? {
    guard let first = batches.first, first.start.number <= number else { return nil }
    let index = batches.firstIndex { $0.end.number <= number }
    return index < batches.count ? batches[index] : nil
  }
}
