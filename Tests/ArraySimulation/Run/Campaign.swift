package import Geometry
package import RAID
import Simulator

/// Many histories, one after the other, and what came of them.
package struct Campaign {
  /// A violation and what it takes to see it again.
  package struct Finding: Sendable {
    package var seed: UInt64
    package var crash: CrashCase?
    package var violation: Violation
  }

  /// Sums over all histories.
  package struct Totals: Sendable {
    package var historyCount = 0
    package var lifeCount = 0
    package var crashCount = 0
    package var requestCount = 0
    package var operationCount = 0
    package var injectedCount = 0
    package var errorCount = 0
    package var refusalCount = 0
    package var forcedCount = 0
    package var unansweredCount = 0
    package var adoptedCount = 0
    package var longestNanoseconds: UInt64 = 0
    /// Of all digests in order.
    package var digest: UInt64 = 0
  }

  package let system: any SystemUnderTest
  package let mode: SimulationMode
  package let level: RAIDLevel?
  package let plantedBug: PlantedBug?
  /// Of the cases of a short workload, one in so many is run.
  package var caseShare: UInt64 = 1
  /// Told before each history: should the process die in it, this is the one.
  package var announce: (_ seed: UInt64, _ crash: CrashCase?) -> Void = { _, _ in }
  package private(set) var totals = Totals()
  private let shelf = BufferShelf()

  package init(
    of system: any SystemUnderTest, mode: SimulationMode, level: RAIDLevel?,
    plantedBug: PlantedBug?
  ) {
    self.system = system
    self.mode = mode
    self.level = level
    self.plantedBug = plantedBug
  }

  /// What a seed, and in exhaustive mode a case, stands for.
  package func plan(seed: UInt64, crash: CrashCase? = nil) -> HistoryPlan {
    switch mode {
    case .budget, .beyond:
      RandomPlan(of: system, level: level, plantedBug: plantedBug)
        .make(seed: seed, isBeyond: mode == .beyond)
    case .exhaustive: workload(seed).plan(crash)
    case .directed: DirectedPlan(of: system, plantedBug: plantedBug).make(seed: seed)
    }
  }

  /// Runs one history.
  package mutating func run(_ plan: HistoryPlan, recordsTrace: Bool = false) -> History.Result {
    let result = History(plan, of: system, shelf: shelf, recordsTrace: recordsTrace).run()
    let tally = result.tally
    totals.historyCount += 1
    totals.lifeCount += tally.lifeCount
    totals.crashCount += tally.crashCount
    totals.requestCount += tally.requestCount
    totals.operationCount += tally.operationCount
    totals.injectedCount += tally.injectedCount
    totals.errorCount += tally.errorCount
    totals.refusalCount += tally.refusalCount
    totals.forcedCount += tally.forcedCount
    totals.unansweredCount += tally.unansweredCount
    totals.adoptedCount += tally.adoptedCount
    totals.longestNanoseconds = max(totals.longestNanoseconds, tally.longestNanoseconds)
    totals.digest = (totals.digest ^ result.digest) &* 0x9E37_79B9_7F4A_7C15
    return result
  }

  /// Runs the history of a seed.
  ///
  /// - Returns: the violation, if there was one.
  package mutating func run(seed: UInt64) -> Finding? {
    announce(seed, nil)
    return run(plan(seed: seed)).violation.map { Finding(seed: seed, crash: nil, violation: $0) }
  }

  /// Runs the crashes of a short workload.
  ///
  /// - Parameters:
  ///   - seed: of the workload.
  ///   - first: the number of the crash to begin with.
  ///   - isOver: asked after each crash.
  /// - Returns: the first violation, and the crash to go on with; nil when there is none.
  package mutating func runCrashes(
    seed: UInt64, from first: Int, until isOver: (Int) -> Bool
  ) -> (found: Finding?, next: Int?) {
    announce(seed, nil)
    let workload = workload(seed)
    let undisturbed = run(workload.plan(nil))
    if let violation = undisturbed.violation {
      return (Finding(seed: seed, crash: nil, violation: violation), nil)
    }
    let count = undisturbed.operations[ShortWorkload.workloadLife]
    let crashes = workload.crashes(operationCount: count)
    for index in crashes.indices.dropFirst(first) {
      var random = RandomSource(seed: seed &+ UInt64(index) &* 0x9E37_79B9_7F4A_7C15)
      guard caseShare <= 1 || random.next(below: caseShare) == 0 else { continue }
      if let found = runNested(crashes[index], of: workload, &random) { return (found, nil) }
      if isOver(totals.historyCount), index + 1 < crashes.count { return (nil, index + 1) }
    }
    return (nil, nil)
  }

  /// Runs a case, then the same with one, two and three crashes of its recovery.
  private mutating func runNested(
    _ crash: CrashCase, of workload: ShortWorkload, _ random: inout RandomSource
  ) -> Finding? {
    var crash = crash
    while true {
      announce(workload.seed, crash)
      let result = run(workload.plan(crash))
      if let violation = result.violation {
        return Finding(seed: workload.seed, crash: crash, violation: violation)
      }
      // Deeper in one of four cases each, at an operation of the last recovery.
      let depth = crash.recoveryOperations.count
      let last = ShortWorkload.recoveryLife + depth
      guard depth < 3, random.index(below: 4) == 0, last < result.operationsToServe.count,
        result.operationsToServe[last] > 0
      else { return nil }
      crash.recoveryOperations.append(1 + random.index(below: result.operationsToServe[last]))
    }
  }

  private func workload(_ seed: UInt64) -> ShortWorkload {
    ShortWorkload(of: system, seed: seed, level: level, plantedBug: plantedBug)
  }
}
