package import DiskFormat
package import IO

/// What a member has done and suffered.
package struct MemberCounters: Equatable, Sendable {
  package var readCount: UInt64 = 0
  package var readBytes: UInt64 = 0
  package var writeCount: UInt64 = 0
  package var writtenBytes: UInt64 = 0
  package var synchronizeCount: UInt64 = 0
  package var punchCount: UInt64 = 0
  package var readErrors: UInt64 = 0
  package var writeErrors: UInt64 = 0
  package var synchronizeErrors: UInt64 = 0
  /// Operations given up because of the deadline.
  package var timeouts: UInt64 = 0
  /// Blocks and pages that were read and did not verify; counted by those who verify.
  package var checksumErrors: UInt64 = 0
  /// Blocks and pages written anew with what redundancy gave; counted by those who heal.
  package var healedBlocks: UInt64 = 0

  package init() {}
}

/// What all members of an array use together.
final class MemberCommons<M: Machine> {
  let machine: M
  let options: ArrayOptions
  let laneCountMax: Int
  let operations = OperationPool()
  let timers: OperationTimers
  var spawnLane: (Int) -> Void = { _ in
    preconditionFailure("MemberSet.spawnLane was not set before the first operation")
  }
  /// Learns of writes that a replacement has missed.
  var mirrorFailed: (Int, MemberOperationKind, MemberError) -> Void = { _, _, _ in }
  var lanesAreEnding = false
  var tickerIsEnding = false
  /// Another value whenever a member has come, gone, or changed what it counts as.
  private(set) var changeCount: UInt64 = 1

  func memberChanged() { changeCount += 1 }

  init(_ machine: M, _ options: ArrayOptions, laneCountMax: Int) {
    self.machine = machine
    self.options = options
    self.laneCountMax = laneCountMax
    timers = OperationTimers(machine)
  }
}

