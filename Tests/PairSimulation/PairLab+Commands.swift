package import DiskFormat
package import RAID
import Replication

// What operators order, beside promotion.
extension PairLab {
  package func nodeID(_ node: PairNode) async throws -> Identifier {
    try await ask(node) { await $0.engine.nodeView.nodeID }
  }

  /// Nil when it follows the other history now; else why not.
  package func resync(_ node: PairNode, _ consent: DivergenceConsent) async throws -> String? {
    try await ask(node) { host in
      do throws(ReplicaCommandError) {
        _ = try await host.node.resync(consent)
        return nil
      } catch {
        return error.words
      }
    }
  }
}
