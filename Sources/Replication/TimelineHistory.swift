package import DiskFormat

/// All that a node knows of where its data comes from.
package struct TimelineHistory: Equatable, Sendable {
  /// The oldest first, and no more than a superblock holds: the oldest may have been forgotten.
  package private(set) var timelines: [Timeline]
  package private(set) var position: StreamPosition

  /// Nil for a list that no node can have: empty, starts that fall, an identifier twice, or a
  /// position before the last start.
  package init?(timelines: [Timeline], position: StreamPosition) {
    guard let last = timelines.last, position.number >= last.start.number else { return nil }
    guard position.number > last.start.number || position.chain == last.start.chain else {
      return nil
    }
    for (index, timeline) in timelines.enumerated() {
      let before = timelines[..<index]
      guard !before.contains(where: { $0.timelineID == timeline.timelineID }) else { return nil }
      guard let previous = before.last else { continue }
      guard previous.start.number <= timeline.start.number else { return nil }
    }
    self.timelines = timelines
    self.position = position
  }

  /// The end of one of its timelines: where the next begins, or the position.
  func end(ofTimeline index: Int) -> StreamPosition {
    index + 1 < timelines.count ? timelines[index + 1].start : position
  }
}

/// What two nodes are to each other, seen from one of them.
package enum TimelineVerdict: Equatable, Sendable {
  /// They have the same records.
  case inStep
  /// This node has all that the other has, and more: the other catches up from there.
  case ahead(of: StreamPosition)
  /// The other has all that this node has, and more.
  case behind
  /// Each has records that the other lacks, or may have: nothing is taken from either without an
  /// operator's word (promise P7). They agree up to the number.
  case diverged(after: UInt64)
  /// No timeline in common: they are not of one origin, or it is forgotten.
  case unrelated
}

/// The comparison of two histories when nodes connect, in two steps: first the question which
/// number both have, then, with both chains there, the verdict.
package struct TimelineComparison: Equatable, Sendable {
  private let mine: TimelineHistory
  private let theirs: TimelineHistory
  /// The newest timeline that both have, in each list.
  private let common: (mine: Int, theirs: Int)?

  package init(mine: TimelineHistory, theirs: TimelineHistory) {
    self.mine = mine
    self.theirs = theirs
    common = Self.newestCommon(mine.timelines, theirs.timelines)
  }

  package static func == (left: Self, right: Self) -> Bool {
    left.mine == right.mine && left.theirs == right.theirs
  }

  /// The number of the last record that both can have in common; nil when they are unrelated.
  ///
  /// Each node looks up its chain there: its own end, or in its log.
  package var commonNumber: UInt64? {
    guard let common else { return nil }
    return min(
      mine.end(ofTimeline: common.mine).number, theirs.end(ofTimeline: common.theirs).number)
  }

  /// Tells what they are to each other.
  ///
  /// - Parameters:
  ///   - myChain: at `commonNumber`; nil when this node does not know it any more.
  ///   - theirChain: the other's.
  /// - Returns: the same on both nodes, seen from this one.
  package func verdict(myChain: UInt32?, theirChain: UInt32?) -> TimelineVerdict {
    guard let common, let number = commonNumber else { return .unrelated }
    let start = mine.timelines[common.mine].start
    // What is not known is not assumed.
    guard let myChain, let theirChain, myChain == theirChain else {
      return .diverged(after: start.number)
    }
    let myEnd = mine.end(ofTimeline: common.mine)
    let theirEnd = theirs.end(ofTimeline: common.theirs)
    let isMineLast = common.mine == mine.timelines.count - 1
    let isTheirsLast = common.theirs == theirs.timelines.count - 1
    switch (isMineLast, isTheirsLast) {
    case (true, true):
      if myEnd.number == theirEnd.number { return .inStep }
      let shared = StreamPosition(number: number, chain: myChain)
      return myEnd.number > theirEnd.number ? .ahead(of: shared) : .behind
    case (false, true):
      // The other ends in this timeline: before the fork, or in records that the fork left out.
      return theirEnd.number <= myEnd.number
        ? .ahead(of: StreamPosition(number: number, chain: myChain)) : .diverged(after: number)
    case (true, false):
      return myEnd.number <= theirEnd.number ? .behind : .diverged(after: number)
    case (false, false):
      // Two successors of one timeline: two primaries.
      return .diverged(after: number)
    }
  }

  private static func newestCommon(
    _ mine: [Timeline], _ theirs: [Timeline]
  ) -> (mine: Int, theirs: Int)? {
    for (index, timeline) in mine.enumerated().reversed() {
      guard let other = theirs.firstIndex(where: { $0.timelineID == timeline.timelineID }) else {
        continue
      }
      // One identifier with two starts is no timeline that two nodes share.
      return theirs[other] == timeline ? (index, other) : nil
    }
    return nil
  }
}
