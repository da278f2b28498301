import DiskFormat
import RAID
import Replication
import Simulator

// Acknowledgements, and what counts as confirmed (R1, C2, C5, L8).
extension PairTale {
  static let gate: [PairTale] = [
    PairTale(
      "R1: nobody reads, or is told of, what the replica has not confirmed",
      [.replication(.acknowledgesBeforeReplica), .array(.visibleBeforeAcknowledged)]
    ) { lab in
      try await lab.beginInStep(.stop)
      try await lab.mustWrite(lab.a, 3..<4, 1)
      lab.pair.cut()
      let begun = lab.beginWrite(lab.a, 3, 2)
      await lab.rest(milliseconds: 100)
      try lab.expect(!begun.isDone, "a write waits for its replica")
      let seen = await lab.read(lab.a, 3)
      try lab.expect(seen == 1, "the old value is read")
    },
    PairTale(
      "P3: what mode C acknowledged is at the replica when the primary is lost",
      [.replication(.acknowledgesBeforeReplica)]
    ) { lab in
      try await lab.beginInStep(.stop)
      try await lab.mustWrite(lab.a, 0..<8, 1)
      lab.pair.cut()
      let begun = (0..<8).map { lab.beginWrite(lab.a, $0, 2) }
      await lab.rest(milliseconds: 100)
      let told = begun.map(\.isDone)
      lab.loseEverything(lab.a)
      await lab.rest(milliseconds: 600)
      let refusal = await lab.pair.promote(lab.b, isForced: false)
      try lab.expect(refusal == nil, "with 'stop' it is promoted without force")
      for block in UInt64(0)..<8 {
        let seen = await lab.read(lab.b, block)
        try lab.expect(seen == (told[Int(block)] ? 2 : 1), "block \(block) is what clients know")
      }
    },
    PairTale(
      "C2: the log keeps what the replica has logged and may lose with its power",
      [.replication(.pinsFollowLogged)]
    ) { lab in
      // What a replica brings home it makes durable first.
      lab.pair.nodes[lab.b].options.destageDelayNanoseconds = 600_000_000_000
      try await lab.beginInStep(.goOn)
      // None of it is flushed; the primary's checkpoint would pass it.
      for round in UInt64(1)...3 { try await lab.mustWrite(lab.a, 0..<30, round) }
      await lab.rest(milliseconds: 400)
      lab.loseEverything(lab.b)
      await lab.rest(milliseconds: 800)
      lab.pair.nodes[lab.b].boot()
      var wasCopied = false
      try await lab.wait(for: "in step again") {
        let phase = await lab.pair.ask(lab.a) { await $0.node.connections.first?.phase } ?? nil
        if phase == .copying { wasCopied = true }
        return await lab.pair.isInStep(lab.a)
      }
      try lab.expect(!wasCopied, "it catches up from the log")
    },
    PairTale(
      "C2: what a flush says is durable at the replica, too",
      [.replication(.durableBeforeFlush)]
    ) { lab in
      try await lab.beginInStep(.goOn)
      try await lab.mustWrite(lab.a, 0..<20, 1)
      let isFlushed = await lab.flush(lab.a)
      try lab.expect(isFlushed, "a flush is acknowledged")
      lab.loseEverything(lab.b)
      lab.loseEverything(lab.a)
      try await lab.boot(lab.b)
      let refusal = await lab.pair.promote(lab.b, isForced: true)
      try lab.expect(refusal == nil, "it is promoted by force")
      for block in UInt64(0)..<20 {
        let seen = await lab.read(lab.b, block)
        try lab.expect(seen == 1, "block \(block) is there: it was flushed")
      }
    },
    PairTale(
      "C2: a record that waits for the log when its connection ends is not taken twice", []
    ) { lab in
      // Its log goes back to what the replica has.
      lab.pair.nodes[lab.a].options.destageDelayNanoseconds = 600_000_000_000
      try await lab.beginInStep(.goOn, mode: .a)
      await lab.rest(milliseconds: 200)
      let replica = lab.pair.nodes[lab.b]
      for disk in replica.media.indices { replica.hangDisk(disk) }
      for round in UInt64(1)...30 { try await lab.mustWrite(lab.a, 3..<5, round) }
      await lab.rest(milliseconds: 30)
      // Another connection, while the log of the replica does not get on.
      lab.pair.cut()
      await lab.rest(milliseconds: 700)
      lab.pair.network.heal()
      await lab.rest(milliseconds: 1500)
      replica.releaseDisks()
      try await lab.waitInStep()
      try await lab.mustWrite(lab.a, 5..<6, 31)
      // It has what its primary has, by the number too.
      lab.pair.cut()
      await lab.rest(milliseconds: 600)
      lab.pair.network.heal()
      await lab.rest(milliseconds: 100)
      try await lab.waitInStep()
      let divergence = await lab.pair.diverged(lab.b)
      try lab.expect(divergence == nil, "no other history is met")
      let seen = await lab.read(lab.b, 3)
      try lab.expect(seen == 30, "the newest value is there")
    },
    PairTale(
      "C5: acknowledgements wait for a replica before the configuration says that it counts",
      [.replication(.countsBeforeWaiting)]
    ) { lab in
      try await lab.boot(lab.a)
      try await lab.boot(lab.b)
      try await lab.addReplica(.goOn)
      try await lab.pair.wait(for: "it counts by the configuration", everyMicroseconds: 1_000) {
        lab.pair.nodes[lab.a].replicaCountsOnDisk
      }
      lab.pair.cut()
      let begun = lab.beginWrite(lab.a, 7, 9)
      for _ in 0..<200 where !begun.isDone { await lab.pair.rest(microseconds: 100) }
      lab.crash(lab.a, .kill)
      await lab.rest(milliseconds: 600)
      guard lab.pair.nodes[lab.a].replicaCountsOnDisk, begun.isDone else { return }
      _ = await lab.pair.promote(lab.b, isForced: true)
      let seen = await lab.read(lab.b, 7)
      try lab.expect(seen == 9, "what was acknowledged while it counted is at the replica")
    },
    PairTale(
      "L8: a node's own batches use up no numbers: a promoted replica goes on where clients were",
      [.array(.intentsCountAsClientRecords)]
    ) { lab in
      try await lab.beginInStep(.goOn)
      for round in UInt64(1)...6 {
        try await lab.mustWrite(lab.a, 0..<12, round)
        // Both destage, with intents of their own.
        await lab.rest(milliseconds: 60)
      }
      lab.pair.cut()
      await lab.rest(milliseconds: 600)
      lab.pair.network.heal()
      // Numbers of its own would be ahead of its primary's.
      try await lab.waitInStep()
      let refusal = await lab.pair.demote(lab.a)
      try lab.expect(refusal == nil, "the role is handed over")
      try await lab.wait(for: "taken over") {
        await lab.pair.promote(lab.b, isForced: false) == nil
      }
      try await lab.mustWrite(lab.b, 0..<12, 7)
      try await lab.waitInStep(primary: lab.b)
      try await lab.mustWrite(lab.b, 12..<24, 8)
      for block in UInt64(0)..<24 {
        let seen = await lab.read(lab.a, block)
        try lab.expect(seen == (block < 12 ? 7 : 8), "block \(block) is the same at the other")
      }
    },
  ]
}
