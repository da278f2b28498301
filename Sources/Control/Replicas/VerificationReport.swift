import RAID

/// A comparison of everything with a replica, as the control socket tells it.
package struct VerificationReport: Equatable, Sendable {
  /// A range that was not the same on both nodes.
  package struct Finding: Equatable, Sendable {
    package var range: ArrayRangeReport
    /// `mended here`, `mended at the replica`, `unreadable`, `different`.
    package var outcome: String
  }

  /// `running`, `complete` or `interrupted`.
  package var state: String
  /// What came of it; empty while it runs.
  package var words: String
  package var pass: PassReport
  package var writtenBlockCount: UInt64
  package var mendedHereCount: UInt64
  package var mendedThereCount: UInt64
  package var unreadableCount: UInt64
  package var forkCount: UInt64
  /// The first of them.
  package var findings: [Finding]
  package var startedUnixSeconds: UInt64
  package var endedUnixSeconds: UInt64?

  /// Blocks that were not the same, whatever became of them.
  package var foundCount: UInt64 {
    [mendedHereCount, mendedThereCount, unreadableCount, forkCount].reduce(0) { sum, count in
      let (total, overflow) = sum.addingReportingOverflow(count)
      return overflow ? .max : total
    }
  }

  /// Where it stands, for who waits for it.
  package var standing: UpkeepStanding {
    switch state {
    case "running": .working(pass, "comparing with the replica")
    case "complete": foundCount == 0 ? .clean(words) : .found(words)
    default: .unfinished("not everything is compared: \(words)")
    }
  }
}

extension VerificationReport {
  init(_ status: VerificationStatus) {
    state = status.state.rawValue
    words = status.words
    pass = PassReport(
      donePages: 0, pages: 0, doneBytes: status.doneBlockCount * 4096,
      byteCount: status.blockCount * 4096, bytesPerSecond: status.bytesPerSecond,
      secondsLeftMin: status.secondsLeft?.lowerBound,
      secondsLeftMax: status.secondsLeft?.upperBound, isPaused: false)
    writtenBlockCount = status.writtenBlockCount
    mendedHereCount = status.mendedHereCount
    mendedThereCount = status.mendedThereCount
    unreadableCount = status.unreadableCount
    forkCount = status.forkCount
    findings = status.findings.map {
      Finding(range: ArrayRangeReport($0.run), outcome: $0.outcome.rawValue)
    }
    startedUnixSeconds = status.startedUnixSeconds
    endedUnixSeconds = status.endedUnixSeconds
  }

  /// The object under `"verify"` of a peer.
  package var json: JSONValue {
    .object(
      pass.members + [
        JSONMember(name: "state", value: .string(state)),
        JSONMember(name: "words", value: .string(words)),
        JSONMember(name: "written_blocks", value: .count(writtenBlockCount)),
        JSONMember(name: "mended_here_blocks", value: .count(mendedHereCount)),
        JSONMember(name: "mended_there_blocks", value: .count(mendedThereCount)),
        JSONMember(name: "unreadable_blocks", value: .count(unreadableCount)),
        JSONMember(name: "different_blocks", value: .count(forkCount)),
        JSONMember(
          name: "findings",
          value: .array(
            findings.map { ["range": $0.range.json, "outcome": .string($0.outcome)] })),
        JSONMember(name: "started_unix_seconds", value: .count(startedUnixSeconds)),
        JSONMember(
          name: "ended_unix_seconds", value: endedUnixSeconds.map { .count($0) } ?? .null),
      ])
  }

  /// Reads what `json` wrote.
  init(_ reader: JSONReader) throws(ControlError) {
    pass = try PassReport(reader)
    state = try reader.string("state")
    words = try reader.string("words")
    writtenBlockCount = try reader.count("written_blocks")
    mendedHereCount = try reader.count("mended_here_blocks")
    mendedThereCount = try reader.count("mended_there_blocks")
    unreadableCount = try reader.count("unreadable_blocks")
    forkCount = try reader.count("different_blocks")
    findings = try reader.objects("findings") { element throws(ControlError) in
      Finding(
        range: try ArrayRangeReport(try element.object("range")),
        outcome: try element.string("outcome"))
    }
    startedUnixSeconds = try reader.count("started_unix_seconds")
    endedUnixSeconds = try reader.optionalCount("ended_unix_seconds")
  }
}
