package import DiskFormat
package import Geometry

/// How an array is at one instant: plain values, taken without I/O and without waiting.
///
/// The engine fills it in, the control socket tells it (docs/control.md), `ashlar status` shows it.
package struct ArrayStatus: Equatable, Sendable {
  /// In one word; the raw values are a contract with readers of the JSON.
  package enum State: String, CaseIterable, Sendable {
    /// Every member is current, and the redundancy is whole.
    case optimal
    /// It serves with less redundancy than its level has.
    case degraded
    /// The same, and members are being brought up to date.
    case resyncing
    /// It serves, but for blocks that are beyond redundancy; whether members are missing as well is
    /// in `redundancyLeft`.
    case damaged
    /// It takes no writes any more: what it reads is still right.
    case failed
    /// It serves nothing any more.
    case stopped
  }

  package var arrayID: Identifier
  package var level: RAIDLevel
  package var chunkBytes: UInt64
  package var state: State
  /// Why it is not optimal; empty when it is.
  package var cause: String
  /// What to do next; empty when there is nothing to do.
  package var action: String
  /// One for each slot, in order.
  package var members: [MemberStatus]
  /// Spares and replacements, in the order of their seats.
  package var reserves: [ReserveStatus] = []
  /// How many further members may be lost, whichever they are; nil when it cannot serve now.
  package var redundancyLeft: Int?

  // The configuration (rule T6).
  package var eventCount: UInt64
  package var configurationID: Identifier

  // The log.
  /// Which writes take it, in this run.
  package var logPolicy = LogPolicy.auto
  /// What lies between the checkpoint and the end, on the member that has the most.
  package var logFillBytes: UInt64
  /// What a member's share of the log can take.
  package var logBytes: UInt64
  /// Payload that is in the log and not yet home, and its limit.
  package var dirtyBytes: UInt64
  package var dirtyBytesMax: UInt64
  package var checkpointSequence: UInt64
  /// The newest batch, and the newest that is durable with all before it.
  package var lastSequence: UInt64
  package var horizon: UInt64

  /// How it stands to other nodes; nil when it is alone.
  package var replication: ReplicationStatus?

  /// What the start found in the log.
  package var recovery = RecoveryReport()

  // What was found and repaired since the start.
  package var healedBlockCount: UInt64
  /// Blocks that read as EIO until they are written again, or members come back with them.
  ///
  /// There may be more that nobody has met.
  package var lostBlockCount: UInt64
  /// More were met than can be remembered.
  package var hasMoreLost: Bool
  /// The first of them, in order; at most `lostRunCountMax`.
  package var lostRuns: [BlockRun]

  // Upkeep.
  /// Members that are being brought up to date; nil where none is.
  package var rebuild: RebuildStatus?
  /// What there is to be rebuilt waits for an operator's word.
  package var rebuildIsPaused = false
  /// Members that come back, and spares, wait for an operator's word.
  package var resyncIsHeld = false
  /// The scrub that is under way.
  package var scrub: ScrubStatus?
  /// Those that have ended, newest last; at most `ScrubState.historyCountMax`.
  package var scrubHistory: [ScrubRecord] = []
  package var latencyBudget = LatencyBudgetStatus()

  /// What happened last, oldest first; at most `eventCountMax`.
  package var events: [ArrayEvent]

  package static let eventCountMax = 50
  package static let lostRunCountMax = 64

  package init(
    arrayID: Identifier, level: RAIDLevel, chunkBytes: UInt64, state: State, cause: String = "",
    action: String = "", members: [MemberStatus], redundancyLeft: Int?, eventCount: UInt64,
    configurationID: Identifier, logFillBytes: UInt64 = 0, logBytes: UInt64 = 0,
    dirtyBytes: UInt64 = 0, dirtyBytesMax: UInt64 = 0, checkpointSequence: UInt64 = 0,
    lastSequence: UInt64 = 0, horizon: UInt64 = 0, healedBlockCount: UInt64 = 0,
    lostBlockCount: UInt64 = 0, hasMoreLost: Bool = false, lostRuns: [BlockRun] = [],
    events: [ArrayEvent] = []
  ) {
    self.arrayID = arrayID
    self.level = level
    self.chunkBytes = chunkBytes
    self.state = state
    self.cause = cause
    self.action = action
    self.members = members
    self.redundancyLeft = redundancyLeft
    self.eventCount = eventCount
    self.configurationID = configurationID
    self.logFillBytes = logFillBytes
    self.logBytes = logBytes
    self.dirtyBytes = dirtyBytes
    self.dirtyBytesMax = dirtyBytesMax
    self.checkpointSequence = checkpointSequence
    self.lastSequence = lastSequence
    self.horizon = horizon
    self.healedBlockCount = healedBlockCount
    self.lostBlockCount = lostBlockCount
    self.hasMoreLost = hasMoreLost
    self.lostRuns = lostRuns
    self.events = events
  }
}

