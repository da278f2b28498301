import DiskFormat
import Geometry

extension AssemblyPlan {
  /// Decides which members make an array, and whether it may start.
  ///
  /// The order of the reports does not matter; the plan tells members by their place in it.
  package static func decide(
    reports: [MemberReport], options: AssemblyOptions = AssemblyOptions()
  ) -> Result<AssemblyPlan, AssemblyRefusal> {
    do throws(AssemblyRefusal) {
      return .success(try Decision(reports, options).plan())
    } catch {
      return .failure(error)
    }
  }
}

/// A member with something to say.
struct Claim {
  let report: Int
  let superblock: Superblock
  let identity: MemberIdentity
}

/// The steps of `AssemblyPlan.decide`.
struct Decision {
  private let reports: [MemberReport]
  private let options: AssemblyOptions
  /// By slot, member and name, so that no answer depends on the order of the reports.
  private let claims: [Claim]
  /// Members that were cut short: they count as missing, but what they say of configurations counts.
  private let shortClaims: [Claim]
  private let unreadable: [UnreadableMember]

  init(_ reports: [MemberReport], _ options: AssemblyOptions) throws(AssemblyRefusal) {
    self.reports = reports
    self.options = options
    var claims: [Claim] = []
    var shortClaims: [Claim] = []
    var unreadable: [UnreadableMember] = []
    for (index, report) in reports.enumerated() {
      try Self.requireReadableFormat(report)
      if let superblock = report.newest {
        let identity = MemberIdentity(path: report.name, superblock)
        let claim = Claim(report: index, superblock: superblock, identity: identity)
        guard let needed = report.neededByteCount, report.byteCount < needed else {
          claims.append(claim)
          continue
        }
        shortClaims.append(claim)
        let refusal = AssemblyRefusal.truncated(
          identity, byteCount: report.byteCount, neededByteCount: needed)
        unreadable.append(UnreadableMember(path: report.name, trouble: refusal.description))
      } else {
        let trouble = report.trouble ?? "no superblock"
        unreadable.append(UnreadableMember(path: report.name, trouble: trouble))
      }
    }
    self.claims = claims.sorted { Self.sortKey($0) < Self.sortKey($1) }
    self.shortClaims = shortClaims.sorted { Self.sortKey($0) < Self.sortKey($1) }
    self.unreadable = unreadable.sorted { $0.path < $1.path }
  }

  private static func sortKey(_ claim: Claim) -> (Int, UInt64, UInt64, String) {
    let id = claim.identity.memberID
    return (claim.identity.slot, id.high, id.low, claim.identity.path)
  }

  private static func requireReadableFormat(_ report: MemberReport) throws(AssemblyRefusal) {
    if let version = report.newerVersion {
      throw .newerVersion(
        path: report.name, found: version.found, supported: version.supported)
    }
    guard let a = report.copyA.superblock, let b = report.copyB.superblock else { return }
    // Its place differs where a crash came while it left its seat for a slot.
    let isReserve = a.slot >= a.memberCount || b.slot >= b.memberCount
    guard a.arrayID == b.arrayID, a.memberID == b.memberID, a.slot == b.slot || isReserve else {
      throw .contradictoryCopies(
        a: MemberIdentity(path: report.name, a), b: MemberIdentity(path: report.name, b))
    }
  }

  func plan() throws(AssemblyRefusal) -> AssemblyPlan {
    guard let first = claims.first else {
      if let short = shortClaims.first { throw truncated(short) }
      throw .noSuperblock(unreadable)
    }
    let everybody = claims + shortClaims
    guard everybody.allSatisfy({ $0.identity.arrayID == first.identity.arrayID }) else {
      throw .foreign(everybody.map(\.identity))
    }
    try requireDistinct()
    let geometry = try requireSense()
    try requireAgreement(with: first)
    let newest = try newestConfiguration()
    guard newest.superblock.eventCount > 0 else {
      throw .creationUnfinished(claims.map(\.identity))
    }
    // One that was cut short may know of something newer than all who are whole.
    for short in shortClaims where !newest.superblock.carries(short.superblock) {
      throw truncated(short)
    }
    let contents = contents(newest)
    return try plan(geometry, newest, contents)
  }

  // MARK: What each says

  private func requireDistinct() throws(AssemblyRefusal) {
    for (index, claim) in claims.enumerated() {
      let twin = claims[..<index].first { $0.identity.memberID == claim.identity.memberID }
      if let twin { throw .duplicate(twin.identity, claim.identity) }
    }
  }

