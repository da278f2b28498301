import Glibc

/// A standard stream of the process, written to without a buffer.
package struct Terminal: Sendable {
  package static let output = Terminal(descriptor: STDOUT_FILENO)
  package static let error = Terminal(descriptor: STDERR_FILENO)

  private let descriptor: Int32

  /// Writes all of `text`.
  ///
  /// - Returns: false when it could not be written: the reader has gone, or a disk is full.
  @discardableResult
  package func write(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    var done = 0
    while done < bytes.count {
      // Safe: the pointer covers the rest of `bytes` and is not kept.
      let count = unsafe bytes[done...].withUnsafeBytes { rest in
        unsafe Glibc.write(descriptor, rest.baseAddress, rest.count)
      }
      if count > 0 {
        done += count
      } else if errno == EAGAIN {
        // Somebody made the terminal non-blocking.
        var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        guard unsafe poll(&wait, 1, -1) >= 0 || errno == EINTR else { return false }
      } else if errno != EINTR {
        return false
      }
    }
    return true
  }

  package var isInteractive: Bool { isatty(descriptor) == 1 }

  /// Occupies the standard streams that are closed, before anything else is opened.
  ///
  /// A disk would otherwise be given the number of one of them, and what is said to the operator
  /// would be written onto it.
  package static func occupyClosedStreams() {
    // For reading only: what is written there fails, as it does on a closed one.
    func open() -> Int32 { unsafe Glibc.open("/dev/null", O_RDONLY) }
    var descriptor = open()
    // Always the lowest number that is free.
    while (0...STDERR_FILENO).contains(descriptor) { descriptor = open() }
    if descriptor >= 0 { close(descriptor) }
  }
}

/// One-line messages about what went wrong, on standard error.
package enum Complaint {
  /// Prints "ashlar COMMAND: message".
  package static func print(command: String, _ message: String) {
    Terminal.error.write("ashlar \(command): \(message)\n")
  }
}
