import IO

/// What has been received and not yet consumed: `memory[start..<end]`.
final class ReceiveBuffer {
  /// Enough for what a busy server answers in one go.
  static let byteCount = 256 << 10

  private let memory: AlignedMemory
  private(set) var start = 0
  private(set) var end = 0

  init?() {
    guard let memory = AlignedMemory(byteCount: Self.byteCount) else { return nil }
    self.memory = memory
  }

  /// All of it; what counts lies from `start` to `end`.
  var whole: IOBuffer { memory.buffer }
  var count: Int { end - start }
  var unconsumed: IOBuffer { memory.buffer.slice(start, end - start) }
  var room: IOBuffer { memory.buffer.dropFirst(end) }

  func consume(_ count: Int) {
    precondition(count >= 0 && count <= end - start)
    start += count
    if start == end {
      start = 0
      end = 0
    }
  }

  /// Counts bytes that were received into the room.
  func append(_ count: Int) {
    precondition(count >= 0 && count <= memory.buffer.byteCount - end)
    end += count
  }

  /// Moves what is left to the front, so that there is room behind it.
  func compact() {
    guard start > 0 else { return }
    let rest = unconsumed
    memory.buffer.prefix(rest.byteCount).copy(from: rest)
    end = rest.byteCount
    start = 0
  }
}
