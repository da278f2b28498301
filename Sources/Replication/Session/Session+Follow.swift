import DiskFormat
import IO
import RAID

// The side of the replica: records and copies come in, acknowledgements go out.
extension Session {
  /// Follows a primary to the end of the connection.
  func follow(_ theirs: Hello) async throws(SessionEnd) {
    if mine.role == .primary {
      let words =
        "node \(theirs.nodeID) was promoted after this one, which is a replica from now on"
      guard await engine.giveWay(at: mine.position, words) else {
        throw .refused(
          Refusal(
            code: .diverged, firstNumber: mine.position.number,
            words: "this node wrote more before it heard that another is the primary"))
      }
    }
    try expectSettled()
    received = mine.position
    primaryMode = theirs.mode
    log("the primary \(theirs.nodeID) is connected: this node has records up to \(received.number)")
    phase = .following
    try await beginFollowing(theirs, from: mine.role, theirs.timelines, copyBase: nil)
    guard end == nil else {
      // It took longer than anybody waits for it.
      onArray { $0.notePrimaryLost() }
      throw .lost("it has ended")
    }
    onArray { array in
      array.watchPublished { [weak self] in self?.signal() }
    }
    defer {
      onArray {
        $0.watchPublished {}
        $0.notePrimaryLost()
      }
    }
    durable = onArray { $0.durablePosition.number }
    spawn { session throws(SessionEnd) in try await session.runFollowReader(theirs) }
    spawn { session throws(SessionEnd) in try await session.runAcknowledger() }
    spawn { session throws(SessionEnd) in try await session.runFlusher() }
    spawn { session throws(SessionEnd) in try await session.runAnswerer() }
    spawn { session throws(SessionEnd) in try await session.runClock() }
    signal()
    await wait { false }
  }

  /// Nothing came after the hello, by a connection before this one: it would be taken twice.
  func expectSettled() throws(SessionEnd) {
    guard onArray({ !$0.hasUnnumbered && $0.streamPosition == mine.position }) else {
      throw .lost("what the last connection brought is on its way to the log still")
    }
  }

  private func beginFollowing(
    _ theirs: Hello, from role: NodeRole, _ timelines: [Timeline], copyBase: StreamPosition?
  ) async throws(SessionEnd) {
    do throws(ArrayError) {
      try await engine.follow(
        theirs.nodeID, from: role, address: theirs.address, mode: theirs.mode,
        lossPolicy: theirs.lossPolicy, timeoutMilliseconds: theirs.peerTimeoutMilliseconds,
        timelines: timelines, copyBase: copyBase)
    } catch {
      throw .stopped(error.words)
    }
  }

  // MARK: Receiving

  private func runFollowReader(_ theirs: Hello) async throws(SessionEnd) {
    while end == nil {
      let frame = try await channel.receive { await self.takeSlot($0) }
      if !engine.options.plants(.takesSuperseded), view.replication.role == .primary {
        // Promoted meanwhile: the stream is the fence.
        post(
          .refusal(
            Refusal(code: .superseded, words: "this node was promoted: its timeline is newer")))
        await wait { !self.hasOutgoing }
        throw .stopped("this node was promoted")
      }
      switch frame.message {
      case .records(let records): try await take(records, frame.payload, isTail: false)
      case .flushRequest(let request):
        flushWanted = max(flushWanted, request.number)
        signal()
      case .keepAlive(let sign):
        onArray { $0.notePrimaryDurable(theirs.nodeID, sign.durable) }
      case .standing(let standing):
        try await note(standing)
      case .copyBegin(let begin):
        phase = .receivingCopy
        try await beginUndo()
        try await beginFollowing(
          theirs, from: .replica, begin.timelines, copyBase: begin.position)
        received = begin.position
        durable = 0
        beginReceivingCopy()
      case .copyBlocks(let copy): try await take(copy, frame.payload)
      case .copyEnd(let end):
        copyEnd = end
        signal()
      case .checksumsWanted(let wanted):
        guard wanted.firstBlock < mine.blockCount,
          UInt64(wanted.blockCount) <= mine.blockCount - wanted.firstBlock
        else { throw .protocolError("checksums wanted of blocks outside the device") }
        checksumsWanted.append((wanted, onArray { $0.enqueuedRecordCount }))
        signal()
      case .blocksWanted(let wanted):
        guard wanted.firstBlock < mine.blockCount,
          UInt64(wanted.blockCount) <= mine.blockCount - wanted.firstBlock
        else { throw .protocolError("blocks wanted outside the device") }
        blocksWanted.append((wanted, onArray { $0.enqueuedRecordCount }))
        signal()
      case .blocks(let blocks): try await mend(blocks, frame.payload)
      case .handOver(let handOver): try await note(handOver)
      case .refusal(let refusal): throw .refused(refusal)
      default: throw .protocolError("\(frame.message.kind) from a primary")
      }
    }
  }

