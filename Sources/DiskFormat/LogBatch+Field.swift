extension LogBatchHeader {
  /// The parts of a batch's fixed header; copies, runs and records follow.
  package enum Field: String, FormatField {
    case magic, version, checksum, arrayID
    case headerByteCount, payloadBlockCount, usedByteCount, recordCount
    case copyCount, previousRunCount, previousChain
    case epoch, sequence, horizon, checkpointSequence, clientSequence

    package var byteRange: Range<Int> {
      switch self {
      case .magic: 0..<8
      case .version: 8..<12
      case .checksum: 12..<16
      case .arrayID: 16..<32
      case .headerByteCount: 32..<36
      case .payloadBlockCount: 36..<40
      case .usedByteCount: 40..<44
      case .recordCount: 44..<48
      case .copyCount: 48..<50
      case .previousRunCount: 50..<52
      case .previousChain: 52..<56
      case .epoch: 56..<64
      case .sequence: 64..<72
      case .horizon: 72..<80
      case .checkpointSequence: 80..<88
      case .clientSequence: 88..<96
      }
    }
  }

  /// The parts of a copy in a batch's header.
  package enum CopyField: String, FormatField {
    case slot, reserved, offsetBytes

    package var byteRange: Range<Int> {
      switch self {
      case .slot: 0..<4
      case .reserved: 4..<8
      case .offsetBytes: 8..<16
      }
    }
  }

  /// The parts of a run in a batch's header.
  package enum RunField: String, FormatField {
    case firstBlock, blockCount

    package var byteRange: Range<Int> {
      switch self {
      case .firstBlock: 0..<8
      case .blockCount: 8..<16
      }
    }
  }

  /// The bytes before the copies.
  package static let fixedByteCount = 96
  package static let copyByteCount = 16
  package static let runByteCount = 16
  package static let copyCountMax = 32
  package static let previousRunCountMax = 64
}

extension LogBatch {
  /// The most payload that one batch carries.
  package static let payloadBlocksMax = 4096

  static let magic = Preamble.magic("ASHLARLB")
}

extension LogRecord {
  /// The first byte of a record.
  package enum Kind: UInt8 {
    case write = 1
    case trim = 2
    case intent = 3
    case direct = 4
    case position = 5
  }

  /// The parts of a write's record; a checksum for each block follows, then zeros up to 8 bytes.
  package enum WriteField: String, FormatField {
    case kind, reserved, blockCount, firstBlock, clientSequence

    package var byteRange: Range<Int> {
      switch self {
      case .kind: 0..<1
      case .reserved: 1..<4
      case .blockCount: 4..<8
      case .firstBlock: 8..<16
      case .clientSequence: 16..<24
      }
    }
  }

  /// The parts of a trim's record.
  package enum TrimField: String, FormatField {
    case kind, reserved, firstBlock, blockCount, clientSequence

    package var byteRange: Range<Int> {
      switch self {
      case .kind: 0..<1
      case .reserved: 1..<8
      case .firstBlock: 8..<16
      case .blockCount: 16..<24
      case .clientSequence: 24..<32
      }
    }
  }

  /// The parts of an intent's record that have a fixed place.
  ///
  /// Behind them: the kind of each data block (1 byte each), zeros up to 8 bytes; then of the
  /// written ones the batch sequence of each (8 bytes), then the checksum of each (4 bytes); then
  /// 8 sector checksums of 4 bytes for each parity; zeros up to 8 bytes.
  package enum IntentField: String, FormatField {
    case kind, dataCount, parityCount, reserved, row

    package var byteRange: Range<Int> {
      switch self {
      case .kind: 0..<1
      case .dataCount: 1..<2
      case .parityCount: 2..<3
      case .reserved: 3..<8
      case .row: 8..<16
      }
    }
  }

  /// The parts of a direct intent's record that have a fixed place.
  ///
  /// Behind them: what each block held before (1 byte each), zeros up to 8 bytes; then for each
  /// block the checksum of that, 0 where there is none, and of its 8 new sectors; zeros up to 8 bytes.
  package enum DirectField: String, FormatField {
    case kind, reserved, blockCount, firstBlock

    package var byteRange: Range<Int> {
      switch self {
      case .kind: 0..<1
      case .reserved: 1..<4
      case .blockCount: 4..<8
      case .firstBlock: 8..<16
      }
    }
  }

  /// The parts of a position's record.
  package enum PositionField: String, FormatField {
    case kind, reserved, chain, number

    package var byteRange: Range<Int> {
      switch self {
      case .kind: 0..<1
      case .reserved: 1..<4
      case .chain: 4..<8
      case .number: 8..<16
      }
    }
  }

  static let positionBytes = 16
  package static let writeFixedBytes = 24
  package static let trimBytes = 32
  static let intentFixedBytes = 16
  static let directFixedBytes = 16
  static let intentDataCountMax = 32
  static let sectorsPerBlock = 8
}

extension IntentBlock {
  /// The byte of a data block in an intent.
  enum Kind: UInt8 {
    case unchanged = 0
    case written = 1
    case trimmed = 2
    case lost = 3
  }
}

extension DirectOldBlock {
  /// The byte of a block in a direct intent.
  enum Kind: UInt8 {
    case written = 0
    case neverWritten = 1
    case lost = 2
  }

  var kind: Kind {
    switch self {
    case .written: .written
    case .neverWritten: .neverWritten
    case .lost: .lost
    }
  }

  /// What the record says of the old content; 0 where there is none.
  var storedChecksum: UInt32 {
    if case .written(let checksum) = self { checksum } else { 0 }
  }
}

/// The next multiple of 8.
package func paddedToWord(_ byteCount: Int) -> Int { (byteCount + 7) & ~7 }

extension BlockRun {
  /// Whether it has blocks, and ends before the numbers do.
  package var isPossible: Bool {
    blockCount > 0 && !firstBlock.addingReportingOverflow(blockCount).overflow
  }
}
