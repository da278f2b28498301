import IO

/// What a sector of a client's write says of itself: which write it belongs to and where it should
/// lie; the rest of its 512 bytes follows from that, so that any change is seen.
package enum SectorStamp {
  package static let byteCount = 512
  private static let wordCount = byteCount / 8

  /// What a sector holds.
  package enum Content: Equatable, Sendable {
    case zeros
    /// Whole and unchanged: written by this piece, meant for this sector.
    case stamp(piece: Int, sector: Int)
    /// Neither; the text says what it looks like.
    case garbage(String)
  }

  /// Writes the stamp over the sector that starts at `offset` of the buffer.
  static func fill(_ buffer: IOBuffer, at offset: Int, piece: Int, sector: Int, salt: UInt64) {
    let target = buffer.slice(offset, byteCount)
    let head = headWord(piece, sector)
    // Safe: `target` is 512 bytes long; stores need no alignment.
    unsafe target.baseAddress.storeBytes(of: head, as: UInt64.self)
    for index in 1..<wordCount {
      unsafe target.baseAddress.storeBytes(
        of: word(index, head, salt), toByteOffset: index * 8, as: UInt64.self)
    }
  }

  /// Tells what the sector that starts at `offset` of the buffer holds.
  static func read(_ buffer: IOBuffer, at offset: Int, salt: UInt64) -> Content {
    let source = buffer.slice(offset, byteCount)
    if source.isZero { return .zeros }
    // Safe: `source` is 512 bytes long; every pattern of bits is a number.
    let head = unsafe source.baseAddress.loadUnaligned(as: UInt64.self)
    var wrongCount = 0
    for index in 1..<wordCount {
      let found = unsafe source.baseAddress.loadUnaligned(
        fromByteOffset: index * 8, as: UInt64.self)
      if found != word(index, head, salt) { wrongCount += 1 }
    }
    let piece = Int(head >> 32 & 0x7fff_ffff)
    let sector = Int(head & 0xffff_ffff)
    guard wrongCount == 0 else {
      return .garbage(
        "no sector of a client: it begins like number \(piece) for sector \(sector), and "
          + "\(wrongCount) of \(wordCount - 1) words do not fit")
    }
    return .stamp(piece: piece, sector: sector)
  }

  // The highest bit is set, so that no stamp is all zeros.
  private static func headWord(_ piece: Int, _ sector: Int) -> UInt64 {
    1 << 63 | UInt64(piece) << 32 | UInt64(sector)
  }

  private static func word(_ index: Int, _ head: UInt64, _ salt: UInt64) -> UInt64 {
    (head ^ salt) &* 0x9E37_79B9_7F4A_7C15 &+ UInt64(index) &* 0xD1B5_4A32_D192_ED03
  }
}
