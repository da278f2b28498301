import Control
import Glibc
import IO

/// Where a report goes: standard output, or a file that is opened before the run, so that an
/// hour's figures are not lost to a folder that does not exist.
struct ReportFile {
  let path: String
  private let descriptor: Int32
  private let wasCreated: Bool
  /// Nil for a pipe or a terminal, which cannot be mistaken for a target.
  let identity: FileIdentity?

  /// Opens or creates the file; what it holds stays until something is written.
  ///
  /// What would be destroyed is refused: a block device, and a file that somebody serves or
  /// measures.
  init(path: String) throws(BenchError) {
    self.path = path
    // Safe: the path lives until the call returns.
    let created = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    wasCreated = created >= 0
    // Safe: as above.
    descriptor = wasCreated ? created : unsafe open(path, O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw BenchError("cannot write \(path): \(SystemError.last)") }
    let kind: FileIdentity.Kind
    (identity, kind) = FileIdentity.of(descriptor)
    if kind == .blockDevice {
      close(descriptor)
      throw BenchError("\(path) is a block device: a report would destroy what it holds")
    }
    // Held until the report is written: servers and other runs lock what they work on.
    if kind == .file, flock(descriptor, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK {
      close(descriptor)
      throw BenchError("\(path) is in use: served, measured, or another run's report")
    }
  }

  /// Replaces the contents and closes the file.
  func write(_ bytes: [UInt8]) throws(BenchError) {
    defer { close(descriptor) }
    do throws(SystemError) {
      // A pipe or a terminal cannot be cut.
      if identity != nil, ftruncate(descriptor, 0) != 0 { throw .last }
      try SmallFile.writeAll(bytes, to: descriptor)
    } catch {
      throw BenchError("cannot write \(path): \(error)")
    }
  }

  /// For a run that does not begin: leaves everything as it was.
  func discard() {
    // Safe: the path lives until the call returns.
    if wasCreated { unsafe _ = unlink(path) }
    close(descriptor)
  }
}

/// Which file a path or a descriptor stands for, whatever its name.
struct FileIdentity: Equatable {
  enum Kind { case file, blockDevice, other }

  private var device: UInt64
  private var number: UInt64

  /// The regular file at a path; nil for whatever else is there.
  init?(path: String) {
    var status = stat()
    // Safe: the path and `status` live until the call returns.
    guard unsafe stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    self.init(status)
  }

  private init(_ status: stat) {
    device = UInt64(status.st_dev)
    number = UInt64(status.st_ino)
  }

  /// The regular file behind a descriptor, else nil; and what is behind it.
  static func of(_ descriptor: Int32) -> (FileIdentity?, Kind) {
    var status = stat()
    // Safe: `status` lives until the call returns.
    guard unsafe fstat(descriptor, &status) == 0 else { return (nil, .other) }
    switch status.st_mode & S_IFMT {
    case S_IFREG: return (FileIdentity(status), .file)
    case S_IFBLK: return (nil, .blockDevice)
    default: return (nil, .other)
    }
  }
}
