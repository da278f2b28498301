internal import CISAL

/// CRC32C (Castagnoli): the checksum of every page, header and frame.
///
/// Reflected polynomial 0x82F63B78, register preset to all ones, result inverted, as in iSCSI:
/// "123456789" gives 0xE3069283. ISA-L's `crc32_iscsi` works on the bare register, neither preset
/// nor inverted, which is what this type keeps; so bytes may come in any number of pieces.
package struct CRC32C: Equatable, Sendable {
  private var register: UInt32

  /// Starts with no bytes seen.
  package init() {
    register = .max
  }

  /// Goes on where a checksum ended, as if its bytes had just been seen.
  package init(continuing value: UInt32) {
    register = ~value
  }

  /// The checksum of all bytes seen so far.
  package var value: UInt32 { ~register }

  /// Sees the bytes of a span.
  ///
  /// Never allocates.
  package mutating func update(_ bytes: RawSpan) {
    var start = 0
    // The C function counts in `int`.
    while start < bytes.byteCount {
      let count = min(bytes.byteCount - start, 1 << 30)
      let piece = bytes.extracting(start..<start + count)
      // Safe: reads `count` bytes of a live span. The parameter is not const in C, yet only read.
      register = unsafe piece.withUnsafeBytes { raw in
        guard let base = raw.baseAddress else { return register }
        let address = unsafe UnsafeMutablePointer(
          mutating: base.assumingMemoryBound(to: UInt8.self))
        return unsafe crc32_iscsi(address, Int32(raw.count), register)
      }
      start += count
    }
  }

  /// Sees a number as its eight bytes, little-endian.
  package mutating func update(_ number: UInt64) {
    let stored = number.littleEndian
    // Safe: the span covers the eight bytes of a local that outlives it.
    unsafe withUnsafeBytes(of: stored) { raw in
      unsafe update(RawSpan(_unsafeBytes: raw))
    }
  }

  /// The checksum of one span.
  package static func checksum(_ bytes: RawSpan) -> UInt32 {
    var crc = CRC32C()
    crc.update(bytes)
    return crc.value
  }
}
