package import DiskFormat
package import Geometry
package import IO

/// The log of a served array: batches, group commit, horizon, ledger and space.
///
/// It belongs to one actor. The owner starts `writerCount` tasks that run `runWriter`, and one that
/// runs `runSealer`; `stop` ends them.
@safe
package final class WriteLog<M: Machine, D: Disk>: BatchLedger {
  let members: MemberSet<M, D>
  let membership: any MembershipKeeper
  let machine: M
  let arrayID: Identifier
  let geometry: StripeGeometry
  let layout: MemberLayout
  let options: ArrayOptions
  let limits: LogLimits
  let mirrorPairs: [SlotSet]
  let epoch: UInt64

  /// Who is told of records when they are acknowledged.
  package weak var publisher: (any LogPublisher)?
  /// Called when appends wait for log space: destage, flush, then write a checkpoint.
  package var onSpaceWanted: () -> Void = {}

  // The chain of batches.
  var lastSequence: UInt64
  var lastChain: UInt32
  /// Where client records end, those on their way included.
  package internal(set) var position: StreamPosition
  /// The blocks of the last batch, for the next one's header (rule L7).
  var lastRuns: [BlockRun] = []
  /// The horizon that the newest header tells.
  var toldHorizon: UInt64
  /// The last batch that was no seal.
  var lastRecordSequence: UInt64

  // Batches on their way.
  var idleBatches: [PendingBatch] = []
  /// Where records go until a writer takes it.
  var open: PendingBatch?
  /// Records that the open batch has no room for, in order.
  var waitingRecords = LogQueue<PendingBatch.Record>()
  var waitingIntents = LogQueue<IntentRequest>()
  /// In order of their numbers.
  var inFlight = LogQueue<PendingBatch>()
  /// Batches that are written and wait for replicas (docs/replication.md, section 8); in order.
  var awaiting = LogQueue<PendingBatch>()
  /// Where the records end that clients were told of.
  package internal(set) var published: StreamPosition
  /// The replicas that are known, each with how far it is.
  package internal(set) var replicas: [ReplicaProgress] = []
  /// What replicas are sent from memory.
  var window = StreamWindow()
  /// Batches up to here are not kept for replicas any more.
  var unpinnableSequence: UInt64 = 0
  /// Whoever waits for replicas is told that they are lost, without any being set aside.
  var isAbandoned = false
  /// A client flushes after each write: replicas are asked for durability with the record, and it is made
  /// durable here while they are waited for.
  var isFlushExpected = false
  var batchesSinceFlush = 0
  /// Called when somebody is told so.
  package var onReplicaLost: () -> Void = {}
  /// Records that were handed over since the start, and those of them that were published.
  package internal(set) var enqueuedCount: UInt64 = 0
  package internal(set) var publishedCount: UInt64 = 0
  /// Called when records were published.
  package var onPublished: () -> Void = {}
  /// Blocks of batches in flight that the publisher does not count yet.
  var unpublishedBlockCount = 0

  // Tasks that wait.
  // Safe: each is resumed once, and taken out at the same time.
  var idleWriters = unsafe [UnsafeContinuation<Void, Never>]()
  var wokenWriterCount = 0
  var flushWaiters = unsafe [UnsafeContinuation<Void, Never>]()
  var writtenWaiters = unsafe [UnsafeContinuation<Void, Never>]()
  var durableWaiters = unsafe [UnsafeContinuation<Void, Never>]()
  var sealerRest = WaitPoint()

  // Durability.
  /// The highest batch that is durable together with all before it.
  package internal(set) var horizon: UInt64
  /// The highest batch that is written together with all before it.
  package internal(set) var writtenSequence: UInt64
  /// The last of these that is no seal: what a flush has to cover.
  var writtenRecordSequence: UInt64
  /// Members with batches that no fdatasync has covered.
  var unsyncedSlots = SlotSet()
  /// Where the last batch is.
  var newestBatchSlots = SlotSet()
  var roundIsUnderWay = false
  var sealIsDue = false
  var hasEndedSealing = false

  // Space.
  var ledger: LogLedger
  /// By slot.
  var rings: [MemberRing]
  var rotation = 0
  /// Members that get batches and are not current yet.
  var joiningSlots = SlotSet()
  /// Records and seals wait, whatever room there is; intents do not.
  private(set) var isHeld = false
  /// Whether records, intents or seals wait for log space.
  package internal(set) var needsSpace = false
  // Until space is freed there is no need to look again.
  var recordsAreBlocked = false
  var intentsAreBlocked = false
  /// Batches that there are, on their way or idle.
  var batchCount = 0
  /// While replicas are waited for, more batches are on their way than there are writers.
  static var batchCountMax: Int { 64 }
  let batchMemories: OwnedBufferPool

  /// Why it has stopped.
  package internal(set) var stopReason: ArrayError?

  /// Goes on where `recovered` ends, in a new epoch that is durable in the superblocks already.
  ///
  /// The recovered batches are in the ledger, unpinned: publish their records and pin them before
  /// a checkpoint is written.
  package init(
    members: MemberSet<M, D>, membership: any MembershipKeeper, machine: M, arrayID: Identifier,
    geometry: StripeGeometry, layout: MemberLayout, options: ArrayOptions,
    resuming recovered: RecoveredLog<M, D>, epoch: UInt64
  ) throws(ArrayError) {
    self.members = members
    self.membership = membership
    self.machine = machine
    self.arrayID = arrayID
    self.geometry = geometry
    self.layout = layout
    self.options = options
    self.epoch = epoch
    mirrorPairs = geometry.mirrorPairs
    limits = LogLimits(geometry: geometry, layout: layout, options: options)
    let end = recovered.endSequence
    lastSequence = end
    lastChain = recovered.endChain
    position = recovered.position
    published = recovered.position
    horizon = end
    toldHorizon = end
    writtenSequence = end
    lastRecordSequence = end
    writtenRecordSequence = end
    ledger = recovered.makeLedger()
    rings = recovered.makeRings(memberCount: geometry.memberCount)
    lastRuns = recovered.lastRuns
    batchMemories = OwnedBufferPool(
      byteCount: limits.batchBytesMax, idleCountMax: Self.batchCountMax)
    for _ in 0...writerCount {
      guard let batch = PendingBatch(limits: limits, memories: batchMemories) else {
        throw .outOfMemory
      }
      idleBatches.append(batch)
    }
    batchCount = idleBatches.count
  }

  /// How many tasks are to run `runWriter`.
  package var writerCount: Int { max(1, options.batchesInFlightMax) }

  /// Blocks of one write at most.
  package static var writeBlockCountMax: Int { 32 }

  // MARK: Records

  /// Logs a write of up to 32 blocks as one record, whole or not at all.
  ///
  /// Returns when its batch and every earlier one are written and it has been published.
  ///
  /// - Parameters:
  ///   - run: the blocks.
  ///   - payload: their content; it stays as it is until the return.
  ///   - token: handed on to the publisher.
  /// - Throws: `stopped`; it is not known then whether the record is in the log.
  package func append(
    write run: BlockRun, payload: IOBuffer, token: UInt64 = 0
  ) async throws(ArrayError) {
    precondition(run.blockCount > 0 && run.blockCount <= UInt64(Self.writeBlockCountMax))
    precondition(payload.byteCount == Int(run.blockCount) * 4096)
    try await append(
      PendingBatch.Record(
        write: run, payload: payload, unsettledBlockCount: Int(run.blockCount), token: token))
  }

  /// Logs a trim as one record.
  ///
  /// - Parameters:
  ///   - run: the blocks.
  ///   - unsettledBlockCount: how many intents it may need at most; log space is kept for them.
  ///   - token: handed on to the publisher.
  /// - Throws: `stopped`; it is not known then whether the record is in the log.
  package func append(
    trim run: BlockRun, unsettledBlockCount: Int, token: UInt64 = 0
  ) async throws(ArrayError) {
    precondition(run.blockCount > 0 && unsettledBlockCount >= 0)
    try await append(
      PendingBatch.Record(
        trim: run, unsettledBlockCount: min(unsettledBlockCount, limits.unsettledBlockCountMax),
        token: token))
  }

  /// Logs a long write as records of `pieceBlockCount` blocks, each whole or not at all, cut at
  /// multiples of it, one right behind the other.
  ///
  /// Returns when all are written and published: that of the last says so for those before it.
  package func append(
    longWrite run: BlockRun, pieceBlockCount: UInt64, payload: IOBuffer
  ) async throws(ArrayError) {
    precondition(pieceBlockCount > 0 && pieceBlockCount <= UInt64(Self.writeBlockCountMax))
    precondition(payload.byteCount == Int(run.blockCount) * 4096)
    let end = run.firstBlock + run.blockCount
    var first = run.firstBlock
    var pieceEnd = min(end, (first / pieceBlockCount + 1) * pieceBlockCount)
    func record() -> PendingBatch.Record {
      let count = Int(pieceEnd - first)
      return PendingBatch.Record(
        write: BlockRun(firstBlock: first, blockCount: pieceEnd - first),
        payload: payload.slice(Int(first - run.firstBlock) * 4096, count * 4096),
        unsettledBlockCount: count, token: 0)
    }
    try checkRunning()
    while pieceEnd < end {
      enqueue(record())
      first = pieceEnd
      pieceEnd = min(end, first + pieceBlockCount)
    }
    try await append(record())
  }

  /// A batch to be filled; nil when all are on their way.
  func takeIdleBatch() -> PendingBatch? {
    if let batch = idleBatches.popLast() { return batch }
    guard !awaiting.isEmpty, batchCount < Self.batchCountMax,
      let batch = PendingBatch(limits: limits, memories: batchMemories)
    else { return nil }
    batchCount += 1
    return batch
  }

  private func append(_ record: PendingBatch.Record) async throws(ArrayError) {
    try checkRunning()
    // Safe: resumed once: by `enqueue`, with its batch, or by `stop`.
    let isLogged = unsafe await withUnsafeContinuation {
      (waiter: UnsafeContinuation<Bool, Never>) in
      var record = record
      unsafe record.setWaiter(waiter)
      enqueue(record)
    }
    // Without having stopped, only `abandonAwaiting` says no.
    guard isLogged else {
      if stopReason == nil { onReplicaLost() }
      throw stopReason ?? .replicaLost
    }
  }

  func enqueue(_ record: PendingBatch.Record) {
    var record = record
    guard stopReason == nil else {
      record.resume(returning: false)
      return
    }
    enqueuedCount += 1
    if waitingRecords.isEmpty, take(record) {
      if isAbandoned { open?.resumeAll(returning: false) }
      wakeWriter()
    } else {
      waitingRecords.append(record)
    }
  }

  /// Puts a record into the open batch, if there is room.
  private func take(_ record: PendingBatch.Record) -> Bool {
    if open == nil { open = takeIdleBatch() }
    guard let batch = open, hasRoom(batch, record) else { return false }
    var record = record
    if options.plants(.acknowledgesEarly) { record.resume(returning: true) }
    batch.add(record)
    return true
  }

  private func hasRoom(_ batch: PendingBatch, _ record: PendingBatch.Record) -> Bool {
    let blockCount = record.kind == .write ? Int(record.run.blockCount) : 0
    let bytes =
      record.kind == .write
      ? LogBatchEncoder.writeRecordBytes(blockCount: blockCount) : LogBatchEncoder.trimRecordBytes
    return batch.payloadBlockCount + blockCount <= limits.payloadBlockCountMax
      && batch.descriptorBytes + bytes
        <= limits.descriptorBytesMax(memberCount: geometry.memberCount)
      && (batch.isEmpty
        || batch.unsettledBlockCount + record.unsettledBlockCount
          <= limits.unsettledBlockCountMax)
  }

  /// Moves records that wait into the open batch, as many as it has room for.
  func admitWaitingRecords() {
    while let first = waitingRecords.first, take(first) { waitingRecords.removeFirst() }
  }

  /// Logs the intents of a round and waits until the horizon covers them (rule D1).
  ///
  /// - Returns: the batch that is pinned for the caller, who unpins it when the round is settled.
  package func appendIntents(
    _ intents: ArraySlice<RowIntent>
  ) async throws(ArrayError) -> UInt64 {
    precondition(!intents.isEmpty)
    var pinned: UInt64 = 0
    var last: UInt64 = 0
    var rest = intents
    while !rest.isEmpty {
      try checkRunning()
      let part = rest.prefix(intentCount(ofBatch: rest))
      rest = rest.dropFirst(part.count)
      let isFirst = pinned == 0
      // Safe: resumed once: with its batch, or by `stop`, or here.
      let sequence = unsafe await withUnsafeContinuation {
        (waiter: UnsafeContinuation<UInt64?, Never>) in
        let request = unsafe IntentRequest(part, isPinned: isFirst, waiter: waiter)
        if stopReason == nil {
          waitingIntents.append(request)
          wakeWriter()
        } else {
          request.resume(returning: nil)
        }
      }
      guard let sequence else { throw stopReason ?? .stopped("the log has stopped") }
      if isFirst { pinned = sequence }
      last = sequence
    }
    try await waitUntilDurable(last)
    return pinned
  }

  func descriptorBytes(_ intent: RowIntent) -> Int { LogBatchEncoder.recordBytes(of: intent) }

  /// How many of these intents one batch holds: at least one.
  private func intentCount(ofBatch intents: ArraySlice<RowIntent>) -> Int {
    var room = limits.descriptorBytesMax(memberCount: geometry.memberCount)
    var count = 0
    for intent in intents {
      let bytes = descriptorBytes(intent)
      guard bytes <= room else { break }
      room -= bytes
      count += 1
    }
    precondition(count > 0, "an intent that no batch has room for")
    return count
  }

  // MARK: Holding

  /// Lets records and seals wait: what is in the log can be brought home, and then it is empty.
  func hold() {
    isHeld = true
    // What a replica lacks must not keep the log from being empty.
    giveUpPins()
  }

  /// Lets them go on.
  func endHold() {
    isHeld = false
    retryBlocked()
  }

  // MARK: Stopping

  func checkRunning() throws(ArrayError) {
    if let stopReason { throw stopReason }
  }

  /// Stops because of something that went wrong here, and the array with it.
  package func fail(_ reason: ArrayError) {
    guard stopReason == nil else { return }
    membership.stop(reason.words)
    stop(reason)
  }

  /// Ends the tasks and lets everybody who waits, and whoever comes, fail.
  ///
  /// Batches that are being written are not acknowledged any more.
  package func stop(_ reason: ArrayError) {
    guard stopReason == nil else { return }
    stopReason = reason
    open?.resumeAll(returning: false)
    open?.reset()
    for index in 0..<waitingRecords.count { waitingRecords[index].resume(returning: false) }
    waitingRecords.removeAll()
    for index in 0..<waitingIntents.count { waitingIntents[index].resume(returning: nil) }
    waitingIntents.removeAll()
    for index in 0..<inFlight.count { inFlight[index].resumeAll(returning: false) }
    for index in 0..<awaiting.count { awaiting[index].resumeAll(returning: false) }
    resumeDurableWaiters()
    for replica in replicas { replica.signal() }
    onPublished()
    resumeFlushWaiters()
    resumeWrittenWaiters()
    let writers = unsafe idleWriters
    unsafe idleWriters.removeAll()
    for index in unsafe writers.indices { unsafe writers[index].resume() }
    sealerRest.signal()
  }
}
