import DiskFormat
import IO

// Flushes that wait for replicas as well, and those that are expected (docs/replication.md, section 2).
extension WriteLog {
  /// Asks the replicas that count to make durable what is acknowledged by now.
  ///
  /// - Returns: what to wait for by `waitForReplicas`.
  package func requestReplicaFlush() -> UInt64 {
    let number = published.number
    isFlushExpected = batchesSinceFlush <= Self.flushedBatchCountMax
    batchesSinceFlush = 0
    askReplicas(durable: number)
    return number
  }

  /// Who flushes after so many batches is expected to do so again.
  private static var flushedBatchCountMax: Int { 2 }

  /// A batch with records has its number: a flush that does not come is no longer expected.
  func noteFlushable() {
    batchesSinceFlush += 1
    if batchesSinceFlush > Self.flushedBatchCountMax { isFlushExpected = false }
  }

  /// Makes durable what waits for replicas, where a flush is expected: it would have two round trips
  /// to wait for, and has one.
  func flushAhead() async {
    guard isFlushExpected, !awaiting.isEmpty else { return }
    // What goes wrong stops the log.
    try? await waitUntilDurable(writtenSequence)
  }

  func askReplicas(durable number: UInt64) {
    for replica in replicas where replica.counts && replica.mode != .a {
      guard replica.durable < number, replica.flushWanted < number else { continue }
      if replica.flushWanted <= replica.durable {
        replica.flushWantedNanoseconds = machine.nowNanoseconds
      }
      replica.flushWanted = number
      replica.signal()
    }
  }

  /// Returns when every replica that counts has everything up to a number durably.
  package func waitForReplicas(durable number: UInt64) async throws(ArrayError) {
    while replicas.contains(where: { $0.counts && $0.mode != .a && $0.durable < number }) {
      try checkRunning()
      if isAbandoned {
        onReplicaLost()
        throw .replicaLost
      }
      // One that counts since, or whose session is a new one, has not been asked.
      askReplicas(durable: number)
      // Safe: resumed once, by `resumeDurableWaiters`, or here.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if stopReason != nil || isAbandoned {
          unsafe waiter.resume()
        } else {
          unsafe durableWaiters.append(waiter)
        }
      }
    }
    try checkRunning()
  }

  func resumeDurableWaiters() {
    let waiters = unsafe durableWaiters
    unsafe durableWaiters.removeAll(keepingCapacity: true)
    for index in unsafe waiters.indices { unsafe waiters[index].resume() }
  }
}
