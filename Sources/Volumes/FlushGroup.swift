/// Lets many callers share one fdatasync.
///
/// A caller is served by a round that *began* after it called: a round under way may have missed
/// writes that were acknowledged since it began (NBD rule 54). So while one round runs, all who
/// come share the next.
@safe
package final class FlushGroup {
  private var startedRound: UInt64 = 0
  private var finishedRound: UInt64 = 0
  private var isRunning = false
  // Safe: each is resumed once, when the list is emptied.
  private var waiters = unsafe [UnsafeContinuation<Void, Never>]()

  package init() {}

  /// Returns when a round that began after this call has ended.
  ///
  /// - Parameter round: one fdatasync. Its failure is the caller's to remember: everybody it
  ///   served must hear of it.
  package func join(_ round: () async -> Void) async {
    let neededRound = startedRound + 1
    while finishedRound < neededRound {
      if isRunning {
        // Safe: resumed once, when the round that runs has ended.
        unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
          unsafe waiters.append(waiter)
        }
      } else {
        isRunning = true
        startedRound += 1
        await round()
        isRunning = false
        finishedRound = startedRound
        for index in unsafe waiters.indices { unsafe waiters[index].resume() }
        unsafe waiters.removeAll(keepingCapacity: true)
      }
    }
  }
}
