internal import IO

extension IOBuffer {
  /// Sixteen bytes in the order in which the identifier is written as text, so that a dump shows
  /// it as messages do.
  func loadIdentifier(at offset: Int) -> Identifier {
    Identifier(
      high: loadUInt64(at: offset).byteSwapped, low: loadUInt64(at: offset + 8).byteSwapped)
  }

  func storeIdentifier(_ identifier: Identifier, at offset: Int) {
    storeUInt64(identifier.high.byteSwapped, at: offset)
    storeUInt64(identifier.low.byteSwapped, at: offset + 8)
  }

  func slice(_ range: Range<Int>) -> IOBuffer { slice(range.lowerBound, range.count) }
}
