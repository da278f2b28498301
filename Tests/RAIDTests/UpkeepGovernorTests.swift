import RAID
import Testing

@Suite("RAID: the latency budget")
struct UpkeepGovernorTests {
  private static let millisecond: UInt64 = 1_000_000
  private static let second: UInt64 = 1_000_000_000

  /// Clients with one request after the other, each of which takes so long for each percent of
  /// the time that upkeep has.
  private func shares(
    millisecondsAtFullShare: Double, seconds: Int
  ) -> (percents: [Int], status: LatencyBudgetStatus) {
    let governor = UpkeepGovernor(budgetNanoseconds: 20 * Self.millisecond, now: 0)
    var now: UInt64 = 0
    var percents: [Int] = []
    while now < UInt64(seconds) * Self.second {
      let share = Double(governor.status(now).upkeepPercent) / 100
      governor.requestBegins()
      let nanoseconds = UInt64(millisecondsAtFullShare * share * 1e6) + Self.millisecond
      now += nanoseconds
      governor.requestEnds(nanoseconds: nanoseconds, now: now)
      governor.judge(now)
      percents.append(governor.status(now).upkeepPercent)
    }
    return (percents, governor.status(now))
  }

  @Test("without clients upkeep has everything and never rests")
  func alone() {
    let governor = UpkeepGovernor(budgetNanoseconds: Self.millisecond, now: 0)
    for step in 0..<100 as Range<UInt64> {
      let began = step * 100 * Self.millisecond
      governor.judge(began)
      governor.noteStep(began: began, ended: began + 50 * Self.millisecond)
      #expect(governor.restNanoseconds(began + 50 * Self.millisecond) == nil)
    }
    let status = governor.status(20 * Self.second)
    #expect(status.upkeepPercent == 100 && status.achievedP99Nanoseconds == nil)
    #expect(status.askedNanoseconds == Self.millisecond)
  }

  @Test("quick clients leave upkeep everything")
  func quickClients() {
    let (percents, status) = shares(millisecondsAtFullShare: 10, seconds: 10)
    #expect(percents.allSatisfy { $0 == 100 })
    #expect(status.achievedP99Nanoseconds ?? 0 < 12 * Self.millisecond)
  }

  @Test("upkeep that makes clients wait gets what keeps them within the budget, most of the time")
  func slowClients() {
    let (percents, _) = shares(millisecondsAtFullShare: 80, seconds: 60)
    let late = percents.suffix(percents.count / 2)
    // A quarter of the time is the most that fits.
    let within = late.count { $0 <= 24 }
    #expect(within * 3 >= late.count * 2, "\(within) of \(late.count)")
    #expect(late.contains { $0 >= 12 }, "it never grows again")
  }

  @Test("a budget that the members cannot keep at all leaves upkeep a little")
  func hopeless() {
    let governor = UpkeepGovernor(budgetNanoseconds: Self.millisecond, now: 0)
    var now: UInt64 = 0
    for _ in 0..<100 {
      governor.requestBegins()
      now += 200 * Self.millisecond
      governor.requestEnds(nanoseconds: 200 * Self.millisecond, now: now)
      governor.judge(now)
    }
    #expect(governor.status(now).upkeepPercent == 1)
    governor.noteStep(began: now, ended: now + 10 * Self.millisecond)
    var rested: UInt64 = 0
    while let rest = governor.restNanoseconds(now + 10 * Self.millisecond + rested) {
      #expect(rest <= 20 * Self.millisecond)
      rested += rest
    }
    #expect(rested >= Self.second && rested <= 2 * Self.second)
  }

  @Test("a request that has not been answered for seconds counts as late")
  func unanswered() {
    let governor = UpkeepGovernor(budgetNanoseconds: 20 * Self.millisecond, now: 0)
    governor.requestBegins()
    for step in 1...8 as ClosedRange<UInt64> { governor.judge(step * Self.second) }
    #expect(governor.status(8 * Self.second).upkeepPercent == 1)
    governor.requestEnds(nanoseconds: 8 * Self.second, now: 8 * Self.second)
    // A second later nobody has asked for anything.
    #expect(governor.status(10 * Self.second).upkeepPercent == 100)
  }

  @Test("what was long ago no longer counts")
  func forgets() {
    let governor = UpkeepGovernor(budgetNanoseconds: 20 * Self.millisecond, now: 0)
    governor.requestBegins()
    governor.requestEnds(nanoseconds: Self.second, now: Self.second)
    #expect(governor.achievedP99Nanoseconds(Self.second) == Self.second)
    governor.requestBegins()
    governor.requestEnds(nanoseconds: Self.millisecond, now: 3 * Self.second)
    #expect(governor.achievedP99Nanoseconds(3 * Self.second) == Self.millisecond)
  }
}
