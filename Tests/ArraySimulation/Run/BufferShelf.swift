import IO

/// Buffers that serve one history after another.
///
/// Tasks of a crashed machine are never freed, nor is what they hold; their buffers would be lost
/// with each crash. No operation of a crashed machine touches them any more, so the next life may.
package final class BufferShelf: @unchecked Sendable {
  package static let byteCount = ClientRequest.sectorCountMax * SectorStamp.byteCount
  private var buffers: [AlignedMemory] = []
  private var takenCount = 0

  package init() {}

  /// A buffer that is this caller's until `takeBack`.
  func take() -> AlignedMemory {
    if takenCount == buffers.count {
      guard let memory = AlignedMemory(byteCount: Self.byteCount) else {
        preconditionFailure("no memory for a client's buffer")
      }
      buffers.append(memory)
    }
    takenCount += 1
    return buffers[takenCount - 1]
  }

  /// All buffers are free again.
  func takeBack() { takenCount = 0 }
}
