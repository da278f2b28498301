package import DiskFormat

/// How an array is to be run.
package struct ArrayOptions: Sendable {
  /// Payload that is in the log and not yet home; appends wait beyond it.
  package var dirtyBytesMax = 64 << 20
  /// Pages of the checksum table held in memory.
  package var tableCacheBytes = 64 << 20
  /// A member's operation that takes longer puts the member out.
  package var memberDeadlineNanoseconds: UInt64 = 10_000_000_000
  /// Reads that outlast their member's usual latency so many times are hedged.
  package var hedgeFactor: UInt64 = 8
  package var hedgeNanosecondsMin: UInt64 = 20_000_000
  /// Start although listed members are missing that could have served without these.
  package var isForced = false
  /// The configuration that the registry saw last: proof that the missing did not start alone.
  package var knownConfiguration: String?
  /// Where members are or were last, and why they are not there if that is known, by identity: for
  /// status and refusals.
  package var absences: [String: MemberAbsence] = [:]
  /// Members that come back are brought up to date, and spares take slots, by themselves.
  ///
  /// Else an operator has to say so. What commands begin goes on in any case.
  package var resyncsAutomatically = true
  /// Buffers of megabytes lie in huge pages, which the kernel hands to disks faster.
  ///
  /// Touching a byte of one costs 2 MiB: not for who makes many engines.
  package var usesHugePages = false
  /// Another host may reach the members: look whether somebody serves them, and say that we do.
  package var watchesOwners = false
  /// How long a member that hung or was disconnected is left alone before it is tried again.
  package var readmissionDelayNanoseconds: UInt64 = 2_000_000_000
  /// How long a member may be gone, hang or be cut off before a spare takes its slot; for one that
  /// failed it is at once.
  package var spareDelayNanoseconds: UInt64 = 60_000_000_000
  /// Which writes take the log; nil is what the superblocks say.
  package var logPolicy: LogPolicy?
  /// Batches of the log under way at once.
  package var batchesInFlightMax = 4
  /// Payload of one batch.
  package var batchPayloadBlockCountMax = 256
  /// Rows of one destage round.
  package var destageRowCountMax = 256
  /// How long a block may wait in the log before it is destaged although there is room.
  package var destageDelayNanoseconds: UInt64 = 200_000_000
  /// A seal follows a flush that nothing else follows for so long.
  package var sealDelayNanoseconds: UInt64 = 5_000_000
  /// What the slowest of a hundred requests of clients may take while rebuild or scrub go on.
  package var latencyBudgetNanoseconds: UInt64 = 20_000_000
  /// An arbiter that has not answered by then has said no.
  package var arbiterDeadlineNanoseconds: UInt64 = 3_000_000_000
  /// Rebuilds were paused when the array was last served, and nobody has let them go on since.
  package var rebuildIsPaused = false
  /// What was kept of scrubs at the last run: one that was under way goes on.
  package var scrubState: ScrubState?
  /// The time since 1970, for records of what was done when; 0 where nobody knows.
  package var unixSeconds: @Sendable () -> UInt64 = { 0 }
  /// For tests.
  package var plantedBug: PlantedBug?
  package var replicationBug: ReplicationBug?

  package init() {}

  /// Whoever was last at this place does not answer.
  mutating func noteSilence(of place: String) {
    for (memberID, absence) in absences where absence.place == place {
      absences[memberID]?.reason = "it did not answer at the start"
    }
  }

  /// Whether a test planted this bug.
  @inlinable
  package func plants(_ bug: PlantedBug) -> Bool { plantedBug == bug }

  /// The same for mistakes of replication.
  package func plants(_ bug: ReplicationBug) -> Bool { replicationBug == bug }
}
