import DiskFormat
import Geometry
import Units

extension Examination {
  /// For an operator: what each member says, then what would be assembled, and why or why not.
  package var lines: [String] {
    var lines: [String] = []
    for report in reports { lines += Self.lines(report) + [""] }
    for outcome in outcomes {
      lines.append(outcome.headline)
      lines += outcome.slotLines.map { "  \($0)" }
      if let refusal = outcome.refusal { lines.append("  \(refusal)") }
      lines += (outcome.plan?.warnings ?? []).map { "  warning: \($0)" }
    }
    if let refusalTogether { lines.append("together: \(refusalTogether)") }
    return lines
  }

  private static func lines(_ report: MemberReport) -> [String] {
    var lines = [report.name]
    func add(_ label: String, _ text: String) {
      let padding = String(repeating: " ", count: max(1, 15 - label.utf8.count))
      lines.append("  \(label)\(padding)\(text)")
    }
    if let newest = report.newest { for (label, text) in words(newest) { add(label, text) } }
    add("size", ByteSize.format(report.byteCount) + sizeRemark(report))
    for (label, copy) in zip(["superblock A", "superblock B"], report.copies) {
      add(
        label, copy.trouble ?? copy.superblock.map { "good, number \($0.superblockSequence)" } ?? ""
      )
    }
    return lines
  }

  private static func words(_ superblock: Superblock) -> [(label: String, text: String)] {
    let states = superblock.memberStates.enumerated()
      .map { "\($0.offset) \($0.element.word)" }.joined(separator: ", ")
    let owner =
      superblock.ownerNonce == .none
      ? "nobody"
      : "the process with nonce \(superblock.ownerNonce), heartbeat \(superblock.heartbeat)"
    let reserves = superblock.reserves.map { (label: "reserve", text: $0.words) }
    return [
      ("array", "'\(superblock.name)' \(superblock.arrayID)"),
      ("member", "\(superblock.memberID), \(placeWords(superblock))"),
      ("level", "\(superblock.level.name), chunk \(ByteSize.format(superblock.chunkBytes))"),
      (
        "configuration",
        "\(superblock.configurationID), event count \(superblock.eventCount)"
          + (superblock.eventCount == 0 ? ": creation was interrupted" : "")
      ),
      ("slots", states),
    ] + reserves + [
      (
        "log",
        "epoch \(superblock.logEpoch), checkpoint \(superblock.checkpointSequence), durable to "
          + "\(superblock.horizon), \(superblock.isClean ? "clean" : "not clean"), policy "
          + superblock.logPolicy.name
      ),
      ("in use by", owner),
    ]
  }

  private static func placeWords(_ superblock: Superblock) -> String {
    superblock.slot < superblock.memberCount
      ? "slot \(superblock.slot) of \(superblock.memberCount)"
      : "seat \(superblock.slot), behind \(superblock.memberCount) slots"
  }

  private static func sizeRemark(_ report: MemberReport) -> String {
    guard let newest = report.newest, let geometry = newest.geometry else { return "" }
    let end = newest.layout.endBytes(geometry: geometry)
    return report.byteCount < end ? ", cut short: its layout ends at \(ByteSize.format(end))" : ""
  }
}

extension MemberState {
  /// For an operator.
  package var word: String {
    switch self {
    case .current: "in sync"
    case .out: "out"
    case .syncing: "syncing"
    case .failed: "failed by an operator"
    }
  }
}
