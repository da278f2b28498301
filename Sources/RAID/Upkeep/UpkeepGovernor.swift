import Units

/// Divides time between clients and upkeep, so that clients' requests stay within a budget
/// (docs/upkeep.md, section 5).
///
/// What it steers by is the p99 of the clients' requests lately. Upkeep works in steps, and rests behind each in proportion to what it took: so its share of the time is kept
/// whatever a step costs. Nothing here reads a clock or allocates.
package final class UpkeepGovernor {
  private static let windowNanoseconds: UInt64 = 250_000_000
  private static let windowCount = 4
  private static let judgementNanoseconds: UInt64 = 500_000_000
  private static let restNanosecondsMax: UInt64 = 10_000_000_000
  /// Redundancy is restored some day, whatever the clients ask for; less than one request in a
  /// hundred meets this.
  private static let shareMin = 1.0 / 128

  package var budgetNanoseconds: UInt64
  private var windows = [LatencyHistogram](repeating: LatencyHistogram(), count: windowCount)
  private var current = 0
  private var windowEnd: UInt64
  private var merged = LatencyHistogram()
  private var requestsUnderWayCount = 0
  /// What clients got since the last judgement: a step that a long rest follows counts as well.
  private var sinceJudgement = LatencyHistogram()
  private var nextJudgement: UInt64
  private var share = 1.0
  private var restEnd: UInt64 = 0

  package init(budgetNanoseconds: UInt64, now: UInt64) {
    self.budgetNanoseconds = budgetNanoseconds
    windowEnd = now &+ Self.windowNanoseconds
    nextJudgement = now &+ Self.judgementNanoseconds
  }

  // MARK: Clients

  /// A client's request begins.
  package func requestBegins() { requestsUnderWayCount += 1 }

  /// A client's request, begun so long before, has ended, one way or another.
  package func requestEnds(nanoseconds: UInt64, now: UInt64) {
    requestsUnderWayCount -= 1
    turn(now)
    windows[current].record(nanoseconds: nanoseconds)
    sinceJudgement.record(nanoseconds: nanoseconds)
  }

  /// Begins new windows as time passes.
  private func turn(_ now: UInt64) {
    var turnCount = 0
    while now >= windowEnd, turnCount < Self.windowCount {
      turnCount += 1
      current = (current + 1) % Self.windowCount
      windows[current].reset()
      windowEnd &+= Self.windowNanoseconds
    }
    if now >= windowEnd { windowEnd = now &+ Self.windowNanoseconds }
  }

  private var recentCount: UInt64 { windows.reduce(0) { $0 + $1.count } }

  /// Somebody waits, or asked for something within the last second.
  package func hasClients(_ now: UInt64) -> Bool {
    turn(now)
    return requestsUnderWayCount > 0 || recentCount > 0
  }

  /// What the slowest of a hundred requests took in the last second; nil without any.
  package func achievedP99Nanoseconds(_ now: UInt64) -> UInt64? {
    turn(now)
    guard recentCount > 0 else { return nil }
    merged.reset()
    for window in windows where window.count > 0 { merged.merge(window) }
    return merged.percentile(0.99)
  }

  // MARK: Upkeep

  /// Looks at the clients, now and then, and sets the share of upkeep: half of what it was where
  /// they wait too long; where they do not, a quarter more than it was, but not more than an eighth
  /// of the whole.
  ///
  /// After a halving only what came later counts.
  package func judge(_ now: UInt64) {
    guard now >= nextJudgement else { return }
    // Of long ago, when there was nothing to do.
    let isOld = now &- nextJudgement > 2 * Self.restNanosecondsMax
    let achieved =
      sinceJudgement.count > 0 && !isOld
      ? sinceJudgement.percentile(0.99) : achievedP99Nanoseconds(now)
    sinceJudgement.reset()
    // Requests that take longer than anybody looks back are late as well.
    let isLate = achieved.map { $0 > budgetNanoseconds } ?? (requestsUnderWayCount > 0)
    nextJudgement = now &+ Self.judgementNanoseconds * (isLate ? 2 : 1)
    share = isLate ? max(Self.shareMin, share / 2) : min(1, share + min(0.125, share / 4))
  }

  /// A step of upkeep has ended: it rests now, as its share demands.
  package func noteStep(began: UInt64, ended: UInt64) {
    guard hasClients(ended), ended >= began else {
      restEnd = ended
      return
    }
    let rest = Double(ended - began) * (1 - share) / share
    restEnd = ended &+ UInt64(min(rest, Double(Self.restNanosecondsMax)))
  }

  /// The longest that it is relied upon: clients may have gone meanwhile.
  private static let pieceNanoseconds: UInt64 = 20_000_000

  /// How long upkeep has to rest, or a piece of that; nil when it may go on.
  package func restNanoseconds(_ now: UInt64) -> UInt64? {
    guard restEnd > now, hasClients(now) else { return nil }
    return max(1_000_000, min(restEnd - now, Self.pieceNanoseconds))
  }

  /// For the status.
  package func status(_ now: UInt64) -> LatencyBudgetStatus {
    var status = LatencyBudgetStatus()
    status.askedNanoseconds = budgetNanoseconds
    status.achievedP99Nanoseconds = achievedP99Nanoseconds(now)
    status.upkeepPercent = hasClients(now) ? Int((share * 100).rounded()) : 100
    return status
  }
}
