package import IO
import Units

/// Looks whether a disk that is to become a member holds something that somebody may want.
///
/// The first and the last MiB are read through the disk's own operations, whatever the disk is: a
/// file, a block device, an export. There lie the superblocks of file systems, arrays and volumes,
/// and partition tables. Zeros hold nothing; what is not zero and has no name counts as data.
package enum ForeignContents {
  private static let spanByteCount: UInt64 = 1 << 20
  private static let pieceByteCount: UInt64 = 65536

  /// What a disk holds, each finding in words that complete "it holds ...".
  ///
  /// - Parameters:
  ///   - disk: only read.
  ///   - byteCount: its size.
  ///   - namedOnly: leave out what has no name: for disks that hold what the caller knows.
  /// - Returns: nothing for a disk that may be taken.
  /// - Throws: why it cannot be read, or looked at.
  package static func find<D: Disk>(
    on disk: D, byteCount: UInt64, namedOnly: Bool = false
  ) async throws(DiskError) -> [String] {
    guard let memory = AlignedMemory(byteCount: Int(pieceByteCount)) else {
      throw .refused(.outOfMemory)
    }
    defer { withExtendedLifetime(memory) {} }
    let image = try ProbeImage.empty(byteCount: byteCount)
    var firstData: UInt64?
    for span in spans(of: byteCount) {
      var offset = span.offsetBytes
      while offset < span.endBytes {
        let buffer = memory.buffer.prefix(Int(min(pieceByteCount, span.endBytes - offset)))
        try await disk.read(at: offset, into: buffer)
        if !buffer.isZero {
          try image.write(buffer, at: offset)
          if firstData == nil { firstData = offset + UInt64(firstByteThatIsNotZero(buffer)) }
        }
        offset += UInt64(buffer.byteCount)
      }
    }
    guard let firstData else { return [] }
    let found = try image.signatures()
    guard found.isEmpty, !namedOnly else { return found }
    return ["data of an unknown kind (at byte \(firstData))"]
  }

  /// The first and the last MiB, without overlap, in whole blocks as far as the disk has them.
  private static func spans(of byteCount: UInt64) -> [ByteRange] {
    guard byteCount > 2 * spanByteCount else { return [ByteRange(from: 0, to: byteCount)] }
    return [
      ByteRange(from: 0, to: spanByteCount),
      ByteRange(from: (byteCount - spanByteCount) / 4096 * 4096, to: byteCount),
    ]
  }

  private static func firstByteThatIsNotZero(_ buffer: IOBuffer) -> Int {
    (0..<buffer.byteCount).first { buffer[$0] != 0 } ?? 0
  }
}
