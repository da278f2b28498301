/// State that jobs of one simulation share; they run on one thread.
package final class Box<Value>: @unchecked Sendable {
  package var value: Value

  package init(_ value: Value) {
    self.value = value
  }
}

/// Where tasks of one simulation wait until something holds.
@safe
package final class Gate: @unchecked Sendable {
  // Safe: each is resumed once, when the list is emptied.
  private var waiters = unsafe [UnsafeContinuation<Void, Never>]()

  package init() {}

  /// Returns when `condition` holds; it is looked at again after each `signal`.
  package func wait(until condition: @Sendable () -> Bool) async {
    while !condition() {
      // Safe: resumed here or by `signal`. Others may have run since the condition was looked at.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if condition() { unsafe waiter.resume() } else { unsafe waiters.append(waiter) }
      }
    }
  }

  package func signal() {
    let resumed = unsafe waiters
    unsafe waiters = []
    for index in unsafe resumed.indices { unsafe resumed[index].resume() }
  }
}
