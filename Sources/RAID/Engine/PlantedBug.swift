/// A bug that a test plants, to see that the checkers find it.
///
/// One for each rule of the design (docs/array.md) and for the classic mistakes. Only tests set one;
/// the sites ask `ArrayOptions.plants`, off the hot path or next to I/O.
package enum PlantedBug: String, CaseIterable, Sendable {
  /// L1: a flush syncs only the newest batch's members.
  case flushForgetsEarlierBatches
  /// L2: a hole above the horizon counts as damage.
  case holeAboveHorizonIsDamage
  /// L2: a hole below the horizon counts as the end.
  case holeBelowHorizonIsEnd
  /// L3: recovery serves before what it found is durable.
  case recoveryServesBeforeDurable
  /// L3: recovery does not begin a new epoch.
  case recoveryKeepsEpoch
  /// L4: a version that a newer one replaced no longer pins the checkpoint.
  case supersededUnpins
  /// L5: no log space is reserved for intents.
  case intentsUnreserved
  /// L6: log space is reused once one member has the new checkpoint.
  case reuseBeforeCheckpoint
  /// L7: no seal follows a flush, and headers do not repeat the previous batch's blocks.
  case noSeal
  /// L8: intents and seals count as client records.
  case intentsCountAsClientRecords
  /// D1: parity is written before the intent is durable.
  case parityBeforeIntent
  /// D1: table pages before data is durable.
  case tableBeforeData
  /// D1: parity is written when data is durable.
  case parityAfterData
  /// D1: a direct write begins before its intent is durable.
  case directHomeBeforeIntent
  /// D2: direct intents do not say what home held before.
  case directIntentWithoutOld
  /// D2: a block that is neither old nor new is adopted as if the crash had torn it.
  case rotAdoptedAsTorn
  /// D2: table pages tell of direct writes that are not durable.
  case tableBeforeDirectHome
  /// D3: a direct write is acknowledged without a member that failed it, and not yet durable.
  case failedDirectAcknowledged
  /// L4: a direct write begins although the log holds what its home does not have yet.
  case directOvertakesLogged
  /// D4: a block beyond repair blocks its row instead of becoming lost.
  case lostBlocksRow
  /// D5: a reader heals by itself what it saw, without looking again under the hold.
  case healWithoutRecheck
  /// D6: a damaged sector of parity is taken for an old one, and what comes of it is not verified.
  case solvedRowsUnverified
  /// D7: a trim of everything is one record for each block and pins the checkpoint.
  case trimPinsForever
  /// T1: always the same slot of a table page.
  case tableSlotOverwritten
  /// T1: always superblock A.
  case superblockSlotOverwritten
  /// T2: data and parity entries are written at different times.
  case tableSplitByMember
  /// T3: an all-zero table page reads as never written.
  case zeroPageIsNeverWritten
  /// T4: a member that is syncing is read, and has a say at the next start.
  case syncingMemberIsRead
  /// T5: the map marks only what changed after a member left.
  case mapMissesUnsynced
  /// T6: acknowledgements do not wait for the survivors' new configuration.
  case acknowledgesBeforeConfiguration
  /// T6: a higher event count is enough; the list of current members is not looked at.
  case listIgnored
  /// T7: a member is taken back while its old writes are in flight.
  case oldWritesNotDrained
  /// T8: a resync forgets table pages.
  case resyncForgetsTable
  /// T8, T4: a resync forgets that the log of a member that comes back is empty.
  case resyncForgetsLog
  /// T3: a configuration names a new member before all pages are marked as changed.
  case configurationBeforeMarks
  /// T8: a replacement does not get what is written behind its position.
  case replacementMissesWrites
  /// T4: a replacement takes its slot while the log still has something that is not home.
  case exchangeBeforeLogIsHome
  /// T6: a member that was replaced has its slot again when it comes back.
  case replacedMemberTakenBack
  /// A rebuild's targets do not get what is written behind the position of the pass.
  case rebuildMissesWritesBehind
  /// A page's changed flag is taken away before the target's fdatasync: the position is persisted
  /// too early.
  case changedFlagClearedEarly
  /// T8: what a rebuild wrote is not read back.
  case rebuildTrustsWrites
  /// T4: a member that comes back is believed before the pass has ended.
  case believedBeforePassEnds
  /// A scrub takes a block that does not verify for right, and makes parity and table fit it.
  case scrubRepairsTowardsBadData
  /// R1: a write can be read before it is acknowledged.
  case visibleBeforeAcknowledged
  /// Acknowledges before the batch is written (P1).
  case acknowledgesEarly
  /// Read-modify-write takes old blocks as they are.
  case unverifiedReadModifyWrite
  /// A batch whose payload does not verify is taken.
  case tornBatchAccepted
  /// A block that a member answers with is taken as it is.
  case unverifiedRead
  /// A failed fdatasync is tried again (P8).
  case failedFlushRetried
}
