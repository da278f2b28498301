package import RAID

/// A mistake that is planted in both nodes: of replication, or of the array where only two nodes
/// show it.
package enum PairBug: Equatable, Sendable {
  case replication(ReplicationBug)
  case array(PlantedBug)

  /// All of them: those of the array are a value that is shown before its write is acknowledged
  /// (rule R1), and numbers of clients that intents use up (rule L8).
  package static var allCases: [PairBug] {
    ReplicationBug.allCases.map { .replication($0) }
      + [.array(.visibleBeforeAcknowledged), .array(.intentsCountAsClientRecords)]
  }

  package init?(name: String) {
    guard let found = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = found
  }

  package var name: String {
    switch self {
    case .replication(let bug): bug.rawValue
    case .array(let bug): bug.rawValue
    }
  }

  /// Plants it in both nodes; where it is about what a replica does by itself, in the second only.
  func plant(in nodes: [PairNode]) {
    for node in self == .array(.intentsCountAsClientRecords) ? nodes.suffix(1) : nodes[...] {
      switch self {
      case .replication(let bug): node.options.replicationBug = bug
      case .array(let bug): node.options.plantedBug = bug
      }
    }
  }
}
