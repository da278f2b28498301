import DiskFormat
import IO

// Where no further batch is found: the end of the log, or damage (rule L2).
extension LogReader {
  /// Throws when the hole behind what was found lies below the horizon.
  func judgeEnd(_ recovered: RecoveredLog<M, D>) async throws(LogReadError) {
    let hole = recovered.endSequence + 1
    var horizon = max(start.horizon, start.epochFirstSequence - min(1, start.epochFirstSequence))
    var runs = recovered.unreadable.map { Self.runs(of: $0) }
    var hasLater = false
    for batch in await laterBatches(than: hole) {
      hasLater = true
      horizon = max(horizon, batch.header.horizon)
      if batch.header.sequence == hole + 1, !batch.header.previousRuns.isEmpty {
        runs = runs ?? batch.header.previousRuns
      }
    }
    horizon = max(horizon, recovered.toldHorizon)
    let isDamage =
      options.plants(.holeAboveHorizonIsDamage) ? hasLater || hole <= horizon : hole <= horizon
    if isDamage, !options.plants(.holeBelowHorizonIsEnd) {
      throw .damaged(firstSequence: hole, runs: runs)
    }
  }

  /// Headers of this epoch behind the hole: at most as many batches as can have been under way.
  private func laterBatches(than hole: UInt64) async -> [LogBatch] {
    let batchBytes =
      UInt64(LogBatchHeader.headerBytesMax)
      + UInt64(max(256, options.batchPayloadBlockCountMax)) * 4096
    let reach = min(
      layout.logByteCount, batchBytes * UInt64(max(8, options.batchesInFlightMax)))
    var found: [LogBatch] = []
    for window in windows {
      let origin = window.cursor
      var distance: UInt64 = 0
      while distance < reach {
        let offset = (origin + distance) % layout.logByteCount
        let batch = await header(window, at: offset)
        if let batch, batch.header.sequence > hole, batch.header.epoch >= start.epoch {
          found.append(batch)
        }
        distance += 4096
      }
    }
    return found
  }

  /// The blocks that a batch names.
  private static func runs(of batch: LogBatch) -> [BlockRun] {
    batch.records.compactMap { record in
      switch record {
      case .write(let run, _, _, _), .trim(let run, _): run
      case .direct(let intent): intent.run
      case .intent, .position: nil
      }
    }
  }
}
