import ArraySimulation
import Testing

@Suite("Simulation: directed histories")
struct DirectedTests {
  @Test("the array survives each scenario", arguments: DirectedPlan.Scenario.allCases)
  func survives(scenario: DirectedPlan.Scenario) {
    var campaign = Campaign(of: Systems.array, mode: .directed, level: nil, plantedBug: nil)
    for variation in 0..<6 as Range<UInt64> {
      let seed = DirectedPlan.seed(scenario, variation * 7)
      let found = campaign.run(seed: seed)
      #expect(found?.violation == nil, "seed \(seed): \(String(describing: found?.violation))")
    }
    #expect(campaign.totals.historyCount == 6)
  }
}
