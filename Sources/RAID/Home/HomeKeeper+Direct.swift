import DiskFormat
import Geometry
import IO

/// A round of direct requests whose intents are durable.
struct DirectReady<M: Machine, D: Disk> {
  let round: DirectRound<M, D>
  /// The batch of its intents, which is pinned.
  let sequence: UInt64
}

/// A round whose blocks are on their way home.
struct DirectLanding<M: Machine, D: Disk> {
  let round: DirectRound<M, D>
  let group: OperationGroup
  /// The members that are written to.
  let slots: SlotSet
}

// Requests whose whole rows go home directly: docs/upkeep.md, section 6.
extension HomeKeeper {
  /// Asks for whole rows to be written home; the request is told what came of it.
  func requestDirectWrite(_ request: DirectRequest) {
    guard !hasStopped else { return request.end(.refused) }
    directQueue.append(request)
    // While one round is written the next is prepared.
    directLanding?.group.interrupt()
    wake()
  }

  /// The blocks of a request that may go home directly, in whole rows; 0 when none may.
  var directBlockCountMax: Int {
    parts.mayWriteDirectly ? DirectRound.blockCountMax(parts) : 0
  }

  // MARK: Seams

  /// A boundary stripe waits for the next request at most for so many rounds.
  private static var tailRoundCountMax: UInt64 { 3 }

  /// Whether other direct writes are under way: then the next request may be, too.
  var hasDirectWork: Bool { isWritingDirectly || !directQueue.isEmpty }

  /// Offers the blocks behind a request's last whole rows to the request that comes next.
  ///
  /// Only where `hasDirectWork`: nobody else would tell them that no such request came.
  func offerDirectTail(_ run: BlockRun, payload: IOBuffer) -> DirectTail? {
    guard !hasStopped, hasDirectWork else { return nil }
    let tail = DirectTail(
      run, payload: payload, roundNumberMax: directRoundNumber + Self.tailRoundCountMax)
    directQueue.append(tail)
    return tail
  }

  /// Asks for the rows of a boundary stripe to be written home, of which the request before has the first
  /// blocks and is waiting for the others.
  ///
  /// - Returns: nil when there is no such request.
  func requestBoundaryStripe(_ run: BlockRun, payload: IOBuffer) -> DirectRequest? {
    guard !hasStopped,
      let tail = directQueue.takeTail(
        before: run, unitBlockCount: parts.geometry.directUnitBlockCount)
    else { return nil }
    let request = DirectRequest(
      BlockRun(
        firstBlock: tail.run.firstBlock, blockCount: tail.run.blockCount + run.blockCount),
      payload: tail.payload, rest: payload)
    tail.end(.completed(request))
    requestDirectWrite(request)
    return request
  }

  // MARK: Rounds

  /// One after the other, before something else has its turn.
  private static var roundCountMax: Int { 16 }

  /// Takes those that wait home, and those that come meanwhile.
  ///
  /// While the blocks of one round are written, the next is prepared and its intents are made
  /// durable; it is written when the one before has ended, well or not.
  func writeDirect() async throws(ArrayError) {
    isWritingDirectly = true
    defer { isWritingDirectly = false }
    do throws(ArrayError) {
      var roundsLeft = Self.roundCountMax
      repeat {
        roundsLeft -= 1
        let next = try await prepareDirect()
        do throws(ArrayError) {
          try await landDirect()
        } catch {
          // Nobody else knows of it, and its clients wait.
          if let next { abandon(next) }
          throw error
        }
        if let next { launch(next) }
        guard let landing = directLanding, directQueue.isEmpty else { continue }
        await landing.group.waitUnlessInterrupted()
      } while mayGoOnDirectly(roundsLeft)
      try await landDirect()
    } catch {
      await abandonLanding()
      throw error
    }
    // Nothing is under way that could bring the next request: they wait no longer.
    if directQueue.isEmpty { directQueue.refuseTails(through: .max) }
  }

  /// What was prepared is not written home.
  private func abandon(_ ready: DirectReady<M, D>) {
    ready.round.refuse()
    giveBack(ready.round)
  }

  private func mayGoOnDirectly(_ roundsLeft: Int) -> Bool {
    (directLanding != nil || !directQueue.isEmpty)
      && roundsLeft > 0 && !isStopping && !isPressed && !wantsCheckpoint
  }

