package import DiskFormat
package import IO

/// Writes the body of a frame of records in place, record by record, without allocating.
///
/// Its preconditions are what the decoder demands: what it writes can be read.
package struct StreamRecordsEncoder {
  private let body: IOBuffer
  private let start: StreamPosition
  /// Behind the last record, or where the frame begins.
  package private(set) var position: StreamPosition
  private var end = StreamRecords.fixedByteCount
  /// The blocks of the records so far.
  package private(set) var payloadBlockCount = 0

  /// Starts a frame behind a position.
  ///
  /// - Precondition: `body` has room for the fixed part. Of a longer one no more than
  ///   `StreamFrameHead.bodyBytesMax` are used.
  package init(_ body: IOBuffer, behind start: StreamPosition) {
    precondition(body.byteCount >= StreamRecords.fixedByteCount)
    self.body = body.prefix(min(body.byteCount, StreamFrameHead.bodyBytesMax))
    self.start = start
    position = start
  }

  /// Whether there is no record yet.
  package var isEmpty: Bool { position.number == start.number }

  /// Whether one more write of so many blocks fits into the frame.
  package func hasRoom(forWriteOf blockCount: Int) -> Bool {
    blockCount <= StreamFrameHead.payloadBlocksMax - payloadBlockCount
      && LogBatchEncoder.writeRecordBytes(blockCount: blockCount) <= body.byteCount - end
  }

  /// Whether one more trim fits into the frame.
  package var hasRoomForTrim: Bool { LogRecord.trimBytes <= body.byteCount - end }

  /// Adds a write with the next number, whose payload follows those added before; `checksum` gives
  /// each block's checksum.
  ///
  /// - Precondition: it has 1 to 32 blocks, and there is room.
  package mutating func appendWrite(_ run: BlockRun, checksum: (Int) -> UInt32) {
    typealias Field = LogRecord.WriteField
    precondition(run.isPossible && run.blockCount <= StreamRecords.writeBlocksMax)
    let blockCount = Int(truncatingIfNeeded: run.blockCount)
    precondition(hasRoom(forWriteOf: blockCount))
    let record = next(LogBatchEncoder.writeRecordBytes(blockCount: blockCount))
    // Kind, three zeros and the count in one store.
    record.storeUInt64(
      run.blockCount << 32 | UInt64(LogRecord.Kind.write.rawValue), at: Field.kind.offset)
    record.storeUInt64(run.firstBlock, at: Field.firstBlock.offset)
    record.storeUInt64(position.number, at: Field.clientSequence.offset)
    for index in 0..<blockCount {
      record.storeUInt32(checksum(index), at: LogRecord.writeFixedBytes + index * 4)
    }
    if blockCount % 2 != 0 {
      record.storeUInt32(0, at: LogRecord.writeFixedBytes + blockCount * 4)
    }
    payloadBlockCount += blockCount
    position.chain = RecordChain.after(position.chain, write: run, number: position.number) {
      record.loadUInt32(at: LogRecord.writeFixedBytes + $0 * 4)
    }
  }

  /// Adds a trim with the next number.
  ///
  /// - Precondition: there is room.
  package mutating func appendTrim(_ run: BlockRun) {
    typealias Field = LogRecord.TrimField
    precondition(run.isPossible && hasRoomForTrim)
    let record = next(LogRecord.trimBytes)
    record.storeUInt64(UInt64(LogRecord.Kind.trim.rawValue), at: Field.kind.offset)
    record.storeUInt64(run.firstBlock, at: Field.firstBlock.offset)
    record.storeUInt64(run.blockCount, at: Field.blockCount.offset)
    record.storeUInt64(position.number, at: Field.clientSequence.offset)
    position.chain = RecordChain.after(position.chain, trim: run, number: position.number)
  }

  /// The bytes of the next record, which is counted.
  private mutating func next(_ byteCount: Int) -> IOBuffer {
    precondition(position.number < .max)
    let record = body.slice(end, byteCount)
    end += byteCount
    position.number += 1
    return record
  }

  /// Writes the fixed part.
  ///
  /// - Precondition: there is a record.
  /// - Returns: the bytes of the body.
  package func finish() -> Int {
    typealias Field = StreamRecords.Field
    precondition(!isEmpty)
    let fixed = body.prefix(StreamRecords.fixedByteCount)
    fixed.fill(with: 0)
    fixed.store(start.number, Field.previousNumber)
    fixed.store(UInt64(start.chain), Field.previousChain)
    fixed.store(UInt64(position.chain), Field.endChain)
    fixed.store(position.number - start.number, Field.recordCount)
    return end
  }
}
