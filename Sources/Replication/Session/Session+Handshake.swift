import DiskFormat
import IO
import RAID

extension Session {
  /// Serves the connection to its end.
  ///
  /// `isExpected`: looks at the hello; a refusal ends it.
  /// `claim`: makes this the one connection with that node; false when there is another.
  func run(
    isExpected: @escaping @Sendable (Hello) -> Refusal?,
    claim: @escaping @Sendable (Identifier) -> Bool
  ) async -> SessionEnd {
    spawn { session throws(SessionEnd) in await session.runHandshakeClock() }
    // In a task of its own: should it wait for something that never comes, the session ends without it.
    spawn { session throws(SessionEnd) in
      var plan = try await session.shakeHands(isExpected)
      if case .refuse = plan {
      } else if let theirs = session.theirs, !claim(theirs.nodeID) {
        // Both may have called at once: what one connection does must not be undone by the other.
        plan = .refuse(Refusal(code: .busy, words: "there is a connection with this node already"))
      }
      try await session.carryOut(plan)
      session.finish(.lost("it has ended"))
    }
    await waitForTasks()
    lendSlots()
    if runningTaskCount > 0 {
      // Whoever is left may still use the stream: it stays as it is.
      log("a part of the connection does not come to its end, and is left behind")
    } else {
      await channel.stream.close()
    }
    return end ?? .lost("it has ended")
  }

  /// Nobody takes for ever to say who he is; and when it is over nobody is waited for for ever.
  private func runHandshakeClock() async {
    for _ in 0..<8 where end == nil && phase == .connecting {
      await machine.sleep(nanoseconds: options.silenceNanoseconds / 4)
    }
    if end == nil, phase == .connecting { finish(.lost("it did not say who it is in time")) }
    await wait { false }
    // Itself is one of them.
    for _ in 0..<3000 where runningTaskCount > 1 { await machine.sleep(nanoseconds: 10_000_000) }
    giveUpTasks()
  }

  private func noSlot(_ byteCount: Int) async -> PayloadSlot? { PayloadSlot(byteCount: byteCount) }

  func receiveControl() async throws(SessionEnd) -> StreamMessage {
    try await receiveFrame().message
  }

  /// The next frame that is no sign of life, with what payload it has.
  func receiveFrame() async throws(SessionEnd) -> FrameChannel<M.MachineStream>.Frame {
    while true {
      let frame = try await channel.receive(noSlot)
      if case .refusal(let refusal) = frame.message { throw .refused(refusal) }
      if case .keepAlive = frame.message { continue }
      return frame
    }
  }

  private func shakeHands(
    _ isExpected: (Hello) -> Refusal?
  ) async throws(SessionEnd) -> SessionPlan {
    try await channel.send(.hello(mine), timelineID: timelineID)
    guard case .hello(let theirs) = try await receiveControl() else {
      throw .protocolError("it did not begin with a hello")
    }
    self.theirs = theirs
    if let refusal = isExpected(theirs) { return .refuse(refusal) }
    return SessionPlan.decide(
      mine: mine, theirs: theirs, verdict: try await compare(with: theirs))
  }

  /// What the two histories are to each other; each side tells the chain at the number that both have.
  private func compare(with theirs: Hello) async throws(SessionEnd) -> TimelineVerdict {
    guard
      let myHistory = TimelineHistory(timelines: mine.timelines, position: mine.position),
      let theirHistory = TimelineHistory(timelines: theirs.timelines, position: theirs.position)
    else { throw .protocolError("its timelines are no history") }
    let comparison = TimelineComparison(mine: myHistory, theirs: theirHistory)
    let number = comparison.commonNumber ?? 0
    let myChain = try await myChain(at: number)
    if myChain == nil, comparison.commonNumber != nil {
      log("what record \(number) was is not known here any more: the log begins behind it")
    }
    try await channel.send(
      .chainAnswer(ChainAnswer(number: number, chain: myChain)), timelineID: timelineID)
    guard case .chainAnswer(let answer) = try await receiveControl() else {
      throw .protocolError("it did not tell its chain")
    }
    guard answer.number == number else {
      throw .protocolError("it tells its chain at \(answer.number) instead of \(number)")
    }
    if engine.options.plants(.comparesNumbersOnly) {
      if mine.position.number == theirs.position.number { return .inStep }
      return mine.position.number < theirs.position.number
        ? .behind : .ahead(of: theirs.position)
    }
    guard let myChain, let theirChain = answer.chain, comparison.commonNumber != nil else {
      // A log does not reach back for ever. Within a timeline one node numbers records, and a crash
      // that may have cost it some begins another; so the numbers decide, and nothing is fed: what
      // is there is compared, block by block.
      chainIsUnknown = true
      return comparison.verdict(myChain: 0, theirChain: 0)
    }
    return comparison.verdict(myChain: myChain, theirChain: theirChain)
  }

