import DiskFormat
import PairSimulation
import RAID
import Simulator
import Testing

/// A copy is taken back, with the wrong file, or one that a crash has torn.
@Suite("Replication: the undo file of a copy")
struct UndoFileTests {
  private static let blocks: Range<UInt64> = 0..<40

  /// A goes on alone for longer than its log reaches back, and meets b again.
  private func beginCopy(_ lab: PairStage, stamp: UInt64) async throws {
    lab.cut()
    try await lab.wait(for: "a goes on alone") { (try? await lab.write(lab.a, 0, stamp)) == true }
    for round in 0..<12 {
      for block in Self.blocks {
        #expect(try await lab.write(lab.a, block, round < 11 ? 9 : stamp))
      }
    }
    lab.network.conditions.shortestNanoseconds = 40_000_000
    lab.network.conditions.longestNanoseconds = 60_000_000
    lab.network.heal()
    try await lab.wait(for: "a copy") {
      guard case .none? = try? await lab.access(lab.b) else { return false }
      return true
    }
  }

  private func waitForGroup(_ lab: PairStage, _ medium: SimulatedMedium) async throws {
    let before = medium.live.checksum
    try await lab.wait(for: "a group") { medium.live.checksum != before }
    await lab.rest(milliseconds: 100)
  }

  /// Between the copied blocks and the word that they are all there is time.
  private func makeSlow(_ node: PairNode) {
    for disk in node.disks {
      disk.latency = DiskLatency(
        shortestNanoseconds: 1_000_000, longestNanoseconds: 1_000_000, synchronizeFactor: 120,
        slowPerMillion: 0, slowFactor: 1)
    }
  }

  private func makeFast(_ lab: PairStage) {
    lab.network.conditions.shortestNanoseconds = 2_000_000
    lab.network.conditions.longestNanoseconds = 6_000_000
  }

  @Test("the file of an earlier copy does not take a later one back")
  func earlierCopy() throws {
    let lab = try PairStage(seed: 111)
    try lab.play { lab in
      let first = SimulatedMedium(byteCount: 8 << 20)
      lab.b.undoMedium = first
      try await lab.beginInStep(.goOn)
      for block in Self.blocks { #expect(try await lab.write(lab.a, block, 1)) }
      await lab.rest(milliseconds: 100)
      self.makeSlow(lab.b)
      try await self.beginCopy(lab, stamp: 2)
      try await self.waitForGroup(lab, first)
      // The copy goes on without a file, and ends.
      lab.b.crash(.kill)
      self.makeFast(lab)
      lab.b.undoMedium = nil
      try await lab.boot(lab.b)
      try await lab.wait(for: "in step", seconds: 60) { await lab.isInStep(lab.a) }
      #expect(try await lab.write(lab.a, 60, 6))
      // A second one, with another file.
      lab.b.crash(.kill)
      let second = SimulatedMedium(byteCount: 8 << 20)
      lab.b.undoMedium = second
      try await lab.boot(lab.b)
      try await lab.wait(for: "in step", seconds: 60) { await lab.isInStep(lab.a) }
      self.makeSlow(lab.b)
      try await self.beginCopy(lab, stamp: 3)
      try await self.waitForGroup(lab, second)
      lab.a.crash(.powerLoss)
      lab.b.crash(.kill)
      lab.b.undoMedium = first
      try await lab.boot(lab.b)
      guard case .none = try await lab.access(lab.b) else {
        Issue.record("the copy was too fast to be met")
        return
      }
      if case .success = try await lab.stepBack(lab.b) {
        var stamps: [UInt64?] = []
        for block in Self.blocks { stamps.append(try await lab.read(lab.b, block)) }
        let later = try await lab.read(lab.b, 60)
        let number = try await lab.view(lab.b).position.number
        Issue.record(
          "taken back to record \(number) by another copy's file: \(stamps); block 60, of a later record, holds \(later ?? 0)"
        )
      }
    }
  }

  @Test(
    "power fails while a group is written: nothing was overwritten for its sake, and it is the end")
  func tornGroup() throws {
    let lab = try PairStage(seed: 112)
    try lab.play { lab in
      let medium = SimulatedMedium(byteCount: 8 << 20)
      lab.b.undoMedium = medium
      try await lab.beginInStep(.goOn)
      for block in Self.blocks { #expect(try await lab.write(lab.a, block, 1)) }
      await lab.rest(milliseconds: 100)
      // From a write to its fdatasync there is time to meet it.
      lab.b.undoDisk?.latency = DiskLatency(
        shortestNanoseconds: 1_000_000, longestNanoseconds: 1_000_000, synchronizeFactor: 100,
        slowPerMillion: 0, slowFactor: 1)
      try await self.beginCopy(lab, stamp: 2)
      try await lab.wait(for: "a group that is not durable") {
        medium.unflushedWrites.count >= 2
      }
      // Of the group its descriptor arrives, and of its contents nothing.
      let start = Box<UInt64?>(nil)
      medium.unflushedFate = .chosen { sector, writes in
        if sector < 16 { return writes.count }
        if start.value == nil { start.value = sector }
        return sector < (start.value ?? 0) + 8 ? writes.count : 0
      }
      lab.a.crash(.powerLoss)
      lab.b.crash(.powerLoss)
      #expect(start.value != nil)
      try await lab.boot(lab.b)
      _ = try await lab.stepBack(lab.b).get()
      for block in Self.blocks { #expect(try await lab.read(lab.b, block) == 1) }
    }
  }
}
