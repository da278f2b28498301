package import DiskFormat
package import Geometry
package import IO

/// A batch that recovery found.
package struct RecoveredBatch: Sendable {
  package var batch: LogBatch
  /// The current members with a good copy, and those whose copy is missing or damaged.
  package var goodSlots: SlotSet
  package var badSlots: SlotSet

  package var sequence: UInt64 { batch.header.sequence }
}

/// What the log held when it was opened: the batches behind the checkpoint, payload on request.
package final class RecoveredLog<M: Machine, D: Disk> {
  /// In order of their numbers, without a gap.
  package internal(set) var batches: [RecoveredBatch] = []

  init() {}

  package var endSequence: UInt64 { preconditionFailure("not written yet") }
  package var endChain: UInt32 { preconditionFailure("not written yet") }
  package var clientSequence: UInt64 { preconditionFailure("not written yet") }
  package var horizon: UInt64 { preconditionFailure("not written yet") }

  /// Makes everything that was found durable (rule L3): writes what is above the horizon again,
  /// and every damaged copy, then syncs all current members.
  ///
  /// Only after it may the next epoch begin. May be repeated.
  package func rewrite() async throws(ArrayError) { preconditionFailure("not written yet") }

  /// Reads one block of a record's payload, verified, from whichever copy is good.
  ///
  /// - Throws: `unreadable` when none is.
  package func readPayload(
    ofBatch sequence: UInt64, at payloadIndex: Int, checksum: UInt32, block: UInt64,
    into buffer: IOBuffer
  ) async throws(ArrayError) { preconditionFailure("not written yet") }

  /// Forgets the batches up to a checkpoint.
  package func forget(through sequence: UInt64) { preconditionFailure("not written yet") }
}
