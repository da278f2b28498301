import DiskFormat
import Testing

@testable import Replication

/// Every pair of short histories that two nodes can have, held against what was really written.
@Suite("Replication: who has what")
struct TimelineComparisonTests {
  /// One step of a node's past.
  private enum Step: Equatable {
    case record(UInt32)
    case timeline(UInt64)
  }

  /// A node that remembers everything, so that the truth can be told.
  private struct Node: Equatable {
    var steps: [Step] = [.timeline(1)]

    var records: [UInt32] {
      steps.compactMap { if case .record(let content) = $0 { content } else { nil } }
    }

    /// The chain behind the first so many records.
    func chain(_ count: Int) -> UInt32 {
      records.prefix(count).reduce(7) { $0 &* 31 &+ $1 &+ 1 }
    }

    var history: TimelineHistory? {
      var timelines: [Timeline] = []
      var count = 0
      for step in steps {
        switch step {
        case .record: count += 1
        case .timeline(let id):
          let start = StreamPosition(number: UInt64(count), chain: chain(count))
          timelines.append(Timeline(timelineID: Identifier(high: 0, low: id), start: start))
        }
      }
      return TimelineHistory(
        timelines: timelines,
        position: StreamPosition(number: UInt64(count), chain: chain(count)))
    }
  }

  /// All ways to go on by up to `length` steps; what is written and begun here is marked by `origin`.
  private func continuations(_ node: Node, _ length: Int, origin: UInt32) -> [Node] {
    guard length > 0 else { return [node] }
    var found = [node]
    for choice in 0..<2 as Range<UInt32> {
      var next = node
      let number = UInt32(node.steps.count)
      next.steps.append(
        choice == 0 ? .record(origin * 100 + number) : .timeline(UInt64(origin * 100 + number)))
      found += continuations(next, length - 1, origin: origin)
    }
    return found
  }

  private func verdict(_ mine: Node, _ theirs: Node) throws -> TimelineVerdict {
    let comparison = TimelineComparison(
      mine: try #require(mine.history), theirs: try #require(theirs.history))
    guard let number = comparison.commonNumber else {
      return comparison.verdict(myChain: nil, theirChain: nil)
    }
    return comparison.verdict(
      myChain: mine.chain(Int(number)), theirChain: theirs.chain(Int(number)))
  }

  @Test("every pair of histories with a common past is told for what it is")
  func allPairs() throws {
    var count = 0
    for shared in continuations(Node(), 3, origin: 1) {
      let left = continuations(shared, 3, origin: 2)
      let right = continuations(shared, 3, origin: 3)
      for (mine, theirs) in left.flatMap({ mine in right.map { (mine, $0) } }) {
        count += 1
        let found = try verdict(mine, theirs)
        let common = UInt64(shared.records.count)
        switch (mine == shared, theirs == shared) {
        case (true, true): #expect(found == .inStep)
        case (true, false): #expect(found == .behind)
        case (false, true):
          let start = StreamPosition(number: common, chain: shared.chain(Int(common)))
          #expect(found == .ahead(of: start))
        case (false, false):
          guard case .diverged(let after) = found else {
            Issue.record("\(mine.steps) and \(theirs.steps) are \(found)")
            continue
          }
          // Never more than they really share: what is behind that may be lost or overwritten.
          #expect(after <= common, "\(mine.steps) and \(theirs.steps)")
        }
      }
    }
    #expect(count == 15 * 15 * 15)
  }

  @Test("an equal number with another chain is a fork, and so is a chain that is not known (C1)")
  func chains() throws {
    var mine = Node()
    mine.steps += [.record(1), .record(2)]
    var theirs = Node()
    theirs.steps += [.record(1), .record(3)]
    #expect(try verdict(mine, theirs) == .diverged(after: 0))
    let comparison = TimelineComparison(
      mine: try #require(mine.history), theirs: try #require(theirs.history))
    #expect(comparison.verdict(myChain: nil, theirChain: 5) == .diverged(after: 0))
    #expect(comparison.verdict(myChain: 5, theirChain: nil) == .diverged(after: 0))
  }

  @Test("nodes without a timeline in common are unrelated, whatever their numbers are")
  func strangers() throws {
    let other = TimelineHistory(
      timelines: [
        Timeline(
          timelineID: Identifier(high: 0, low: 9), start: StreamPosition(number: 0, chain: 7))
      ], position: StreamPosition(number: 0, chain: 7))
    let comparison = TimelineComparison(
      mine: try #require(Node().history), theirs: try #require(other))
    #expect(comparison.commonNumber == nil)
    #expect(comparison.verdict(myChain: 7, theirChain: 7) == .unrelated)
  }

  @Test("a list whose oldest timelines were forgotten is compared by the others")
  func forgotten() throws {
    var shared = Node()
    shared.steps += [.record(1), .timeline(2), .record(2)]
    let whole = try #require(shared.history)
    let short = try #require(
      TimelineHistory(timelines: [whole.timelines[1]], position: whole.position))
    let comparison = TimelineComparison(mine: whole, theirs: short)
    #expect(comparison.commonNumber == 2)
    let chain = shared.chain(2)
    #expect(comparison.verdict(myChain: chain, theirChain: chain) == .inStep)
  }

  @Test("lists that no node can have are refused")
  func impossible() {
    let zero = StreamPosition(number: 0, chain: 0)
    let five = StreamPosition(number: 5, chain: 1)
    func timeline(_ id: UInt64, _ start: StreamPosition) -> Timeline {
      Timeline(timelineID: Identifier(high: 0, low: id), start: start)
    }
    #expect(TimelineHistory(timelines: [], position: zero) == nil)
    #expect(TimelineHistory(timelines: [timeline(1, five)], position: zero) == nil)
    #expect(
      TimelineHistory(timelines: [timeline(1, five), timeline(2, zero)], position: five) == nil)
    #expect(
      TimelineHistory(timelines: [timeline(1, zero), timeline(1, zero)], position: five) == nil)
    let other = StreamPosition(number: 5, chain: 2)
    #expect(TimelineHistory(timelines: [timeline(1, five)], position: other) == nil)
  }
}
