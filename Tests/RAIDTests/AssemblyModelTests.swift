import Geometry
import RAID
import TestSupport
import Testing

@Suite("Assembly: random lives")
struct AssemblyModelTests {
  private func run(_ level: RAIDLevel, _ memberCount: Int, mayForce: Bool) throws {
    var startCount = 0
    var forkCount = 0
    for seed in Seeds.of(12) {
      var model = try AssemblyModel(level, memberCount, seed: seed, mayForce: mayForce)
      for _ in 0..<40 where model.problems.isEmpty { model.step() }
      #expect(model.problems == [], "\(Seeds.replay(seed, "AssemblyModelTests"))")
      startCount += model.startCount
      forkCount += model.forkCount
      guard model.problems.isEmpty else { return }
    }
    #expect(startCount > 60)
    if mayForce, level == .raid1 { #expect(forkCount > 0) }
  }

  @Test(
    "whatever fails and whoever is missing, no start lacks a write, and all members always start",
    arguments: AssemblyPlanTests.shapes)
  func unforced(level: RAIDLevel, memberCount: Int) throws {
    try run(level, memberCount, mayForce: false)
  }

  @Test(
    "with forced starts in between, sides that went on alone are never merged nor overwritten",
    arguments: AssemblyPlanTests.shapes)
  func forced(level: RAIDLevel, memberCount: Int) throws {
    try run(level, memberCount, mayForce: true)
  }
}
