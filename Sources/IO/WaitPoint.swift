/// A place where one task waits for something that another does.
@safe
package struct WaitPoint {
  // Safe: resumed once, and cleared at the same time.
  private var waiter: UnsafeContinuation<Void, Never>?

  package init() {}

  package var isWaitedFor: Bool { unsafe waiter != nil }

  package mutating func put(_ continuation: UnsafeContinuation<Void, Never>) {
    precondition(unsafe waiter == nil, "two tasks wait at one place")
    unsafe waiter = unsafe continuation
  }

  package mutating func signal() {
    guard let continuation = unsafe waiter else { return }
    unsafe waiter = nil
    unsafe continuation.resume()
  }
}
