import CUring
import Glibc
package import IO

/// How a file is to be opened.
package struct FileOptions: Sendable {
  /// Whether to pass the page cache by.
  package enum Caching: Sendable {
    /// Direct where the file system can, else buffered.
    case directIfPossible
    case direct
    case buffered
  }

  package var isReadOnly: Bool
  package var caching: Caching
  /// The size to create the file with when it does not exist.
  package var createByteCount: UInt64?
  /// How long to wait for another process's hold on the file to end.
  package var lockTimeoutNanoseconds: UInt64 = 5_000_000_000
  /// Whether to demand that nobody else uses it; without, only for a look at what is in use.
  package var takesLock = true

  package init(
    isReadOnly: Bool = false, caching: Caching = .directIfPossible, createByteCount: UInt64? = nil
  ) {
    self.isReadOnly = isReadOnly
    self.caching = caching
    self.createByteCount = createByteCount
  }
}

/// Why a file cannot be served.
package enum FileOpeningError: Error, Equatable, Sendable {
  case missing
  /// It exists with another size than the one asked for.
  case sizeDiffers(actualByteCount: UInt64)
  case notFileOrDevice
  case empty
  /// Another process serves it, or one that was killed still has writes under way; or it is a
  /// block device that is mounted or part of another.
  case inUse
  case directNotPossible
  /// Writes from before this start failed to reach the disk.
  case earlierWritesLost(SystemError)
  case refused(operation: String, SystemError)
}

extension RingMachine {
  /// Opens a file or block device, and creates the file where `options` say so.
  ///
  /// The descriptor carries an exclusive `flock`. The kernel holds an open file until the last
  /// operation on it has ended, those of a killed process included, so whoever gets the lock also
  /// knows that no older write can still land (crash rule T7).
  package func openDisk(
    path: String, options: FileOptions
  ) async throws(FileOpeningError) -> (disk: RingDisk, byteCount: UInt64) {
    let (descriptor, wasCreated) = try await open(path, options)
    do throws(FileOpeningError) {
      if options.takesLock { try await lock(descriptor, options) }
      if wasCreated, let byteCount = options.createByteCount {
        try FileOpening.setSize(descriptor, byteCount)
        try FileOpening.synchronizeParent(of: path)
      }
      let status = try FileOpening.checked("examine", FileOpening.status(descriptor))
      let kind = status.st_mode & S_IFMT
      guard kind == S_IFREG || kind == S_IFBLK else { throw FileOpeningError.notFileOrDevice }
      let isBlockDevice = kind == S_IFBLK
      let byteCount =
        isBlockDevice
        ? try FileOpening.checked("measure", FileOpening.blockDeviceByteCount(descriptor))
        : UInt64(max(0, status.st_size))
      guard byteCount > 0 else { throw FileOpeningError.empty }
      if let wanted = options.createByteCount, wanted != byteCount {
        throw FileOpeningError.sizeDiffers(actualByteCount: byteCount)
      }
      let directAlignment = FileOpening.switchToDirect(
        descriptor, isBlockDevice, byteCount, options.caching)
      if options.caching == .direct && directAlignment == nil {
        throw FileOpeningError.directNotPossible
      }
      if directAlignment == nil && !options.isReadOnly {
        try await dropStaleCache(descriptor)
      }
      let properties = DiskProperties(
        alignmentBytes: directAlignment ?? 1, isBlockDevice: isBlockDevice,
        isRotational: isBlockDevice && FileOpening.isRotational(descriptor))
      // Not in the ring's table: a table lets go of a file some time after it is told to, and a
      // file system that was just served could not be unmounted.
      let disk = RingDisk(
        file: FileReference(descriptor: descriptor), properties: properties,
        isDirect: directAlignment != nil, machine: self)
      return (disk, byteCount)
    } catch {
      close(descriptor)
      if wasCreated { unsafe _ = unlink(path) }
      throw error
    }
  }

