import DiskFormat
import Geometry
import RAID
import Simulator

// Scenarios around long writes that go home directly (D1-D3, L4).
extension DirectedPlan {
  /// Longer than what is atomic; whole rows but for its ends.
  private var long: ClientRequest { .write(4..<4 + 180, durably: false) }

  func tornDirect(_ plan: inout HistoryPlan, _ variation: Int) {
    let memberCount = plan.shape.memberCount
    var life = LifePlan()
    // Or three at once, of which the second ends where the third begins, inside a stripe.
    life.workload =
      variation % 3 == 1
      ? .scripts(
        [288..<448, 0..<136, 136..<280].map { [.write($0, durably: false), .flush] })
      : .script([long, .flush])
    life.idleNanoseconds = 5_000_000
    life.ending = .crash(
      variation / 4 % 4 == 0 ? .kill : .powerLoss, .operation(24 + variation / 16 % 48))
    for slot in 0..<memberCount where variation / 4 % 4 > 0 {
      life.fates[slot] =
        variation / 4 % 4 == 1 ? .loseAll : .torn(plan.seed &+ UInt64(slot))
    }
    // Everything is there afterwards: then nothing excuses an error.
    let lost = variation / 16 % (memberCount + 1)
    let isLost = plan.shape.geometry.redundancy > 0 && lost < memberCount && variation % 5 == 0
    plan.lives += [life, check(without: isLost ? [lost] : []), check(without: [])]
  }

  func rottenDirect(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.hasSilentFaults = true
    let (slot, row) = (variation / 32 % 3, UInt64(2 + variation / 96 % 8))
    var life = LifePlan()
    life.incidents = [
      incident(
        0, .flip(slot: slot, offsetBytes: plan.shape.layout.dataOffset + row * 4096 + 100))
    ]
    life.workload = .script([.pause(nanoseconds: 100_000), long])
    life.ending = .crash(.powerLoss, .operation(24 + variation % 32))
    lose(&life, plan.shape)
    plan.lives += [life, check(without: [])]
  }

  func earlyDirectTable(_ plan: inout HistoryPlan, _ variation: Int) {
    var life = LifePlan()
    life.workload = .script([long])
    life.idleNanoseconds = 20_000_000
    life.ending = .crash(.powerLoss, .operation(28 + variation / 2 % 32))
    life.fates = [variation % 2: .keepAll, 1 - variation % 2: .loseAll]
    plan.lives += [life, check(without: [])]
  }

  func failedDirect(_ plan: inout HistoryPlan, _ variation: Int) {
    // The member has long failed when the power goes.
    plan.excusesNothing = true
    plan.options.destageDelayNanoseconds = 1_000_000_000
    var life = LifePlan()
    // Nothing but whole rows, so that one of the members has no part in the log: what fails there is
    // the write itself.
    life.rates[variation % 3] = Self.rates(\.writeError, 1_000_000)
    life.ratesHoldAtStart = false
    life.workload = .script([.write(16..<192, durably: false)])
    life.ending = .crash(.powerLoss, .atEnd)
    for slot in 0..<3 { life.fates[slot] = .torn(plan.seed &+ UInt64(slot)) }
    plan.lives += [life, check(without: [variation % 3])]
  }

  func supersededDirect(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.options.destageDelayNanoseconds = 1_000_000_000
    var life = LifePlan()
    life.workload = .script([write(3), write(5), .flush, long])
    life.ending = .crash(.powerLoss, .operation(28 + variation % 48))
    lose(&life, plan.shape)
    plan.lives += [life, check(without: [])]
  }
}
