import DiskFormat
import RAID
import Simulator

// Who serves, and who may be promoted (C4).
extension PairTale {
  static let roles: [PairTale] = [
    PairTale(
      "C4: a primary that has not heard its replica serves nobody",
      [.replication(.startsUnheard)]
    ) { lab in
      try await lab.beginInStep(.goOn)
      try await lab.mustWrite(lab.a, 0..<1, 1)
      lab.crash(lab.a, .kill)
      lab.crash(lab.b, .kill)
      try await lab.boot(lab.a)
      await lab.rest(milliseconds: 500)
      let isDone = await lab.write(lab.a, 0, 2)
      let seen = await lab.read(lab.a, 0)
      try lab.expect(!isDone && seen == nil, "it neither writes nor reads")
      try await lab.boot(lab.b)
      try await lab.waitInStep()
      try await lab.mustWrite(lab.a, 0..<1, 3)
    },
    PairTale(
      "C4: a replica whose link is down is promoted by force only",
      [.replication(.promotesOutdated)]
    ) { lab in
      try await lab.beginInStep(.goOn)
      lab.pair.cut()
      // Set aside, and gone on without.
      try await lab.wait(for: "set aside") { await lab.write(lab.a, 5, 7) }
      await lab.rest(milliseconds: 600)
      lab.crash(lab.a, .powerLoss)
      let refusal = await lab.pair.promote(lab.b, isForced: false)
      try lab.expect(refusal != nil, "it may be outdated, and is not promoted")
    },
    PairTale(
      "C4: nothing is acknowledged without a replica before its absence is recorded",
      [.replication(.setsAsideUnrecorded)]
    ) { lab in
      try await lab.beginInStep(.goOn)
      lab.pair.cut()
      let begun = lab.beginWrite(lab.a, 5, 7)
      try await lab.pair.wait(for: "acknowledged", everyMicroseconds: 1_000) { begun.isDone }
      lab.loseEverything(lab.a)
      try lab.expect(
        !lab.pair.nodes[lab.a].replicaCountsOnDisk,
        "what the primary leaves behind says that its replica lacks something")
    },
    PairTale(
      "P8: with 'stop', who was told that a write failed is not served again before a start", []
    ) { lab in
      try await lab.beginInStep(.stop)
      lab.pair.cut()
      let isDone = await lab.write(lab.a, 5, 7)
      try lab.expect(!isDone, "a write fails when the replica is lost")
      lab.pair.network.heal()
      await lab.rest(milliseconds: 1500)
      let isDoneThen = await lab.write(lab.a, 6, 8)
      try lab.expect(!isDoneThen, "no later write is accepted")
      lab.crash(lab.a, .kill)
      try await lab.boot(lab.a)
      try await lab.waitInStep()
      try await lab.mustWrite(lab.a, 6..<7, 9)
    },
  ]
}
