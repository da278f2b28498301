import DiskFormat
import PairSimulation
import RAID
import Simulator
import Testing

/// After a client was told that a write or a flush failed (promise P8).
@Suite("Replication: a client that was told of a failure")
struct ToldFailureTests {
  @Test("a flush failed: nothing is accepted before the next start")
  func flushFailed() throws {
    let lab = try PairStage(seed: 101)
    try lab.play { lab in
      try await lab.beginInStep(.stop)
      #expect(try await lab.write(lab.a, 3, 1))
      await lab.rest(milliseconds: 50)
      lab.b.crash(.kill)
      await lab.rest(milliseconds: 1000)
      #expect(try await lab.flush(lab.a) == false)
      try await lab.boot(lab.b)
      await lab.rest(milliseconds: 3000)
      #expect(try await lab.write(lab.a, 4, 1) == false)
    }
  }

  @Test("a write that was amid its way to the disk failed: nothing is accepted either")
  func writeFailed() throws {
    let lab = try PairStage(seed: 102)
    try lab.play { lab in
      try await lab.beginInStep(.stop)
      await lab.rest(milliseconds: 200)
      lab.b.crash(.kill)
      lab.setStuck(lab.a, true)
      let hasFailed = Box(false)
      lab.beginWrite(lab.a, 3, count: 1, 1) { hasFailed.value = !$0 }
      await lab.rest(milliseconds: 800)
      #expect(!hasFailed.value)
      lab.setStuck(lab.a, false)
      await lab.rest(milliseconds: 200)
      #expect(hasFailed.value)
      try await lab.boot(lab.b)
      await lab.rest(milliseconds: 3000)
      #expect(try await lab.write(lab.a, 4, 1) == false)
    }
  }

  @Test("the lost replica is removed and another added: writes are acknowledged again")
  func removedAndAdded() throws {
    let lab = try PairStage(seed: 103)
    try lab.play { lab in
      try await lab.beginInStep(.stop)
      #expect(try await lab.write(lab.a, 3, 1))
      let nodeID = try await lab.nodeID(lab.b)
      lab.b.crash(.kill)
      await lab.rest(milliseconds: 1000)
      #expect(try await lab.removeReplica(lab.a, nodeID) == nil)
      #expect(try await lab.write(lab.a, 3, 2))
      try await lab.recreate(lab.b)
      try await lab.boot(lab.b)
      try await lab.addReplica(.stop)
      try await lab.wait(for: "in step") { await lab.isInStep(lab.a) }
      #expect(try await lab.write(lab.a, 3, 3))
      #expect(try await lab.flush(lab.a))
    }
  }
}
