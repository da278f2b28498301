/// What the table says of one block.
package struct BlockEntry: Equatable, Sendable {
  /// A block's states on disk.
  package enum State: UInt8, Sendable {
    /// Reads as zeros, without I/O; parity counts it as zeros.
    case neverWritten = 0
    case written = 1
    /// Beyond repair: reads fail until it is written; parity counts it as zeros.
    case lost = 2
  }

  package var state: State
  /// The block's checksum, XORed with the block's `addressMask`; 0 unless written.
  package var checksum: UInt32

  @inlinable
  package init(state: State, checksum: UInt32) {
    self.state = state
    self.checksum = checksum
  }

  package static let neverWritten = BlockEntry(state: .neverWritten, checksum: 0)
  package static let lost = BlockEntry(state: .lost, checksum: 0)

  /// A written block's entry.
  @inlinable
  package static func written(_ checksum: UInt32) -> BlockEntry {
    BlockEntry(state: .written, checksum: checksum)
  }
}

/// The header of a page of the checksum table: 64 bytes, then 504 entries of 8 bytes.
package struct TablePageHeader: Equatable, Sendable {
  package static let version: UInt32 = 2
  package static let byteCount = 64

  package var arrayID: Identifier
  package var pageNumber: UInt64
  /// Rises with every write of any page of the array; the newest valid slot counts.
  package var sequence: UInt64
  /// The batch of the last trim of the whole page that its entries include (rule D7).
  package var trimSequence: UInt64

  package init(
    arrayID: Identifier, pageNumber: UInt64, sequence: UInt64, trimSequence: UInt64
  ) {
    self.arrayID = arrayID
    self.pageNumber = pageNumber
    self.sequence = sequence
    self.trimSequence = trimSequence
  }
}

/// One byte for each page of the checksum table: whether it exists, whether it changed while a
/// member was out.
package enum PageMap {
  package static let version: UInt32 = 2
  package static let headerBytes = 64
  /// Bytes of a map page that describe table pages.
  package static let entriesPerPage: UInt64 = 4096 - 64

  /// The flags of one table page.
  package struct Flags: OptionSet, Sendable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) {
      self.rawValue = rawValue
    }

    /// The table page has been written: without this, all its blocks are never-written, whatever
    /// lies in its place (rule T3).
    package static let present = Flags(rawValue: 1)
    /// Something that it describes, or itself, was written while a member was out (rule T5).
    package static let changed = Flags(rawValue: 2)
  }

  /// The map pages that so many table pages need.
  package static func pageCount(tablePageCount: UInt64) -> UInt64 {
    (tablePageCount + entriesPerPage - 1) / entriesPerPage
  }
}
