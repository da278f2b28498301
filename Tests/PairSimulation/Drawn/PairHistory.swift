import DiskFormat
import Geometry
import RAID
import Replication
import Simulator

/// One history of two nodes: clients write to the primary, links, disks and machines fail or hang,
/// replicas are promoted; and a checker that knows every acknowledged write.
// Safe: a simulation runs on one thread.
package final class PairHistory: @unchecked Sendable {
  package struct Outcome: Sendable {
    package var violation: String?
    package var acknowledgedCount = 0
    package var promotionCount = 0
    package var crashCount = 0
    package var forkCount = 0
    /// Promotions by force that might leave writes behind.
    package var unboundCount = 0
  }

  let pair: PairDriver
  var random: RandomSource
  var outcome = Outcome()
  let lossPolicy: LossPolicy
  let mode: ReplicaMode
  private let script: PairScript?
  let stamps = PairStamps()
  private var clients: [PairClients] = []
  /// Which node clients use.
  var primary = 0
  /// Which line's records each node has, as far as is known.
  var lines: [PairLine]
  /// What the newest line began with, and the line that it left.
  var fork: (image: [UInt64], parent: PairLine)?
  /// Nodes that lost what they had not flushed, and were not seen to have everything since.
  var inDoubt: Set<Int> = []
  /// Nodes that may have been promoted, and died before anybody was told.
  var unseen: Set<Int> = []

  /// A history that is drawn from its seed.
  package convenience init(seed: UInt64, bug: PairBug? = nil) throws {
    try self.init(seed: seed, bug: bug, script: nil)
  }

  /// A history that follows a script.
  init(seed: UInt64, bug: PairBug?, script: PairScript?) throws {
    var random = RandomSource(seed: seed ^ 0x7061_6972)
    lossPolicy = script?.lossPolicy ?? (random.next() % 2 == 0 ? .stop : .goOn)
    let drawn: [ReplicaMode] = [.c, .c, .c, .c, .c, .b, .b, .a]
    mode = script?.mode ?? drawn[Int(random.next() % 8)]
    let level: RAIDLevel = script != nil || random.next() % 2 == 0 ? .raid1 : .raid5
    pair = try PairDriver(seed: seed, level: level, bug: bug)
    self.random = random
    self.script = script
    let line = PairLine(blockCount: PairDriver.blockCount)
    lines = [line, line]
  }

  /// Plays it.
  package func play() -> Outcome {
    for index in 0..<2 {
      pair.nodes[index].onCrash = { [weak self] in self?.noteCrash(index, $0) }
    }
    if let crash = script?.crash {
      pair.nodes[crash.node].plannedCrash = (crash.operation, crash.kind)
    }
    outcome.violation = pair.play { try await self.drive() }
    outcome.acknowledgedCount = clients.reduce(0) { $0 + $1.acknowledgedCount }
    return outcome
  }

  func draw(_ bound: UInt64) -> UInt64 { random.next() % bound }
  func note(_ line: String) { pair.note(line) }
  func name(_ index: Int) -> String { pair.nodes[index].name }
  func rest(upTo milliseconds: UInt64) async { await pair.rest(milliseconds: draw(milliseconds)) }

  private func drive() async throws {
    for node in pair.nodes { node.boot() }
    if let script {
      try await play(script)
    } else {
      try await playDrawn()
    }
    try await end()
  }

  private func playDrawn() async throws {
    try await bothUp()
    startClients()
    if draw(2) == 0 { await rest(upTo: 300) }
    try await addReplica()
    if draw(3) > 0 {
      try await pair.wait(for: "in step") { await self.pair.isInStep(self.primary) }
      note("in step")
    }
    for _ in 0..<3 + draw(6) {
      try await step()
      await rest(upTo: 400)
      try await look()
    }
  }

  func bothUp() async throws {
    try await pair.wait(for: "both are up") { self.pair.nodes.allSatisfy(\.isUp) }
  }

  func addReplica() async throws {
    let words = await pair.addReplica(primary, mode: mode, lossPolicy: lossPolicy)
    note("replica added, mode \(mode.name), on loss \(lossPolicy.name)")
    if let words, pair.nodes.allSatisfy(\.isUp) {
      throw PairComplaint("add replica: \(words)")
    }
  }

  // MARK: Clients

  var line: PairLine { lines[primary] }

  /// Clients begin at the primary, unless some are there.
  func startClients() {
    guard !clients.contains(where: { $0.runs && $0.node == primary }) else { return }
    clients.append(
      PairClients(
        pair, node: primary, line: line, stamps: stamps, count: script?.clientCount ?? 3,
        random: &random))
  }

  /// Nobody hears any more what a node says.
  func stopClients(of index: Int) {
    for client in clients where client.node == index { client.stop() }
  }

  /// Waits until nothing of a node's former clients is under way.
  func drainClients(of index: Int) async throws {
    stopClients(of: index)
    try await pair.wait(for: "former clients end", seconds: 60) {
      !self.pair.nodes[index].isUp
        || self.clients.allSatisfy { $0.node != index || $0.pendingCount == 0 }
    }
  }

  func waitForClients() async throws {
    for client in clients { client.stop() }
    try await pair.wait(for: "clients end", seconds: 60) {
      self.clients.allSatisfy { $0.pendingCount == 0 }
    }
    try throwComplaint()
  }

  func throwComplaint() throws {
    if let words = clients.lazy.compactMap(\.complaint).first { throw PairComplaint(words) }
  }

  // MARK: What crashes cost

  /// What a crash may have cost, seen at its instant.
  private func noteCrash(_ index: Int, _ kind: CrashKind) {
    outcome.crashCount += 1
    note("\(name(index)): \(kind)")
    // Told at its last instant is not told: the client's machine has not heard it yet.
    stopClients(of: index)
    let isReplica = index != primary
    // What a replica in mode B has received need not be logged.
    guard kind == .powerLoss || (isReplica && mode != .c) else { return }
    inDoubt.insert(index)
    if isReplica, lines[index] !== line {
      return lines[index].loseUnflushed(at: pair.nowNanoseconds)
    }
    let hasCopy = mode != .a && pair.nodes[primary].replicaCountsOnDisk
    if inDoubt.count == 2 || (!isReplica && !hasCopy) {
      line.loseUnflushed(at: pair.nowNanoseconds)
    }
  }

  /// Sees who has everything again, and what clients have found.
  func look() async throws {
    try throwComplaint()
    let other = 1 - primary
    if await pair.ask(other, { await $0.engine.isConfirmed }) == true { inDoubt.remove(other) }
    if await pair.ask(primary, { await $0.engine.nodeView.isOpen }) == true {
      inDoubt.remove(primary)
    }
    if await pair.isInStep(primary) { lines[other] = line }
  }
}
