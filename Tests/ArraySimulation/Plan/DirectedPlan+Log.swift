import DiskFormat
import RAID
import Simulator

// Scenarios around the log (L1-L8).
extension DirectedPlan {
  func superseded(_ plan: inout HistoryPlan, _ variation: Int) {
    var life = LifePlan()
    synchronizeSlowly(&life, plan.shape)
    // A block goes home and is wanted there again, so a checkpoint comes between. Before it the
    // second version is flushed; the third comes when the last fdatasync before the superblocks has
    // begun.
    life.workload = .script([
      write(0), .pause(nanoseconds: 2_000_000 + UInt64(variation / 36 % 8) * 300_000),
      write(0, durably: true), .pause(nanoseconds: UInt64(variation / 288 % 4) * 500_000), write(0),
    ])
    life.idleNanoseconds = 20_000_000
    life.ending = .crash(.powerLoss, .operation(40 + variation % 12))
    // Of the writes since then each member keeps one, which may be the superblock.
    lose(&life, plan.shape, .alone(1 + variation / 12 % 3))
    plan.lives += [life, check(without: []), check(without: [])]
  }

  func wrap(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.options.destageRowCountMax = 1
    var life = LifePlan()
    life.workload = .script((0..<60).flatMap { _ in everything(plan.shape) })
    life.ending = .crash(
      variation % 2 == 0 ? .kill : .powerLoss, .operation(150 + variation / 2 * 5 % 600))
    lose(&life, plan.shape)
    plan.lives += [life, check(without: []), check(without: [variation % 3])]
  }

  func damagedLog(_ plan: inout HistoryPlan, _ variation: Int) {
    // All copies of a batch: the array may refuse to start, and must not start without it.
    plan.allowsErrors = true
    plan.options.destageDelayNanoseconds = 500_000_000
    var life = LifePlan()
    life.workload = .script((0...variation / 40 % 3).map { write(UInt64($0), durably: true) })
    // The seal is written when the damage comes.
    life.idleNanoseconds = 40_000_000
    let offset = plan.shape.layout.logOffset + UInt64(variation % 40) * 4096 + 100
    for slot in 0..<plan.shape.memberCount {
      life.incidents.append(incident(30_000_000, .flip(slot: slot, offsetBytes: offset)))
    }
    life.ending = .crash(.kill, .atEnd)
    plan.lives += [life, check(without: [])]
  }

  func discardedBatch(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.options.destageDelayNanoseconds = 500_000_000
    let slot = variation % 2
    var life = LifePlan()
    life.workload = .script([write(0, durably: true), write(3)])
    life.ending = .crash(.powerLoss, .atEnd)
    // One member has the last batch, and can hardly be read at the next start.
    life.fates = [slot: .keepAll, 1 - slot: .loseAll]
    var recovery = LifePlan()
    recovery.rates[slot] = Self.rates(\.readError, 500_000 + variation / 2 % 4 * 100_000)
    recovery.verifiesFirst = true
    recovery.ending = .crash(.kill, .atEnd)
    plan.lives += [life, recovery, check(without: []), check(without: [])]
  }

  func fullLog(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.options.destageRowCountMax = 1 + variation % 4
    var life = LifePlan()
    synchronizeSlowly(&life, plan.shape)
    life.workload = .script((0..<8).flatMap { _ in everything(plan.shape) })
    life.verifiesLast = true
    plan.lives.append(life)
  }

  func reusedLog(_ plan: inout HistoryPlan, _ variation: Int) {
    var life = LifePlan()
    synchronizeSlowly(&life, plan.shape)
    life.workload = .script((0..<20).flatMap { _ in everything(plan.shape) })
    life.ending = .crash(
      variation % 3 == 0 ? .kill : .powerLoss, .operation(80 + variation / 3 % 60))
    // Either nothing since the last fdatasync is there, or all but the superblock.
    lose(&life, plan.shape, variation % 3 == 1 ? .missing(0) : .loseAll)
    plan.lives += [life, check(without: []), check(without: [variation % 2])]
  }

  func oneCopy(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.options.destageDelayNanoseconds = 500_000_000
    let slot = variation % 2
    var life = LifePlan()
    life.workload = .script([write(0, durably: true), write(UInt64(1 + variation / 2 % 7))])
    life.ending = .crash(.powerLoss, .atEnd)
    // One member has the last batch; what is served then has to survive it.
    life.fates = [slot: .keepAll, 1 - slot: .loseAll]
    var recovery = LifePlan()
    recovery.verifiesFirst = true
    recovery.workload = .script([.flush])
    recovery.ending = .crash(.powerLoss, .atEnd)
    lose(&recovery, plan.shape)
    plan.lives += [life, recovery, check(without: [slot]), check(without: [slot])]
  }

  func earlyReaders(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.options.destageDelayNanoseconds = 500_000_000
    var life = LifePlan()
    for slot in 0..<plan.shape.memberCount {
      life.latencies[slot] = DiskLatency(
        shortestNanoseconds: 1_000_000, longestNanoseconds: 4_000_000, synchronizeFactor: 1,
        slowPerMillion: 0, slowFactor: 1)
    }
    let writers = (0..<4 as Range<UInt64>).map { [ClientRequest](repeating: write($0), count: 10) }
    let readers = (0..<4).map { block in
      (0..<60).flatMap { _ in
        [ClientRequest.read(block * 8..<block * 8 + 8), .pause(nanoseconds: 300_000)]
      }
    }
    life.workload = .scripts(writers + readers)
    life.ending = .crash(.kill, .operation(22 + variation % 40))
    plan.lives += [life, check(without: [])]
  }

  /// All members take their time for an fdatasync, and for nothing else.
  private func synchronizeSlowly(_ life: inout LifePlan, _ shape: ArrayShape) {
    for slot in 0..<shape.memberCount {
      life.latencies[slot] = DiskLatency(
        shortestNanoseconds: 60_000, longestNanoseconds: 100_000, synchronizeFactor: 30,
        slowPerMillion: 0, slowFactor: 1)
    }
  }
}
