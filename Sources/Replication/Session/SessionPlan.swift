import DiskFormat

/// What two nodes do on a connection, when each knows what both are.
package enum SessionPlan: Equatable, Sendable {
  /// This node is the primary: the other takes its records, or a copy.
  case feed
  /// This node takes the other's records, or a copy.
  case follow
  /// This node is the primary and lost the end of its log in a crash: the other has it.
  case fetchTail
  /// The same, seen from the other.
  case giveTail
  /// Nothing.
  case refuse(Refusal)

  /// Decides by the hellos of both, and by what their histories are to each other.
  ///
  /// Both sides come to the same: where one feeds, the other follows.
  package static func decide(
    mine: Hello, theirs: Hello, verdict: TimelineVerdict
  ) -> SessionPlan {
    guard mine.blockCount == theirs.blockCount else {
      return .refuse(
        Refusal(
          code: .wrongSize, firstNumber: mine.blockCount, secondNumber: theirs.blockCount,
          words: "the devices differ in size: \(mine.blockCount) and \(theirs.blockCount) blocks"))
    }
    switch (mine.role, theirs.role) {
    case (.primary, .primary): return betweenPrimaries(verdict)
    case (.primary, _): return asPrimary(mine, theirs, verdict)
    case (_, .primary):
      switch asPrimary(theirs, mine, verdict.seenFromTheOther) {
      case .feed: return .follow
      case .fetchTail: return .giveTail
      case let other: return other
      }
    default:
      return .refuse(
        Refusal(code: .notReplica, words: "neither node is a primary: promote one of them"))
    }
  }

  private static func asPrimary(
    _ primary: Hello, _ replica: Hello, _ verdict: TimelineVerdict
  ) -> SessionPlan {
    if replica.flags.contains(.isEmpty) { return .feed }
    guard replica.role == .replica else {
      return .refuse(
        Refusal(
          code: .notReplica,
          words: "the other node has data of its own and is no replica: "
            + "only an empty array becomes one"))
    }
    switch verdict {
    case .unrelated: return .refuse(Refusal(code: .unrelated, words: unrelatedWords))
    // What is there counts for nothing: it is copied.
    case _ where !replica.flags.contains(.isConsistent): return .feed
    case .inStep, .ahead: return .feed
    case .behind:
      guard primary.flags.contains(.isOpen) else { return .fetchTail }
      return .refuse(
        Refusal(
          code: .diverged, firstNumber: primary.position.number,
          secondNumber: replica.position.number,
          words: "the replica has records that the primary has not, and the primary serves already")
      )
    case .diverged(let number):
      return .refuse(
        Refusal(
          code: .diverged, firstNumber: number, secondNumber: replica.position.number,
          words: "the replica has records behind number \(number) that are not the primary's"))
    }
  }

  private static func betweenPrimaries(_ verdict: TimelineVerdict) -> SessionPlan {
    switch verdict {
    case .ahead: return .feed
    case .behind: return .follow
    case .inStep:
      return .refuse(
        Refusal(code: .diverged, words: "both nodes are primaries of one timeline"))
    case .diverged(let number):
      return .refuse(
        Refusal(
          code: .diverged, firstNumber: number,
          words: "both nodes are primaries, and have different records behind number \(number)"))
    case .unrelated: return .refuse(Refusal(code: .unrelated, words: unrelatedWords))
    }
  }

  private static let unrelatedWords = "the nodes do not hold the same device"
}

extension TimelineVerdict {
  /// What the other node says of the same.
  ///
  /// Where this node's position is asked for, it does not matter to a plan.
  var seenFromTheOther: TimelineVerdict {
    switch self {
    case .behind: .ahead(of: StreamPosition(number: 0, chain: 0))
    case .ahead: .behind
    case .inStep, .diverged, .unrelated: self
    }
  }
}
