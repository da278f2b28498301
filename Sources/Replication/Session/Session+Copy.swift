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
      spawn { session throws(SessionEnd) in try await session.runCopier() }
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
    // Where all is different there is no use in asking, but now and then.
    let isCompared = !lastUnitDiffered || unit % Self.comparedUnitPeriod == 0
    if isCompared {
      post(
        .checksumsWanted(
          ChecksumsWanted(
            requestNumber: request, firstBlock: run.firstBlock, blockCount: Int(run.blockCount))),
        afterNumber: number)
      questionsSince[request] = machine.nowNanoseconds
    } else {
      await wait { self.replica.map { $0.sent >= number } ?? false }
    }
    defer { questionsSince[request] = nil }
    do throws(ArrayError) {
      readsSince[request] = machine.nowNanoseconds
      defer { readsSince[request] = nil }
      let contents = try await read(run, salt: request)
      readsSince[request] = nil
      var theirs: [BlockContent]?
      if isCompared {
        await wait { self.checksumAnswers[request] != nil }
        questionsSince[request] = nil
        theirs = checksumAnswers.removeValue(forKey: request).map {
          $0.firstBlock == run.firstBlock ? $0.blocks : []
        }
      }
      guard end == nil else { return }
      if let theirs, theirs.count != Int(run.blockCount) {
        return finish(.protocolError("checksums of other blocks than were asked for"))
      }
      try await sendDifferences(contents, theirs)
    } catch {
      throw .stopped(error.words)
    }
  }

  /// So often a unit is compared although the one before differed throughout.
  private static var comparedUnitPeriod: UInt64 { 16 }

  private func read(_ run: BlockRun, salt: UInt64) async throws(ArrayError) -> [CopyContent] {
    var contents: [CopyContent] = []
    var first = run.firstBlock
    while first < run.endBlock, end == nil {
      let count = min(UInt64(CopyBlocks.blockCountMax), run.endBlock - first)
      contents.append(
        try await engine.readContent(BlockRun(firstBlock: first, blockCount: count), salt: salt))
      first += count
    }
    return contents
  }

  /// Sends what differs from what the other has; all, where that is not known.
  private func sendDifferences(
    _ contents: [CopyContent], _ theirs: [BlockContent]?
  ) async throws(ArrayError) {
    var lastPosted: UInt64 = 0
    var differingCount = 0
    var offset = 0
    for content in contents {
      let mine = content.hashes
      var index = 0
      while index < mine.count {
        let start = index
        let state = content.states[start].state
        while index < mine.count, content.states[index].state == state,
          theirs.map({ mine[index] != $0[offset + index] }) ?? true
        { index += 1 }
        if index > start {
          lastPosted = try send(content, start..<index)
          differingCount += index - start
        } else {
          index += 1
        }
      }
      offset += mine.count
    }
    if theirs != nil { lastUnitDiffered = differingCount == offset }
    // Until it is with the stream: what clients write next comes behind it.
    await wait { self.copyFramesSent >= lastPosted }
    guard end == nil else { return }
    onArray { for content in contents { $0.giveBack(content) } }
  }

  /// Hands over blocks that are all written, or none of them.
  ///
  /// - Returns: the number of the copy frame.
  private func send(
    _ content: CopyContent, _ indices: Range<Int>
  ) throws(ArrayError) -> UInt64 {
    let states = content.states[indices]
    if let lost = states.firstIndex(where: { $0.state == .lost }) {
      // The replica would show something else there, and nobody could tell.
      throw .refused(
        "block \(content.run.firstBlock + UInt64(lost)) of the primary is lost: write it again, and "
          + "the copy goes on")
    }
    let isWritten = states.first?.state == .written
    copyNumber += 1
    post(
      .copyBlocks(
        CopyBlocks(
          copyNumber: copyNumber, firstBlock: content.run.firstBlock + UInt64(indices.lowerBound),
          blocks: states.map {
            isWritten ? .written(checksum: $0.checksum) : .neverWritten
          })),
      payload: isWritten ? content.payload(indices) : nil, owner: content)
    return copyNumber
  }
}
