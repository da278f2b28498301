package import IO

/// A page of the checksum table as bytes: `TablePageHeader`, then entries.
package enum TablePage {
  /// The parts of a page's header; the entries follow.
  package enum Field: String, FormatField {
    case magic, version, checksum, arrayID, pageNumber, sequence, trimSequence, reserved, entries

    package var byteRange: Range<Int> {
      switch self {
      case .magic: 0..<8
      case .version: 8..<12
      case .checksum: 12..<16
      case .arrayID: 16..<32
      case .pageNumber: 32..<40
      case .sequence: 40..<48
      case .trimSequence: 48..<56
      case .reserved: 56..<64
      case .entries: 64..<4096
      }
    }
  }

  /// The parts of an entry.
  package enum EntryField: String, FormatField {
    case checksum, state, reserved

    package var byteRange: Range<Int> {
      switch self {
      case .checksum: 0..<4
      case .state: 4..<5
      case .reserved: 5..<8
      }
    }
  }

  package static let byteCount = 4096
  /// As in `TablePlacement.entriesPerPage`.
  package static let entryCount = 504
  private static let entriesOffset = 64
  static let magic = Preamble.magic("ASHLARCT")

  /// Writes the header, with the checksum over the whole page as its entries are now.
  package static func seal(_ page: IOBuffer, header: TablePageHeader) {
    let page = page.prefix(byteCount)
    assert(firstBadEntry(in: page) == nil, "a table page with impossible entries")
    page.storeUInt64(header.pageNumber, at: Field.pageNumber.offset)
    page.storeUInt64(header.sequence, at: Field.sequence.offset)
    page.storeUInt64(header.trimSequence, at: Field.trimSequence.offset)
    page.storeUInt64(0, at: Field.reserved.offset)
    Preamble.seal(
      page, magic: magic, version: TablePageHeader.version, arrayID: header.arrayID)
  }

  /// Verifies a page and returns its header.
  package static func verify(
    _ page: IOBuffer, arrayID: Identifier, pageNumber: UInt64
  ) throws(FormatError) -> TablePageHeader {
    let page = try Preamble.whole(page, byteCount)
    try Preamble.verifyKind(page, magic: magic, version: TablePageHeader.version)
    try Preamble.verifyChecksum(page)
    try Preamble.verifyArray(page, arrayID)
    let found = page.loadUInt64(at: Field.pageNumber.offset)
    guard found == pageNumber else {
      throw .misplaced(what: "table page", expected: "\(pageNumber)", found: "\(found)")
    }
    let reserved = page.loadUInt64(at: Field.reserved.offset)
    guard reserved == 0 else { throw .field(name: "reserved", value: reserved) }
    if let bad = firstBadEntry(in: page) { throw .field(name: "entries", value: bad) }
    return TablePageHeader(
      arrayID: arrayID, pageNumber: pageNumber,
      sequence: page.loadUInt64(at: Field.sequence.offset),
      trimSequence: page.loadUInt64(at: Field.trimSequence.offset))
  }

  /// An entry of a verified page.
  ///
  /// - Precondition: `index < 504`.
  package static func entry(in page: IOBuffer, at index: Int) -> BlockEntry {
    precondition(index >= 0 && index < entryCount)
    let word = page.loadUInt64(at: entriesOffset + index * 8)
    switch word >> 32 {
    case 0: return .neverWritten
    case 1: return .written(UInt32(truncatingIfNeeded: word))
    // `verify` lets nothing else pass; if our own memory is spoilt, a failing read is safest.
    default: return .lost
    }
  }

  /// Replaces an entry; the page has to be sealed afterwards.
  ///
  /// - Precondition: `index < 504`.
  package static func setEntry(_ entry: BlockEntry, in page: IOBuffer, at index: Int) {
    precondition(index >= 0 && index < entryCount)
    let checksum = entry.state == .written ? entry.checksum : 0
    let word = UInt64(entry.state.rawValue) << 32 | UInt64(checksum)
    page.storeUInt64(word, at: entriesOffset + index * 8)
  }

  /// Makes every entry never-written.
  package static func clear(_ page: IOBuffer) {
    page.slice(Field.entries.byteRange).fill(with: 0)
  }

  /// The first entry that no state allows, as a number.
  private static func firstBadEntry(in page: IOBuffer) -> UInt64? {
    for index in 0..<entryCount {
      let word = page.loadUInt64(at: entriesOffset + index * 8)
      // Never written: all zeros. Written: any checksum. Lost: no checksum.
      if word != 0 && word >> 32 != 1 && word != 2 << 32 { return word }
    }
    return nil
  }
}
