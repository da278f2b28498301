import Glibc
package import IO

/// The claim of one process to a device's name, for as long as it lives.
///
/// Sockets alone cannot give it: of two servers that find the stale socket of a killed one, the
/// slower could remove the socket that the faster has just made.
package final class NameLock: Sendable {
  private let descriptor: Int32
  private let path: String

  /// Takes the lock file, which is made when it does not exist.
  ///
  /// - Returns: nil when another process holds it.
  package static func take(_ path: String) throws(SystemError) -> NameLock? {
    while true {
      // Safe: the path lives until the call returns.
      let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
      guard descriptor >= 0 else { throw .last }
      guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
        let error = SystemError.last
        close(descriptor)
        if error.number == EWOULDBLOCK { return nil }
        throw error
      }
      // Its former owner may have removed it between our open and our lock.
      if isStill(descriptor, at: path) { return NameLock(descriptor, path) }
      close(descriptor)
    }
  }

  private init(_ descriptor: Int32, _ path: String) {
    self.descriptor = descriptor
    self.path = path
  }

  /// Gives the name back and removes the file.
  package func release() {
    // Safe: the path lives until the call returns. Removed while it is still ours.
    unsafe _ = unlink(path)
    close(descriptor)
  }

  private static func isStill(_ descriptor: Int32, at path: String) -> Bool {
    var held = stat()
    var named = stat()
    // Safe: both live until the calls return.
    guard unsafe fstat(descriptor, &held) == 0, unsafe lstat(path, &named) == 0 else {
      return false
    }
    return held.st_ino == named.st_ino && held.st_dev == named.st_dev
  }
}
