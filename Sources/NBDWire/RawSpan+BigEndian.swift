extension RawSpan {
  /// The big-endian integer that starts at `offset`.
  ///
  /// - Precondition: all of its bytes lie inside the span.
  @inlinable
  package func bigEndian<Integer: FixedWidthInteger & BitwiseCopyable>(
    at offset: Int, as type: Integer.Type = Integer.self
  ) -> Integer {
    // Safe: every bit pattern is a valid integer, and the load checks its bounds.
    Integer(bigEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: Integer.self))
  }
}

extension MutableRawSpan {
  /// Stores `value` at `offset`, most significant byte first.
  ///
  /// - Precondition: all of its bytes lie inside the span.
  @inlinable
  @_lifetime(self: copy self)
  package mutating func storeBigEndian<Integer: FixedWidthInteger & BitwiseCopyable>(
    _ value: Integer, at offset: Int
  ) {
    storeBytes(of: value.bigEndian, toByteOffset: offset, as: Integer.self)
  }
}