  private func myChain(at number: UInt64) async throws(SessionEnd) -> UInt32? {
    // What was said in the hello is what is compared: records may have followed.
    if number == mine.position.number { return mine.position.chain }
    do throws(ArrayError) {
      return try await engine.recordChain(at: number)
    } catch {
      throw .stopped(error.words)
    }
  }

  // MARK: The plan

  private func carryOut(_ plan: SessionPlan) async throws(SessionEnd) {
    guard let theirs else { return }
    switch plan {
    case .refuse(let refusal):
      try? await channel.send(.refusal(refusal), timelineID: timelineID)
      throw .refused(refusal)
    case .feed: try await feed(theirs)
    case .follow:
      // A primary has its clients' records on their way, and looks itself whether it may give way.
      if mine.role == .replica { try await settleLog() }
      try await follow(theirs)
    case .fetchTail where chainIsUnknown, .giveTail where chainIsUnknown:
      // What is behind the lesser number is the replica's alone.
      throw .refused(
        Refusal(
          code: .diverged, firstNumber: min(mine.position.number, theirs.position.number),
          secondNumber: max(mine.position.number, theirs.position.number),
          words:
            "the replica has records that the primary lost, and it cannot be told whether they "
            + "follow the primary's"))
    case .giveTail:
      try await settleLog()
      try await giveTail(theirs)
      try await follow(theirs)
    case .fetchTail:
      try await settleLog()
      try await fetchTail(theirs)
      mine.position = theirs.position
      try await feed(theirs)
    }
  }

  // MARK: What a primary lost

  /// Says something now and then while records go back to a primary, and ends it when the other is
  /// silent, or takes nothing.
  ///
  /// Frames are sent by whoever has set `isSendingAlone`.
  private func runTailClock() async throws(SessionEnd) {
    while end == nil, isTail {
      await machine.sleep(nanoseconds: max(1_000_000, options.silenceNanoseconds / 4))
      guard end == nil, isTail else { return }
      let now = machine.nowNanoseconds
      let since = isSendingAlone ? channel.sentNanoseconds : channel.receivedNanoseconds
      // Who gives reads nothing meanwhile: he only knows that what he sends is taken.
      let isWaiting = isSendingAlone || phase == .fetchingTail
      if isWaiting, now > since, now - since > 2 * options.silenceNanoseconds {
        throw .lost("it has been silent while records went back to the primary")
      }
      guard !isSendingAlone else { continue }
      let durable = onArray { $0.durablePosition.number }
      try await sendAlone { session throws(SessionEnd) in
        try await session.channel.send(
          .keepAlive(KeepAlive(number: 0, durable: durable)), timelineID: session.timelineID)
      }
    }
  }

  private func sendAlone(
    _ send: (Session) async throws(SessionEnd) -> Void
  ) async throws(SessionEnd) {
    await wait { !self.isSendingAlone }
    guard end == nil else { throw .lost("it has ended") }
    isSendingAlone = true
    defer {
      isSendingAlone = false
      signal()
    }
    try await send(self)
  }

  private func beginTail(_ phase: SessionPhase) {
    self.phase = phase
    isTail = true
    spawn { session throws(SessionEnd) in try await session.runTailClock() }
  }

  /// From here on others send.
  private func endTail() async {
    isTail = false
    await wait { !self.isSendingAlone }
  }