  private func requireSense() throws(AssemblyRefusal) -> StripeGeometry {
    var geometry: StripeGeometry?
    for claim in claims {
      let superblock = claim.superblock
      func refuse(_ field: String) -> AssemblyRefusal { .impossible(claim.identity, field: field) }
      guard superblock.memberIDs.count == superblock.memberCount,
        superblock.memberStates.count == superblock.memberCount
      else { throw refuse("its list does not have \(superblock.memberCount) members") }
      let taken = superblock.memberIDs.filter { $0 != .none }
      guard Set(taken).count == taken.count else { throw refuse("its list names a member twice") }
      guard superblock.place(of: superblock.memberID) == superblock.slot else {
        throw refuse("its list does not name itself")
      }
      guard UInt64(superblock.configurationHistory.count) <= superblock.eventCount else {
        throw refuse("its history is longer than its event count")
      }
      guard let own = superblock.geometry else { throw refuse("its geometry cannot be") }
      geometry = own
    }
    guard let geometry else { preconditionFailure("there is at least one claim") }
    return geometry
  }

  private func requireAgreement(with first: Claim) throws(AssemblyRefusal) {
    for claim in claims.dropFirst() {
      if let (field, values) = first.superblock.disagreement(with: claim.superblock) {
        throw .mixedUp(first.identity, claim.identity, field: field, values: values)
      }
    }
    for (index, claim) in claims.enumerated() {
      let twin = claims[..<index].first {
        $0.identity.configurationID == claim.identity.configurationID
      }
      guard let twin else { continue }
      if let (field, values) = twin.superblock.configurationDisagreement(with: claim.superblock) {
        throw .mixedUp(twin.identity, claim.identity, field: field, values: values)
      }
    }
  }

  private func truncated(_ short: Claim) -> AssemblyRefusal {
    let report = reports[short.report]
    return .truncated(
      short.identity, byteCount: report.byteCount,
      neededByteCount: report.neededByteCount ?? report.byteCount)
  }

  // MARK: The newest configuration

  /// The configuration that decides, on one of those who carry it.
  ///
  /// *Heads* are configurations that no other one here comes from. With one head there is nothing
  /// to decide. Of several, those are set aside that were never in force: a configuration is in
  /// force only when everyone whom it lists as current carries it, so one that lists a member that
  /// is here, and does not carry it, acknowledged nothing. If two are left, two parts of the array
  /// went on without each other.
  private func newestConfiguration() throws(AssemblyRefusal) -> Claim {
    if ignoresList, let highest = claims.max(by: { weight($0) < weight($1) }) { return highest }
    var heads: [Claim] = []
    for claim in claims where !heads.contains(where: { isSame($0, claim) }) {
      let isCarried = claims.contains {
        !isSame($0, claim) && $0.superblock.carries(claim.superblock)
      }
      if !isCarried { heads.append(claim) }
    }
    let inForce = heads.filter { witnessAgainst($0) == nil }
    let chosen = inForce.first ?? heads.max { weight($0) < weight($1) }
    guard let chosen else { preconditionFailure("event counts rise along a line: it has an end") }
    let newest = inForce.count > 1 ? inForce.max { weight($0) < weight($1) } ?? chosen : chosen
    // Whoever is not on its line must be known not to have gone on alone.
    for claim in claims where !newest.superblock.carries(claim.superblock) {
      guard witnessAgainst(claim) == nil else { continue }
      throw refusal(newest, claim)
    }
    return newest
  }

  /// A planted bug: whoever has the highest event count is believed, and nobody else.
  private var ignoresList: Bool { options.plantedBug == .listIgnored }

  private func isSame(_ one: Claim, _ other: Claim) -> Bool {
    one.identity.configurationID == other.identity.configurationID
  }

  /// A member that a claim's list calls current and that does not carry its configuration.
  private func witnessAgainst(_ claim: Claim) -> Claim? {
    claims.first {
      claim.superblock.listsAsCurrent($0.superblock)
        && !$0.superblock.carries(claim.superblock)
    }
  }

  /// Among configurations that were never in force any will do, if only it is always the same.
  private func weight(_ claim: Claim) -> (UInt64, Int, UInt64, UInt64) {
    let id = claim.identity.configurationID
    return (
      claim.identity.eventCount, claims.count { isSame($0, claim) }, id.high, id.low
    )
  }

