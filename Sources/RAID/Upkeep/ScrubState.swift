package import Units

/// What a scrub does about what it finds.
package enum ScrubKind: String, CaseIterable, Sendable {
  /// Tells it, and writes nothing.
  case check
  /// Repairs what redundancy allows.
  case repair
}

/// What is wrong with something that a scrub has read; the raw values are a contract.
package enum ScrubTrouble: String, CaseIterable, Sendable {
  /// The member gave something else than what was written.
  case checksum
  /// The member could not read it.
  case unreadable
  /// Parity does not fit the data, although both are what was written, or its content is not known.
  case parity
  /// The copies differ, although each is what was written.
  case mirror
  /// A copy of a page of the checksum table is damaged or old.
  case table
  /// It had been given up before: reads fail until it is written.
  case lost
}

/// What was done about it.
package enum ScrubOutcome: String, CaseIterable, Sendable {
  case repaired
  case notRepaired = "not repaired"
  /// Redundancy does not suffice.
  case lost
}

/// A range with trouble.
package struct ScrubRange: Equatable, Sendable {
  /// The array's bytes; for parity the first data block of each row, for a table page the first
  /// block that it describes.
  package var range: ByteRange
  /// Whose copy it is; nil where it is about none in particular.
  package var slot: Int?
  package var trouble: ScrubTrouble
  package var outcome: ScrubOutcome

  package init(range: ByteRange, slot: Int?, trouble: ScrubTrouble, outcome: ScrubOutcome) {
    self.range = range
    self.slot = slot
    self.trouble = trouble
    self.outcome = outcome
  }
}

/// How many blocks and table copies were found with each kind of trouble, and what was done.
package struct ScrubCounts: Equatable, Sendable {
  package var checksum: UInt64 = 0
  package var unreadable: UInt64 = 0
  package var parity: UInt64 = 0
  package var mirror: UInt64 = 0
  package var table: UInt64 = 0
  /// Blocks that had been given up before.
  package var lost: UInt64 = 0
  /// Of all of these.
  package var repaired: UInt64 = 0
  package var notRepaired: UInt64 = 0
  package var beyondRepair: UInt64 = 0

  package init() {}

  /// Everything that was found.
  package var total: UInt64 { checksum + unreadable + parity + mirror + table + lost }

  mutating func note(_ trouble: ScrubTrouble, _ outcome: ScrubOutcome) {
    switch trouble {
    case .checksum: checksum += 1
    case .unreadable: unreadable += 1
    case .parity: parity += 1
    case .mirror: mirror += 1
    case .table: table += 1
    case .lost: lost += 1
    }
    switch outcome {
    case .repaired: repaired += 1
    case .notRepaired: notRepaired += 1
    case .lost: beyondRepair += 1
    }
  }
}

/// A scrub under way: what has to be kept for it to go on after a restart.
package struct ScrubRun: Equatable, Sendable {
  package var kind: ScrubKind
  /// Since 1970; 0 where nobody knows.
  package var beganSeconds: UInt64
  /// Everything before this page of the checksum table has been done.
  package var nextPage: UInt64 = 0
  package var donePages: UInt64 = 0
  package var doneBytes: UInt64 = 0
  package var isPaused = false
  package var counts = ScrubCounts()
  /// What was found, in order; at most `rangeCountMax`.
  package var ranges: [ScrubRange] = []

  package static let rangeCountMax = 256

  package init(kind: ScrubKind, beganSeconds: UInt64) {
    self.kind = kind
    self.beganSeconds = beganSeconds
  }

  /// Whether adding to its numbers cannot overflow.
  var isPlausible: Bool {
    let numbers = [
      nextPage, donePages, doneBytes, counts.checksum, counts.unreadable, counts.parity,
      counts.mirror, counts.table, counts.lost, counts.repaired, counts.notRepaired,
      counts.beyondRepair,
    ]
    return numbers.allSatisfy { $0 < 1 << 60 } && ranges.count <= Self.rangeCountMax
  }

  mutating func note(
    block: UInt64, slot: Int?, _ trouble: ScrubTrouble, _ outcome: ScrubOutcome
  ) {
    counts.note(trouble, outcome)
    let range = ByteRange(from: block * 4096, to: (block + 1) * 4096)
    if let last = ranges.last, last.slot == slot, last.trouble == trouble,
      last.outcome == outcome, last.range.endBytes == range.offsetBytes
    {
      ranges[ranges.count - 1].range = ByteRange(
        from: last.range.offsetBytes, to: range.endBytes)
    } else if ranges.count < Self.rangeCountMax {
      ranges.append(ScrubRange(range: range, slot: slot, trouble: trouble, outcome: outcome))
    }
  }
}

/// A scrub that has ended.
package struct ScrubRecord: Equatable, Sendable {
  /// How it ended; the raw values are a contract.
  package enum Ending: String, CaseIterable, Sendable {
    case completed
    case cancelled
  }

  package var kind: ScrubKind
  /// Since 1970; 0 where nobody knows.
  package var beganSeconds: UInt64
  package var endedSeconds: UInt64
  package var ending: Ending
  package var doneBytes: UInt64
  package var counts: ScrubCounts
  /// The first of what was found, as in `ScrubRun`; kept for the newest record only.
  package var ranges: [ScrubRange]

  package init(
    kind: ScrubKind, beganSeconds: UInt64, endedSeconds: UInt64, ending: Ending,
    doneBytes: UInt64, counts: ScrubCounts, ranges: [ScrubRange] = []
  ) {
    self.kind = kind
    self.beganSeconds = beganSeconds
    self.endedSeconds = endedSeconds
    self.ending = ending
    self.doneBytes = doneBytes
    self.counts = counts
    self.ranges = ranges
  }
}

/// What is kept of scrubs over a restart; losing it costs a new scrub, nothing else.
package struct ScrubState: Equatable, Sendable {
  package var run: ScrubRun?
  /// Newest last; at most `historyCountMax`.
  package var history: [ScrubRecord]

  package static let historyCountMax = 16

  package init(run: ScrubRun? = nil, history: [ScrubRecord] = []) {
    self.run = run
    self.history = history
  }
}

/// Why a word about a scrub was not taken.
package enum ScrubCommandError: Error, Equatable, Sendable {
  case alreadyRunning(ScrubKind)
  case notRunning
  case stopped(ArrayError)

  /// For an operator.
  package var words: String {
    switch self {
    case .alreadyRunning(let kind):
      "a scrub (\(kind.rawValue)) is under way: wait for it, or cancel it first"
    case .notRunning: "no scrub is under way"
    case .stopped(let error): "the array does not serve: \(error.words)"
    }
  }
}
