package import Units
import Glibc

/// Why an operation on a disk failed.
package enum DiskError: Error, Equatable, Sendable {
  /// The kernel refused or failed it.
  case refused(SystemError)
  /// The file ended before the range did: somebody truncated it.
  case endedEarly(atBytes: UInt64)
  /// The kernel kept answering "again" or moved nothing.
  case noProgress
}

// The one policy for errnos and short transfers, above the ring and the simulator alike.
//
// EINTR and EAGAIN mean that nothing was begun, and a short transfer tells how far it came: both
// go on where they stopped. Everything else is an answer and is passed on; a failed write or a
// failed fdatasync is never repeated, because the kernel may already have dropped what it could
// not write, and a second try would then "succeed" without it (promise P8).
extension Disk {
  /// How often an operation may come back without having moved a byte before it is given up.
  @inlinable
  package static var fruitlessRoundsMax: Int { 100 }

  /// Reads the whole of `buffer`.
  ///
  /// - Parameters:
  ///   - offsetBytes: where the first byte lies; a multiple of `properties.alignmentBytes`.
  ///   - buffer: its address and size likewise. Its contents are undefined after a throw.
  /// - Throws: `endedEarly` when the file ends inside the range.
  @inlinable
  package func read(at offsetBytes: UInt64, into buffer: IOBuffer) async throws(DiskError) {
    var done = 0
    var fruitlessRounds = 0
    while done < buffer.byteCount {
      let result = await readSome(
        at: offsetBytes + UInt64(done), into: done == 0 ? buffer : buffer.dropFirst(done))
      if result > 0 {
        done += Int(result)
        fruitlessRounds = 0
        // A direct read that stops between blocks has met the end of the file. Asking again from
        // there would be refused as misaligned and hide the reason.
        guard done == buffer.byteCount || done % properties.alignmentBytes == 0 else {
          throw .endedEarly(atBytes: offsetBytes + UInt64(done))
        }
        continue
      }
      if result == 0 { throw .endedEarly(atBytes: offsetBytes + UInt64(done)) }
      try Self.countFruitlessRound(result, &fruitlessRounds)
    }
  }

  /// Writes the whole of `buffer`.
  ///
  /// After a throw each sector of the range holds its old or its new content.
  @inlinable
  package func write(at offsetBytes: UInt64, from buffer: IOBuffer) async throws(DiskError) {
    var done = 0
    var fruitlessRounds = 0
    while done < buffer.byteCount {
      let result = await writeSome(
        at: offsetBytes + UInt64(done), from: done == 0 ? buffer : buffer.dropFirst(done))
      if result > 0 {
        done += Int(result)
        fruitlessRounds = 0
        guard done == buffer.byteCount || done % properties.alignmentBytes == 0 else {
          throw .refused(SystemError(EIO))
        }
        continue
      }
      try Self.countFruitlessRound(result, &fruitlessRounds)
    }
  }

  /// Makes everything that was written before durable.
  ///
  /// One try: see above.
  @inlinable
  package func synchronize() async throws(DiskError) {
    let result = await synchronizeOnce()
    guard result == 0 else { throw .refused(SystemError(result < 0 ? -result : EIO)) }
  }

  /// The same together with the file's times, for those who measure what fsync costs.
  package func synchronizeAll() async throws(DiskError) {
    let result = await synchronizeAllOnce()
    guard result == 0 else { throw .refused(SystemError(result < 0 ? -result : EIO)) }
  }

  /// A disk that keeps no times knows no difference.
  package func synchronizeAllOnce() async -> Int32 { await synchronizeOnce() }

  /// Clears a range by the file system's own means.
  ///
  /// - Throws: `refused(EOPNOTSUPP)` where it has none; the range is then unchanged.
  @inlinable
  package func clear(_ range: ByteRange, mode: ClearMode) async throws(DiskError) {
    guard !range.isEmpty else { return }
    var fruitlessRounds = 0
    while true {
      let result = await clearOnce(at: range.offsetBytes, byteCount: range.byteCount, mode: mode)
      if result == 0 { return }
      try Self.countFruitlessRound(result, &fruitlessRounds)
    }
  }

  /// Asks for a range to be read ahead.
  ///
  /// A disk that cannot is no error.
  @inlinable
  package func prefetch(_ range: ByteRange) async {
    guard !range.isEmpty else { return }
    _ = await prefetchOnce(at: range.offsetBytes, byteCount: range.byteCount)
  }

  /// The extent that holds `offsetBytes`.
  @inlinable
  package func extent(at offsetBytes: UInt64) async throws(DiskError) -> DiskExtent {
    var fruitlessRounds = 0
    while true {
      switch await extentOnce(at: offsetBytes) {
      case .success(let extent): return extent
      case .failure(let error): try Self.countFruitlessRound(-error.number, &fruitlessRounds)
      }
    }
  }

  /// Returns when the operation may be repeated, throws when its answer is final.
  @inlinable
  static func countFruitlessRound(
    _ result: Int32, _ fruitlessRounds: inout Int
  ) throws(DiskError) {
    guard result == 0 || result == -EINTR || result == -EAGAIN else {
      throw .refused(SystemError(result < 0 ? -result : EIO))
    }
    fruitlessRounds += 1
    guard fruitlessRounds < fruitlessRoundsMax else { throw .noProgress }
  }
}
