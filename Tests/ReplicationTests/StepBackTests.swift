import DiskFormat
import PairSimulation
import RAID
import Simulator
import Testing

/// A copy to a replica that was away for long, and the way back from it (rule C3).
@Suite("Replication: a copy is taken back")
struct StepBackTests {
  static let blocks: Range<UInt64> = 0..<40

  /// A copy to b is under way, which was in step once and then away for longer than the log of a
  /// reaches back: then each block held 1, now 2, except for some that were trimmed or never written.
  private func beginCopy(_ lab: PairStage, undoByteCount: UInt64? = 8 << 20) async throws {
    if let undoByteCount { lab.b.undoMedium = SimulatedMedium(byteCount: undoByteCount) }
    try await lab.beginInStep(.goOn)
    for block in Self.blocks where block != 7 { #expect(try await lab.write(lab.a, block, 1)) }
    await lab.rest(milliseconds: 100)
    lab.cut()
    try await lab.wait(for: "a goes on alone") { (try? await lab.write(lab.a, 0, 2)) == true }
    for round in 0..<12 {
      for block in Self.blocks { #expect(try await lab.write(lab.a, block, round < 11 ? 9 : 2)) }
    }
    lab.network.conditions.shortestNanoseconds = 40_000_000
    lab.network.conditions.longestNanoseconds = 60_000_000
    lab.network.heal()
    try await waitForCopy(lab)
  }

  private func waitForCopy(_ lab: PairStage) async throws {
    try await lab.wait(for: "a copy") {
      guard case .none? = try? await lab.access(lab.b) else { return false }
      return true
    }
  }

  private func expectOld(_ lab: PairStage) async throws {
    for block in Self.blocks {
      #expect(try await lab.read(lab.b, block) == (block == 7 ? 0 : 1), "block \(block)")
    }
  }

  @Test(
    "the primary dies amid the copy: the replica returns to where it was, and is promoted by force",
    arguments: [0, 100, 180, 200, 210, 220, 230, 240] as [UInt64])
  func primaryDies(milliseconds: UInt64) throws {
    let lab = try PairStage(seed: 21 + milliseconds)
    try lab.play { lab in
      try await self.beginCopy(lab)
      await lab.rest(milliseconds: milliseconds)
      lab.cut()
      lab.a.crash(.powerLoss)
      await lab.rest(milliseconds: 600)
      guard case .none = try await lab.access(lab.b) else {
        #expect(milliseconds >= 240, "the copy was too fast to be met")
        return
      }
      #expect(try await lab.read(lab.b, 0) == nil)
      _ = try await lab.stepBack(lab.b).get()
      try await self.expectOld(lab)
      #expect(try await lab.promote(lab.b, isForced: false) != nil)
      #expect(try await lab.promote(lab.b, isForced: true) == nil)
      #expect(try await lab.write(lab.b, 3, 5))
      try await self.expectAfterRestart(lab)
    }
  }

  private func expectAfterRestart(_ lab: PairStage) async throws {
    lab.b.crash(.kill)
    try await lab.boot(lab.b)
    #expect(try await lab.promote(lab.b, isForced: true) == nil)
    #expect(try await lab.read(lab.b, 4) == 1)
  }

  @Test(
    "both lose power amid the copy, and the replica once more amid the way back",
    arguments: [0, 100, 200, 220, 240, 250, 260, 280] as [UInt64])
  func bothDie(milliseconds: UInt64) throws {
    let lab = try PairStage(seed: 41 + milliseconds)
    try lab.play { lab in
      try await self.beginCopy(lab)
      await lab.rest(milliseconds: milliseconds)
      guard case .none = try await lab.access(lab.b) else {
        #expect(milliseconds >= 200, "the copy was too fast to be met")
        return
      }
      lab.a.crash(.powerLoss)
      lab.b.crash(.powerLoss)
      try await lab.boot(lab.b)
      guard case .none = try await lab.access(lab.b) else {
        // It was complete when the power failed, a moment after the look at it.
        #expect(milliseconds >= 200, "the copy was too fast to be met")
        for block in Self.blocks { #expect(try await lab.read(lab.b, block) == 2) }
        return
      }
      lab.beginStepBack(lab.b)
      await lab.rest(milliseconds: milliseconds / 10)
      lab.b.crash(.powerLoss)
      try await lab.boot(lab.b)
      if case .none = try await lab.access(lab.b) { _ = try await lab.stepBack(lab.b).get() }
      try await self.expectOld(lab)
    }
  }

  @Test("without a file there is no way back, and the refusal says how to have one")
  func withoutFile() throws {
    let lab = try PairStage(seed: 51)
    try lab.play { lab in
      try await self.beginCopy(lab, undoByteCount: nil)
      guard case .failure(let refusal) = try await lab.stepBack(lab.b) else {
        Issue.record("it was taken back")
        return
      }
      #expect(refusal.words.contains("--undo"))
    }
  }

  @Test("a copy of which a part was not kept cannot be taken back, though the file is there again")
  func unkeptPart() throws {
    let lab = try PairStage(seed: 52)
    try lab.play { lab in
      try await self.beginCopy(lab)
      let medium = lab.b.undoMedium
      lab.b.crash(.kill)
      lab.b.undoMedium = nil
      try await lab.boot(lab.b)
      await lab.rest(milliseconds: 700)
      lab.b.crash(.kill)
      lab.b.undoMedium = medium
      try await lab.boot(lab.b)
      guard case .none = try await lab.access(lab.b) else {
        Issue.record("the copy was too fast to be met")
        return
      }
      if case .success = try await lab.stepBack(lab.b) {
        Issue.record("it was taken back to a state that there never was")
      }
    }
  }

  @Test("a copy goes on after a restart, ends, and leaves nothing to take back")
  func completes() throws {
    let lab = try PairStage(seed: 53)
    try lab.play { lab in
      try await self.beginCopy(lab)
      lab.b.crash(.powerLoss)
      try await lab.boot(lab.b)
      try await lab.wait(for: "in step", seconds: 60) { await lab.isInStep(lab.a) }
      for block in Self.blocks { #expect(try await lab.read(lab.b, block) == 2) }
      if case .success = try await lab.stepBack(lab.b) { Issue.record("it was taken back") }
    }
  }

  @Test("a step back, and then the primary is there after all: the copy begins anew and ends")
  func followsAgain() throws {
    let lab = try PairStage(seed: 54)
    try lab.play { lab in
      try await self.beginCopy(lab)
      _ = try await lab.stepBack(lab.b).get()
      try await self.expectOld(lab)
      await lab.rest(milliseconds: 1000)
      try await self.expectOld(lab)
      try await lab.followAgain(lab.b)
      try await lab.wait(for: "in step", seconds: 60) { await lab.isInStep(lab.a) }
      for block in Self.blocks { #expect(try await lab.read(lab.b, block) == 2) }
    }
  }
}

/// An array that was filled with a copy of a primary's device by other means.
@Suite("Replication: a seed")
struct SeedTests {
  @Test("a seed becomes the same as its primary, and before that nothing is served")
  func seed() throws {
    let lab = try PairStage(seed: 61)
    try lab.play { lab in
      try await lab.boot(lab.a)
      try await lab.boot(lab.b)
      for block in UInt64(0)..<40 {
        #expect(try await lab.write(lab.a, block, 1))
        // Two are older there, and one was never written at the primary.
        #expect(try await lab.write(lab.b, block + (block == 39 ? 20 : 0), block < 2 ? 8 : 1))
      }
      await #expect(throws: PairStage.Late.self) { try await lab.addReplica(.goOn) }
      #expect(try await lab.becomeSeed(lab.b) == nil)
      #expect(try await lab.read(lab.b, 3) == nil)
      #expect(try await lab.promote(lab.b, isForced: true) != nil)
      // Also after a restart.
      lab.b.crash(.powerLoss)
      try await lab.boot(lab.b)
      #expect(try await lab.read(lab.b, 3) == nil)
      try await lab.addReplica(.goOn)
      try await lab.wait(for: "in step", seconds: 60) { await lab.isInStep(lab.a) }
      for block in UInt64(0)..<60 {
        #expect(try await lab.read(lab.b, block) == (block < 40 ? 1 : 0), "block \(block)")
      }
      #expect(try await lab.becomeSeed(lab.b) != nil)
    }
  }
}
