import RAID

/// Where a rebuild or a scrub stands that somebody waits for.
///
/// Pure, of a status: the commands only ask again and again.
package enum UpkeepStanding: Equatable, Sendable {
  /// It goes on, and how far it is.
  case working(PassReport, String)
  /// It is about to begin.
  case pending(String)
  /// It does not go on by itself.
  case paused(String)
  /// It has come to its end and all is well.
  case clean(String)
  /// It has come to its end, and something was found, or is still missing.
  case found(String)
  /// It has not come to its end.
  case unfinished(String)

  /// What a script is told.
  package var exitCode: Int32 {
    switch self {
    case .clean: ExitCode.success
    case .found: ExitCode.failure
    case .working, .pending, .paused, .unfinished: ExitCode.unfinished
    }
  }

  /// What a person is told.
  package var words: String {
    switch self {
    case .working(_, let words), .pending(let words), .paused(let words), .clean(let words),
      .found(let words), .unfinished(let words):
      words
    }
  }

  /// How long somebody who waits looks away, so long after the first look: a short pass is not paid
  /// for with a long wait, and a long one costs few looks.
  package static func pauseMilliseconds(afterNanoseconds elapsed: UInt64) -> Int32 {
    Int32(clamping: min(500, max(10, elapsed / 64_000_000)))
  }

  /// In a word, for programs.
  package var name: String {
    switch self {
    case .working: "working"
    case .pending: "pending"
    case .paused: "paused"
    case .clean: "clean"
    case .found: "found"
    case .unfinished: "unfinished"
    }
  }

  /// Where the rebuild of an array stands.
  package static func rebuild(_ array: ArrayReport) -> UpkeepStanding {
    if let rebuild = array.upkeep.rebuild {
      let words = "rebuilding \(PassText.targetWords(rebuild))"
      return rebuild.pass.isPaused
        ? .paused("\(words): paused; --resume goes on") : .working(rebuild.pass, words)
    }
    let isSyncing = array.members.contains { $0.state == .syncing }
    let isReplacing = array.upkeep.reserves.contains { $0.targetSlot != nil && $0.cause.isEmpty }
    if isSyncing || isReplacing {
      return array.upkeep.isRebuildPaused
        ? .paused("the rebuild has not begun: paused; --resume goes on")
        : .pending("the rebuild has not begun yet")
    }
    let absent = array.members.filter { $0.state != .current }
    if array.upkeep.isResyncHeld, absent.contains(where: { $0.state == .out && !$0.isFailed }) {
      return .paused(
        "members are out, and --no-resync holds them back; --resume brings up to date those that "
          + "can be")
    }
    guard absent.isEmpty else {
      let slots = absent.map {
        "slot \($0.slot) (\($0.isFailed ? "failed by an operator" : $0.state.rawValue))"
      }
      return .found(
        "nothing is being rebuilt, and \(slots.joined(separator: ", ")) "
          + "\(absent.count == 1 ? "is" : "are") not up to date: 'ashlar status' tells why, 'ashlar "
          + "member add' or 'replace' fills a slot")
    }
    guard array.lostBlockCount == 0, !array.hasMoreLost else {
      return .found("all members are up to date, but blocks are lost: see 'ashlar status'")
    }
    return .clean("all members are up to date")
  }

  /// Where a scrub stands that was begun, or under way, at a certain time.
  ///
  /// - Parameters:
  ///   - array: as it is now.
  ///   - previous: the newest record of before.
  ///   - sinceUnixSeconds: when waiting began.
  /// - Returns: `unfinished` also when nothing tells of it.
  package static func scrub(
    _ array: ArrayReport, previous: ScrubRecordReport?, sinceUnixSeconds: UInt64
  ) -> UpkeepStanding {
    if let scrub = array.upkeep.scrub {
      let words = "\(scrub.kind): \(PassText.foundWords(scrub.counts))"
      return scrub.pass.isPaused
        ? .paused("\(words): paused; --resume goes on") : .working(scrub.pass, words)
    }
    guard let record = array.upkeep.scrubHistory.last,
      record != previous || record.endedUnixSeconds >= sinceUnixSeconds
    else { return .unfinished("the scrub is gone, and nothing tells how it ended") }
    let words = "\(record.kind) \(record.ending): \(PassText.foundWords(record.counts))"
    guard record.ending == ScrubRecordReport.completed else { return .unfinished(words) }
    return record.counts.found == 0 ? .clean(words) : .found(words)
  }
}

extension ScrubRecordReport {
  /// The ending of a scrub that has seen everything.
  package static let completed = "completed"
}
