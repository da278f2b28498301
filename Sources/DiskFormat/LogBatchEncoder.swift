package import IO

/// Writes a batch's header and descriptors in place, record by record, without allocating.
///
/// Its preconditions are what the decoder demands: what it writes can be read.
package struct LogBatchEncoder {
  private let buffer: IOBuffer
  private let copyCount: Int
  private let previousRunCount: Int
  private var end: Int
  private var payloadCount = 0
  private var recordCount: UInt32 = 0

  /// The bytes of descriptor that a record takes.
  package static func writeRecordBytes(blockCount: Int) -> Int {
    paddedToWord(LogRecord.writeFixedBytes + blockCount * 4)
  }

  package static var trimRecordBytes: Int { LogRecord.trimBytes }
  package static var positionRecordBytes: Int { LogRecord.positionBytes }

  /// The most bytes of descriptor that an intent takes: those of one that writes every block.
  package static func intentRecordBytes(dataCount: Int, parityCount: Int) -> Int {
    intentBytes(dataCount: dataCount, writtenCount: dataCount, parityCount: parityCount)
  }

  /// The bytes of descriptor that this intent takes.
  package static func recordBytes(of intent: RowIntent) -> Int {
    intentBytes(
      dataCount: intent.blocks.count, writtenCount: intent.writtenCount,
      parityCount: intent.parityCount)
  }

  /// The bytes of descriptor that a direct intent takes.
  package static func directRecordBytes(blockCount: Int) -> Int {
    LogRecord.directFixedBytes + paddedToWord(blockCount)
      + paddedToWord(blockCount * 4 * (1 + LogRecord.sectorsPerBlock))
  }

  /// The bytes of the fixed part, with its copies and runs, before the first record.
  package static func fixedBytes(copyCount: Int, previousRunCount: Int) -> Int {
    LogBatchHeader.fixedByteCount + copyCount * LogBatchHeader.copyByteCount
      + previousRunCount * LogBatchHeader.runByteCount
  }

  /// The most runs that `previousRuns` may hold.
  package static var previousRunCountMax: Int { LogBatchHeader.previousRunCountMax }

  /// Starts a batch in `buffer`, which has room for the whole header area.
  ///
  /// - Precondition: 1 to 32 copies, up to 64 runs, and the buffer has at least 4096 bytes. Of
  ///   longer ones no more than `LogBatchHeader.headerBytesMax` are used.
  package init(_ buffer: IOBuffer, copyCount: Int, previousRunCount: Int) {
    precondition(copyCount >= 1 && copyCount <= LogBatchHeader.copyCountMax)
    precondition(previousRunCount >= 0)
    precondition(previousRunCount <= LogBatchHeader.previousRunCountMax)
    precondition(buffer.byteCount >= 4096)
    self.buffer = buffer.prefix(min(buffer.byteCount & ~4095, LogBatchHeader.headerBytesMax))
    self.copyCount = copyCount
    self.previousRunCount = previousRunCount
    end = Self.fixedBytes(copyCount: copyCount, previousRunCount: previousRunCount)
  }

  /// Bytes used so far; the header area is this rounded up to 4096.
  package var usedBytes: Int { end }
  package var payloadBlockCount: Int { payloadCount }

  // MARK: Records

  /// Adds a write whose payload follows those added before; `checksum` gives each block's checksum.
  ///
  /// - Precondition: there is room for the record, and for its blocks in the payload.
  package mutating func appendWrite(
    _ run: BlockRun, clientSequence: UInt64, checksum: (Int) -> UInt32
  ) {
    precondition(run.isPossible)
    precondition(run.blockCount <= UInt64(LogBatch.payloadBlocksMax - payloadCount))
    let blockCount = Int(truncatingIfNeeded: run.blockCount)
    let record = room(for: Self.writeRecordBytes(blockCount: blockCount))
    // Kind, three zeros and the count in one store.
    record.storeUInt64(
      run.blockCount << 32 | UInt64(LogRecord.Kind.write.rawValue),
      at: LogRecord.WriteField.kind.offset)
    record.storeUInt64(run.firstBlock, at: LogRecord.WriteField.firstBlock.offset)
    record.storeUInt64(clientSequence, at: LogRecord.WriteField.clientSequence.offset)
    for index in 0..<blockCount {
      record.storeUInt32(checksum(index), at: LogRecord.writeFixedBytes + index * 4)
    }
    if blockCount % 2 != 0 {
      record.storeUInt32(0, at: LogRecord.writeFixedBytes + blockCount * 4)
    }
    payloadCount += blockCount
  }

  /// Adds a trim.
  ///
  /// - Precondition: there is room for the record.
  package mutating func appendTrim(_ run: BlockRun, clientSequence: UInt64) {
    precondition(run.isPossible)
    let record = room(for: LogRecord.trimBytes)
    record.storeUInt64(
      UInt64(LogRecord.Kind.trim.rawValue), at: LogRecord.TrimField.kind.offset)
    record.storeUInt64(run.firstBlock, at: LogRecord.TrimField.firstBlock.offset)
    record.storeUInt64(run.blockCount, at: LogRecord.TrimField.blockCount.offset)
    record.storeUInt64(clientSequence, at: LogRecord.TrimField.clientSequence.offset)
  }

  /// Adds a position.
  ///
  /// - Precondition: there is room for the record.
  package mutating func appendPosition(_ position: StreamPosition) {
    let record = room(for: LogRecord.positionBytes)
    // Kind, three zeros and the chain in one store.
    record.storeUInt64(
      UInt64(position.chain) << 32 | UInt64(LogRecord.Kind.position.rawValue),
      at: LogRecord.PositionField.kind.offset)
    record.storeUInt64(position.number, at: LogRecord.PositionField.number.offset)
  }

  /// Adds an intent.
  ///
  /// - Precondition: there is room for the record; it has 1 to 32 data blocks, and 8 checksums
  ///   for each of up to two parities.
  package mutating func appendIntent(_ intent: RowIntent) {
    let dataCount = intent.blocks.count
    precondition(dataCount >= 1 && dataCount <= LogRecord.intentDataCountMax)
    precondition(intent.paritySectorChecksums.count % LogRecord.sectorsPerBlock == 0)
    precondition(intent.parityCount <= 2)
    let writtenCount = intent.writtenCount
    let record = room(
      for: Self.intentBytes(
        dataCount: dataCount, writtenCount: writtenCount, parityCount: intent.parityCount))
    record.fill(with: 0)
    record.storeUInt8(LogRecord.Kind.intent.rawValue, at: LogRecord.IntentField.kind.offset)
    record.storeUInt8(
      UInt8(truncatingIfNeeded: dataCount), at: LogRecord.IntentField.dataCount.offset)
    record.storeUInt8(
      UInt8(truncatingIfNeeded: intent.parityCount), at: LogRecord.IntentField.parityCount.offset)
    record.storeUInt64(intent.row, at: LogRecord.IntentField.row.offset)
    var kindOffset = LogRecord.intentFixedBytes
    var sequenceOffset = kindOffset + paddedToWord(dataCount)
    var checksumOffset = sequenceOffset + writtenCount * 8
    for block in intent.blocks {
      record.storeUInt8(block.kind.rawValue, at: kindOffset)
      kindOffset += 1
      guard case .written(let sequence, let checksum) = block else { continue }
      record.storeUInt64(sequence, at: sequenceOffset)
      record.storeUInt32(checksum, at: checksumOffset)
      sequenceOffset += 8
      checksumOffset += 4
    }
    for checksum in intent.paritySectorChecksums {
      record.storeUInt32(checksum, at: checksumOffset)
      checksumOffset += 4
    }
  }

  /// Adds a direct intent.
  ///
  /// - Precondition: there is room for the record; it has 1 to 4096 blocks, an old state for each
  ///   and 8 checksums for each.
  package mutating func appendDirect(_ intent: DirectIntent) {
    precondition(intent.run.isPossible)
    precondition(intent.run.blockCount <= UInt64(LogBatch.payloadBlocksMax))
    let blockCount = Int(truncatingIfNeeded: intent.run.blockCount)
    precondition(intent.old.count == blockCount)
    precondition(intent.sectorChecksums.count == blockCount * LogRecord.sectorsPerBlock)
    let record = room(for: Self.directRecordBytes(blockCount: blockCount))
    record.fill(with: 0)
    // Kind, three zeros and the count in one store.
    record.storeUInt64(
      intent.run.blockCount << 32 | UInt64(LogRecord.Kind.direct.rawValue),
      at: LogRecord.DirectField.kind.offset)
    record.storeUInt64(intent.run.firstBlock, at: LogRecord.DirectField.firstBlock.offset)
    var offset = LogRecord.directFixedBytes + paddedToWord(blockCount)
    for (index, old) in intent.old.enumerated() {
      record.storeUInt8(old.kind.rawValue, at: LogRecord.directFixedBytes + index)
      record.storeUInt32(old.storedChecksum, at: offset)
      for sector in 0..<LogRecord.sectorsPerBlock {
        record.storeUInt32(
          intent.sectorChecksums[index * LogRecord.sectorsPerBlock + sector],
          at: offset + 4 + sector * 4)
      }
      offset += 4 * (1 + LogRecord.sectorsPerBlock)
    }
  }

  /// The bytes of the next record.
  private mutating func room(for byteCount: Int) -> IOBuffer {
    let record = buffer.slice(end, byteCount)
    end += byteCount
    recordCount += 1
    return record
  }

  private static func intentBytes(dataCount: Int, writtenCount: Int, parityCount: Int) -> Int {
    LogRecord.intentFixedBytes + paddedToWord(dataCount)
      + paddedToWord(writtenCount * 12 + parityCount * LogRecord.sectorsPerBlock * 4)
  }

  // MARK: The end

  /// Writes the fixed part and the checksum.
  ///
  /// - Precondition: `header` has the counts of copies and runs that `init` was told, and
  ///   `validate` accepts it.
  /// - Returns: the header area's size, a multiple of 4096, and the chain checksum.
  package mutating func finish(_ header: LogBatchHeader) -> (headerByteCount: Int, chain: UInt32) {
    precondition(header.copies.count == copyCount)
    precondition(header.previousRuns.count == previousRunCount)
    do throws(FormatError) {
      try header.validate()
    } catch {
      preconditionFailure("a batch that no reader would accept: \(error)")
    }
    let headerByteCount = (end + 4095) & ~4095
    let area = buffer.prefix(headerByteCount)
    storeCounts(headerByteCount: headerByteCount)
    area.store(header.previousChain, .previousChain)
    area.store(header.epoch, .epoch)
    area.store(header.sequence, .sequence)
    area.store(header.horizon, .horizon)
    area.store(header.checkpointSequence, .checkpointSequence)
    area.store(header.clientSequence, .clientSequence)
    storeLists(header)
    area.dropFirst(end).fill(with: 0)
    let chain = Preamble.seal(
      area, magic: LogBatch.magic, version: LogBatchHeader.version, arrayID: header.arrayID)
    return (headerByteCount, chain)
  }

  private func storeCounts(headerByteCount: Int) {
    // All of these are bounded far below 2^16 or 2^32.
    buffer.store(UInt32(truncatingIfNeeded: headerByteCount), .headerByteCount)
    buffer.store(UInt32(truncatingIfNeeded: payloadCount), .payloadBlockCount)
    buffer.store(UInt32(truncatingIfNeeded: end), .usedByteCount)
    buffer.store(recordCount, .recordCount)
    // Two counts of 16 bits in one store.
    buffer.store(
      UInt32(truncatingIfNeeded: previousRunCount << 16 | copyCount), .copyCount)
  }

  private func storeLists(_ header: LogBatchHeader) {
    var offset = LogBatchHeader.fixedByteCount
    for copy in header.copies {
      // The slot, and four zeros.
      buffer.storeUInt64(
        UInt64(truncatingIfNeeded: copy.slot), at: offset + LogBatchHeader.CopyField.slot.offset)
      buffer.storeUInt64(
        copy.offsetBytes, at: offset + LogBatchHeader.CopyField.offsetBytes.offset)
      offset += LogBatchHeader.copyByteCount
    }
    for run in header.previousRuns {
      buffer.storeUInt64(run.firstBlock, at: offset + LogBatchHeader.RunField.firstBlock.offset)
      buffer.storeUInt64(run.blockCount, at: offset + LogBatchHeader.RunField.blockCount.offset)
      offset += LogBatchHeader.runByteCount
    }
  }
}

