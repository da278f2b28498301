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
  func write(_ text: String) throws(SystemError) {
    defer { close(descriptor) }
    var status = stat()
    // Safe: `status` lives until the call returns. A pipe or a terminal cannot be cut.
    if unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG {
      guard ftruncate(descriptor, 0) == 0 else { throw .last }
    }
    let bytes = Array(text.utf8)
    var done = 0
    while done < bytes.count {
      // Safe: the pointer covers the rest of `bytes` and is not kept.
      let count = unsafe bytes[done...].withUnsafeBytes { rest in
        unsafe Glibc.write(descriptor, rest.baseAddress, rest.count)
      }
      if count > 0 { done += count } else if errno != EINTR { throw .last }
    }
  }
}
