import RAID
import Units

// What an array adds to the status for people.
extension StatusText {
  private static let shownEventCount = 10
  private static let shownRangeCount = 4

  /// What matters most: what may be lost, what is being done about it, what was found.
  static func array(
    _ array: ArrayReport, _ name: String, _ nowUnixSeconds: UInt64
  ) -> [String] {
    var lines = [row("can lose", spareWords(array))]
    if let replication = array.replication {
      lines += list("mirror", replicationLines(replication, nowUnixSeconds))
    }
    lines += list("rebuild", rebuildLines(array.upkeep, name))
    lines += list("scrub", scrubLines(array.upkeep, nowUnixSeconds))
    if array.healedBlockCount > 0 {
      lines.append(row("repaired", "\(blocks(array.healedBlockCount)) healed"))
    }
    if array.lostBlockCount > 0 || array.hasMoreLost { lines.append(row("lost", lostWords(array))) }
    if let budget = array.upkeep.latencyBudget { lines.append(row("budget", budgetWords(budget))) }
    let chunk = ByteSize.format(array.chunkBytes)
    lines.append(
      row(
        "array",
        "\(array.level) of \(array.members.count) members, chunk \(chunk), \(array.arrayID)"))
    lines.append(row("log", logWords(array)))
    return lines
  }

  private static func replicationLines(
    _ replication: ReplicationReport, _ nowUnixSeconds: UInt64
  ) -> [String] {
    var lines = [
      "\(replication.role), record \(replication.number), on peer loss: \(replication.lossPolicy)"
    ]
    if !replication.divergence.isEmpty { lines.append(replication.divergence) }
    if !replication.refusal.isEmpty { lines.append(replication.refusal) }
    for peer in replication.peers {
      let age = nowUnixSeconds - min(nowUnixSeconds, peer.sinceSeconds)
      let standing =
        replication.role == "replica"
        ? "the primary" : peer.counts ? "in step, mode \(peer.mode)" : "NOT in step for \(age) s"
      var words = "\(peer.address.isEmpty ? peer.nodeID : peer.address): \(standing)"
      if peer.connection.isEmpty {
        words += ", not connected" + (peer.lastEnd.isEmpty ? "" : " (\(peer.lastEnd))")
      } else {
        words += ", \(peer.connection)"
      }
      if peer.copyUnitCount > 0 {
        words += peer.copy.map { " \(PassText.line($0))" } ?? ""
      } else if replication.role == "primary", peer.loggedNumber < replication.number {
        words += ", \(replication.number - peer.loggedNumber) records behind"
      }
      lines.append(words)
      if let verification = peer.verification {
        lines.append(
          verification.state == "running"
            ? "comparing \(PassText.line(verification.pass))" : verification.standing.words)
      }
    }
    return lines
  }

  private static func rebuildLines(_ upkeep: UpkeepReport, _ name: String) -> [String] {
    let resume = "'ashlar rebuild \(name) --resume'"
    var remarks: [String] = []
    if upkeep.isRebuildPaused { remarks.append("paused, over restarts too: \(resume) goes on") }
    if upkeep.isResyncHeld {
      remarks.append(
        "members that come back wait, and spares too (--no-resync): \(resume) lets them go on")
    }
    guard let rebuild = upkeep.rebuild else { return remarks }
    var lines = [
      PassText.line(rebuild.pass),
      "\(PassText.targetWords(rebuild)): \(PassText.amountWords(rebuild.pass))"
        + (rebuild.isJoining ? ", all there: waiting for the log" : ""),
    ]
    if rebuild.unreadableBlockCount > 0 {
      let places = rangeWords(rebuild.unreadableRanges, hasMore: false)
      lines.append("\(blocks(rebuild.unreadableBlockCount)) cannot be had: bytes \(places)")
    }
    return lines + remarks
  }

  /// What is under way, or else what came of the last one.
  private static func scrubLines(_ upkeep: UpkeepReport, _ nowUnixSeconds: UInt64) -> [String] {
    guard let scrub = upkeep.scrub else {
      return [
        upkeep.scrubHistory.last.map {
          PassText.recordWords($0, nowUnixSeconds: nowUnixSeconds)
        } ?? "none yet: 'ashlar scrub' reads and checks everything"
      ]
    }
    var lines = [
      PassText.line(scrub.pass),
      "\(scrub.kind): \(PassText.amountWords(scrub.pass)), \(PassText.foundWords(scrub.counts))",
    ]
    for finding in scrub.findings.prefix(shownRangeCount) {
      lines.append(PassText.findingWords(finding))
    }
    if scrub.findings.count > shownRangeCount { lines.append("...") }
    return lines
  }

  private static func budgetWords(_ budget: LatencyBudgetReport) -> String {
    let asked = TimeSpan.format(nanoseconds: budget.askedNanoseconds)
    guard let achieved = budget.achievedP99Nanoseconds else {
      return "rebuild and scrub may take clients to a p99 of \(asked); there is no request now"
    }
    return "p99 of clients is \(TimeSpan.format(nanoseconds: achieved)) of \(asked) allowed; "
      + "rebuild and scrub have \(budget.upkeepPercent) % of the time"
  }