extension LogBatchHeader {
  /// A copy's offset is below this; as in `Superblock.logBytesBound`.
  private static let copyOffsetBound = Superblock.logBytesBound

  /// Whether every field makes sense, alone and beside the others.
  package func validate() throws(FormatError) {
    guard sequence > 0 else { throw .field(name: "sequence", value: sequence) }
    // What a header tells of the past lies before it.
    guard horizon < sequence else { throw .field(name: "horizon", value: horizon) }
    guard checkpointSequence < sequence else {
      throw .field(name: "checkpointSequence", value: checkpointSequence)
    }
    guard copies.count >= 1 && copies.count <= Self.copyCountMax else {
      throw .field(name: "copyCount", value: UInt64(copies.count))
    }
    var seen: UInt32 = 0
    for copy in copies {
      guard copy.slot >= 0 && copy.slot < 32, seen & 1 << UInt32(copy.slot) == 0 else {
        throw .field(name: "slot", value: UInt64(truncatingIfNeeded: copy.slot))
      }
      seen |= 1 << UInt32(copy.slot)
      guard copy.offsetBytes % 4096 == 0, copy.offsetBytes < Self.copyOffsetBound else {
        throw .field(name: "offsetBytes", value: copy.offsetBytes)
      }
    }
    guard previousRuns.count <= Self.previousRunCountMax else {
      throw .field(name: "previousRunCount", value: UInt64(previousRuns.count))
    }
    for run in previousRuns where !run.isPossible {
      throw .field(name: "previousRuns", value: run.firstBlock)
    }
  }
}

extension RowIntent {
  var writtenCount: Int {
    blocks.reduce(0) { $0 + ($1.kind == .written ? 1 : 0) }
  }

  var parityCount: Int { paritySectorChecksums.count / LogRecord.sectorsPerBlock }
}

extension IntentBlock {
  var kind: Kind {
    switch self {
    case .unchanged: .unchanged
    case .written: .written
    case .trimmed: .trimmed
    case .lost: .lost
    }
  }
}

extension IOBuffer {
  fileprivate func store(_ word: UInt64, _ field: LogBatchHeader.Field) {
    storeUInt64(word, at: field.offset)
  }

  fileprivate func store(_ word: UInt32, _ field: LogBatchHeader.Field) {
    storeUInt32(word, at: field.offset)
  }
}
