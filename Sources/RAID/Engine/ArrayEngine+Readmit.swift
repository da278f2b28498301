import DiskFormat
import Geometry
import IO

// Members that come back: recognised by their superblock, brought up to date, and only then believed
// (promise P7, rules T4, T7).
extension ArrayEngine {
  /// Begins with the members that were found stale at the start.
  func resyncStale() async {
    for slot in plan.staleSlots where !parts.members[slot].isFailed {
      readmissionNanoseconds[slot] = 0
    }
    wakeJanitor()
  }

  /// From now on members are brought up to date by themselves, those that wait for it first.
  func resyncAutomatically() {
    guard isOpen, !resyncsAutomatically else { return }
    resyncsAutomatically = true
    // Those that hang or were cut off get their time.
    noteNewlyOut()
    for place in 0..<parts.members.seats.upperBound
    where readmissionNanoseconds[place] == nil && !divergedSlots.contains(place) {
      let member = parts.members[place]
      guard member.state != .current, member.state != .syncing, member.targetSlot == nil else {
        continue
      }
      switch member.outReason {
      // A file that is still away is missed again.
      case nil, .lost(.removed), .lost(.cutShort):
        if member.disk != nil { readmissionNanoseconds[place] = 0 }
      default: break
      }
      // Another disk for it has turned up.
      if lateDisks[place] != nil { readmissionNanoseconds[place] = 0 }
    }
    parts.events.note("members that are out are brought up to date by themselves from now on")
    wakeJanitor()
  }

  /// Takes back the members that answer again, as far as now is the time.
  ///
  /// - Returns: whether there is more to do at once.
  func readmitRecovered() async -> Bool {
    guard isOpen, membership.stopReason == nil else { return false }
    if resyncsAutomatically { noteNewlyOut() }
    guard !keeper.isJoining, !readmissionNanoseconds.isEmpty else { return false }
    let now = machine.nowNanoseconds
    var next = UInt64.max
    for (slot, time) in readmissionNanoseconds.sorted(by: { $0.key < $1.key }) {
      // Failed by an operator while it was asked whether it is back.
      guard !parts.members[slot].isFailed else {
        readmissionNanoseconds[slot] = nil
        continue
      }
      guard time <= now else {
        next = min(next, time)
        continue
      }
      guard !probedSlots.contains(slot) else { continue }
      guard let report = probeReports.removeValue(forKey: slot) else {
        probe(slot)
        continue
      }
      if await readmit(slot, report) {
        readmissionNanoseconds[slot] = nil
        return true
      }
      readmissionNanoseconds[slot] = now + options.readmissionDelayNanoseconds
      next = min(next, now + options.readmissionDelayNanoseconds)
    }
    if next != .max { wakeJanitorLater(next - now) }
    return false
  }

  /// Members that hung or were cut off are tried again; those that failed a write are not.
  private func noteNewlyOut() {
    for slot in 0..<parts.members.seats.upperBound
    where parts.members[slot].state == .out && parts.members[slot].targetSlot == nil {
      guard readmissionNanoseconds[slot] == nil, !divergedSlots.contains(slot) else { continue }
      switch parts.members[slot].outReason {
      case .timedOut, .disconnected:
        slotsToRetire.insert(slot)
        readmissionNanoseconds[slot] =
          machine.nowNanoseconds + options.readmissionDelayNanoseconds
      default: continue
      }
    }
  }

  /// Asks a member for its superblocks, in a task of its own: it may hang.
  private func probe(_ slot: Int) {
    let member = parts.members[slot]
    guard let disk = member.disk ?? lateDisks[slot] else { return }
    probedSlots.insert(slot)
    let handle = MemberHandle(name: member.name, disk: disk, byteCount: 0)
    let machine = machine
    Task(executorPreference: machine) { await self.probe(slot, handle) }
  }

  private func probe(_ slot: Int, _ handle: MemberHandle<D>) async {
    if slotsToRetire.contains(slot) {
      slotsToRetire.remove(slot)
      // What hangs on it comes back, where that can be had.
      await handle.disk.retire()
    }
    var report: MemberReport?
    // Writes of before may still land: first they must be done (rule T7).
    if parts.members[slot].isDrained || options.plants(.oldWritesNotDrained),
      await handle.disk.revive()
    {
      report = await MemberReport.read(handle)
    }
    probedSlots.remove(slot)
    if let report {
      probeReports[slot] = report
    } else {
      readmissionNanoseconds[slot] =
        machine.nowNanoseconds + options.readmissionDelayNanoseconds
    }
    wakeJanitor()
  }

