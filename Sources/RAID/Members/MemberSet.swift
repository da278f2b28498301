package import DiskFormat
package import Geometry
package import IO
package import Units

/// The members of an array by slot, and all operations on them.
///
/// The owner sets `spawnLane` before the first operation, and runs `runTicker` in a task of its own
/// as long as the array is used.
package final class MemberSet<M: Machine, D: Disk> {
  package let layout: MemberLayout
  package let options: ArrayOptions
  private let members: [Member<M, D>]
  private let commons: MemberCommons<M>
  private let groups = OperationGroupPool()
  private var tickerCount = 0
  private var tickerEnd = WaitPoint()

  /// Learns of members that have just outlasted their deadline, after their operations failed.
  package var stalledHandler: ((SlotSet) -> Void)?

  /// A set of empty slots: `attach` fills them.
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
    members = (0..<memberCount).map { Member(slot: $0, commons) }
  }

  package var count: Int { members.count }
  package var machine: M { commons.machine }
  package subscript(slot: Int) -> Member<M, D> { members[slot] }

  /// Starts a task that awaits `runLane` of the slot, on the actor and the machine of the array.
  package var spawnLane: (Int) -> Void {
    get { commons.spawnLane }
    set { commons.spawnLane = newValue }
  }

  /// The body of the task that `spawnLane` starts.
  package func runLane(_ slot: Int) async { await members[slot].runLane() }

  /// Members that have a say and may be read.
  package var currentSlots: SlotSet { slots { $0.state == .current && $0.isUsable } }
  /// Members that are written: current ones, and those being brought up to date.
  package var writableSlots: SlotSet { slots { $0.isUsable } }
  /// Members with writes that no fdatasync has covered.
  package var unsyncedSlots: SlotSet { slots { $0.isUsable && $0.hasUnsynced } }

  /// Members that get nothing of what is written: they hang, or are out.
  package var unusableSlots: SlotSet { slots { $0.state != nil && !$0.isUsable } }

  private func slots(_ isMeant: (Member<M, D>) -> Bool) -> SlotSet {
    var found = SlotSet()
    for member in members where isMeant(member) { found.insert(member.slot) }
    return found
  }

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
    members.lazy.compactMap(\.deadlineNanoseconds).min()
  }

  /// Gives up everything on members whose oldest operation is overdue.
  ///
  /// - Returns: these members; they are to be put out.
  @discardableResult
  package func checkDeadlines(_ now: UInt64) -> SlotSet {
    let stalled = slots { $0.checkDeadline(now) }
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
      let first = [nextDeadlineNanoseconds, commons.timers.firstNanoseconds].compactMap(\.self)
        .min()
      guard let first else {
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
    for member in members { member.endIdleLanes() }
    // The ticker goes on until then: somebody may get stuck now.
    for member in members { await member.waitUntilLanesEnded() }
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
