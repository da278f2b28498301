/// Where a copy of a batch lies.
package struct BatchCopy: Equatable, Sendable {
  package var slot: Int
  /// From the start of the member's log region; a multiple of 4096.
  package var offsetBytes: UInt64

  package init(slot: Int, offsetBytes: UInt64) {
    self.slot = slot
    self.offsetBytes = offsetBytes
  }
}

/// A run of the array's blocks.
package struct BlockRun: Equatable, Sendable {
  package var firstBlock: UInt64
  package var blockCount: UInt64

  package init(firstBlock: UInt64, blockCount: UInt64) {
    self.firstBlock = firstBlock
    self.blockCount = blockCount
  }
}

/// The fixed part of a batch's header.
///
/// A batch is `headerByteCount` bytes of header and descriptors, then its payload blocks, and is
/// the same on every member that has a copy. Its checksum covers header and descriptors, and these
/// hold a checksum of each payload block; so the checksum is also the *chain*: the next batch repeats
/// it.
package struct LogBatchHeader: Equatable, Sendable {
  package static let version: UInt32 = 2
  package static let headerBytesMax = 256 << 10

  package var arrayID: Identifier
  package var epoch: UInt64
  /// Counts batches; +1 with each.
  package var sequence: UInt64
  /// The chain checksum of the batch before.
  package var previousChain: UInt32
  /// Every batch up to this one was durable when this was written (rule L1).
  package var horizon: UInt64
  package var checkpointSequence: UInt64
  /// The client sequence number after this batch's records (rule L8).
  package var clientSequence: UInt64
  package var copies: [BatchCopy]
  /// The blocks that the batch before wrote or trimmed, made coarser where there were many (L7).
  package var previousRuns: [BlockRun]

  package init(
    arrayID: Identifier, epoch: UInt64, sequence: UInt64, previousChain: UInt32, horizon: UInt64,
    checkpointSequence: UInt64, clientSequence: UInt64, copies: [BatchCopy],
    previousRuns: [BlockRun]
  ) {
    self.arrayID = arrayID
    self.epoch = epoch
    self.sequence = sequence
    self.previousChain = previousChain
    self.horizon = horizon
    self.checkpointSequence = checkpointSequence
    self.clientSequence = clientSequence
    self.copies = copies
    self.previousRuns = previousRuns
  }
}

/// What a destage is about to do to one data block of a row.
package enum IntentBlock: Equatable, Sendable {
  /// It stays as it is.
  case unchanged
  /// It gets the content that the batch of this number logged, with this checksum (no mask).
  case written(batchSequence: UInt64, checksum: UInt32)
  /// It becomes never-written.
  case trimmed
  /// It is beyond repair and counts as zeros from now on.
  case lost
}

/// What a destage is about to do to a row with parity.
package struct RowIntent: Equatable, Sendable {
  package var row: UInt64
  /// One for each data position.
  package var blocks: [IntentBlock]
  /// Checksum of each 512-byte sector of the new P, then of the new Q: 8 for each.
  ///
  /// Empty when the row becomes never-written as a whole, and its parity with it.
  package var paritySectorChecksums: [UInt32]

  package init(row: UInt64, blocks: [IntentBlock], paritySectorChecksums: [UInt32]) {
    self.row = row
    self.blocks = blocks
    self.paritySectorChecksums = paritySectorChecksums
  }
}

/// What the home of a block held when a direct write to it was announced.
package enum DirectOldBlock: Equatable, Sendable {
  /// Content with this checksum (no mask).
  case written(checksum: UInt32)
  /// Nothing: it read as zeros.
  case neverWritten
  /// It was beyond repair.
  case lost
}

/// What a direct write is about to do: whole rows get content that is not in the log.
package struct DirectIntent: Equatable, Sendable {
  /// With parity: whole stripes.
  package var run: BlockRun
  /// What each block's home held before.
  package var old: [DirectOldBlock]
  /// Checksum of each 512-byte sector of the new content: 8 for each block (rule D2).
  package var sectorChecksums: [UInt32]

  package init(run: BlockRun, old: [DirectOldBlock], sectorChecksums: [UInt32]) {
    self.run = run
    self.old = old
    self.sectorChecksums = sectorChecksums
  }
}

/// A record as a reader finds it.
package enum LogRecord: Equatable, Sendable {
  /// Blocks that a client wrote: whole or not at all (promise P6). `payloadIndex` is its first
  /// payload block in the batch; `checksums` are those of each block (no mask). A client sequence
  /// number of 0: a copy from a primary, which is no client's (docs/replication.md, section 4).
  case write(run: BlockRun, clientSequence: UInt64, payloadIndex: Int, checksums: [UInt32])
  /// Blocks that become never-written.
  case trim(run: BlockRun, clientSequence: UInt64)
  case intent(RowIntent)
  case direct(DirectIntent)
  /// From here on client records count from another number: a replica begins with a copy.
  case position(StreamPosition)
}

/// A batch as a reader finds it, without its payload.
package struct LogBatch: Equatable, Sendable {
  package var header: LogBatchHeader
  package var headerByteCount: Int
  package var payloadBlockCount: Int
  package var records: [LogRecord]
  /// The checksum of header and descriptors; the next batch's `previousChain`.
  package var chain: UInt32

  package init(
    header: LogBatchHeader, headerByteCount: Int, payloadBlockCount: Int, records: [LogRecord],
    chain: UInt32
  ) {
    self.header = header
    self.headerByteCount = headerByteCount
    self.payloadBlockCount = payloadBlockCount
    self.records = records
    self.chain = chain
  }

  /// Header and payload together.
  package var byteCount: Int { headerByteCount + payloadBlockCount * 4096 }
}