  /// Goes on asking members that did not answer at the start, or had no superblock to be read.
  func watchForLate(_ member: MemberHandle<D>, _ index: Int, _ probe: MemberProbe<M, D>) {
    let machine = machine
    Task(executorPreference: machine) { await self.waitForLate(member, index, probe) }
  }

  private func waitForLate(
    _ handle: MemberHandle<D>, _ index: Int, _ probe: MemberProbe<M, D>
  ) async {
    // What was asked at the start is still on its way: nothing else is asked before.
    var report = await probe.answer(index)
    while report.newest == nil, !isEnding {
      await machine.sleep(nanoseconds: options.readmissionDelayNanoseconds)
      if isEnding { return }
      report = await MemberReport.read(handle)
    }
    guard !isEnding else { return }
    if case .refused(let reason) = take(handle, report) {
      parts.events.note("\(handle.name) is not taken back: \(reason)", .warning)
    }
  }

  /// Members that are out are to be taken back, but for those that an operator put out.
  package func takeBackMembers() {
    for slot in 0..<parts.members.seats.upperBound
    where parts.members[slot].state == .out && parts.members[slot].disk != nil
      && !parts.members[slot].isFailed
      && parts.members[slot].targetSlot == nil
      && readmissionNanoseconds[slot] == nil
    {
      readmissionNanoseconds[slot] = 0
    }
    wakeJanitor()
  }

  /// Makes a member that is out `syncing`, if it is there and is who it should be.
  private func readmit(_ slot: Int, _ report: MemberReport) async -> Bool {
    if lackingSlots.contains(slot) {
      // Durably, before the list lets it back: a crash must not forget what it lacks (T3, T4). The
      // marks stay while it is out.
      do throws(ArrayError) { try await parts.markAllChangedDurably() } catch { return false }
      lackingSlots.remove(slot)
    }
    let member = parts.members[slot]
    guard member.state != .current, member.state != .syncing,
      let disk = member.disk ?? lateDisks[slot]
    else { return true }
    // Writes of before may still land: first they must be done (rule T7).
    guard member.isDrained || options.plants(.oldWritesNotDrained) else { return false }
    guard let superblock = report.newest, superblock.arrayID == parts.arrayID,
      superblock.memberID == member.memberID,
      membership.configuration.place(of: superblock.memberID) == slot
    else { return false }
    guard membership.configuration.isHeir(of: superblock) else {
      // What it has is nowhere else: that is the operator's to throw away (promise P7).
      divergedSlots.insert(slot)
      parts.events.note(
        "member \(slot) (\(member.name)) has been used without the others and is left alone: "
          + "'ashlar examine' tells what it has", .warning)
      return true
    }
    lateDisks[slot] = nil
    if slot >= geometry.memberCount {
      take(slot, superblock, MemberHandle(name: member.name, disk: disk, byteCount: 0))
      note(slot, "is back, in its seat")
      return true
    }
    superblocks.adopt(superblock, slot: slot)
    member.attach(disk, state: .syncing)
    parts.events.note("member \(slot) (\(member.name)) is back and is being brought up to date")
    do throws(ArrayError) {
      try await membership.change()
    } catch {
      return true
    }
    keeper.resync(slot)
    return true
  }

  /// The last step of a resync: the member has a say again.
  func becomeCurrent(_ slot: Int) async throws(ArrayError) {
    parts.members[slot].setState(.current)
    try await membership.change()
    guard parts.members[slot].state == .current else { return }
    parts.events.note(
      "member \(slot) (\(parts.members[slot].name)) is up to date"
        + (parts.hasIncompleteMembers ? "" : "; all members are in sync"))
    if !parts.hasIncompleteMembers { parts.clearChanged() }
    parts.recheckLostBlocks()
    wakeJanitor()
  }

  /// Unless it is going to be woken earlier anyway: these tasks must not become more and more.
  func wakeJanitorLater(_ nanoseconds: UInt64) {
    let time = machine.nowNanoseconds &+ nanoseconds
    guard time < janitorNanoseconds else { return }
    janitorNanoseconds = time
    let machine = machine
    Task(executorPreference: machine) {
      await self.wakeJanitor(at: time, afterNanoseconds: nanoseconds)
    }
  }

  private func wakeJanitor(at time: UInt64, afterNanoseconds nanoseconds: UInt64) async {
    await machine.sleep(nanoseconds: nanoseconds)
    if janitorNanoseconds == time { janitorNanoseconds = .max }
    wakeJanitor()
  }
}
