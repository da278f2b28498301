package import DiskFormat
import Geometry
package import IO

// Replicas: the gate before acknowledgements, the feed, and the pins (docs/replication.md).
extension WriteLog {
  // MARK: Who there is

  /// Makes a replica known.
  ///
  /// `counts`: acknowledgements wait for it from now on.
  /// `durable`: what it had durably when it was heard last: the log keeps what follows.
  package func addReplica(
    _ nodeID: Identifier, mode: ReplicaMode, counts: Bool, durable: UInt64
  ) -> ReplicaProgress {
    let replica = ReplicaProgress(nodeID: nodeID, mode: mode, counts: counts)
    replica.durable = durable
    replica.logged = durable
    replica.received = durable
    replicas.append(replica)
    movePin(of: replica)
    return replica
  }

  /// Forgets a replica.
  package func removeReplica(_ nodeID: Identifier) {
    guard let index = replicas.firstIndex(where: { $0.nodeID == nodeID }) else { return }
    let replica = replicas.remove(at: index)
    replica.counts = false
    releasePin(of: replica)
    replica.signal()
    forgetSent()
    openGate()
    resumeDurableWaiters()
  }

  /// A replica that is known.
  package func replica(_ nodeID: Identifier) -> ReplicaProgress? {
    replicas.first { $0.nodeID == nodeID }
  }

  /// Acknowledgements wait for it from the next one on, or no longer.
  package func setCounts(_ replica: ReplicaProgress, _ counts: Bool) {
    replica.counts = counts
    replica.isBeingSetAside = false
    openGate()
    resumeDurableWaiters()
    // Its pin held the log for as long as it counted, whoever waited for room.
    if !counts, needsSpace { onSpaceWanted() }
  }

  /// A session serves it from now on, beginning behind what it has durably; or, when a copy is made,
  /// behind where that begins.
  ///
  /// That may be less than it said before: its power may have failed. Where its log ends may be on its
  /// way to the disk only: what it has logged, and durably, is what it acknowledges (rule C2).
  package func connect(
    _ replica: ReplicaProgress, at number: UInt64, sentThrough sent: UInt64
  ) {
    replica.isConnected = true
    replica.received = min(replica.received, number)
    replica.logged = min(replica.logged, number)
    replica.durable = min(replica.durable, number)
    replica.sent = sent
    replica.flushWanted = 0
    movePin(of: replica)
    openGate()
    resumeDurableWaiters()
  }

  /// Its session has ended.
  package func disconnect(_ replica: ReplicaProgress) {
    replica.isConnected = false
    forgetSent()
    replica.signal()
  }

  // MARK: The gate

  /// Whether a batch that is written has to wait for replicas before it is acknowledged.
  func mustAwaitReplicas(_ batch: PendingBatch) -> Bool {
    guard !replicas.isEmpty, batch.hasNumbered else { return false }
    return !awaiting.isEmpty || !isThroughGate(batch.end.number)
  }

  /// Whether every replica that counts has what is needed of a record to acknowledge it.
  private func isThroughGate(_ number: UInt64) -> Bool {
    if options.plants(.acknowledgesBeforeReplica) { return true }
    return replicas.allSatisfy { !$0.counts || $0.acknowledged(in: $0.mode) >= number }
  }

  /// Acknowledges what replicas have by now.
  func openGate() {
    guard let first = awaiting.first, stopReason == nil, isThroughGate(first.end.number) else {
      return
    }
    while let first = awaiting.first, isThroughGate(first.end.number) {
      awaiting.removeFirst()
      let sequence = first.sequence
      acknowledge(first)
      // The publisher has pinned it where it has to keep it.
      ledger.unpin(sequence)
    }
    resumeWrittenWaiters()
    retryBlocked()
    onPublished()
  }

  /// A replica tells how far it is; numbers that fall, or that were never sent, are ignored.
  package func note(
    _ replica: ReplicaProgress, received: UInt64, logged: UInt64, durable: UInt64
  ) {
    let bound = replica.sent
    replica.received = max(replica.received, min(received, bound))
    replica.logged = max(replica.logged, min(logged, bound))
    let wasDurable = replica.durable
    replica.durable = max(replica.durable, min(durable, bound))
    if replica.durable > wasDurable || options.plants(.pinsFollowLogged) {
      movePin(of: replica)
      resumeDurableWaiters()
    }
    openGate()
  }

  /// Tells those who wait for a replica that nobody knows what becomes of their writes.
  ///
  /// The writes stay: they are shown when the replica has them.
  ///
  /// - Returns: whether anybody was waiting.
  @discardableResult
  package func abandonAwaiting() -> Bool {
    let hasWaiters = unsafe !awaiting.isEmpty || !durableWaiters.isEmpty
    for index in 0..<awaiting.count { awaiting[index].resumeAll(returning: false) }
    isAbandoned = true
    // What cannot be written waits for room, and that perhaps for the replica: its pin holds the log.
    open?.resumeAll(returning: false)
    resumeDurableWaiters()
    return hasWaiters
  }

