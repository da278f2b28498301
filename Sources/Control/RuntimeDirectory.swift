package import IO
import Glibc

/// The folder that holds a host's sockets, locks and records.
///
/// `$ASHLAR_RUNTIME_DIR`; else `/run/ashlar` for root, `$XDG_RUNTIME_DIR/ashlar` for a user,
/// `/tmp/ashlar-UID` for a user without one. Whoever can write to it can put his own sockets in
/// our place, so it must belong to us or to root, and nobody else may write to it;
/// `/tmp/ashlar-UID` must be ours with mode 0700.
package struct RuntimeDirectory: Equatable, Sendable {
  package let path: String

  /// Where the folder is, by environment and user.
  package static func location(
    environment: (String) -> String?, userID: UInt32
  ) -> (path: String, mustBePrivate: Bool) {
    if let path = environment("ASHLAR_RUNTIME_DIR"), !path.isEmpty {
      return (trimmingSlashes(path), false)
    }
    if userID == 0 { return ("/run/ashlar", false) }
    if let parent = environment("XDG_RUNTIME_DIR"), parent.hasPrefix("/") {
      return ("\(trimmingSlashes(parent))/ashlar", false)
    }
    return ("/tmp/ashlar-\(userID)", true)
  }

  /// Creates the folder unless it is there, and checks it.
  package static func created() throws(RuntimeDirectoryError) -> RuntimeDirectory {
    let (path, mustBePrivate) = location(environment: environmentVariable, userID: geteuid())
    return try created(at: path, mustBePrivate: mustBePrivate)
  }

  /// Checks the folder.
  ///
  /// - Returns: nil when there is none, so that nothing can be running.
  package static func existing() throws(RuntimeDirectoryError) -> RuntimeDirectory? {
    let (path, mustBePrivate) = location(environment: environmentVariable, userID: geteuid())
    guard try isSafeFolder(path, mustBePrivate: mustBePrivate) else { return nil }
    return RuntimeDirectory(path: path)
  }

  static func created(
    at path: String, mustBePrivate: Bool
  ) throws(RuntimeDirectoryError) -> RuntimeDirectory {
    // Others may look into root's folder: the sockets in it have modes of their own.
    let mode: mode_t = path == "/run/ashlar" ? 0o755 : 0o700
    if unsafe mkdir(path, mode) != 0, errno != EEXIST {
      throw .cannotCreate(path: path, SystemError.last)
    }
    guard try isSafeFolder(path, mustBePrivate: mustBePrivate) else {
      throw .cannotCreate(path: path, SystemError(ENOENT))
    }
    return RuntimeDirectory(path: path)
  }

  private static func isSafeFolder(
    _ path: String, mustBePrivate: Bool
  ) throws(RuntimeDirectoryError) -> Bool {
    var status = stat()
    // Below /tmp anybody may plant a symbolic link: it is not followed there.
    let result = unsafe mustBePrivate ? lstat(path, &status) : stat(path, &status)
    guard result == 0 else {
      if errno == ENOENT { return false }
      throw .cannotRead(path: path, SystemError.last)
    }
    guard status.st_mode & S_IFMT == S_IFDIR else { throw .notAFolder(path: path) }
    let user = geteuid()
    let isOurs = status.st_uid == user
    guard isOurs || (status.st_uid == 0 && !mustBePrivate) else {
      throw .wrongOwner(path: path, owner: status.st_uid, user: user)
    }
    let forbidden: mode_t = mustBePrivate ? 0o077 : 0o022
    guard status.st_mode & forbidden == 0 else {
      throw .tooOpen(path: path, mode: status.st_mode & 0o7777)
    }
    return true
  }

  private static func trimmingSlashes(_ path: String) -> String {
    var path = path
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    return path
  }

  package init(path: String) {
    self.path = path
  }

  /// The socket for NBD clients.
  package func blockSocketPath(_ name: String) throws(RuntimeDirectoryError) -> String {
    try socketPath(name, "sock")
  }

  /// The socket for `ashlar status` and `ashlar stop`.
  package func controlSocketPath(_ name: String) throws(RuntimeDirectoryError) -> String {
    try socketPath(name, "control")
  }

  /// The file by which a server holds its name.
  package func lockPath(_ name: String) throws(RuntimeDirectoryError) -> String {
    try checkName(name)
    return "\(path)/\(name).lock"
  }

  /// The record of where the device is attached.
  package func attachRecordPath(_ name: String) throws(RuntimeDirectoryError) -> String {
    try checkName(name)
    return "\(path)/\(name).attach"
  }

  /// The names that have a file with this ending, sorted.
  package func names(withEnding ending: String) throws(RuntimeDirectoryError) -> [String] {
    guard let folder = unsafe opendir(path) else {
      throw .cannotRead(path: path, SystemError.last)
    }
    defer { unsafe closedir(folder) }
    var names: [String] = []
    // Safe: the entry is valid until the next readdir; d_name ends with a zero byte.
    while let entry = unsafe readdir(folder) {
      let file = unsafe withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard file.hasSuffix(".\(ending)") else { continue }
      let name = String(file.dropLast(ending.count + 1))
      if isValidDeviceName(name) { names.append(name) }
    }
    return names.sorted()
  }

  private func socketPath(
    _ name: String, _ ending: String
  ) throws(RuntimeDirectoryError) -> String {
    try checkName(name)
    let socket = "\(path)/\(name).\(ending)"
    guard socket.utf8.count <= ListenAddress.unixPathByteCountMax else {
      throw .socketPathTooLong(path: socket)
    }
    return socket
  }

  private func checkName(_ name: String) throws(RuntimeDirectoryError) {
    guard isValidDeviceName(name) else { throw .invalidName(name) }
  }
}

