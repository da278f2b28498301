package import IO
internal import Parity

/// One row of a format's table in `docs/formats`: the raw value is the name used there.
///
/// Code takes its offsets from these tables, and tests hold the pages to them.
package protocol FormatField: RawRepresentable<String>, CaseIterable, Sendable {
  /// Where in the structure it lies.
  var byteRange: Range<Int> { get }
}

extension FormatField {
  /// The first byte.
  package var offset: Int { byteRange.lowerBound }
}

/// What all structures begin with: magic, version, checksum, array.
package enum Preamble: String, FormatField {
  case magic, version, checksum, arrayID

  package var byteRange: Range<Int> {
    switch self {
    case .magic: 0..<8
    case .version: 8..<12
    case .checksum: 12..<16
    case .arrayID: 16..<32
    }
  }

  /// Eight letters as the number that they are when loaded.
  package static func magic(_ letters: StaticString) -> UInt64 {
    precondition(letters.utf8CodeUnitCount == 8)
    var magic: UInt64 = 0
    letters.withUTF8Buffer { bytes in
      // Safe: there are eight.
      for index in 0..<8 { magic |= unsafe UInt64(bytes[index]) << UInt64(index * 8) }
    }
    return magic
  }

  /// CRC32C of all bytes, with those of the checksum as zeros.
  package static func checksum(of bytes: IOBuffer) -> UInt32 {
    var crc = CRC32C()
    crc.update(bytes.loadUInt64(at: 0))
    // The version, and zeros instead of the checksum behind it.
    crc.update(UInt64(bytes.loadUInt32(at: Self.version.offset)))
    let rest = bytes.dropFirst(16)
    crc.update(rest.bytes)
    return crc.value
  }

  /// Writes magic, version and array, and then the checksum of all bytes.
  ///
  /// - Returns: the checksum.
  @discardableResult
  static func seal(
    _ bytes: IOBuffer, magic: UInt64, version: UInt32, arrayID: Identifier
  ) -> UInt32 {
    bytes.storeUInt64(magic, at: Self.magic.offset)
    bytes.storeUInt32(version, at: Self.version.offset)
    bytes.storeIdentifier(arrayID, at: Self.arrayID.offset)
    let checksum = checksum(of: bytes)
    bytes.storeUInt32(checksum, at: Self.checksum.offset)
    return checksum
  }

  /// Whether something of this kind and version is there; the rest may be anything.
  ///
  /// The version comes before the checksum, because a later one may be checked differently, and
  /// "written by a later Ashlar" says more than "damaged".
  package static func verifyKind(
    _ bytes: IOBuffer, magic: UInt64, version: UInt32
  ) throws(FormatError) {
    guard bytes.loadUInt64(at: Self.magic.offset) == magic else { throw .noMagic }
    let found = bytes.loadUInt32(at: Self.version.offset)
    guard found == version else { throw .version(found: found, supported: version) }
  }

  /// Whether the bytes are those that were sealed.
  ///
  /// - Returns: the checksum.
  @discardableResult
  static func verifyChecksum(_ bytes: IOBuffer) throws(FormatError) -> UInt32 {
    let stored = bytes.loadUInt32(at: Self.checksum.offset)
    let computed = checksum(of: bytes)
    guard stored == computed else { throw .checksum(stored: stored, computed: computed) }
    return stored
  }

  /// Whether they belong to this array.
  static func verifyArray(_ bytes: IOBuffer, _ arrayID: Identifier) throws(FormatError) {
    let found = bytes.loadIdentifier(at: Self.arrayID.offset)
    guard found == arrayID else {
      throw .misplaced(what: "array", expected: "\(arrayID)", found: "\(found)")
    }
  }

  /// Whether there are as many bytes as the structure has; what is behind them is cut off.
  static func whole(_ bytes: IOBuffer, _ byteCount: Int) throws(FormatError) -> IOBuffer {
    guard bytes.byteCount >= byteCount else {
      throw .field(name: "byteCount", value: UInt64(truncatingIfNeeded: bytes.byteCount))
    }
    return bytes.prefix(byteCount)
  }
}
