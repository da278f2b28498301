package import IO

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
  func wait(failureCount: Int, random: UInt64) -> UInt64 {
    precondition(failureCount > 0)
    var wait = firstNanoseconds
    for _ in 1..<failureCount where wait < longestNanoseconds { wait *= 2 }
    wait = min(wait, longestNanoseconds)
    return wait - wait / 4 + random % (wait / 2 + 1)
  }
}

/// Tries from time to time to connect a disk again that its owner has retired.
///
/// It has no task of its own: its owner asks it as often as it likes, and it does nothing before
/// it is time.
package final class Reconnector<DiskMachine: Machine> {
  /// What came of asking.
  package enum Outcome: Equatable, Sendable {
    /// There is a connection: what the disk holds can be looked at.
    case connected
    /// It is not yet time, or an attempt is under way.
    case waiting
    /// The attempt failed; the next is made after so long.
    case failed(NBDDiskError, nextNanoseconds: UInt64)
  }

  private let disk: NBDDisk<DiskMachine>
  private let machine: DiskMachine
  private let backOff: BackOff
  private var failureCount = 0
  private var nextAttemptNanoseconds: UInt64 = 0
  private var isTrying = false

  package init(
    _ disk: NBDDisk<DiskMachine>, machine: DiskMachine, backOff: BackOff = BackOff()
  ) {
    self.disk = disk
    self.machine = machine
    self.backOff = backOff
  }

  package var isConnected: Bool { disk.isConnected }

  /// Connects if it is time, within the disk's own limits of time.
  package func tryReconnect() async -> Outcome {
    if disk.isConnected { return .connected }
    let isEarly = machine.nowNanoseconds < nextAttemptNanoseconds
    guard !isTrying, !isEarly, disk.drainNanosecondsLeft == 0 else { return .waiting }
    isTrying = true
    defer { isTrying = false }
    do throws(NBDDiskError) {
      try await disk.reconnect()
      failureCount = 0
      nextAttemptNanoseconds = 0
      return .connected
    } catch {
      failureCount += 1
      let wait = backOff.wait(failureCount: failureCount, random: machine.randomNumber())
      nextAttemptNanoseconds = machine.nowNanoseconds + wait
      return .failed(error, nextNanoseconds: wait)
    }
  }
}
