import RAID
import Units

// What an array adds to the status for people.
extension StatusText {
  private static let shownEventCount = 10
  private static let shownRangeCount = 4

  static func array(_ array: ArrayReport) -> [String] {
    let chunk = ByteSize.format(array.chunkBytes)
    var lines = [
      row(
        "array",
        "\(array.level) of \(array.members.count) members, chunk \(chunk), \(array.arrayID)"),
      row("can lose", spareWords(array)),
      row("log", logWords(array)),
    ]
    if array.healedBlockCount > 0 {
      lines.append(row("repaired", "\(blocks(array.healedBlockCount)) healed"))
    }
    if array.lostBlockCount > 0 || array.hasMoreLost { lines.append(row("lost", lostWords(array))) }
    return lines
  }

  /// A table of the members, and what happened last.
  static func arrayTables(_ array: ArrayReport) -> [String] {
    var table = [
      ["member", "state", "read", "written", "errors", "checksums", "healed"]
    ]
    for member in array.members {
      table.append([
        "\(member.slot)", member.state.rawValue, ByteSize.format(member.readBytes),
        ByteSize.format(member.writeBytes), "\(member.errorCount)",
        "\(member.checksumErrorCount)", "\(member.healedCount)",
      ])
    }
    var lines = [""]
    for (index, line) in aligned(table).enumerated() {
      guard index > 0 else {
        lines.append("\(line)  place")
        continue
      }
      let member = array.members[index - 1]
      lines.append("\(line)  \(member.place.isEmpty ? "?" : member.place)")
      for words in remarks(member) { lines.append("          \(words)") }
    }
    guard !array.events.isEmpty else { return lines }
    lines += ["", "  what happened last:"]
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
    let shown = array.lostRanges.prefix(shownRangeCount).map {
      "\($0.offsetBytes) to \($0.offsetBytes + max($0.byteCount, 1) - 1)"
    }
    let more = array.lostRanges.count > shownRangeCount || array.hasMoreLost ? ", ..." : ""
    let count = (array.hasMoreLost ? "more than " : "") + blocks(array.lostBlockCount)
    return "\(count): bytes \(shown.joined(separator: ", "))\(more)"
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
    return " (bytes \(offset) to \(offset + max(count, 1) - 1))"
  }
}
