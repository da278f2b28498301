import IO

/// Lets tasks of one actor through one at a time, in the order in which they came.
final class TurnLock {
  private var isTaken = false
  private var waiting: [WaitPoint] = []

  func acquire() async {
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

  func release() {
    precondition(isTaken)
    guard !waiting.isEmpty else {
      isTaken = false
      return
    }
    var next = waiting.removeFirst()
    next.signal()
  }
}
