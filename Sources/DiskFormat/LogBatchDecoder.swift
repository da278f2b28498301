package import IO
internal import Parity

extension LogBatch {
  /// The size of the header area and of the payload, from the first 4096 bytes alone.
  ///
  /// For a reader that has to know how much to read; nothing is verified but magic, version, array
  /// and that the sizes are possible.
  package static func sizes(
    _ firstBlock: IOBuffer, arrayID: Identifier
  ) throws(FormatError) -> (headerByteCount: Int, payloadBlockCount: Int) {
    let sizes = try possibleSizes(firstBlock)
    try Preamble.verifyArray(firstBlock, arrayID)
    return sizes
  }

  /// Verifies the header area and reads it.
  ///
  /// The payload is verified by `isPayloadIntact`. What is behind the header area is ignored.
  package static func decode(
    _ headerArea: IOBuffer, arrayID: Identifier
  ) throws(FormatError) -> LogBatch {
    let (headerByteCount, payloadBlockCount) = try possibleSizes(headerArea)
    guard headerArea.byteCount >= headerByteCount else {
      throw .field(name: "headerByteCount", value: UInt64(headerByteCount))
    }
    let area = headerArea.prefix(headerByteCount)
    let chain = try Preamble.verifyChecksum(area)
    try Preamble.verifyArray(area, arrayID)
    // A cut does not move the bytes: an offset in the one is an offset in the other.
    let used = Int(area.loadUInt32(at: LogBatchHeader.Field.usedByteCount.offset))
    guard used >= LogBatchHeader.fixedByteCount, (used + 4095) & ~4095 == headerByteCount,
      area.dropFirst(used).isZero
    else { throw .field(name: "usedByteCount", value: UInt64(used)) }
    var reader = LogBatchReader(area.prefix(used))
    let header = try reader.header(arrayID: arrayID)
    let records = try reader.records()
    guard reader.payloadBlockCount == payloadBlockCount else {
      throw .field(name: "payloadBlockCount", value: UInt64(payloadBlockCount))
    }
    return LogBatch(
      header: header, headerByteCount: headerByteCount, payloadBlockCount: payloadBlockCount,
      records: records, chain: chain)
  }

  /// Whether every payload block has the checksum that its record says.
  ///
  /// False when there are fewer blocks than the records name.
  package func isPayloadIntact(_ payload: IOBuffer) -> Bool {
    guard payloadBlockCount >= 0, payload.byteCount / 4096 >= payloadBlockCount else {
      return false
    }
    for record in records {
      guard case .write(_, _, let first, let checksums) = record else { continue }
      guard first >= 0, first <= payloadBlockCount, checksums.count <= payloadBlockCount - first
      else { return false }
      for (index, checksum) in checksums.enumerated() {
        let block = payload.slice((first + index) * 4096, 4096)
        guard BlockChecksum.of(block.bytes) == checksum else { return false }
      }
    }
    return true
  }

  private static func possibleSizes(
    _ bytes: IOBuffer
  ) throws(FormatError) -> (headerByteCount: Int, payloadBlockCount: Int) {
    typealias Field = LogBatchHeader.Field
    guard bytes.byteCount >= 4096 else {
      throw .field(name: "byteCount", value: UInt64(bytes.byteCount))
    }
    try Preamble.verifyKind(bytes, magic: magic, version: LogBatchHeader.version)
    let headerByteCount = Int(bytes.loadUInt32(at: Field.headerByteCount.offset))
    guard headerByteCount >= 4096, headerByteCount <= LogBatchHeader.headerBytesMax,
      headerByteCount % 4096 == 0
    else { throw .field(name: "headerByteCount", value: UInt64(headerByteCount)) }
    let payloadBlockCount = Int(bytes.loadUInt32(at: Field.payloadBlockCount.offset))
    guard payloadBlockCount <= payloadBlocksMax else {
      throw .field(name: "payloadBlockCount", value: UInt64(payloadBlockCount))
    }
    return (headerByteCount, payloadBlockCount)
  }
}

/// Walks over the used bytes of a header area; every step asks whether they are there.
private struct LogBatchReader {
  typealias Field = LogBatchHeader.Field

  private let bytes: IOBuffer
  private var offset = LogBatchHeader.fixedByteCount
  private(set) var payloadBlockCount = 0

  /// - Precondition: `bytes` has the fixed part.
  init(_ bytes: IOBuffer) {
    self.bytes = bytes
  }

  /// The next bytes; `what` names the count that promised them.
  private mutating func take(_ byteCount: Int, _ what: String) throws(FormatError) -> IOBuffer {
    guard byteCount <= bytes.byteCount - offset else {
      throw .field(name: what, value: UInt64(byteCount))
    }
    defer { offset += byteCount }
    return bytes.slice(offset, byteCount)
  }

  private func word(_ field: Field) -> UInt64 { bytes.loadUInt64(at: field.offset) }

  // MARK: The header

