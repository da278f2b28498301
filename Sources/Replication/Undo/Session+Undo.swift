import DiskFormat
import IO
import RAID

// At a replica that is being copied to: what is overwritten is kept first (rule C3).
extension Session {
  /// A copy is about to begin.
  func beginUndo() async throws(SessionEnd) {
    guard let undo else { return onArray { $0.noteUndo(.none) } }
    await undo.turn.acquire()
    defer { undo.turn.release() }
    let state = view.replication
    if undo.undoID != state.undoID {
      // Of an earlier copy, or of one of which a part was not kept.
      try await orStop { () async throws(UndoError) in try await undo.close() }
    }
    if state.isConsistent, !view.isEmpty {
      do throws(ArrayError) {
        try await engine.waitUntilPublished(onArray { $0.enqueuedRecordCount })
        try await engine.flushLog()
      } catch {
        throw .stopped(error.words)
      }
      let position = onArray { $0.publishedPosition }
      let timelines = view.timelines
      let undoID = Identifier(high: machine.randomNumber(), low: machine.randomNumber())
      try await orStop { () async throws(UndoError) in
        try await undo.begin(at: position, timelines: timelines, undoID: undoID)
      }
      log(
        "what the copy overwrites is kept: 'ashlar replica step-back' returns to record "
          + "\(position.number)")
    }
    onArray { $0.noteUndo(undo.undoID) }
  }

  /// Runs are about to be overwritten.
  func keepOld(_ runs: [(run: BlockRun, isTrim: Bool)]) async throws(SessionEnd) {
    guard isCopying, let undo, undo.isOpen else { return }
    await undo.turn.acquire()
    defer { undo.turn.release() }
    for (run, isTrim) in runs {
      var block = run.firstBlock
      while block < run.firstBlock + run.blockCount, undo.isOpen {
        let part = BlockRun(
          firstBlock: block,
          blockCount: min(UInt64(UndoGroup.entryCountMax), run.firstBlock + run.blockCount - block))
        // A trim leaves what was never written as it is.
        if !isTrim || onArray({ $0.mayHaveContent(in: part) }) { try await keepOld(part, undo) }
        block += part.blockCount
      }
    }
  }

  private func keepOld(_ run: BlockRun, _ undo: UndoRegion<D>) async throws(SessionEnd) {
    let blocks = run.firstBlock..<run.firstBlock + run.blockCount
    guard blocks.contains(where: { !undo.keeps($0) }) else { return }
    let states: [BlockEntry]
    do throws(ArrayError) {
      states = try await engine.blockStates(run)
    } catch {
      throw .stopped(error.words)
    }
    var entries: [UndoGroup.Entry] = []
    var lost: UInt64?
    for (block, state) in zip(blocks, states) where !undo.keeps(block) {
      if state.state == .lost { lost = block }
      entries.append(
        UndoGroup.Entry(block: block, checksum: state.state == .written ? state.checksum : nil))
    }
    if let lost { return try await giveUpUndo("block \(lost) was lost before", undo) }
    let engine = engine
    do throws(UndoError) {
      try await undo.keep(entries) { (buffer) async throws(ArrayError) in
        var offset = 0
        for run in Self.writtenRuns(entries) {
          let byteCount = Int(run.blockCount) * 4096
          try await engine.readBlocks(run, into: buffer.slice(offset, byteCount))
          offset += byteCount
        }
      }
    } catch {
      guard error.isFull else { throw .stopped("the undo file: \(error.words)") }
      let words =
        "the undo file of node \(mine.nodeID) is full, and the copy waits: there, 'ashlar replica "
        + "step-back NAME' returns to record \(undo.position.number), and '--give-up' goes on without"
      post(.refusal(Refusal(code: .other, words: words)))
      await wait { !self.hasOutgoing }
      throw .stopped(words)
    }
  }

  private static func writtenRuns(_ entries: [UndoGroup.Entry]) -> [BlockRun] {
    var runs: [BlockRun] = []
    for entry in entries where entry.checksum != nil {
      if let last = runs.last, last.firstBlock + last.blockCount == entry.block {
        runs[runs.count - 1].blockCount += 1
      } else {
        runs.append(BlockRun(firstBlock: entry.block, blockCount: 1))
      }
    }
    return runs
  }

  private func giveUpUndo(_ words: String, _ undo: UndoRegion<D>) async throws(SessionEnd) {
    log("the copy cannot be taken back any more: \(words)")
    try await orStop { () async throws(UndoError) in try await undo.close() }
  }

  /// The copy is complete, and that is durable.
  func endUndo() async throws(SessionEnd) {
    guard let undo else { return }
    await undo.turn.acquire()
    defer { undo.turn.release() }
    try await orStop { () async throws(UndoError) in try await undo.close() }
  }

  private func orStop(_ body: () async throws(UndoError) -> Void) async throws(SessionEnd) {
    do throws(UndoError) {
      try await body()
    } catch {
      throw .stopped("the undo file: \(error.words)")
    }
  }
}
