package import DiskFormat
import Geometry

/// How an array stands to other nodes with the same device, at one instant.
package struct ReplicationStatus: Equatable, Sendable {
  package var role: NodeRole
  package var lossPolicy: LossPolicy
  package var isConsistent: Bool
  package var isHandedOver: Bool
  /// Why clients are not served, or only read; empty when they are served.
  package var refusal: String
  /// What of another history was met; empty for nothing.
  package var divergence: String
  /// Since when a lost replica has kept writes from being accepted; seconds since 1970.
  package var stoppedSinceSeconds: UInt64?
  /// The last record that clients were told of, or that a replica has.
  package var number: UInt64
  package var durableNumber: UInt64
  package var timelineCount: Int
  /// Of the device.
  package var byteCount: UInt64
  package var peers: [PeerStatus]
}

/// One of the other nodes.
package struct PeerStatus: Equatable, Sendable {
  package var nodeID: Identifier
  package var address: String
  package var mode: ReplicaMode
  /// Acknowledgements wait for it; at a replica: its primary said so last.
  package var counts: Bool
  package var sinceSeconds: UInt64
  /// What the connection does, in a word; empty when there is none.
  package var connection = ""
  /// Why the last connection ended; empty when it has not.
  package var lastEnd = ""
  /// What it has: received, in its log, durably.
  package var receivedNumber: UInt64
  package var loggedNumber: UInt64
  package var durableNumber: UInt64
  /// Of a copy that is under way; both 0 else.
  package var copiedUnitCount: UInt64 = 0
  package var copyUnitCount: UInt64 = 0
  package var copyBytesPerSecond: UInt64 = 0
  package var copySecondsLeft: ClosedRange<UInt64>?
  /// The last comparison of everything with it.
  package var verification: VerificationStatus?
}

extension ArrayEngine {
  /// Nil for an array that is alone.
  var replicationStatus: ReplicationStatus? {
    let state = membership.replication
    guard state.role != .alone, let log = parts.openLog else { return nil }
    var refusal = ""
    switch clientAccess {
    case .readWrite: break
    case .readOnly(let reason), .none(let reason): refusal = reason
    }
    return ReplicationStatus(
      role: state.role, lossPolicy: state.lossPolicy, isConsistent: state.isConsistent,
      isHandedOver: state.isHandedOver, refusal: refusal, divergence: nodes.divergence ?? "",
      stoppedSinceSeconds: nodes.stoppedSinceSeconds, number: log.published.number,
      durableNumber: log.durablePosition.number, timelineCount: membership.timelines.count,
      byteCount: geometry.byteCount,
      peers: state.peers.map { peer in
        let progress = state.role == .primary ? log.replica(peer.nodeID) : nil
        return PeerStatus(
          nodeID: peer.nodeID, address: peer.address, mode: peer.mode, counts: peer.counts,
          sinceSeconds: peer.sinceSeconds, receivedNumber: progress?.received ?? 0,
          loggedNumber: progress?.logged ?? 0, durableNumber: progress?.durable ?? 0)
      })
  }
}
