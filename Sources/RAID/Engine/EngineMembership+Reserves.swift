import DiskFormat
import Geometry
import IO

/// A replacement on its way from its seat to its target's slot.
struct Exchange {
  let seat: Int
  let slot: Int
  /// What went wrong with it meanwhile.
  var failure: ExpulsionReason?
}

// Members beside the slots (docs/upkeep.md, sections 1 to 3). The list of them is part of the
// configuration; whoever changes it calls `change`, and members get superblocks once they are on it.
extension EngineMembership {
  /// A reserve has failed: it gets nothing more, and nobody else is the worse.
  ///
  /// The engine takes a replacement off the list then.
  func dropReserve(_ seat: Int, _ reason: ExpulsionReason) {
    guard exchange?.seat != seat else {
      if exchange?.failure == nil { exchange?.failure = reason }
      return
    }
    let member = members[seat]
    guard member.state == .syncing else { return }
    members.endMirroring(to: seat)
    member.putOut(reason)
    let kind = member.targetSlot.map { "the replacement of member \($0)" } ?? "the spare"
    events.note("\(kind) (\(member.name)) is out: it \(reason.words)", .warning)
    onExpulsion()
  }

  /// Where a member is now: its slot or its seat.
  func place(of memberID: Identifier) -> Int? {
    (0..<members.seats.upperBound).first { members[$0].memberID == memberID }
  }

  /// A new member has a seat; its superblocks begin when it is on the list.
  func adoptNew(_ seat: Int) {
    var superblock = configuration
    superblock.memberID = members[seat].memberID
    superblock.slot = seat
    superblock.superblockSequence = 0
    superblocks.adopt(superblock, slot: seat)
  }

  /// Puts a reserve on the list, not yet durably.
  func list(_ reserve: Reserve) {
    reserves.append(reserve)
    reserves.sort { $0.seat < $1.seat }
  }

  /// Takes a reserve off the list, not yet durably.
  func unlist(_ seat: Int) { reserves.removeAll { $0.seat == seat } }

  /// Lets a new member, or a replacement whose target is out, take a slot: it is *syncing* there.
  ///
  /// Not yet durably: `change` comes next. What the new member lacks is marked in the map.
  ///
  /// - Returns: who was in the slot, to be closed.
  func takeSlot(_ seat: Int, _ slot: Int) async -> Member<M, D> {
    var old = members[slot]
    await superblocks.move(seat, to: slot) {
      old = members.promote(seat, to: slot)
      parts?.table.forgetCopies(of: slot)
      unlist(seat)
    }
    return old
  }

  /// Lets a replacement that has everything change places with its target.
  ///
  /// - Precondition: all of the log is home, and nothing is appended to it until the return.
  /// - Returns: who was in the slot, to be closed; nil when the replacement failed, and nothing
  ///   has changed.
  func changePlaces(_ seat: Int, _ slot: Int) async throws(ArrayError) -> Member<M, D>? {
    pendingChanges += 1
    defer { pendingChanges -= 1 }
    // Its superblocks tell of the end of the log: after a crash the list that counts may be on
    // another member only.
    for _ in 0..<2 { try await writeAll(isChange: true) }
    guard members[seat].isUsable, members[slot].state == .current else { return nil }
    exchange = Exchange(seat: seat, slot: slot)
    try await writeConfiguration()
    guard exchange?.failure == nil, members[seat].isUsable else {
      try await takeBack()
      return nil
    }
    var old = members[slot]
    var failure: ExpulsionReason?
    await superblocks.move(seat, to: slot) {
      old = members.promote(seat, to: slot)
      members[slot].setState(.current)
      unlist(seat)
      failure = exchange?.failure
      exchange = nil
    }
    if let failure { try await expel(slot, failure) }
    return old
  }

  /// The replacement failed at the last moment: its target stays where it is.
  private func takeBack() async throws(ArrayError) {
    guard let given = exchange else { return }
    exchange = nil
    dropReserve(given.seat, given.failure ?? .timedOut)
    guard geometry.canServe(without: geometry.allSlots.subtracting(members.currentSlots)) else {
      let text =
        "member \(given.slot) and its replacement failed, and without them too few are left"
      stop(text)
      throw .stopped(text)
    }
    // Who was left out has the list again that it is on; the engine takes the other one off.
    try await writeConfiguration()
  }
}
