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
    ENOTCONN: "ENOTCONN", EOVERFLOW: "EOVERFLOW", EISDIR: "EISDIR", ENOTDIR: "ENOTDIR",
    ENAMETOOLONG: "ENAMETOOLONG",
  ]
}

extension SystemError {
  package static var invalidArgument: SystemError { SystemError(EINVAL) }
  package static var outOfMemory: SystemError { SystemError(ENOMEM) }

  /// The way to a remote disk is gone, rather than a part of it.
  package static var disconnected: SystemError { SystemError(ENOTCONN) }
  package var isDisconnection: Bool {
    number == ENOTCONN || number == ECONNRESET || number == EPIPE || number == ECONNABORTED
      || number == ESHUTDOWN
  }

  /// The medium below is full, or this user's share of it.
  package var isNoSpace: Bool { number == ENOSPC || number == EDQUOT || number == EFBIG }

  /// The file system or device lacks this operation.
  package var isUnsupported: Bool {
    number == EOPNOTSUPP || number == ENOSYS || number == EINVAL || number == ENOTTY
  }

  /// Too many open files, in the process or the system: it passes when others close theirs.
  package var isOutOfDescriptors: Bool { number == EMFILE || number == ENFILE }
}
