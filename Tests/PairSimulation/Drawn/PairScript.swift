import DiskFormat
import RAID
package import Simulator

/// A crash of one node, at one operation of its first life.
package struct PairCrash: Sendable, CustomStringConvertible {
  package var node: Int
  package var operation: Int
  package var kind: CrashKind
  /// Not the crashed primary comes back first, but the other is promoted.
  package var promotesOther: Bool

  package init(node: Int, operation: Int, kind: CrashKind, promotesOther: Bool) {
    self.node = node
    self.operation = operation
    self.kind = kind
    self.promotesOther = promotesOther
  }

  /// As `description` writes it: the node, the operation, `k` or `p`, and `f` for a failover.
  package init?(_ text: String) {
    var rest = text[...]
    guard let node = rest.popFirst(), node == "a" || node == "b" else { return nil }
    let isForced = rest.last == "f"
    if isForced { rest.removeLast() }
    guard let kind = rest.popLast(), kind == "k" || kind == "p", let operation = Int(rest) else {
      return nil
    }
    self.init(
      node: node == "a" ? 0 : 1, operation: operation, kind: kind == "k" ? .kill : .powerLoss,
      promotesOther: isForced)
  }

  package var description: String {
    "\(node == 0 ? "a" : "b")\(operation)\(kind == .kill ? "k" : "p")\(promotesOther ? "f" : "")"
  }
}

/// A short history that is always the same, but for one crash: tried at each operation of each node.
package struct PairScript: Sendable {
  package enum Kind: Int, CaseIterable, Sendable {
    case inStep, catchUp, copy, handOver, promotion
  }

  var kind: Kind
  var mode = ReplicaMode.c
  var lossPolicy: LossPolicy
  var clientCount = 1
  var crash: PairCrash?

  /// The script of a seed: a kind, and a policy.
  package init(seed: UInt64, crash: PairCrash?) {
    let kinds = Kind.allCases
    kind = kinds[Int(seed % UInt64(kinds.count))]
    lossPolicy = (seed / UInt64(kinds.count)) % 2 == 0 ? .goOn : .stop
    self.crash = crash
  }
}

extension PairHistory {
  /// One workload of a seed, with a crash or without.
  package static func scripted(
    seed: UInt64, bug: PairBug? = nil, crash: PairCrash?
  ) throws -> PairHistory {
    try PairHistory(seed: seed, bug: bug, script: PairScript(seed: seed, crash: crash))
  }

  /// How many operations each node's first life has when nothing crashes.
  package var operationCounts: [Int] {
    pair.nodes.map { $0.machine?.faultPlan.operationCount ?? 0 }
  }

  /// All crashes that a workload of so many operations can meet.
  package static func crashes(_ operationCounts: [Int]) -> [PairCrash] {
    var all: [PairCrash] = []
    for node in 0..<2 {
      for operation in 1...max(1, operationCounts[node]) {
        for kind in [CrashKind.kill, .powerLoss] {
          for promotesOther in [false, true] {
            all.append(
              PairCrash(
                node: node, operation: operation, kind: kind, promotesOther: promotesOther))
          }
        }
      }
    }
    return all
  }

  func play(_ script: PairScript) async throws {
    try await scripted(script)
    for node in pair.nodes { node.forgetPlannedCrashes() }
    guard let crash = script.crash, !pair.nodes[crash.node].isUp else { return }
    // It is down since, or on its way up.
    stopClients(of: crash.node)
    let other = 1 - crash.node
    pair.network.heal()
    if crash.promotesOther, crash.node == primary, pair.nodes[other].isUp {
      await pair.rest(milliseconds: 500)
      try await takeOver(from: crash.node, by: other, isAlive: false)
    }
  }

  /// What is always the same; ends early where a node is gone.
  private func scripted(_ script: PairScript) async throws {
    guard await pair.waits(seconds: 2, { self.pair.nodes.allSatisfy(\.isUp) }) else { return }
    if script.kind == .copy {
      startClients()
      await pair.rest(milliseconds: 150)
    }
    try await addReplica()
    if script.kind == .copy { return await pair.rest(milliseconds: 150) }
    guard await pair.waits(seconds: 2, { await self.pair.isInStep(self.primary) }) else { return }
    startClients()
    await pair.rest(milliseconds: 60)
    switch script.kind {
    case .inStep, .copy: break
    case .catchUp:
      pair.cut()
      await pair.rest(milliseconds: 500)
      heal()
      await pair.rest(milliseconds: 400)
    case .handOver:
      guard pair.nodes.allSatisfy(\.isUp) else { return }
      try await handOver()
      await pair.rest(milliseconds: 100)
    case .promotion:
      guard pair.nodes.allSatisfy(\.isUp) else { return }
      try await split()
      await pair.rest(milliseconds: 100)
    }
  }
}