  private func refusal(_ newest: Claim, _ other: Claim) -> AssemblyRefusal {
    let isRemembered = newest.superblock.remembers(eventCount: other.identity.eventCount)
    if other.identity.eventCount < newest.identity.eventCount, !isRemembered {
      return .tooOld(other.identity, newest: newest.identity)
    }
    let common = newest.superblock.lastCommonConfiguration(with: other.superblock)
    return .fork(
      Fork(
        first: side(newest, without: other), second: side(other, without: newest),
        commonEventCount: common?.eventCount, commonConfiguration: common?.id))
  }

  private func side(_ head: Claim, without other: Claim) -> Fork.Side {
    let own = claims.filter {
      isSame($0, head)
        || (head.superblock.carries($0.superblock) && !other.superblock.carries($0.superblock))
    }
    return Fork.Side(
      newest: head.identity, paths: own.map(\.identity.path),
      currentSlots: head.superblock.currentSlots)
  }

  // MARK: The slots

  /// What is in all places, and who has none.
  private struct Contents {
    var slots: [SlotContent]
    var reserves: [ReserveContent]
    var unlisted: [UnlistedMember] = []

    /// The slot that a claim fills as a current member.
    func currentSlot(_ claim: Claim) -> Int? {
      slots.firstIndex(of: .current(report: claim.report))
    }
  }

  private func contents(_ newest: Claim) -> Contents {
    let list = newest.superblock
    var found = Contents(
      slots: list.memberStates.map { SlotContent.missing(wasCurrent: $0 == .current) },
      reserves: list.reserves.map { reserve in
        let claim = claims.first { $0.identity.memberID == reserve.memberID }
        return ReserveContent(
          reserve: reserve, report: claim?.report, superblock: claim?.superblock)
      })
    for claim in claims {
      if let place = list.place(of: claim.identity.memberID) {
        if place < list.memberCount { found.slots[place] = content(claim, list, place) }
      } else {
        found.unlisted.append(unlisted(claim, newest))
      }
    }
    for claim in claims {
      if let slot = olderCopySlot(claim, found) {
        found.slots[slot] = .stale(report: claim.report, .olderCopy)
      }
    }
    if options.plantedBug == .replacedMemberTakenBack { takeBackReplaced(&found) }
    return found
  }

  /// A planted bug: who was replaced has its slot again when the other one is not there.
  private func takeBackReplaced(_ found: inout Contents) {
    for member in found.unlisted where found.slots.indices.contains(member.member.slot) {
      guard case .missing = found.slots[member.member.slot] else { continue }
      found.slots[member.member.slot] = .current(report: member.report)
    }
    found.unlisted = []
  }

  /// Whoever is not on the newest line was never in force, so nothing on it is missed.
  private func unlisted(_ claim: Claim, _ newest: Claim) -> UnlistedMember {
    let (list, place) = (newest.superblock, claim.identity.slot)
    let inItsPlace =
      list.memberIDs.indices.contains(place)
      ? list.memberIDs[place] : list.reserves.first { $0.seat == place }?.memberID
    return UnlistedMember(
      report: claim.report, member: claim.identity, newest: newest.identity,
      inItsPlace: inItsPlace ?? .none)
  }

  /// Whether a member that is listed as current is a copy of some time before.
  ///
  /// An epoch is durable in both superblocks of all current members before its first batch is
  /// written. So a current member that does not know an epoch of which another one says that batches
  /// of it were durable, or that it ended in good order, has forgotten it. A crash while an epoch
  /// begins leaves neither.
  ///
  /// - Returns: its slot, if it is.
  private func olderCopySlot(_ claim: Claim, _ found: Contents) -> Int? {
    guard let slot = found.currentSlot(claim), !ignoresList else { return nil }
    let isOlder = claims.contains { other in
      let superblock = other.superblock
      return found.currentSlot(other) != nil
        && superblock.logEpoch > claim.superblock.logEpoch
        && (superblock.isClean
          || max(superblock.horizon, superblock.checkpointSequence)
            >= superblock.epochFirstSequence)
    }
    return isOlder ? slot : nil
  }

  private func content(_ claim: Claim, _ list: Superblock, _ slot: Int) -> SlotContent {
    let report = claim.report
    if ignoresList, claim.superblock.eventCount == list.eventCount {
      return .current(report: report)
    }
    // Whatever it carries: nobody has taken it back.
    if list.memberStates[slot] == .failed { return .stale(report: report, .failed) }
    guard list.carries(claim.superblock) else {
      return .stale(report: report, .unfinishedConfiguration)
    }
    switch list.memberStates[slot] {
    // Also with an older configuration: then a crash came between the survivors' updates, and the
    // newest is not in force yet.
    case .current: return .current(report: report)
    case .syncing:
      if options.plantedBug == .syncingMemberIsRead { return .current(report: report) }
      return .stale(report: report, .syncing)
    case .out, .failed:
      let eventsBehind = list.eventCount - claim.identity.eventCount
      return .stale(report: report, .out(eventsBehind: eventsBehind))
    }
  }

