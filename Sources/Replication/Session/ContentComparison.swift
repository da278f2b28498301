package import DiskFormat
package import RAID

/// What two nodes hold in a run of blocks, side by side.
package enum ContentComparison {
  /// How a block differs, seen from the primary.
  package enum Difference: Equatable, Sendable {
    /// The primary cannot read it, and the replica can.
    case unreadableHere
    /// The replica cannot read it, and the primary can.
    case unreadableThere
    case unreadableBoth
    /// Both can read it, and it is not the same.
    case fork
  }

  /// Blocks that differ in the same way.
  package struct Finding: Equatable, Sendable {
    package var difference: Difference
    package var run: BlockRun

    package init(_ difference: Difference, _ run: BlockRun) {
      self.difference = difference
      self.run = run
    }
  }

  /// Lists what differs.
  ///
  /// `zeroHash`: of a block of zeros; what was never written reads as zeros, and is the same as a block
  ///     of them.
  ///
  /// - Precondition: both lists are equally long.
  package static func findings(
    from firstBlock: UInt64, mine: [BlockContent], theirs: [BlockContent], zeroHash: UInt64
  ) -> [Finding] {
    precondition(mine.count == theirs.count)
    var findings: [Finding] = []
    for index in mine.indices {
      guard let difference = difference(mine[index], theirs[index], zeroHash) else { continue }
      let block = firstBlock + UInt64(index)
      if let last = findings.last, last.difference == difference,
        last.run.firstBlock + last.run.blockCount == block,
        last.run.blockCount < UInt64(Blocks.blockCountMax)
      {
        findings[findings.count - 1].run.blockCount += 1
      } else {
        findings.append(Finding(difference, BlockRun(firstBlock: block, blockCount: 1)))
      }
    }
    return findings
  }

  private static func difference(
    _ mine: BlockContent, _ theirs: BlockContent, _ zeroHash: UInt64
  ) -> Difference? {
    switch (mine, theirs) {
    case (.lost, .lost): .unreadableBoth
    case (.lost, _): .unreadableHere
    case (_, .lost): .unreadableThere
    default: hash(mine, zeroHash) == hash(theirs, zeroHash) ? nil : .fork
    }
  }

  private static func hash(_ content: BlockContent, _ zeroHash: UInt64) -> UInt64 {
    if case .written(let hash) = content { hash } else { zeroHash }
  }
}
