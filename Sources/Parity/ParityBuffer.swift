/// Memory that ISA-L may compute on: aligned to 32 bytes, whole words of 32 bytes.
///
/// A view that owns nothing: whoever makes one keeps its memory alive, and leaves it alone, while
/// parity is computed on it. What ISA-L demands of addresses and lengths is checked here, once,
/// in release builds too: some of its functions answer a misaligned address with a fault and a
/// ragged length with silence.
@safe
@usableFromInline
package struct ParityBuffer {
  @usableFromInline package static let alignment = 32
  /// ISA-L counts in `int`.
  @usableFromInline package static let byteCountMax = 1 << 30

  // Safe: never dereferenced beyond `byteCount`; the owner outlives the computation.
  @usableFromInline package let baseAddress: UnsafeMutableRawPointer
  @usableFromInline package let byteCount: Int

  /// Views memory.
  ///
  /// - Precondition: the address and the length are multiples of 32, the length is above 0.
  @inlinable @inline(__always)
  package init(_ baseAddress: UnsafeMutableRawPointer, byteCount: Int) {
    precondition(byteCount > 0 && byteCount <= Self.byteCountMax)
    precondition(byteCount % Self.alignment == 0, "parity works on whole words of 32 bytes")
    precondition(
      UInt(bitPattern: baseAddress) % UInt(Self.alignment) == 0,
      "parity works on memory aligned to 32 bytes")
    unsafe self.baseAddress = unsafe baseAddress
    self.byteCount = byteCount
  }

  /// The bytes as ISA-L's erasure codes want them.
  var octets: UnsafeMutablePointer<UInt8> {
    // Safe: plain bytes, which nobody in this process binds to another type meanwhile.
    unsafe baseAddress.assumingMemoryBound(to: UInt8.self)
  }

  /// The length as ISA-L wants it.
  var length: Int32 { Int32(truncatingIfNeeded: byteCount) }
}
