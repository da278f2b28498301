import Glibc
import PairSimulation
import RAID

/// The worker behind `tools/simulate --mode pair`: histories of two nodes, each on a line.
///
/// It speaks as the worker of the array does: `@ SEED [CASE]` before each history, `V SEED CASE TEXT`
/// for a violation, `C SEED CASE` where it stopped because tasks of crashed machines are never freed,
/// and last `S NAME=NUMBER ...`.
@main
struct Main {
  static let usage = """
    usage: simulate-pair histories|replay|bugs [--mode pair|pair-exhaustive|pair-told]
             [--planted-bug NAME] [--seed N] [--step N] [--count N] [--seconds N]
             [--case CASE] [--case-share N] [--first-case N] [--memory-mib N] [--trace]
    """

  static func main() {
    guard let command = CommandLine.arguments.dropFirst().first,
      let options = Options(Array(CommandLine.arguments.dropFirst(2)))
    else {
      say(usage)
      exit(64)
    }
    switch command {
    case "histories":
      var campaign = PairCampaign(options)
      campaign.run()
    case "replay":
      // Safe: before anything runs.
      unsafe PairNode.tell = { say($0) }
      var campaign = PairCampaign(options)
      guard let violation = campaign.play(seed: options.seed, case: options.crash) else {
        return say("no violation")
      }
      say("violation: \(violation)")
      exit(1)
    case "bugs":
      for bug in PairBug.allCases {
        let hint = PairBugHint.of(bug)
        say("\(bug.name) \(hint.mode.rawValue) - \(hex(hint.seed)) \(hint.step)")
      }
    default:
      say(usage)
      exit(64)
    }
  }

  static func say(_ line: String) {
    print(line)
    // All streams: the script above it waits for whole lines.
    fflush(nil)
  }

  static func hex(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }

  /// The most that this process has used so far.
  static func memoryBytes() -> Int {
    var usage = rusage()
    // Safe: fills the structure it is given.
    guard unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
    return usage.ru_maxrss << 10
  }
}

/// What the command line says.
struct Options {
  var mode = PairMode.drawn
  var plantedBug: PairBug?
  var seed: UInt64 = 0
  var count: UInt64 = 100
  /// From one seed to the next.
  var step: UInt64 = 1
  var seconds: Int?
  var crash: PairCrash?
  var caseShare: UInt64 = 1
  /// Where to go on amid the crashes of the first workload.
  var firstCase = 0
  var memoryBytesMax = 512 << 20

  /// - Returns: nil when a word is unknown or a value is none.
  init?(_ arguments: [String]) {
    var words = arguments[...]
    while let word = words.popFirst() {
      if word == "--trace" { continue }
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
    case "--system": return true
    case "--mode": return set(&mode, PairMode(rawValue: value))
    case "--planted-bug": return set(&plantedBug, PairBug(name: value).map(Optional.some))
    case "--seed": return set(&seed, Self.number(value))
    case "--count": return set(&count, Self.number(value))
    case "--step": return set(&step, Self.number(value))
    case "--seconds": return set(&seconds, Int(value).map(Optional.some))
    case "--case": return value == "-" || set(&crash, PairCrash(value).map(Optional.some))
    case "--first-case": return set(&firstCase, Int(value))
    case "--memory-mib": return set(&memoryBytesMax, Int(value).map { $0 << 20 })
    case "--case-share": return set(&caseShare, Self.number(value).flatMap { $0 > 0 ? $0 : nil })
    default: return false
    }
  }

  private static func number(_ text: String) -> UInt64? {
    text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
  }
}
