import DiskFormat
import RAID
import Simulator

// Scenarios around members that are new (docs/upkeep.md): the third medium is nobody's at first.
extension DirectedPlan {
  func newMember(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.extraCount = 1
    var life = LifePlan()
    life.commands = [command(.fail(medium: 1)), command(.add(choice: 0))]
    life.idleNanoseconds = 100_000_000
    life.ending = .crash(.powerLoss, .operation(1 + variation % 192))
    lose(&life, plan.shape)
    life.fates[2] = .loseAll
    var again = LifePlan()
    again.waitsUntilOptimal = true
    again.ending = .crash(.kill, .atEnd)
    plan.lives += [life, again, check(without: [0])]
  }

  func writesBehindReplacement(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.extraCount = 1
    var life = LifePlan()
    life.commands = [command(.replace(medium: 1, choice: 0))]
    let pause = ClientRequest.pause(nanoseconds: UInt64(variation % 16) * 20_000)
    life.workload = .script((0..<64).flatMap { [pause, write($0 % 4)] })
    life.waitsUntilOptimal = true
    life.ending = .crash(.kill, .atEnd)
    plan.lives += [life, check(without: [0])]
  }

  func exchange(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.extraCount = 1
    plan.options.destageDelayNanoseconds = 500_000_000
    var life = LifePlan()
    life.workload = .script(everything(plan.shape) + [.flush])
    life.commands = [command(.replace(medium: 1, choice: 0), UInt64(variation % 32) * 100_000)]
    life.waitsUntilOptimal = true
    life.ending = .crash(
      .powerLoss, variation % 2 == 0 ? .atEnd : .operation(1 + variation * 3 % 256))
    lose(&life, plan.shape)
    plan.lives += [life, check(without: [0])]
  }

  func replacedReturns(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.extraCount = 1
    var life = LifePlan()
    life.commands = [command(.replace(medium: 1, choice: 0))]
    life.waitsUntilOptimal = true
    var together = LifePlan()
    together.workload = .script(everything(plan.shape))
    together.idleNanoseconds = UInt64(variation % 8) * 1_000_000
    // Nothing is written after it, so whoever is started by force has what there is.
    plan.lives += [life, together, check(without: [2]), check(without: [0])]
  }

  private func command(
    _ command: LifePlan.MemberCommand, _ nanoseconds: UInt64 = 0
  ) -> LifePlan.TimedCommand {
    LifePlan.TimedCommand(afterNanoseconds: nanoseconds, command: command)
  }
}
