import DiskFormat
import RAID
import Replication
import Simulator

// Timelines, forks, and who is fenced (C1).
extension PairTale {
  static let timelines: [PairTale] = [
    PairTale(
      "C1: equal numbers with another content are a fork, and no replica in step",
      [.replication(.comparesNumbersOnly)]
    ) { lab in
      try await lab.beginInStep(.goOn)
      try await lab.mustWrite(lab.a, 0..<4, 1)
      let isFlushed = await lab.flush(lab.a)
      try lab.expect(isFlushed, "a flush is acknowledged")
      // The primary sends a record, and loses it with its power.
      try await lab.mustWrite(lab.a, 4..<5, 2)
      lab.loseEverything(lab.a)
      lab.pair.nodes[lab.a].boot()
      lab.pair.cut()
      try await lab.boot(lab.a)
      let refusal = await lab.pair.promote(lab.a, isForced: true)
      try lab.expect(refusal == nil, "an operator lets it go on without its replica")
      let lost = await lab.read(lab.a, 4)
      // By chance it was durable.
      guard lost == 0 else { return }
      try await lab.mustWrite(lab.a, 4..<5, 3)
      lab.pair.network.heal()
      await lab.rest(milliseconds: 1500)
      let isInStep = await lab.pair.isInStep(lab.a)
      try lab.expect(!isInStep, "they are not in step: each has a record that the other lacks")
      let data = await lab.pair.diverged(lab.b)
      try lab.expect(
        data?.runs.map(\.firstBlock) == [4],
        "what only the replica has is listed: \(String(describing: data))")
      let resync = await lab.pair.resync(lab.b, discarding: data?.discardWord)
      try lab.expect(resync == nil, "it is given up there by its word")
      // The timeline that begins now begins behind the number that the other has, too.
      lab.crash(lab.a, .kill)
      try await lab.boot(lab.a)
      try await lab.waitInStep()
      let seen = await lab.read(lab.b, 4)
      try lab.expect(seen == 3, "the replica follows the primary's history")
    },
    PairTale(
      "C1: a timeline begins when a primary that crashed has not heard all: another has what it lost",
      [.replication(.recoversWithoutTimeline)], nodeCount: 3
    ) { lab in
      // What it brings home would be durable.
      lab.pair.nodes[lab.a].options.destageDelayNanoseconds = 600_000_000_000
      for node in [lab.a, lab.b, lab.c] { try await lab.boot(node) }
      try await lab.addReplica(.goOn)
      let words = await lab.pair.addReplica(lab.a, other: lab.c, mode: .c, lossPolicy: .goOn)
      try lab.expect(words == nil, "c is a replica, too")
      try await lab.wait(for: "both in step") {
        await lab.pair.ask(lab.a) { host in
          await host.node.connections.allSatisfy { $0.phase == .inStep && $0.peer.counts }
        } == true
      }
      try await lab.mustWrite(lab.a, 0..<4, 1)
      let isFlushed = await lab.flush(lab.a)
      try lab.expect(isFlushed, "a flush is acknowledged")
      // One record comes to c alone, and nobody is told of it.
      lab.pair.cut(lab.a, lab.b)
      _ = lab.beginWrite(lab.a, 4, 2)
      await lab.rest(milliseconds: 50)
      lab.loseEverything(lab.a)
      lab.pair.network.heal()
      lab.pair.nodes[lab.a].boot()
      lab.pair.cut(lab.a, lab.c)
      try await lab.boot(lab.a)
      // It hears b, has what b has, and serves: other records have these numbers by now, and its log
      // does not go back to them.
      try await lab.wait(for: "a serves") { await lab.write(lab.a, 5, 3) }
      for round in UInt64(4)...12 { try await lab.mustWrite(lab.a, 5..<45, round) }
      await lab.rest(milliseconds: 1000)
      lab.pair.network.heal()
      try await lab.wait(for: "c has met another history") {
        await lab.pair.diverged(lab.c) != nil
      }
      let data = await lab.pair.diverged(lab.c)
      try lab.expect(data?.runs.map(\.firstBlock) == [4], "what only c has is listed, and kept")
    },
    PairTale(
      "C1: a superseded primary is fenced by the stream, and what only it has is listed exactly",
      [.replication(.promotesWithoutTimeline)]
    ) { lab in
      try await lab.beginInStep(.goOn)
      try await lab.mustWrite(lab.a, 1..<2, 1)
      lab.pair.cut()
      try await lab.wait(for: "a goes on alone") { await lab.write(lab.a, 20, 2) }
      try await lab.mustWrite(lab.a, 21..<22, 3)
      await lab.rest(milliseconds: 600)
      let refusal = await lab.pair.promote(lab.b, isForced: true)
      try lab.expect(refusal == nil, "b is promoted by force")
      try await lab.mustWrite(lab.b, 30..<31, 4)
      lab.pair.network.heal()
      try await lab.wait(for: "a learns of it") { await !lab.write(lab.a, 22, 5) }
      let data = await lab.pair.diverged(lab.a)
      try lab.expect(data?.isComplete == true, "the list is complete")
      try lab.expect(
        data?.runs.map(\.firstBlock) == [20] && data?.byteCount ?? 0 >= 8192, "20 and 21 are listed"
      )
      // Neither has taken anything of the other.
      let (foreign, own) = (await lab.read(lab.b, 20), await lab.read(lab.b, 30))
      try lab.expect(foreign != 2 && own == 4, "b has its own writes only")
      let wrong = await lab.pair.resync(lab.a, discarding: "1")
      try lab.expect(wrong != nil, "nothing is given up by another word")
      let resync = await lab.pair.resync(lab.a, discarding: data?.discardWord)
      try lab.expect(resync == nil, "it is given up by its word")
      try await lab.waitInStep(primary: lab.b)
      for block in UInt64(0)..<40 {
        let (mine, theirs) = (await lab.read(lab.a, block), await lab.read(lab.b, block))
        try lab.expect(mine == theirs && mine != nil, "block \(block) is the same")
      }
    },
    PairTale(
      "C1: a promoted replica takes nothing more from the primary that it was promoted over",
      [.replication(.takesSuperseded)]
    ) { lab in
      try await lab.beginInStep(.goOn)
      try await lab.mustWrite(lab.a, 0..<4, 1)
      // The primary lives, and is connected.
      let refusal = await lab.pair.promote(lab.b, isForced: true)
      try lab.expect(refusal == nil, "b is promoted by force")
      try await lab.mustWrite(lab.b, 2..<3, 5)
      let begun = lab.beginWrite(lab.a, 2, 9)
      await lab.rest(milliseconds: 200)
      let seen = await lab.read(lab.b, 2)
      try lab.expect(seen == 5, "what b acknowledged is there")
      try await lab.wait(for: "a learns of it") { await !lab.write(lab.a, 3, 10) }
      let isThere = await lab.read(lab.b, 3)
      try lab.expect(isThere == 1, "nothing of a comes to b")
      _ = begun
    },
    PairTale(
      "C1: a primary that lost the end of its log fetches it from its replica, which kept it, before it serves",
      []
    ) { lab in
      // Neither has what comes next durably by itself.
      for node in lab.pair.nodes { node.options.destageDelayNanoseconds = 600_000_000_000 }
      lab.pair.nodes[lab.b].options.destageDelayNanoseconds = 1_000_000
      try await lab.boot(lab.a)
      try await lab.boot(lab.b)
      try await lab.mustWrite(lab.a, 20..<40, 1)
      try await lab.addReplica(.goOn)
      try await lab.waitInStep()
      // At once: the primary has said nothing yet of what it has durably.
      try await lab.mustWrite(lab.a, 0..<8, 1)
      await lab.rest(milliseconds: 60)
      lab.loseEverything(lab.a)
      // The replica brings it home, and is started again.
      await lab.rest(milliseconds: 100)
      lab.crash(lab.b, .kill)
      try await lab.boot(lab.b)
      await lab.rest(milliseconds: 200)
      try await lab.boot(lab.a)
      try await lab.waitInStep()
      try await lab.mustWrite(lab.a, 8..<20, 1)
      for block in UInt64(0)..<20 {
        let seen = await lab.read(lab.a, block)
        try lab.expect(seen == 1, "block \(block) is there: the replica had it")
      }
    },
  ]
}
