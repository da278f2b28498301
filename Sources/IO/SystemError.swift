import Glibc

/// An errno, with the kernel's own words for it.
package struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
  package let number: Int32

  package init(_ number: Int32) {
    self.number = number
  }

  /// The errno that the last failed C call left behind.
  package static var last: SystemError { SystemError(errno) }

  /// For example `No space left on device (ENOSPC)`, as far as the name is known.
  package var description: String {
    // Safe: strerror returns a static or thread-local string.
    let words = unsafe strerror(number).map { unsafe String(cString: $0) } ?? "unknown error"
    guard let name = Self.names[number] else { return "\(words) (errno \(number))" }
    return "\(words) (\(name))"
  }

  private static let names: [Int32: String] = [
    EPERM: "EPERM", ENOENT: "ENOENT", EINTR: "EINTR", EIO: "EIO", EBADF: "EBADF",
    EAGAIN: "EAGAIN", ENOMEM: "ENOMEM", EACCES: "EACCES", EFAULT: "EFAULT", EBUSY: "EBUSY",
    EEXIST: "EEXIST", ENODEV: "ENODEV", EINVAL: "EINVAL", ENFILE: "ENFILE", EMFILE: "EMFILE",
    EFBIG: "EFBIG", ENOSPC: "ENOSPC", EROFS: "EROFS", EPIPE: "EPIPE", ENOSYS: "ENOSYS",
    EOPNOTSUPP: "EOPNOTSUPP", EADDRINUSE: "EADDRINUSE", EADDRNOTAVAIL: "EADDRNOTAVAIL",
    ECONNABORTED: "ECONNABORTED", ECONNRESET: "ECONNRESET", ENOBUFS: "ENOBUFS",
    ETIMEDOUT: "ETIMEDOUT", ECONNREFUSED: "ECONNREFUSED", ECANCELED: "ECANCELED",
    EDQUOT: "EDQUOT", ENXIO: "ENXIO", ESHUTDOWN: "ESHUTDOWN", EILSEQ: "EILSEQ",
    EISDIR: "EISDIR", ENOTDIR: "ENOTDIR", ENAMETOOLONG: "ENAMETOOLONG",
  ]
}
