import Synchronization

/// Writes values from a thread of its own, always the newest one.
///
/// To write a file may take long, and the loop that serves I/O must not stand still for it.
package final class LatestWriter<Value: Sendable>: Sendable {
  private struct Work {
    var waiting: Value?
    var isWriting = false
  }

  private let work = Mutex(Work())
  private let thread = WakingThread()

  /// Starts the thread, on which `body` writes one value after the other.
  package init(_ body: @escaping @Sendable (Value) -> Void) {
    thread.start { [self] in
      while let value = next() { body(value) }
    }
  }

  /// Has the value written, unless a newer one comes first; never waits.
  ///
  /// - Returns: false when there is no thread to do it.
  package func write(_ value: Value) -> Bool {
    work.withLock { $0.waiting = value }
    guard thread.wake() else {
      work.withLock { $0.waiting = nil }
      return false
    }
    return true
  }

  /// Whether everything is written, or has failed to be.
  package var isIdle: Bool { work.withLock { $0.waiting == nil && !$0.isWriting } }

  /// Waits until everything is written, but not longer than this.
  package func drain(millisecondsMax: Int32) {
    var left = millisecondsMax
    while left > 0 {
      if isIdle { return }
      Deadline.pause(milliseconds: 5)
      left -= 5
    }
  }

  private func next() -> Value? {
    work.withLock { work in
      let value = work.waiting
      work.waiting = nil
      work.isWriting = value != nil
      return value
    }
  }
}
