import Glibc
import Synchronization

/// Writes values from a thread of its own, always the newest one.
///
/// To write a file may take long, and the loop that serves I/O must not stand still for it.
package final class LatestWriter<Value: Sendable>: Sendable {
  private struct Work {
    var waiting: Value?
    var isWriting = false
  }

  private let body: @Sendable (Value) -> Void
  private let work = Mutex(Work())
  private let wakeUp: [Int32]

  /// Starts the thread, on which `body` writes one value after the other.
  package init(_ body: @escaping @Sendable (Value) -> Void) {
    self.body = body
    var ends: [Int32] = [-1, -1]
    // Safe: room for two descriptors.
    let isMade = unsafe pipe(&ends) == 0
    wakeUp = isMade ? ends : []
    for end in wakeUp { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    // The end that the loop writes to never blocks: a byte that finds no room is not needed.
    if let end = wakeUp.last { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
    guard isMade else { return }
    startDetachedThread { [self] in writeForEver() }
  }

  /// Has the value written, unless a newer one comes first; never waits.
  ///
  /// - Returns: false when there is no thread to do it.
  package func write(_ value: Value) -> Bool {
    guard let end = wakeUp.last else { return false }
    work.withLock { $0.waiting = value }
    var byte: UInt8 = 0
    // Safe: one byte of a local.
    unsafe _ = Glibc.write(end, &byte, 1)
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

  private func writeForEver() {
    guard let end = wakeUp.first else { return }
    var bytes = [UInt8](repeating: 0, count: 64)
    while true {
      // Safe: as many bytes as the array has.
      let count = unsafe read(end, &bytes, bytes.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return }
      while let value = next() { body(value) }
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
