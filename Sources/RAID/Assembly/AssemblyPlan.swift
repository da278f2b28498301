package import DiskFormat
package import Geometry

/// How an array may be put together.
package struct AssemblyOptions: Equatable, Sendable {
  /// Start although the missing members could have gone on alone.
  package var isForced = false
  /// The configuration that the registry saw last, as text.
  ///
  /// It proves something only if the registry learns of a configuration before the first superblock
  /// carries it: then members without it may lack what others did, and members with it do not.
  package var knownConfiguration: String?
  /// Of members that are not given, by their identity: for refusals.
  package var absences: [String: MemberAbsence] = [:]
  /// For tests.
  package var plantedBug: PlantedBug?

  package init(
    isForced: Bool = false, knownConfiguration: String? = nil,
    absences: [String: MemberAbsence] = [:], plantedBug: PlantedBug? = nil
  ) {
    self.isForced = isForced
    self.knownConfiguration = knownConfiguration
    self.absences = absences
    self.plantedBug = plantedBug
  }
}

/// Why a member that is present is not believed.
package enum StaleReason: Equatable, Sendable {
  /// The newest list says so; it left so many configurations ago, as far as that is known.
  case out(eventsBehind: UInt64)
  /// The newest list says that an operator put it out, and nobody has taken that back.
  case failed
  /// It was being brought up to date.
  case syncing
  /// It carries a configuration that was begun and never took effect: a crash came first.
  case unfinishedConfiguration
  /// Its file is as it was some time before: the others have served without what it has now.
  case olderCopy
}

/// What is in a slot.
package enum SlotContent: Equatable, Sendable {
  /// In sync; the number is the report's.
  case current(report: Int)
  /// Present, to be brought up to date, never read before.
  case stale(report: Int, StaleReason)
  /// Absent; `wasCurrent` when the list has it as current.
  case missing(wasCurrent: Bool)
}

/// A seat that the list gives to a reserve.
package struct ReserveContent: Equatable, Sendable {
  package let reserve: Reserve
  /// Its report; nil when it is absent.
  package let report: Int?
  package let superblock: Superblock?
}

/// A member that is not on the newest list: removed or replaced, or never taken in.
///
/// It is refused, and the array starts without it.
package struct UnlistedMember: Equatable, Sendable {
  package let report: Int
  package let member: MemberIdentity
  package let newest: MemberIdentity
  /// Who has its place now; `none` when nobody has.
  package let inItsPlace: Identifier

  /// For an operator.
  package var words: String {
    let place =
      inItsPlace == .none ? "has nobody in its place" : "has member \(inItsPlace) in its place"
    return "\(member) is refused: it is not a member any more; the newest list, on "
      + "\(newest.withConfiguration), \(place). Leave it out"
  }
}

/// Which members make the array, and what is known of its state.
package struct AssemblyPlan: Equatable, Sendable {
  package let geometry: StripeGeometry
  package let layout: MemberLayout
  /// A superblock with the newest configuration: the one whose list was followed.
  package let newest: Superblock
  /// One for each slot.
  package let slots: [SlotContent]
  /// The reserves that the list names, in order.
  package let reserves: [ReserveContent]
  /// Members that were given and are refused.
  package let unlisted: [UnlistedMember]
  /// The superblocks of the current members, by slot.
  package let superblocks: [Superblock?]
  /// Among the current members' superblocks the one with the highest checkpoint.
  package let checkpoint: Superblock
  /// Every current member says that the log is empty, at the same checkpoint.
  package let isClean: Bool
  /// Listed as current, absent, and able to go on alone: the start was forced.
  package let wasForced: Bool
  /// For an operator.
  package let warnings: [String]

  /// The reports that are current members, by slot.
  package var currentReports: [Int?] {
    slots.map { if case .current(let report) = $0 { report } else { nil } }
  }

  /// The reports that are stale members, by slot.
  package var staleReports: [Int?] {
    slots.map { if case .stale(let report, _) = $0 { report } else { nil } }
  }

  /// Whether a member lacks what it once had: it needs more than what changed while it was out.
  package var hasOlderCopy: Bool {
    slots.contains { if case .stale(_, .olderCopy) = $0 { true } else { false } }
  }

  package var currentSlots: SlotSet { slotsWhere { if case .current = $0 { true } else { false } } }
  package var staleSlots: SlotSet { slotsWhere { if case .stale = $0 { true } else { false } } }
  package var missingSlots: SlotSet { slotsWhere { if case .missing = $0 { true } else { false } } }
  /// Everything that cannot be read: missing and stale.
  package var lostSlots: SlotSet { geometry.allSlots.subtracting(currentSlots) }

  /// The states that the next configuration gives its members.
  ///
  /// When they differ from the newest list's, the configuration is written before anything is
  /// acknowledged.
  package var memberStates: [MemberState] {
    zip(slots, newest.memberStates).map { content, listed in
      if case .current = content { return .current }
      return listed == .failed ? .failed : .out
    }
  }

  private func slotsWhere(_ isIncluded: (SlotContent) -> Bool) -> SlotSet {
    SlotSet(slots.indices.filter { isIncluded(slots[$0]) })
  }
}