  /// A table of the members, reserves behind the slots.
  static func memberTable(_ array: ArrayReport) -> [String] {
    var table = [
      ["member", "state", "read", "written", "errors", "checksums", "healed"]
    ]
    var ends: [(place: String, remarks: [String])] = []
    for member in array.members {
      table.append([
        "\(member.slot)", member.state.rawValue, ByteSize.format(member.readBytes),
        ByteSize.format(member.writeBytes), "\(member.errorCount)",
        "\(member.checksumErrorCount)", "\(member.healedCount)",
      ])
      ends.append((member.place, remarks(member)))
    }
    for reserve in array.upkeep.reserves {
      table.append([
        "\(reserve.seat)", reserve.targetSlot == nil ? "spare" : "replacement",
        ByteSize.format(reserve.readBytes), ByteSize.format(reserve.writeBytes),
        "\(reserve.errorCount)", "-", "-",
      ])
      var remarks: [String] = []
      if !reserve.cause.isEmpty { remarks.append(reserve.cause) }
      if let slot = reserve.targetSlot {
        remarks.append("becomes a copy of member \(slot), then takes its place")
      }
      ends.append((reserve.place, remarks))
    }
    var lines = [""]
    for (index, line) in aligned(table).enumerated() {
      guard index > 0 else {
        lines.append("\(line)  place")
        continue
      }
      let (place, remarks) = ends[index - 1]
      lines.append("\(line)  \(place.isEmpty ? "?" : place)")
      for words in remarks { lines.append("          \(words)") }
    }
    return lines + [""]
  }

  /// What happened last.
  static func eventLines(_ array: ArrayReport) -> [String] {
    guard !array.events.isEmpty else { return [] }
    var lines = ["", "  what happened last:"]
    for event in array.events.suffix(shownEventCount) {
      lines.append("  \(ageWords(event)): \(event.text)\(placeWords(event))")
    }
    return lines
  }

  private static func remarks(_ member: ArrayMemberReport) -> [String] {
    var remarks: [String] = []
    if !member.cause.isEmpty { remarks.append(member.cause) }
    if member.state == .syncing, member.resyncPages > 0 {
      let done = member.resyncPages - min(member.resyncPages, member.resyncPagesLeft)
      remarks.append(
        "brought up to date: \(done) of \(member.resyncPages) pages "
          + "(\(done * 100 / member.resyncPages) %)")
    }
    if member.oldestOperationNanoseconds >= 1_000_000_000 {
      let wait = TimeSpan.format(nanoseconds: member.oldestOperationNanoseconds)
      remarks.append("its oldest operation has waited for \(wait)")
    }
    return remarks
  }

  /// What may be lost now without harm.
  static func spareWords(_ array: ArrayReport) -> String {
    guard let left = array.redundancyLeft else {
      return "nothing: it takes no writes any more"
    }
    if left > 0 { return "any \(left) more member\(left == 1 ? "" : "s")" }
    return switch array.level {
    case "raid0": "nothing: raid0 keeps no second copy"
    case "raid10" where array.state != .optimal:
      "not the other halves of the mirrors that are out"
    default: "nothing more: the next member that is lost stops it"
    }
  }

  private static func logWords(_ array: ArrayReport) -> String {
    let percent =
      array.logBytes == 0
      ? 0 : min(array.logFillBytes, array.logBytes) / max(array.logBytes / 100, 1)
    return "\(ByteSize.format(array.logFillBytes)) of \(ByteSize.format(array.logBytes)) "
      + "(\(min(percent, 100)) %), \(ByteSize.format(array.dirtyBytes)) not yet home, "
      + "policy \(array.logPolicy)"
  }

  /// Where blocks are that cannot be read; the JSON names more of them.
  private static func lostWords(_ array: ArrayReport) -> String {
    let count = (array.hasMoreLost ? "more than " : "") + blocks(array.lostBlockCount)
    return "\(count): bytes \(rangeWords(array.lostRanges, hasMore: array.hasMoreLost))"
  }

  private static func rangeWords(_ ranges: [ArrayRangeReport], hasMore: Bool) -> String {
    let shown = ranges.prefix(shownRangeCount).map {
      "\($0.offsetBytes) to \($0.offsetBytes &+ max($0.byteCount, 1) &- 1)"
    }
    let more = ranges.count > shownRangeCount || hasMore ? ", ..." : ""
    return shown.joined(separator: ", ") + more
  }

  private static func blocks(_ count: UInt64) -> String {
    count == 1 ? "1 block" : "\(count) blocks"
  }

  private static func ageWords(_ event: ArrayEventReport) -> String {
    "\(TimeSpan.formatUptime(nanoseconds: event.ageNanoseconds)) ago"
  }

  private static func placeWords(_ event: ArrayEventReport) -> String {
    guard let offset = event.offsetBytes else { return "" }
    guard let count = event.byteCount else { return " (at byte \(offset))" }
    return " (bytes \(offset) to \(offset &+ max(count, 1) &- 1))"
  }
}
