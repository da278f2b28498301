import Glibc
import PairSimulation
import RAID

/// The worker behind `tools/simulate --mode pair`: histories of two nodes, each on a line.
@main
struct Main {
  static func main() {
    var seed: UInt64 = 1
    var count = 1
    var bug: ReplicationBug?
    var isVerbose = false
    var arguments = Array(CommandLine.arguments.dropFirst())
    while !arguments.isEmpty {
      let name = arguments.removeFirst()
      let value = arguments.first ?? ""
      switch name {
      case "--seed": seed = UInt64(value) ?? 1
      case "--count": count = Int(value) ?? 1
      case "--planted-bug":
        guard let known = ReplicationBug(rawValue: value) else {
          print("no such bug: \(value)")
          exit(64)
        }
        bug = known
      case "--verbose":
        isVerbose = true
        continue
      case "--bugs":
        for bug in ReplicationBug.allCases { print(bug.rawValue) }
        exit(0)
      default:
        print(
          "usage: simulate-pair [--seed N] [--count N] [--planted-bug NAME] [--verbose] | --bugs")
        exit(64)
      }
      if !arguments.isEmpty { arguments.removeFirst() }
    }
    if isVerbose {
      // Safe: before anything runs.
      unsafe PairNode.tell = { print($0) }
    }
    var (acknowledged, promotions, inStep) = (0, 0, 0)
    for index in 0..<count {
      let history = PairHistory(seed: seed + UInt64(index), bug: bug)
      let outcome = history.play()
      acknowledged += outcome.acknowledgedCount
      promotions += outcome.promotionCount
      inStep += outcome.hadInStepEnd ? 1 : 0
      if let violation = outcome.violation {
        print("V \(seed + UInt64(index)) \(violation)")
        fflush(nil)
        if bug != nil { exit(1) }
      }
    }
    print(
      "S histories=\(count) acknowledged=\(acknowledged) promotions=\(promotions) in_step=\(inStep)"
    )
  }
}
