/// Sleeping tasks, the earliest first.
///
/// There are few (watchdogs, back-off), so an ordered array beats a heap.
@safe
struct TimerQueue {
  @safe
  private struct Entry {
    let deadlineNanoseconds: UInt64
    // Safe: resumed once, when the entry is taken out.
    let waiter: UnsafeContinuation<Void, Never>
  }

  private var entries: [Entry] = []

  var earliestNanoseconds: UInt64? { entries.last?.deadlineNanoseconds }

  mutating func add(_ waiter: UnsafeContinuation<Void, Never>, deadlineNanoseconds: UInt64) {
    // Latest first, so that the earliest is taken from the end. Equal deadlines keep their order.
    var index = entries.count
    while index > 0, entries[index - 1].deadlineNanoseconds <= deadlineNanoseconds { index -= 1 }
    let entry = unsafe Entry(deadlineNanoseconds: deadlineNanoseconds, waiter: waiter)
    entries.insert(entry, at: index)
  }

  /// Resumes every sleeper whose time has come.
  mutating func resume(until nowNanoseconds: UInt64) {
    while let last = entries.last, last.deadlineNanoseconds <= nowNanoseconds {
      entries.removeLast()
      unsafe last.waiter.resume()
    }
  }
}
