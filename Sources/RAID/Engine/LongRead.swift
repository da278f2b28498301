import IO
import Volumes

/// A buffer for a long read; lent to whoever sends what was read.
// Safe: an array and all who use it run on one machine's thread.
final class LongRead: LentMemory, @unchecked Sendable {
  private(set) var memory: OwnedBuffer
  private(set) var bytes: IOBuffer
  // Weak, because the lender keeps those that lie idle.
  private weak var lender: LongReads?

  init(_ memory: OwnedBuffer, of lender: LongReads) {
    self.memory = memory
    self.lender = lender
    bytes = memory.buffer
  }

  /// Notes what was found, and in which memory: not its own where a member may still write to that.
  func note(_ found: OwnedBuffer, _ offsetBytes: Int, _ byteCount: Int) {
    memory = found
    bytes = found.buffer.slice(offsetBytes, byteCount)
  }

  func giveBack() { lender?.takeBack(self) }
}

/// The buffers of long reads: a few, because each is large.
final class LongReads {
  private let byteCount: Int
  private let countMax: Int
  private(set) var takenCount = 0
  private var idle: [LongRead] = []

  init(byteCount: Int, countMax: Int) {
    self.byteCount = byteCount
    self.countMax = countMax
  }

  /// A buffer that nobody else uses.
  ///
  /// - Returns: nil when all are in use, or the machine is out of memory.
  func take() -> LongRead? {
    guard takenCount < countMax, let read = idle.popLast() ?? make() else { return nil }
    takenCount += 1
    return read
  }

  private func make() -> LongRead? {
    OwnedBuffer(byteCount: byteCount).map { LongRead($0, of: self) }
  }

  /// What a member still has is left to its operations; what took its place is freed.
  fileprivate func takeBack(_ read: LongRead) {
    precondition(takenCount > 0, "a long read came back more often than it went")
    takenCount -= 1
    if read.memory.isIdle, read.memory.buffer.byteCount == byteCount { idle.append(read) }
  }
}
