import DiskFormat
import IO
import RAID

// A copy by comparison: the replica tells checksums, and what differs is sent (docs/replication.md,
// section 4).
extension Session {
  /// Blocks that are compared at once; clients' writes to them wait meanwhile.
  static var unitBlockCount: UInt64 { 1024 }

  var unitCount: UInt64 { (mine.blockCount + Self.unitBlockCount - 1) / Self.unitBlockCount }

  func beginCopy(_ base: StreamPosition) {
    copyNumber = 0
    nextUnit = 0
    unitsDone = 0
    requestCount = machine.randomNumber()
    post(
      .copyBegin(CopyBegin(position: base, timelines: view.timelines, pageCount: unitCount)))
  }

  func startCopiers() {
    for _ in 0..<max(1, options.copyTaskCount) {
      spawn { session throws(SessionEnd) in
        try await session.runCopier()
        // The others go on.
        await session.wait { false }
      }
    }
  }

  private func runCopier() async throws(SessionEnd) {
    while end == nil, nextUnit < unitCount {
      let unit = nextUnit
      nextUnit += 1
      await pace()
      let began = machine.nowNanoseconds
      defer { endStep(began: began) }
      try await copy(unit: unit)
      unitsDone += 1
      copyRate.note(unitsDone * Self.unitBlockCount * 4096, at: machine.nowNanoseconds)
      guard unitsDone == unitCount else { continue }
      // All of them: what it has is whole again when it has this, durably.
      unitsDone = .max
      copyNumber += 1
      let sent = replica?.sent ?? 0
      post(.copyEnd(CopyEnd(copyNumber: copyNumber, number: sent)), afterNumber: sent)
    }
  }

  private func copy(unit: UInt64) async throws(SessionEnd) {
    let first = unit * Self.unitBlockCount
    let run = BlockRun(
      firstBlock: first, blockCount: min(Self.unitBlockCount, mine.blockCount - first))
    // Nobody writes there from the comparison on until what differs has been sent: a copy that is
    // older than a record before it would undo that (rule C2).
    let hold = await engine.holdRange(run)
    defer { onArray { $0.release(hold) } }
    let number = onArray { $0.streamPosition.number }
    requestCount &+= 1
    let request = requestCount
    post(
      .checksumsWanted(
        ChecksumsWanted(
          requestNumber: request, firstBlock: run.firstBlock, blockCount: Int(run.blockCount))),
      afterNumber: number)
    questionsSince[request] = machine.nowNanoseconds
    await wait { self.checksumAnswers[request] != nil }
    questionsSince[request] = nil
    guard end == nil else { return }
    guard let answer = checksumAnswers.removeValue(forKey: request),
      answer.firstBlock == run.firstBlock, answer.blocks.count == Int(run.blockCount)
    else { throw .protocolError("checksums of other blocks than were asked for") }
    do throws(ArrayError) {
      readsSince[request] = machine.nowNanoseconds
      defer { readsSince[request] = nil }
      let states = try await engine.contents(run, salt: request)
      try await sendDifferences(run, states, answer.blocks)
    } catch {
      throw .stopped(error.words)
    }
  }

  private func sendDifferences(
    _ run: BlockRun, _ mine: [BlockContent], _ theirs: [BlockContent]
  ) async throws(ArrayError) {
    var lastPosted: UInt64 = 0
    var index = 0
    while index < mine.count, end == nil {
      guard mine[index] != theirs[index] else {
        index += 1
        continue
      }
      var count = 1
      while count < CopyBlocks.blockCountMax, index + count < mine.count,
        mine[index + count] != theirs[index + count]
      { count += 1 }
      let part = BlockRun(firstBlock: run.firstBlock + UInt64(index), blockCount: UInt64(count))
      lastPosted = try await send(part, try await engine.blockStates(part))
      index += count
    }
    // Until it is with the stream: what clients write next comes behind it.
    await wait { self.copyFramesSent >= lastPosted }
  }

  /// - Returns: the number of the copy frame.
  private func send(
    _ run: BlockRun, _ states: [BlockEntry]
  ) async throws(ArrayError) -> UInt64 {
    if let lost = states.firstIndex(where: { $0.state == .lost }) {
      // The replica would show something else there, and nobody could tell.
      throw .refused(
        "block \(run.firstBlock + UInt64(lost)) of the primary is lost: write it again, and the copy "
          + "goes on")
    }
    let writtenCount = states.reduce(0) { $0 + ($1.state == .written ? 1 : 0) }
    var slot: PayloadSlot?
    if writtenCount > 0 {
      guard let memory = PayloadSlot(byteCount: writtenCount * 4096) else { throw .outOfMemory }
      slot = memory
      var filled = 0
      var index = 0
      while index < states.count {
        guard states[index].state == .written else {
          index += 1
          continue
        }
        var count = 1
        while index + count < states.count, states[index + count].state == .written { count += 1 }
        try await engine.readBlocks(
          BlockRun(firstBlock: run.firstBlock + UInt64(index), blockCount: UInt64(count)),
          into: memory.buffer.slice(filled * 4096, count * 4096))
        filled += count
        index += count
      }
    }
    copyNumber += 1
    post(
      .copyBlocks(
        CopyBlocks(
          copyNumber: copyNumber, firstBlock: run.firstBlock,
          blocks: states.map {
            $0.state == .written ? .written(checksum: $0.checksum) : .neverWritten
          })),
      payload: slot, payloadByteCount: writtenCount * 4096)
    return copyNumber
  }
}
