package import DiskFormat
package import IO
internal import Parity

/// A client's record in a frame.
package enum StreamRecord: Equatable, Sendable {
  /// Blocks that a client wrote. `blocks` are theirs in the frame: of the payload, and of the
  /// checksums.
  case write(run: BlockRun, blocks: Range<Int>)
  /// Blocks that become never-written.
  case trim(run: BlockRun)

  package var run: BlockRun {
    switch self {
    case .write(let run, _), .trim(let run): run
    }
  }
}

/// Records that follow one another in number, with the chain before the first and behind the last,
/// which follows from them.
///
/// `StreamRecordsEncoder` writes the same bytes record by record.
package struct StreamRecords: Equatable, Sendable {
  /// A record writes no more blocks than this: as many as the log takes in one.
  package static let writeBlocksMax = 32

  /// The number before that of the first record.
  package var previousNumber: UInt64
  package var previousChain: UInt32
  /// The chain behind the last record.
  package var endChain: UInt32
  /// At least one.
  ///
  /// The first has `previousNumber` + 1, each other one more than the one before.
  package var records: [StreamRecord]
  /// The checksum of each block of the payload, without a mask.
  package var checksums: [UInt32]

  package init(
    previousNumber: UInt64, previousChain: UInt32, endChain: UInt32, records: [StreamRecord],
    checksums: [UInt32]
  ) {
    self.previousNumber = previousNumber
    self.previousChain = previousChain
    self.endChain = endChain
    self.records = records
    self.checksums = checksums
  }

  package var payloadBlockCount: Int { checksums.count }

  /// The position before its first record.
  package var start: StreamPosition {
    StreamPosition(number: previousNumber, chain: previousChain)
  }

  /// The position behind its last record.
  ///
  /// - Precondition: as `decode` returned it, or as it may be written: the number does not overflow.
  package var end: StreamPosition {
    StreamPosition(number: previousNumber + UInt64(records.count), chain: endChain)
  }

  /// The parts that have a fixed place; the records follow, each as in a batch of the log.
  package enum Field: String, FormatField {
    case previousNumber, previousChain, endChain, recordCount, reserved

    package var byteRange: Range<Int> {
      switch self {
      case .previousNumber: 0..<8
      case .previousChain: 8..<12
      case .endChain: 12..<16
      case .recordCount: 16..<20
      case .reserved: 20..<24
      }
    }
  }

  package static let fixedByteCount = 24

  /// Writes the body.
  ///
  /// - Precondition: `decode` accepts it, and there is room.
  /// - Returns: its bytes.
  package func encode(into body: IOBuffer) -> Int {
    var encoder = StreamRecordsEncoder(body, behind: start)
    for record in records {
      switch record {
      case .write(let run, let blocks):
        precondition(blocks.lowerBound == encoder.payloadBlockCount)
        precondition(UInt64(blocks.count) == run.blockCount)
        encoder.appendWrite(run) { checksums[blocks.lowerBound + $0] }
      case .trim(let run): encoder.appendTrim(run)
      }
    }
    precondition(encoder.payloadBlockCount == checksums.count)
    precondition(encoder.position == end)
    return encoder.finish()
  }

  /// Reads the body of a frame whose head says so much payload.
  package static func decode(
    _ body: IOBuffer, payloadBlockCount: Int
  ) throws(FormatError) -> StreamRecords {
    let reader = try BodyReader<Field>(body, fixed: fixedByteCount)
    try reader.expectZeros(.reserved)
    var records = StreamRecords(
      previousNumber: reader.word(.previousNumber), previousChain: reader.halfWord(.previousChain),
      endChain: reader.halfWord(.previousChain), records: [], checksums: [])
    try records.take(
      recordCount: reader.count(.recordCount), payloadBlockCount: payloadBlockCount, from: reader)
    let endChain = reader.halfWord(.endChain)
    guard records.endChain == endChain else { throw .field(Field.endChain, UInt64(endChain)) }
    return records
  }

  /// The first block of the device whose payload is not what its record says; nil when all is.
  ///
  /// One without payload counts as wrong.
  package func firstBadBlock(_ payload: IOBuffer) -> UInt64? {
    for record in records {
      guard case .write(let run, let blocks) = record else { continue }
      for (index, block) in blocks.enumerated() {
        guard checksums.indices.contains(block),
          payload.hasBlock(block, checksum: checksums[block])
        else { return run.firstBlock &+ UInt64(index) }
      }
    }
    return nil
  }
}

