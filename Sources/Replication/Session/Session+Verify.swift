import DiskFormat
import IO
import RAID

// Comparing everything with a replica that is in step, while clients go on (docs/replication.md,
// section 4).
extension Session {
  /// Where nothing was ever written here, so much is asked for at once.
  private static var emptyUnitBlockCount: UInt64 { 16384 }
  /// Clients' writes to a unit wait while it is compared: with clients it is a small one.
  private static var wholeUnitBlockCount: UInt64 { 256 }
  private static var gentleUnitBlockCount: UInt64 { 64 }

  /// Compares everything from now on; it ends with the session at the latest.
  func begin(_ verification: Verification) {
    self.verification = verification
    // Another salt each time: what one comparison misses, the next finds.
    requestCount = machine.randomNumber()
    for _ in 0..<max(1, options.copyTaskCount) {
      spawn { session throws(SessionEnd) in try await session.runVerifier(verification) }
    }
  }

  private func runVerifier(_ verification: Verification) async throws(SessionEnd) {
    while end == nil, verification.isRunning, verification.nextBlock < mine.blockCount {
      await pace()
      guard end == nil, verification.isRunning, verification.nextBlock < mine.blockCount else {
        endStep(began: machine.nowNanoseconds)
        break
      }
      let began = machine.nowNanoseconds
      defer { endStep(began: began) }
      let run = nextUnit(from: verification.nextBlock)
      verification.nextBlock = run.firstBlock + run.blockCount
      try await verify(run, verification)
    }
    if verification.isRunning, verification.isThrough { tellEnd(of: verification) }
  }

  private func nextUnit(from block: UInt64) -> BlockRun {
    let empty = BlockRun(
      firstBlock: block, blockCount: min(Self.emptyUnitBlockCount, mine.blockCount - block))
    guard onArray({ $0.mayHaveContent(in: empty) }) else { return empty }
    let count = onArray { $0.hasClients } ? Self.gentleUnitBlockCount : Self.wholeUnitBlockCount
    return BlockRun(firstBlock: block, blockCount: min(count, mine.blockCount - block))
  }

  private func verify(
    _ run: BlockRun, _ verification: Verification
  ) async throws(SessionEnd) {
    // Nobody writes there, so that both tell of the same: what came before has reached the replica
    // when it reads the question, and everything that was acknowledged is shown here.
    let hold = await engine.holdRange(run)
    defer { onArray { $0.release(hold) } }
    guard end == nil, verification.isRunning else { return }
    guard phase == .inStep, !onArray({ $0.isHoldingBack }) else {
      return interrupt("the replica is not in step any more")
    }
    let (findings, writtenCount) = try await compare(run)
    guard end == nil else { return }
    for finding in findings {
      let isMended =
        switch finding.difference {
        case .unreadableHere: try await mendHere(finding.run)
        case .unreadableThere: try await mendThere(finding.run)
        case .unreadableBoth, .fork: false
        }
      guard end == nil else { return }
      note(finding, isMended: isMended, verification)
    }
    verification.noteDone(
      run.blockCount, written: UInt64(writtenCount), now: machine.nowNanoseconds)
  }

  /// Asks what the replica has, and looks what is here.
  ///
  /// Returns: what differs, and how many blocks were written on one side at least.
  private func compare(
    _ run: BlockRun
  ) async throws(SessionEnd) -> ([ContentComparison.Finding], Int) {
    requestCount &+= 1
    let request = requestCount
    post(
      .checksumsWanted(
        ChecksumsWanted(
          requestNumber: request, firstBlock: run.firstBlock, blockCount: Int(run.blockCount))),
      afterNumber: onArray { $0.streamPosition.number })
    let mine: [BlockContent]
    do throws(ArrayError) {
      mine = try await engine.contents(run, salt: request)
    } catch {
      throw .stopped(error.words)
    }
    await wait { self.checksumAnswers[request] != nil }
    guard let answer = checksumAnswers.removeValue(forKey: request) else { return ([], 0) }
    guard answer.firstBlock == run.firstBlock, answer.blocks.count == mine.count else {
      throw .protocolError("checksums of other blocks than were asked for")
    }
    let writtenCount = zip(mine, answer.blocks).reduce(0) {
      $0 + ($1.0 == .neverWritten && $1.1 == .neverWritten ? 0 : 1)
    }
    let findings = ContentComparison.findings(
      from: run.firstBlock, mine: mine, theirs: answer.blocks,
      zeroHash: ContentHash.ofZeros(salt: request))
    return (findings, writtenCount)
  }

