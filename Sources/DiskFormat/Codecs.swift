package import Geometry
package import IO

/// The mask that binds a block's checksum to its place: CRC32C of array, slot and member block.
package enum BlockChecksum {
  package static func mask(arrayID: Identifier, place: BlockPlace) -> UInt32 { stub() }
}

extension Superblock {
  /// Fills 4096 bytes.
  package func encode(into buffer: IOBuffer) { stub() }

  /// Reads 4096 bytes.
  package static func decode(_ buffer: IOBuffer) throws(FormatError) -> Superblock { stub() }
}

/// A page of the checksum table as bytes: `TablePageHeader`, then entries.
package enum TablePage {
  /// Writes the header, with the checksum over the whole page as its entries are now.
  package static func seal(_ page: IOBuffer, header: TablePageHeader) { stub() }

  /// Verifies a page and returns its header.
  package static func verify(
    _ page: IOBuffer, arrayID: Identifier, pageNumber: UInt64
  ) throws(FormatError) -> TablePageHeader { stub() }

  package static func entry(in page: IOBuffer, at index: Int) -> BlockEntry { stub() }
  package static func setEntry(_ entry: BlockEntry, in page: IOBuffer, at index: Int) { stub() }
  /// Makes every entry never-written.
  package static func clear(_ page: IOBuffer) { stub() }
}

extension PageMap {
  /// Writes the header of map page `number`, with the checksum over the whole page.
  package static func seal(
    _ page: IOBuffer, arrayID: Identifier, number: UInt64, sequence: UInt64
  ) { stub() }

  /// Verifies a map page and returns its sequence.
  package static func verify(
    _ page: IOBuffer, arrayID: Identifier, number: UInt64
  ) throws(FormatError) -> UInt64 { stub() }

  package static func flags(in page: IOBuffer, at index: Int) -> Flags { stub() }
  package static func setFlags(_ flags: Flags, in page: IOBuffer, at index: Int) { stub() }
}

/// Writes a batch's header and descriptors in place, record by record, without allocating.
package struct LogBatchEncoder {
  /// The bytes of descriptor that a record takes.
  package static func writeRecordBytes(blockCount: Int) -> Int { stub() }
  package static var trimRecordBytes: Int { stub() }
  package static func intentRecordBytes(dataCount: Int, parityCount: Int) -> Int { stub() }
  /// The bytes of the fixed part, with its copies and runs, before the first record.
  package static func fixedBytes(copyCount: Int, previousRunCount: Int) -> Int { stub() }
  /// The most runs that `previousRuns` may hold.
  package static var previousRunCountMax: Int { 64 }

  /// Starts a batch in `buffer`, which has room for the whole header area.
  package init(_ buffer: IOBuffer, copyCount: Int, previousRunCount: Int) { stub() }

  /// Bytes used so far; the header area is this rounded up to 4096.
  package var usedBytes: Int { stub() }
  package var payloadBlockCount: Int { stub() }

  /// Adds a write whose payload follows those added before; `checksum` gives each block's CRC32C.
  package mutating func appendWrite(
    _ run: BlockRun, clientSequence: UInt64, checksum: (Int) -> UInt32
  ) { stub() }
  package mutating func appendTrim(_ run: BlockRun, clientSequence: UInt64) { stub() }
  package mutating func appendIntent(_ intent: RowIntent) { stub() }

  /// Writes the fixed part and the checksum.
  ///
  /// - Precondition: `header` has the counts of copies and runs that `init` was told.
  /// - Returns: the header area's size, a multiple of 4096, and the chain checksum.
  package mutating func finish(_ header: LogBatchHeader) -> (headerByteCount: Int, chain: UInt32) {
    stub()
  }
}

extension LogBatch {
  /// The size of the header area and of the payload, from the first 4096 bytes alone.
  ///
  /// For a reader that has to know how much to read; nothing is verified but magic, version, array
  /// and that the sizes are possible.
  package static func sizes(
    _ firstBlock: IOBuffer, arrayID: Identifier
  ) throws(FormatError) -> (headerByteCount: Int, payloadBlockCount: Int) { stub() }

  /// Verifies the header area and reads it.
  ///
  /// The payload is verified by `isPayloadIntact`.
  package static func decode(
    _ headerArea: IOBuffer, arrayID: Identifier
  ) throws(FormatError) -> LogBatch { stub() }

  /// Whether every payload block has the checksum that its record says.
  package func isPayloadIntact(_ payload: IOBuffer) -> Bool { stub() }
}

private func stub() -> Never { preconditionFailure("not written yet") }
