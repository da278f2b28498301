import ArraySimulation
import Geometry
import RAID
import Testing

/// A history that tells a planted bug from the array as it is.
struct PlantedBugSeed: Sendable, CustomStringConvertible {
  let bug: PlantedBug
  let mode: SimulationMode
  let seed: UInt64
  var level: RAIDLevel?
  var crash: String?

  init(
    _ bug: PlantedBug, _ mode: SimulationMode, _ seed: UInt64, level: RAIDLevel? = nil,
    crash: String? = nil
  ) {
    self.bug = bug
    self.mode = mode
    self.seed = seed
    self.level = level
    self.crash = crash
  }

  var description: String { "\(bug.rawValue), \(mode.rawValue), seed 0x\(String(seed, radix: 16))" }

  /// As `tools/simulate --planted-bug` found them.
  static let all: [PlantedBugSeed] = [
    PlantedBugSeed(.flushForgetsEarlierBatches, .budget, 0x4),
    PlantedBugSeed(.recoveryServesBeforeDurable, .budget, 0x26),
    PlantedBugSeed(.superblockSlotOverwritten, .budget, 0xf),
    PlantedBugSeed(.tableSplitByMember, .budget, 0x5),
    PlantedBugSeed(.acknowledgesEarly, .budget, 0x0),
    PlantedBugSeed(.resyncForgetsTable, .directed, 0x8),
    PlantedBugSeed(.resyncForgetsLog, .directed, 0x4),
    PlantedBugSeed(.unverifiedReadModifyWrite, .directed, 0xd),
    PlantedBugSeed(.unverifiedRead, .directed, 0x3),
    PlantedBugSeed(.mapMissesUnsynced, .directed, 0x26),
    PlantedBugSeed(.oldWritesNotDrained, .directed, 0x1c0),
  ]

  /// Bugs without a history here yet.
  ///
  /// Those with one in the release build, where jobs interleave otherwise than in a debug build:
  /// `tools/simulate --planted-bug NAME --mode MODE --seed SEED`.
  static let open: [PlantedBug: String] = [
    .holeAboveHorizonIsDamage: "release: budget 0x4",
    .tornBatchAccepted: "release: budget 0xd; also Log: crashes, a planted bug is found ...",
    .parityBeforeIntent: "release: budget, raid5, 0x10",
    .tableBeforeData: "release: budget 0x28",
    .acknowledgesBeforeConfiguration: "release: directed 0x6a",
    .parityAfterData: "release, before the last changes of the engine: budget 0x5c",
    .supersededUnpins: "none found",
    .lostBlocksRow: "none: a destage by read-modify-write goes round the blocks that are bad",
    .healWithoutRecheck: "none found",
    .solvedRowsUnverified: "none found",
  ]

  /// Bugs that a test of one component tells from the array, by its suite and what it is called.
  static let shownByComponents: [PlantedBug: String] = [
    .holeBelowHorizonIsEnd: "Log: damage, without a seal the last flushed batch passes for ...",
    .recoveryKeepsEpoch: "Log: damage, a batch that recovery discarded never comes back ... (L3)",
    .intentsUnreserved: "Log: writing, without a reserve for intents a full log stays full (L5)",
    .reuseBeforeCheckpoint: "Log: writing, space is free when the checkpoint is written ... (L6)",
    .noSeal: "Log: damage, without a seal the last flushed batch passes for a torn one ...",
    .intentsCountAsClientRecords: "Log: writing, intents are behind the horizon, ... (L8)",
    .trimPinsForever: "Rules: destage, D7",
    .tableSlotOverwritten: "RAID: the checksum table and crashes, always the same slot ... (T1)",
    .zeroPageIsNeverWritten: "RAID: the checksum table, a page without a valid copy ... (T3)",
    .syncingMemberIsRead: "RAID: the checksum table and its members, a member that comes back (T4)",
    .listIgnored: "Assembly: configurations, T6: by event counts alone ...",
    .visibleBeforeAcknowledged: "Log: crashes, a planted bug is found by the same histories",
    .failedFlushRetried: "RAID: operations on members, a failed fdatasync is final (P8)",
  ]
}

@Suite("Simulation: planted bugs")
struct PlantedBugTests {
  @Test(
    "each is caught by the history of its seed, which the array without it survives",
    arguments: PlantedBugSeed.all)
  func isCaught(planted: PlantedBugSeed) throws {
    let system = try #require(Systems.named("array"))
    let crash = planted.crash.flatMap { CrashCase($0) }
    for bug in [planted.bug, nil] {
      var campaign = Campaign(
        of: system, mode: planted.mode, level: planted.level, plantedBug: bug)
      let plan = campaign.plan(seed: planted.seed, crash: crash)
      let violation = campaign.run(plan).violation
      if bug == nil { #expect(violation == nil) } else { #expect(violation != nil) }
    }
  }

  @Test(
    "no planted bug is without a history, a test that shows it, or a place on the list of open ones",
    arguments: PlantedBug.allCases)
  func isCovered(bug: PlantedBug) {
    let hasSeed = PlantedBugSeed.all.contains { $0.bug == bug }
    #expect(
      hasSeed || PlantedBugSeed.shownByComponents[bug] != nil || PlantedBugSeed.open[bug] != nil)
  }
}
