package import DiskFormat

/// Who a member says it is, for messages.
package struct MemberIdentity: Equatable, Hashable, Sendable, CustomStringConvertible {
  /// Path or URI.
  package var path: String
  package var memberID: Identifier
  /// Its slot; or its seat, from the number of slots on.
  package var slot: Int
  package var isReserve: Bool
  package var arrayID: Identifier
  package var arrayName: String
  package var eventCount: UInt64
  package var configurationID: Identifier

  package init(path: String, _ superblock: Superblock) {
    self.path = path
    memberID = superblock.memberID
    slot = superblock.slot
    isReserve = superblock.slot >= superblock.memberCount
    arrayID = superblock.arrayID
    arrayName = superblock.name
    eventCount = superblock.eventCount
    configurationID = superblock.configurationID
  }

  private var placeWords: String { isReserve ? "seat \(slot)" : "slot \(slot)" }

  package var description: String {
    "\(path) (member \(memberID), \(placeWords) of array '\(arrayName)' \(arrayID))"
  }

  /// With its configuration.
  package var withConfiguration: String {
    "\(path) (member \(memberID), \(placeWords), configuration \(configurationID), "
      + "event count \(eventCount))"
  }
}

/// What is known of a member that is not there.
package struct MemberAbsence: Equatable, Sendable {
  /// Where it was last; nil when nobody knows.
  package var place: String?
  /// Why it is not there, for people; nil when nobody knows.
  package var reason: String?

  package init(place: String? = nil, reason: String? = nil) {
    self.place = place
    self.reason = reason
  }
}

/// A member that is not there, as the list knows it.
package struct AbsentMember: Equatable, Sendable, CustomStringConvertible {
  package var slot: Int
  package var memberID: Identifier
  package var absence: MemberAbsence

  package init(slot: Int, memberID: Identifier, absence: MemberAbsence = MemberAbsence()) {
    self.slot = slot
    self.memberID = memberID
    self.absence = absence
  }

  package var description: String {
    guard memberID != .none else { return "slot \(slot) (nobody)" }
    var words = "slot \(slot) (member \(memberID)"
    if let reason = absence.reason {
      words += ": \(reason)"
    } else if let place = absence.place {
      words += ", last at \(place)"
    }
    return words + ")"
  }
}
