import DiskFormat
import IO

/// What recovery sees of one member's log: a piece of it in memory, and how far it has come.
final class LogWindow {
  /// A header that was looked for.
  enum Header {
    case unknown
    case none
    case found(LogBatch)

    var batch: LogBatch? { if case .found(let batch) = self { batch } else { nil } }
  }

  let slot: Int
  let regionBytes: UInt64
  /// The superblock's checkpoint: what is behind it begins at the first cursor.
  let checkpointSequence: UInt64
  /// Where this member's next batch begins, or at 0 where it did not fit here.
  var cursor: UInt64 {
    didSet { atCursor = .unknown }
  }
  var atCursor = Header.unknown
  var atStart = Header.unknown

  private(set) var memory: OwnedBuffer
  private(set) var start: UInt64 = 0
  private(set) var byteCount = 0

  static var readBytes: Int { 1 << 20 }

  init?(_ member: LogStart.Member, regionBytes: UInt64) {
    guard let memory = OwnedBuffer(byteCount: Self.readBytes) else { return nil }
    slot = member.slot
    checkpointSequence = member.checkpointSequence
    self.regionBytes = regionBytes
    let isPossible = member.tailOffset < regionBytes && member.tailOffset % 4096 == 0
    cursor = isPossible ? member.tailOffset : 0
    self.memory = memory
  }

  /// The batches that may come next on this member.
  var candidates: [LogBatch] { [atCursor.batch, atStart.batch].compactMap(\.self) }

  /// Whether a range may lie in the region at all.
  func isPossible(_ offset: UInt64, _ count: Int) -> Bool {
    count >= 0 && offset <= regionBytes && UInt64(count) <= regionBytes - offset
  }

  func contains(_ offset: UInt64, _ count: Int) -> Bool {
    offset >= start && offset - start <= UInt64(byteCount)
      && count <= byteCount - Int(offset - start)
  }

  /// - Precondition: the window contains the range.
  func view(_ offset: UInt64, _ count: Int) -> IOBuffer {
    precondition(contains(offset, count))
    let buffer = memory.buffer
    return buffer.slice(Int(offset - start), count)
  }

  /// Moves the window so that it begins at `offset`, keeps what it has of that, and makes room.
  ///
  /// - Returns: the memory to be filled, and the offset of its content; nil without memory.
  func slide(to offset: UInt64, _ count: Int) -> (buffer: IOBuffer, offset: UInt64)? {
    let wanted = max(count, Int(min(UInt64(Self.readBytes), regionBytes - offset)))
    let kept = contains(offset, 0) ? byteCount - Int(offset - start) : 0
    let source = kept > 0 ? view(offset, kept) : nil
    if !memory.isIdle || memory.buffer.byteCount < wanted {
      guard let larger = OwnedBuffer(byteCount: wanted) else { return nil }
      if let source { larger.buffer.copy(from: source) }
      memory = larger
    } else if let source {
      let buffer = memory.buffer
      buffer.copy(from: source)
    }
    start = offset
    byteCount = kept
    guard wanted > kept else { return nil }
    let buffer = memory.buffer
    return (buffer.slice(kept, wanted - kept), offset + UInt64(kept))
  }

  /// What `slide` gave is filled.
  func fill(_ count: Int) { byteCount += count }

  /// Nothing in memory counts.
  func forget() { byteCount = 0 }
}
