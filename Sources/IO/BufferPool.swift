/// Buffers for payloads, in sizes that are powers of two, under one limit.
///
/// A buffer that is given back is kept and handed out again, so the steady state allocates
/// nothing. When the limit is reached, buffers that lie idle in other sizes are freed first, and
/// then the caller waits, first come first served. A reserved request is served beyond the limit:
/// its owner counts those itself (see `acquire`).
package final class BufferPool {
  package static let smallestByteCount = 4096
  /// Sizes from 4 KiB to 64 MiB.
  private static let sizeCount = 15

  package let byteCountMax: Int
  /// Bytes of all buffers handed out, reserved ones included.
  package private(set) var byteCountInUse = 0
  private var byteCountShared = 0
  private var byteCountIdle = 0
  private var idle: [[AlignedMemory]]
  private var waiting: [Waiter] = []

  @safe
  private struct Waiter {
    let byteCount: Int
    // Safe: resumed once, when it is taken out of the list.
    let continuation: UnsafeContinuation<Bool, Never>
  }

  package init(byteCountMax: Int) {
    self.byteCountMax = byteCountMax
    idle = [[AlignedMemory]](repeating: [], count: Self.sizeCount)
  }

  /// The size of the buffer that a request of `byteCount` gets.
  ///
  /// - Returns: nil when no size is large enough.
  @inlinable
  package static func size(for byteCount: Int) -> Int? {
    if byteCount <= smallestByteCount { return smallestByteCount }
    guard byteCount <= 64 << 20 else { return nil }
    return 1 << (Int.bitWidth - (byteCount - 1).leadingZeroBitCount)
  }

  private static func index(of size: Int) -> Int { size.trailingZeroBitCount - 12 }

  /// Waits until the limit has room and returns a buffer of at least `byteCount` bytes.
  ///
  /// Its contents are whatever was there before: fill what you send.
  ///
  /// - Parameters:
  ///   - byteCount: at most 64 MiB.
  ///   - isReserved: true for the small share that each connection may always have, so that those
  ///     who hold the rest and do not move cannot stop the others. Give back with the same value.
  /// - Returns: nil when the machine is out of memory, or the wait was cancelled.
  package func acquire(byteCount: Int, isReserved: Bool) async -> AlignedMemory? {
    guard let size = Self.size(for: byteCount) else { return nil }
    guard mustWait(size, isReserved: isReserved) else {
      return acquireAtOnce(byteCount: byteCount, isReserved: isReserved)
    }
    // Safe: resumed once, by `admitWaiters`, which also counts the bytes, or `cancelWaiters`.
    let isAdmitted = unsafe await withUnsafeContinuation {
      (continuation: UnsafeContinuation<Bool, Never>) in
      unsafe waiting.append(Waiter(byteCount: size, continuation: continuation))
      admitWaiters()
    }
    return isAdmitted ? take(size, isReserved: isReserved) : nil
  }

  /// The same without waiting.
  ///
  /// - Returns: nil also when the limit has no room now.
  package func acquireAtOnce(byteCount: Int, isReserved: Bool) -> AlignedMemory? {
    guard let size = Self.size(for: byteCount), !mustWait(size, isReserved: isReserved) else {
      return nil
    }
    if !isReserved { byteCountShared += size }
    return take(size, isReserved: isReserved)
  }

  private func mustWait(_ size: Int, isReserved: Bool) -> Bool {
    !isReserved && (!waiting.isEmpty || byteCountShared + size > byteCountMax)
  }

  /// Hands out a buffer that has been counted as shared, or is reserved.
  private func take(_ size: Int, isReserved: Bool) -> AlignedMemory? {
    byteCountInUse += size
    if let memory = idle[Self.index(of: size)].popLast() {
      byteCountIdle -= size
      return memory
    }
    freeIdle(downTo: max(0, byteCountMax - byteCountInUse))
    if let memory = AlignedMemory(byteCount: size) { return memory }
    forget(size, isReserved: isReserved)
    return nil
  }

  /// Gives a buffer back.
  package func release(_ memory: AlignedMemory, isReserved: Bool) {
    let size = memory.buffer.byteCount
    idle[Self.index(of: size)].append(memory)
    byteCountIdle += size
    forget(size, isReserved: isReserved)
  }

  /// Frees idle buffers, the largest first, until at most `byteCount` bytes lie idle.
  package func freeIdle(downTo byteCount: Int) {
    var index = Self.sizeCount - 1
    while byteCountIdle > byteCount && index >= 0 {
      if let memory = idle[index].popLast() {
        byteCountIdle -= memory.buffer.byteCount
      } else {
        index -= 1
      }
    }
  }

  private func forget(_ size: Int, isReserved: Bool) {
    byteCountInUse -= size
    guard !isReserved else { return }
    byteCountShared -= size
    admitWaiters()
  }

  private func admitWaiters() {
    while let first = waiting.first {
      // Larger than the limit itself: alone, it may pass.
      guard byteCountShared + first.byteCount <= byteCountMax || byteCountShared == 0 else {
        return
      }
      byteCountShared += first.byteCount
      waiting.removeFirst()
      unsafe first.continuation.resume(returning: true)
    }
  }

  /// Lets everybody who waits go without a buffer.
  ///
  /// For when those who hold the buffers will not give them back.
  package func cancelWaiters() {
    let cancelled = waiting
    waiting.removeAll()
    for waiter in cancelled { unsafe waiter.continuation.resume(returning: false) }
  }
}
