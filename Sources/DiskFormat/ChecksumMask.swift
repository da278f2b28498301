package import Geometry
internal import Parity

/// The mask that binds a block's checksum to its place: CRC32C of array, slot and member block.
package enum ChecksumMask {
  /// What a block's checksum is XORed with in its table entry.
  ///
  /// Over 32 bytes: the array's identifier as it is stored, then slot and member block as
  /// little-endian numbers of 8 bytes. Never allocates.
  package static func of(arrayID: Identifier, place: BlockPlace) -> UInt32 {
    let words = (
      arrayID.high.bigEndian, arrayID.low.bigEndian,
      UInt64(truncatingIfNeeded: place.slot).littleEndian, place.memberBlock.littleEndian
    )
    // Safe: the span covers the 32 bytes of a local, and does not leave the closure.
    return unsafe withUnsafeBytes(of: words) { raw in
      CRC32C.checksum(unsafe RawSpan(_unsafeBytes: raw))
    }
  }
}