/// One member: its disk, what is under way on it, and what is known of it.
///
/// Operations are performed by *lanes*, tasks that live as long as the array. A lane that has
/// nothing to do waits; a further one is started when operations wait and all lanes are busy, up
/// to a limit; beyond it operations queue, in order.
package final class Member<M: Machine, D: Disk> {
  /// Its slot or seat; changes when it leaves its seat for a slot.
  package internal(set) var slot: Int
  /// Which of all that were ever in the set it is: for its lanes.
  let number: Int
  /// In a seat: the slot whose member it is being made a copy of.
  package internal(set) var targetSlot: Int? { didSet { commons.memberChanged() } }
  package private(set) var memberID = Identifier.none
  /// For people: the path or URI of the member; where it was last, when it is missing.
  package private(set) var name = ""
  /// Why it was not in sync when it was identified: a sentence; empty when it was.
  private var absence = ""
  /// Nil while nothing is known to be in the slot.
  package private(set) var state: MemberState? { didSet { commons.memberChanged() } }
  package private(set) var disk: D? { didSet { commons.memberChanged() } }
  /// Why it is out, where this process put it out.
  package private(set) var outReason: ExpulsionReason?
  package var counters = MemberCounters()
  /// How long a read takes, on average over the last ones; 0 before the first.
  package private(set) var latencyNanoseconds: UInt64 = 0
  private var passedOverCount = 0
  /// An operation outlasted its deadline: everything fails until the member is attached anew.
  package private(set) var isStalled = false { didSet { commons.memberChanged() } }

  /// Counts writes that have completed.
  ///
  /// Remember it after a write; the write is durable when `durableGeneration` has reached it.
  package private(set) var writtenGeneration: UInt64 = 0
  /// Everything counted up to here has been covered by a successful fdatasync.
  package private(set) var durableGeneration: UInt64 = 0
  /// Why fdatasync failed: from then on nothing that was written before counts as durable (P8).
  package private(set) var synchronizeFailure: DiskError?
  private(set) var changesUnderWayCount = 0
  /// How many disks were put into the slot, one after the other.
  package private(set) var attachmentCount = 0

  /// Who it is, for failures that are acted upon later.
  package var attachment: MemberAttachment {
    MemberAttachment(memberNumber: number, attachmentCount: attachmentCount)
  }

  let commons: MemberCommons<M>
  var queue = OperationList()
  var started = OperationList()
  /// Operations that lanes have and have not brought back, abandoned ones included.
  var laneOperationCount = 0
  var idleLanes: [MemberLane] = []
  package internal(set) var laneCount = 0
  var startingLaneCount = 0
  /// Nothing is submitted to it any more.
  var isRetired = false
  /// Those who wait for lanes to bring back what they have, or to end.
  var changeWaiters: [WaitPoint] = []

  init(slot: Int, number: Int, _ commons: MemberCommons<M>) {
    self.slot = slot
    self.number = number
    self.commons = commons
  }

  /// Takes operations: it has a disk, is in sync or being brought up to date, and answers.
  package var isUsable: Bool {
    disk != nil && !isStalled && (state == .current || state == .syncing)
  }

  /// It is known, and gets nothing of what is written.
  var isUnusable: Bool { state != nil && !isUsable }

  /// No operation is with the kernel, not even an abandoned one (rule T7).
  package var isDrained: Bool { laneOperationCount == 0 }

  /// Operations submitted whose outcome is not known.
  package var pendingCount: Int { queue.count + started.count }

  /// When the oldest operation under way was begun.
  package var oldestStartNanoseconds: UInt64? { started.first?.startedNanoseconds }

  /// Something was written, or is being written, that no fdatasync has covered.
  package var hasUnsynced: Bool {
    changesUnderWayCount > 0 || writtenGeneration > durableGeneration
  }

  /// How long a read may take before it is worth asking elsewhere.
  package var hedgeNanoseconds: UInt64 {
    let (usual, overflow) = latencyNanoseconds.multipliedReportingOverflow(
      by: commons.options.hedgeFactor)
    return overflow ? .max : max(commons.options.hedgeNanosecondsMin, usual)
  }

  // MARK: Coming and going

  /// Says who belongs into the slot, whether it is there or not.
  ///
  /// `absence` says why it is not in sync; empty when it is.
  package func identify(_ memberID: Identifier, name: String, absence: String = "") {
    self.memberID = memberID
    self.name = name
    self.absence = absence
  }

  /// Why it is not in sync, for people; empty when that is not known.
  package var whyOut: String { outReason.map { "it \($0.words)" } ?? absence }

  /// An operator put it out, and nobody has taken that back: it is not brought up to date by itself,
  /// also not after a restart.
  package var isFailed: Bool {
    memberID != .none && outReason == .commanded && state == .out
  }

  /// The operator's word that put it out is taken back; it stays out, for the reason given.
  package func endFailure(_ absence: String) {
    precondition(isFailed)
    outReason = nil
    self.absence = absence
  }

  /// Puts a disk into the slot.
  ///
  /// - Precondition: nothing of an earlier disk is in flight (rule T7).
  package func attach(_ disk: D, state: MemberState) {
    precondition(isDrained || commons.options.plants(.oldWritesNotDrained))
    precondition(pendingCount == 0)
    self.disk = disk
    self.state = state
    attachmentCount += 1
    outReason = nil
    isStalled = false
    synchronizeFailure = nil
    durableGeneration = writtenGeneration
    latencyNanoseconds = 0
  }

  /// Takes the disk out of the slot, to close it.
  ///
  /// - Precondition: nothing is in flight.
  package func detach() -> D? {
    precondition(isDrained)
    precondition(pendingCount == 0)
    defer { disk = nil }
    return disk
  }

  /// Changes what it counts as, among the states in which it is used.
  package func setState(_ newState: MemberState) {
    precondition(newState == .current || newState == .syncing, "members go out by putOut")
    precondition(disk != nil)
    state = newState
  }

  /// Puts it out: what is queued or under way completes as `absent`, and what comes later.
  package func putOut(_ reason: ExpulsionReason?) {
    state = .out
    outReason = reason ?? outReason
    abandonAll(.absent)
  }

  // MARK: Deadlines

  /// When the oldest operation under way is overdue.
  package var deadlineNanoseconds: UInt64? {
    guard let start = oldestStartNanoseconds else { return nil }
    let (end, overflow) = start.addingReportingOverflow(commons.options.memberDeadlineNanoseconds)
    return overflow ? .max : end
  }

  /// Gives everything up if the oldest operation under way is overdue.
  ///
  /// - Returns: whether it was.
  func checkDeadline(_ now: UInt64) -> Bool {
    guard let deadline = deadlineNanoseconds, deadline <= now else { return false }
    isStalled = true
    counters.timeouts += UInt64(started.count)
    // Of one that has left, nobody is to take it for its successor's.
    abandonAll(isRetired ? .absent : .timedOut)
    return true
  }

  /// Completes everything in its groups; what lanes have stays with them, with its buffers.
  private func abandonAll(_ error: MemberError) {
    while let operation = started.popFirst() { tell(operation, error) }
    while let operation = queue.popFirst() {
      tell(operation, error)
      commons.operations.give(operation)
    }
    signalChange()
  }

  // MARK: Outcomes

  /// Tells whoever waits; a copy for a replacement concerns nobody but the replacement.
  func tell(_ operation: MemberOperation, _ error: MemberError?) {
    let isMissed = operation.isMirror && !operation.isAbandoned
    operation.tell(slot, attachment, operation.isMirror ? nil : error)
    if isMissed, let error { commons.mirrorFailed(slot, operation.kind, error) }
  }

  /// Why an operation that is submitted now fails at once.
  func refusal(_ kind: MemberOperationKind) -> MemberError? {
    if isStalled, state != .out { return .timedOut }
    guard isUsable else { return .absent }
    // A second fdatasync could succeed without what the first one failed to write.
    if kind == .synchronize, let synchronizeFailure,
      !commons.options.plants(.failedFlushRetried)
    {
      return .disk(synchronizeFailure)
    }
    return nil
  }

  func noteStart(_ operation: MemberOperation) {
    if operation.isChange { changesUnderWayCount += 1 }
  }

  /// Takes note of what the disk has answered; `covered` is what was written when it was asked.
  func noteEnd(_ operation: MemberOperation, _ error: DiskError?, covered: UInt64) {
    if operation.isChange {
      changesUnderWayCount -= 1
      writtenGeneration += 1
    }
    switch operation.kind {
    case .read:
      counters.readCount += 1
      counters.readBytes += operation.byteCount
      if error != nil { counters.readErrors += 1 }
      noteLatency(commons.machine.nowNanoseconds &- operation.startedNanoseconds)
    case .write:
      counters.writeCount += 1
      counters.writtenBytes += operation.byteCount
      if error != nil { counters.writeErrors += 1 }
    case .punch:
      counters.punchCount += 1
      if error != nil { counters.writeErrors += 1 }
    case .synchronize:
      counters.synchronizeCount += 1
      if let error {
        counters.synchronizeErrors += 1
        if synchronizeFailure == nil { synchronizeFailure = error }
      } else if synchronizeFailure == nil || commons.options.plants(.failedFlushRetried) {
        durableGeneration = max(durableGeneration, covered)
      }
    }
  }

  /// A read went elsewhere because this member is expected to be slower.
  ///
  /// What is known of it grows old: after some of these it counts as faster, until it is asked again.
  package func notePassedOver() {
    passedOverCount += 1
    guard passedOverCount >= Self.passedOverCountMax else { return }
    passedOverCount = 0
    latencyNanoseconds = max(latencyNanoseconds / 2, 1)
  }

  private static var passedOverCountMax: Int { 64 }

  private func noteLatency(_ nanoseconds: UInt64) {
    passedOverCount = 0
    if latencyNanoseconds == 0 {
      latencyNanoseconds = max(nanoseconds, 1)
    } else {
      latencyNanoseconds = max(latencyNanoseconds - latencyNanoseconds / 8 + nanoseconds / 8, 1)
    }
  }
}
