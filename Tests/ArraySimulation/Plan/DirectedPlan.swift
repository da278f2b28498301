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
    }
    return plan
  }

  private func shape(of scenario: Scenario, _ variation: Int) -> ArrayShape {
    let level: RAIDLevel =
      switch scenario {
      case .superseded, .lateWrites, .readerHeals: .raid1
      case .staleReturn: variation % 4 < 2 ? .raid1 : .raid5
      case .damagedSector: .raid6
      default: .raid5
      }
    do throws(GeometryError) {
      return try ArrayShape(
        level: level, memberCount: level.memberCountMin, chunkBytes: 4096, memberBlockCount: 8,
        logBytes: 1 << 20)
    } catch {
      preconditionFailure("the shape of a directed history is impossible: \(error)")
    }
  }

  private func options() -> ArrayOptions {
    var options = ArrayOptions()
    options.plantedBug = plantedBug
    options.memberDeadlineNanoseconds = 2_000_000_000
    options.destageDelayNanoseconds = 100_000
    options.sealDelayNanoseconds = 200_000
    return options
  }

  // MARK: Pieces of lives

  private func everything(_ shape: ArrayShape) -> [ClientRequest] {
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

  private func write(_ block: UInt64, durably: Bool = false) -> ClientRequest {
    .write(Int(block) * 8..<Int(block) * 8 + 8, durably: durably)
  }

  /// All that was promised is there, without these members, and is still there when the power goes.
  private func check(without absent: Set<Int>) -> LifePlan {
    var life = LifePlan()
    life.absent = absent
    life.verifiesFirst = true
    life.ending = .crash(.powerLoss, .atEnd)
    return life
  }

  private func incident(
    _ nanoseconds: UInt64, _ incident: LifePlan.Incident
  ) -> LifePlan.TimedIncident {
    LifePlan.TimedIncident(afterNanoseconds: nanoseconds, incident: incident)
  }

  private static func rates(
    _ kind: WritableKeyPath<DiskFaultRates, Int>, _ perMillion: Int
  ) -> DiskFaultRates {
    var rates = DiskFaultRates()
    rates[keyPath: kind] = perMillion
    return rates
  }

  private func lose(_ life: inout LifePlan, _ shape: ArrayShape, _ choice: FateChoice = .loseAll) {
    for slot in 0..<shape.memberCount { life.fates[slot] = choice }
  }

  // MARK: The log

  private func superseded(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.options.destageRowCountMax = 1
    plan.options.tableCacheBytes = 4096
    var life = LifePlan()
    life.workload = .script([
      write(0, durably: true), write(3, durably: true),
      .pause(nanoseconds: UInt64(variation % 6) * 300_000), write(3),
    ])
    life.idleNanoseconds = 4_000_000
    life.ending = .crash(.powerLoss, .operation(15 + variation / 6 % 100))
    lose(&life, plan.shape)
    plan.lives += [life, check(without: []), check(without: [])]
  }

  private func wrap(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.options.destageRowCountMax = 1
    var life = LifePlan()
    life.workload = .script((0..<60).flatMap { _ in everything(plan.shape) })
    life.ending = .crash(
      variation % 2 == 0 ? .kill : .powerLoss, .operation(150 + variation / 2 * 5 % 600))
    lose(&life, plan.shape)
    plan.lives += [life, check(without: []), check(without: [variation % 3])]
  }

  // MARK: Home

  private func rottenRow(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.hasSilentFaults = true
    let geometry = plan.shape.geometry
    let row = UInt64(variation / 3) % geometry.rowCount
    var life = LifePlan()
    life.incidents = [
      incident(
        0,
        .flip(
          slot: variation % 3, offsetBytes: plan.shape.layout.dataOffset + row * 4096 + 100))
    ]
    let position = variation / 24 % geometry.dataCount
    life.workload = .script([
      .pause(nanoseconds: 100_000), write(geometry.block(ofRow: row, position: position)),
    ])
    life.idleNanoseconds = 5_000_000
    life.verifiesLast = true
    plan.lives.append(life)
  }

  private func misdirectedReads(_ plan: inout HistoryPlan, _ variation: Int) {
    var life = LifePlan()
    life.rates[variation % 3] = Self.rates(\.misdirectedRead, 200_000)
    life.ratesHoldAtStart = false
    life.verifiesFirst = true
    life.verifiesLast = true
    plan.lives += [life, check(without: [])]
  }

  private func readerHeals(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.options.destageDelayNanoseconds = 50_000
    let slot = variation % 2
    var life = LifePlan()
    life.rates[slot] = Self.rates(\.readError, 400_000)
    life.ratesHoldAtStart = false
    life.latencies[slot] = DiskLatency(
      shortestNanoseconds: 20_000, longestNanoseconds: 3_000_000, synchronizeFactor: 1,
      slowPerMillion: 100_000, slowFactor: 4)
    life.workload = .random(clientCount: 4, requestCount: 20, spot: UInt64(variation))
    life.idleNanoseconds = 100_000_000
    plan.lives += [life, check(without: [1 - slot])]
  }

  private func damagedSector(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.hasSilentFaults = true
    let (slot, lost) = (variation % 4, (variation + 1 + variation / 4 % 3) % 4)
    var life = LifePlan()
    life.workload = .script([write(0), write(3), write(5)])
    life.idleNanoseconds = 4_000_000
    life.rates[slot] = Self.rates(\.damagedSectorAtPowerLoss, 1_000_000)
    life.ending = .crash(.powerLoss, .operation(20 + variation / 12 % 90))
    plan.lives += [life, check(without: [lost]), check(without: [lost])]
  }

  // MARK: Members

  private func staleReturn(_ plan: inout HistoryPlan, _ variation: Int) {
    let slot = variation % 2
    let isInLog = variation / 4 % 2 == 0
    if isInLog { plan.options.destageDelayNanoseconds = 500_000_000 }
    var alone = LifePlan()
    alone.absent = [slot]
    alone.workload = .script(everything(plan.shape))
    alone.ending = isInLog ? .crash(.kill, .atEnd) : .close
    var together = LifePlan()
    together.waitsUntilOptimal = true
    together.ending = .crash(.kill, .atEnd)
    plan.lives += [alone, together, check(without: [1 - slot]), check(without: [1 - slot])]
  }

  private func unsynced(_ plan: inout HistoryPlan, _ variation: Int) {
    var life = LifePlan()
    life.workload = .script(everything(plan.shape))
    life.incidents = [
      incident(UInt64(variation % 96) * 80_000, .stick(slot: 2)),
      incident(3_000_000_000, .release(slot: 2)),
    ]
    life.idleNanoseconds = 3_500_000_000
    life.waitsUntilOptimal = true
    plan.lives += [life, check(without: [0])]
  }

  private func survivors(_ plan: inout HistoryPlan, _ variation: Int) {
    var life = LifePlan()
    life.absent = [variation % 3]
    life.ending = .crash(.powerLoss, .operation(1 + variation / 3 % 48))
    plan.lives += [life, check(without: life.absent)]
    var last = LifePlan()
    last.waitsUntilOptimal = true
    last.verifiesLast = true
    plan.lives.append(last)
  }

  private func lastWords(_ plan: inout HistoryPlan, _ variation: Int) {
    // Two members fail: the array may refuse to start, and must not start without what it had.
    plan.allowsErrors = true
    let failing = variation % 3
    let lost = (failing + 1 + variation / 3 % 2) % 3
    var life = LifePlan()
    life.rates[failing] = Self.rates(\.writeError, 1_000_000)
    life.ratesHoldAtStart = false
    life.workload = .script((0...variation / 6 % 4).map { write(UInt64($0)) })
    life.ending = .crash(.kill, .atEnd)
    plan.lives += [life, check(without: [lost])]
  }

  private func lateWrites(_ plan: inout HistoryPlan, _ variation: Int) {
    let slot = variation % 2
    var life = LifePlan()
    life.incidents = [
      incident(UInt64(variation / 2 % 96) * 80_000, .stick(slot: slot)),
      incident(2_500_000_000, .answerAgain(slot: slot)),
      incident(12_000_000_000, .release(slot: slot)),
    ]
    life.workload = .script(
      everything(plan.shape) + [.pause(nanoseconds: 9_000_000_000)] + everything(plan.shape)
        + [.flush, .pause(nanoseconds: 4_000_000_000)])
    life.waitsUntilOptimal = true
    plan.lives += [life, check(without: [1 - slot])]
  }
}
