import IO

/// Memory for blocks that are in the log and not yet home, and the budget that bounds it.
///
/// A client's request first reserves as many slots as it has blocks, and waits, in order, while
/// there are not enough. When its blocks are published they take the slots; a slot goes back when
/// its version is home or replaced.
@safe
final class PayloadPool {
  static let blockBytes = 4096

  private let memory: AlignedMemory
  private let slotCount: Int
  private var vacant: [Int32] = []
  private var untouched: Int32 = 0
  /// Reserved and not yet taken, or taken.
  private(set) var countInUse = 0
  private var waiters: [Waiter] = []
  private var isClosed = false
  /// Nobody waits: what would make room waits for a replica that is lost.
  var refusesWaiting = false {
    didSet { if refusesWaiting { refuseWaiters() } }
  }
  /// Called when a request has to wait.
  var onShortage: () -> Void = {}

  @safe
  private struct Waiter {
    let count: Int
    // Safe: resumed once, when it leaves the list.
    let continuation: UnsafeContinuation<Bool, Never>
  }

  init?(byteCountMax: Int) {
    slotCount = max(64, byteCountMax / Self.blockBytes)
    guard let memory = AlignedMemory(byteCount: slotCount * Self.blockBytes) else { return nil }
    self.memory = memory
  }

  var fillFraction: Double { Double(countInUse) / Double(slotCount) }
  var hasWaiters: Bool { !waiters.isEmpty }
  var byteCountInUse: Int { countInUse * Self.blockBytes }

  /// Waits until `count` slots are free, and sets them aside.
  ///
  /// - Returns: false when the pool was closed, or nobody waits now.
  func reserve(_ count: Int) async -> Bool {
    precondition(count <= slotCount)
    if isClosed { return false }
    if waiters.isEmpty && countInUse + count <= slotCount {
      countInUse += count
      return true
    }
    if refusesWaiting { return false }
    // Safe: resumed once, by `admit`, `close` or `refuseWaiters`.
    return unsafe await withUnsafeContinuation { (continuation: UnsafeContinuation<Bool, Never>) in
      unsafe waiters.append(Waiter(count: count, continuation: continuation))
      admit()
      if !waiters.isEmpty { onShortage() }
    }
  }

  /// Gives back what was reserved and not taken.
  func cancelReservation(_ count: Int) {
    countInUse -= count
    admit()
  }

  /// Takes a slot that was reserved and copies a block into it.
  func take(_ block: IOBuffer) -> Int32 {
    let slot: Int32
    if let reused = vacant.popLast() {
      slot = reused
    } else {
      slot = untouched
      untouched += 1
      precondition(Int(slot) < slotCount, "a slot is taken without a reservation")
    }
    buffer(slot).copy(from: block)
    return slot
  }

  /// The bytes of a slot.
  func buffer(_ slot: Int32) -> IOBuffer {
    memory.buffer.slice(Int(slot) * Self.blockBytes, Self.blockBytes)
  }

  func release(_ slot: Int32) {
    vacant.append(slot)
    countInUse -= 1
    admit()
  }

  /// Lets everybody who waits go, with nothing.
  func close() {
    isClosed = true
    refuseWaiters()
  }

  private func refuseWaiters() {
    let all = waiters
    waiters = []
    for waiter in all { unsafe waiter.continuation.resume(returning: false) }
  }

  private func admit() {
    while let first = waiters.first, countInUse + first.count <= slotCount {
      countInUse += first.count
      waiters.removeFirst()
      unsafe first.continuation.resume(returning: true)
    }
  }
}
