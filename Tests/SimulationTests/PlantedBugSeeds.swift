import ArraySimulation
import Geometry
import RAID
import Testing

/// A history that tells a planted bug from the array as it is.
struct PlantedBugSeed: Sendable, CustomStringConvertible {
  let bug: PlantedBug
  let mode: SimulationMode
  let seed: UInt64
  var level: RAIDLevel?
  var crash: String?

  var description: String { "\(bug.rawValue), seed 0x\(String(seed, radix: 16))" }

  /// As `tools/simulate --planted-bugs all` found them.
  static let all: [PlantedBugSeed] = []
}

@Suite("Simulation: planted bugs")
struct PlantedBugTests {
  @Test(
    "each is caught by the history of its seed, which the array without it survives",
    arguments: PlantedBugSeed.all)
  func isCaught(planted: PlantedBugSeed) throws {
    let system = try #require(Systems.named("array"))
    let crash = planted.crash.flatMap { CrashCase($0) }
    for bug in [planted.bug, nil] {
      var campaign = Campaign(
        of: system, mode: planted.mode, level: planted.level, plantedBug: bug)
      let plan = campaign.plan(seed: planted.seed, crash: crash)
      let violation = campaign.run(plan).violation
      if bug == nil { #expect(violation == nil) } else { #expect(violation != nil) }
    }
  }
}
