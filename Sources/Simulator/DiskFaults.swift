package import Units

/// How often a disk does what it should not, in a million operations of the kind concerned.
package struct DiskFaultRates: Equatable, Sendable {
  package var readError = 0
  package var writeError = 0
  /// fdatasync fails, and what it should have written counts as clean: see `SimulatedMedium`.
  package var synchronizeError = 0
  package var noSpace = 0
  package var interrupted = 0
  package var tryAgain = 0
  package var shortTransfer = 0
  /// Acknowledged and gone.
  package var lostWrite = 0
  /// Lands elsewhere, at an aligned place.
  package var misdirectedWrite = 0
  /// Comes from elsewhere, from an aligned place.
  package var misdirectedRead = 0
  /// Before a read, one bit of what it reads turns over, for good.
  package var bitRot = 0
  /// Does not return until the disk is released.
  package var stuck = 0
  /// At a power loss, one sector whose fate was open holds garbage.
  package var damagedSectorAtPowerLoss = 0

  /// No faults.
  package init() {}
}

/// A write to come that is acknowledged, and lands elsewhere or nowhere.
package struct WriteTrap: Equatable, Sendable {
  /// What the write touches.
  package var range: ByteRange
  /// Where it lands, from the start of the medium; nil for nowhere.
  package var landsAtBytes: UInt64?

  /// A trap that is not sprung yet.
  package init(_ range: ByteRange, landsAtBytes: UInt64? = nil) {
    self.range = range
    self.landsAtBytes = landsAtBytes
  }
}

/// How long operations take.
package struct DiskLatency: Equatable, Sendable {
  package var shortestNanoseconds: UInt64
  package var longestNanoseconds: UInt64
  /// fdatasync takes so many times as long.
  package var synchronizeFactor: UInt64
  /// In a million operations, so many take `slowFactor` times as long.
  package var slowPerMillion: Int
  package var slowFactor: UInt64

  package init(
    shortestNanoseconds: UInt64 = 10_000, longestNanoseconds: UInt64 = 200_000,
    synchronizeFactor: UInt64 = 10, slowPerMillion: Int = 1000, slowFactor: UInt64 = 100
  ) {
    precondition(shortestNanoseconds <= longestNanoseconds)
    self.shortestNanoseconds = shortestNanoseconds
    self.longestNanoseconds = longestNanoseconds
    self.synchronizeFactor = synchronizeFactor
    self.slowPerMillion = slowPerMillion
    self.slowFactor = slowFactor
  }

  func draw(_ random: inout RandomSource, isSynchronize: Bool) -> UInt64 {
    var latency = random.next(from: shortestNanoseconds, through: longestNanoseconds)
    if isSynchronize { latency *= synchronizeFactor }
    if random.happens(perMillion: slowPerMillion) { latency *= slowFactor }
    return latency
  }
}

/// What was done to a medium, to be held against what its users noticed.
package struct InjectedDiskFaults: Equatable, Sendable {
  package var readErrors = 0
  package var writeErrors = 0
  package var synchronizeErrors = 0
  package var lostWrites = 0
  package var misdirectedWrites = 0
  package var misdirectedReads = 0
  package var flippedBits = 0
  package var damagedSectors = 0
  package var stuckOperations = 0

  package init() {}
}

/// What becomes of unflushed sectors at a power loss.
package enum UnflushedFate {
  /// Drawn: all, none, one write missing, one write alone, or each sector by itself.
  case drawn
  case keepAll
  case loseAll
  /// For each sector, in order of address: the numbers of the writes that changed it since it was
  /// last durable, in order; returns how many of them it has seen.
  case chosen((_ sector: UInt64, _ writes: [UInt64]) -> Int)
}

/// What becomes of what a failed fdatasync covered.
package enum FailedFlushFate: Sendable {
  /// Each sector by itself: on the medium, in the cache only, or gone from both.
  case drawn
  /// Nothing reaches the medium, and reads go on returning it until the power goes.
  case onlyInCache
}
