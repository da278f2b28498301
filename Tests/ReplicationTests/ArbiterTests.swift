import DiskFormat
import PairSimulation
import RAID
import Simulator
import Testing

@Suite("Replication: the arbiter's rule")
struct ArbiterRuleTests {
  private static let a = Identifier(high: 0, low: 1)
  private static let b = Identifier(high: 0, low: 2)
  private static let run = Identifier(high: 9, low: 9)

  private func ask(
    _ question: ArbiterRequest.Question, _ node: Identifier, _ number: UInt64,
    inSync: [Identifier] = [], timelines: [UInt64] = [1], run: Identifier = run
  ) -> ArbiterRequest {
    ArbiterRequest(
      question: question, nodeID: node, runID: run, number: number,
      timelineIDs: timelines.map { Identifier(high: 7, low: $0) }, inSync: inSync)
  }

  @Test("the first primary takes it; a replica is promoted only from its in-sync set")
  func roles() throws {
    #expect(ArbiterRecord.answer(ask(.bePromoted, Self.b, 1), nil) == nil)
    let first = try #require(ArbiterRecord.answer(ask(.inSync, Self.a, 1, inSync: [Self.b]), nil))
    #expect(first.holder == Self.a)
    #expect(first.inSync == [Self.a, Self.b])
    #expect(ArbiterRecord.answer(ask(.goOnAlone, Self.b, 1), first) == nil)
    let promoted = try #require(ArbiterRecord.answer(ask(.bePromoted, Self.b, 2), first))
    #expect(promoted.holder == Self.b)
    #expect(promoted.inSync == [Self.b])
    #expect(promoted.version == first.version + 1)
    for question in [ArbiterRequest.Question.goOnAlone, .inSync, .bePromoted] {
      #expect(ArbiterRecord.answer(ask(question, Self.a, 9), promoted) == nil)
    }
    #expect(ArbiterRecord.answer(ask(.force, Self.a, 9), promoted)?.holder == Self.a)
  }

  @Test("who goes on alone takes the others out first; a node with another history is not promoted")
  func alone() throws {
    let both = try #require(ArbiterRecord.answer(ask(.inSync, Self.a, 1, inSync: [Self.b]), nil))
    let alone = try #require(ArbiterRecord.answer(ask(.goOnAlone, Self.a, 2), both))
    #expect(ArbiterRecord.answer(ask(.bePromoted, Self.b, 1), alone) == nil)
    #expect(ArbiterRecord.answer(ask(.bePromoted, Self.b, 1, timelines: [2]), both) == nil)
    #expect(ArbiterRecord.answer(ask(.bePromoted, Self.b, 1, timelines: [1, 2]), both) != nil)
  }

  @Test("a question that is carried out behind a later one of its node is refused")
  func late() throws {
    let alone = try #require(ArbiterRecord.answer(ask(.goOnAlone, Self.a, 5), nil))
    #expect(ArbiterRecord.answer(ask(.inSync, Self.a, 4, inSync: [Self.b]), alone) == nil)
    #expect(ArbiterRecord.answer(ask(.inSync, Self.a, 5, inSync: [Self.b]), alone) == nil)
    #expect(ArbiterRecord.answer(ask(.inSync, Self.a, 6, inSync: [Self.b]), alone) != nil)
    // After a start the counting begins anew.
    let run = Identifier(high: 9, low: 10)
    #expect(ArbiterRecord.answer(ask(.inSync, Self.a, 1, run: run), alone) != nil)
  }
}

@Suite("Replication: two nodes with an arbiter")
struct ArbiterTests {
  private func lab(_ seed: UInt64) throws -> (PairStage, PairArbiter) {
    let lab = try PairStage(seed: seed)
    let arbiter = PairArbiter()
    for node in [lab.a, lab.b] { node.arbiter = arbiter }
    return (lab, arbiter)
  }

  private func beginKnown(_ lab: PairStage, _ arbiter: PairArbiter) async throws {
    try await lab.beginInStep(.goOn)
    try await lab.wait(for: "the arbiter knows") { arbiter.record?.inSync.count == 2 }
    #expect(try await lab.write(lab.a, 1, 1))
  }

  @Test("cut apart, exactly one of both goes on, whoever asks first", arguments: 1...12)
  func exactlyOne(seed: UInt64) throws {
    let (lab, arbiter) = try lab(100 + seed)
    try lab.play { lab in
      try await beginKnown(lab, arbiter)
      arbiter.delayNanoseconds = 900_000_000
      lab.cut()
      lab.beginWrite(lab.a, 5, 2)
      await lab.rest(milliseconds: 100 * seed)
      let refusal = try await lab.promote(lab.b, isForced: false)
      await lab.rest(milliseconds: 4000)
      let isWritableAtA = (try? await lab.write(lab.a, 6, 3)) == true
      let isWritableAtB = (try? await lab.write(lab.b, 6, 4)) == true
      #expect(isWritableAtA != isWritableAtB)
      #expect(isWritableAtB == (refusal == nil))
      let deciding = arbiter.grants.filter { $0.question != .inSync }
      #expect(Set(deciding.map(\.node)).count == 1)
    }
  }

  @Test("an arbiter that does not answer in time says no: a stops, b is not promoted")
  func unreachable() throws {
    let (lab, arbiter) = try lab(131)
    try lab.play { lab in
      try await beginKnown(lab, arbiter)
      arbiter.unreachable = ["a", "b"]
      lab.cut()
      #expect(try await lab.write(lab.a, 5, 2) == false)
      #expect(try await lab.promote(lab.b, isForced: false) != nil)
      #expect(try await lab.write(lab.b, 5, 3) == false)
      #expect(arbiter.record?.inSync.count == 2)
    }
  }

  @Test("a dead primary's replica is promoted without force, and the old one does not serve again")
  func promoted() throws {
    let (lab, arbiter) = try lab(132)
    try lab.play { lab in
      try await beginKnown(lab, arbiter)
      lab.a.crash(.powerLoss)
      await lab.rest(milliseconds: 600)
      #expect(try await lab.promote(lab.b, isForced: false) == nil)
      #expect(try await lab.read(lab.b, 1) == 1)
      #expect(try await lab.write(lab.b, 2, 2))
      lab.cut()
      try await lab.boot(lab.a)
      lab.cut()
      await lab.rest(milliseconds: 5000)
      #expect(try await lab.write(lab.a, 3, 3) == false)
      #expect(try await lab.read(lab.a, 1) == nil)
      lab.network.heal()
      try await lab.wait(for: "in step") { await lab.isInStep(lab.b) }
      try await lab.wait(for: "the arbiter knows") { arbiter.record?.inSync.count == 2 }
      try await lab.wait(for: "a follows") { (try? await lab.read(lab.a, 2)) == 2 }
    }
  }

  @Test("a primary that starts alone is let go on by the arbiter, without force")
  func startsAlone() throws {
    let (lab, arbiter) = try lab(133)
    try lab.play { lab in
      try await beginKnown(lab, arbiter)
      lab.a.crash(.kill)
      lab.b.crash(.kill)
      try await lab.boot(lab.a)
      #expect(try await lab.write(lab.a, 2, 2) == false)
      try await lab.wait(for: "a goes on") { (try? await lab.write(lab.a, 2, 3)) == true }
      #expect(arbiter.record?.inSync.count == 1)
      lab.a.crash(.kill)
      try await lab.boot(lab.b)
      // It lacks what a acknowledged alone.
      #expect(try await lab.promote(lab.b, isForced: false) != nil)
    }
  }
}
