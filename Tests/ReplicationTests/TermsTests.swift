import DiskFormat
import PairSimulation
import Testing

@Suite("Replication: the terms that a replica goes by")
struct TermsTests {
  @Test(
    "C4: weaker terms than those that a replica is promoted by are refused, the same again are not")
  func weakerTerms() throws {
    let lab = try PairStage(seed: 81)
    try lab.play { lab in
      try await lab.beginInStep(.stop)
      await #expect(throws: PairStage.Late.self) { try await lab.addReplica(.goOn) }
      try await lab.addReplica(.stop)
      #expect(try await lab.write(lab.a, 1, 1))
    }
  }
}
