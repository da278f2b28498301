import DiskFormat

extension [BlockRun] {
  /// Sorts and merges runs, and bridges the smallest gaps until `countMax` are left.
  ///
  /// The result covers at least what was there: it may only name too much (rule L7).
  mutating func coarsen(to countMax: Int) {
    guard count > 1 else { return }
    sort { $0.firstBlock < $1.firstBlock }
    join(acrossGapsUpTo: 0)
    guard count > countMax else { return }
    var gaps = (1..<count).map { self[$0].firstBlock - self[$0 - 1].endBlock }
    gaps.sort()
    join(acrossGapsUpTo: gaps[count - countMax - 1])
  }

  private mutating func join(acrossGapsUpTo gapMax: UInt64) {
    var last = 0
    for index in 1..<count {
      let next = self[index]
      let end = self[last].endBlock
      if next.firstBlock <= end || next.firstBlock - end <= gapMax {
        self[last].blockCount = Swift.max(end, next.endBlock) - self[last].firstBlock
      } else {
        last += 1
        self[last] = next
      }
    }
    removeSubrange((last + 1)...)
  }
}

extension BlockRun {
  package var endBlock: UInt64 { firstBlock + blockCount }
}
