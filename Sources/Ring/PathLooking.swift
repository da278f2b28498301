import CUring
import Glibc
package import IO

/// What is at a path.
package struct PathFacts: Equatable, Sendable {
  /// Which file it is: the same for all its names.
  package struct Identity: Equatable, Sendable {
    package var deviceNumber: UInt64
    package var fileNumber: UInt64
  }

  package var identity: Identity
  /// Its size; 0 for a block device, which does not say.
  package var byteCount: UInt64
  package var isBlockDevice: Bool
}

extension RingMachine {
  /// Looks what is at a path.
  ///
  /// The kernel does it on a thread of its own: a file system that hangs keeps only the caller.
  ///
  /// - Parameter path: links are followed.
  /// - Returns: what is there, or the errno.
  package func look(at path: String) async -> Result<PathFacts, SystemError> {
    let pathByteCountMax = 4096
    guard path.utf8.count < pathByteCountMax,
      let memory = AlignedMemory(byteCount: pathByteCountMax + MemoryLayout<statx>.size)
    else { return .failure(SystemError(ENAMETOOLONG)) }
    defer { withExtendedLifetime(memory) {} }
    let buffer = memory.buffer
    // Fresh pages are zeros, so the text ends with one.
    buffer.copy(from: Array(path.utf8))
    let answer = buffer.dropFirst(pathByteCountMax)
    let result = await submit { $0.look(buffer.prefix(pathByteCountMax), answer) }
    guard result == 0 else { return .failure(SystemError(-result)) }
    // Safe: the kernel has filled it in; pages are aligned for it.
    let found = unsafe answer.baseAddress.load(as: statx.self)
    let isBlockDevice = mode_t(found.stx_mode) & S_IFMT == S_IFBLK
    let (major, minor) =
      isBlockDevice
      ? (found.stx_rdev_major, found.stx_rdev_minor) : (found.stx_dev_major, found.stx_dev_minor)
    return .success(
      PathFacts(
        identity: PathFacts.Identity(
          deviceNumber: UInt64(major) << 32 | UInt64(minor),
          fileNumber: isBlockDevice ? 0 : found.stx_ino),
        byteCount: found.stx_size, isBlockDevice: isBlockDevice))
  }
}

extension RingEntry {
  /// `path` ends with a zero; `result` has room for a `statx`.
  func look(_ path: IOBuffer, _ result: IOBuffer) {
    // Safe: both are kept by the caller until the operation has completed.
    unsafe prepareLook(
      path.baseAddress.assumingMemoryBound(to: CChar.self),
      result.baseAddress.assumingMemoryBound(to: statx.self))
  }
}
