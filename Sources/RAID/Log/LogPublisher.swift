package import DiskFormat
package import IO

/// Who learns of records at the moment when they are acknowledged (rule R1); the engine.
///
/// Its methods are called in the order of the log and must not wait.
package protocol LogPublisher: AnyObject {
  /// A write is in the log: from now on readers see it.
  ///
  /// The publisher pins `batchSequence` in the log for what it has to keep.
  ///
  /// - Parameters:
  ///   - run: its blocks.
  ///   - batchSequence: the batch that holds it.
  ///   - payload: the blocks' content; it is the log's, and valid during the call only.
  ///   - payloadIndex: its first block among the payload of the batch.
  ///   - checksums: the checksum of each block, without a mask.
  ///   - token: what the caller of `append` gave.
  func publishWrite(
    _ run: BlockRun, batchSequence: UInt64, payload: IOBuffer, payloadIndex: Int,
    checksums: ArraySlice<UInt32>, token: UInt64)

  /// A trim is in the log: its blocks are never-written from now on.
  func publishTrim(_ run: BlockRun, batchSequence: UInt64, token: UInt64)

  /// Blocks that are published and may still need an intent: log space is kept for these (L5).
  var unsettledBlockCount: Int { get }
}