/// The value of an environment variable.
package func environmentVariable(_ name: String) -> String? {
  // Safe: copied at once; nothing in this program changes its environment.
  unsafe getenv(name).map { unsafe String(cString: $0) }
}

/// Why the runtime directory, or a path in it, cannot be used.
package enum RuntimeDirectoryError: Error, Equatable, Sendable, CustomStringConvertible {
  case cannotCreate(path: String, SystemError)
  case cannotRead(path: String, SystemError)
  case notAFolder(path: String)
  case wrongOwner(path: String, owner: UInt32, user: UInt32)
  case tooOpen(path: String, mode: UInt32)
  case invalidName(String)
  case socketPathTooLong(path: String)

  package var description: String {
    switch self {
    case .cannotCreate(let path, let error):
      "cannot create the runtime directory \(path): \(error); create it, or set "
        + "ASHLAR_RUNTIME_DIR to a folder of your own"
    case .cannotRead(let path, let error):
      "cannot read the runtime directory \(path): \(error); set ASHLAR_RUNTIME_DIR to the folder "
        + "the server uses"
    case .notAFolder(let path):
      "the runtime directory \(path) is not a folder: set ASHLAR_RUNTIME_DIR to a folder of your own"
    case .wrongOwner(let path, let owner, let user):
      "the runtime directory \(path) belongs to user \(owner), not to user \(user) as it must: "
        + "set ASHLAR_RUNTIME_DIR to a folder of your own"
    case .tooOpen(let path, let mode):
      "the runtime directory \(path) has mode \(String(mode, radix: 8)), so that others could "
        + "replace the sockets in it: set ASHLAR_RUNTIME_DIR to a folder that only you may write to, "
        + "or take the others' permissions away, if it is Ashlar's alone"
    case .invalidName(let name): "'\(name)' \(deviceNameRule)"
    case .socketPathTooLong(let path):
      "the socket path \(path) has \(path.utf8.count) bytes, and the kernel takes "
        + "\(ListenAddress.unixPathByteCountMax): choose a shorter name, or set "
        + "ASHLAR_RUNTIME_DIR to a folder with a shorter path"
    }
  }
}
