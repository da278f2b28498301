import DiskFormat
import Geometry
package import RAID
import Simulator

/// Histories that go straight for one rule each, where chance would take long to get there.
///
/// A seed is a scenario and a variation of it: who it happens to, and when. The array keeps its
/// promises in all of them.
package struct DirectedPlan {
  /// What happens.
  package enum Scenario: Int, CaseIterable, Sendable {
    /// L4: a flushed version is replaced by one that the power loss takes.
    case superseded
    /// L6: the log is full and goes round and round.
    case wrap
    /// A block at home is rotten while another of its row is destaged.
    case rottenRow
    /// A member answers with other blocks than it was asked for.
    case misdirectedReads
    /// T4, T8: a member comes back, and then the one that had its changes goes.
    case staleReturn
    /// T5: a member hangs amid a destage, comes back, and then another goes.
    case unsynced
    /// T6: a crash between the survivors' superblocks.
    case survivors
    /// T6: a member fails a write, the crash follows the acknowledgement, and a survivor is lost.
    case lastWords
    /// T7: writes that hang in a member land when newer ones have long been written.
    case lateWrites
    /// D5: reads fail on a slow member while the same blocks are destaged.
    case readerHeals
    /// D6: the power loss damages a sector, and a member is gone as well.
    case damagedSector
    /// L2, L7: all copies of a flushed batch are damaged.
    case damagedLog
    /// L3: one member has the last batch, recovery serves it, and the member goes.
    case oneCopy
    /// L3: a recovery cannot read the last batch, and discards it; the next one could.
    case discardedBatch
    /// L5: the log is full of records when the intents that would drain it are to be written.
    case fullLog
    /// L6: the log is full, and the crash comes while superblocks are written.
    case reusedLog
    /// D1: a crash amid a destage, and a member is gone.
    case writeHole
    /// D4: two blocks of a row are beyond repair, and one of them is written.
    case lostRow
    /// D7: a trim of a device that is large for its log.
    case largeTrim
    /// T1: the power goes while table pages or superblocks are written.
    case tornPages
    /// T3: all copies of a table page are zeros.
    case clearedPages
    /// T4: a crash while a member is brought up to date.
    case brokenResync
    /// T6: a member that was put out is started alone.
    case leftBehind
    /// R1: what is being written is read, and the crash comes before it is acknowledged.
    case earlyReaders
    /// P8: an fdatasync fails once, and then the power goes.
    case failedFlush
    /// A block rots at home, and a scrub repairs.
    case scrubbed
    /// A rebuild is paused, so that its position is persisted, and then the power goes.
    case pausedRebuild
    /// Everything is written again while a member is brought up to date.
    case writesBehind
    /// T3: a crash after a new member was named.
    case newMember
    /// T8: clients write what a replacement has already.
    case writesBehindReplacement
    /// T4: a replacement takes its slot while the log is full of flushed writes.
    case exchange
    /// T6: a member that was replaced comes back, and its successor is away.
    case replacedReturns
    /// D1, D2: a crash amid a long write that goes home directly.
    case tornDirect
    /// D2: the same, and a block of it had rotted before.
    case rottenDirect
    /// D2: table pages are written while a long write is not durable.
    case earlyDirectTable
    /// D3: a member fails amid a long write, which is acknowledged, and then the power goes.
    case failedDirect
    /// L4: a long write replaces what was flushed, and the power goes.
    case supersededDirect
    /// T8: a member that is brought up to date loses a write that it acknowledged.
    case lostRebuildWrite
  }

  let system: any SystemUnderTest
  let plantedBug: PlantedBug?

  package init(of system: any SystemUnderTest, plantedBug: PlantedBug?) {
    self.system = system
    self.plantedBug = plantedBug
  }

  /// The seed of a variation of a scenario.
  package static func seed(_ scenario: Scenario, _ variation: UInt64) -> UInt64 {
    variation * UInt64(Scenario.allCases.count) + UInt64(scenario.rawValue)
  }

  /// The history of a seed.
  package func make(seed: UInt64) -> HistoryPlan {
    let count = UInt64(Scenario.allCases.count)
    let variation = Int((seed / count) % (1 << 20))
    let scenario = Scenario.allCases[Int(seed % count)]
    var plan = HistoryPlan(
      seed: seed, shape: shape(of: scenario, variation), options: options(), lives: [])
    plan.stepCountMax = 300_000
    plan.lives.append(fill(plan.shape))
    switch scenario {
    case .superseded: superseded(&plan, variation)
    case .wrap: wrap(&plan, variation)
    case .rottenRow: rottenRow(&plan, variation)
    case .misdirectedReads: misdirectedReads(&plan, variation)
    case .staleReturn: staleReturn(&plan, variation)
    case .unsynced: unsynced(&plan, variation)
    case .survivors: survivors(&plan, variation)
    case .lastWords: lastWords(&plan, variation)
    case .lateWrites: lateWrites(&plan, variation)
    case .readerHeals: readerHeals(&plan, variation)
    case .damagedSector: damagedSector(&plan, variation)
    case .damagedLog: damagedLog(&plan, variation)
    case .oneCopy: oneCopy(&plan, variation)
    case .discardedBatch: discardedBatch(&plan, variation)
    case .fullLog: fullLog(&plan, variation)
    case .reusedLog: reusedLog(&plan, variation)
    case .writeHole: writeHole(&plan, variation)
    case .lostRow: lostRow(&plan, variation)
    case .largeTrim: largeTrim(&plan, variation)
    case .tornPages: tornPages(&plan, variation)
    case .clearedPages: clearedPages(&plan, variation)
    case .brokenResync: brokenResync(&plan, variation)
    case .leftBehind: leftBehind(&plan, variation)
    case .earlyReaders: earlyReaders(&plan, variation)
    case .failedFlush: failedFlush(&plan, variation)
    case .scrubbed: scrubbed(&plan, variation)
    case .pausedRebuild: pausedRebuild(&plan, variation)
    case .writesBehind: writesBehind(&plan, variation)
    case .newMember: newMember(&plan, variation)
    case .writesBehindReplacement: writesBehindReplacement(&plan, variation)
    case .exchange: exchange(&plan, variation)
    case .replacedReturns: replacedReturns(&plan, variation)
    case .tornDirect: tornDirect(&plan, variation)
    case .rottenDirect: rottenDirect(&plan, variation)
    case .earlyDirectTable: earlyDirectTable(&plan, variation)
    case .failedDirect: failedDirect(&plan, variation)
    case .supersededDirect: supersededDirect(&plan, variation)
    case .lostRebuildWrite: lostRebuildWrite(&plan, variation)
    }
    return plan
  }

  private func shape(of scenario: Scenario, _ variation: Int) -> ArrayShape {
    let level: RAIDLevel =
      switch scenario {
      case .superseded, .lateWrites, .readerHeals, .damagedLog, .oneCopy, .discardedBatch,
        .reusedLog, .brokenResync, .leftBehind, .earlyReaders, .pausedRebuild, .writesBehind,
        .newMember, .writesBehindReplacement, .exchange, .replacedReturns:
        .raid1
      case .staleReturn, .lostRebuildWrite: variation % 4 < 2 ? .raid1 : .raid5
      case .damagedSector: .raid6
      case .tornDirect: [.raid5, .raid6, .raid10, .raid0][variation % 4]
      case .earlyDirectTable: .raid0
      case .tornPages, .clearedPages: variation % 2 == 0 ? .raid1 : .raid5
      default: .raid5
      }
    let memberBlockCount: UInt64 =
      switch scenario {
      case .largeTrim: 2048
      case .fullLog, .reusedLog, .tornPages, .writesBehindReplacement: 64
      case .tornDirect: 56
      case .rottenDirect, .earlyDirectTable, .failedDirect, .supersededDirect: 24
      default: 8
      }
    do throws(GeometryError) {
      return try ArrayShape(
        level: level, memberCount: level.memberCountMin, chunkBytes: 4096,
        memberBlockCount: memberBlockCount,
        logBytes: 1 << 20)
    } catch {
      preconditionFailure("the shape of a directed history is impossible: \(error)")
    }
  }

  private func options() -> ArrayOptions {
    var options = ArrayOptions()
    options.plantedBug = plantedBug
    options.logPolicy = .auto
    options.memberDeadlineNanoseconds = 2_000_000_000
    options.destageDelayNanoseconds = 100_000
    options.sealDelayNanoseconds = 200_000
    return options
  }

  // MARK: Pieces of lives

  func everything(_ shape: ArrayShape) -> [ClientRequest] {
    stride(from: 0, to: shape.sectorCount, by: 128).map {
      .write($0..<min($0 + 128, shape.sectorCount), durably: false)
    }
  }

  private func fill(_ shape: ArrayShape) -> LifePlan {
    var life = LifePlan()
    life.workload = .script(everything(shape))
    life.idleNanoseconds = 2_000_000
    return life
  }

  func write(_ block: UInt64, durably: Bool = false) -> ClientRequest {
    .write(Int(block) * 8..<Int(block) * 8 + 8, durably: durably)
  }

  /// All that was promised is there, without these members, and is still there when the power goes.
  func check(without absent: Set<Int>) -> LifePlan {
    var life = LifePlan()
    life.absent = absent
    life.verifiesFirst = true
    life.ending = .crash(.powerLoss, .atEnd)
    return life
  }

  func incident(
    _ nanoseconds: UInt64, _ incident: LifePlan.Incident
  ) -> LifePlan.TimedIncident {
    LifePlan.TimedIncident(afterNanoseconds: nanoseconds, incident: incident)
  }

  static func rates(
    _ kind: WritableKeyPath<DiskFaultRates, Int>, _ perMillion: Int
  ) -> DiskFaultRates {
    var rates = DiskFaultRates()
    rates[keyPath: kind] = perMillion
    return rates
  }

  func lose(_ life: inout LifePlan, _ shape: ArrayShape, _ choice: FateChoice = .loseAll) {
    for slot in 0..<shape.memberCount { life.fates[slot] = choice }
  }
}
