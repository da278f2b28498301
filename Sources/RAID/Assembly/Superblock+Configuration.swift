package import DiskFormat
package import Geometry

// Where configurations come from, and whether two of them are of one line (rule T6).
extension Superblock {
  /// Whether this configuration is `other` or comes from it.
  ///
  /// Each configuration counts one event more than the one before, so the place in the history is
  /// known, and an identity at another place does not count.
  package func carries(_ other: Superblock) -> Bool {
    if configurationID == other.configurationID { return eventCount == other.eventCount }
    guard other.eventCount < eventCount else { return false }
    let stepsBack = eventCount - other.eventCount
    guard stepsBack <= UInt64(configurationHistory.count) else { return false }
    return configurationHistory[Int(stepsBack) - 1] == other.configurationID
  }

  /// Whether the history reaches back to an event count.
  package func remembers(eventCount other: UInt64) -> Bool {
    other <= eventCount && eventCount - other <= UInt64(configurationHistory.count)
  }

  /// Whether nothing is lost when a member with `other` is brought up to date from here.
  ///
  /// This configuration comes from `other`; or `other` never took effect: some member that it lists
  /// as current is current here, and does not carry it.
  package func isHeir(of other: Superblock) -> Bool {
    if carries(other) { return true }
    return other.currentSlots.contains { isCurrent(other.memberIDs[$0]) }
  }

  /// The same array with a new configuration.
  ///
  /// For every change of membership, a forced start included. It counts only when both copies of
  /// each of its current members carry it, one after the other: then neither a crash nor a single
  /// damaged copy can bring an older list back. A member that replaces another, or that had gone
  /// on without the others and is taken back, gets a new identity. `configurationID` is fresh random
  /// bits; the reserves stay where none are given.
  package func reconfigured(
    memberIDs: [Identifier], memberStates: [MemberState], reserves: [Reserve]? = nil,
    configurationID: Identifier
  ) -> Superblock {
    precondition(memberIDs.count == memberCount)
    precondition(memberStates.count == memberCount)
    precondition(configurationID != self.configurationID)
    var next = self
    next.configurationHistory.insert(self.configurationID, at: 0)
    if next.configurationHistory.count > Self.configurationHistoryCountMax {
      next.configurationHistory.removeLast()
    }
    next.eventCount += 1
    next.configurationID = configurationID
    next.memberIDs = memberIDs
    next.memberStates = memberStates
    next.reserves = reserves ?? self.reserves
    return next
  }

  /// The slots that the list calls current.
  package var currentSlots: SlotSet {
    SlotSet(memberStates.indices.filter { memberStates[$0] == .current })
  }

  /// Where the list has a member: its slot, or its seat behind the slots.
  ///
  /// What the member says itself is of before, when a crash came while it took a slot.
  func place(of memberID: Identifier) -> Int? {
    guard memberID != .none else { return nil }
    return memberIDs.firstIndex(of: memberID)
      ?? reserves.first { $0.memberID == memberID }?.seat
  }

  /// Whether the list has this very member.
  func lists(_ other: Superblock) -> Bool { place(of: other.memberID) != nil }

  /// Whether the list has this very member as current.
  func listsAsCurrent(_ other: Superblock) -> Bool { isCurrent(other.memberID) }

  private func isCurrent(_ memberID: Identifier) -> Bool {
    guard memberID != .none, let slot = memberIDs.firstIndex(of: memberID) else { return false }
    return memberStates[slot] == .current
  }
}
