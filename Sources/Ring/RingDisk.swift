import CUring
import Glibc
package import IO

/// A file or block device on the ring.
package struct RingDisk: Disk {
  package let properties: DiskProperties
  /// Whether the page cache is passed by.
  package let isDirect: Bool
  private let file: FileReference
  private let machine: RingMachine

  init(file: FileReference, properties: DiskProperties, isDirect: Bool, machine: RingMachine) {
    self.file = file
    self.properties = properties
    self.isDirect = isDirect
    self.machine = machine
  }

  package func readSome(at offsetBytes: UInt64, into buffer: IOBuffer) async -> Int32 {
    await machine.submitToDisk { $0.read(file, buffer, at: offsetBytes) }
  }

  package func readAtOnce(at offsetBytes: UInt64, into buffer: IOBuffer) -> Int32 {
    guard !isDirect, let offset = Int64(exactly: offsetBytes) else { return -EAGAIN }
    // Safe: the kernel writes inside the buffer, before the call returns.
    let result = unsafe ashlar_read_cached(
      file.descriptor, buffer.baseAddress, buffer.byteCount, offset)
    return Int32(clamping: result < 0 ? -Int(errno) : result)
  }

  package func writeSome(at offsetBytes: UInt64, from buffer: IOBuffer) async -> Int32 {
    await machine.submitToDisk { $0.write(file, buffer, at: offsetBytes) }
  }

  package func synchronizeOnce() async -> Int32 {
    await machine.submitToDisk { $0.synchronizeData(file) }
  }

  package func synchronizeAllOnce() async -> Int32 {
    await machine.submitToDisk { $0.synchronizeAll(file) }
  }

  package func clearOnce(
    at offsetBytes: UInt64, byteCount: UInt64, mode: ClearMode
  ) async -> Int32 {
    guard let offset = Int64(exactly: offsetBytes), let length = Int64(exactly: byteCount) else {
      return -EINVAL
    }
    let flags: Int32 =
      switch mode {
      case .punchHole: FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
      case .zeroRange: FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE
      }
    return await machine.submitToDisk {
      $0.allocate(file, mode: flags, at: offset, byteCount: length)
    }
  }

  package func prefetchOnce(at offsetBytes: UInt64, byteCount: UInt64) async -> Int32 {
    // Direct reads pass the page cache by: reading ahead into it would only cost memory.
    if isDirect { return 0 }
    let count = Int64(min(byteCount, 1 << 30))
    return await machine.submitToDisk { $0.readAhead(file, at: offsetBytes, byteCount: count) }
  }

  package func extentOnce(at offsetBytes: UInt64) async -> Result<DiskExtent, SystemError> {
    guard let worker = machine.blockingWorker else { return .failure(SystemError(EIO)) }
    let data = await worker.seek(file.descriptor, from: offsetBytes, forHole: false)
    if data == Int64(-ENXIO) {
      // Nothing but a hole up to the end of the file.
      return currentByteCount().flatMap { byteCount in
        byteCount > offsetBytes
          ? .success(DiskExtent(endBytes: byteCount, isHole: true))
          : .failure(SystemError(ENXIO))
      }
    }
    guard let dataStart = UInt64(exactly: data) else { return .failure(Self.error(data)) }
    if dataStart > offsetBytes {
      return .success(DiskExtent(endBytes: dataStart, isHole: true))
    }
    let hole = await worker.seek(file.descriptor, from: offsetBytes, forHole: true)
    // Data a moment ago and a hole now: it was trimmed between the two calls. Look again.
    if hole == Int64(clamping: offsetBytes) { return .failure(SystemError(EAGAIN)) }
    guard let holeStart = UInt64(exactly: hole), holeStart > offsetBytes else {
      return .failure(hole < 0 ? Self.error(hole) : SystemError(EIO))
    }
    return .success(DiskExtent(endBytes: holeStart, isHole: false))
  }

  private static func error(_ negated: Int64) -> SystemError {
    SystemError(Int32(truncatingIfNeeded: -negated))
  }

  package func currentByteCount() -> Result<UInt64, SystemError> {
    if properties.isBlockDevice { return FileOpening.blockDeviceByteCount(file.descriptor) }
    return FileOpening.knownByteCount(file.descriptor)
  }

  package func close() async {
    _ = Glibc.close(file.descriptor)
  }
}