  /// Waits until what the connection before left on its way to the log has its place there.
  ///
  /// When that is more than was said in the hello, it would come again, and be logged twice: the hello
  /// has to be said anew.
  private func settleLog() async throws(SessionEnd) {
    do throws(ArrayError) {
      try await engine.waitUntilPublished(onArray { $0.enqueuedRecordCount })
    } catch {
      throw .stopped(error.words)
    }
    let now = view
    guard now.position == mine.position,
      now.replication.isConsistent == mine.flags.contains(.isConsistent)
    else { throw .lost("what it had was still on its way to the log: it is told of that") }
  }

  /// Sends the primary what it lost.
  private func giveTail(_ theirs: Hello) async throws(SessionEnd) {
    beginTail(.givingTail)
    var number = theirs.position.number
    while number < mine.position.number {
      let batch: StreamBatch?
      do throws(ArrayError) {
        batch = try await engine.streamBatch(behind: number)
      } catch {
        throw .stopped(error.words)
      }
      guard let batch else {
        let refusal = Refusal(
          code: .diverged, firstNumber: theirs.position.number,
          secondNumber: mine.position.number,
          words: "the replica has what the primary lost, but no longer in its log")
        try? await sendAlone { session throws(SessionEnd) in
          try await session.channel.send(.refusal(refusal), timelineID: session.timelineID)
        }
        throw .refused(refusal)
      }
      try await sendAlone { session throws(SessionEnd) in
        try await session.channel.send(batch, timelineID: session.timelineID)
      }
      number = batch.end.number
    }
    await endTail()
  }

  /// Takes from the replica what this primary lost, and makes it durable.
  private func fetchTail(_ theirs: Hello) async throws(SessionEnd) {
    try expectSettled()
    received = mine.position
    beginTail(.fetchingTail)
    log(
      "fetching records \(received.number + 1) to \(theirs.position.number), which this node lost, "
        + "from node \(theirs.nodeID)")
    // It has them, durably or not: they need not wait for it.
    onArray { $0.noteTail(of: theirs.nodeID, number: theirs.position.number) }
    while received.number < theirs.position.number {
      let frame = try await channel.receive { _ in
        await self.takeSlot(StreamFrameHead.payloadBlocksMax * 4096)
      }
      switch frame.message {
      case .refusal(let refusal): throw .refused(refusal)
      case .keepAlive: continue
      case .records(let records): try await take(records, frame.payload, isTail: true)
      default: throw .protocolError("\(frame.message.kind) instead of records")
      }
    }
    do throws(ArrayError) {
      let count = onArray { $0.enqueuedRecordCount }
      try await engine.waitUntilPublished(count)
      try await engine.flushLog()
    } catch {
      throw .stopped(error.words)
    }
    await endTail()
  }

  /// Hands records to the array, which follow what came before; that their chain is right was seen
  /// when they were read.
  func take(
    _ records: StreamRecords, _ slot: PayloadSlot?, isTail: Bool
  ) async throws(SessionEnd) {
    guard records.start == received else {
      giveBack(slot)
      throw .protocolError(
        "records behind \(records.previousNumber), and \(received.number) is what came before, or "
          + "their chains differ")
    }
    var list: [StreamBatch.Record] = []
    list.reserveCapacity(records.records.count)
    for (index, record) in records.records.enumerated() {
      let number = records.previousNumber + 1 + UInt64(index)
      guard record.run.blockCount <= mine.blockCount,
        record.run.firstBlock <= mine.blockCount - record.run.blockCount
      else { throw .protocolError("record \(number) lies outside the device") }
      switch record {
      case .write(let run, let blocks):
        list.append(
          StreamBatch.Record(isTrim: false, run: run, payloadIndex: blocks.lowerBound))
      case .trim(let run):
        list.append(StreamBatch.Record(isTrim: true, run: run, payloadIndex: 0))
      }
    }
    if !copiesPending.isEmpty {
      for record in list { await waitForCopies(of: record.run) }
    }
    try await keepOld(list.map { ($0.run, $0.isTrim) })
    received = records.end
    signal()
    do throws(ArrayError) {
      // Without payload there is nothing that a slice could reach.
      try await engine.applyReplicated(
        list, payload: slot?.buffer ?? channel.noPayload, isCopy: false, isTail: isTail,
        endNumber: records.end.number)
    } catch {
      throw .stopped(error.words)
    }
    keep(slot, through: onArray { $0.enqueuedRecordCount })
  }
}
