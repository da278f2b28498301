package import IO
package import Units

/// Looks whether a target holds something that a writing job would destroy.
///
/// The first and the last MiB of the target are read, because there lie the superblocks of file
/// systems, partition tables and the heads of databases' files; and the first and the last MiB of
/// the job's region. Zeros, and what an earlier `ashlar bench` has written, count as nothing.
package enum ContentsProbe {
  private static let spanByteCount: UInt64 = 1 << 20
  private static let pieceByteCount: UInt64 = 65536
  private static let blockByteCount = 4096

  /// Reads both ends of the target, and of a region of it.
  ///
  /// - Returns: what was found, in words that complete "it holds ..."; nil for nothing.
  package static func contents(
    of target: any BenchTarget, region: ByteRange
  ) async throws(TargetError) -> String? {
    guard let memory = AlignedMemory(byteCount: Int(pieceByteCount)) else {
      throw .refused(reason: "no memory to look at the target's contents")
    }
    defer { withExtendedLifetime(memory) {} }
    let alignment = UInt64(target.alignmentBytes)
    let whole = ByteRange(from: 0, to: target.byteCount / alignment * alignment)
    for span in ends(of: whole, in: whole) + ends(of: region, in: whole) {
      var offset = span.offsetBytes
      while offset < span.endBytes {
        let count = Int(min(pieceByteCount, span.endBytes - offset))
        let buffer = memory.buffer.prefix(count)
        try await target.read(at: offset, into: buffer)
        if let found = words(for: buffer, at: offset, of: target.byteCount) { return found }
        offset += UInt64(count)
      }
    }
    return nil
  }

  /// The first and the last MiB of a range, in whole blocks as far as the target has them.
  private static func ends(of range: ByteRange, in whole: ByteRange) -> [ByteRange] {
    let block = UInt64(blockByteCount)
    let start = min(range.offsetBytes, whole.endBytes) / block * block
    let end = min((range.endBytes + block - 1) / block * block, whole.endBytes)
    guard end > start else { return [] }
    let tailStart = end - start > spanByteCount ? (end - spanByteCount) / block * block : start
    return [
      ByteRange(from: start, to: min(start + spanByteCount, end)),
      ByteRange(from: tailStart, to: end),
    ]
  }

  private static func words(
    for buffer: IOBuffer, at offset: UInt64, of byteCount: UInt64
  ) -> String? {
    if buffer.isZero { return nil }
    for (name, place, magic) in signatures where UInt64(place) >= offset {
      let start = Int(UInt64(place) - offset)
      guard start + magic.count <= buffer.byteCount else { continue }
      if magic.indices.allSatisfy({ buffer[start + $0] == magic[$0] }) { return name }
    }
    var start = 0
    while start < buffer.byteCount {
      let block = buffer.slice(start, min(blockByteCount, buffer.byteCount - start))
      if let first = firstForeignByte(block) {
        return "data (near byte \(offset + UInt64(start + first)) of \(byteCount))"
      }
      start += blockByteCount
    }
    return nil
  }

  /// Where in a block something lies that is neither zero nor a job's.
  private static func firstForeignByte(_ block: IOBuffer) -> Int? {
    if block.isZero { return nil }
    var start = 0
    while start < block.byteCount {
      let sector = block.slice(start, min(BenchMark.spacing, block.byteCount - start))
      if !sector.isZero, !BenchMark.isMarked(sector) { return start }
      start += BenchMark.spacing
    }
    return nil
  }

  /// What, where from its start, and the bytes that tell it.
  private static let signatures: [(String, Int, [UInt8])] = [
    ("an ext2, ext3 or ext4 file system", 1080, [0x53, 0xEF]),
    ("a member of an ashlar array (see 'ashlar examine')", 0, Array("ASHLARSB".utf8)),
    ("an XFS file system", 0, Array("XFSB".utf8)),
    ("a btrfs file system", 65600, Array("_BHRfS_M".utf8)),
    ("an F2FS file system", 1024, [0x10, 0x20, 0xF5, 0xF2]),
    ("swap space", 4086, Array("SWAPSPACE2".utf8)),
    ("an LVM physical volume", 536, Array("LVM2 001".utf8)),
    ("a LUKS volume", 0, [0x4C, 0x55, 0x4B, 0x53, 0xBA, 0xBE]),
    ("a member of a Linux RAID array", 4096, [0xFC, 0x4E, 0x2B, 0xA9]),
    ("a GPT partition table", 512, Array("EFI PART".utf8)),
    ("an NTFS file system", 3, Array("NTFS".utf8)),
    ("a boot record with a partition table", 510, [0x55, 0xAA]),
  ]
}

/// The mark that a job without `verify` leaves in all it writes.
///
/// By it a later run knows that nobody's data is there: 24 bytes at the head of each write and of
/// each 512 bytes on the target, with the magic, the place, and a serial number that keeps any two
/// writes apart, so that no server can save space by finding them alike.
package enum BenchMark {
  static let spacing = 512
  static let magic: UInt64 = 0x4843_4E45_4252_4C41  // "ALRBENCH", little-endian

  /// Puts the marks into what is to be written.
  ///
  /// - Parameters:
  ///   - buffer: all of a write.
  ///   - offset: where on the target.
  ///   - serial: differs from write to write.
  package static func put(into buffer: IOBuffer, at offset: UInt64, serial: UInt64) {
    var start = 0
    while start + 24 <= buffer.byteCount {
      let place = offset + UInt64(start)
      buffer.store(magic, at: start)
      buffer.store(place, at: start + 8)
      buffer.store(serial, at: start + 16)
      start += spacing - Int(place % UInt64(spacing))
    }
  }

  /// Whether this, read from a multiple of 512 bytes, was written by a job.
  package static func isMarked(_ sector: IOBuffer) -> Bool {
    guard sector.byteCount >= 24 else { return false }
    return sector.load(at: 0) == magic || SectorStamp.hasMagic(sector)
  }
}

extension IOBuffer {
  /// Eight bytes in the machine's order, anywhere in the view.
  @inline(__always)
  func load(at offset: Int) -> UInt64 {
    precondition(offset >= 0 && offset <= byteCount - 8)
    // Safe: inside the view; any bits make a number.
    return unsafe baseAddress.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
  }

  /// Writes eight bytes in the machine's order, anywhere in the view.
  @inline(__always)
  func store(_ value: UInt64, at offset: Int) {
    precondition(offset >= 0 && offset <= byteCount - 8)
    // Safe: inside the view.
    unsafe baseAddress.storeBytes(of: value, toByteOffset: offset, as: UInt64.self)
  }
}
