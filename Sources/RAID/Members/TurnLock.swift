import IO

/// Lets tasks of one actor through one at a time, in the order in which they came.
package final class TurnLock {
  private var isTaken = false
  private var waiting: [WaitPoint] = []

  package init() {}

  /// Waits for the turn.
  package func acquire() async {
    guard isTaken else {
      isTaken = true
      return
    }
    // Safe: resumed once, by `release`, which passes the turn on, or here.
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      // Others may have run meanwhile.
      if !isTaken {
        isTaken = true
        unsafe waiter.resume()
        return
      }
      var point = WaitPoint()
      unsafe point.put(waiter)
      waiting.append(point)
    }
  }

  /// Passes the turn on to who has waited longest.
  ///
  /// - Precondition: the caller has it.
  package func release() {
    precondition(isTaken)
    guard !waiting.isEmpty else {
      isTaken = false
      return
    }
    var next = waiting.removeFirst()
    next.signal()
  }
}
