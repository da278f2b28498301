/// The log region of one member, a ring of batches: each lies in one piece.
///
/// A batch that does not fit between the last one and the region's end begins at 0.
struct MemberRing {
  struct Segment {
    var sequence: UInt64
    var offsetBytes: UInt64
    var byteCount: UInt64
  }

  let byteCount: UInt64
  /// Where the next batch goes, if it fits there.
  private(set) var head: UInt64
  /// The batches behind the checkpoint, in order.
  private(set) var segments = LogQueue<Segment>()

  init(byteCount: UInt64, head: UInt64 = 0) {
    self.byteCount = byteCount
    self.head = head < byteCount ? head : 0
  }

  /// Bytes that no batch occupies; what is lost at the region's end counts as free.
  var freeByteCount: UInt64 {
    guard let tail = segments.first?.offsetBytes else { return byteCount }
    return head > tail ? byteCount - head + tail : tail - head
  }

  var usedByteCount: UInt64 { byteCount - freeByteCount }

  /// Where a batch of this size would go; nil when it does not fit.
  func place(_ size: UInt64) -> UInt64? {
    guard let tail = segments.first?.offsetBytes else {
      if size <= byteCount - head { return head }
      return size <= byteCount ? 0 : nil
    }
    guard head > tail else { return size <= tail - head ? head : nil }
    if size <= byteCount - head { return head }
    return size <= tail ? 0 : nil
  }

  /// Bytes that no batch occupies when one of this size has been placed; 0 when it does not fit.
  ///
  /// One that begins at 0 costs the room between the last one and the region's end as well.
  func freeByteCount(afterPlacing size: UInt64) -> UInt64 {
    guard size > 0 else { return freeByteCount }
    guard let offset = place(size) else { return 0 }
    let end = offset + size
    let tail = segments.first?.offsetBytes ?? offset
    return end > tail ? byteCount - end + tail : tail - end
  }

  /// Takes the room of a batch.
  mutating func append(_ segment: Segment) {
    precondition(segment.offsetBytes + segment.byteCount <= byteCount)
    precondition(segments.last.map { $0.sequence < segment.sequence } ?? true)
    segments.append(segment)
    let end = segment.offsetBytes + segment.byteCount
    head = end < byteCount ? end : 0
  }

  /// Where a batch lies; nil when this member has no copy of it.
  func segment(_ sequence: UInt64) -> Segment? {
    let index = segments.firstIndex { $0.sequence < sequence }
    guard index < segments.count, segments[index].sequence == sequence else { return nil }
    return segments[index]
  }

  /// Gives back the room of every batch up to this one.
  mutating func release(through sequence: UInt64) {
    while let first = segments.first, first.sequence <= sequence { segments.removeFirst() }
  }

  /// Where the first batch behind `sequence` begins, or will.
  func tailOffset(behind sequence: UInt64) -> UInt64 {
    let index = segments.firstIndex { $0.sequence <= sequence }
    return index < segments.count ? segments[index].offsetBytes : head
  }
}