  private func note(_ standing: Standing) async throws(SessionEnd) {
    do throws(ArrayError) {
      try await engine.noteStanding(
        counts: standing.counts, lossPolicy: standing.lossPolicy, mode: standing.mode)
    } catch {
      throw .stopped(error.words)
    }
    primaryMode = standing.mode
    post(.standingNoted(StandingNoted(number: standing.number)))
  }

  private func note(_ handOver: HandOver) async throws(SessionEnd) {
    let count = onArray { $0.enqueuedRecordCount }
    do throws(ArrayError) {
      try await engine.waitUntilPublished(count)
      try await engine.takeHandOver(at: handOver.position)
    } catch {
      throw .stopped(error.words)
    }
  }

  /// Takes copied blocks, which have no numbers.
  private func take(_ copy: CopyBlocks, _ slot: PayloadSlot?) async throws(SessionEnd) {
    guard isCopying else { throw .protocolError("copied blocks outside a copy") }
    guard copy.firstBlock < mine.blockCount,
      UInt64(copy.blocks.count) <= mine.blockCount - copy.firstBlock
    else { throw .protocolError("copied blocks outside the device") }
    await waitForCopies(of: copy.run)
    if let slot, copy.blocks.count > StreamRecords.writeBlocksMax,
      copy.payloadBlockCount == copy.blocks.count
    {
      try await keepOld([(copy.run, false)])
      copiesPending.append(copy.run)
      copiesWaiting.append(
        ReceivedCopy(
          run: copy.run, slot: slot, recordCount: onArray { $0.enqueuedRecordCount }))
      return signal()
    }
    var records: [StreamBatch.Record] = []
    var payloadIndex = 0
    for (index, block) in copy.blocks.enumerated() {
      let number = copy.firstBlock + UInt64(index)
      let isTrim = block == .neverWritten
      guard block != .lost else { throw .protocolError("a lost block in a copy") }
      if let last = records.last, last.isTrim == isTrim,
        last.run.blockCount < UInt64(StreamRecords.writeBlocksMax)
      {
        records[records.count - 1].run.blockCount += 1
      } else {
        records.append(
          StreamBatch.Record(
            isTrim: isTrim, run: BlockRun(firstBlock: number, blockCount: 1),
            payloadIndex: payloadIndex))
      }
      if !isTrim { payloadIndex += 1 }
    }
    try await keepOld(records.map { ($0.run, $0.isTrim) })
    do throws(ArrayError) {
      try await engine.applyReplicated(
        records, payload: slot?.buffer ?? channel.noPayload, isCopy: true,
        endNumber: received.number)
    } catch {
      throw .stopped(error.words)
    }
    keep(slot, through: onArray { $0.enqueuedRecordCount })
  }

  /// Tasks that are there for the copy only: each signal wakes all that there are.
  private func beginReceivingCopy() {
    guard !isCopying else { return }
    isCopying = true
    for _ in 1..<max(2, options.copyTaskCount) {
      spawn { session throws(SessionEnd) in
        try await session.runAnswerer { !session.isCopying }
      }
    }
    for _ in 0..<max(1, options.copyWriterCount) {
      spawn { session throws(SessionEnd) in try await session.runCopyWriter() }
    }
  }

  /// Writes what is copied in long pieces, to the end of the copy; several at once.
  private func runCopyWriter() async throws(SessionEnd) {
    while end == nil {
      await wait { !self.copiesWaiting.isEmpty || !self.isCopying }
      guard end == nil, !copiesWaiting.isEmpty else { return }
      let copy = copiesWaiting.removeFirst()
      do throws(ArrayError) {
        // They come behind the records that came before.
        try await engine.waitUntilPublished(copy.recordCount)
        try await engine.writeCopy(
          copy.run, from: copy.slot.buffer.prefix(Int(copy.run.blockCount) * 4096),
          isWanted: { self.end == nil })
      } catch {
        throw .stopped(error.words)
      }
      copiesPending.removeAll { $0 == copy.run }
      keep(copy.slot, through: onArray { $0.enqueuedRecordCount })
      signal()
    }
  }

