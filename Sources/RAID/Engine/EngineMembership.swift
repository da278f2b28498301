import DiskFormat
import Geometry
import IO
import Volumes

/// Who is in the array: configurations, expulsions, and the superblocks that say so (rule T6).
final class EngineMembership<M: Machine, D: Disk>: MembershipKeeper {
  let members: MemberSet<M, D>
  let superblocks: SuperblockWriter<M, D>
  private let plan: AssemblyPlan
  let options: ArrayOptions
  private let machine: M
  let events: EventLog
  unowned var parts: ArrayParts<M, D>?

  private(set) var configuration: Superblock
  /// The reserves that the next configuration lists, in the order of their seats.
  var reserves: [Reserve]
  /// What the next configuration says of other nodes, and where the data comes from.
  var replication: ReplicationState
  var timelines: [Timeline]
  /// A replacement that is changing places with its target: the next configuration has it so.
  var exchange: Exchange?
  /// The epoch that begins, or has begun, with this start.
  var epoch: UInt64 = 0
  var epochFirstSequence: UInt64 = 0
  /// What superblocks say before the log is open.
  private var hasEpoch = false
  private var isClean = false
  private var checkpointSequence: UInt64
  var ownerNonce = Identifier.none
  var heartbeat: UInt64 = 0
  /// Why the array no longer accepts writes.
  private(set) var stopReason: String?
  var pendingChanges = 0 {
    didSet { if pendingChanges == 0 { signalChanges() } }
  }
  private var changeWaiters: [WaitPoint] = []
  private let recordTurn = TurnLock()
  /// Takes a configuration down where it proves who went on (the registry).
  ///
  /// Returns when that is durable, or cannot be; bounded in time.
  let record: @Sendable (Superblock) async -> Void
  /// Told when a member has just been put out.
  var onExpulsion: () -> Void = {}
  /// Told when the array stops.
  var onStop: (String) -> Void = { _ in }
  /// Starts a task that writes the configuration; only a planted bug needs it.
  var writeInBackground: () -> Void = {}

  init(
    _ members: MemberSet<M, D>, superblocks: SuperblockWriter<M, D>, plan: AssemblyPlan,
    options: ArrayOptions, machine: M, events: EventLog,
    record: @escaping @Sendable (Superblock) async -> Void
  ) {
    self.record = record
    self.members = members
    self.superblocks = superblocks
    self.plan = plan
    self.options = options
    self.machine = machine
    self.events = events
    configuration = plan.newest
    reserves = plan.newest.reserves
    replication = plan.newest.replication
    timelines = plan.newest.timelines
    checkpointSequence = plan.checkpoint.checkpointSequence
  }

  var geometry: StripeGeometry { plan.geometry }

  /// Members whose blocks cannot be read.
  var lostSlots: SlotSet { geometry.allSlots.subtracting(members.currentSlots) }

  // MARK: Expulsion

  func expel(_ slot: Int, _ given: ExpulsionReason) async throws(ArrayError) {
    let reason = given.withLossNamed
    if let stopReason { throw .stopped(stopReason) }
    guard slot < members.count else { return dropReserve(slot, reason) }
    if exchange?.slot == slot {
      // It is leaving anyway.
      members[slot].putOut(reason)
      return try await waitForChanges()
    }
    let state = members[slot].state
    guard state == .current || state == .syncing else { return try await waitForChanges() }
    var lost = geometry.allSlots
    for other in 0..<geometry.memberCount
    where other != slot && members[other].state == .current { lost.remove(other) }
    guard state == .syncing || geometry.canServe(without: lost) else {
      let text =
        "member \(slot) (\(members[slot].name)) \(reason.words), and without it too few are left"
      stop(text)
      throw .stopped(text)
    }
    members[slot].putOut(reason)
    onExpulsion()
    events.note("member \(slot) (\(members[slot].name)) is out: it \(reason.words)", .warning)
    parts?.markTouchedChanged()
    // What was behind its end is gone, whenever it was written.
    if case .lost(.cutShort) = reason { parts?.markAllChanged() }
    try await change()
  }

