internal import CISAL

/// The checksum of a block's content: what table, log and replication stream tell blocks by.
///
/// Of each sector of 512 bytes the low half of CRC-64 in Jones' polynomial, not reflected (ISA-L's
/// `crc64_jones_norm`); of a block, CRC32C over its sectors' checksums. It is not the CRC32C of the
/// content, because data that ends with its own CRC32C has the same one in all its versions, and a lost write
/// would go unseen (ADR 0025). It finds every change of one or two bits in a sector, and all others but one in 2^32.
package enum BlockChecksum {
  package static let sectorByteCount = 512

  /// The checksum of a block, or of any number of whole sectors.
  ///
  /// Never allocates.
  ///
  /// - Precondition: there are whole sectors.
  package static func of(_ bytes: RawSpan) -> UInt32 {
    precondition(bytes.byteCount % sectorByteCount == 0)
    var crc = CRC32C()
    // Safe: `ofSector` reads whole sectors of a live span.
    unsafe bytes.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return }
      var offset = 0
      while offset + 2 * sectorByteCount <= raw.count {
        let low = unsafe ofSector(base + offset)
        let high = unsafe ofSector(base + offset + sectorByteCount)
        crc.update(UInt64(low) | UInt64(high) << 32)
        offset += 2 * sectorByteCount
      }
      if offset < raw.count { crc.update(UInt64(unsafe ofSector(base + offset))) }
    }
    return crc.value
  }

  /// Appends the checksum of each sector.
  ///
  /// - Precondition: there are whole sectors.
  package static func appendSectors(of bytes: RawSpan, to checksums: inout [UInt32]) {
    precondition(bytes.byteCount % sectorByteCount == 0)
    // Safe: `ofSector` reads whole sectors of a live span.
    unsafe bytes.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return }
      for offset in stride(from: 0, to: raw.count, by: sectorByteCount) {
        checksums.append(unsafe ofSector(base + offset))
      }
    }
  }

  /// The checksum of one sector.
  ///
  /// - Precondition: it has 512 bytes.
  package static func ofSector(_ bytes: RawSpan) -> UInt32 {
    precondition(bytes.byteCount == sectorByteCount)
    // Safe: reads the bytes of a live span.
    return unsafe bytes.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return 0 }
      return unsafe ofSector(base)
    }
  }

  /// The checksum of sectors that lie one behind the other, from theirs alone.
  package static func ofSectors(_ checksums: ArraySlice<UInt32>) -> UInt32 {
    var crc = CRC32C()
    var index = checksums.startIndex
    while index < checksums.endIndex {
      let high = index + 1 < checksums.endIndex ? checksums[index + 1] : 0
      crc.update(UInt64(checksums[index]) | UInt64(high) << 32)
      index += 2
    }
    return crc.value
  }

  // Safe: the callers give the address of 512 readable bytes.
  private static func ofSector(_ address: UnsafeRawPointer) -> UInt32 {
    let bytes = unsafe address.assumingMemoryBound(to: UInt8.self)
    return UInt32(
      truncatingIfNeeded: unsafe crc64_jones_norm(0, bytes, UInt64(sectorByteCount)))
  }
}