  mutating func header(arrayID: Identifier) throws(FormatError) -> LogBatchHeader {
    // Two counts of 16 bits.
    let counts = bytes.loadUInt32(at: Field.copyCount.offset)
    let header = LogBatchHeader(
      arrayID: arrayID, epoch: word(.epoch), sequence: word(.sequence),
      previousChain: bytes.loadUInt32(at: Field.previousChain.offset), horizon: word(.horizon),
      checkpointSequence: word(.checkpointSequence), clientSequence: word(.clientSequence),
      copies: try copies(Int(counts & 0xffff)), previousRuns: try runs(Int(counts >> 16)))
    try header.validate()
    return header
  }

  private mutating func copies(_ count: Int) throws(FormatError) -> [BatchCopy] {
    guard count <= LogBatchHeader.copyCountMax else {
      throw .field(name: "copyCount", value: UInt64(count))
    }
    var copies: [BatchCopy] = []
    copies.reserveCapacity(count)
    for _ in 0..<count {
      let copy = try take(LogBatchHeader.copyByteCount, "copyCount")
      let slot = copy.loadUInt64(at: LogBatchHeader.CopyField.slot.offset)
      guard slot < 32 else { throw .field(name: "slot", value: slot) }
      copies.append(
        BatchCopy(
          slot: Int(slot),
          offsetBytes: copy.loadUInt64(at: LogBatchHeader.CopyField.offsetBytes.offset)))
    }
    return copies
  }

  private mutating func runs(_ count: Int) throws(FormatError) -> [BlockRun] {
    guard count <= LogBatchHeader.previousRunCountMax else {
      throw .field(name: "previousRunCount", value: UInt64(count))
    }
    var runs: [BlockRun] = []
    runs.reserveCapacity(count)
    for _ in 0..<count {
      let run = try take(LogBatchHeader.runByteCount, "previousRunCount")
      runs.append(
        BlockRun(
          firstBlock: run.loadUInt64(at: LogBatchHeader.RunField.firstBlock.offset),
          blockCount: run.loadUInt64(at: LogBatchHeader.RunField.blockCount.offset)))
    }
    return runs
  }

  // MARK: Records

  mutating func records() throws(FormatError) -> [LogRecord] {
    let count = Int(bytes.loadUInt32(at: Field.recordCount.offset))
    // No record is shorter than a word: a count that lies reserves no memory.
    guard count <= (bytes.byteCount - offset) / 8 else {
      throw .field(name: "recordCount", value: UInt64(count))
    }
    var records: [LogRecord] = []
    records.reserveCapacity(count)
    for _ in 0..<count { records.append(try record()) }
    guard offset == bytes.byteCount else {
      throw .field(name: "usedByteCount", value: UInt64(bytes.byteCount))
    }
    return records
  }

  private mutating func record() throws(FormatError) -> LogRecord {
    guard bytes.byteCount - offset >= 8 else {
      throw .field(name: "recordCount", value: UInt64(offset))
    }
    let kind = bytes.loadUInt8(at: offset)
    switch LogRecord.Kind(rawValue: kind) {
    case .write: return try write()
    case .trim: return try trim()
    case .intent: return try intent()
    case .direct: return try direct()
    case .position: return try position()
    case nil: throw .field(name: "kind", value: UInt64(kind))
    }
  }

  private mutating func write() throws(FormatError) -> LogRecord {
    typealias Field = LogRecord.WriteField
    let blockCount = Int(bytes.loadUInt32(at: offset + Field.blockCount.offset))
    guard blockCount > 0, blockCount <= LogBatch.payloadBlocksMax - payloadBlockCount else {
      throw .field(name: "blockCount", value: UInt64(blockCount))
    }
    let byteCount = LogBatchEncoder.writeRecordBytes(blockCount: blockCount)
    let record = try take(byteCount, "blockCount")
    try expectZeros(record.slice(Field.reserved.byteRange))
    let run = BlockRun(
      firstBlock: record.loadUInt64(at: Field.firstBlock.offset), blockCount: UInt64(blockCount))
    guard run.isPossible else { throw .field(name: "firstBlock", value: run.firstBlock) }
    let checksums = checksums(in: record, at: LogRecord.writeFixedBytes, blockCount)
    try expectZeros(record.dropFirst(LogRecord.writeFixedBytes + blockCount * 4))
    defer { payloadBlockCount += blockCount }
    return .write(
      run: run, clientSequence: record.loadUInt64(at: Field.clientSequence.offset),
      payloadIndex: payloadBlockCount, checksums: checksums)
  }

  private mutating func trim() throws(FormatError) -> LogRecord {
    typealias Field = LogRecord.TrimField
    let record = try take(LogRecord.trimBytes, "recordCount")
    try expectZeros(record.slice(Field.reserved.byteRange))
    let run = BlockRun(
      firstBlock: record.loadUInt64(at: Field.firstBlock.offset),
      blockCount: record.loadUInt64(at: Field.blockCount.offset))
    guard run.isPossible else { throw .field(name: "blockCount", value: run.blockCount) }
    return .trim(run: run, clientSequence: record.loadUInt64(at: Field.clientSequence.offset))
  }

  private mutating func position() throws(FormatError) -> LogRecord {
    typealias Field = LogRecord.PositionField
    let record = try take(LogRecord.positionBytes, "recordCount")
    try expectZeros(record.slice(Field.reserved.byteRange))
    return .position(
      StreamPosition(
        number: record.loadUInt64(at: Field.number.offset),
        chain: record.loadUInt32(at: Field.chain.offset)))
  }

