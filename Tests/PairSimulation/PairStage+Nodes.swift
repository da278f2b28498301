package import DiskFormat
import IO
package import RAID
package import Replication
import Simulator

// What a node says of itself, and what is done to it.
extension PairStage {
  /// What a node is to others now.
  package func view(_ node: PairNode) async throws -> NodeView {
    try await ask(node) { await $0.engine.nodeView }
  }

  /// Whether a flush was acknowledged.
  package func flush(_ node: PairNode) async throws -> Bool {
    try await ask(node) { await $0.flush() }
  }

  /// A node's replicas, and the connections with them.
  package func connections(_ node: PairNode) async throws -> [ConnectionStatus] {
    try await ask(node) { await $0.node.connections }
  }

  /// Nil when the node has no such replica any more; else why not.
  package func removeReplica(_ node: PairNode, _ nodeID: Identifier) async throws -> String? {
    try await ask(node) { host in
      do throws(ReplicaCommandError) {
        try await host.node.removeReplica(nodeID)
        return nil
      } catch {
        return error.words
      }
    }
  }

  /// Nil when the role was handed over; else why not.
  package func demote(_ node: PairNode) async throws -> String? {
    try await ask(node) { host in
      do throws(ReplicaCommandError) {
        _ = try await host.node.demote()
        return nil
      } catch {
        return error.words
      }
    }
  }

  /// A long write that nobody waits for; `onEnd` is told whether it was acknowledged.
  package func beginWrite(
    _ node: PairNode, _ block: UInt64, count: Int, _ stamp: UInt64,
    onEnd: @escaping @Sendable (Bool) -> Void
  ) {
    guard let host = node.host, let machine = node.machine else { return }
    machine.start { onEnd(await host.write(block, count, stamp: stamp, durably: false)) }
  }

  /// Whether the members of a node stop answering, for so long as they are told to.
  package func setStuck(_ node: PairNode, _ isStuck: Bool) {
    for disk in node.disks {
      if isStuck { disk.isStuck = true } else { disk.release() }
    }
  }

  /// A flush that nobody waits for; `onEnd` is told whether it was acknowledged.
  package func beginFlush(_ node: PairNode, onEnd: @escaping @Sendable (Bool) -> Void) {
    guard let host = node.host, let machine = node.machine else { return }
    machine.start { onEnd(await host.flush()) }
  }

  /// Makes the array of a node that is down anew.
  package func recreate(_ node: PairNode) async throws {
    node.beginCreation()
    try await wait(for: "\(node.name) is created") { node.isCreated }
  }
}
