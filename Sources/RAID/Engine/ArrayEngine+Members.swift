package import DiskFormat
import Geometry
import IO

// What an operator does to members while they serve (docs/upkeep.md, section 2). Each command is one
// configuration, durable on all survivors before the command returns; none waits for a rebuild.
extension ArrayEngine {
  /// Takes a member out of the array, if the level can spare it; a spare takes its slot at once.
  ///
  /// It stays out until it is added again, removed or replaced, also over a restart.
  package func failMember(_ memberID: Identifier) async throws(MemberCommandError) {
    try checkCommands()
    let slot = try place(of: memberID)
    guard slot < geometry.memberCount else { throw .isReserve(seat: slot) }
    let member = parts.members[slot]
    try checkSpareable(slot)
    do throws(ArrayError) {
      if member.state == .current || member.state == .syncing || member.isFailed {
        try await membership.expel(slot, .commanded)
      } else {
        // It was out for another reason, for which it might have come back.
        member.putOut(.commanded)
        try await membership.change()
      }
    } catch {
      throw .stopped(error)
    }
    wakeJanitor()
  }

  /// Takes a member again that an operator had put out: everything on it is written anew.
  ///
  /// - Returns: its slot.
  package func reinstateMember(
    _ memberID: Identifier
  ) async throws(MemberCommandError) -> Int {
    await commandTurn.acquire()
    defer { commandTurn.release() }
    _ = try failedSlot(of: memberID)
    do throws(ArrayError) {
      // Whoever was put out by somebody's hand may have been changed by it. Before the list says
      // that it may come back, as for a member that is new in a slot.
      try await parts.markAllChangedDurably()
    } catch {
      throw .stopped(error)
    }
    // While that was written it may have gone from its slot.
    let slot = try failedSlot(of: memberID)
    parts.members[slot].endFailure("it is being taken back")
    do throws(ArrayError) {
      try await membership.change()
    } catch {
      throw .stopped(error)
    }
    note(slot, "is taken back by command")
    readmissionNanoseconds[slot] = 0
    wakeJanitor()
    return slot
  }

  /// The slot of a member that can be reinstated.
  private func failedSlot(of memberID: Identifier) throws(MemberCommandError) -> Int {
    try checkCommands()
    let slot = try place(of: memberID)
    let member = parts.members[slot]
    guard slot < geometry.memberCount, member.isFailed else {
      throw .isMember(name: member.name, memberID: memberID)
    }
    guard replacement(of: slot) == nil else {
      throw .busy("the member in slot \(slot) has a replacement, which takes the slot")
    }
    guard member.disk != nil || lateDisks[slot] != nil else {
      throw .notThere(slot: slot, name: member.name)
    }
    return slot
  }

  /// Takes a spare, a replacement under way, or a member that is out off the list: it is not taken
  /// back.
  package func removeMember(_ memberID: Identifier) async throws(MemberCommandError) {
    await commandTurn.acquire()
    defer { commandTurn.release() }
    try checkCommands()
    let place = try place(of: memberID)
    let state = parts.members[place].state
    guard place >= geometry.memberCount || (state != .current && state != .syncing) else {
      throw .isServing(slot: place)
    }
    do throws(ArrayError) {
      if place >= geometry.memberCount {
        try await dismiss(place)
      } else if let seat = replacement(of: place) {
        // It has a successor, there or not.
        if parts.members[seat].isUsable {
          try await takeSlot(seat, place, isFresh: false)
        } else {
          try await dismiss(seat)
          try await leaveEmpty(place)
        }
      } else {
        try await leaveEmpty(place)
      }
    } catch {
      throw .stopped(error)
    }
  }

