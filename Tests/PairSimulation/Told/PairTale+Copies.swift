import DiskFormat
import RAID
import Simulator

// Copies by comparison (C2, C3).
extension PairTale {
  static let copies: [PairTale] = [
    PairTale(
      "C2: a copy is done when all of it is in the replica's log, and durable",
      [.replication(.copyEndsEarly)]
    ) { lab in
      try await lab.boot(lab.a)
      try await lab.boot(lab.b)
      for block in stride(from: UInt64(0), to: 400, by: 8) {
        let isDone = await lab.pair.ask(lab.a) {
          await $0.write(block, 8, stamp: 1, durably: false)
        }
        try lab.expect(isDone == true, "a write is acknowledged")
      }
      // All of it is there at once, and its end with it.
      lab.pair.network.conditions.shortestNanoseconds = 5_000
      lab.pair.network.conditions.longestNanoseconds = 20_000
      lab.pair.network.conditions.bufferBytes = 8 << 20
      try await lab.addReplica(.goOn)
      let replica = lab.pair.nodes[lab.b]
      try await lab.pair.wait(for: "the copy begins", everyMicroseconds: 50) {
        replica.isReplicaOnDisk(isConsistent: false)
      }
      try await lab.pair.wait(for: "it is called complete", everyMicroseconds: 50) {
        replica.isReplicaOnDisk(isConsistent: true)
      }
      lab.loseEverything(lab.a)
      lab.crash(lab.b, .kill)
      try await lab.boot(lab.b)
      let refusal = await lab.pair.promote(lab.b, isForced: true)
      // What only one of its members said may be gone again.
      guard refusal == nil else { return }
      for block in UInt64(0)..<400 {
        let seen = await lab.read(lab.b, block)
        try lab.expect(seen == 1, "block \(block) was copied")
      }
    },
    PairTale(
      "C3: an inconsistent replica is neither read nor promoted, by no word",
      [.replication(.promotesInconsistent)]
    ) { lab in
      try await lab.boot(lab.a)
      try await lab.boot(lab.b)
      try await lab.mustWrite(lab.a, 0..<40, 1)
      lab.pair.network.conditions.shortestNanoseconds = 40_000_000
      lab.pair.network.conditions.longestNanoseconds = 60_000_000
      try await lab.addReplica(.goOn)
      // Between the first block of the copy and its last.
      try await lab.wait(for: "a copy") {
        if case .none? = await lab.pair.access(lab.b) { true } else { false }
      }
      lab.pair.cut()
      lab.crash(lab.a, .powerLoss)
      await lab.rest(milliseconds: 600)
      let seen = await lab.read(lab.b, 0)
      try lab.expect(seen == nil, "it is not read")
      let refusal = await lab.pair.promote(lab.b, isForced: true)
      try lab.expect(refusal != nil, "it is not promoted")
    },
    PairTale(
      "C3: a copy that its replica's crash interrupts begins again, and ends complete", []
    ) { lab in
      try await lab.boot(lab.a)
      try await lab.boot(lab.b)
      try await lab.mustWrite(lab.a, 0..<40, 1)
      try await lab.addReplica(.goOn)
      try await lab.wait(for: "a copy") {
        if case .none? = await lab.pair.access(lab.b) { true } else { false }
      }
      lab.loseEverything(lab.b)
      try await lab.boot(lab.b)
      try await lab.mustWrite(lab.a, 10..<20, 2)
      try await lab.waitInStep()
      for block in UInt64(0)..<40 {
        let (mine, theirs) = (await lab.read(lab.a, block), await lab.read(lab.b, block))
        try lab.expect(mine == theirs && mine != nil, "block \(block) is the same")
      }
    },
  ]
}
