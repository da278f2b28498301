import DiskFormat
import Geometry
import RAID
import Replication
import Simulator

/// Two nodes, for histories that are told step by step; what a step expects and does not find is a
/// complaint.
// Safe: a simulation runs on one thread.
final class PairLab: @unchecked Sendable {
  let pair: PairDriver
  let a = 0
  let b = 1
  /// In histories of three nodes.
  let c = 2

  init(seed: UInt64, bug: PairBug?, nodeCount: Int) throws {
    pair = try PairDriver(seed: seed, level: .raid1, bug: bug, nodeCount: nodeCount)
    // Slow enough for a copy to be met.
    pair.network.conditions.shortestNanoseconds = 2_000_000
    pair.network.conditions.longestNanoseconds = 6_000_000
  }

  func expect(_ isSo: Bool, _ what: String) throws {
    if !isSo { throw PairComplaint("not so: \(what)") }
  }

  func rest(milliseconds: UInt64) async { await pair.rest(milliseconds: milliseconds) }

  func wait(for what: String, until isDone: () async -> Bool) async throws {
    try await pair.wait(for: what, everyMicroseconds: 5_000, until: isDone)
  }

  // MARK: Nodes

  /// Starts a node, and returns when it is up.
  func boot(_ index: Int) async throws {
    pair.nodes[index].boot()
    try await wait(for: "\(pair.nodes[index].name) is up") { pair.nodes[index].isUp }
  }

  /// Both up, b a replica of a and in step.
  func beginInStep(_ policy: LossPolicy, mode: ReplicaMode = .c) async throws {
    try await boot(a)
    try await boot(b)
    try await addReplica(policy, mode: mode)
    try await waitInStep()
  }

  func addReplica(_ policy: LossPolicy, mode: ReplicaMode = .c) async throws {
    if let words = await pair.addReplica(a, mode: mode, lossPolicy: policy) {
      throw PairComplaint("add replica: \(words)")
    }
  }

  func waitInStep(primary: Int = 0) async throws {
    try await wait(for: "in step") { await pair.isInStep(primary) }
  }

  func crash(_ index: Int, _ kind: CrashKind) { pair.nodes[index].crash(kind) }

  /// Whatever was not flushed goes with the power.
  func loseEverything(_ index: Int) {
    for medium in pair.nodes[index].media { medium.unflushedFate = .loseAll }
    crash(index, .powerLoss)
  }

  // MARK: Clients

  /// Whether a write was acknowledged.
  func write(_ index: Int, _ block: UInt64, _ stamp: UInt64) async -> Bool {
    await pair.ask(index) { await $0.write(block, 1, stamp: stamp, durably: false) } == true
  }

  /// Writes that have to be acknowledged.
  func mustWrite(_ index: Int, _ blocks: Range<UInt64>, _ stamp: UInt64) async throws {
    for block in blocks {
      let isDone = await write(index, block, stamp)
      try expect(isDone, "a write of block \(block) is acknowledged")
    }
  }

  /// A write that nobody waits for; tells whether it was acknowledged by then.
  func beginWrite(_ index: Int, _ block: UInt64, _ stamp: UInt64) -> BegunWrite {
    let begun = BegunWrite()
    guard let host = pair.nodes[index].host, let machine = pair.nodes[index].machine else {
      return begun
    }
    machine.start {
      if await host.write(block, 1, stamp: stamp, durably: false) { begun.isDone = true }
    }
    return begun
  }

  // Safe: a simulation runs on one thread.
  final class BegunWrite: @unchecked Sendable {
    fileprivate(set) var isDone = false
  }

  func read(_ index: Int, _ block: UInt64) async -> UInt64? {
    await pair.ask(index) { await $0.read(block) } ?? nil
  }

  func flush(_ index: Int) async -> Bool { await pair.ask(index) { await $0.flush() } == true }
}

/// A history that a rule tells: it ends well, and does not with a mistake that the rule forbids.
package struct PairTale: Sendable, CustomStringConvertible {
  package let description: String
  /// Each of them makes it end badly.
  package let bugs: [PairBug]
  private let nodeCount: Int
  private let history: @Sendable (PairLab) async throws -> Void

  init(
    _ description: String, _ bugs: [PairBug], nodeCount: Int = 2,
    _ history: @escaping @Sendable (PairLab) async throws -> Void
  ) {
    self.description = description
    self.bugs = bugs
    self.nodeCount = nodeCount
    self.history = history
  }

  /// Plays it; nil when all was as it is told.
  package func play(seed: UInt64, bug: PairBug? = nil) throws -> String? {
    let lab = try PairLab(seed: seed, bug: bug, nodeCount: nodeCount)
    return lab.pair.play { try await self.history(lab) }
  }

  package static let all: [PairTale] = gate + copies + roles + timelines
}