/// One slot of an array, and the member in it.
package struct MemberStatus: Equatable, Sendable {
  /// The raw values are a contract with readers of the JSON.
  package enum State: String, CaseIterable, Sendable {
    case current
    /// There, and not believed: what changes meanwhile is marked.
    case out
    case syncing
    /// Nothing was found for this slot.
    case missing
  }

  package var slot: Int
  package var memberID: Identifier
  /// Its path or URI; where it was last, when it is missing; empty when nobody knows.
  package var place: String
  package var state: State
  /// An operator put it out: it is taken again by command only.
  package var isFailed = false
  /// Why it is not current; empty when it is.
  package var cause: String
  package var readCount: UInt64
  package var readBytes: UInt64
  package var writeCount: UInt64
  package var writeBytes: UInt64
  package var flushCount: UInt64
  /// Operations that failed.
  package var errorCount: UInt64
  /// Blocks that it gave back with a wrong checksum.
  package var checksumErrorCount: UInt64
  /// Blocks of it that were rebuilt from the others and rewritten.
  package var healedCount: UInt64
  /// While it is syncing: pages of the table still to do, and in all.
  package var resyncPagesLeft: UInt64
  package var resyncPages: UInt64
  /// How long its oldest operation under way has waited; 0 without one.
  package var oldestOperationNanoseconds: UInt64

  package init(
    slot: Int, memberID: Identifier, place: String, state: State, cause: String = "",
    readCount: UInt64 = 0, readBytes: UInt64 = 0, writeCount: UInt64 = 0, writeBytes: UInt64 = 0,
    flushCount: UInt64 = 0, errorCount: UInt64 = 0, checksumErrorCount: UInt64 = 0,
    healedCount: UInt64 = 0, resyncPagesLeft: UInt64 = 0, resyncPages: UInt64 = 0,
    oldestOperationNanoseconds: UInt64 = 0
  ) {
    self.slot = slot
    self.memberID = memberID
    self.place = place
    self.state = state
    self.cause = cause
    self.readCount = readCount
    self.readBytes = readBytes
    self.writeCount = writeCount
    self.writeBytes = writeBytes
    self.flushCount = flushCount
    self.errorCount = errorCount
    self.checksumErrorCount = checksumErrorCount
    self.healedCount = healedCount
    self.resyncPagesLeft = resyncPagesLeft
    self.resyncPages = resyncPages
    self.oldestOperationNanoseconds = oldestOperationNanoseconds
  }
}

/// A member beside the slots.
package struct ReserveStatus: Equatable, Sendable {
  /// Its number, behind those of the slots.
  package var seat: Int
  /// The slot whose member it is being made a copy of; nil for a spare.
  package var targetSlot: Int?
  /// Who it is, and what it has done; `slot` is the seat, and one that is in order is `syncing`.
  package var member: MemberStatus

  package init(seat: Int, targetSlot: Int?, member: MemberStatus) {
    self.seat = seat
    self.targetSlot = targetSlot
    self.member = member
  }
}

/// Something that happened to an array.
package struct ArrayEvent: Equatable, Sendable {
  /// On the machine's clock.
  package var atNanoseconds: UInt64
  /// What happened, to which member, in an operator's words.
  package var text: String
  /// The array's bytes concerned; nil when it is about none in particular.
  package var offsetBytes: UInt64?
  package var byteCount: UInt64?

  package init(
    atNanoseconds: UInt64, text: String, offsetBytes: UInt64? = nil, byteCount: UInt64? = nil
  ) {
    self.atNanoseconds = atNanoseconds
    self.text = text
    self.offsetBytes = offsetBytes
    self.byteCount = byteCount
  }
}
