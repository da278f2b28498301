package import IO

/// Cuts a stream of bytes into lines, in a buffer of fixed size.
package final class LineBuffer {
  private let memory: AlignedMemory
  private let capacity: Int
  private var start = 0
  private var end = 0
  /// From `start` up to here there is no newline.
  private var searched = 0

  /// Makes a buffer for lines of at most this many bytes, newline included.
  ///
  /// - Returns: nil when there is no memory.
  package init?(byteCountMax: Int) {
    precondition(byteCountMax > 0)
    guard let memory = AlignedMemory(byteCount: byteCountMax) else { return nil }
    self.memory = memory
    self.capacity = byteCountMax
  }

  /// Where the next bytes go; nil when a line has filled the buffer and has not ended.
  ///
  /// - Precondition: `nextLine` has returned nil since the last `grow`.
  package var vacant: IOBuffer? {
    precondition(searched == end)
    return end < capacity ? memory.buffer.slice(end, capacity - end) : nil
  }

  /// Tells that the first `count` bytes of `vacant` were filled.
  package func grow(by count: Int) {
    precondition(count >= 0)
    precondition(count <= capacity - end)
    end += count
  }

  /// The next whole line without its newline; nil when there is none yet.
  package func nextLine() -> [UInt8]? {
    while searched < end {
      let found = memory.buffer[searched] == UInt8(ascii: "\n")
      searched += 1
      guard found else { continue }
      let line = (start..<searched - 1).map { memory.buffer[$0] }
      start = searched
      return line
    }
    // What is left goes to the front, so that a line has the whole buffer.
    memory.buffer.copy(from: memory.buffer.slice(start, end - start))
    searched -= start
    end -= start
    start = 0
    return nil
  }
}