extension StreamRecords {
  /// Reads the records; `endChain` is at each moment that behind the last.
  private mutating func take(
    recordCount: Int, payloadBlockCount: Int, from start: BodyReader<Field>
  ) throws(FormatError) {
    var reader = start
    // No record is shorter than one block's write: a count that lies reserves no memory.
    let shortest = LogBatchEncoder.writeRecordBytes(blockCount: 1)
    guard recordCount >= 1, recordCount <= reader.remainingByteCount / shortest else {
      throw .field(Field.recordCount, UInt64(recordCount))
    }
    guard !previousNumber.addingReportingOverflow(UInt64(recordCount)).overflow else {
      throw .field(Field.previousNumber, previousNumber)
    }
    records.reserveCapacity(recordCount)
    checksums.reserveCapacity(min(payloadBlockCount, StreamFrameHead.payloadBlocksMax))
    for index in 0..<recordCount {
      let number = previousNumber + 1 + UInt64(index)
      let head = try reader.peek(8, .recordCount)
      switch LogRecord.Kind(rawValue: head.loadUInt8(at: 0)) {
      case .write: try takeWrite(number, head, payloadBlockCount, &reader)
      case .trim: try takeTrim(number, &reader)
      case .intent, .direct, .position, nil:
        throw .field(name: "kind", value: UInt64(head.loadUInt8(at: 0)))
      }
    }
    try reader.expectEnd()
    guard checksums.count == payloadBlockCount else {
      throw .field(name: "payloadBlockCount", value: UInt64(payloadBlockCount))
    }
  }

  private mutating func takeWrite(
    _ number: UInt64, _ head: IOBuffer, _ payloadBlockCount: Int, _ reader: inout BodyReader<Field>
  ) throws(FormatError) {
    typealias Field = LogRecord.WriteField
    let blockCount = Int(head.loadUInt32(at: Field.blockCount.offset))
    guard blockCount >= 1, blockCount <= Self.writeBlocksMax,
      blockCount <= payloadBlockCount - checksums.count
    else { throw .field(Field.blockCount, UInt64(blockCount)) }
    let record = try reader.take(
      LogBatchEncoder.writeRecordBytes(blockCount: blockCount), .recordCount)
    try record.expectZeros(Field.reserved)
    try record.expect(number, Field.clientSequence)
    let run = BlockRun(
      firstBlock: record.loadUInt64(at: Field.firstBlock.offset), blockCount: UInt64(blockCount))
    guard run.isPossible else { throw .field(Field.firstBlock, run.firstBlock) }
    let first = checksums.count
    for index in 0..<blockCount {
      checksums.append(record.loadUInt32(at: LogRecord.writeFixedBytes + index * 4))
    }
    try record.dropFirst(LogRecord.writeFixedBytes + blockCount * 4).expectZeros()
    endChain = RecordChain.after(endChain, write: run, number: number) {
      record.loadUInt32(at: LogRecord.writeFixedBytes + $0 * 4)
    }
    records.append(.write(run: run, blocks: first..<first + blockCount))
  }

  private mutating func takeTrim(
    _ number: UInt64, _ reader: inout BodyReader<Field>
  ) throws(FormatError) {
    typealias Field = LogRecord.TrimField
    let record = try reader.take(LogRecord.trimBytes, .recordCount)
    try record.expectZeros(Field.reserved)
    try record.expect(number, Field.clientSequence)
    let run = BlockRun(
      firstBlock: record.loadUInt64(at: Field.firstBlock.offset),
      blockCount: record.loadUInt64(at: Field.blockCount.offset))
    guard run.isPossible else { throw .field(Field.blockCount, run.blockCount) }
    endChain = RecordChain.after(endChain, trim: run, number: number)
    records.append(.trim(run: run))
  }
}

extension IOBuffer {
  fileprivate func expect(_ number: UInt64, _ field: some FormatField) throws(FormatError) {
    let found = load(field)
    guard found == number else { throw .field(field, found) }
  }

  /// Whether the payload has this block, with this checksum.
  func hasBlock(_ index: Int, checksum: UInt32) -> Bool {
    guard index >= 0, index < byteCount / 4096 else { return false }
    return BlockChecksum.of(slice(index * 4096, 4096).bytes) == checksum
  }
}
