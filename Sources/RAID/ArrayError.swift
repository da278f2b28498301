/// Why something that the array was asked for was not done.
package enum ArrayError: Error, Equatable, Sendable {
  /// Blocks that are beyond redundancy, as far as is known the first of them.
  case unreadable(block: UInt64)
  /// The array has stopped accepting writes; the text says why.
  case stopped(String)
  /// Clients are not served so now: the text says why, and what would change it.
  case refused(String)
  /// A replica is needed and lost: the write is in the log here, and nobody is told of it.
  case replicaLost
  /// A limit of the machine: memory.
  case outOfMemory

  /// For an operator.
  package var words: String {
    switch self {
    case .unreadable(let block): "block \(block) is beyond redundancy"
    case .stopped(let reason), .refused(let reason): reason
    case .replicaLost:
      "the replica that has to confirm it is lost, and '--on-peer-loss stop' is in force"
    case .outOfMemory: "out of memory"
    }
  }
}
