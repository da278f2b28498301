import Glibc
import IO

/// Where a report goes: standard output, or a file that is opened before the run, so that an
/// hour's figures are not lost to a folder that does not exist.
struct ReportFile {
  let path: String
  private let descriptor: Int32

  /// Opens or creates the file; what it holds stays until something is written.
  init(path: String) throws(SystemError) {
    self.path = path
    // Safe: the path lives until the call returns.
    descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw .last }
  }

  /// Replaces the contents and closes the file.
  func write(_ bytes: [UInt8]) throws(SystemError) {
    defer { close(descriptor) }
    var status = stat()
    // Safe: `status` lives until the call returns. A pipe or a terminal cannot be cut.
    if unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG {
      guard ftruncate(descriptor, 0) == 0 else { throw .last }
    }
    var done = 0
    while done < bytes.count {
      // Safe: the pointer covers the rest of `bytes` and is not kept.
      let count = unsafe bytes[done...].withUnsafeBytes { rest in
        unsafe Glibc.write(descriptor, rest.baseAddress, rest.count)
      }
      if count > 0 { done += count } else if errno != EINTR { throw .last }
    }
  }

  /// All bytes of a file, whatever its size.
  static func read(_ path: String) throws(SystemError) -> [UInt8] {
    // Safe: the path lives until the call returns.
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .last }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    while true {
      var count = 0
      // Safe: the closure's buffer has the capacity that read is told.
      let chunk = unsafe [UInt8](unsafeUninitializedCapacity: 1 << 20) { buffer, filled in
        count = unsafe Glibc.read(descriptor, buffer.baseAddress, 1 << 20)
        filled = max(0, count)
      }
      if count < 0, errno != EINTR { throw .last }
      if count == 0 { return bytes }
      bytes += chunk
    }
  }
}
