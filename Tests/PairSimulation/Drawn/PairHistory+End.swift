import DiskFormat
import RAID
import Simulator

// All is healed, and the pair has to come in step by what an operator can do.
extension PairHistory {
  func end() async throws {
    pair.network.heal()
    for index in 0..<2 where !pair.nodes[index].isUp { boot(index) }
    note("everything is healed")
    try await bothUp()
    startClients()
    if await pair.role(primary) == .alone {
      try await addReplica()
    }
    if await pair.ask(primary, { await $0.engine.nodeView.replication.isHandedOver }) == true {
      note("the role is taken back: \(await pair.promote(primary, isForced: true) ?? "yes")")
    }
    var isDone = false
    for _ in 0..<1000 where !isDone {
      try await mend()
      isDone = await pair.isInStep(primary)
      if !isDone { await pair.rest(milliseconds: 50) }
    }
    try throwComplaint()
    guard isDone else {
      throw PairComplaint("the pair does not come in step: \(await pair.describe())")
    }
    lines[1 - primary] = line
    try await waitForClients()
    // One that looks connected may have lost its power just now: then a flush fails, once.
    let isFlushed = await pair.waits(seconds: 60) {
      await self.pair.ask(self.primary, { await $0.flush() }) == true
    }
    guard isFlushed else { throw PairComplaint("the last flush failed") }
    try await compare()
  }

  /// What an operator does who watches.
  private func mend() async throws {
    for index in 0..<2 where !pair.nodes[index].isUp { boot(index) }
    try await adopt()
    try await resolveFork()
    // A client was told that a write failed: nothing is accepted before the next start.
    if case .readOnly(let words)? = await pair.access(primary), words.contains("a write failed") {
      note("the primary is served again")
      crash(primary, .kill)
      boot(primary)
    }
  }

  private func compare() async throws {
    var (mine, theirs): ([UInt64]?, [UInt64]?)
    // In modes A and B it follows; and what nobody was told of may be shown late at both.
    _ = await pair.waits(seconds: 5, everyMicroseconds: 50_000) {
      mine = (try? await self.pair.image(self.primary)) ?? nil
      theirs = (try? await self.pair.image(1 - self.primary)) ?? nil
      return mine != nil && theirs == mine
    }
    guard let mine else {
      throw PairComplaint("the primary does not serve at the end: \(await pair.describe())")
    }
    if let words = line.complaint(mine, .acknowledged) {
      throw PairComplaint("at the end, at \(name(primary)): \(words)")
    }
    for block in mine.indices where theirs?[block] != mine[block] {
      throw PairComplaint(
        "block \(block) differs: \(mine[block]) at the primary, "
          + "\(theirs.map { "\($0[block])" } ?? "nothing") at the replica")
    }
  }
}