  /// Makes a device a member: in a slot whose member failed or was removed, else as a spare.
  ///
  /// What it holds is destroyed. Its disk is the array's from the call on, whatever comes of it.
  package func addMember(
    _ handle: MemberHandle<D>
  ) async throws(MemberCommandError) -> MemberSeat {
    let seat = try await admit(handle)
    await commandTurn.acquire()
    defer { commandTurn.release() }
    do throws(ArrayError) {
      guard parts.members[seat].isUsable else { throw failed(seat) }
      if let slot = slotInNeed() {
        try await takeSlot(seat, slot, isFresh: true)
        return .slot(slot)
      }
      membership.list(Reserve(seat: seat, memberID: parts.members[seat].memberID))
      try await membership.change(new: seat)
      note(seat, "is a spare")
      wakeJanitor()
      return .spare(seat: seat)
    } catch {
      await abandon(seat)
      throw .stopped(error)
    }
  }

  /// Puts a device in a member's place: at once where that one is out, else when it is a copy of it.
  ///
  /// What the device holds is destroyed. Its disk is the array's from the call on.
  package func replaceMember(
    _ memberID: Identifier, with handle: MemberHandle<D>
  ) async throws(MemberCommandError) {
    do throws(MemberCommandError) {
      try checkReplaceable(memberID)
    } catch {
      close(handle.disk)
      throw error
    }
    let seat = try await admit(handle)
    await commandTurn.acquire()
    defer { commandTurn.release() }
    do throws(MemberCommandError) {
      let slot = try checkReplaceable(memberID)
      do throws(ArrayError) {
        guard parts.members[seat].isUsable else { throw failed(seat) }
        if parts.members[slot].state == .current {
          try await beginReplacement(seat, slot)
        } else {
          try await takeSlot(seat, slot, isFresh: true)
        }
      } catch {
        throw .stopped(error)
      }
    } catch {
      await abandon(seat)
      throw error
    }
  }

  // MARK: Checks

  private func checkCommands() throws(MemberCommandError) {
    guard isOpen, membership.stopReason == nil else { throw .stopped(stoppedError) }
  }

  private func place(of memberID: Identifier) throws(MemberCommandError) -> Int {
    guard memberID != .none, let place = membership.place(of: memberID) else {
      throw .notAMember(memberID)
    }
    return place
  }

  private func checkSpareable(_ slot: Int) throws(MemberCommandError) {
    guard parts.members[slot].state == .current else { return }
    let left = parts.members.currentSlots.subtracting(SlotSet([slot]))
    guard geometry.canServe(without: geometry.allSlots.subtracting(left)) else {
      throw .wouldStop(slot: slot, words: "too few are left, and the array would stop")
    }
  }

  /// - Returns: the slot of a member that can be replaced.
  @discardableResult
  private func checkReplaceable(_ memberID: Identifier) throws(MemberCommandError) -> Int {
    try checkCommands()
    let slot = try place(of: memberID)
    guard slot < geometry.memberCount else { throw .isReserve(seat: slot) }
    guard replacement(of: slot) == nil else {
      throw .busy(
        "the member in slot \(slot) is being replaced already: remove its replacement first")
    }
    guard parts.members[slot].state != .syncing else {
      throw .busy(
        "the member in slot \(slot) is being brought up to date: wait for it, or take it out first")
    }
    return slot
  }

  /// The seat of the replacement of a slot, there or not.
  func replacement(of slot: Int) -> Int? {
    parts.members.seats.first { parts.members[$0].targetSlot == slot }
  }

  // MARK: Coming and going

  /// Gives a new member a seat, and prepares it there.
  private func admit(_ handle: MemberHandle<D>) async throws(MemberCommandError) -> Int {
    // It has no lanes yet, and may hang.
    let answers = await MemberProbe<M, D>(machine).ask(
      [handle], withinNanoseconds: options.memberDeadlineNanoseconds)
    let seat: Int
    do throws(MemberCommandError) {
      try checkCommands()
      guard let report = answers.first ?? nil else {
        throw .notWritable(name: handle.name, words: ExpulsionReason.timedOut.words)
      }
      seat = try chooseSeat(handle, report)
    } catch {
      close(handle.disk)
      throw error
    }
    let member = parts.members[seat]
    member.identify(membership.drawIdentifier(), name: handle.name)
    member.attach(handle.disk, state: .syncing)
    let preparation = MemberPreparation(
      members: parts.members, seat: seat, arrayID: parts.arrayID)
    if let failure = await preparation.run() {
      let words = (failure.reasonToExpel ?? .disconnected).words
      await abandon(seat)
      throw .notWritable(name: handle.name, words: words)
    }
    membership.adoptNew(seat)
    return seat
  }

