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
    received = mine.position
    log("the primary \(theirs.nodeID) is connected: this node has records up to \(received.number)")
    phase = .following
    try await beginFollowing(theirs, from: mine.role, theirs.timelines, copyBase: nil)
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
        isCopying = true
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

  // MARK: Acknowledging

  private func runAcknowledger() async throws(SessionEnd) {
    while end == nil {
      if try await sendOutgoing(sent: .max) { continue }
      let now = acknowledgement
      if now != acknowledged {
        acknowledged = now
        try await channel.send(.acknowledgement(now), timelineID: timelineID)
        continue
      }
      await wait { self.hasOutgoing || self.acknowledgement != self.acknowledged }
    }
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
          try await engine.waitUntilPublished(count)
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
    if copyEnd != nil { return true }
    guard !isCopying else { return false }
    let published = onArray { $0.publishedPosition.number }
    if flushWanted > durable, published >= flushWanted { return true }
    // Unasked, when much has come: the primary's log holds what is not durable here.
    return published > durable + 4096
  }

  // MARK: Checksums

  private func runAnswerer() async throws(SessionEnd) {
    while end == nil {
      await wait { !self.checksumsWanted.isEmpty }
      guard end == nil else { return }
      let (wanted, records) = checksumsWanted.removeFirst()
      let contents: [BlockContent]
      do throws(ArrayError) {
        // As of what came before the question.
        try await engine.waitUntilPublished(records)
        contents = try await engine.contents(
          BlockRun(firstBlock: wanted.firstBlock, blockCount: UInt64(wanted.blockCount)),
          salt: wanted.requestNumber)
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
