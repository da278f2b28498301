/// Takes an option's data apart from the front; every step says whether the bytes were there.
struct OptionReader: ~Escapable {
  private let bytes: RawSpan
  private var offset = 0

  @_lifetime(copy bytes)
  init(_ bytes: RawSpan) {
    self.bytes = bytes
  }

  var remainingByteCount: Int { bytes.byteCount - offset }

  /// The next big-endian integer, or nil when fewer bytes are left than it has.
  @_lifetime(self: copy self)
  mutating func integer<Integer: FixedWidthInteger & BitwiseCopyable>(
    _ type: Integer.Type
  ) -> Integer? {
    let byteCount = MemoryLayout<Integer>.size
    guard remainingByteCount >= byteCount else { return nil }
    defer { offset += byteCount }
    return bytes.bigEndian(at: offset, as: Integer.self)
  }

  /// The next `byteCount` bytes, or nil when fewer are left.
  @_lifetime(self: copy self)
  mutating func take(_ byteCount: UInt32) -> [UInt8]? {
    guard let count = Int(exactly: byteCount), count <= remainingByteCount else { return nil }
    defer { offset += count }
    return bytes.extracting(offset..<offset + count).copied()
  }

  /// A string of the protocol: its length in 32 bits, then its bytes.
  ///
  /// - Returns: nil when it is cut off, longer than 4096 bytes, no UTF-8 or has a NUL in it.
  @_lifetime(self: copy self)
  mutating func string() -> [UInt8]? {
    guard let byteCount = integer(UInt32.self), let text = take(byteCount) else { return nil }
    return WireText.isValid(text) ? text : nil
  }
}

extension RawSpan {
  /// The bytes in an array of their own.
  func copied() -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(byteCount)
    for offset in 0..<byteCount { bytes.append(bigEndian(at: offset)) }
    return bytes
  }
}
