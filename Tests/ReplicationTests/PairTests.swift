import DiskFormat
import PairSimulation
import RAID
import Simulator
import Testing

/// Histories of two nodes, told step by step and drawn from seeds.
@Suite("Replication: two nodes and the network between them")
struct PairTests {
  @Test("drawn histories: what clients were told is there, and both nodes have the same in the end")
  func drawn() {
    for seed in UInt64(1)...24 {
      let outcome = PairHistory(seed: seed).play()
      #expect(outcome.violation == nil, "seed \(seed)")
    }
  }

  @Test(
    "a planted bug is found by a drawn history",
    arguments: [
      (ReplicationBug.acknowledgesBeforeReplica, UInt64(13)...18), (.promotesOutdated, 1...6),
      (.promotesWithoutTimeline, 33...39),
    ])
  func planted(bug: ReplicationBug, seeds: ClosedRange<UInt64>) {
    #expect(seeds.contains { PairHistory(seed: $0, bug: bug).play().violation != nil })
  }

  @Test("R1: nobody reads what the replica has not confirmed", arguments: [false, true])
  func shownWhenAcknowledged(isPlanted: Bool) throws {
    let lab = try PairLab(seed: 11, bug: isPlanted ? .acknowledgesBeforeReplica : nil)
    try lab.play { lab in
      try await lab.beginInStep(.stop)
      #expect(try await lab.write(lab.a, 3, 1))
      lab.cut()
      lab.beginWrite(lab.a, 3, 2)
      await lab.rest(milliseconds: 100)
      #expect(try await lab.read(lab.a, 3) == (isPlanted ? 2 : 1))
    }
  }

  @Test(
    "C3: an inconsistent replica is neither read nor promoted, by no word",
    arguments: [false, true])
  func inconsistent(isPlanted: Bool) throws {
    let lab = try PairLab(seed: 12, bug: isPlanted ? .promotesInconsistent : nil)
    try lab.play { lab in
      try await lab.boot(lab.a)
      try await lab.boot(lab.b)
      for block in 0..<40 { #expect(try await lab.write(lab.a, UInt64(block), 1)) }
      lab.network.conditions.shortestNanoseconds = 40_000_000
      lab.network.conditions.longestNanoseconds = 60_000_000
      try await lab.addReplica(.goOn)
      // Between the first block of the copy and its last.
      try await lab.wait(for: "a copy") {
        guard case .none? = try? await lab.access(lab.b) else { return false }
        return true
      }
      lab.cut()
      lab.a.crash(.powerLoss)
      await lab.rest(milliseconds: 600)
      #expect(try await lab.read(lab.b, 0) == nil)
      #expect((try await lab.promote(lab.b, isForced: true) == nil) == isPlanted)
    }
  }

  @Test("C4: a primary that has not heard its replica serves nobody", arguments: [false, true])
  func unheard(isPlanted: Bool) throws {
    let lab = try PairLab(seed: 13, bug: isPlanted ? .startsUnheard : nil)
    try lab.play { lab in
      try await lab.beginInStep(.goOn)
      #expect(try await lab.write(lab.a, 0, 1))
      lab.a.crash(.kill)
      lab.b.crash(.kill)
      try await lab.boot(lab.a)
      await lab.rest(milliseconds: 500)
      #expect(try await lab.write(lab.a, 0, 2) == isPlanted)
      #expect((try await lab.read(lab.a, 0) != nil) == isPlanted)
      guard !isPlanted else { return }
      try await lab.boot(lab.b)
      try await lab.wait(for: "in step again") { await lab.isInStep(lab.a) }
      #expect(try await lab.write(lab.a, 0, 3))
    }
  }

  @Test("C4: a replica whose link is down is promoted by force only", arguments: [false, true])
  func outdated(isPlanted: Bool) throws {
    let lab = try PairLab(seed: 14, bug: isPlanted ? .promotesOutdated : nil)
    try lab.play { lab in
      try await lab.beginInStep(.goOn)
      lab.cut()
      // Set aside, and gone on without.
      try await lab.wait(for: "set aside") { (try? await lab.write(lab.a, 5, 7)) == true }
      await lab.rest(milliseconds: 600)
      lab.a.crash(.powerLoss)
      #expect((try await lab.promote(lab.b, isForced: false) == nil) == isPlanted)
    }
  }

  @Test("a superseded primary is fenced by the stream, and what only it has is listed exactly")
  func superseded() throws {
    let lab = try PairLab(seed: 15)
    try lab.play { lab in
      try await lab.beginInStep(.goOn)
      #expect(try await lab.write(lab.a, 1, 1))
      lab.cut()
      try await lab.wait(for: "a goes on alone") { (try? await lab.write(lab.a, 20, 2)) == true }
      #expect(try await lab.write(lab.a, 21, 3))
      await lab.rest(milliseconds: 600)
      #expect(try await lab.promote(lab.b, isForced: true) == nil)
      #expect(try await lab.write(lab.b, 30, 4))
      lab.network.heal()
      try await lab.wait(for: "a learns of it") { (try? await lab.write(lab.a, 22, 5)) == false }
      let data = try await lab.diverged(lab.a)
      #expect(data?.isComplete == true)
      #expect(data?.runs.map(\.firstBlock) == [20])
      #expect(data?.runs.map(\.blockCount).reduce(0, +) ?? 0 >= 2)
      // Neither has taken anything of the other.
      #expect(try await lab.read(lab.b, 20) != 2)
      #expect(try await lab.read(lab.b, 30) == 4)
    }
  }
}
