package import DiskFormat

/// Who a member says it is, for messages.
package struct MemberIdentity: Equatable, Hashable, Sendable, CustomStringConvertible {
  /// Path or URI.
  package var path: String
  package var memberID: Identifier
  package var slot: Int
  package var arrayID: Identifier
  package var arrayName: String
  package var eventCount: UInt64
  package var configurationID: Identifier

  package init(path: String, _ superblock: Superblock) {
    self.path = path
    memberID = superblock.memberID
    slot = superblock.slot
    arrayID = superblock.arrayID
    arrayName = superblock.name
    eventCount = superblock.eventCount
    configurationID = superblock.configurationID
  }

  package var description: String {
    "\(path) (member \(memberID), slot \(slot) of array '\(arrayName)' \(arrayID))"
  }

  /// With its configuration.
  package var withConfiguration: String {
    "\(path) (member \(memberID), slot \(slot), configuration \(configurationID), "
      + "event count \(eventCount))"
  }
}

/// A member that is not there, as the list knows it.
package struct AbsentMember: Equatable, Sendable, CustomStringConvertible {
  package var slot: Int
  package var memberID: Identifier

  package init(slot: Int, memberID: Identifier) {
    self.slot = slot
    self.memberID = memberID
  }

  package var description: String {
    memberID == .none ? "slot \(slot) (nobody)" : "slot \(slot) (member \(memberID))"
  }
}
