import DiskFormat
import Geometry

/// Blocks of the array that could not be read, and that nobody has written or read since.
///
/// What the array tells of data that it cannot give back now: met by reads, by destages and by
/// recovery. Blocks that nobody met are not in it; finding those is a scrub's work.
struct LostBlocks {
  /// So many are remembered, one by one.
  static let countMax = 16384
  private(set) var blocks: Set<UInt64> = []
  /// There were more; as nobody knows which, that stays so.
  private(set) var hasMore = false

  var isEmpty: Bool { blocks.isEmpty && !hasMore }

  /// - Returns: whether that is news.
  mutating func insert(_ block: UInt64) -> Bool {
    guard blocks.count < Self.countMax else {
      guard !blocks.contains(block) else { return false }
      defer { hasMore = true }
      return !hasMore
    }
    return blocks.insert(block).inserted
  }

  /// The block has been written or trimmed, or can be read again.
  mutating func remove(_ block: UInt64) {
    if !blocks.isEmpty { blocks.remove(block) }
  }

  mutating func remove(_ range: Range<UInt64>) {
    guard !blocks.isEmpty else { return }
    if range.count < blocks.count {
      for block in range { blocks.remove(block) }
    } else {
      for block in blocks where range.contains(block) { blocks.remove(block) }
    }
  }
}

extension ArrayParts {
  /// A block cannot be read, and nobody has had time to change that since this was found.
  ///
  /// Where too few members answer to serve at all, that is what is wrong, and not the block (D4).
  func noteLost(_ block: UInt64, _ cause: String = "is beyond redundancy") {
    guard (try? checkServing()) != nil, lostBlocks.insert(block) else { return }
    events.noteLost(
      block: block, "block \(block) \(cause): reads of it fail until it is written")
  }

  /// Whether what lies at home of a block no longer counts: something newer is in the log.
  ///
  /// Without parity a crash leaves it torn, and nobody settles it: it is written again.
  func isSuperseded(_ block: UInt64) -> Bool {
    let page = placement.page(ofRow: geometry.rowPosition(ofBlock: block).row)
    return index[block] != nil || index.trimmedPages[page] != nil
  }

  /// Takes off the list what an image of the row could give.
  ///
  /// - Precondition: nobody else changes the row meanwhile.
  func noteReadable(_ image: RowImage, row: UInt64) {
    guard !lostBlocks.isEmpty else { return }
    for position in 0..<geometry.dataCount where image.entries[position].state != .lost {
      let isKnown =
        geometry.isMirrored
        ? image.parts.contains { $0 == .good || $0 == .zeros } : image.isKnown(position)
      if isKnown { lostBlocks.remove(geometry.block(ofRow: row, position: position)) }
    }
  }

  /// A trim of the whole page is home.
  func forgetLost(inPage page: UInt64) {
    guard !lostBlocks.isEmpty else { return }
    for row in placement.rows(ofPage: page) {
      for position in 0..<geometry.dataCount {
        lostBlocks.remove(geometry.block(ofRow: row, position: position))
      }
    }
  }

  /// A member is back: what could not be read without it is looked at again.
  func recheckLostBlocks() {
    // In order: a set's own differs from run to run.
    let rows = Set(lostBlocks.blocks.map { geometry.rowPosition(ofBlock: $0).row })
    for row in rows.sorted() { requestHeal(row) }
  }

  /// The blocks that read as EIO now, as far as they were met, in order and in runs.
  var lostRuns: [BlockRun] {
    guard !lostBlocks.isEmpty else { return [] }
    var runs = lostBlocks.blocks.filter(isStillLost).map {
      BlockRun(firstBlock: $0, blockCount: 1)
    }
    runs.coarsen(to: .max)
    return runs
  }

  /// What was written or trimmed since is not home at once.
  private func isStillLost(_ block: UInt64) -> Bool {
    !isSuperseded(block)
  }
}
