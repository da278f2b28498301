package import IO

extension PageMap {
  /// The parts of a map page's header; the flags follow.
  package enum Field: String, FormatField {
    case magic, version, checksum, arrayID, number, sequence, reserved, flags

    package var byteRange: Range<Int> {
      switch self {
      case .magic: 0..<8
      case .version: 8..<12
      case .checksum: 12..<16
      case .arrayID: 16..<32
      case .number: 32..<40
      case .sequence: 40..<48
      case .reserved: 48..<64
      case .flags: 64..<4096
      }
    }
  }

  package static let byteCount = 4096
  static let magic = Preamble.magic("ASHLARPM")

  /// Writes the header of map page `number`, with the checksum over the whole page.
  package static func seal(
    _ page: IOBuffer, arrayID: Identifier, number: UInt64, sequence: UInt64
  ) {
    let page = page.prefix(byteCount)
    assert(firstBadFlags(in: page) == nil, "a map page with unknown flags")
    page.storeUInt64(number, at: Field.number.offset)
    page.storeUInt64(sequence, at: Field.sequence.offset)
    page.slice(Field.reserved.byteRange).fill(with: 0)
    Preamble.seal(page, magic: magic, version: version, arrayID: arrayID)
  }

  /// Verifies a map page and returns its sequence.
  package static func verify(
    _ page: IOBuffer, arrayID: Identifier, number: UInt64
  ) throws(FormatError) -> UInt64 {
    let page = try Preamble.whole(page, byteCount)
    try Preamble.verifyKind(page, magic: magic, version: version)
    try Preamble.verifyChecksum(page)
    try Preamble.verifyArray(page, arrayID)
    let found = page.loadUInt64(at: Field.number.offset)
    guard found == number else {
      throw .misplaced(what: "map page", expected: "\(number)", found: "\(found)")
    }
    for offset in stride(from: Field.reserved.offset, to: headerBytes, by: 8) {
      let reserved = page.loadUInt64(at: offset)
      guard reserved == 0 else { throw .field(name: "reserved", value: reserved) }
    }
    if let bad = firstBadFlags(in: page) { throw .field(name: "flags", value: UInt64(bad)) }
    return page.loadUInt64(at: Field.sequence.offset)
  }

  /// The flags of the table page that is `index` in this map page.
  ///
  /// - Precondition: `index < entriesPerPage`.
  package static func flags(in page: IOBuffer, at index: Int) -> Flags {
    precondition(index >= 0 && index < 4032)
    return Flags(rawValue: page.loadUInt8(at: 64 + index))
  }

  /// Replaces flags; the page has to be sealed afterwards.
  ///
  /// - Precondition: `index < entriesPerPage`.
  package static func setFlags(_ flags: Flags, in page: IOBuffer, at index: Int) {
    precondition(index >= 0 && index < 4032)
    page.storeUInt8(flags.rawValue, at: 64 + index)
  }

  private static func firstBadFlags(in page: IOBuffer) -> UInt8? {
    let known = Flags([.present, .changed]).rawValue
    for offset in stride(from: headerBytes, to: byteCount, by: 8) {
      let word = page.loadUInt64(at: offset)
      // Eight table pages at once; nearly always all are good.
      guard word & ~(UInt64(known) &* 0x0101_0101_0101_0101) != 0 else { continue }
      for index in offset..<offset + 8 where page.loadUInt8(at: index) & ~known != 0 {
        return page.loadUInt8(at: index)
      }
    }
    return nil
  }
}
