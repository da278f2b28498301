package import DiskFormat
package import Geometry
package import IO

/// The log of a served array: batches, group commit, horizon, ledger and space.
///
/// It belongs to one actor. The owner starts `options.batchesInFlightMax` tasks that run
/// `runWriter`, and one that runs `runSealer`; `stop` ends them.
package final class WriteLog<M: Machine, D: Disk> {
  /// Who is told of records when they are acknowledged.
  package weak var publisher: (any LogPublisher)?
  /// Called when appends wait for log space: destage, then write a checkpoint.
  package var onSpaceWanted: () -> Void = {}

  /// Goes on where `recovered` ends, in a new epoch that is durable in the superblocks already.
  package init(
    members: MemberSet<M, D>, membership: any MembershipKeeper, machine: M, arrayID: Identifier,
    geometry: StripeGeometry, layout: MemberLayout, options: ArrayOptions,
    resuming recovered: RecoveredLog<M, D>, epoch: UInt64
  ) throws(ArrayError) { preconditionFailure("not written yet") }

  /// Blocks of one write at most.
  package static var writeBlockCountMax: Int { 32 }

  // MARK: Records

  /// Logs a write of up to 32 blocks as one record, whole or not at all.
  ///
  /// Returns when its batch and every earlier one are written and it has been published.
  ///
  /// - Parameters:
  ///   - run: the blocks.
  ///   - payload: their content; it stays as it is until the return.
  ///   - token: handed on to the publisher.
  package func append(
    write run: BlockRun, payload: IOBuffer, token: UInt64 = 0
  ) async throws(ArrayError) { preconditionFailure("not written yet") }

  /// Logs a trim as one record.
  ///
  /// - Parameters:
  ///   - run: the blocks.
  ///   - unsettledBlockCount: how many of them may need intents.
  ///   - token: handed on to the publisher.
  package func append(
    trim run: BlockRun, unsettledBlockCount: Int, token: UInt64 = 0
  ) async throws(ArrayError) { preconditionFailure("not written yet") }

  /// Logs the intents of a round and waits until the horizon covers them (rule D1).
  ///
  /// - Returns: the batch that is pinned for the caller, who unpins it when the round is settled.
  package func appendIntents(
    _ intents: ArraySlice<RowIntent>
  ) async throws(ArrayError) -> UInt64 { preconditionFailure("not written yet") }

  // MARK: Durability

  /// The highest batch that is durable together with all before it.
  package private(set) var horizon: UInt64 = 0
  /// The highest batch that is written together with all before it.
  package private(set) var writtenSequence: UInt64 = 0

  /// Makes every record that was acknowledged before the call durable.
  package func flush() async throws(ArrayError) { preconditionFailure("not written yet") }

  /// Returns when the horizon has passed a batch.
  package func waitUntilDurable(_ sequence: UInt64) async throws(ArrayError) {
    preconditionFailure("not written yet")
  }

  // MARK: Ledger

  /// Holds the checkpoint before a batch, until as many unpins.
  package func pin(_ sequence: UInt64) { preconditionFailure("not written yet") }
  package func unpin(_ sequence: UInt64) { preconditionFailure("not written yet") }

  /// How far the checkpoint may go now.
  package var checkpointCandidate: UInt64 { preconditionFailure("not written yet") }
  /// The last checkpoint that is durable.
  package private(set) var checkpointSequence: UInt64 = 0

  /// What a superblock says of a checkpoint: the current one, or any up to the candidate.
  package func checkpointFields(at sequence: UInt64) -> CheckpointFields {
    preconditionFailure("not written yet")
  }

  /// Where a member's first batch behind a checkpoint begins, or will.
  package func tailOffset(_ slot: Int, checkpoint sequence: UInt64) -> UInt64 {
    preconditionFailure("not written yet")
  }

  /// The superblocks of all current members have the checkpoint, durably: its space is free.
  package func checkpointWritten(_ sequence: UInt64) { preconditionFailure("not written yet") }

  // MARK: Space

  /// How full the fullest current member's log is, from 0 to 1.
  package var fillFraction: Double { preconditionFailure("not written yet") }
  /// Whether appends wait for log space.
  package var needsSpace: Bool { preconditionFailure("not written yet") }

  /// A member became current; its log is empty.
  package func memberBecameCurrent(_ slot: Int) { preconditionFailure("not written yet") }

  // MARK: Running

  /// Writes batches until `stop`.
  package func runWriter() async { preconditionFailure("not written yet") }
  /// Writes seals until `stop`.
  package func runSealer() async { preconditionFailure("not written yet") }

  /// Ends the tasks and lets everybody who waits, and whoever comes, fail.
  package func stop(_ reason: ArrayError) { preconditionFailure("not written yet") }
}
