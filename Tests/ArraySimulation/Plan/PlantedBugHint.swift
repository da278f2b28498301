package import Geometry
package import RAID

/// Where to look first for a history that convicts the array of a planted bug.
///
/// A history depends on all of the engine, so what it convicts changes with it: from here on one is
/// searched, and a hint that has grown old makes the search longer, nothing else.
package struct PlantedBugHint: Sendable {
  package var mode: SimulationMode
  package var level: RAIDLevel?
  package var seed: UInt64
  /// From one seed to the next: with this all have the same scenario.
  package var step: UInt64 = 1

  private static func budget(_ seed: UInt64, _ level: RAIDLevel? = nil) -> PlantedBugHint {
    PlantedBugHint(mode: .budget, level: level, seed: seed)
  }

  private static func directed(
    _ scenario: DirectedPlan.Scenario, _ variation: UInt64 = 0
  ) -> PlantedBugHint {
    PlantedBugHint(
      mode: .directed, seed: DirectedPlan.seed(scenario, variation),
      step: DirectedPlan.seed(scenario, 1) - DirectedPlan.seed(scenario, 0))
  }

  /// The hint for a bug.
  package static func of(_ bug: PlantedBug) -> PlantedBugHint {
    switch bug {
    case .flushForgetsEarlierBatches: budget(0x4)
    case .holeAboveHorizonIsDamage: budget(0x4)
    case .holeBelowHorizonIsEnd: directed(.damagedLog, 10)
    case .recoveryServesBeforeDurable: directed(.oneCopy)
    case .recoveryKeepsEpoch: directed(.discardedBatch, 3)
    case .supersededUnpins: directed(.superseded, 40)
    case .intentsUnreserved: directed(.fullLog)
    case .reuseBeforeCheckpoint: directed(.reusedLog, 4)
    case .noSeal: directed(.damagedLog, 9)
    case .intentsCountAsClientRecords: directed(.fullLog)
    case .directHomeBeforeIntent: directed(.tornDirect)
    case .directIntentWithoutOld: directed(.tornDirect)
    case .rotAdoptedAsTorn: directed(.rottenDirect)
    case .tableBeforeDirectHome: directed(.earlyDirectTable)
    case .failedDirectAcknowledged: directed(.failedDirect)
    case .directOvertakesLogged: directed(.supersededDirect)
    case .parityBeforeIntent: directed(.writeHole, 2)
    case .tableBeforeData: directed(.writeHole, 128)
    case .parityAfterData: directed(.writeHole, 56)
    case .lostBlocksRow: directed(.lostRow)
    case .healWithoutRecheck: directed(.readerHeals)
    case .solvedRowsUnverified: directed(.damagedSector, 41)
    case .trimPinsForever: directed(.largeTrim)
    case .tableSlotOverwritten: directed(.tornPages, 12)
    case .superblockSlotOverwritten: budget(0x1b)
    case .tableSplitByMember: budget(0x5)
    case .zeroPageIsNeverWritten: directed(.clearedPages)
    case .syncingMemberIsRead: directed(.brokenResync, 1)
    case .mapMissesUnsynced: directed(.unsynced, 1)
    case .acknowledgesBeforeConfiguration: directed(.lastWords, 1)
    case .listIgnored: directed(.leftBehind)
    case .oldWritesNotDrained: directed(.lateWrites, 34)
    case .resyncForgetsTable: directed(.staleReturn, 4)
    case .resyncForgetsLog: directed(.staleReturn)
    case .configurationBeforeMarks: directed(.newMember, 40)
    case .replacementMissesWrites: directed(.writesBehindReplacement)
    case .exchangeBeforeLogIsHome: directed(.exchange)
    case .replacedMemberTakenBack: directed(.replacedReturns)
    case .rebuildMissesWritesBehind: directed(.writesBehind)
    case .changedFlagClearedEarly: directed(.pausedRebuild)
    case .rebuildTrustsWrites: directed(.lostRebuildWrite)
    case .believedBeforePassEnds: directed(.staleReturn)
    case .scrubRepairsTowardsBadData: directed(.scrubbed)
    case .visibleBeforeAcknowledged: directed(.earlyReaders, 32)
    case .acknowledgesEarly: budget(0)
    case .unverifiedReadModifyWrite: directed(.rottenRow, 1)
    case .tornBatchAccepted: budget(0xd)
    case .unverifiedRead: directed(.misdirectedReads)
    case .failedFlushRetried: directed(.failedFlush, 7)
    }
  }
}
