/// Bytes that have arrived and were not looked at.
package struct ByteQueue: Sendable {
  private var bytes: [UInt8] = []
  private var start = 0

  package init() {}

  package var count: Int { bytes.count - start }

  package mutating func append(_ more: [UInt8]) {
    if start > 65536, start * 2 > bytes.count {
      bytes.removeFirst(start)
      start = 0
    }
    bytes += more
  }

  /// The big-endian number of `byteCount` bytes that lie `offset` bytes ahead.
  ///
  /// - Precondition: they have arrived.
  package func number(at offset: Int, _ byteCount: Int) -> UInt64 {
    precondition(offset + byteCount <= count)
    var value: UInt64 = 0
    for index in start + offset..<start + offset + byteCount {
      value = value << 8 | UInt64(bytes[index])
    }
    return value
  }

  /// Removes the first `byteCount` bytes.
  ///
  /// - Returns: nil when fewer have arrived; nothing is removed then.
  package mutating func take(_ byteCount: Int) -> [UInt8]? {
    guard count >= byteCount else { return nil }
    defer { start += byteCount }
    return Array(bytes[start..<start + byteCount])
  }
}