  /// Replicas are there again: who waits from now on is told when they have it.
  package func endAbandoning() { isAbandoned = false }

  /// Where client records end at the checkpoint.
  package var checkpointNumber: UInt64 { ledger.checkpoint.position.number }

  /// Since when the oldest thing has been waited for that this replica owes; nil for nothing.
  package func waitsSince(_ replica: ReplicaProgress) -> UInt64? {
    guard replica.counts else { return nil }
    var since: UInt64?
    if let first = awaiting.first, replica.acknowledged(in: replica.mode) < first.end.number {
      since = first.preparedNanoseconds
    }
    if replica.mode != .a, replica.flushWanted > replica.durable {
      since = min(since ?? .max, replica.flushWantedNanoseconds)
    }
    return since
  }

  // MARK: The feed

  /// A batch has its number: replicas are sent it while it is being written here.
  func offerToReplicas(_ batch: PendingBatch) {
    guard batch.hasNumbered, !replicas.isEmpty else { return }
    noteFlushable()
    for replica in replicas where replica.pinnedSequence == nil { movePin(of: replica) }
    guard replicas.contains(where: \.isConnected) else { return }
    window.append(batch.streamBatch(batchMemories))
    if isFlushExpected { askReplicas(durable: batch.end.number) }
    for replica in replicas where replica.isConnected { replica.signal() }
  }

  /// Forgets what every session has sent and what is acknowledged.
  package func forgetSent() {
    var number: UInt64?
    for replica in replicas where replica.isConnected {
      number = min(number ?? .max, replica.sent)
    }
    if let number { window.forget(through: number) } else { window.removeAll() }
  }

  /// What follows a number, from memory.
  package func batchInMemory(behind number: UInt64) -> StreamBatch? {
    window.batch(behind: number)?.behind(number)
  }

  /// Whether records behind a number are still in the log, or nothing is behind it.
  package func reachesBack(to number: UInt64) -> Bool {
    number >= ledger.checkpoint.position.number
  }

  /// The record chain at a number; nil when the log does not know it any more.
  package func chain(at number: UInt64) async throws(ArrayError) -> UInt32? {
    if number == position.number { return position.chain }
    if number == ledger.checkpoint.position.number { return ledger.checkpoint.position.chain }
    guard number < position.number, reachesBack(to: number) else { return nil }
    return try await readBatch(behind: number)?.chain(at: number)
  }

  /// The batch with the record behind a number, from the log's members, verified.
  ///
  /// Nil when it is not in the log any more.
  package func readBatch(behind number: UInt64) async throws(ArrayError) -> StreamBatch? {
    guard reachesBack(to: number), let sequence = ledger.firstSequence(behind: number) else {
      return nil
    }
    try await waitUntilWritten(sequence)
    for slot in logSlots where sequence > ledger.checkpoint.sequence {
      guard let segment = rings[slot].segment(sequence) else { continue }
      let before = ledger.position(at: sequence - 1)
      guard let memory = OwnedBuffer(byteCount: Int(segment.byteCount)) else {
        throw .outOfMemory
      }
      let group = members.makeGroup()
      members.read(
        slot, atBytes: layout.logOffset + segment.offsetBytes, into: memory.buffer,
        keeping: memory, group)
      await group.wait()
      let isRead = group.failures.isEmpty
      members.release(group)
      if isRead, let batch = streamBatch(memory, sequence, behind: before) { return batch }
    }
    guard sequence > ledger.checkpoint.sequence else { return nil }
    throw .stopped("log batch \(sequence) is not readable on any member")
  }

  private func streamBatch(
    _ memory: OwnedBuffer, _ sequence: UInt64, behind position: StreamPosition
  ) -> StreamBatch? {
    let bytes = memory.buffer
    do throws(FormatError) {
      let batch = try LogBatch.decode(bytes, arrayID: arrayID)
      let payload = bytes.dropFirst(batch.headerByteCount)
      guard batch.header.sequence == sequence, batch.byteCount == bytes.byteCount,
        batch.isPayloadIntact(payload)
      else { return nil }
      return batch.streamBatch(behind: position, payload: payload, memory)
    } catch {
      return nil
    }
  }

