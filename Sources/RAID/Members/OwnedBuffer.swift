package import IO

/// Memory that knows how many operations on members refer to it.
///
/// An operation that outlasts its deadline is given up, but the kernel still has its buffer: such
/// memory must not be used for anything else. Whoever pools buffers asks `isIdle` before one is
/// used again, and drops those that are not: they are freed when their last operation returns.
package final class OwnedBuffer {
  package let memory: AlignedMemory
  /// Operations that were submitted and that the kernel has not returned.
  package private(set) var heldCount = 0
  /// Whoever filled it has no more to do with it: it belongs to those who still hold it.
  var isAbandoned = false

  package init(_ memory: AlignedMemory) {
    self.memory = memory
  }

  /// Maps fresh zeroed pages.
  ///
  /// Nil when the machine is out of memory.
  package convenience init?(byteCount: Int, prefersHugePages: Bool = false) {
    guard
      let memory = AlignedMemory(byteCount: byteCount, prefersHugePages: prefersHugePages)
    else { return nil }
    self.init(memory)
  }

  /// All of it.
  package var buffer: IOBuffer { memory.buffer }

  /// Whether the memory may be used for something else.
  package var isIdle: Bool { heldCount == 0 }

  func operationSubmitted() { heldCount += 1 }

  func operationReturned() {
    precondition(heldCount > 0, "a buffer came back more often than it went")
    heldCount -= 1
  }
}

/// Buffers of one size that are used again when no operation refers to them.
package final class OwnedBufferPool {
  package let byteCount: Int
  private let idleCountMax: Int
  private var idle: [OwnedBuffer] = []

  /// A pool that keeps up to `idleCountMax` buffers; what is given beyond it is freed.
  package init(byteCount: Int, idleCountMax: Int) {
    precondition(byteCount > 0)
    self.byteCount = byteCount
    self.idleCountMax = idleCountMax
  }

  /// A buffer that nobody else uses.
  ///
  /// - Returns: nil when the machine is out of memory.
  package func take() -> OwnedBuffer? {
    guard let buffer = idle.popLast() else { return OwnedBuffer(byteCount: byteCount) }
    buffer.isAbandoned = false
    return buffer
  }

  /// Takes a buffer back.
  ///
  /// One that a member still holds is left to that member's operations.
  package func give(_ buffer: OwnedBuffer) {
    precondition(buffer.buffer.byteCount >= byteCount)
    guard buffer.isIdle, idle.count < idleCountMax else { return }
    idle.append(buffer)
  }
}
