/// Which blocks of a region a pass has used: one bit each, and 1/63 of that above.
///
/// For blocks of different sizes, where what is left cannot be computed. A level has one bit for
/// each word of the level below, set when that word is full, so that a free block is found in a
/// few steps even when a billion are used.
struct BlockMap: Sendable {
  let count: UInt64
  private(set) var freeCount: UInt64
  /// Level 0 has the blocks; the last level is a single word.
  private var levels: [[UInt64]]

  /// All blocks free.
  ///
  /// - Precondition: `count` is from 1 to `countMax`.
  init(count: UInt64) {
    precondition(count > 0 && count <= Self.countMax)
    self.count = count
    freeCount = count
    levels = []
    var bits = Int(count)
    repeat {
      let words = (bits + 63) / 64
      levels.append([UInt64](repeating: 0, count: words))
      bits = words
    } while bits > 1
    closeEnds()
  }

  /// 1 GiB of bits: 32 TiB in blocks of 4 KiB.
  static let countMax: UInt64 = 1 << 33

  /// Frees every block.
  mutating func removeAll() {
    for level in levels.indices {
      for word in levels[level].indices { levels[level][word] = 0 }
    }
    freeCount = count
    closeEnds()
  }

  /// Marks the bits behind the end of each level, which stand for nothing, as used.
  private mutating func closeEnds() {
    var bits = Int(count)
    for level in levels.indices {
      let last = levels[level].count - 1
      if bits % 64 != 0 { levels[level][last] = ~0 << UInt64(bits % 64) }
      bits = levels[level].count
    }
  }

  func isUsed(_ block: UInt64) -> Bool {
    precondition(block < count)
    return levels[0][Int(block / 64)] >> (block % 64) & 1 == 1
  }

  /// Marks a block as used.
  ///
  /// - Precondition: it is free.
  mutating func use(_ block: UInt64) {
    precondition(!isUsed(block))
    freeCount -= 1
    var index = Int(block)
    for level in levels.indices {
      levels[level][index / 64] |= 1 << UInt64(index % 64)
      guard levels[level][index / 64] == ~0 else { return }
      index /= 64
    }
  }

  /// The first free block from `start` on, going round at the end.
  ///
  /// - Returns: nil when none is free.
  func nextFree(from start: UInt64) -> UInt64? {
    precondition(start < count)
    guard freeCount > 0 else { return nil }
    return firstFree(from: Int(start)) ?? firstFree(from: 0)
  }

  /// Up to where the word of `start` offers nothing, goes up; then down to the block found.
  private func firstFree(from start: Int) -> UInt64? {
    var level = 0
    var index = start
    while true {
      guard index / 64 < levels[level].count else { return nil }
      let free = ~levels[level][index / 64] & (~0 << UInt64(index % 64))
      if free != 0 {
        index = index / 64 * 64 + free.trailingZeroBitCount
        break
      }
      level += 1
      guard level < levels.count else { return nil }
      index = index / 64 + 1
    }
    while level > 0 {
      level -= 1
      index = index * 64 + (~levels[level][index]).trailingZeroBitCount
    }
    return UInt64(index)
  }
}
