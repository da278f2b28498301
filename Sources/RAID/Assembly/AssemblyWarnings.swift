import DiskFormat

/// What an operator should know although the array starts.
struct AssemblyWarnings {
  let reports: [MemberReport]
  let list: Superblock
  let slots: [SlotContent]
  let reserves: [ReserveContent]
  let unlisted: [UnlistedMember]
  let unreadable: [UnreadableMember]
  let wasForced: Bool
  let knownConfiguration: String?

  /// In an order that does not depend on that of the reports.
  var lines: [String] {
    var lines = slots.indices.compactMap(line)
    lines += reserves.filter { $0.report == nil }.map { "\($0.reserve.words) is missing" }
    lines += unlisted.map(\.words)
    lines += unreadable.map { "\($0.path) counts as missing: \($0.trouble)" }
    lines += reports.flatMap(copyLines).sorted()
    if wasForced {
      lines.append(
        "started by force: members that are missing may have gone on alone; if they did, their "
          + "writes are not in this array, and joining them is refused")
    }
    if let knownConfiguration, !isKnown(knownConfiguration) {
      lines.append(
        "the registry last saw configuration \(knownConfiguration), which these members do not "
          + "know: the newest here is \(list.configurationID)")
    }
    return lines
  }

  private func isKnown(_ configuration: String) -> Bool {
    list.configurationID.description == configuration
      || list.configurationHistory.contains { $0.description == configuration }
  }

  private func line(_ slot: Int) -> String? {
    let member = AbsentMember(slot: slot, memberID: list.memberIDs[slot])
    switch slots[slot] {
    case .current: return nil
    case .missing:
      return "\(member) is missing" + list.memberStates[slot].absenceWords
    case .stale(let report, .failed):
      return "\(reports[report].name), \(member), \(ExpulsionReason.commanded.words)"
    case .stale(let report, let reason):
      return "\(reports[report].name), \(member), is out of date (\(reason.words)): it is brought "
        + "up to date before it is read"
    }
  }

  private func copyLines(_ report: MemberReport) -> [String] {
    guard report.newest != nil else { return [] }
    return zip(["A", "B"], report.copies).compactMap { label, copy in
      copy.trouble.map { "superblock \(label) of \(report.name): \($0); the other copy is good" }
    }
  }
}

extension Reserve {
  /// For an operator.
  package var words: String {
    "seat \(seat) (\(targetSlot.map { "replacement of slot \($0)" } ?? "spare"), "
      + "member \(memberID))"
  }
}

extension MemberState {
  /// How a member that is missing was before; the end of a sentence.
  var absenceWords: String {
    switch self {
    case .current: ""
    case .out, .syncing: ", and was out of date before"
    case .failed: ", and was failed by an operator"
    }
  }
}

extension StaleReason {
  /// For an operator.
  package var words: String {
    switch self {
    case .failed: "it \(ExpulsionReason.commanded.words)"
    case .out(0): "it left with the newest configuration"
    case .out(1): "it left one configuration ago"
    case .out(let eventsBehind): "it left \(eventsBehind) configurations ago"
    case .syncing: "it was being brought up to date"
    case .unfinishedConfiguration: "a crash left it with a configuration that was never in force"
    case .olderCopy: "it was put back as it was some time before"
    }
  }
}
