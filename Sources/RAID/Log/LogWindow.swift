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
  private let capacity: Int
  /// What is being read behind the content, while that is looked at.
  private(set) var ahead: (group: OperationGroup, byteCount: Int)?
  /// Reading ahead has failed: from now on only what is asked for is read.
  var isPoorlyReadable = false

  static var readBytes: Int { 1 << 20 }

  /// A window whose memory is its share, where so many are looked at together.
  init?(_ member: LogStart.Member, regionBytes: UInt64, windowCount: Int) {
    let share = max(3 * Self.readBytes, min(8, 32 / max(1, windowCount)) * Self.readBytes)
    capacity = Int(min(UInt64(share), max(4096, regionBytes)))
    guard let memory = OwnedBuffer(byteCount: capacity) else { return nil }
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

  /// Makes room behind what the window has from `offset` on, which it keeps; the rest may go.
  ///
  /// - Precondition: nothing is read ahead.
  /// - Returns: the memory to be filled so that `count` bytes are there, and more while at it, and
  ///   the offset of its content; nil without memory.
  func slide(to offset: UInt64, _ count: Int) -> (buffer: IOBuffer, offset: UInt64)? {
    precondition(ahead == nil)
    let wanted = max(count, Int(min(UInt64(Self.readBytes), regionBytes - offset)))
    let kept = contains(offset, 0) ? byteCount - Int(offset - start) : 0
    guard wanted > kept else { return nil }
    let isIdle = memory.isIdle && memory.buffer.byteCount >= wanted
    if !isIdle || kept == 0 || byteCount + wanted - kept > memory.buffer.byteCount {
      guard move(to: offset, kept, wanted, isIdle) else { return nil }
    }
    let buffer = memory.buffer
    return (buffer.slice(byteCount, wanted - kept), start + UInt64(byteCount))
  }

  /// Brings what is kept to the front, of other memory where this is in use or too small.
  private func move(to offset: UInt64, _ kept: Int, _ wanted: Int, _ isIdle: Bool) -> Bool {
    let source = kept > 0 ? view(offset, kept) : nil
    if !isIdle {
      guard let other = OwnedBuffer(byteCount: max(capacity, wanted)) else { return false }
      if let source { other.buffer.copy(from: source) }
      memory = other
    } else if let source {
      let buffer = memory.buffer
      buffer.copy(from: source)
    }
    start = offset
    byteCount = kept
    return true
  }

  /// What can be read behind the content while that from `offset` on is looked at.
  ///
  /// - Returns: nil where there is enough, or no room, or nothing that is known to follow.
  func gapAhead(keepingFrom offset: UInt64) -> (buffer: IOBuffer, offset: UInt64)? {
    guard ahead == nil, !isPoorlyReadable, memory.isIdle, contains(offset, 0) else { return nil }
    let kept = byteCount - Int(offset - start)
    let end = start + UInt64(byteCount)
    let count = Int(min(UInt64(Self.readBytes), regionBytes - end))
    guard count > 0, kept < Self.readBytes, kept + count <= memory.buffer.byteCount else {
      return nil
    }
    if byteCount + count > memory.buffer.byteCount {
      guard move(to: offset, kept, kept, true) else { return nil }
    }
    let buffer = memory.buffer
    return (buffer.slice(byteCount, count), end)
  }

  /// Something is being read behind the content.
  func beginAhead(_ group: OperationGroup, _ byteCount: Int) { ahead = (group, byteCount) }

  /// It has been read, or not.
  func endAhead() { ahead = nil }

  /// What `slide` gave is filled.
  func fill(_ count: Int) { byteCount += count }

  /// Nothing in memory counts.
  func forget() { byteCount = 0 }
}