  /// Opens what is there or creates it; waits for an earlier process to let go of a device.
  private func open(
    _ path: String, _ options: FileOptions
  ) async throws(FileOpeningError) -> (descriptor: Int32, wasCreated: Bool) {
    let stepNanoseconds: UInt64 = 20_000_000
    var waitedNanoseconds: UInt64 = 0
    while true {
      do throws(FileOpeningError) {
        return try FileOpening.open(path, options)
      } catch {
        guard case .inUse = error, waitedNanoseconds < options.lockTimeoutNanoseconds else {
          throw error
        }
        await sleep(nanoseconds: stepNanoseconds)
        waitedNanoseconds += stepNanoseconds
      }
    }
  }

  private func lock(_ descriptor: Int32, _ options: FileOptions) async throws(FileOpeningError) {
    let mode = options.isReadOnly ? LOCK_SH : LOCK_EX
    let stepNanoseconds: UInt64 = 20_000_000
    var waitedNanoseconds: UInt64 = 0
    while flock(descriptor, mode | LOCK_NB) != 0 {
      let error = SystemError.last
      guard error.number == EWOULDBLOCK || error.number == EINTR else {
        throw .refused(operation: "lock", error)
      }
      guard waitedNanoseconds < options.lockTimeoutNanoseconds else { throw .inUse }
      await sleep(nanoseconds: stepNanoseconds)
      waitedNanoseconds += stepNanoseconds
    }
  }

  /// Makes a buffered file's cache agree with its disk before it is believed.
  ///
  /// After a failed write-back Linux marks the pages clean and keeps them: a reader, and a later
  /// fdatasync, would take them for durable. So what is dirty is written now, a failure that
  /// nobody has heard of is told, and the clean pages are dropped.
  private func dropStaleCache(_ descriptor: Int32) async throws(FileOpeningError) {
    let file = FileReference(descriptor: descriptor)
    let result = await submit { $0.synchronizeData(file) }
    guard result == 0 else { throw .earlierWritesLost(SystemError(-result)) }
    _ = posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
  }
}

