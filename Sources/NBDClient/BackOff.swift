/// How long to wait between attempts to connect again.
package struct BackOff: Equatable, Sendable {
  package var firstNanoseconds: UInt64 = 500_000_000
  package var longestNanoseconds: UInt64 = 30_000_000_000

  package init() {}

  /// The wait after so many failures in a row: twice the one before, up to the longest.
  ///
  /// - Parameters:
  ///   - failureCount: at least one.
  ///   - random: spreads it over a quarter more or less, so that the clients of a server that comes
  ///     back do not all come at once.
  /// - Returns: nanoseconds.
  func wait(failureCount: Int, random: UInt64) -> UInt64 {
    precondition(failureCount > 0)
    var wait = firstNanoseconds
    for _ in 1..<failureCount where wait < longestNanoseconds { wait *= 2 }
    wait = min(wait, longestNanoseconds)
    return wait - wait / 4 + random % (wait / 2 + 1)
  }
}
