import Units

/// Words and bars for what goes through an array: rebuild and scrub.
package enum PassText {
  /// A line that fits on a terminal: bar, share, rate, and how long it may still take.
  package static func line(_ pass: PassReport) -> String {
    var parts = ["\(bar(pass)) \(percentWords(pass))"]
    if pass.isPaused {
      parts.append("paused")
    } else {
      if pass.bytesPerSecond > 0 { parts.append("\(ByteSize.format(pass.bytesPerSecond))/s") }
      if let words = timeWords(pass) { parts.append(words) }
    }
    return parts.joined(separator: ", ")
  }

  /// How much of it is done: `1.2 GiB of 3 GiB`.
  package static func amountWords(_ pass: PassReport) -> String {
    guard pass.byteCount > 0 else { return "\(pass.donePages) of \(pass.pages) pages" }
    let done = min(pass.doneBytes, pass.byteCount)
    return "\(ByteSize.format(done)) of \(ByteSize.format(pass.byteCount))"
  }

  /// As wide as told: `[=====>    ]`.
  static func bar(_ pass: PassReport, width: Int = 24) -> String {
    let filled = Int(clamping: permille(pass)) * width / 1000
    let head = filled < width ? ">" : ""
    let blanks = String(repeating: " ", count: width - filled - head.count)
    return "[" + String(repeating: "=", count: filled) + head + blanks + "]"
  }

  static func percentWords(_ pass: PassReport) -> String {
    let permille = permille(pass)
    return "\(permille / 10).\(permille % 10) %"
  }

  /// How far it is, of 1000; never 1000 before the end.
  static func permille(_ pass: PassReport) -> UInt64 {
    let (done, all) =
      pass.byteCount > 0 ? (pass.doneBytes, pass.byteCount) : (pass.donePages, pass.pages)
    guard all > 0 else { return 0 }
    let product = min(done, all).multipliedFullWidth(by: 1000)
    return all.dividingFullWidth(product).quotient
  }

  /// How long it may still take, as a range where that is wide; nil while nobody can say.
  static func timeWords(_ pass: PassReport) -> String? {
    guard let low = pass.secondsLeftMin, let high = pass.secondsLeftMax else { return nil }
    let (least, most) = (span(min(low, high)), span(max(low, high)))
    return least == most ? "about \(least) left" : "\(least) to \(most) left"
  }

  private static func span(_ seconds: UInt64) -> String {
    TimeSpan.formatUptime(nanoseconds: min(seconds, .max / 1_000_000_000) * 1_000_000_000)
  }

  /// Which slots are being rebuilt, and onto whom.
  package static func targetWords(_ rebuild: ArrayRebuildReport) -> String {
    let targets = zip(rebuild.slots, rebuild.seats).map { slot, seat in
      slot == seat ? "slot \(slot)" : "slot \(slot) onto the replacement in seat \(seat)"
    }
    return targets.joined(separator: ", ")
  }

  /// What a scrub has found so far, or in the end.
  package static func foundWords(_ counts: ScrubCountsReport) -> String {
    guard counts.found > 0 else { return "nothing found" }
    let kinds = [
      ("checksum", counts.checksum), ("unreadable", counts.unreadable),
      ("parity", counts.parity), ("mirror", counts.mirror), ("table", counts.table),
      ("lost", counts.lost),
    ]
    let found = kinds.filter { $0.1 > 0 }.map { "\($0.1) \($0.0)" }.joined(separator: ", ")
    let ends = [
      ("repaired", counts.repaired), ("not repaired", counts.notRepaired),
      ("beyond repair", counts.beyondRepair),
    ]
    let outcome = ends.filter { $0.1 > 0 }.map { "\($0.1) \($0.0)" }.joined(separator: ", ")
    return "found \(counts.found) (\(found))" + (outcome.isEmpty ? "" : ": \(outcome)")
  }

  /// One thing that a scrub found, and where.
  package static func findingWords(_ finding: ScrubFindingReport) -> String {
    let member = finding.slot.map { " on member \($0)" } ?? ""
    let (offset, count) = (finding.range.offsetBytes, max(finding.range.byteCount, 1))
    return "bytes \(offset) to \(offset &+ count &- 1): \(finding.trouble)\(member), "
      + finding.outcome
  }

  /// A scrub that has ended, in a line.
  ///
  /// - Parameters:
  ///   - record: from the history.
  ///   - nowUnixSeconds: for its age.
  /// - Returns: without a newline.
  package static func recordWords(
    _ record: ScrubRecordReport, nowUnixSeconds: UInt64
  ) -> String {
    let age = span(nowUnixSeconds - min(nowUnixSeconds, record.endedUnixSeconds))
    return "\(record.kind) \(record.ending) \(age) ago, \(ByteSize.format(record.byteCount)) "
      + "read, \(foundWords(record.counts))"
  }
}
