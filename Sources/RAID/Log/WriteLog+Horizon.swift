import Geometry
import IO

// Durability: rounds of fdatasync, the horizon, and seals (rules L1 and L7).
extension WriteLog {
  /// Makes every record that was acknowledged before the call durable.
  ///
  /// Seals need none: a log that holds nothing else unsynced is durable.
  package func flush() async throws(ArrayError) {
    try checkRunning()
    try await waitForHorizon(writtenRecordSequence)
  }

  /// Returns when the horizon has passed a batch.
  package func waitUntilDurable(_ sequence: UInt64) async throws(ArrayError) {
    while writtenSequence < sequence {
      try checkRunning()
      // Safe: resumed once, when batches were written, or by `stop`, or here.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if writtenSequence >= sequence || stopReason != nil {
          unsafe waiter.resume()
        } else {
          unsafe writtenWaiters.append(waiter)
        }
      }
    }
    try await waitForHorizon(sequence)
  }

  private func waitForHorizon(_ sequence: UInt64) async throws(ArrayError) {
    while horizon < sequence {
      try checkRunning()
      guard roundIsUnderWay else {
        await runRound()
        continue
      }
      // Safe: resumed once, when the round has ended, or by `stop`, or here.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if !roundIsUnderWay || stopReason != nil {
          unsafe waiter.resume()
        } else {
          unsafe flushWaiters.append(waiter)
        }
      }
    }
    try checkRunning()
  }

  /// One fdatasync on each member that needs it, for all who wait.
  ///
  /// It covers what was written before it began: whoever comes later shares the next.
  private func runRound() async {
    roundIsUnderWay = true
    let covered = writtenSequence
    var slots = unsyncedSlots.intersection(logSlots)
    unsyncedSlots = SlotSet()
    if options.plants(.flushForgetsEarlierBatches) {
      slots = slots.intersection(newestBatchSlots)
    }
    do throws(ArrayError) {
      try await synchronize(slots)
      await settleMembership()
      if stopReason == nil { horizon = max(horizon, covered) }
    } catch {
      fail(error)
    }
    roundIsUnderWay = false
    resumeFlushWaiters()
    if wantsSeal { sealerRest.signal() }
  }

  private func synchronize(_ slots: SlotSet) async throws(ArrayError) {
    let group = members.makeGroup()
    for slot in slots { members.synchronize(slot, group) }
    await group.wait()
    var failures = group.failures
    members.release(group)
    if options.plants(.failedFlushRetried), !failures.isEmpty {
      let second = members.makeGroup()
      for failure in failures { members.synchronize(failure.slot, second) }
      await second.wait()
      failures = second.failures
      members.release(second)
    }
    for failure in failures {
      // A second try would succeed without what the first one lost (promise P8).
      try await membership.expel(failure, ExpulsionReason(ofSynchronize: failure.error))
    }
  }

  func resumeFlushWaiters() {
    let waiters = unsafe flushWaiters
    unsafe flushWaiters.removeAll(keepingCapacity: true)
    for index in unsafe waiters.indices { unsafe waiters[index].resume() }
  }

  // MARK: Seals

  /// Whether no header tells the horizon, and no batch is about to.
  private var wantsSeal: Bool {
    stopReason == nil && !hasEndedSealing && horizon > toldHorizon && !sealIsDue
      && waitingIntents.isEmpty
      && open.map(\.isEmpty) ?? true && !options.plants(.noSeal)
  }

  /// No further seals: the superblocks will tell the horizon.
  ///
  /// Returns when what has a number is durable.
  package func endSealing() async throws(ArrayError) {
    hasEndedSealing = true
    sealIsDue = false
    try await waitUntilDurable(lastSequence)
  }

  /// Writes seals until `stop`.
  package func runSealer() async {
    while stopReason == nil {
      guard wantsSeal else {
        await restSealer()
        continue
      }
      // Each flush has a delay of its own: the batch that follows it may already be on its way.
      let awaited = horizon
      await machine.sleep(nanoseconds: options.sealDelayNanoseconds)
      if wantsSeal, horizon == awaited {
        sealIsDue = true
        wakeWriter()
      }
    }
  }

  private func restSealer() async {
    // Safe: resumed once, by the end of a round or `stop`, or here.
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      if stopReason != nil || wantsSeal {
        unsafe waiter.resume()
      } else {
        unsafe sealerRest.put(waiter)
      }
    }
  }
}