  /// Returns when no copied block of a run is still to be written: what comes now comes behind it.
  func waitForCopies(of run: BlockRun) async {
    guard !copiesPending.isEmpty else { return }
    await wait {
      !self.copiesPending.contains {
        $0.firstBlock < run.endBlock && run.firstBlock < $0.endBlock
      }
    }
  }

  // MARK: Acknowledging

  private func runAcknowledger() async throws(SessionEnd) {
    while end == nil {
      if try await sendOutgoing(sent: .max) { continue }
      let now = acknowledgement
      if isNews(now) {
        acknowledged = now
        try await channel.send(.acknowledgement(now), timelineID: timelineID)
        continue
      }
      await wait { self.hasOutgoing || self.isNews(self.acknowledgement) }
    }
  }

  /// Whether the primary waits to hear it: that something was received it is told for itself in mode B
  /// only, in the others with what follows.
  private func isNews(_ now: Acknowledgement) -> Bool {
    if primaryMode == .b, now.received != acknowledged.received { return true }
    return now.logged != acknowledged.logged || now.durable != acknowledged.durable
      || now.copied != acknowledged.copied
  }

  private var acknowledgement: Acknowledgement {
    guard !isCopying else {
      return Acknowledgement(received: 0, logged: 0, durable: 0, copied: copied)
    }
    let logged = min(onArray { $0.publishedPosition.number }, received.number)
    return Acknowledgement(
      received: received.number, logged: logged,
      durable: engine.options.plants(.durableBeforeFlush) ? logged : min(durable, logged),
      copied: copied)
  }

  /// Makes durable what the primary asks for, and everything now and then: its log keeps what is not.
  private func runFlusher() async throws(SessionEnd) {
    while end == nil {
      await wait { self.hasFlushWork }
      guard end == nil else { return }
      let count = onArray { $0.enqueuedRecordCount }
      var hasEnded = false
      do throws(ArrayError) {
        if let copyEnd {
          // It came in order: all blocks of the copy are with the log.
          if !engine.options.plants(.copyEndsEarly) {
            try await engine.waitUntilPublished(count)
          }
          try await engine.endCopy()
          self.copyEnd = nil
          copied = copyEnd.copyNumber
          isCopying = false
          hasEnded = true
          phase = .following
        } else {
          try await engine.flushLog()
        }
      } catch {
        throw .stopped(error.words)
      }
      if hasEnded { try await endUndo() }
      durable = onArray { $0.durablePosition.number }
      signal()
    }
  }

  private var hasFlushWork: Bool {
    if copyEnd != nil { return copiesPending.isEmpty }
    guard !isCopying else { return false }
    let published = onArray { $0.publishedPosition.number }
    if flushWanted > durable, published >= flushWanted { return true }
    // Unasked, when much has come: the primary's log holds what is not durable here.
    return published > durable + 4096
  }

  // MARK: Checksums

  /// What came before a question counts for its answer, and what was mended is durable then.
  private func waitUntilPublished(_ count: UInt64) async throws(SessionEnd) {
    do throws(ArrayError) {
      try await engine.waitUntilPublished(count)
      guard hasMended else { return }
      hasMended = false
      try await engine.flushLog()
    } catch {
      throw .stopped(error.words)
    }
  }

  private func runAnswerer(
    until isDone: () -> Bool = { false }
  ) async throws(SessionEnd) {
    while end == nil {
      await wait { !self.checksumsWanted.isEmpty || !self.blocksWanted.isEmpty || isDone() }
      guard end == nil, !(checksumsWanted.isEmpty && blocksWanted.isEmpty) else { return }
      if !blocksWanted.isEmpty {
        let (wanted, records) = blocksWanted.removeFirst()
        try await waitUntilPublished(records)
        try await answer(wanted)
        continue
      }
      let (wanted, records) = checksumsWanted.removeFirst()
      let run = BlockRun(firstBlock: wanted.firstBlock, blockCount: UInt64(wanted.blockCount))
      await waitForCopies(of: run)
      try await waitUntilPublished(records)
      let contents: [BlockContent]
      do throws(ArrayError) {
        contents = try await engine.contents(run, salt: wanted.requestNumber)
      } catch {
        throw .stopped(error.words)
      }
      post(
        .checksums(
          Checksums(
            requestNumber: wanted.requestNumber, firstBlock: wanted.firstBlock,
            number: received.number, blocks: contents)))
    }
  }
}
