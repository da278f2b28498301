import PairSimulation

/// What is simulated: drawn histories, each crash of short ones, or told ones.
enum PairMode: String {
  case drawn = "pair"
  case exhaustive = "pair-exhaustive"
  case told = "pair-told"
}

/// Histories one after the other, and what they had in all.
struct PairCampaign {
  private let options: Options
  private let deadline: ContinuousClock.Instant?
  private var totals: [(name: String, count: Int)] = []

  init(_ options: Options) {
    self.options = options
    deadline = options.seconds.map { ContinuousClock.now + .seconds($0) }
  }

  mutating func run() {
    let end = options.seed &+ options.count &* options.step
    var seed = options.seed
    while seed < end, !isLate {
      if options.mode == .exhaustive {
        let first = seed == options.seed ? options.firstCase : 0
        if let next = runCrashes(seed: seed, from: first) {
          if !isLate { Main.say("C \(Main.hex(seed)) \(next)") }
          break
        }
      } else {
        Main.say("@ \(Main.hex(seed))")
        if let violation = play(seed: seed, case: nil) { tell(seed, "-", violation) }
      }
      seed &+= options.step
      if seed < end, isFull {
        Main.say("C \(Main.hex(seed)) 0")
        break
      }
    }
    Main.say("S " + totals.map { "\($0.name)=\($0.count)" }.joined(separator: " "))
  }

  private var isLate: Bool { deadline.map { ContinuousClock.now >= $0 } ?? false }
  private var isFull: Bool { Main.memoryBytes() >= options.memoryBytesMax }

  private func tell(_ seed: UInt64, _ crash: String, _ violation: String) {
    let line = violation.split(whereSeparator: \.isNewline).joined(separator: " ")
    Main.say("V \(Main.hex(seed)) \(crash) \(line)")
  }

  /// Tries the crashes of one workload, one in `caseShare`.
  ///
  /// - Returns: where to go on; nil when all were tried.
  private mutating func runCrashes(seed: UInt64, from first: Int) -> Int? {
    guard let counts = countOperations(seed: seed) else { return nil }
    let crashes = PairHistory.crashes(counts)
    let share = Int(clamping: options.caseShare)
    for index in stride(from: first, to: crashes.count, by: 1)
    where (index + Int(seed % UInt64(share))) % share == 0 {
      if isLate || (isFull && index > first) { return index }
      Main.say("@ \(Main.hex(seed)) \(crashes[index])")
      if let violation = play(seed: seed, case: crashes[index]) {
        tell(seed, "\(crashes[index])", violation)
      }
    }
    return nil
  }

  private mutating func countOperations(seed: UInt64) -> [Int]? {
    do {
      let history = try PairHistory.scripted(
        seed: seed, bug: options.plantedBug, crash: nil)
      let outcome = history.play()
      if let violation = outcome.violation { tell(seed, "-", violation) }
      return history.operationCounts
    } catch {
      tell(seed, "-", "\(error)")
      return nil
    }
  }

  /// One history; nil when nothing is wrong.
  mutating func play(seed: UInt64, case crash: PairCrash?) -> String? {
    do {
      switch options.mode {
      case .told:
        count("histories", 1)
        return try PairTale.all[Int(seed % UInt64(PairTale.all.count))]
          .play(seed: seed, bug: options.plantedBug)
      case .drawn: return count(try PairHistory(seed: seed, bug: options.plantedBug).play())
      case .exhaustive:
        return count(
          try PairHistory.scripted(seed: seed, bug: options.plantedBug, crash: crash).play())
      }
    } catch {
      return "\(error)"
    }
  }

  private mutating func count(_ outcome: PairHistory.Outcome) -> String? {
    count("histories", 1)
    count("acknowledged", outcome.acknowledgedCount)
    count("promotions", outcome.promotionCount)
    count("unbound", outcome.unboundCount)
    count("crashes", outcome.crashCount)
    count("forks", outcome.forkCount)
    return outcome.violation
  }

  private mutating func count(_ name: String, _ more: Int) {
    if let index = totals.firstIndex(where: { $0.name == name }) {
      totals[index].count += more
    } else {
      totals.append((name, more))
    }
  }
}

/// Where to look first for a history that shows a planted bug; from there on it is searched.
struct PairBugHint {
  var mode = PairMode.drawn
  var seed: UInt64 = 1
  var step: UInt64 = 1

  static func of(_ bug: PairBug) -> PairBugHint {
    guard let tale = PairTale.all.firstIndex(where: { $0.bugs.contains(bug) }) else {
      return PairBugHint()
    }
    return PairBugHint(mode: .told, seed: UInt64(tale), step: UInt64(PairTale.all.count))
  }
}