  func place(of failure: OperationFailure) -> Int? { members.place(of: failure.attachment) }

  func settleChanges() async throws(ArrayError) { try await waitForChanges() }

  /// No further write is accepted; what can be read is read.
  func stop(_ reason: String) {
    guard stopReason == nil else { return }
    stopReason = reason
    events.note("the array has stopped accepting writes: \(reason)", .error)
    onStop(reason)
  }

  /// Makes the members' present states the configuration, durably.
  ///
  /// One that is `new` on the list has it first: none that the others name is ever without a
  /// superblock, which nobody would know again after a crash.
  func change(new place: Int? = nil) async throws(ArrayError) {
    if options.plants(.acknowledgesBeforeConfiguration) {
      writeInBackground()
      return
    }
    try await writeConfiguration(new: place)
  }

  func writeConfiguration(new place: Int? = nil) async throws(ArrayError) {
    pendingChanges += 1
    defer { pendingChanges -= 1 }
    await recordTurn.acquire()
    let next = nextConfiguration()
    // Before any member has it, also by a checkpoint or a heartbeat: were the record behind, it
    // would prove after a crash that members which went on did not, and those left out could be
    // started alone.
    await record(next)
    configuration = next
    recordTurn.release()
    // Both copies: a single damaged one must not bring the older list back.
    if let place {
      for _ in 0..<2 { try await writeAll(isChange: true, only: SlotSet([place])) }
    }
    for _ in 0..<2 { try await writeAll(isChange: true) }
  }

  private func nextConfiguration() -> Superblock {
    var memberIDs: [Identifier] = []
    var states: [MemberState] = []
    for slot in 0..<geometry.memberCount {
      let isLeaving = exchange?.slot == slot
      let place = isLeaving ? exchange?.seat ?? slot : slot
      memberIDs.append(members[place].memberID)
      states.append(isLeaving ? .current : listedState(slot))
    }
    var next = configuration.reconfigured(
      memberIDs: memberIDs, memberStates: states,
      reserves: reserves.filter { $0.seat != exchange?.seat }, configurationID: drawIdentifier())
    next.replication = replication
    next.timelines = timelines
    return next
  }

  /// What the list says of the member in a slot as things are now.
  func listedState(_ slot: Int) -> MemberState {
    let member = members[slot]
    guard !member.isFailed else { return .failed }
    return member.state ?? .out
  }

  private func signalChanges() {
    let waiting = changeWaiters
    changeWaiters = []
    for var point in waiting { point.signal() }
  }