  // MARK: Mending

  /// Fetches what this node cannot read.
  ///
  /// Returns: whether both have the same now.
  private func mendHere(_ run: BlockRun) async throws(SessionEnd) -> Bool {
    requestCount &+= 1
    let request = max(1, requestCount)
    blocksAwaited.insert(request)
    defer { blocksAwaited.remove(request) }
    post(
      .blocksWanted(
        BlocksWanted(
          requestNumber: request, firstBlock: run.firstBlock, blockCount: Int(run.blockCount))))
    await wait { self.blockAnswers[request] != nil }
    guard let answer = blockAnswers.removeValue(forKey: request) else { return false }
    guard answer.blocks.run == run else {
      throw .protocolError("other blocks than were asked for")
    }
    let records = answer.blocks.records { _ in true }
    do throws(ArrayError) {
      try await engine.mend(records, payload: answer.slot?.buffer ?? channel.noPayload)
    } catch {
      throw .stopped(error.words)
    }
    let count = onArray { $0.enqueuedRecordCount }
    // Nothing signals a session of a primary when its own log has written; this is rare.
    while end == nil, onArray({ $0.publishedRecordCount }) < count {
      await machine.sleep(nanoseconds: 1_000_000)
    }
    withExtendedLifetime(answer.slot) {}
    return try await isSame(run)
  }

  /// Sends what the replica cannot read.
  private func mendThere(_ run: BlockRun) async throws(SessionEnd) -> Bool {
    let found: (blocks: [StreamBlock], slot: PayloadSlot?)
    do throws(ArrayError) {
      found = try await readBlocks(run)
    } catch {
      throw .stopped(error.words)
    }
    post(
      .blocks(Blocks(requestNumber: 0, firstBlock: run.firstBlock, blocks: found.blocks)),
      payload: found.slot?.buffer.prefix(found.blocks.writtenCount * 4096), owner: found.slot,
      afterNumber: onArray { $0.streamPosition.number })
    return try await isSame(run)
  }

  private func isSame(_ run: BlockRun) async throws(SessionEnd) -> Bool {
    guard end == nil else { return false }
    let (findings, _) = try await compare(run)
    return end == nil && findings.isEmpty
  }

  /// Blocks with their content; those that cannot be read are lost.
  func readBlocks(
    _ run: BlockRun
  ) async throws(ArrayError) -> (blocks: [StreamBlock], slot: PayloadSlot?) {
    guard let slot = PayloadSlot(byteCount: Int(run.blockCount) * 4096) else { throw .outOfMemory }
    var blocks: [StreamBlock] = []
    var filled = 0
    for (index, entry) in try await engine.blockStates(run).enumerated() {
      guard entry.state == .written else {
        blocks.append(entry.state == .lost ? .lost : .neverWritten)
        continue
      }
      let one = BlockRun(firstBlock: run.firstBlock + UInt64(index), blockCount: 1)
      do throws(ArrayError) {
        try await engine.readBlocks(one, into: slot.buffer.slice(filled * 4096, 4096))
        blocks.append(.written(checksum: entry.checksum))
        filled += 1
      } catch {
        guard case .unreadable = error else { throw error }
        blocks.append(.lost)
      }
    }
    return (blocks, filled > 0 ? slot : nil)
  }

  // MARK: Telling

