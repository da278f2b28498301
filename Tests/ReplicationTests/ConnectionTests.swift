import DiskFormat
import PairSimulation
import RAID
import Replication
import Simulator
import Testing

/// Histories in which a replica's word was taken for more, or for less, than it says.
@Suite("Replication: what a connection that begins may be taken for")
struct ConnectionTests {
  @Test("C2: what a hello tells is not durable there: a flush waits until it is")
  func helloIsNotDurable() throws {
    let lab = try PairStage(seed: 71)
    try lab.play { lab in
      // Nothing but a flush makes it durable.
      lab.b.options.destageDelayNanoseconds = 60_000_000_000
      try await lab.beginInStep(.stop)
      #expect(try await lab.write(lab.a, 3, 1))
      lab.setStuck(lab.b, true)
      lab.cut()
      await lab.rest(milliseconds: 900)
      lab.network.heal()
      try await lab.wait(for: "in step again") { await lab.isInStep(lab.a) }
      let isFlushed = Box(false)
      lab.beginFlush(lab.a) { isFlushed.value = $0 }
      await lab.rest(milliseconds: 100)
      // No disk of b has answered since.
      #expect(!isFlushed.value)
      for medium in lab.b.media { medium.unflushedFate = .loseAll }
      lab.a.crash(.powerLoss)
      lab.b.crash(.powerLoss)
      try await lab.boot(lab.b)
      #expect(try await lab.promote(lab.b, isForced: true) == nil)
      #expect(try await lab.read(lab.b, 3) == 1 || !isFlushed.value)
    }
  }

  @Test("records that wait for a replica's disk while the link breaks are logged once")
  func loggedOnce() throws {
    let lab = try PairStage(seed: 72)
    try lab.play { lab in
      try await lab.beginInStep(.goOn)
      lab.setStuck(lab.b, true)
      for block in UInt64(0)..<12 {
        lab.beginWrite(lab.a, block, 1)
        await lab.rest(milliseconds: 10)
      }
      lab.cut()
      await lab.rest(milliseconds: 1000)
      lab.network.heal()
      try await lab.wait(for: "connected") {
        (try? await lab.connections(lab.a).first?.phase) ?? nil != nil
      }
      await lab.rest(milliseconds: 60)
      lab.setStuck(lab.b, false)
      try await lab.wait(for: "in step again") { await lab.isInStep(lab.a) }
      #expect(try await lab.write(lab.a, 20, 1))
      await lab.rest(milliseconds: 200)
      #expect(try await lab.view(lab.a).position == lab.view(lab.b).position)
      // Mode C: nothing is acknowledged that the log of b does not have.
      lab.setStuck(lab.b, true)
      let isDone = Box(false)
      lab.beginWrite(lab.a, 30, count: 1, 2) { isDone.value = $0 }
      await lab.rest(milliseconds: 150)
      #expect(!isDone.value)
    }
  }

  @Test("two timelines that begin at one number are both taken by a replica that catches up")
  func twoTimelines() throws {
    let lab = try PairStage(seed: 73)
    try lab.play { lab in
      // It catches up from the log.
      lab.a.options.destageDelayNanoseconds = 60_000_000_000
      try await lab.beginInStep(.goOn)
      #expect(try await lab.write(lab.a, 0, 1))
      lab.b.crash(.kill)
      try await lab.wait(for: "a goes on alone") { (try? await lab.write(lab.a, 0, 2)) == true }
      lab.network.conditions.shortestNanoseconds = 30_000_000
      lab.network.conditions.longestNanoseconds = 30_000_000
      lab.a.crash(.kill)
      try await lab.boot(lab.a)
      try await lab.boot(lab.b)
      // It has heard b, and dies before b has caught up.
      try await lab.wait(for: "a timeline") {
        (try? await lab.view(lab.a).timelines.count) ?? 0 > 1
      }
      lab.a.crash(.kill)
      try await lab.boot(lab.a)
      try await lab.wait(for: "in step") { await lab.isInStep(lab.a) }
      #expect(try await lab.write(lab.a, 1, 3))
      await lab.rest(milliseconds: 200)
      let here = try await lab.view(lab.a).timelines
      #expect(here.count == 3)
      #expect(try await lab.view(lab.b).timelines == here)
      lab.b.crash(.kill)
      await lab.rest(milliseconds: 500)
      try await lab.boot(lab.b)
      try await lab.wait(for: "in step again") { await lab.isInStep(lab.a) }
    }
  }

  @Test("a promotion that was told of is not undone by a connection that was just being made")
  func promotedAmidHandshake() throws {
    var wrong: [UInt64] = []
    for offset in stride(from: UInt64(440), to: 540, by: 5) {
      let lab = try PairStage(seed: 1000 + offset)
      let box = Box(false)
      try lab.play { lab in
        lab.network.conditions.shortestNanoseconds = 10_000_000
        lab.network.conditions.longestNanoseconds = 12_000_000
        try await lab.beginInStep(.goOn)
        lab.cut()
        try await lab.wait(for: "alone") { (try? await lab.write(lab.a, 0, 2)) == true }
        await lab.rest(milliseconds: 600)
        for disk in lab.b.disks {
          disk.latency = DiskLatency(
            shortestNanoseconds: 5_000_000, longestNanoseconds: 5_000_000, synchronizeFactor: 2,
            slowPerMillion: 0, slowFactor: 1)
        }
        lab.network.heal()
        await lab.rest(milliseconds: offset)
        guard try await lab.promote(lab.b, isForced: true) == nil else { return }
        await lab.rest(milliseconds: 400)
        box.value = try await lab.view(lab.b).replication.role != .primary
      }
      if box.value { wrong.append(offset) }
    }
    #expect(wrong == [])
  }
}

// Safe: a simulation runs on one thread.
final class Box<Value>: @unchecked Sendable {
  var value: Value
  init(_ value: Value) { self.value = value }
}