  private func waitForChanges() async throws(ArrayError) {
    while pendingChanges > 0 {
      // Safe: resumed once, when the last change is durable, or here.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if pendingChanges == 0 { return unsafe waiter.resume() }
        var point = WaitPoint()
        unsafe point.put(waiter)
        changeWaiters.append(point)
      }
    }
    if let stopReason { throw .stopped(stopReason) }
  }

  func drawIdentifier() -> Identifier {
    Identifier(high: machine.randomNumber(), low: machine.randomNumber())
  }

  // MARK: Superblocks

  /// Writes the superblocks of all members that are not out, reserves too, as things are now.
  ///
  /// Returns when each of them has its own durably; those that fail are put out first. A change of
  /// membership (`isChange`) must not wait for changes: it is one.
  func writeAll(isChange: Bool = false, only chosen: SlotSet? = nil) async throws(ArrayError) {
    let failures = await superblocks.writeAll(
      slots: chosen.map(writtenPlaces.intersection) ?? writtenPlaces
    ) { superblock, place in
      update(&superblock, place)
    }
    for failure in failures {
      // Whoever has its place by now has done nothing.
      guard let place = place(of: failure) else { continue }
      guard place < members.count else {
        if let reason = failure.reasonToExpel { dropReserve(place, reason) }
        continue
      }
      // Who is out already has an expulsion of its own under way, which may be waiting for this.
      guard failure.error != .absent, let reason = failure.reasonToExpel else { continue }
      if isChange, members[place].state == .out { continue }
      try await expel(place, reason)
    }
  }

  /// Writes superblocks with a new checkpoint (rule L6).
  func writeCheckpoint(_ sequence: UInt64) async throws(ArrayError) {
    // What went home without a member that is just being put out, or hangs and is about to be, must
    // not be passed under a list that still has it.
    for slot in members.unusableSlots where members.isUnusable(slot) {
      try await expel(slot, .timedOut)
    }
    try await waitForChanges()
    checkpointSequence = sequence
    try await writeAll()
  }

  /// Begins an epoch behind the last batch that recovery kept (rule L3).
  func beginEpoch(firstSequence: UInt64) {
    epochFirstSequence = firstSequence
    hasEpoch = true
  }

  /// The next superblocks say that everything is home.
  func markClean() { isClean = true }

  /// Slots and seats whose members are on the list and can be written.
  private var writtenPlaces: SlotSet {
    SlotSet(
      (0..<members.seats.upperBound).filter { place in
        members[place].isUsable && configuration.place(of: members[place].memberID) != nil
      })
  }

  private func update(_ superblock: inout Superblock, _ place: Int) {
    // Where the list has it: it may be about to leave its seat for a slot.
    let slot = configuration.place(of: members[place].memberID) ?? place
    superblock.slot = slot
    superblock.reserves = configuration.reserves
    superblock.eventCount = configuration.eventCount
    superblock.configurationID = configuration.configurationID
    superblock.configurationHistory = configuration.configurationHistory
    superblock.memberIDs = configuration.memberIDs
    superblock.memberStates = configuration.memberStates
    superblock.timelines = configuration.timelines
    superblock.replication = configuration.replication
    superblock.isClean = isClean
    superblock.ownerNonce = ownerNonce
    superblock.heartbeat = heartbeat
    guard hasEpoch else { return }
    superblock.logEpoch = epoch
    superblock.epochFirstSequence = epochFirstSequence
    guard let parts, let log = parts.openLog else { return }
    let fields = log.checkpointFields(at: checkpointSequence)
    superblock.checkpointSequence = fields.sequence
    superblock.checkpointChain = fields.chain
    superblock.checkpointClientSequence = fields.position.number
    superblock.checkpointClientChain = fields.position.chain
    superblock.horizon = max(superblock.horizon, fields.horizon)
    // A replacement has the log of its target when the checkpoint has passed everything.
    let home = slot < members.count ? slot : members.homeSlot(of: place)
    superblock.logTailOffset =
      home < members.count ? log.tailOffset(home, checkpoint: checkpointSequence) : 0
    superblock.pageSequence = parts.table.pageSequence
  }
}

extension ExpulsionReason {
  /// A write that failed because the way to the member is gone says nothing about the member: it
  /// may come back.
  var withLossNamed: ExpulsionReason {
    switch self {
    case .writeFailed(let error), .synchronizeFailed(let error):
      error.isDisconnection ? .disconnected : self
    case .wroteWrong, .timedOut, .disconnected, .lost, .commanded: self
    }
  }

  /// What the member did, as the end of a sentence that begins with it.
  var words: String {
    switch self {
    case .writeFailed(let error): "failed a write (\(error.words))"
    case .synchronizeFailed(let error): "failed to make its writes durable (\(error.words))"
    case .wroteWrong: "did not have what was written to it, twice"
    case .timedOut: "did not answer in time"
    case .disconnected: "is disconnected"
    case .lost(.removed): "is no longer at its place: it was removed or renamed"
    case .lost(.replaced): "is no longer at its place: something else is there"
    case .lost(.cutShort(let end)): "was cut short: it ends at byte \(end)"
    case .commanded: "was failed by an operator: 'ashlar member add NAME PLACE' takes it again"
    }
  }
}