  private func chooseSeat(
    _ handle: MemberHandle<D>, _ report: MemberReport
  ) throws(MemberCommandError) -> Int {
    let needed = parts.layout.endBytes(geometry: geometry)
    guard handle.byteCount >= needed else {
      throw .tooSmall(neededBytes: needed, haveBytes: handle.byteCount)
    }
    if let known = report.newest, known.arrayID == parts.arrayID,
      let place = membership.place(of: known.memberID)
    {
      throw .isMember(name: parts.members[place].name, memberID: known.memberID)
    }
    let free = parts.members.seats.first { seat in
      parts.members[seat].memberID == .none && parts.members[seat].disk == nil
    }
    guard let free else { throw .noRoom }
    return free
  }

  private func failed(_ seat: Int) -> ArrayError {
    let member = parts.members[seat]
    return .stopped("\(member.name) is out: \(member.whyOut)")
  }

  /// A seat whose member does not become one.
  private func abandon(_ seat: Int) async {
    membership.unlist(seat)
    await emptyPlace(seat)
  }

  /// Takes a reserve off the list.
  func dismiss(_ seat: Int) async throws(ArrayError) {
    let member = parts.members[seat]
    parts.members.endMirroring(to: seat)
    if member.state == .syncing { member.putOut(.commanded) }
    membership.unlist(seat)
    try await membership.change()
    note(seat, "is not a reserve any more")
    await emptyPlace(seat)
    if !parts.hasIncompleteMembers { parts.clearChanged() }
  }

  /// Takes a member that is out off the list; nobody has its slot then.
  private func leaveEmpty(_ slot: Int) async throws(ArrayError) {
    let name = parts.members[slot].name
    forgetReturn(slot)
    await emptyPlace(slot)
    try await membership.change()
    parts.events.note("member \(slot) (\(name)) was removed: its slot is empty")
  }

  private func emptyPlace(_ place: Int) async {
    var old = parts.members[place]
    await superblocks.forget(place) { old = parts.members.empty(place) }
    closeWhenDrained(old)
  }

  /// Nobody is awaited any more in a slot.
  func forgetReturn(_ slot: Int) {
    readmissionNanoseconds[slot] = nil
    probeReports[slot] = nil
    divergedSlots.remove(slot)
    outSince[slot] = nil
    if let disk = lateDisks.removeValue(forKey: slot) { close(disk) }
  }

  func note(_ place: Int, _ words: String) {
    parts.events.note("member \(place) (\(parts.members[place].name)) \(words)")
  }

  private func close(_ disk: D) {
    let machine = machine
    Task(executorPreference: machine) { await disk.close() }
  }

  /// Closes the disk of a member that has left, when nothing of it is with the kernel any more.
  func closeWhenDrained(_ member: Member<M, D>) {
    departed.append(member)
    let machine = machine
    Task(executorPreference: machine) { await self.closeDeparted() }
  }

  private func closeDeparted() async {
    guard let member = departed.popLast() else { return }
    // Whoever still asks it for its superblocks does so by no lane.
    while probedSlots.contains(member.slot), !isEnding {
      await machine.sleep(nanoseconds: options.readmissionDelayNanoseconds)
    }
    if !member.isDrained, let disk = member.disk {
      // What hangs on it comes back, where that can be had.
      await disk.retire()
    }
    await member.waitUntilDrained()
    if member.pendingCount == 0, let disk = member.detach() { await disk.close() }
  }
}
