import ArraySimulation
import Geometry
import Glibc
import RAID

/// The worker behind `tools/simulate`: runs histories one after the other in one process and tells
/// each on a line.
///
/// Its lines, for the script above it: `@ SEED [CASE]` before each history, `V SEED CASE TEXT` for a
/// violation, `N SEED` where two runs of a seed differ, `C SEED CASE` where it stopped before
/// the end because tasks of crashed machines are never freed, and last `S NAME=NUMBER ...`.
@main
struct Main {
  static let usage = """
    usage: simulate histories|replay|bugs [--system NAME] [--mode budget|beyond|exhaustive|directed]
             [--level LEVEL] [--planted-bug NAME] [--seed N] [--step N] [--count N]
             [--seconds N] [--case CASE] [--case-share N] [--first-case N] [--memory-mib N] [--trace]
    """

  static func main() {
    guard let command = CommandLine.arguments.dropFirst().first,
      let options = Options(Array(CommandLine.arguments.dropFirst(2)))
    else {
      say(usage)
      exit(64)
    }
    switch command {
    case "histories": histories(options)
    case "replay": replay(options)
    case "bugs": bugs()
    default:
      say(usage)
      exit(64)
    }
  }

  private static func say(_ line: String) {
    print(line)
    // All streams: the script above waits for whole lines.
    fflush(nil)
  }

  /// All that can be planted, each with where to look for it first: NAME MODE LEVEL SEED STEP.
  private static func bugs() {
    for bug in PlantedBug.allCases {
      let hint = PlantedBugHint.of(bug)
      let level = hint.level?.name ?? "-"
      say("\(bug.rawValue) \(hint.mode.rawValue) \(level) \(hex(hint.seed)) \(hint.step)")
    }
  }

  private static func histories(_ options: Options) {
    var campaign = options.makeCampaign()
    campaign.announce = { seed, crash in
      say("@ \(hex(seed))" + (crash.map { " \($0)" } ?? ""))
    }
    let deadline = options.seconds.map { ContinuousClock.now + .seconds($0) }
    let isLate = { deadline.map { ContinuousClock.now >= $0 } ?? false }
    if options.firstCase == 0, options.plantedBug == nil { checkDeterminism(options) }
    var seed = options.seed
    let end = options.seed &+ options.count &* options.step
    while seed < end, !isLate() {
      var found: Campaign.Finding?
      if options.mode == .exhaustive {
        let (first, next) = campaign.runCrashes(
          seed: seed, from: seed == options.seed ? options.firstCase : 0,
          until: { _ in isLate() || memoryBytes() >= options.memoryBytesMax })
        found = first
        if let next, !isLate() {
          say("C \(hex(seed)) \(next)")
          break
        }
      } else {
        found = campaign.run(seed: seed)
      }
      if let found {
        let crash = found.crash.map { "\($0)" } ?? "-"
        say("V \(hex(found.seed)) \(crash) \(found.violation)")
      }
      seed &+= options.step
      if seed < end, memoryBytes() >= options.memoryBytesMax {
        say("C \(hex(seed)) 0")
        break
      }
    }
    say("S " + campaign.totals.words.joined(separator: " "))
  }

  /// The most that this process has used so far.
  private static func memoryBytes() -> Int {
    var usage = rusage()
    // Safe: fills the structure it is given.
    guard unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
    return usage.ru_maxrss << 10
  }

  /// The same seed twice has to be the same run.
  private static func checkDeterminism(_ options: Options) {
    var campaign = options.makeCampaign()
    let plan = campaign.plan(seed: options.seed)
    say("@ \(hex(options.seed))")
    if campaign.run(plan).digest != campaign.run(plan).digest { say("N \(hex(options.seed))") }
  }

  private static func replay(_ options: Options) {
    var campaign = options.makeCampaign()
    // What the array says of itself goes between the lines.
    unsafe WholeArray.tell = { say("  " + $1) }
    let plan = campaign.plan(seed: options.seed, crash: options.crash)
    say("seed \(hex(options.seed)): \(plan.shape)")
    for (number, life) in plan.lives.enumerated() { say("life \(number + 1): \(life)") }
    let result = campaign.run(plan, recordsTrace: options.recordsTrace)
    for line in result.trace.dropFirst() { print(line) }
    say("lives: \(result.operations.count), operations of each: \(result.operations)")
    say("S " + campaign.totals.words.joined(separator: " "))
    guard let violation = result.violation else { return say("no violation") }
    say("violation: \(violation)")
    exit(1)
  }

  static func hex(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }
}

/// What the command line says.
struct Options {
  var system: any SystemUnderTest = Systems.plain
  var mode = SimulationMode.budget
  var level: RAIDLevel?
  var plantedBug: PlantedBug?
  var seed: UInt64 = 0
  var count: UInt64 = 100
  /// From one seed to the next.
  var step: UInt64 = 1
  var seconds: Int?
  var crash: CrashCase?
  var caseShare: UInt64 = 1
  /// Where to go on amid the crashes of the first workload.
  var firstCase = 0
  /// Stop when the process has grown so large.
  var memoryBytesMax = 512 << 20
  var recordsTrace = false

  /// - Returns: nil when a word is unknown or a value is none.
  init?(_ arguments: [String]) {
    var words = arguments[...]
    while let word = words.popFirst() {
      guard word != "--trace" else {
        recordsTrace = true
        continue
      }
      guard let value = words.popFirst(), take(word, value) else { return nil }
    }
  }

  private mutating func take(_ word: String, _ value: String) -> Bool {
    func set<Value>(_ target: inout Value, _ read: Value?) -> Bool {
      guard let read else { return false }
      target = read
      return true
    }
    switch word {
    case "--system": return set(&system, Systems.named(value))
    case "--mode": return set(&mode, SimulationMode(rawValue: value))
    case "--level": return set(&level, RAIDLevel(name: value).map(Optional.some))
    case "--planted-bug": return set(&plantedBug, PlantedBug(rawValue: value).map(Optional.some))
    case "--seed": return set(&seed, Self.number(value))
    case "--count": return set(&count, Self.number(value))
    case "--step": return set(&step, Self.number(value))
    case "--seconds": return set(&seconds, Int(value).map(Optional.some))
    case "--case": return value == "-" || set(&crash, CrashCase(value).map(Optional.some))
    case "--first-case": return set(&firstCase, Int(value))
    case "--memory-mib": return set(&memoryBytesMax, Int(value).map { $0 << 20 })
    case "--case-share": return set(&caseShare, Self.number(value))
    default: return false
    }
  }

  private static func number(_ text: String) -> UInt64? {
    text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
  }

  func makeCampaign() -> Campaign {
    var campaign = Campaign(of: system, mode: mode, level: level, plantedBug: plantedBug)
    campaign.caseShare = caseShare
    return campaign
  }
}

extension Campaign.Totals {
  /// For a line of them.
  var words: [String] {
    [
      "histories=\(historyCount)", "lives=\(lifeCount)", "crashes=\(crashCount)",
      "requests=\(requestCount)", "operations=\(operationCount)", "injected=\(injectedCount)",
      "errors=\(errorCount)", "refused=\(refusalCount)", "forced=\(forcedCount)",
      "unanswered=\(unansweredCount)", "adopted=\(adoptedCount)",
      "longest_us=\(longestNanoseconds / 1000)",
      "digest=\(Main.hex(digest))",
    ]
  }
}
