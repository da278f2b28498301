package import DiskFormat

/// Whether clients are served, and if not, why.
package enum ClientAccess: Equatable, Sendable {
  case readWrite
  case readOnly(String)
  case none(String)
}

/// What a node knows of the others since it was started; nothing of it is on disk.
struct NodeKnowledge {
  /// A primary starts to serve when a replica, or an operator, has said that it may (rule C4).
  var isHeard = false
  /// Another node was promoted after this one.
  var superseded: String?
  /// Since when a lost replica has kept writes from being accepted; seconds since 1970.
  var stoppedSinceSeconds: UInt64?
  /// A client was told that a write or flush failed.
  ///
  /// What is accepted after that would be mixed with what a kernel's cache no longer has to write
  /// (promise P8): nothing is, until the next start.
  var hasFailedClients = false
  /// A replica's primary has said in this run that it has everything.
  ///
  /// After a crash it may have lost what it acknowledged.
  var standingIsKnown = false
  /// A replica: its primary is connected.
  var primaryIsConnected = false
  /// A replica: the undo region that keeps what the copy overwrites; `none` for none.
  var undoID = Identifier.none
  /// The histories are a fork; what an operator is told.
  var divergence: String?
  /// Behind which record they differ.
  var forkNumber: UInt64?
  /// Timelines of the primary that begin behind what this replica has.
  var timelinesAhead: [Timeline] = []
  /// A task looks after replicas that do not answer.
  var isWatched = false
  /// Told when the role or a replica's standing has changed, and sessions have to look.
  var onChange: () -> Void = {}
  /// Who decides between two nodes; nil without an arbiter.
  var arbiter: (@Sendable (ArbiterRequest) async -> Bool)?
  var arbiterRunID = Identifier.none
  var arbiterNumber: UInt64 = 0
  let arbiterTurn = TurnLock()
  /// Whom it knows to be in sync with this primary; nil when that is not known.
  var arbiterKnows: [Identifier]?
  /// When it is asked again at the earliest.
  var arbiterNextNanoseconds: UInt64 = 0
  var unheardSinceNanoseconds: UInt64?
}

/// What a node tells others, and status, of itself.
package struct NodeView: Equatable, Sendable {
  package var nodeID: Identifier
  package var blockCount: UInt64
  package var replication: ReplicationState
  package var timelines: [Timeline]
  package var position: StreamPosition
  /// It accepts writes.
  package var isOpen: Bool
  /// It never held a record or a block.
  package var isEmpty: Bool
}

/// Why a command about replicas was not carried out.
package enum ReplicaCommandError: Error, Equatable, Sendable {
  /// It cannot be done as things are; what would change that is in the words.
  case notNow(String)
  /// It may lose what the words say: it has to be forced.
  case needsForce(String)
  case unknownReplica(Identifier)
  case tooMany
  case array(ArrayError)

  /// For an operator.
  package var words: String {
    switch self {
    case .notNow(let words), .needsForce(let words): words
    case .unknownReplica(let nodeID): "no replica has the identity \(nodeID)"
    case .tooMany: "an array has \(ReplicationState.peerCountMax) replicas at most"
    case .array(let error): error.words
    }
  }
}
