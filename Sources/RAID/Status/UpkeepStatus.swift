package import DiskFormat

/// How far a rebuild is: the pass that brings members up to date.
package struct RebuildStatus: Equatable, Sendable {
  /// The slots whose blocks are written.
  package var slots: [Int] = []
  /// Where they are written, one for each slot: the slot itself, or a reserve seat.
  package var seats: [Int] = []
  /// All blocks are there, and the log is awaited.
  package var isJoining = false
  package var donePages: UInt64 = 0
  package var pages: UInt64 = 0
  /// What was written to the targets, and what that will be, as far as can be told.
  package var doneBytes: UInt64 = 0
  package var bytes: UInt64 = 0
  /// Lately; 0 while nobody knows.
  package var bytesPerSecond: UInt64 = 0
  package var secondsLeft: ClosedRange<UInt64>?
  package var isPaused = false
  /// Blocks of the array that could not be had, and are unreadable on the targets as well.
  package var namedBlockCount: UInt64 = 0
  /// The first of them, in runs; at most `namedRunCountMax`.
  package var namedRuns: [BlockRun] = []

  package static let namedRunCountMax = 64

  package init() {}
}

/// What clients' requests may take while upkeep goes on, and what they take.
package struct LatencyBudgetStatus: Equatable, Sendable {
  package var askedNanoseconds: UInt64 = 0
  /// Over the last second; nil when no client asked for anything.
  package var achievedP99Nanoseconds: UInt64?
  /// The part of the time that upkeep is given, where it has something to do.
  package var upkeepPercent = 100

  package init() {}
}

/// How far a scrub is, and what it has found.
package struct ScrubStatus: Equatable, Sendable {
  package var kind: ScrubKind
  package var beganSeconds: UInt64
  package var donePages: UInt64
  package var pages: UInt64
  /// What was read and verified, and what that will be, as far as can be told.
  package var doneBytes: UInt64
  package var bytes: UInt64
  /// Lately; 0 while nobody knows.
  package var bytesPerSecond: UInt64 = 0
  package var secondsLeft: ClosedRange<UInt64>?
  package var isPaused: Bool
  package var counts: ScrubCounts
  /// The first of what was found; at most `ScrubRun.rangeCountMax`.
  package var ranges: [ScrubRange]

  package init(_ run: ScrubRun, pages: UInt64, bytes: UInt64) {
    kind = run.kind
    beganSeconds = run.beganSeconds
    donePages = run.donePages
    self.pages = pages
    doneBytes = run.doneBytes
    self.bytes = bytes
    isPaused = run.isPaused
    counts = run.counts
    ranges = run.ranges
  }
}
