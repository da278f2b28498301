import Glibc

/// A point in time that a blocking command does not wait beyond.
package struct Deadline: Sendable {
  private let atNanoseconds: UInt64

  package init(afterNanoseconds nanoseconds: UInt64) {
    let (sum, overflow) = Deadline.nowNanoseconds.addingReportingOverflow(nanoseconds)
    atNanoseconds = overflow ? .max : sum
  }

  package var remainingNanoseconds: UInt64 {
    let now = Deadline.nowNanoseconds
    return atNanoseconds > now ? atNanoseconds - now : 0
  }

  package var hasPassed: Bool { remainingNanoseconds == 0 }

  /// For `poll`: rounded up, so that a wait never ends just before the deadline.
  package var remainingMilliseconds: Int32 {
    let remaining = remainingNanoseconds
    return Int32(clamping: remaining / 1_000_000 + (remaining % 1_000_000 == 0 ? 0 : 1))
  }

  /// Asks `condition` again and again, 20 ms apart, until it holds.
  ///
  /// - Returns: false when the deadline passed first.
  package func wait(until condition: () -> Bool) -> Bool {
    while true {
      if condition() { return true }
      if hasPassed { return false }
      Deadline.pause(milliseconds: 20)
    }
  }

  /// Nanoseconds since the host started, sleep included.
  package static var nowNanoseconds: UInt64 {
    var time = timespec()
    // Safe: fills a struct of our own.
    let result = unsafe clock_gettime(CLOCK_BOOTTIME, &time)
    precondition(result == 0, "the clock that every supported kernel has does not answer")
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// Blocks the calling thread: for commands, never in a server.
  package static func pause(milliseconds: Int32) {
    _ = poll(nil, 0, milliseconds)
  }
}
