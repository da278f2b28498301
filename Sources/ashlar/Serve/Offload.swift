import Control
import IO
import Ring
import Synchronization

/// What may wait for a file system, a resolver or another's server, beside a loop that serves.
///
/// Rare things, such as a new member: looking now and then whether they are done is enough.
struct Offload: Sendable {
  let machine: RingMachine

  private static let lookNanoseconds: UInt64 = 5_000_000

  /// Runs what blocks on a thread of its own.
  ///
  /// - Returns: its value, however long that takes.
  func onThread<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
    let result = Mailbox<Value>()
    startDetachedThread { result.put(body()) }
    while true {
      if let value = result.take() { return value }
      await machine.sleep(nanoseconds: Self.lookNanoseconds)
    }
  }

  /// Removes a file, and waits for that a little: a file system that hangs keeps nobody.
  func removeFile(_ path: String) async {
    _ = await bounded(nanosecondsMax: 1_000_000_000, late: { (_: Bool) in }) {
      await onThread {
        SmallFile.remove(path)
        return true
      }
    }
  }

  /// Waits for something, but not longer than so long.
  ///
  /// - Parameters:
  ///   - nanosecondsMax: how long.
  ///   - late: given what comes after that, to dispose of it.
  ///   - body: runs to its end, whoever waits.
  /// - Returns: nil when it is late.
  func bounded<Value: Sendable>(
    nanosecondsMax: UInt64, late: @escaping @Sendable (Value) async -> Void,
    _ body: @escaping @Sendable () async -> Value
  ) async -> Value? {
    let result = Mailbox<Value>()
    let machine = machine
    Task(executorPreference: machine) {
      let value = await body()
      if !result.put(value) { await late(value) }
    }
    let begin = machine.readClock()
    while machine.readClock() - begin < nanosecondsMax {
      if let value = result.take() { return value }
      await machine.sleep(nanoseconds: Self.lookNanoseconds)
    }
    return result.close()
  }
}

/// One value, from whoever makes it to whoever waits for it.
private final class Mailbox<Value: Sendable>: Sendable {
  private struct State {
    var value: Value?
    var isClosed = false
  }

  private let state = Mutex(State())

  /// - Returns: false when nobody waits any more.
  @discardableResult
  func put(_ value: Value) -> Bool {
    state.withLock { state in
      if !state.isClosed { state.value = value }
      return !state.isClosed
    }
  }

  func take() -> Value? { state.withLock { $0.value } }

  /// Takes what is there, and nothing later.
  func close() -> Value? {
    state.withLock { state in
      state.isClosed = true
      return state.value
    }
  }
}
