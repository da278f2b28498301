import DiskFormat
import RAID
import Simulator

// Scenarios around members that leave and come back (T4-T8, P8).
extension DirectedPlan {
  func staleReturn(_ plan: inout HistoryPlan, _ variation: Int) {
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

  func unsynced(_ plan: inout HistoryPlan, _ variation: Int) {
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

  func survivors(_ plan: inout HistoryPlan, _ variation: Int) {
    var life = LifePlan()
    life.absent = [variation % 3]
    life.ending = .crash(.powerLoss, .operation(1 + variation / 3 % 48))
    plan.lives += [life, check(without: life.absent)]
    var last = LifePlan()
    last.waitsUntilOptimal = true
    last.verifiesLast = true
    plan.lives.append(last)
  }

  func lastWords(_ plan: inout HistoryPlan, _ variation: Int) {
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

  func lateWrites(_ plan: inout HistoryPlan, _ variation: Int) {
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

  func brokenResync(_ plan: inout HistoryPlan, _ variation: Int) {
    let slot = variation % 2
    var alone = LifePlan()
    alone.absent = [slot]
    alone.workload = .script(everything(plan.shape))
    var together = LifePlan()
    together.idleNanoseconds = 100_000_000
    together.ending = .crash(.kill, .operation(14 + variation / 2 % 40))
    var again = LifePlan()
    again.waitsUntilOptimal = true
    again.ending = .crash(.kill, .atEnd)
    plan.lives += [alone, together, again, check(without: [1 - slot]), check(without: [1 - slot])]
  }

  func pausedRebuild(_ plan: inout HistoryPlan, _ variation: Int) {
    let slot = variation % 2
    var alone = LifePlan()
    alone.absent = [slot]
    alone.workload = .script(everything(plan.shape))
    var together = LifePlan()
    together.latencies[slot] = DiskLatency(
      shortestNanoseconds: 5_000_000, longestNanoseconds: 5_000_000, slowPerMillion: 0)
    let pause = UInt64(100_000_000 + variation / 2 % 128 * 4_000_000)
    together.actions = [LifePlan.TimedAction(afterNanoseconds: pause, action: .pauseRebuild)]
    together.idleNanoseconds = pause + 30_000_000
    together.fates = [slot: .loseAll, 1 - slot: .keepAll]
    together.ending = .crash(.powerLoss, .atEnd)
    var again = LifePlan()
    again.waitsUntilOptimal = true
    again.ending = .crash(.kill, .atEnd)
    plan.lives += [alone, together, again, check(without: [1 - slot])]
  }

  func lostRebuildWrite(_ plan: inout HistoryPlan, _ variation: Int) {
    let slot = variation % 2
    let layout = plan.shape.layout
    var alone = LifePlan()
    alone.absent = [slot]
    alone.workload = .script(everything(plan.shape))
    var together = LifePlan()
    let block = layout.dataOffset + UInt64(variation / 4 % 8) * 4096
    together.incidents = [incident(0, .loseWrite(slot: slot, offsetBytes: block, byteCount: 4096))]
    together.waitsUntilOptimal = true
    together.ending = .crash(.kill, .atEnd)
    plan.lives += [alone, together, check(without: [1 - slot])]
  }

  func writesBehind(_ plan: inout HistoryPlan, _ variation: Int) {
    let slot = variation % 2
    var alone = LifePlan()
    alone.absent = [slot]
    alone.workload = .script(everything(plan.shape))
    var together = LifePlan()
    together.latencies[slot] = DiskLatency(
      shortestNanoseconds: 5_000_000, longestNanoseconds: 5_000_000, slowPerMillion: 0)
    together.workload = .script(
      [.pause(nanoseconds: UInt64(100_000_000 + variation / 2 % 64 * 8_000_000))]
        + everything(plan.shape))
    together.waitsUntilOptimal = true
    together.ending = .crash(.kill, .atEnd)
    plan.lives += [alone, together, check(without: [1 - slot])]
  }

  func leftBehind(_ plan: inout HistoryPlan, _ variation: Int) {
    // Who was put out must not start alone: the other one went on.
    plan.allowsErrors = true
    let failing = variation % 2
    var life = LifePlan()
    life.rates[failing] = Self.rates(\.writeError, 1_000_000)
    life.ratesHoldAtStart = false
    life.workload = .script([write(0), write(UInt64(1 + variation / 2 % 7), durably: true)])
    life.ending = .crash(variation / 14 % 2 == 0 ? .kill : .powerLoss, .atEnd)
    plan.lives += [life, check(without: [1 - failing])]
  }

  func failedFlush(_ plan: inout HistoryPlan, _ variation: Int) {
    // Two members fail: the array may refuse to start, and must not start without what it had.
    plan.allowsErrors = true
    let failing = variation % 3
    let lost = (failing + 1 + variation / 3 % 2) % 3
    var life = LifePlan()
    life.rates[failing] = Self.rates(\.synchronizeError, 500_000)
    life.ratesHoldAtStart = false
    life.workload = .script([write(UInt64(variation / 6 % 16), durably: true)])
    life.ending = .crash(.powerLoss, .atEnd)
    life.fates = [failing: .loseAll]
    plan.lives += [life, check(without: [lost])]
  }
}
