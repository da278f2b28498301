internal import CISAL

/// CRC32C (Castagnoli): the checksum of every block, log record and page.
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

extension CRC32C {
  private static let sectorBytes = 512

  /// Appends the checksum of each sector of 512 bytes.
  ///
  /// - Precondition: there are whole sectors.
  package static func appendSectors(of bytes: RawSpan, to checksums: inout [UInt32]) {
    precondition(bytes.byteCount % sectorBytes == 0)
    // Safe: reads sectors of a live span. The parameter is not const in C, yet only read.
    unsafe bytes.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return }
      for offset in stride(from: 0, to: raw.count, by: sectorBytes) {
        let address = unsafe UnsafeMutablePointer(
          mutating: (base + offset).assumingMemoryBound(to: UInt8.self))
        checksums.append(unsafe ~crc32_iscsi(address, Int32(sectorBytes), .max))
      }
    }
  }

  /// What a sector of zeros makes of a checksum, by the checksum's bytes: 4 tables of 256.
  private static let sectorTables: [UInt32] = makeSectorTables()

  /// The checksum of sectors of 512 bytes that lie one behind the other, from theirs alone.
  package static func ofSectors(_ checksums: ArraySlice<UInt32>) -> UInt32 {
    var joined: UInt32 = 0
    for checksum in checksums { joined = passingSector(joined) ^ checksum }
    return joined
  }

  private static func passingSector(_ value: UInt32) -> UInt32 {
    sectorTables[Int(value & 0xff)]
      ^ sectorTables[256 + Int(value >> 8 & 0xff)]
      ^ sectorTables[512 + Int(value >> 16 & 0xff)]
      ^ sectorTables[768 + Int(value >> 24)]
  }

  private static func makeSectorTables() -> [UInt32] {
    // A checksum moves on by one zero bit: a matrix over GF(2), one column for each bit.
    var columns: [UInt32] = [0x82F6_3B78]
    for bit in 1..<32 as Range<UInt32> { columns.append(1 << (bit - 1)) }
    func apply(_ value: UInt32) -> UInt32 {
      var sum: UInt32 = 0
      for bit in 0..<32 where value >> UInt32(bit) & 1 != 0 { sum ^= columns[bit] }
      return sum
    }
    // Squared once for each doubling of the bits.
    var bitCount = 1
    while bitCount < sectorBytes * 8 {
      columns = columns.map(apply)
      bitCount *= 2
    }
    return (0..<4 as Range<UInt32>).flatMap { byte in
      (0..<256 as Range<UInt32>).map { apply($0 << (byte * 8)) }
    }
  }
}
