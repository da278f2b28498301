package import DiskFormat
package import Geometry

/// What the superblocks say of the log: where recovery begins to read.
package struct LogStart: Equatable, Sendable {
  /// What one current member's superblock says.
  package struct Member: Equatable, Sendable {
    package var slot: Int
    /// This superblock's own checkpoint, which may lie before the array's.
    package var checkpointSequence: UInt64
    /// Where its first batch behind that checkpoint begins, or will.
    package var tailOffset: UInt64

    package init(slot: Int, checkpointSequence: UInt64, tailOffset: UInt64) {
      self.slot = slot
      self.checkpointSequence = checkpointSequence
      self.tailOffset = tailOffset
    }
  }

  /// The highest epoch of the current members, and its first batch.
  package var epoch: UInt64
  package var epochFirstSequence: UInt64
  /// The highest checkpoint of the current members.
  package var checkpointSequence: UInt64
  package var checkpointChain: UInt32
  package var checkpointPosition: StreamPosition
  /// The highest horizon of the current members.
  package var horizon: UInt64
  /// The current members; nobody else's log is read.
  package var members: [Member]

  package init(
    epoch: UInt64, epochFirstSequence: UInt64, checkpointSequence: UInt64,
    checkpointChain: UInt32, checkpointPosition: StreamPosition, horizon: UInt64,
    members: [Member]
  ) {
    self.epoch = epoch
    self.epochFirstSequence = epochFirstSequence
    self.checkpointSequence = checkpointSequence
    self.checkpointChain = checkpointChain
    self.checkpointPosition = checkpointPosition
    self.horizon = horizon
    self.members = members
  }

  /// The log of an array that has just been created: empty, the first epoch.
  package static func empty(slots: SlotSet) -> LogStart {
    LogStart(
      epoch: 1, epochFirstSequence: 1, checkpointSequence: 0, checkpointChain: 0,
      checkpointPosition: StreamPosition(number: 0, chain: 0), horizon: 0,
      members: slots.map { Member(slot: $0, checkpointSequence: 0, tailOffset: 0) })
  }

  /// From the superblocks of the current members.
  ///
  /// - Returns: nil when there are none.
  package init?(_ superblocks: [Superblock]) {
    guard let checkpoint = superblocks.max(by: { $0.checkpointSequence < $1.checkpointSequence }),
      let newest = superblocks.max(by: { $0.logEpoch < $1.logEpoch })
    else { return nil }
    self.init(
      epoch: newest.logEpoch, epochFirstSequence: newest.epochFirstSequence,
      checkpointSequence: checkpoint.checkpointSequence,
      checkpointChain: checkpoint.checkpointChain,
      checkpointPosition: StreamPosition(
        number: checkpoint.checkpointClientSequence, chain: checkpoint.checkpointClientChain),
      horizon: superblocks.reduce(0) { max($0, $1.horizon) },
      members: superblocks.map {
        Member(
          slot: $0.slot, checkpointSequence: $0.checkpointSequence, tailOffset: $0.logTailOffset)
      })
  }
}

/// The numbers of a batch that a superblock repeats when the checkpoint is there.
package struct CheckpointFields: Equatable, Sendable {
  package var sequence: UInt64
  package var chain: UInt32
  package var position: StreamPosition
  package var horizon: UInt64
}

/// Why a log cannot be believed.
package enum LogReadError: Error, Equatable, Sendable {
  /// No good copy of a batch that was durable (rule L2), and what is known of the blocks it held:
  /// nil when nothing is.
  case damaged(firstSequence: UInt64, runs: [BlockRun]?)
  case array(ArrayError)
}