/// The calls that opening needs; they run once, before anything is served.
enum FileOpening {
  static func open(
    _ path: String, _ options: FileOptions
  ) throws(FileOpeningError) -> (descriptor: Int32, wasCreated: Bool) {
    // O_EXCL without O_CREAT claims a block device: the kernel refuses one that is mounted, swap or
    // part of another device, and refuses to mount it meanwhile. Files are not affected.
    let access = options.isReadOnly ? O_RDONLY : O_RDWR | O_EXCL
    // O_NONBLOCK: a pipe would wait here for its other end, only to be refused afterwards.
    // Safe: the path lives until the call returns.
    let existing = unsafe ashlar_open(path, access | O_NONBLOCK, 0)
    if existing >= 0 {
      let flags = ashlar_get_flags(existing)
      _ = ashlar_set_flags(existing, flags & ~O_NONBLOCK)
      // The ring polls a file that may not be one before its first transfer, and a FUSE file system
      // asks its daemon for that once. Better here than later, on the loop, with the daemon hung.
      var question = pollfd(fd: existing, events: Int16(POLLIN | POLLOUT), revents: 0)
      // Safe: one element, which lives until the call returns.
      unsafe _ = poll(&question, 1, 0)
      return (existing, false)
    }
    let error = SystemError.last
    if error.number == EBUSY { throw .inUse }
    guard error.number == ENOENT else { throw .refused(operation: "open", error) }
    guard options.createByteCount != nil && !options.isReadOnly else { throw .missing }
    // Safe: as above. O_EXCL: never somebody else's file.
    let created = unsafe ashlar_open(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
    guard created >= 0 else { throw .refused(operation: "create", .last) }
    return (created, true)
  }

  static func setSize(_ descriptor: Int32, _ byteCount: UInt64) throws(FileOpeningError) {
    guard let length = Int(exactly: byteCount), ftruncate(descriptor, length) == 0 else {
      throw .refused(operation: "set the size of", SystemError(errno == 0 ? EFBIG : errno))
    }
    guard fsync(descriptor) == 0 else { throw .refused(operation: "sync", .last) }
  }

  /// Makes a new directory entry durable.
  static func synchronizeParent(of path: String) throws(FileOpeningError) {
    let parent = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
    // Safe: the path lives until the call returns.
    let descriptor = unsafe ashlar_open(parent, O_RDONLY | O_DIRECTORY, 0)
    guard descriptor >= 0 else { throw .refused(operation: "open the folder of", .last) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw .refused(operation: "sync the folder of", .last) }
  }

  static func status(_ descriptor: Int32) -> Result<stat, SystemError> {
    var status = stat()
    // Safe: `status` lives until the call returns.
    return unsafe fstat(descriptor, &status) == 0 ? .success(status) : .failure(.last)
  }

  /// A file's size without asking the server of a network file system, which may be stuck: the
  /// loop's thread would wait with it, and with the loop every client and the status (P9).
  static func knownByteCount(_ descriptor: Int32) -> Result<UInt64, SystemError> {
    var result = statx()
    // Safe: `result` lives until the call returns.
    return unsafe ashlar_known_size(descriptor, &result) == 0
      ? .success(result.stx_size) : .failure(.last)
  }

  static func checked<Value>(
    _ operation: String, _ result: Result<Value, SystemError>
  ) throws(FileOpeningError) -> Value {
    switch result {
    case .success(let value): return value
    case .failure(let error): throw .refused(operation: operation, error)
    }
  }

  static func blockDeviceByteCount(_ descriptor: Int32) -> Result<UInt64, SystemError> {
    var byteCount: UInt64 = 0
    // Safe: `byteCount` lives until the call returns.
    return unsafe ashlar_block_device_size(descriptor, &byteCount) == 0
      ? .success(byteCount) : .failure(.last)
  }

  static func isRotational(_ descriptor: Int32) -> Bool {
    var answer: UInt16 = 0
    // Safe: as above.
    return unsafe ashlar_block_device_is_rotational(descriptor, &answer) == 0 && answer != 0
  }

  /// Turns direct I/O on where it is wanted and works.
  ///
  /// - Returns: the alignment it needs, or nil when the file stays buffered.
  static func switchToDirect(
    _ descriptor: Int32, _ isBlockDevice: Bool, _ byteCount: UInt64,
    _ caching: FileOptions.Caching
  ) -> Int? {
    guard caching != .buffered else { return nil }
    let flags = ashlar_get_flags(descriptor)
    guard flags >= 0, ashlar_set_flags(descriptor, flags | O_DIRECT) == 0 else { return nil }
    // A last block that is not whole could not be written without growing the file.
    if let alignment = directAlignment(descriptor, isBlockDevice),
      byteCount % UInt64(alignment) == 0
    {
      return alignment
    }
    _ = ashlar_set_flags(descriptor, flags)
    return nil
  }

  private static func directAlignment(_ descriptor: Int32, _ isBlockDevice: Bool) -> Int? {
    var result = statx()
    // Safe: `result` lives until the call returns.
    if unsafe ashlar_statx(descriptor, STATX_DIOALIGN, &result) == 0,
      result.stx_mask & STATX_DIOALIGN != 0
    {
      guard result.stx_dio_offset_align > 0 else { return nil }
      return usable(max(Int(result.stx_dio_offset_align), Int(result.stx_dio_mem_align)))
    }
    if isBlockDevice {
      var sectorByteCount: Int32 = 0
      // Safe: as above.
      if unsafe ashlar_block_device_sector_size(descriptor, &sectorByteCount) == 0 {
        return usable(max(512, Int(sectorByteCount)))
      }
    }
    // The file system does not say: a page suits every one that has direct I/O at all.
    return 4096
  }

  private static func usable(_ alignment: Int) -> Int? {
    guard alignment > 0, alignment & (alignment - 1) == 0, alignment <= 65536 else { return nil }
    return max(512, alignment)
  }
}
