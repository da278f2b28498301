package import IO

// Little-endian numbers at any offset. Each traps outside the view.
extension IOBuffer {
  /// Eight bytes.
  @inline(__always)
  package func loadUInt64(at offset: Int) -> UInt64 {
    precondition(offset >= 0 && offset <= byteCount - 8)
    // Safe: inside the view; every pattern of bits is a number.
    let word = unsafe baseAddress.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    return UInt64(littleEndian: word)
  }

  /// Four bytes.
  @inline(__always)
  package func loadUInt32(at offset: Int) -> UInt32 {
    precondition(offset >= 0 && offset <= byteCount - 4)
    // Safe: inside the view; every pattern of bits is a number.
    let word = unsafe baseAddress.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
    return UInt32(littleEndian: word)
  }

  /// One byte.
  @inline(__always)
  package func loadUInt8(at offset: Int) -> UInt8 {
    precondition(offset >= 0 && offset < byteCount)
    // Safe: inside the view; every pattern of bits is a byte.
    return unsafe baseAddress.load(fromByteOffset: offset, as: UInt8.self)
  }

  /// Eight bytes.
  @inline(__always)
  package func storeUInt64(_ word: UInt64, at offset: Int) {
    precondition(offset >= 0 && offset <= byteCount - 8)
    // Safe: inside the view.
    unsafe baseAddress.storeBytes(of: word.littleEndian, toByteOffset: offset, as: UInt64.self)
  }

  /// Four bytes.
  @inline(__always)
  package func storeUInt32(_ word: UInt32, at offset: Int) {
    precondition(offset >= 0 && offset <= byteCount - 4)
    // Safe: inside the view.
    unsafe baseAddress.storeBytes(of: word.littleEndian, toByteOffset: offset, as: UInt32.self)
  }

  /// One byte.
  @inline(__always)
  package func storeUInt8(_ byte: UInt8, at offset: Int) {
    precondition(offset >= 0 && offset < byteCount)
    // Safe: inside the view.
    unsafe baseAddress.storeBytes(of: byte, toByteOffset: offset, as: UInt8.self)
  }

  /// Sixteen bytes in the order in which the identifier is written as text, so that a dump shows
  /// it as messages do.
  package func loadIdentifier(at offset: Int) -> Identifier {
    Identifier(
      high: loadUInt64(at: offset).byteSwapped, low: loadUInt64(at: offset + 8).byteSwapped)
  }

  /// Sixteen bytes, in the same order.
  package func storeIdentifier(_ identifier: Identifier, at offset: Int) {
    storeUInt64(identifier.high.byteSwapped, at: offset)
    storeUInt64(identifier.low.byteSwapped, at: offset + 8)
  }
}
