import ArraySimulation
import Geometry
import RAID
import Simulator
import Testing

@Suite("Simulation: histories of the plain file")
struct HistoryTests {
  /// The violations of so many seeds, by promise.
  private func rules(
    _ system: any SystemUnderTest, _ mode: SimulationMode, seeds: Range<UInt64>
  ) -> Set<Violation.Rule> {
    var campaign = Campaign(of: system, mode: mode, level: nil, plantedBug: nil)
    var rules: Set<Violation.Rule> = []
    for seed in seeds {
      if let found = campaign.run(seed: seed) { rules.insert(found.violation.rule) }
    }
    #expect(campaign.totals.historyCount == seeds.count)
    #expect(campaign.totals.crashCount > seeds.count / 4)
    return rules
  }

  @Test("without faults a file keeps what it promises, through crash after crash")
  func plainFileIsCleared() {
    #expect(rules(Systems.plain, .budget, seeds: 0..<60) == [])
  }

  @Test("the control: a file that is held to P6 is convicted of torn requests, and of nothing else")
  func controlIsConvicted() {
    // One that was read while it was being written has also been seen, and is gone in part.
    let found = rules(Systems.control, .budget, seeds: 0..<60)
    #expect(found.contains(.atomic) && found.isSubset(of: [.atomic, .seenStays]))
  }

  @Test("the control: a file under bit rot is convicted of wrong data")
  func rotIsConvicted() {
    #expect(rules(Systems.plain, .beyond, seeds: 0..<40).contains(.rightOrError))
  }

  @Test("short workloads under each crash: a file is cleared, and convicted of torn requests")
  func shortWorkloads() {
    for (system, isConvicted) in [(Systems.plain, false), (Systems.control, true)] {
      var campaign = Campaign(of: system, mode: .exhaustive, level: .raid5, plantedBug: nil)
      campaign.caseShare = 4
      var rules: Set<Violation.Rule> = []
      for seed: UInt64 in [0, 1, 4, 60, 200] {
        let found = campaign.runCrashes(seed: seed, from: 0, until: { _ in false }).found
        if let found { rules.insert(found.violation.rule) }
      }
      #expect(rules == (isConvicted ? [.atomic] : []))
      #expect(campaign.totals.historyCount > 20)
    }
  }

  @Test("a seed replays exactly, a trace changes nothing, and another seed is another run")
  func replays() {
    var campaign = Campaign(of: Systems.plain, mode: .budget, level: nil, plantedBug: nil)
    var digests: Set<UInt64> = []
    for seed: UInt64 in 0..<10 {
      let plan = campaign.plan(seed: seed)
      let digest = campaign.run(plan).digest
      #expect(campaign.run(plan).digest == digest)
      #expect(campaign.run(plan, recordsTrace: true).digest == digest)
      digests.insert(digest)
    }
    #expect(digests.count == 10)
  }

  @Test("the trace begins with the seed")
  func trace() {
    var campaign = Campaign(of: Systems.plain, mode: .budget, level: nil, plantedBug: nil)
    let result = campaign.run(campaign.plan(seed: 0x2a), recordsTrace: true)
    #expect(result.trace.first == "seed 0x2a")
    #expect(result.trace.count > 100)
  }

  @Test("a crash case reads as it is written")
  func crashCases() {
    let workload = ShortWorkload(of: Systems.plain, seed: 9, level: .raid6, plantedBug: nil)
    var cases = workload.crashes(operationCount: 2)
    cases[0].recoveryOperations = [3, 1, 4]
    cases[1].lost = [0, 3]
    for crash in cases { #expect(CrashCase("\(crash)") == crash) }
    for wrong in ["", "1,kill,keep", "x,kill,keep,none", "1,kill,half,none", "1,kill,keep,1+x"] {
      #expect(CrashCase(wrong) == nil)
    }
  }
}
