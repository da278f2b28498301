package import DiskFormat
package import Geometry
package import IO
package import Units

/// The members of an array by slot, and all operations on them.
///
/// Behind the slots come the seats of reserves. Nothing that is about slots ever meets them, but
/// what is written to table, map and data of a slot goes to its replacement as well.
///
/// The owner sets `spawnLane` before the first operation, and runs `runTicker` in a task of its own
/// as long as the array is used.
package final class MemberSet<M: Machine, D: Disk> {
  package let layout: MemberLayout
  package let options: ArrayOptions
  /// By slot, then by seat.
  private var members: [Member<M, D>] { didSet { commons.memberChanged() } }
  /// Members that have left, whose lanes have not.
  private var retired: [Member<M, D>] = []
  private var memberNumber = 0
  /// By slot: the seat of the replacement that gets what is written to it.
  private var mirrorSeats: [Int?]
  private let commons: MemberCommons<M>
  private let groups = OperationGroupPool()
  private var tickerCount = 0
  private var tickerEnd = WaitPoint()

  /// Learns of members that have just outlasted their deadline, after their operations failed.
  package var stalledHandler: ((SlotSet) -> Void)?

  /// A set of empty slots and seats: `attach` fills them.
  ///
  /// `laneCountMax` says how many operations a member is given at once.
  package init(
    machine: M, options: ArrayOptions, layout: MemberLayout, memberCount: Int,
    laneCountMax: Int = 64
  ) {
    precondition(memberCount > 0 && memberCount <= StripeGeometry.memberCountMax)
    precondition(laneCountMax > 0)
    self.layout = layout
    self.options = options
    let commons = MemberCommons(machine, options, laneCountMax: laneCountMax)
    self.commons = commons
    count = memberCount
    mirrorSeats = [Int?](repeating: nil, count: memberCount)
    members = []
    for place in 0..<memberCount + Superblock.reserveCountMax { members.append(makeMember(place)) }
  }

  private func makeMember(_ place: Int) -> Member<M, D> {
    memberNumber += 1
    return Member(slot: place, number: memberNumber, commons)
  }

  /// How many slots there are.
  package let count: Int
  /// The places of reserves, behind the slots.
  package var seats: Range<Int> { count..<members.count }
  package var machine: M { commons.machine }
  package subscript(slot: Int) -> Member<M, D> { members[slot] }

  /// Starts a task that awaits `runLane` of a member, on the actor and the machine of the array.
  package var spawnLane: (Int) -> Void {
    get { commons.spawnLane }
    set { commons.spawnLane = newValue }
  }

  /// The body of the task that `spawnLane` starts.
  package func runLane(_ number: Int) async {
    guard let member = (members + retired).first(where: { $0.number == number }) else { return }
    await member.runLane()
    forgetRetired()
  }

  /// Members that have a say and may be read.
  package var currentSlots: SlotSet { known.current }
  /// Members that are written: current ones, and those being brought up to date.
  package var writableSlots: SlotSet { known.writable }
  /// Members with writes that no fdatasync has covered.
  package var unsyncedSlots: SlotSet { slots { $0.isUsable && $0.hasUnsynced } }

  /// Where a member is now; nil when it has left, or has another disk by now.
  package func place(of attachment: MemberAttachment) -> Int? {
    members.firstIndex { $0.attachment == attachment }
  }

  /// Members that get nothing of what is written: they hang, or are out.
  package var unusableSlots: SlotSet { known.unusable }

  /// Whether that is so now: while one of them was put out, another may have been replaced.
  package func isUnusable(_ slot: Int) -> Bool { members[slot].isUnusable }

  /// What every request asks, as of a count of changes.
  private struct KnownSlots {
    var changeCount: UInt64 = 0
    var current = SlotSet()
    var writable = SlotSet()
    var unusable = SlotSet()
    var hasReplacements = false
  }

  private var knownSlots = KnownSlots()

  private var known: KnownSlots {
    if knownSlots.changeCount != commons.changeCount {
      knownSlots = KnownSlots(
        changeCount: commons.changeCount,
        current: slots { $0.state == .current && $0.isUsable }, writable: slots { $0.isUsable },
        unusable: slots(\.isUnusable),
        hasReplacements: seats.contains { members[$0].targetSlot != nil })
    }
    return knownSlots
  }

  private func slots(_ isMeant: (Member<M, D>) -> Bool) -> SlotSet {
    var found = SlotSet()
    for slot in 0..<count where isMeant(members[slot]) { found.insert(slot) }
    return found
  }

  // MARK: Reserves

  /// Whether some seat has a replacement, there or not.
  package var hasReplacements: Bool { known.hasReplacements }

  /// Who is being brought up to date and is there: members in slots that are syncing, and
  /// replacements of members that serve.
  package var incompleteTargets: SlotSet {
    slots { $0.state == .syncing && $0.isUsable }.union(
      SlotSet(
        seats.filter { seat in
          guard members[seat].isUsable, let slot = members[seat].targetSlot else { return false }
          return members[slot].state == .current
        }))
  }

  /// The slot whose blocks a member has or is to have: its own, or its target's.
  package func homeSlot(of place: Int) -> Int { members[place].targetSlot ?? place }

  /// From now on everything that is written to table, map and data of a slot goes to a replacement
  /// as well.
  package func beginMirroring(_ slot: Int, to seat: Int) {
    precondition(mirrorSeats[slot] == nil || mirrorSeats[slot] == seat)
    members[seat].targetSlot = slot
    mirrorSeats[slot] = seat
  }

  /// The replacement gets no more; whose it was is known until `empty`.
  package func endMirroring(to seat: Int) {
    for slot in mirrorSeats.indices where mirrorSeats[slot] == seat { mirrorSeats[slot] = nil }
  }

  /// Learns of what a replacement has missed: its seat, what it was, and why.
  package var mirrorFailed: (Int, MemberOperationKind, MemberError) -> Void {
    get { commons.mirrorFailed }
    set { commons.mirrorFailed = newValue }
  }

  /// Lets the member of a seat take a slot.
  ///
  /// - Returns: who was there; what is under way on it goes on, and its disk is to be closed when
  ///   it is drained.
  package func promote(_ seat: Int, to slot: Int) -> Member<M, D> {
    endMirroring(to: seat)
    let (old, new) = (members[slot], members[seat])
    new.slot = slot
    new.targetSlot = nil
    members[slot] = new
    members[seat] = makeMember(seat)
    retire(old)
    return old
  }

  /// Takes the member of a slot or seat away; nobody is there then.
  ///
  /// - Returns: that member, as `promote` does.
  package func empty(_ place: Int) -> Member<M, D> {
    endMirroring(to: place)
    let old = members[place]
    members[place] = makeMember(place)
    retire(old)
    return old
  }

  private func retire(_ old: Member<M, D>) {
    old.isRetired = true
    retired.append(old)
    old.endIdleLanes()
    forgetRetired()
  }

  private func forgetRetired() { retired.removeAll { $0.laneCount == 0 && $0.isDrained } }

  /// What all members have done together.
  package var totals: MemberCounters {
    members.reduce(into: MemberCounters()) { $0.add($1.counters) }
  }

  // MARK: Groups

  /// A group with nothing in it.
  package func makeGroup() -> OperationGroup { groups.take() }

  /// Gives a group back.
  ///
  /// Operations that are pending go on: it is used again when they have completed.
  package func release(_ group: OperationGroup) { group.letGo(to: groups) }

  // MARK: Operations

  /// Reads the whole of `buffer`; `owner` is kept until the kernel has returned it.
  package func read(
    _ slot: Int, atBytes offsetBytes: UInt64, into buffer: IOBuffer, keeping owner: OwnedBuffer,
    _ group: OperationGroup, tag: Int = 0
  ) {
    submit(slot, .read, offsetBytes, buffer, owner, nil, group, tag)
  }

  /// The same with an owner who cannot be asked whether the buffer is held.
  @_disfavoredOverload
  package func read(
    _ slot: Int, atBytes offsetBytes: UInt64, into buffer: IOBuffer, keeping owner: AnyObject,
    _ group: OperationGroup, tag: Int = 0
  ) {
    submit(slot, .read, offsetBytes, buffer, nil, owner, group, tag)
  }

  /// Writes the whole of `buffer`; `owner` is kept until the kernel has returned it.
  package func write(
    _ slot: Int, atBytes offsetBytes: UInt64, from buffer: IOBuffer, keeping owner: OwnedBuffer,
    _ group: OperationGroup, tag: Int = 0
  ) {
    submit(slot, .write, offsetBytes, buffer, owner, nil, group, tag)
  }

  /// The same with an owner who cannot be asked whether the buffer is held.
  @_disfavoredOverload
  package func write(
    _ slot: Int, atBytes offsetBytes: UInt64, from buffer: IOBuffer, keeping owner: AnyObject,
    _ group: OperationGroup, tag: Int = 0
  ) {
    submit(slot, .write, offsetBytes, buffer, nil, owner, group, tag)
  }

  /// fdatasync: covers the writes that have completed before.
  package func synchronize(_ slot: Int, _ group: OperationGroup, tag: Int = 0) {
    submit(slot, .synchronize, 0, nil, nil, nil, group, tag)
  }

  /// Gives a range's space back.
  ///
  /// A member that cannot fails with EOPNOTSUPP, and is unchanged.
  package func punch(
    _ slot: Int, _ range: ByteRange, _ group: OperationGroup, tag: Int = 0
  ) {
    let operation = make(.punch, group, tag)
    operation.offsetBytes = range.offsetBytes
    operation.byteCount = range.byteCount
    members[slot].submit(operation)
    guard slot < count, let seat = mirrorSeats[slot] else { return }
    let copy = make(.punch, group, -1)
    copy.isMirror = true
    copy.offsetBytes = range.offsetBytes
    copy.byteCount = range.byteCount
    members[seat].submit(copy)
  }

  /// Reads blocks of the data region that lie one behind the other.
  package func readData(
    _ place: BlockPlace, into buffer: IOBuffer, keeping owner: OwnedBuffer,
    _ group: OperationGroup, tag: Int = 0
  ) {
    read(
      place.slot, atBytes: dataOffset(place), into: buffer, keeping: owner, group, tag: tag)
  }

  /// Writes blocks of the data region that lie one behind the other.
  package func writeData(
    _ place: BlockPlace, from buffer: IOBuffer, keeping owner: OwnedBuffer,
    _ group: OperationGroup, tag: Int = 0
  ) {
    write(
      place.slot, atBytes: dataOffset(place), from: buffer, keeping: owner, group, tag: tag)
  }

  /// Gives back the space of blocks of the data region that lie one behind the other.
  package func punchData(
    _ place: BlockPlace, blockCount: UInt64, _ group: OperationGroup, tag: Int = 0
  ) {
    let start = dataOffset(place)
    let end = start + blockCount * StripeGeometry.blockBytes
    punch(place.slot, ByteRange(from: start, to: end), group, tag: tag)
  }

  /// Where a block lies, from the start of its member.
  package func dataOffset(_ place: BlockPlace) -> UInt64 {
    layout.dataOffset + place.memberBlock * StripeGeometry.blockBytes
  }

  private func submit(
    _ slot: Int, _ kind: MemberOperationKind, _ offsetBytes: UInt64, _ buffer: IOBuffer?,
    _ ownedBuffer: OwnedBuffer?, _ owner: AnyObject?, _ group: OperationGroup, _ tag: Int
  ) {
    let operation = make(kind, group, tag)
    operation.offsetBytes = offsetBytes
    operation.byteCount = UInt64(buffer?.byteCount ?? 0)
    operation.buffer = buffer
    operation.owner = owner
    operation.ownedBuffer = ownedBuffer
    ownedBuffer?.operationSubmitted()
    members[slot].submit(operation)
    guard kind == .write, slot < count, let seat = mirrorSeats[slot], let buffer else { return }
    mirror(seat, offsetBytes, buffer, ownedBuffer, owner, group)
  }

  /// Gives a replacement what its target gets.
  ///
  /// Pages of table and map go to both of their slots: which one is newest on the target is not
  /// known of the replacement, and nothing that it had may be left.
  private func mirror(
    _ seat: Int, _ offsetBytes: UInt64, _ buffer: IOBuffer, _ ownedBuffer: OwnedBuffer?,
    _ owner: AnyObject?, _ group: OperationGroup
  ) {
    func write(_ offsetBytes: UInt64, _ part: IOBuffer) {
      let operation = make(.write, group, -1)
      operation.isMirror = true
      operation.offsetBytes = offsetBytes
      operation.byteCount = UInt64(part.byteCount)
      operation.buffer = part
      operation.owner = owner
      operation.ownedBuffer = ownedBuffer
      ownedBuffer?.operationSubmitted()
      members[seat].submit(operation)
    }
    guard offsetBytes >= layout.tableOffset, !options.plants(.replacementMissesWrites) else {
      return
    }
    guard offsetBytes < layout.dataOffset else { return write(offsetBytes, buffer) }
    let region = offsetBytes < layout.mapOffset ? layout.tableOffset : layout.mapOffset
    let pageBytes = Int(TablePlacement.slotBytes)
    precondition(buffer.byteCount == pageBytes)
    let pair =
      region + (offsetBytes - region) / (2 * TablePlacement.slotBytes) * 2
      * TablePlacement.slotBytes
    write(pair, buffer)
    write(pair + TablePlacement.slotBytes, buffer)
  }

  private func make(
    _ kind: MemberOperationKind, _ group: OperationGroup, _ tag: Int
  ) -> MemberOperation {
    let operation = commons.operations.take()
    operation.kind = kind
    operation.tag = tag
    operation.group = group
    group.operationSubmitted(commons.timers)
    return operation
  }

  // MARK: Time

  /// How late the ticker may look: half of the shortest time that anybody waits.
  private var tickNanosecondsMax: UInt64 {
    min(100_000_000, max(1_000_000, options.hedgeNanosecondsMin / 2))
  }

  /// The first deadline of an operation under way.
  package var nextDeadlineNanoseconds: UInt64? {
    var first: UInt64?
    for member in members {
      if let deadline = member.deadlineNanoseconds { first = min(first ?? .max, deadline) }
    }
    for member in retired {
      if let deadline = member.deadlineNanoseconds { first = min(first ?? .max, deadline) }
    }
    return first
  }

  /// Gives up everything on members whose oldest operation is overdue.
  ///
  /// - Returns: these members; they are to be put out.
  @discardableResult
  package func checkDeadlines(_ now: UInt64) -> SlotSet {
    // Those that have left concern nobody but whoever still waits for them.
    for member in retired { _ = member.checkDeadline(now) }
    var stalled = SlotSet()
    for member in members where member.checkDeadline(now) { stalled.insert(member.slot) }
    if !stalled.isEmpty { stalledHandler?(stalled) }
    return stalled
  }

  /// Watches deadlines and limited waits until `endLanes`.
  ///
  /// It sleeps in short steps while something is under way, and rests when nothing is.
  package func runTicker() async {
    tickerCount += 1
    while !commons.tickerIsEnding {
      let now = commons.machine.nowNanoseconds
      commons.timers.expire(now)
      checkDeadlines(now)
      let first = min(
        nextDeadlineNanoseconds ?? .max, commons.timers.firstNanoseconds ?? .max)
      guard first < .max else {
        await restTicker()
        continue
      }
      let wanted = first > now ? first - now : 0
      await commons.machine.sleep(nanoseconds: max(1_000_000, min(wanted, tickNanosecondsMax)))
    }
    tickerCount -= 1
    tickerEnd.signal()
  }

  private func restTicker() async {
    // Safe: resumed once, by an operation that begins, a limited wait or `endLanes`, or here:
    // others may have run meanwhile.
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      if commons.tickerIsEnding || nextDeadlineNanoseconds != nil || !commons.timers.isEmpty {
        unsafe waiter.resume()
      } else {
        unsafe commons.timers.tickerRest.put(waiter)
      }
    }
  }

  /// Ends lanes and ticker, and waits for them.
  ///
  /// Lanes end when what they have has come back; those of members that are out and
  /// do not answer are left.
  package func endLanes() async {
    commons.lanesAreEnding = true
    for member in members + retired { member.endIdleLanes() }
    // The ticker goes on until then: somebody may get stuck now.
    for member in members + retired { await member.waitUntilLanesEnded() }
    commons.tickerIsEnding = true
    commons.timers.tickerRest.signal()
    while tickerCount > 0 {
      // Safe: resumed once, by the ticker, or here: others may have run meanwhile.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if tickerCount == 0 { unsafe waiter.resume() } else { unsafe tickerEnd.put(waiter) }
      }
    }
  }
}

extension MemberCounters {
  /// Adds what another member has done.
  package mutating func add(_ other: MemberCounters) {
    readCount += other.readCount
    readBytes += other.readBytes
    writeCount += other.writeCount
    writtenBytes += other.writtenBytes
    synchronizeCount += other.synchronizeCount
    punchCount += other.punchCount
    readErrors += other.readErrors
    writeErrors += other.writeErrors
    synchronizeErrors += other.synchronizeErrors
    timeouts += other.timeouts
    checksumErrors += other.checksumErrors
    healedBlocks += other.healedBlocks
  }
}
