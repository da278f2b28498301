package import DiskFormat
import Geometry
import IO
package import RAID
import Replication
package import Simulator

/// Two nodes, a and b, and the network between them, for histories that are told step by step.
// Safe: a simulation runs on one thread.
package final class PairStage: @unchecked Sendable {
  package let simulation: Simulation
  package let network: SimulatedNetwork
  package let a: PairNode
  package let b: PairNode
  private let driver: SimulatedMachine

  package init(seed: UInt64, bug: ReplicationBug? = nil) throws {
    simulation = Simulation(seed: seed)
    network = SimulatedNetwork(simulation)
    network.conditions.connectNanoseconds = 200_000_000
    // Slow enough for a copy to be met.
    network.conditions.shortestNanoseconds = 2_000_000
    network.conditions.longestNanoseconds = 6_000_000
    driver = SimulatedMachine(simulation, name: "driver")
    a = PairNode("a", simulation, network, level: .raid1)
    b = PairNode("b", simulation, network, level: .raid1)
    for node in [a, b] {
      node.options.replicationBug = bug
      try node.create()
    }
  }

  /// Plays a history.
  package func play(_ history: @escaping @Sendable (PairStage) async throws -> Void) throws {
    try simulation.run(
      on: driver, within: Simulation.Limits(virtualNanoseconds: 600_000_000_000)
    ) { try await history(self) }
    simulation.end()
  }

  package struct Late: Error { package let what: String }

  package func rest(milliseconds: UInt64) async {
    await driver.sleep(nanoseconds: milliseconds * 1_000_000)
  }

  /// Waits until something is so.
  package func wait(
    for what: String, seconds: UInt64 = 20, until isDone: () async -> Bool
  ) async throws {
    for _ in 0..<seconds * 50 {
      if await isDone() { return }
      await rest(milliseconds: 20)
    }
    throw Late(what: what)
  }

  /// Starts a node, and returns when it is up.
  package func boot(_ node: PairNode) async throws {
    node.boot()
    try await wait(for: "\(node.name) is up") { node.isUp }
  }

  /// Both up, b a replica of a and in step.
  package func beginInStep(_ policy: LossPolicy) async throws {
    try await boot(a)
    try await boot(b)
    try await addReplica(policy)
    try await wait(for: "in step") { await self.isInStep(self.a) }
  }

  package func addReplica(_ policy: LossPolicy) async throws {
    let words = try await ask(a) { host -> String? in
      do throws(ReplicaCommandError) {
        _ = try await host.node.addReplica(
          at: "tcp:b:1", mode: .c, lossPolicy: policy, timeoutMilliseconds: 300)
        return nil
      } catch {
        return error.words
      }
    }
    if let words { throw Late(what: words) }
  }

  package func isInStep(_ node: PairNode) async -> Bool {
    let found = try? await ask(node) { host in
      await host.node.connections.first.map { $0.phase == .inStep && $0.peer.counts } ?? false
    }
    return found == true
  }

  package func cut() {
    if let first = a.machine, let second = b.machine { network.partition(first, second) }
  }

  /// Whether a write was acknowledged.
  package func write(_ node: PairNode, _ block: UInt64, _ stamp: UInt64) async throws -> Bool {
    try await ask(node) { await $0.write(block, 1, stamp: stamp, durably: false) }
  }

  /// A write that nobody waits for.
  package func beginWrite(_ node: PairNode, _ block: UInt64, _ stamp: UInt64) {
    guard let host = node.host, let machine = node.machine else { return }
    machine.start { _ = await host.write(block, 1, stamp: stamp, durably: false) }
  }

  package func read(_ node: PairNode, _ block: UInt64) async throws -> UInt64? {
    try await ask(node) { await $0.read(block) }
  }

  /// Nil when it was promoted; else why not.
  package func promote(_ node: PairNode, isForced: Bool) async throws -> String? {
    try await ask(node) { host in
      do throws(ReplicaCommandError) {
        _ = try await host.node.promote(isForced: isForced)
        return nil
      } catch {
        return error.words
      }
    }
  }

  /// Where it is when its copy was taken back; else why that was not done.
  package func stepBack(_ node: PairNode) async throws -> Result<StreamPosition, Refused> {
    try await ask(node) { host in
      do throws(ReplicaCommandError) {
        return .success(try await host.node.stepBack())
      } catch {
        return .failure(Refused(words: error.words))
      }
    }
  }

  package struct Refused: Error, Equatable { package let words: String }

  /// Nil when it is a seed; else why not.
  package func becomeSeed(_ node: PairNode) async throws -> String? {
    try await ask(node) { host in
      do throws(ReplicaCommandError) {
        try await host.node.becomeSeed()
        return nil
      } catch {
        return error.words
      }
    }
  }

  /// A step back that nobody waits for.
  package func beginStepBack(_ node: PairNode) {
    guard let host = node.host, let machine = node.machine else { return }
    machine.start {
      do throws(ReplicaCommandError) { _ = try await host.node.stepBack() } catch {}
    }
  }

  package func followAgain(_ node: PairNode) async throws {
    _ = try await ask(node) { host in
      do throws(ReplicaCommandError) { try await host.node.followAgain() } catch {}
    }
  }

  package func giveUpUndo(_ node: PairNode) async throws {
    _ = try await ask(node) { host in
      do throws(ReplicaCommandError) { try await host.node.giveUpUndo() } catch {}
    }
  }

  package func access(_ node: PairNode) async throws -> ClientAccess {
    try await ask(node) { await $0.engine.clientAccess }
  }

  package func diverged(_ node: PairNode) async throws -> DivergedData? {
    try await ask(node) { host in
      do throws(ArrayError) { return try await host.engine.divergedData() } catch { return nil }
    }
  }

  func ask<Answer: Sendable>(
    _ node: PairNode, _ body: @escaping @Sendable (PairHost) async -> Answer
  ) async throws -> Answer {
    guard node.isUp, let host = node.host, let machine = node.machine else {
      throw Late(what: "\(node.name) is down")
    }
    let box = Box<Answer>()
    machine.start { box.answer = await body(host) }
    try await wait(for: "an answer of \(node.name)") { box.answer != nil }
    guard let answer = box.answer else { throw Late(what: "no answer") }
    return answer
  }

  private final class Box<Answer: Sendable>: @unchecked Sendable { var answer: Answer? }
}
