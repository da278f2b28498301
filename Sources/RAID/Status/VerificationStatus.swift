package import DiskFormat

/// How far a comparison is, and what it has found.
package struct VerificationStatus: Equatable, Sendable {
  /// Whether it goes on.
  package enum State: String, Sendable {
    case running
    /// Everything was compared.
    case complete
    /// It ended before: the words say why.
    case interrupted
  }

  /// What was found of a block, and became of it.
  package enum Outcome: String, Sendable {
    /// The primary could not read it, and has the replica's content now.
    case mendedHere = "mended here"
    /// The replica could not read it, and has the primary's content now.
    case mendedThere = "mended at the replica"
    /// At least one of both cannot read it, and the other could not help.
    case unreadable = "unreadable"
    /// Both read it, and it is not the same: nobody was overwritten.
    case fork = "different"
  }

  /// A run of blocks that was not the same, or not readable.
  package struct Finding: Equatable, Sendable {
    package var outcome: Outcome
    package var run: BlockRun

    package init(outcome: Outcome, run: BlockRun) {
      self.outcome = outcome
      self.run = run
    }
  }

  package static let findingCountMax = 256

  package var nodeID: Identifier
  package var state = State.running
  package var words = ""
  package var blockCount: UInt64
  package var doneBlockCount: UInt64 = 0
  package var writtenBlockCount: UInt64 = 0
  package var bytesPerSecond: UInt64 = 0
  package var secondsLeft: ClosedRange<UInt64>?
  package var mendedHereCount: UInt64 = 0
  package var mendedThereCount: UInt64 = 0
  package var unreadableCount: UInt64 = 0
  package var forkCount: UInt64 = 0
  /// The first of them.
  package var findings: [Finding] = []
  package var startedUnixSeconds: UInt64
  package var endedUnixSeconds: UInt64?

  package init(nodeID: Identifier, blockCount: UInt64, startedUnixSeconds: UInt64) {
    self.nodeID = nodeID
    self.blockCount = blockCount
    self.startedUnixSeconds = startedUnixSeconds
  }
}
