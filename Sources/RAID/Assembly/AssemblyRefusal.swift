package import DiskFormat
package import Geometry

/// Why members are not put together; the description is for an operator.
package enum AssemblyRefusal: Error, Equatable, Sendable {
  /// None of them says anything; with each one's name, and why.
  case noSuperblock([UnreadableMember])
  case newerVersion(path: String, found: UInt32, supported: UInt32)
  /// A member's two superblocks name different members or arrays: something wrote over it.
  case contradictoryCopies(a: MemberIdentity, b: MemberIdentity)
  /// Members of several arrays.
  case foreign([MemberIdentity])
  /// A superblock contradicts itself.
  case impossible(MemberIdentity, field: String)
  /// The same member twice: a copy, or one device given by two names.
  case duplicate(MemberIdentity, MemberIdentity)
  /// Two members of one array disagree on what can only be the same.
  case mixedUp(MemberIdentity, MemberIdentity, field: String, values: [String])
  case truncated(MemberIdentity, byteCount: UInt64, neededByteCount: UInt64)
  /// A crash came between the first superblock of `create` and its last.
  case creationUnfinished([MemberIdentity])
  /// Two parts of the array went on without each other.
  case fork(Fork)
  /// A configuration so old that nobody remembers whether it belongs to the newest one's line.
  case tooOld(MemberIdentity, newest: MemberIdentity)
  case tooFew(Shortage)
  /// The missing members could have gone on alone.
  case mayHaveDiverged(Absence)
}

/// A member without a valid superblock.
package struct UnreadableMember: Equatable, Sendable {
  package var path: String
  package var trouble: String

  package init(path: String, trouble: String) {
    self.path = path
    self.trouble = trouble
  }
}

/// Two lines of configurations, of which neither comes from the other.
package struct Fork: Equatable, Sendable {
  /// One of them.
  package struct Side: Equatable, Sendable {
    package var newest: MemberIdentity
    /// All members that are on this line only.
    package var paths: [String]
    /// The slots that its list calls current.
    package var currentSlots: SlotSet

    package init(newest: MemberIdentity, paths: [String], currentSlots: SlotSet) {
      self.newest = newest
      self.paths = paths
      self.currentSlots = currentSlots
    }
  }

  package var first: Side
  package var second: Side
  /// The last configuration that both come from, as far as they remember.
  package var commonEventCount: UInt64?
  package var commonConfiguration: Identifier?

  package init(
    first: Side, second: Side, commonEventCount: UInt64?, commonConfiguration: Identifier?
  ) {
    self.first = first
    self.second = second
    self.commonEventCount = commonEventCount
    self.commonConfiguration = commonConfiguration
  }
}

/// More is missing than the level can spare.
package struct Shortage: Equatable, Sendable {
  package var arrayName: String
  package var arrayID: Identifier
  package var geometry: StripeGeometry
  package var missing: [AbsentMember]
  package var stale: [MemberIdentity]
  package var unreadable: [UnreadableMember]
  package var currentCount: Int
  package var lostSlots: SlotSet

  package init(
    arrayName: String, arrayID: Identifier, geometry: StripeGeometry, missing: [AbsentMember],
    stale: [MemberIdentity], unreadable: [UnreadableMember], currentCount: Int, lostSlots: SlotSet
  ) {
    self.arrayName = arrayName
    self.arrayID = arrayID
    self.geometry = geometry
    self.missing = missing
    self.stale = stale
    self.unreadable = unreadable
    self.currentCount = currentCount
    self.lostSlots = lostSlots
  }
}

/// Listed members that are absent and could have served without those that are present.
package struct Absence: Equatable, Sendable {
  package var arrayName: String
  package var arrayID: Identifier
  package var missing: [AbsentMember]
  package var unreadable: [UnreadableMember]
  package var present: [MemberIdentity]
  package var newestConfiguration: Identifier
  package var eventCount: UInt64
  package var knownConfiguration: String?

  package init(
    arrayName: String, arrayID: Identifier, missing: [AbsentMember],
    unreadable: [UnreadableMember], present: [MemberIdentity], newestConfiguration: Identifier,
    eventCount: UInt64, knownConfiguration: String?
  ) {
    self.arrayName = arrayName
    self.arrayID = arrayID
    self.missing = missing
    self.unreadable = unreadable
    self.present = present
    self.newestConfiguration = newestConfiguration
    self.eventCount = eventCount
    self.knownConfiguration = knownConfiguration
  }
}