  private mutating func intent() throws(FormatError) -> LogRecord {
    typealias Field = LogRecord.IntentField
    let record = try take(LogRecord.intentFixedBytes, "recordCount")
    try expectZeros(record.slice(Field.reserved.byteRange))
    let dataCount = Int(record.loadUInt8(at: Field.dataCount.offset))
    guard dataCount >= 1 && dataCount <= LogRecord.intentDataCountMax else {
      throw .field(name: "dataCount", value: UInt64(dataCount))
    }
    let parityCount = Int(record.loadUInt8(at: Field.parityCount.offset))
    guard parityCount <= 2 else {
      throw .field(name: "parityCount", value: UInt64(parityCount))
    }
    let kinds = try kinds(dataCount)
    let writtenCount = kinds.reduce(0) { $0 + ($1 == .written ? 1 : 0) }
    let sequences = try take(writtenCount * 8, "dataCount")
    let sums = writtenCount + parityCount * LogRecord.sectorsPerBlock
    let tail = try take(paddedToWord(sums * 4), "parityCount")
    try expectZeros(tail.dropFirst(sums * 4))
    var written = 0
    let blocks = kinds.map { kind -> IntentBlock in
      switch kind {
      case .unchanged: return .unchanged
      case .trimmed: return .trimmed
      case .lost: return .lost
      case .written:
        defer { written += 1 }
        return .written(
          batchSequence: sequences.loadUInt64(at: written * 8),
          checksum: tail.loadUInt32(at: written * 4))
      }
    }
    return .intent(
      RowIntent(
        row: record.loadUInt64(at: Field.row.offset), blocks: blocks,
        paritySectorChecksums: checksums(in: tail, at: writtenCount * 4, sums - writtenCount)))
  }

  private mutating func kinds(_ dataCount: Int) throws(FormatError) -> [IntentBlock.Kind] {
    let bytes = try take(paddedToWord(dataCount), "dataCount")
    var kinds: [IntentBlock.Kind] = []
    kinds.reserveCapacity(dataCount)
    for index in 0..<dataCount {
      let raw = bytes.loadUInt8(at: index)
      guard let kind = IntentBlock.Kind(rawValue: raw) else {
        throw .field(name: "blocks", value: UInt64(raw))
      }
      kinds.append(kind)
    }
    try expectZeros(bytes.dropFirst(dataCount))
    return kinds
  }

  private mutating func direct() throws(FormatError) -> LogRecord {
    typealias Field = LogRecord.DirectField
    let fixed = try take(LogRecord.directFixedBytes, "recordCount")
    try expectZeros(fixed.slice(Field.reserved.byteRange))
    let blockCount = Int(fixed.loadUInt32(at: Field.blockCount.offset))
    guard blockCount > 0, blockCount <= LogBatch.payloadBlocksMax else {
      throw .field(name: "blockCount", value: UInt64(blockCount))
    }
    let run = BlockRun(
      firstBlock: fixed.loadUInt64(at: Field.firstBlock.offset), blockCount: UInt64(blockCount))
    guard run.isPossible else { throw .field(name: "firstBlock", value: run.firstBlock) }
    let kinds = try take(paddedToWord(blockCount), "blockCount")
    try expectZeros(kinds.dropFirst(blockCount))
    let perBlock = 1 + LogRecord.sectorsPerBlock
    let sums = try take(paddedToWord(blockCount * perBlock * 4), "blockCount")
    try expectZeros(sums.dropFirst(blockCount * perBlock * 4))
    var intent = DirectIntent(run: run, old: [], sectorChecksums: [])
    intent.old.reserveCapacity(blockCount)
    intent.sectorChecksums.reserveCapacity(blockCount * LogRecord.sectorsPerBlock)
    for index in 0..<blockCount {
      let raw = kinds.loadUInt8(at: index)
      let offset = index * perBlock * 4
      let checksum = sums.loadUInt32(at: offset)
      switch DirectOldBlock.Kind(rawValue: raw) {
      case .written: intent.old.append(.written(checksum: checksum))
      case .neverWritten where checksum == 0: intent.old.append(.neverWritten)
      case .lost where checksum == 0: intent.old.append(.lost)
      case .neverWritten, .lost: throw .field(name: "checksum", value: UInt64(checksum))
      case nil: throw .field(name: "blocks", value: UInt64(raw))
      }
      for sector in 1..<perBlock {
        intent.sectorChecksums.append(sums.loadUInt32(at: offset + sector * 4))
      }
    }
    return .direct(intent)
  }

  private func checksums(in record: IOBuffer, at offset: Int, _ count: Int) -> [UInt32] {
    (0..<count).map { record.loadUInt32(at: offset + $0 * 4) }
  }

  /// What this version leaves unused is zero: another value was written by something unknown.
  private func expectZeros(_ bytes: IOBuffer) throws(FormatError) {
    guard bytes.isZero else { throw .field(name: "reserved", value: 0) }
  }
}