  private func waitUntilWritten(_ sequence: UInt64) async throws(ArrayError) {
    while writtenSequence < sequence {
      try checkRunning()
      // Safe: resumed once, when batches were written, or by `stop`, or here.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if writtenSequence >= sequence || stopReason != nil {
          unsafe waiter.resume()
        } else {
          unsafe writtenWaiters.append(waiter)
        }
      }
    }
  }

  // MARK: Pins

  /// Holds the checkpoint before what the replica may lack (rule C2).
  private func movePin(of replica: ReplicaProgress) {
    let old = replica.pinnedSequence
    replica.pinnedSequence = nil
    let known = options.plants(.pinsFollowLogged) ? replica.logged : replica.durable
    if reachesBack(to: known), let sequence = ledger.firstSequence(behind: known),
      sequence > unpinnableSequence
    {
      ledger.pin(sequence)
      replica.pinnedSequence = sequence
    }
    if let old { unpin(old) }
  }

  private func releasePin(of replica: ReplicaProgress) {
    guard let sequence = replica.pinnedSequence else { return }
    replica.pinnedSequence = nil
    unpin(sequence)
  }

  /// Log space goes before what replicas lack: they are brought up to date by comparison.
  func giveUpPins() {
    unpinnableSequence = lastSequence
    for replica in replicas { releasePin(of: replica) }
  }

  /// Gives up the pins that hold the log when it is more than half full, the oldest first.
  func limitPins() {
    guard fillFraction > 0.5 else { return }
    let pinned = replicas.filter { $0.pinnedSequence == ledger.checkpoint.sequence + 1 }
    for replica in pinned {
      if replica.counts {
        // It is there: what it has is to become durable.
        guard replica.flushWanted <= replica.durable else { continue }
        replica.flushWanted = replica.logged
        replica.flushWantedNanoseconds = machine.nowNanoseconds
        replica.signal()
      } else {
        releasePin(of: replica)
      }
    }
  }

  // MARK: At a replica

  /// Logs records that a primary numbered, in order; payload stays as it is until they are
  /// published, which `onPublished` tells.
  ///
  /// - Precondition: they follow `position` and what waits to be logged; room for their payload
  ///   has been reserved.
  package func enqueueReplicated(
    write run: BlockRun, payload: IOBuffer, isCopy: Bool = false
  ) {
    var record = PendingBatch.Record(
      write: run, payload: payload, unsettledBlockCount: Int(run.blockCount), token: 0)
    record.isCopy = isCopy
    enqueue(record)
  }

  /// The same for a trim.
  package func enqueueReplicated(
    trim run: BlockRun, unsettledBlockCount: Int, isCopy: Bool = false
  ) {
    var record = PendingBatch.Record(
      trim: run, unsettledBlockCount: min(unsettledBlockCount, limits.unsettledBlockCountMax),
      token: 0)
    record.isCopy = isCopy
    enqueue(record)
  }

  /// Whether records wait for their batch.
  var hasUnnumbered: Bool { !waitingRecords.isEmpty || open.map { !$0.isEmpty } ?? false }

  /// Client records count from another position from now on, durably.
  ///
  /// - Precondition: none is under way.
  package func begin(at position: StreamPosition) async throws(ArrayError) {
    try checkRunning()
    // Safe: resumed once: with its batch, or by `stop`, or here.
    let sequence = unsafe await withUnsafeContinuation {
      (waiter: UnsafeContinuation<UInt64?, Never>) in
      let request = unsafe IntentRequest(
        [], isPinned: false, position: position, waiter: waiter)
      if stopReason == nil {
        waitingIntents.append(request)
        wakeWriter()
      } else {
        request.resume(returning: nil)
      }
    }
    guard let sequence else { throw stopReason ?? .stopped("the log has stopped") }
    published = position
    try await waitUntilDurable(sequence)
  }

  /// Returns when so many of the records that were handed over have been published.
  package func waitUntilPublished(_ count: UInt64) async throws(ArrayError) {
    while publishedCount < count {
      try checkRunning()
      // Safe: resumed once, when batches were written, or by `stop`, or here.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if publishedCount >= count || stopReason != nil {
          unsafe waiter.resume()
        } else {
          unsafe writtenWaiters.append(waiter)
        }
      }
    }
  }

  /// Where client records end that are durable here.
  package var durablePosition: StreamPosition { ledger.position(at: min(horizon, lastSequence)) }
}

extension PendingBatch {
  /// Its numbered records, for replicas.
  func streamBatch(_ memories: OwnedBufferPool) -> StreamBatch {
    StreamBatch(
      start: start, end: end,
      records: records.lazy.filter { !$0.isCopy }.map {
        StreamBatch.Record(isTrim: $0.kind == .trim, run: $0.run, payloadIndex: $0.payloadIndex)
      },
      checksums: checksums, payload: payload, memory: memory, memories: memories)
  }
}

extension LogBatch {
  /// Its numbered records, for replicas; nil when it has none.
  func streamBatch(
    behind position: StreamPosition, payload: IOBuffer, _ memory: OwnedBuffer
  ) -> StreamBatch? {
    var records: [StreamBatch.Record] = []
    var checksums: [UInt32] = []
    for record in self.records {
      switch record {
      case .write(let run, let number, let index, let sums):
        guard index == checksums.count else { return nil }
        checksums += sums
        guard number != 0 else { continue }
        records.append(StreamBatch.Record(isTrim: false, run: run, payloadIndex: index))
      case .trim(let run, let number):
        guard number != 0 else { continue }
        records.append(StreamBatch.Record(isTrim: true, run: run, payloadIndex: 0))
      case .intent, .direct, .position: continue
      }
    }
    guard !records.isEmpty else { return nil }
    return StreamBatch(
      start: position, end: self.position(after: position), records: records,
      checksums: checksums, payload: payload.prefix(checksums.count * 4096), memory: memory,
      memories: nil)
  }
}
