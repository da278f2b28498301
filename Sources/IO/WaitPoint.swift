/// A place where one task waits for something that another does.
@safe
package struct WaitPoint {
  // Safe: resumed once, and cleared at the same time.
  private var waiter: UnsafeContinuation<Void, Never>?

  package init() {}

  package var isWaitedFor: Bool { unsafe waiter != nil }

  /// Makes this the task that waits.
  ///
  /// - Precondition: nobody else does.
  package mutating func put(_ continuation: UnsafeContinuation<Void, Never>) {
    precondition(unsafe waiter == nil, "two tasks wait at one place")
    unsafe waiter = unsafe continuation
  }

  /// Resumes the task that waits, if one does: a signal without a waiter is not kept, so whoever
  /// waits looks at what it waits for first.
  package mutating func signal() {
    guard let continuation = unsafe waiter else { return }
    unsafe waiter = nil
    unsafe continuation.resume()
  }
}
