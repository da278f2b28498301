package import DiskFormat
import Glibc
package import IO
import Parity
package import RAID

/// What a file of diverged data is refused for.
package enum DivergedFileError: Error, Equatable, Sendable {
  case system(SystemError)
  /// It has zeros instead of a head.
  case notFinished
  case format(FormatError)
  case length(found: UInt64, expected: UInt64)
  case content(stored: UInt32, computed: UInt32)
  case ranges

  package var words: String {
    switch self {
    case .system(let error): "it cannot be read (\(error))"
    case .notFinished: "it was not finished"
    case .format(let error): "it is no file of diverged data: \(error)"
    case .length(let found, let expected): "it has \(found) bytes instead of \(expected)"
    case .content: "its content does not have its checksum"
    case .ranges: "its ranges are no list"
    }
  }
}

/// Reads such a file whole, and verifies it.
package enum DivergedFileReader {
  /// What the file holds.
  package struct Content: Equatable, Sendable {
    package var head: DivergedFileHead
    package var runs: [BlockRun]

    /// What it says of the node.
    package var data: DivergedData {
      DivergedData(
        forkNumber: head.forkNumber, end: head.end, recordCount: head.recordCount, runs: runs,
        isComplete: true)
    }
  }

  package static func read(_ path: String) throws(DivergedFileError) -> Content {
    // Safe: the path lives until the call returns.
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .system(SystemError.last) }
    defer { close(descriptor) }
    guard let memory = AlignedMemory(byteCount: 1 << 20) else { throw .system(SystemError(ENOMEM)) }
    let buffer = memory.buffer
    defer { withExtendedLifetime(memory) {} }
    let length = try length(of: descriptor)
    guard length >= UInt64(DivergedFileHead.byteCount) else {
      throw .length(found: length, expected: UInt64(DivergedFileHead.byteCount))
    }
    let page = buffer.prefix(DivergedFileHead.byteCount)
    try system { () throws(SystemError) in try fill(page, from: descriptor, at: 0) }
    guard !page.isZero else { throw .notFinished }
    let head: DivergedFileHead
    do throws(FormatError) {
      head = try DivergedFileHead.decode(page)
    } catch {
      throw .format(error)
    }
    guard length == head.fileByteCount else {
      throw .length(found: length, expected: head.fileByteCount)
    }
    var computed: UInt32 = 0
    try system { () throws(SystemError) in
      computed = try contentChecksum(of: descriptor, head, through: buffer)
    }
    guard computed == head.contentChecksum else {
      throw .content(stored: head.contentChecksum, computed: computed)
    }
    return Content(head: head, runs: try runs(of: descriptor, head, through: buffer))
  }

  private static func length(of descriptor: Int32) throws(DivergedFileError) -> UInt64 {
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { throw .system(SystemError.last) }
    return UInt64(clamping: status.st_size)
  }

  private static func runs(
    of descriptor: Int32, _ head: DivergedFileHead, through buffer: IOBuffer
  ) throws(DivergedFileError) -> [BlockRun] {
    var runs: [BlockRun] = []
    var (blockCount, lastEnd) = (UInt64(0), UInt64(0))
    for index in 0..<head.rangeCount {
      try system { () throws(SystemError) in
        try fill(
          buffer.prefix(16), from: descriptor,
          at: UInt64(DivergedFileHead.byteCount) + index * 16)
      }
      let run = BlockRun(
        firstBlock: buffer.loadUInt64(at: 0), blockCount: buffer.loadUInt64(at: 8))
      guard run.isPossible, run.firstBlock >= lastEnd, run.blockCount <= head.blockCount else {
        throw .ranges
      }
      lastEnd = run.firstBlock + run.blockCount
      blockCount += run.blockCount
      runs.append(run)
    }
    guard blockCount == head.blockCount else { throw .ranges }
    return runs
  }

  private static func system(
    _ body: () throws(SystemError) -> Void
  ) throws(DivergedFileError) {
    do throws(SystemError) {
      try body()
    } catch {
      throw .system(error)
    }
  }
}

/// CRC32C of all behind the head, as the file system gives it back.
func contentChecksum(
  of descriptor: Int32, _ head: DivergedFileHead, through buffer: IOBuffer
) throws(SystemError) -> UInt32 {
  var checksum = CRC32C()
  var offset = UInt64(DivergedFileHead.byteCount)
  while offset < head.fileByteCount {
    let count = Int(min(head.fileByteCount - offset, UInt64(buffer.byteCount)))
    let part = buffer.prefix(count)
    try fill(part, from: descriptor, at: offset)
    checksum.update(part.bytes)
    offset += UInt64(count)
  }
  return checksum.value
}

private func fill(
  _ target: IOBuffer, from descriptor: Int32, at offset: UInt64
) throws(SystemError) {
  var done = 0
  while done < target.byteCount {
    let rest = target.dropFirst(done)
    // Safe: the view is as long as pread is told, and outlives the call.
    let count = unsafe pread(
      descriptor, rest.baseAddress, rest.byteCount, off_t(offset) + off_t(done))
    if count > 0 {
      done += count
    } else if count == 0 {
      throw SystemError(EIO)
    } else if errno != EINTR {
      throw SystemError.last
    }
  }
}
