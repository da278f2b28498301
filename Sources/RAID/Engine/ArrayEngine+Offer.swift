package import DiskFormat
import Geometry
import IO

/// What becomes of a member that was offered to an array that is being served.
package enum MemberOffer: Equatable, Sendable {
  /// It is brought up to date and then believed; its disk belongs to the array from now on.
  case taken
  /// Not now: somebody is in its slot, or something of before is still under way there.
  case busy
  /// It is not a member that can come back, and why: the end of a sentence that begins with it.
  case refused(String)
}

// What the world outside tells of members' places: files that vanish, shrink and come back.
extension ArrayEngine {
  /// A member that was absent is there now: takes it back if it is who it should be.
  ///
  /// - Parameter handle: its disk stays the caller's unless it is taken.
  /// - Returns: what became of it.
  package func offer(_ handle: MemberHandle<D>) async -> MemberOffer {
    guard isOpen, membership.stopReason == nil else { return .busy }
    let report = await MemberReport.read(handle)
    guard isOpen, membership.stopReason == nil else { return .busy }
    return take(handle, report)
  }

  /// The file of a member is not what it was: the member is put out.
  package func noteLoss(_ loss: MemberLoss, of memberID: Identifier) async {
    guard isOpen, let slot = slot(of: memberID), parts.members[slot].disk != nil else { return }
    try? await membership.expel(slot, .lost(loss))
  }

  /// The file of a member that was put out by `noteLoss` is what it was again.
  package func noteReturn(of memberID: Identifier) {
    guard isOpen, let slot = slot(of: memberID),
      case .lost(let loss) = parts.members[slot].outReason,
      parts.members[slot].state == .out, readmissionNanoseconds[slot] == nil
    else { return }
    // What was cut off is gone, also where nothing was written meanwhile.
    if case .cutShort = loss { lackingSlots.insert(slot) }
    guard resyncsAutomatically else { return }
    readmissionNanoseconds[slot] = 0
    wakeJanitor()
  }

  private func slot(of memberID: Identifier) -> Int? {
    membership.place(of: memberID)
  }

  /// Looks who it is, and leaves the rest to the janitor.
  func take(_ handle: MemberHandle<D>, _ report: MemberReport) -> MemberOffer {
    guard let superblock = report.newest else {
      return .refused(report.trouble ?? "it has no superblock")
    }
    guard superblock.arrayID == parts.arrayID else {
      return .refused("it belongs to array '\(superblock.name)' \(superblock.arrayID)")
    }
    guard let slot = membership.configuration.place(of: superblock.memberID),
      parts.members[slot].memberID == superblock.memberID
    else {
      return .refused("member \(superblock.memberID) is not on the array's list")
    }
    // One that went on alone must not be overwritten (promise P7).
    guard membership.configuration.carries(superblock) else {
      return .refused(
        "its configuration \(superblock.configurationID) is not known here: it has been used "
          + "without the others, or was away for too long")
    }
    if handle.byteCount > 0, report.isCutShort { return .refused("it was cut short") }
    guard slot < geometry.memberCount else {
      guard parts.members[slot].disk == nil else { return .busy }
      take(slot, superblock, handle)
      note(slot, "is back, in its seat")
      wakeJanitor()
      return .taken
    }
    guard makeRoom(slot) else { return .busy }
    if parts.members[slot].isFailed {
      // It is there, for whoever wants it again.
      parts.members[slot].identify(superblock.memberID, name: handle.name)
      parts.members[slot].attach(handle.disk, state: .syncing)
      parts.members[slot].putOut(.commanded)
      return .taken
    }
    parts.members[slot].identify(superblock.memberID, name: handle.name)
    lateDisks[slot] = handle.disk
    probeReports[slot] = report
    if resyncsAutomatically { readmissionNanoseconds[slot] = 0 }
    wakeJanitor()
    return .taken
  }

  /// Whether nobody is in a slot, or only a file that is no longer at its place.
  private func makeRoom(_ slot: Int) -> Bool {
    let member = parts.members[slot]
    guard lateDisks[slot] == nil else { return false }
    guard member.disk != nil else { return true }
    guard member.state == .out, case .lost = member.outReason, member.isDrained,
      member.pendingCount == 0, !probedSlots.contains(slot), let old = member.detach()
    else { return false }
    // Another file: a copy of some time before, for all that is known.
    lackingSlots.insert(slot)
    let machine = machine
    Task(executorPreference: machine) { await old.close() }
    return true
  }
}
