/// A run of bytes on a device: `byteCount` bytes that start at `offsetBytes`.
///
/// Built only when its end does not pass `UInt64.max`, so `endBytes` never wraps: a request whose
/// offset and length come from the wire goes through `init?`.
package struct ByteRange: Equatable, Sendable {
  package let offsetBytes: UInt64
  package let byteCount: UInt64

  /// Checks that the end can be expressed.
  ///
  /// - Returns: nil when `offsetBytes + byteCount` passes `UInt64.max`.
  @inlinable
  package init?(offsetBytes: UInt64, byteCount: UInt64) {
    guard !offsetBytes.addingReportingOverflow(byteCount).overflow else { return nil }
    self.offsetBytes = offsetBytes
    self.byteCount = byteCount
  }

  /// The range from one offset up to another.
  ///
  /// - Precondition: `offsetBytes <= endBytes`.
  @inlinable
  package init(from offsetBytes: UInt64, to endBytes: UInt64) {
    precondition(offsetBytes <= endBytes)
    self.offsetBytes = offsetBytes
    self.byteCount = endBytes - offsetBytes
  }

  /// The first byte behind the range.
  @inlinable
  package var endBytes: UInt64 { offsetBytes + byteCount }

  @inlinable
  package var isEmpty: Bool { byteCount == 0 }

  /// Whether the two have a byte in common; an empty range counts as overlapping what surrounds it.
  @inlinable
  package func overlaps(_ other: ByteRange) -> Bool {
    offsetBytes < other.endBytes && other.offsetBytes < endBytes
  }

  /// The largest range inside this one that starts and ends on multiples of `alignment`.
  ///
  /// Example with an alignment of 4096: `1000 ..< 13000` gives `4096 ..< 12288`.
  ///
  /// - Parameter alignment: a power of two.
  /// - Returns: an empty range when no aligned block fits.
  package func alignedInside(_ alignment: UInt64) -> ByteRange {
    let mask = alignment - 1
    let (raised, overflow) = offsetBytes.addingReportingOverflow(mask)
    let end = endBytes & ~mask
    guard !overflow else { return ByteRange(from: offsetBytes, to: offsetBytes) }
    let start = raised & ~mask
    return start < end
      ? ByteRange(from: start, to: end) : ByteRange(from: offsetBytes, to: offsetBytes)
  }

  /// The smallest range around this one that starts and ends on multiples of `alignment`.
  ///
  /// - Parameter alignment: a power of two.
  /// - Returns: nil when the rounded end cannot be expressed.
  package func alignedOutside(_ alignment: UInt64) -> ByteRange? {
    let mask = alignment - 1
    let start = offsetBytes & ~mask
    let (raised, overflow) = endBytes.addingReportingOverflow(mask)
    guard !overflow else { return nil }
    return ByteRange(from: start, to: raised & ~mask)
  }

  /// Whether both ends are multiples of `alignment`, a power of two.
  @inlinable
  package func isAligned(to alignment: UInt64) -> Bool {
    (offsetBytes | byteCount) & (alignment - 1) == 0
  }
}