  /// Makes the intents of a round durable.
  ///
  /// Whoever is not in the round takes the log.
  ///
  /// - Returns: nil when there is none.
  private func prepareDirect() async throws(ArrayError) -> DirectReady<M, D>? {
    guard !directQueue.isEmpty else { return nil }
    let taken = directQueue.take(
      blockCountMax: DirectRound.blockCountMax(parts), isHalf: directLanding == nil)
    guard parts.mayWriteDirectly, let round = takeDirectRound() else {
      for request in taken { request.end(.refused) }
      return nil
    }
    var isReady = false
    defer {
      if !isReady {
        for request in taken { request.end(.refused) }
        giveBack(round)
      }
    }
    try await settleBefore(taken)
    var requests: [DirectRequest] = []
    for request in taken {
      if isAllHome(request) { requests.append(request) } else { request.end(.refused) }
    }
    guard !requests.isEmpty else { return nil }
    try await round.prepare(requests)
    if parts.options.plants(.directHomeBeforeIntent) {
      round.begin()
      let (group, _) = round.write()
      await group.wait()
      try await parts.expelFailed(group)
    }
    guard let sequence = try await parts.log.tryAppend(direct: round.intents) else { return nil }
    isReady = true
    return DirectReady(round: round, sequence: sequence)
  }

  /// A row is not written again before its table page is durable, nor its page's trim (rule D1).
  private func settleBefore(_ requests: [DirectRequest]) async throws(ArrayError) {
    var isSettling = false
    var isTrimmed = false
    var wantsCheckpoint = false
    for request in requests {
      let rows = parts.geometry.rows(of: request.run)
      isSettling = isSettling || settlingRows.overlaps(rows)
      for page in parts.pages(ofRows: rows) {
        isTrimmed = isTrimmed || parts.index.trimmedPages[page] != nil
        wantsCheckpoint = wantsCheckpoint || trimmedPages.contains(page)
      }
    }
    guard isSettling || isTrimmed || wantsCheckpoint else { return }
    // A checkpoint amid a round would let go of its intents.
    try await landDirect()
    if isTrimmed { try await applyTrims() }
    // What was just applied has to be durable as well.
    try await checkpoint()
  }

  /// Whether home, and the table durably, have everything that the log has of a request's blocks: only
  /// then may a recovery take whatever the log has of before its intent for replaced (rule L4).
  ///
  /// As long as the request is held, nobody adds to that.
  private func isAllHome(_ request: DirectRequest) -> Bool {
    if parts.options.plants(.directOvertakesLogged) { return true }
    let rows = parts.geometry.rows(of: request.run)
    return parts.pages(ofRows: rows).allSatisfy { parts.index.trimmedPages[$0] == nil }
      && (parts.index.pendingBlockCount == 0 || rows.allSatisfy { !parts.index.isPending(row: $0) })
  }

  /// Begins to write a round home, unless a member has gone since.
  private func launch(_ ready: DirectReady<M, D>) {
    let round = ready.round
    settlingPins.append(ready.sequence)
    guard parts.mayWriteDirectly else { return abandon(ready) }
    round.begin()
    busyRows = RowSet(runs: round.rows)
    parts.directSync.beginRound()
    let (group, slots) = round.write()
    directLanding = DirectLanding(round: round, group: group, slots: slots)
  }

  /// Waits until the round that is under way is home, and tells its requests.
  private func landDirect() async throws(ArrayError) {
    guard let landing = directLanding else { return }
    let (round, group, slots) = (landing.round, landing.group, landing.slots)
    defer { endLanding(round) }
    await group.wait()
    let hasFailed = !group.failures.isEmpty
    if hasFailed, parts.options.plants(.failedDirectAcknowledged) { round.acknowledge() }
    try await parts.expelFailed(group)
    // Whoever hangs is out, durably, before anything counts without it (rule T6).
    await parts.log.settleMembership()
    try parts.log.checkRunning()
    let isWhole = !hasFailed && !parts.hasIncompleteMembers
    if !isWhole {
      // Without that member what is torn could not be told from what is there (rule D3).
      try await parts.synchronize(slots)
    }
    round.finish()
    parts.directSync.noteWritten(slots)
    settlingRows.formUnion(busyRows)
    // What was logged before goes on waiting for its time.
    if parts.index.isEmpty { pendingSinceNanoseconds = parts.machine.nowNanoseconds }
    if !isWhole { try await checkpoint() }
    round.acknowledge()
    directRoundNumber += 1
    directQueue.refuseTails(through: directRoundNumber)
  }

  /// The round has ended, well or not; whoever was not told that it is home takes the log.
  private func endLanding(_ round: DirectRound<M, D>) {
    directLanding = nil
    parts.directSync.endRound()
    endBusy()
    round.refuse()
    giveBack(round)
  }

  /// The array is about to stop: what is under way is waited for, and nobody is told of it.
  private func abandonLanding() async {
    guard let landing = directLanding else { return }
    await landing.group.wait()
    parts.members.release(landing.group)
    endLanding(landing.round)
  }

  private func takeDirectRound() -> DirectRound<M, D>? {
    while let round = directRounds.popLast() {
      // Memory that an abandoned write still reads is left to it.
      if !round.isSpent { return round }
    }
    return DirectRound(parts)
  }

  private func giveBack(_ round: DirectRound<M, D>) {
    round.letGo()
    directRounds.append(round)
  }
}
