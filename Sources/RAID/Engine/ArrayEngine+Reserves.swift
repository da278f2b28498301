import DiskFormat
import Geometry
import IO

// Spares that take a slot, and replacements that become members (docs/upkeep.md, sections 2 and 3).
extension ArrayEngine {
  /// Whether a slot waits for somebody new: its member failed, was removed, or has been away for
  /// long enough.
  private func isInNeed(_ slot: Int, _ now: UInt64) -> Bool {
    let member = parts.members[slot]
    guard member.state != .current, member.state != .syncing, replacement(of: slot) == nil else {
      return false
    }
    if member.memberID == .none { return true }
    switch member.outReason {
    case .writeFailed, .synchronizeFailed, .wroteWrong, .commanded, .lost(.replaced): return true
    case .timedOut, .disconnected, .lost(.removed), .lost(.cutShort), nil: break
    }
    guard let since = outSince[slot] else { return false }
    return now - min(now, since) >= options.spareDelayNanoseconds
  }

  /// The first slot that a new member takes.
  func slotInNeed() -> Int? {
    let now = machine.nowNanoseconds
    return (0..<geometry.memberCount).first { isInNeed($0, now) }
  }

  /// Takes care of reserves: lets spares and replacements take slots whose members are out, and
  /// takes replacements off the list that have failed.
  func tendReserves() async {
    guard isOpen, membership.stopReason == nil else { return }
    noteAbsences()
    guard !membership.reserves.isEmpty || !parts.members.incompleteTargets.isEmpty else { return }
    await commandTurn.acquire()
    defer { commandTurn.release() }
    guard isOpen, membership.stopReason == nil else { return }
    // Where it fails, the array has stopped, and says so.
    try? await dismissFailed()
    try? await fillSlots()
    beginPass()
  }

  /// The janitor comes again when somebody has been away for long enough.
  private func noteAbsences() {
    let now = machine.nowNanoseconds
    for slot in 0..<geometry.memberCount {
      let state = parts.members[slot].state
      guard state != .current, state != .syncing else {
        outSince[slot] = nil
        continue
      }
      let since = outSince[slot] ?? now
      outSince[slot] = since
      let waited = now - min(now, since)
      guard !membership.reserves.isEmpty, waited < options.spareDelayNanoseconds else { continue }
      wakeJanitorLater(options.spareDelayNanoseconds - waited)
    }
  }

  private func dismissFailed() async throws(ArrayError) {
    for reserve in membership.reserves where reserve.targetSlot != nil {
      // One that was not there at the start may still come.
      guard parts.members[reserve.seat].state == .out else { continue }
      try await dismiss(reserve.seat)
    }
  }

  private func fillSlots() async throws(ArrayError) {
    for slot in 0..<geometry.memberCount {
      let state = parts.members[slot].state
      if let seat = replacement(of: slot), parts.members[seat].isUsable, state == .out {
        try await takeSlot(seat, slot, isFresh: false)
      } else if resyncsAutomatically, isInNeed(slot, machine.nowNanoseconds), let seat = usableSpare
      {
        try await takeSlot(seat, slot, isFresh: true)
      }
    }
  }

  private var usableSpare: Int? {
    membership.reserves.first { $0.targetSlot == nil && parts.members[$0.seat].isUsable }?.seat
  }

  /// All together; those that come while others wait for the log, behind them.
  private func beginPass() {
    guard !keeper.isJoining else { return }
    for place in parts.members.incompleteTargets where !keeper.resync.hasTarget(place) {
      keeper.resync(place)
    }
  }

  /// Lets the member of a seat take a slot whose member is out, to be rebuilt there.
  ///
  /// One that is *fresh* lacks everything; of a replacement it is marked what it lacks.
  func takeSlot(_ seat: Int, _ slot: Int, isFresh: Bool) async throws(ArrayError) {
    let marksLate = options.plants(.configurationBeforeMarks)
    if isFresh, !marksLate { try await parts.markAllChangedDurably() }
    // While that was written somebody may have come back, or gone.
    guard parts.members[seat].isUsable else {
      throw .stopped("\(parts.members[seat].name) is out: \(parts.members[seat].whyOut)")
    }
    guard parts.members[slot].state != .current, parts.members[slot].state != .syncing else {
      throw .stopped("the member in slot \(slot) is back")
    }
    forgetReturn(slot)
    let old = await membership.takeSlot(seat, slot)
    closeWhenDrained(old)
    try await membership.change(new: slot)
    if isFresh, marksLate { parts.markAllChanged() }
    note(slot, "has taken the slot and is being rebuilt")
    wakeJanitor()
  }

  /// Begins to make the member of a seat a copy of the one in a slot.
  func beginReplacement(_ seat: Int, _ slot: Int) async throws(ArrayError) {
    let marksLate = options.plants(.configurationBeforeMarks)
    // From here on it gets what is written, and marks what it may lack.
    parts.members.beginMirroring(slot, to: seat)
    if !marksLate { try await parts.markAllChangedDurably() }
    guard parts.members[seat].isUsable, parts.members[slot].state == .current else {
      throw .stopped("the member in slot \(slot), or its replacement, has just failed")
    }
    membership.list(
      Reserve(seat: seat, memberID: parts.members[seat].memberID, targetSlot: slot))
    try await membership.change(new: seat)
    if marksLate { parts.markAllChanged() }
    note(seat, "is being made a copy of member \(slot), to replace it")
    wakeJanitor()
  }

  /// A replacement has everything: it changes places with its target.
  ///
  /// Called by the keeper of home, so nothing is written home meanwhile. Clients' writes wait until
  /// it has ended, well or not; their reads do not.
  func takeOver(_ seat: Int) async throws(ArrayError) {
    await commandTurn.acquire()
    defer { commandTurn.release() }
    guard let slot = targetToReplace(seat) else { return }
    let isEarly = options.plants(.exchangeBeforeLogIsHome)
    // Most of it while clients go on.
    if !isEarly { try await keeper.bringHome(through: parts.log.lastSequence) }
    parts.log.hold()
    defer { parts.log.endHold() }
    if !isEarly, try await !keeper.bringAllHome() { return }
    try await parts.synchronizeTargets([seat])
    guard targetToReplace(seat) != nil else { return }
    guard let old = try await membership.changePlaces(seat, slot) else {
      wakeJanitor()
      return
    }
    forgetReturn(slot)
    closeWhenDrained(old)
    note(slot, "has replaced the one that was there (\(old.name))")
    if !parts.hasIncompleteMembers { parts.clearChanged() }
    parts.recheckLostBlocks()
    wakeJanitor()
  }

  private func targetToReplace(_ seat: Int) -> Int? {
    guard parts.members[seat].isUsable, let slot = parts.members[seat].targetSlot,
      parts.members[slot].state == .current
    else { return nil }
    return slot
  }
}
