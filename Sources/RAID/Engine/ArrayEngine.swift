import DiskFormat
import Geometry
package import IO
import Units
import Volumes

/// A served array: everything that happens to it happens on this actor.
///
/// `start` (in `ArrayEngine+Start.swift`) makes one from members; `ArrayVolume` is what the NBD
/// server sees of it. See docs/array.md.
package actor ArrayEngine<M: Machine, D: Disk> {
  nonisolated let machine: M
  package nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: the actor keeps its machine.
    unsafe machine.unownedExecutor
  }

  let plan: AssemblyPlan
  package nonisolated let options: ArrayOptions
  let parts: ArrayParts<M, D>
  let membership: EngineMembership<M, D>
  let superblocks: SuperblockWriter<M, D>
  let keeper: HomeKeeper<M, D>
  let reader: BlockReader<M, D>
  let publisher: IndexPublisher<M, D>
  let reservations = RangeReservations()
  let buffers: OwnedBufferPool
  let longReads: LongReads
  /// For what two nodes compare.
  let copyBuffers: OwnedBufferPool
  var geometry: StripeGeometry { parts.geometry }

  // Tasks that live as long as the array.
  var timerRest = WaitPoint()
  var timerNanoseconds: UInt64?
  var janitorRest = WaitPoint()
  var isJanitorWoken = false
  /// When it is woken next.
  var janitorNanoseconds = UInt64.max
  var stalledSlots = SlotSet()
  /// Members that failed a write which nobody waits for any more.
  var failuresToTell: [MemberAttachment: ExpulsionReason] = [:]
  /// Disks of members that answered only after the start.
  var lateDisks: [Int: D] = [:]
  /// Members that are out and lack more than what was written since: another file, or one that was
  /// cut short.
  var lackingSlots: Set<Int> = []
  /// Members that are being asked whether they are back; one that hangs stays here.
  var probedSlots = SlotSet()
  /// Members that have what the array does not have: they are left alone.
  var divergedSlots = SlotSet()
  var probeReports: [Int: MemberReport] = [:]
  /// Members to be looked at again, and when.
  var readmissionNanoseconds: [Int: UInt64] = [:]
  /// Commands about members, and what is done with reserves, one at a time.
  let commandTurn = TurnLock()
  /// What this node knows of the others, beyond what its configuration says.
  var nodes = NodeKnowledge()
  /// Since when members have been out.
  var outSince: [Int: UInt64] = [:]
  /// Members that have left, whose disks are to be closed.
  var departed: [Member<M, D>] = []
  /// Members that went out, and whose disks have not been told yet.
  var slotsToRetire = SlotSet()
  /// Whether members that come back are brought up to date, and spares take slots, by themselves.
  var resyncsAutomatically: Bool
  var isEnding = false
  var runningTaskCount = 0
  var taskEnd: [WaitPoint] = []
  var isOpen = false
  /// What recovery found and did; for the status and benchmarks.
  package internal(set) var recovery = RecoveryReport()

  init(
    machine: M, plan: AssemblyPlan, members: [MemberHandle<D>], options: ArrayOptions,
    log write: @escaping @Sendable (EventSeverity, String) -> Void,
    record: @escaping @Sendable (Superblock) async -> Void
  ) throws(ArrayError) {
    self.machine = machine
    self.plan = plan
    self.options = options
    resyncsAutomatically = options.resyncsAutomatically
    let placement = TablePlacement(plan.geometry)
    let set = MemberSet<M, D>(
      machine: machine, options: options, layout: plan.layout,
      memberCount: plan.geometry.memberCount)
    let events = EventLog(clock: { machine.nowNanoseconds }, write: write)
    superblocks = SuperblockWriter(members: set, options: options)
    membership = EngineMembership(
      set, superblocks: superblocks, plan: plan, options: options, machine: machine,
      events: events, record: record)
    let newEpoch = plan.superblocks.reduce(0) { max($0, $1?.logEpoch ?? 0) } + 1
    membership.epoch = newEpoch
    let table = ChecksumTable<M, D>(
      geometry: plan.geometry, placement: placement, layout: plan.layout,
      arrayID: plan.newest.arrayID, members: set, membership: membership, options: options,
      // Above everything that earlier epochs can have written.
      pageSequence: newEpoch << 40)
    guard let payloads = PayloadPool(byteCountMax: options.dirtyBytesMax) else {
      throw .outOfMemory
    }
    parts = ArrayParts(
      machine: machine, placement: placement, layout: plan.layout,
      arrayID: plan.newest.arrayID, options: options, members: set, table: table,
      payloads: payloads, keeper: membership, events: events,
      logPolicy: options.logPolicy ?? plan.newest.logPolicy)
    membership.parts = parts
    let membershipOfKeeper = membership
    let keeper = HomeKeeper(parts) { (sequence: UInt64) async throws(ArrayError) in
      try await membershipOfKeeper.writeCheckpoint(sequence)
    }
    if options.rebuildIsPaused { keeper.resync.pause() }
    self.keeper = keeper
    reader = BlockReader(parts) { await keeper.waitForHome($0) }
    publisher = IndexPublisher(parts) { keeper.notePublished(wasEmpty: $0) }
    buffers = OwnedBufferPool(byteCount: Self.shortReadBlockCountMax * 4096, idleCountMax: 64)
    longReads = LongReads(
      byteCount: BlockReader<M, D>.blockCountMax * 4096, countMax: Self.longReadCountMax)
    copyBuffers = OwnedBufferPool(byteCount: Self.contentBlockCountMax * 4096, idleCountMax: 32)
    parts.wakeKeeper = { keeper.wake() }
    payloads.onShortage = { keeper.wake() }
  }

  /// The state as a whole, in short.
  package var isStopped: Bool { membership.stopReason != nil }
}

/// What recovery found and did.
package struct RecoveryReport: Equatable, Sendable {
  package var wasClean = false
  package var batchCount = 0
  package var recordCount = 0
  package var settledRowCount = 0
  /// What these batches take in the log, counted once, however many copies they have.
  package var logBytes: UInt64 = 0
  /// From the opened members to the array that serves, and what of it is spent on reading and
  /// verifying the log, on making it durable, and on settling rows.
  package var nanoseconds: UInt64 = 0
  package var readNanoseconds: UInt64 = 0
  package var rewriteNanoseconds: UInt64 = 0
  package var settleNanoseconds: UInt64 = 0

  package init() {}

  /// For people: one line.
  var words: String {
    "recovered \(recordCount) records of \(batchCount) batches (\(logBytes >> 20) MiB of log), "
      + "settled \(settledRowCount) rows, in \(nanoseconds / 1_000_000) ms"
  }
}
