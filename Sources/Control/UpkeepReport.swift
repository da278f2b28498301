/// A member that stands by, or is being made a copy of the member in a slot.
package struct ArrayReserveReport: Equatable, Sendable {
  /// Where it stands, counted behind the slots.
  package var seat: UInt64
  package var memberID: String
  package var place: String
  /// Whose copy it becomes; nil for a spare.
  package var targetSlot: UInt64?
  /// Why it cannot be used now; empty when it can.
  package var cause: String
  package var readBytes: UInt64
  package var writeBytes: UInt64
  package var errorCount: UInt64
}

/// How far something is that goes through all that was ever written.
package struct PassReport: Equatable, Sendable {
  package var donePages: UInt64
  package var pages: UInt64
  package var doneBytes: UInt64
  package var byteCount: UInt64
  /// At present.
  package var bytesPerSecond: UInt64
  /// The least and the most that it may still take; nil while nobody can say.
  package var secondsLeftMin: UInt64?
  package var secondsLeftMax: UInt64?
  package var isPaused: Bool
}

/// Members that are being brought up to date, and how far that is.
package struct ArrayRebuildReport: Equatable, Sendable {
  package var pass: PassReport
  /// The slots whose blocks are written.
  package var slots: [UInt64]
  /// Where they are written, one for each slot: the slot itself, or the seat of a replacement.
  package var seats: [UInt64]
  /// All blocks are there, and the log is awaited.
  package var isJoining: Bool
  /// Blocks that could not be had from anybody, and where the first of them are.
  package var unreadableBlockCount: UInt64
  package var unreadableRanges: [ArrayRangeReport]
}

/// What a scrub has found, by kind of trouble, and what became of it: in blocks.
package struct ScrubCountsReport: Equatable, Sendable {
  package var checksum: UInt64 = 0
  package var unreadable: UInt64 = 0
  package var parity: UInt64 = 0
  package var mirror: UInt64 = 0
  package var table: UInt64 = 0
  /// Given up before: reads fail until it is written.
  package var lost: UInt64 = 0
  package var repaired: UInt64 = 0
  package var notRepaired: UInt64 = 0
  package var beyondRepair: UInt64 = 0

  package init() {}

  /// All that was wrong.
  package var found: UInt64 {
    [checksum, unreadable, parity, mirror, table, lost].reduce(0) { sum, count in
      let (total, overflow) = sum.addingReportingOverflow(count)
      return overflow ? .max : total
    }
  }
}

/// A range that a scrub found wrong.
package struct ScrubFindingReport: Equatable, Sendable {
  /// Of the array; for parity the first data of the row, for a table page what it describes first.
  package var range: ArrayRangeReport
  /// The member on which it is.
  package var slot: UInt64?
  /// What was wrong: `checksum`, `unreadable`, `parity`, `mirror`, `table`, `lost`.
  package var trouble: String
  /// What was done: `repaired`, `not repaired`, `lost`.
  package var outcome: String
}

/// A scrub that is under way.
package struct ArrayScrubReport: Equatable, Sendable {
  /// `check` or `repair`.
  package var kind: String
  package var pass: PassReport
  package var counts: ScrubCountsReport
  package var findings: [ScrubFindingReport]
}

/// A scrub that has ended.
package struct ScrubRecordReport: Equatable, Sendable {
  package var kind: String
  /// `completed`, `cancelled`.
  package var ending: String
  package var beganUnixSeconds: UInt64
  package var endedUnixSeconds: UInt64
  package var byteCount: UInt64
  package var counts: ScrubCountsReport
}

/// What upkeep may cost the clients, and what it does cost them.
package struct LatencyBudgetReport: Equatable, Sendable {
  package var askedNanoseconds: UInt64
  /// The 99th percentile of late; nil without requests.
  package var achievedP99Nanoseconds: UInt64?
  /// How much of its time upkeep has.
  package var upkeepPercent: UInt64
}

/// Everything that an array says of its upkeep (docs/upkeep.md).
package struct UpkeepReport: Equatable, Sendable {
  package var reserves: [ArrayReserveReport] = []
  package var rebuild: ArrayRebuildReport?
  /// What there is to be rebuilt waits for an operator's word.
  package var isRebuildPaused = false
  /// Members that come back, and spares, wait for an operator's word.
  package var isResyncHeld = false
  package var scrub: ArrayScrubReport?
  /// The newest last.
  package var scrubHistory: [ScrubRecordReport] = []
  package var latencyBudget: LatencyBudgetReport?

  package init() {}
}