  // MARK: Whether it may start

  private func plan(
    _ geometry: StripeGeometry, _ newest: Claim, _ contents: Contents
  ) throws(AssemblyRefusal) -> AssemblyPlan {
    let list = newest.superblock
    let slots = contents.slots
    let current = claims.filter { contents.currentSlot($0) != nil }
    let currentSlots = SlotSet(current.compactMap(contents.currentSlot))
    let lost = geometry.allSlots.subtracting(currentSlots)
    let missing = slots.indices
      .filter { if case .missing = slots[$0] { true } else { false } }
      .map { absentMember($0, list.memberIDs[$0]) }
    let stale = claims.filter { claim in
      slots.contains { if case .stale(claim.report, _) = $0 { true } else { false } }
    }.map(\.identity)
    guard geometry.canServe(without: lost) else {
      throw .tooFew(
        Shortage(
          arrayName: list.name, arrayID: list.arrayID, geometry: geometry, missing: missing,
          stale: stale, unreadable: unreadable, currentCount: current.count, lostSlots: lost))
    }
    let absent = missing.filter { list.memberStates[$0.slot] == .current }
    let couldServeAlone = geometry.canServe(
      without: geometry.allSlots.subtracting(SlotSet(absent.map(\.slot))))
    let isProven = options.knownConfiguration == list.configurationID.description
    let mayHaveDiverged = !absent.isEmpty && couldServeAlone && !isProven && !ignoresList
    guard !mayHaveDiverged || options.isForced else {
      throw .mayHaveDiverged(
        Absence(
          arrayName: list.name, arrayID: list.arrayID, missing: absent, unreadable: unreadable,
          present: current.map(\.identity), newestConfiguration: list.configurationID,
          eventCount: list.eventCount, knownConfiguration: options.knownConfiguration))
    }
    return assembled(geometry, newest, contents, current, wasForced: mayHaveDiverged)
  }

  private func absentMember(_ slot: Int, _ memberID: Identifier) -> AbsentMember {
    AbsentMember(
      slot: slot, memberID: memberID,
      absence: options.absences[memberID.description] ?? MemberAbsence())
  }

  private func assembled(
    _ geometry: StripeGeometry, _ newest: Claim, _ contents: Contents, _ current: [Claim],
    wasForced: Bool
  ) -> AssemblyPlan {
    let carriers = current.filter { isSame($0, newest) }
    let chosen = carriers.first ?? newest
    var superblocks = [Superblock?](repeating: nil, count: geometry.memberCount)
    for claim in current {
      guard let slot = contents.currentSlot(claim) else { continue }
      superblocks[slot] = claim.superblock
      // It may say its seat, where a crash came while it took the slot.
      superblocks[slot]?.slot = slot
      if options.plantedBug == .replacedMemberTakenBack {
        superblocks[slot]?.memberID = newest.superblock.memberIDs[slot]
      }
    }
    // Behind the first of equals nothing moves: the lowest slot wins. Only current members count:
    // who has the newest list need not be one.
    let first = carriers.first ?? current.first ?? newest
    let checkpoint = current.map(\.superblock).reduce(first.superblock) { best, next in
      (best.checkpointSequence, best.logEpoch, best.horizon)
        < (next.checkpointSequence, next.logEpoch, next.horizon) ? next : best
    }
    let isClean = current.allSatisfy {
      $0.superblock.isClean && $0.superblock.logEpoch == checkpoint.logEpoch
        && $0.superblock.checkpointSequence == checkpoint.checkpointSequence
    }
    let warnings = AssemblyWarnings(
      reports: reports, list: chosen.superblock, slots: contents.slots,
      reserves: contents.reserves, unlisted: contents.unlisted, unreadable: unreadable,
      wasForced: wasForced, knownConfiguration: options.knownConfiguration)
    return AssemblyPlan(
      geometry: geometry, layout: chosen.superblock.layout, newest: chosen.superblock,
      slots: contents.slots, reserves: contents.reserves, unlisted: contents.unlisted,
      superblocks: superblocks, checkpoint: checkpoint, isClean: isClean,
      wasForced: wasForced, warnings: warnings.lines)
  }
}
