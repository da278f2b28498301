/// Where a node is in the order of client records: everything up to this number, and nothing else.
///
/// `chain` covers all records up to there, so that two nodes that agree on both agree on all of it
/// (rule C1: the number alone would not tell).
package struct StreamPosition: Equatable, Hashable, Sendable {
  /// The client sequence number of the last record; 0 before the first.
  package var number: UInt64
  package var chain: UInt32

  package init(number: UInt64, chain: UInt32) {
    self.number = number
    self.chain = chain
  }
}

/// One stretch of history: it begins behind a position, with a promotion or an unclean recovery.
package struct Timeline: Equatable, Sendable {
  package var timelineID: Identifier
  /// The last record before it.
  package var start: StreamPosition

  package init(timelineID: Identifier, start: StreamPosition) {
    self.timelineID = timelineID
    self.start = start
  }
}

/// What a node is to those that hold the same device.
package enum NodeRole: UInt8, CaseIterable, Equatable, Sendable {
  /// It has no replica, and is none.
  case alone = 0
  case primary = 1
  case replica = 2

  package var name: String {
    switch self {
    case .alone: "alone"
    case .primary: "primary"
    case .replica: "replica"
    }
  }
}

/// When a write counts as mirrored, by DRBD's names.
package enum ReplicaMode: UInt8, CaseIterable, Equatable, Sendable {
  /// The primary's log has it.
  case a = 0
  /// The replica has received it, whole and verified.
  case b = 1
  /// The replica's log has it as well.
  case c = 2

  package var name: String {
    switch self {
    case .a: "A"
    case .b: "B"
    case .c: "C"
    }
  }

  package init?(name: String) {
    guard let mode = Self.allCases.first(where: { $0.name == name.uppercased() }) else {
      return nil
    }
    self = mode
  }
}

/// What a primary does when a replica that counts is lost.
package enum LossPolicy: UInt8, CaseIterable, Equatable, Sendable {
  /// It goes on alone, when that is recorded.
  case goOn = 0
  /// It refuses writes until the replica is back.
  case stop = 1

  package var name: String {
    switch self {
    case .goOn: "continue"
    case .stop: "stop"
    }
  }

  package init?(name: String) {
    guard let policy = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = policy
  }
}

/// Another node that holds the same device, as this one knows it.
package struct Peer: Equatable, Sendable {
  package static let addressBytesMax = 148

  /// The identity of its array.
  package var nodeID: Identifier
  package var mode: ReplicaMode
  /// Acknowledgements of the primary wait for it.
  ///
  /// At the replica: the primary said so last.
  package var counts: Bool
  /// What it had durably when it was set aside, or when it was asked last.
  package var position: StreamPosition
  /// When `counts` changed, in seconds since 1970.
  package var sinceSeconds: UInt64
  /// Where it listens; empty when that is not known.
  package var address: String

  package init(
    nodeID: Identifier, mode: ReplicaMode, counts: Bool, position: StreamPosition,
    sinceSeconds: UInt64, address: String
  ) {
    self.nodeID = nodeID
    self.mode = mode
    self.counts = counts
    self.position = position
    self.sinceSeconds = sinceSeconds
    self.address = address
  }
}

/// What an array's configuration says of replication.
package struct ReplicationState: Equatable, Sendable {
  package static let peerCountMax = 4
  package static let alone = ReplicationState()

  package var role = NodeRole.alone
  package var lossPolicy = LossPolicy.goOn
  /// False from before the first block of a copy is applied until behind its last (rule C3): it is
  /// no prefix of anything, is not served and not promoted.
  package var isConsistent = true
  /// The role was given up in good order: everything is on both nodes.
  package var isHandedOver = false
  /// It is inconsistent, and all that the copy has overwritten is in this undo region; `none` when it is in none.
  package var undoID = Identifier.none
  /// A peer that does not answer for so long is set aside.
  package var peerTimeoutMilliseconds: UInt32 = 2000
  package var peers: [Peer] = []

  package init() {}
}
