import PairSimulation
import RAID
import Testing

/// Histories of two nodes: told step by step, drawn from seeds, and short ones with a crash at each
/// operation.
@Suite("Replication: two nodes and the network between them")
struct PairTests {
  @Test("told histories end as the rules say", arguments: PairTale.all)
  func told(_ tale: PairTale) throws {
    for seed in UInt64(1)...2 {
      let complaint = try tale.play(seed: seed)
      #expect(complaint == nil, "seed \(seed)")
    }
  }

  @Test("a told history does not end well with the mistake that its rule forbids")
  func toldWithBugs() throws {
    for tale in PairTale.all {
      for bug in tale.bugs {
        // Where it is a matter of microseconds, one of some will do.
        let isFound = try (UInt64(1)...20).contains { try tale.play(seed: $0, bug: bug) != nil }
        #expect(isFound, "\(tale): \(bug.name)")
      }
    }
  }

  @Test("each mistake that can be planted has a told history")
  func bugsAreTold() {
    for bug in PairBug.allCases {
      #expect(PairTale.all.contains { $0.bugs.contains(bug) }, "\(bug.name)")
    }
  }

  @Test("drawn histories: what clients were told is there, and both nodes have the same in the end")
  func drawn() throws {
    // Behind those: what were findings.
    for seed in Array(UInt64(1)...24) + [0x74, 0xd1, 0x1fa] {
      let outcome = try PairHistory(seed: seed).play()
      #expect(outcome.violation == nil, "seed \(seed)")
    }
  }

  @Test("a crash of either node amid a short history", arguments: UInt64(0)..<10)
  func crashes(seed: UInt64) throws {
    let whole = try PairHistory.scripted(seed: seed, crash: nil)
    #expect(whole.play().violation == nil)
    let crashes = PairHistory.crashes(whole.operationCounts)
    for index in stride(from: Int(seed), to: crashes.count, by: crashes.count / 4) {
      let history = try PairHistory.scripted(seed: seed, crash: crashes[index])
      #expect(history.play().violation == nil, "\(crashes[index])")
    }
  }
}
