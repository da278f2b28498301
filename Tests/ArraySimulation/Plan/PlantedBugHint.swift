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
    case .holeBelowHorizonIsEnd: directed(.damagedLog)
    case .recoveryServesBeforeDurable: directed(.oneCopy)
    case .recoveryKeepsEpoch: directed(.discardedBatch)
    case .supersededUnpins: directed(.superseded)
    case .intentsUnreserved: directed(.fullLog)
    case .reuseBeforeCheckpoint: directed(.reusedLog)
    case .noSeal: directed(.damagedLog)
    case .intentsCountAsClientRecords: directed(.fullLog)
    case .parityBeforeIntent: directed(.writeHole)
    case .tableBeforeData: directed(.writeHole)
    case .parityAfterData: directed(.writeHole)
    case .lostBlocksRow: directed(.lostRow)
    case .healWithoutRecheck: directed(.readerHeals)
    case .solvedRowsUnverified: directed(.damagedSector)
    case .trimPinsForever: directed(.largeTrim)
    case .tableSlotOverwritten: directed(.tornPages)
    case .superblockSlotOverwritten: budget(0xf)
    case .tableSplitByMember: budget(0x5)
    case .zeroPageIsNeverWritten: directed(.clearedPages)
    case .syncingMemberIsRead: directed(.brokenResync)
    case .mapMissesUnsynced: directed(.unsynced)
    case .acknowledgesBeforeConfiguration: directed(.lastWords)
    case .listIgnored: directed(.leftBehind)
    case .oldWritesNotDrained: directed(.lateWrites)
    case .resyncForgetsTable: directed(.staleReturn)
    case .resyncForgetsLog: directed(.staleReturn)
    case .visibleBeforeAcknowledged: directed(.earlyReaders)
    case .acknowledgesEarly: budget(0)
    case .unverifiedReadModifyWrite: directed(.rottenRow)
    case .tornBatchAccepted: budget(0xd)
    case .unverifiedRead: directed(.misdirectedReads)
    case .failedFlushRetried: directed(.failedFlush)
    }
  }
}
