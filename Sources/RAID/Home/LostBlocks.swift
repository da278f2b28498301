import DiskFormat
import Geometry

/// Blocks of the array that were found beyond redundancy and have not been written since.
///
/// What the array tells of data that it cannot give back: found by reads, by destages and by
/// recovery. Blocks that nobody met are not in it; finding those is a scrub's work.
struct LostBlocks {
  /// More than these are not remembered one by one: then the count is a lower bound.
  static let countMax = 4096
  private(set) var blocks: Set<UInt64> = []
  private(set) var isFull = false

  var isEmpty: Bool { blocks.isEmpty }

  /// - Returns: whether the block was not known to be lost, and is now.
  mutating func insert(_ block: UInt64) -> Bool {
    guard blocks.count < Self.countMax else {
      isFull = isFull || !blocks.contains(block)
      return false
    }
    return blocks.insert(block).inserted
  }

  /// The block has been written or trimmed, or can be read again.
  mutating func remove(_ block: UInt64) {
    if !blocks.isEmpty { blocks.remove(block) }
  }

  mutating func removeAll(where isGone: (UInt64) -> Bool) {
    for block in blocks where isGone(block) { blocks.remove(block) }
  }
}

extension ArrayParts {
  /// A block is beyond redundancy, now that nobody has had time to change that.
  func noteLost(_ block: UInt64, _ cause: String = "is beyond redundancy") {
    guard lostBlocks.insert(block) else { return }
    events.noteLost(
      block: block, "block \(block) \(cause): reads of it fail until it is written")
  }

  /// Takes down what an image says of its row's data.
  ///
  /// - Precondition: nobody else changes the row meanwhile.
  func noteReadability(_ image: RowImage, row: UInt64) {
    for position in 0..<geometry.dataCount {
      let block = geometry.block(ofRow: row, position: position)
      let isKnown =
        geometry.isMirrored
        ? image.parts.contains { $0 == .good || $0 == .zeros } : image.isKnown(position)
      if isKnown && image.entries[position].state != .lost {
        lostBlocks.remove(block)
      } else {
        noteLost(block)
      }
    }
  }

  /// A trim of the whole page is home.
  func forgetLost(inPage page: UInt64) {
    lostBlocks.removeAll {
      placement.page(ofRow: geometry.rowPosition(ofBlock: $0).row) == page
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
    let page = placement.page(ofRow: geometry.rowPosition(ofBlock: block).row)
    return index[block] == nil && index.trimmedPages[page] == nil
  }
}
