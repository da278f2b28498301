import DiskFormat
import PairSimulation
import Replication
import Simulator
import Testing

@Suite("Replication: the watchdog of catching up")
struct CatchUpWatchTests {
  private typealias Sight = CatchUpWatch.Sight

  private func sight(
    owes: UInt64? = nil, reads: UInt64? = nil, rested: UInt64 = 0, isConnected: Bool = true
  ) -> Sight {
    var sight = Sight()
    sight.isConnected = isConnected
    sight.replicaOwesNanoseconds = owes.map { $0 * 1_000_000_000 }
    sight.readsNanoseconds = reads.map { $0 * 1_000_000_000 }
    sight.restedNanoseconds = rested * 1_000_000_000
    return sight
  }

  /// What is told after a minute without progress, in which things were so at its end.
  private func told(_ last: Sight) -> CatchUpWatch.Obstacle? {
    var watch = CatchUpWatch()
    #expect(watch.note(left: 50, isCopy: true, sight(), now: 1_000_000_000) == nil)
    #expect(watch.note(left: 60, isCopy: true, last, now: 60_000_000_000) == nil)
    return watch.note(left: 50, isCopy: true, last, now: 61_000_000_000)
  }

  @Test("the first cause that is true is told")
  func causes() {
    #expect(told(sight(owes: 20, reads: 20, rested: 50, isConnected: false)) == .noConnection)
    #expect(told(sight(owes: 20, reads: 20, rested: 50)) == .replicaDisk)
    #expect(told(sight(owes: 9, reads: 20, rested: 50)) == .primaryDisk)
    #expect(told(sight(owes: 9, reads: 9, rested: 50)) == .latencyBudget)
    #expect(told(sight(owes: 9, reads: 9, rested: 29)) == .writesFaster)
  }

  @Test("progress of any size, and another phase, begin the minute anew; it is told once a minute")
  func minutes() {
    var watch = CatchUpWatch()
    let second: UInt64 = 1_000_000_000
    #expect(watch.note(left: 50, isCopy: true, sight(), now: second) == nil)
    #expect(watch.note(left: 49, isCopy: true, sight(), now: 60 * second) == nil)
    #expect(watch.note(left: 49, isCopy: true, sight(), now: 119 * second) == nil)
    #expect(watch.note(left: 49, isCopy: true, sight(), now: 120 * second) == .writesFaster)
    #expect(watch.note(left: 49, isCopy: true, sight(), now: 179 * second) == nil)
    #expect(watch.note(left: 49, isCopy: true, sight(), now: 180 * second) == .writesFaster)
    #expect(watch.note(left: 90, isCopy: false, sight(), now: 230 * second) == nil)
    #expect(watch.note(left: 90, isCopy: false, sight(), now: 289 * second) == nil)
    #expect(watch.note(left: 90, isCopy: false, sight(), now: 290 * second) == .writesFaster)
  }

  @Test("a replica that is away is named after a minute, and one in step never is")
  func away() throws {
    let lab = try PairStage(seed: 41)
    try lab.play { lab in
      try await lab.beginInStep(.goOn)
      await lab.rest(milliseconds: 70_000)
      #expect(try await lab.events(lab.a).allSatisfy { !$0.contains("no nearer") })
      lab.cut()
      await lab.rest(milliseconds: 50_000)
      #expect(try await lab.events(lab.a).allSatisfy { !$0.contains("no nearer") })
      await lab.rest(milliseconds: 30_000)
      let events = try await lab.events(lab.a)
      #expect(events.filter { $0.contains("no nearer") }.count == 1)
      #expect(events.contains { $0.contains("there is no connection") })
    }
  }
}