  private func note(
    _ finding: ContentComparison.Finding, isMended: Bool, _ verification: Verification
  ) {
    let run = finding.run
    let outcome: VerificationStatus.Outcome
    let words: String
    switch finding.difference {
    case .unreadableHere where isMended:
      (outcome, words) = (.mendedHere, "could not be read here, and was fetched from the replica")
    case .unreadableThere where isMended:
      (outcome, words) = (.mendedThere, "could not be read at the replica, and was sent to it")
    case .unreadableHere, .unreadableThere, .unreadableBoth:
      (outcome, words) = (.unreadable, "cannot be read, and the other node could not help")
    case .fork:
      (outcome, words) = (
        .fork, "is not the same at the replica, and both can read it: neither was overwritten"
      )
    }
    guard verification.note(outcome, run) else { return }
    let isBad = outcome == .unreadable || outcome == .fork
    let blocks =
      run.blockCount == 1
      ? "block \(run.firstBlock)"
      : "each of the blocks \(run.firstBlock) to \(run.firstBlock + run.blockCount - 1)"
    onArray { $0.tell(isBad ? .error : .warning, "\(blocks) \(words)", block: run.firstBlock) }
  }

  private func tellEnd(of verification: Verification) {
    let status = verification.status
    let badCount = status.forkCount + status.unreadableCount
    let mendedCount = status.mendedHereCount + status.mendedThereCount
    let words =
      "all \(status.writtenBlockCount) blocks that were ever written are compared with replica "
      + "\(status.nodeID): "
      + (badCount == 0
        ? "they are the same"
        : "\(status.forkCount) differ, \(status.unreadableCount) cannot be read")
      + (mendedCount == 0 ? "" : ", \(mendedCount) were mended")
    let seconds = engine.options.unixSeconds()
    verification.end(.complete, words, unixSeconds: seconds)
    onArray { $0.tell(badCount > 0 ? .error : .notice, words) }
  }

  /// What is under way ends, because the session does or an operator wants it.
  func interrupt(_ reason: String) {
    guard let verification, verification.isRunning else { return }
    let seconds = engine.options.unixSeconds()
    verification.end(.interrupted, reason, unixSeconds: seconds)
    signal()
  }

  // MARK: At the replica

  /// Takes what this node cannot read; what it can read stays.
  func mend(_ blocks: Blocks, _ slot: PayloadSlot?) async throws(SessionEnd) {
    guard !isCopying else { throw .protocolError("blocks to mend amid a copy") }
    guard blocks.firstBlock < mine.blockCount,
      UInt64(blocks.blocks.count) <= mine.blockCount - blocks.firstBlock
    else { throw .protocolError("blocks outside the device") }
    do throws(ArrayError) {
      let contents = try await engine.contents(blocks.run, salt: 0)
      let records = blocks.records { contents[$0] == .lost }
      try await engine.applyReplicated(
        records, payload: slot?.buffer ?? channel.noPayload, isCopy: true,
        endNumber: received.number)
    } catch {
      throw .stopped(error.words)
    }
    hasMended = true
    keep(slot, through: onArray { $0.enqueuedRecordCount })
  }

  /// Answers for what the primary cannot read.
  func answer(_ wanted: BlocksWanted) async throws(SessionEnd) {
    let run = BlockRun(firstBlock: wanted.firstBlock, blockCount: UInt64(wanted.blockCount))
    do throws(ArrayError) {
      let found = try await readBlocks(run)
      post(
        .blocks(
          Blocks(
            requestNumber: wanted.requestNumber, firstBlock: run.firstBlock, blocks: found.blocks)),
        payload: found.slot?.buffer.prefix(found.blocks.writtenCount * 4096), owner: found.slot)
    } catch {
      throw .stopped(error.words)
    }
  }
}

extension Blocks {
  /// Records that put the blocks in their place; those that are lost, and those that are not wanted, are
  /// left out.
  func records(isWanted: (Int) -> Bool) -> [StreamBatch.Record] {
    var records: [StreamBatch.Record] = []
    var payloadIndex = 0
    for (index, block) in blocks.enumerated() {
      let isTrim = block == .neverWritten
      if block != .lost, isWanted(index) {
        records.append(
          StreamBatch.Record(
            isTrim: isTrim,
            run: BlockRun(firstBlock: firstBlock + UInt64(index), blockCount: 1),
            payloadIndex: payloadIndex))
      }
      if case .written = block { payloadIndex += 1 }
    }
    return records
  }
}
