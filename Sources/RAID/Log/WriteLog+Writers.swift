import DiskFormat
import Geometry
import IO

extension WriteLog {
  // MARK: Writers

  /// Writes batches until `stop`.
  package func runWriter() async {
    while stopReason == nil {
      if let batch = takeBatch() {
        // What came meanwhile is the next writer's.
        wakeWriter()
        await write(batch)
        complete(batch)
        await flushAhead()
      } else {
        await restWriter()
      }
    }
  }

  private func restWriter() async {
    // Safe: resumed once, by `wakeWriter` or `stop`, or here: others may have run meanwhile.
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      if stopReason != nil || isTakeable {
        wokenWriterCount += 1
        unsafe waiter.resume()
      } else {
        unsafe idleWriters.append(waiter)
      }
    }
    wokenWriterCount = max(0, wokenWriterCount - 1)
  }

  /// Lets a writer look for work, unless one is about to.
  func wakeWriter() {
    guard wokenWriterCount == 0, isTakeable, let waiter = unsafe idleWriters.popLast() else {
      return
    }
    wokenWriterCount += 1
    unsafe waiter.resume()
  }

  // MARK: Taking

  private var isTakeable: Bool {
    guard inFlight.count < writerCount else { return false }
    if !waitingIntents.isEmpty { return !intentsAreBlocked }
    return !recordsAreBlocked && !isHeld && (sealIsDue || open.map { !$0.isEmpty } ?? false)
  }

  /// The next batch to write, with its number, its place and its bytes.
  ///
  /// Intents go first: what waits for room may wait for them.
  private func takeBatch() -> PendingBatch? {
    guard isTakeable else { return nil }
    while let request = waitingIntents.first {
      guard let batch = takeIntents(request) else {
        if request.isOptional {
          waitingIntents.removeFirst()
          request.resume(returning: nil)
          continue
        }
        intentsAreBlocked = true
        return wantSpace()
      }
      needsSpace = recordsAreBlocked
      return batch
    }
    if let batch = open, !batch.isEmpty {
      guard let slots = admissibleSlots(batch) else {
        recordsAreBlocked = true
        return wantSpace()
      }
      open = nil
      prepare(batch, on: slots)
      needsSpace = false
      admitWaitingRecords()
      return batch
    }
    if sealIsDue { return takeSeal() }
    return nil
  }

  private func wantSpace() -> PendingBatch? {
    needsSpace = true
    onSpaceWanted()
    return nil
  }

  /// Looks again whether there is room for what waits.
  func retryBlocked() {
    recordsAreBlocked = false
    intentsAreBlocked = false
    admitWaitingRecords()
    wakeWriter()
  }

  private func takeIntents(_ request: IntentRequest) -> PendingBatch? {
    guard let batch = takeIdleBatch() else { return nil }
    var bytes = 0
    for intent in request.intents { bytes += descriptorBytes(intent) }
    if request.position != nil { bytes += LogBatchEncoder.positionRecordBytes }
    for intent in request.direct {
      bytes += LogBatchEncoder.directRecordBytes(blockCount: intent.old.count)
    }
    batch.add(intents: request, descriptorBytes: bytes)
    // The reserve is for those who cannot do without.
    let slots = request.isOptional ? admissibleSlots(batch) : placement(byteCountBound(batch))
    guard let slots else {
      batch.reset()
      idleBatches.append(batch)
      return nil
    }
    waitingIntents.removeFirst()
    prepare(batch, on: slots)
    if request.isPinned { ledger.pin(batch.sequence) }
    return batch
  }

  private func takeSeal() -> PendingBatch? {
    guard let batch = takeIdleBatch() else {
      // Until one comes back: else the writer would look again and again.
      recordsAreBlocked = true
      return nil
    }
    batch.isSeal = true
    guard let slots = admissibleSlots(batch) else {
      batch.reset()
      idleBatches.append(batch)
      recordsAreBlocked = true
      return wantSpace()
    }
    prepare(batch, on: slots)
    needsSpace = false
    return batch
  }

  /// Gives a batch its number, its places and its header.
  private func prepare(_ batch: PendingBatch, on slots: SlotSet) {
    let runs = options.plants(.noSeal) ? [] : lastRuns
    let headerByteCount = batch.headerByteCount(
      copyCount: slots.count, previousRunCount: runs.count)
    let byteCount = UInt64(headerByteCount + batch.payloadBlockCount * 4096)
    lastSequence += 1
    batch.sequence = lastSequence
    for slot in slots {
      guard let offset = rings[slot].place(byteCount) else {
        preconditionFailure("a batch without the room that was found for it")
      }
      rings[slot].append(
        MemberRing.Segment(sequence: lastSequence, offsetBytes: offset, byteCount: byteCount))
      batch.copies.append(BatchCopy(slot: slot, offsetBytes: offset))
    }
    let header = LogBatchHeader(
      arrayID: arrayID, epoch: epoch, sequence: lastSequence, previousChain: lastChain,
      horizon: horizon, checkpointSequence: ledger.checkpoint.sequence,
      clientSequence: 0, copies: batch.copies, previousRuns: runs)
    lastChain = batch.encode(
      header, behind: position,
      countsEveryBatch: options.plants(.intentsCountAsClientRecords))
    position = batch.end
    batch.preparedNanoseconds = machine.nowNanoseconds
    ledger.append(
      LogLedger.Entry(chain: lastChain, position: position, pinCount: 0))
    inFlight.append(batch)
    unpublishedBlockCount += batch.unsettledBlockCount
    batch.runs(into: &lastRuns)
    newestBatchSlots = slots
    toldHorizon = horizon
    sealIsDue = false
    if !batch.isSeal { lastRecordSequence = lastSequence }
    if options.plants(.visibleBeforeAcknowledged) { publish(batch) }
    offerToReplicas(batch)
  }

  // MARK: Writing

  /// Writes all copies, and puts out the members that cannot.
  ///
  /// Afterwards the batch is written, or the log has stopped.
  private func write(_ batch: PendingBatch) async {
    let group = members.makeGroup()
    for copy in batch.copies {
      members.write(
        copy.slot, atBytes: layout.logOffset + copy.offsetBytes, from: batch.bytes,
        keeping: batch.memory, group)
    }
    await group.wait()
    var failed = SlotSet()
    for failure in group.failures { failed.insert(failure.slot) }
    unsyncedSlots = unsyncedSlots.union(batch.copySlots.subtracting(failed))
    if !failed.isEmpty {
      do throws(ArrayError) {
        for failure in group.failures {
          try await membership.expel(failure, ExpulsionReason(ofWrite: failure.error))
        }
        let good = batch.copySlots.subtracting(failed).intersection(members.currentSlots)
        guard !good.isEmpty else {
          throw .stopped("no copy of log batch \(batch.sequence) could be written")
        }
      } catch {
        fail(error)
      }
    }
    members.release(group)
    await settleMembership()
  }

  /// Waits until the survivors say that the members who got nothing are out, and puts out those who
  /// hang: before that, nothing is acknowledged without them (rule T6).
  func settleMembership() async {
    for slot in members.unusableSlots where members.isUnusable(slot) {
      do throws(ArrayError) {
        try await membership.expel(slot, .timedOut)
      } catch {
        fail(error)
      }
    }
  }

  /// Acknowledges, in order, what is written now.
  private func complete(_ batch: PendingBatch) {
    batch.isWritten = true
    while let first = inFlight.first, first.isWritten {
      inFlight.removeFirst()
      guard stopReason == nil else {
        recycle(first)
        continue
      }
      writtenSequence = first.sequence
      if !first.isSeal { writtenRecordSequence = first.sequence }
      if mustAwaitReplicas(first) {
        // Nobody else holds the checkpoint before it: it is not published.
        ledger.pin(first.sequence)
        awaiting.append(first)
        if isAbandoned { first.resumeAll(returning: false) }
      } else {
        acknowledge(first)
      }
    }
    resumeWrittenWaiters()
    retryBlocked()
    onPublished()
  }

  /// Shows its records to readers, and tells those who wait for them (rule R1).
  func acknowledge(_ batch: PendingBatch) {
    unpublishedBlockCount -= batch.unsettledBlockCount
    if !options.plants(.visibleBeforeAcknowledged) { publish(batch) }
    if batch.hasNumbered { published = batch.end }
    publishedCount += UInt64(batch.records.count)
    batch.resumeAll(returning: true)
    recycle(batch)
  }

  private func publish(_ batch: PendingBatch) {
    guard let publisher else { return }
    let payload = batch.payload
    for record in batch.records {
      switch record.kind {
      case .write:
        let blockCount = Int(record.run.blockCount)
        let first = record.payloadIndex
        publisher.publishWrite(
          record.run, batchSequence: batch.sequence,
          payload: payload.slice(first * 4096, blockCount * 4096), payloadIndex: first,
          checksums: batch.checksums[first..<first + blockCount], token: record.token)
      case .trim:
        publisher.publishTrim(record.run, batchSequence: batch.sequence, token: record.token)
      }
    }
  }

  func recycle(_ batch: PendingBatch) {
    batch.reset()
    // Memory that an abandoned write still reads is left to it.
    guard batch.memory.isIdle || batch.replaceMemory() else {
      batchCount -= 1
      // One for records and one for intents there must be.
      if batchCount < 2 { fail(.outOfMemory) }
      return
    }
    idleBatches.append(batch)
  }

  func resumeWrittenWaiters() {
    let waiters = unsafe writtenWaiters
    unsafe writtenWaiters.removeAll(keepingCapacity: true)
    for index in unsafe waiters.indices { unsafe waiters[index].resume() }
  }
}

extension ExpulsionReason {
  /// Why a member goes out whose write failed so.
  init(ofWrite error: MemberError) {
    switch error {
    case .disk(let error): self = .writeFailed(error)
    case .timedOut: self = .timedOut
    case .absent: self = .disconnected
    }
  }

  /// Why a member goes out whose fdatasync failed so.
  init(ofSynchronize error: MemberError) {
    switch error {
    case .disk(let error): self = .synchronizeFailed(error)
    case .timedOut: self = .timedOut
    case .absent: self = .disconnected
    }
  }
}
