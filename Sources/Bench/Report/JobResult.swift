package import Units

extension OperationKind {
  /// For reports: `read`, `write`, `trim`.
  package var name: String {
    switch self {
    case .read: "read"
    case .write: "write"
    case .trim: "trim"
    }
  }
}

/// What was measured in one direction.
package struct DirectionResult: Sendable {
  package var operationCount: UInt64 = 0
  package var byteCount: UInt64 = 0
  package var latency = LatencyHistogram()
  /// Per interval of the sampler, scaled to a second.
  package var iopsSamples = SampleSummary()
  package var bandwidthSamples = SampleSummary()
  /// How long was counted; the longest of a group's.
  package var runtimeNanoseconds: UInt64 = 0

  /// Nothing measured yet.
  package init() {}

  package var iops: Double { perSecond(operationCount) }
  package var bytesPerSecond: Double { perSecond(byteCount) }

  private func perSecond(_ amount: UInt64) -> Double {
    runtimeNanoseconds == 0 ? 0 : Double(amount) / (Double(runtimeNanoseconds) / 1e9)
  }

  /// Adds a clone's figures; the samples are not theirs but the sampler's, of all together.
  package mutating func merge(_ other: DirectionResult) {
    operationCount += other.operationCount
    byteCount += other.byteCount
    latency.merge(other.latency)
    runtimeNanoseconds = max(runtimeNanoseconds, other.runtimeNanoseconds)
  }
}

/// How much processor time the client took.
package struct ProcessorTime: Equatable, Sendable {
  package var userNanoseconds: UInt64
  package var systemNanoseconds: UInt64
  package var contextSwitches: UInt64
  package var majorFaults: UInt64
  package var minorFaults: UInt64

  package init(
    userNanoseconds: UInt64 = 0, systemNanoseconds: UInt64 = 0, contextSwitches: UInt64 = 0,
    majorFaults: UInt64 = 0, minorFaults: UInt64 = 0
  ) {
    self.userNanoseconds = userNanoseconds
    self.systemNanoseconds = systemNanoseconds
    self.contextSwitches = contextSwitches
    self.majorFaults = majorFaults
    self.minorFaults = minorFaults
  }

  /// What was used since `earlier`.
  package func since(_ earlier: ProcessorTime) -> ProcessorTime {
    ProcessorTime(
      userNanoseconds: userNanoseconds &- earlier.userNanoseconds,
      systemNanoseconds: systemNanoseconds &- earlier.systemNanoseconds,
      contextSwitches: contextSwitches &- earlier.contextSwitches,
      majorFaults: majorFaults &- earlier.majorFaults,
      minorFaults: minorFaults &- earlier.minorFaults)
  }
}

/// What a verification found.
package struct VerificationResult: Equatable, Sendable {
  package var blocksChecked: UInt64 = 0
  package var byteCount: UInt64 = 0
  /// Of the pass that reads everything back; reads checked in passing take no time of their own.
  package var passNanoseconds: UInt64 = 0
  /// How many blocks were bad, by kind, in the order in which the kinds were met.
  package private(set) var faultCounts: [(kind: String, count: UInt64)] = []
  /// The first faults, in full sentences.
  package private(set) var sentences: [String] = []
  /// What could not be read back, and so not be checked.
  package var unreadable: UInt64 = 0

  package static let sentenceCountMax = 10

  /// Nothing checked yet.
  package init() {}

  package var faultCount: UInt64 { faultCounts.reduce(0) { $0 + $1.count } }

  /// Counts a bad block; `sentence` is asked for only as long as sentences are kept.
  package mutating func add(kind: String, sentence: @autoclosure () -> String) {
    if let index = faultCounts.firstIndex(where: { $0.kind == kind }) {
      faultCounts[index].count += 1
    } else {
      faultCounts.append((kind, 1))
    }
    if sentences.count < Self.sentenceCountMax { sentences.append(sentence()) }
  }

  /// Adds a clone's findings.
  package mutating func merge(_ other: VerificationResult) {
    blocksChecked += other.blocksChecked
    byteCount += other.byteCount
    unreadable += other.unreadable
    passNanoseconds = max(passNanoseconds, other.passNanoseconds)
    for (kind, count) in other.faultCounts {
      if let index = faultCounts.firstIndex(where: { $0.kind == kind }) {
        faultCounts[index].count += count
      } else {
        faultCounts.append((kind, count))
      }
    }
    sentences += other.sentences.prefix(Self.sentenceCountMax - sentences.count)
  }

  package static func == (one: VerificationResult, other: VerificationResult) -> Bool {
    one.blocksChecked == other.blocksChecked && one.byteCount == other.byteCount
      && one.passNanoseconds == other.passNanoseconds && one.unreadable == other.unreadable
      && one.sentences == other.sentences
      && one.faultCounts.elementsEqual(other.faultCounts) { $0 == $1 }
  }
}

/// What a job has come to, or a group of clones.
package struct JobResult: Sendable {
  package var options: JobOptions
  /// For the report: the target's own description.
  package var target: String
  /// Jobs behind the same `stonewall`.
  package var groupNumber = 0
  /// How many jobs these figures stand for.
  package var cloneCount = 1
  /// The names and targets of those whose figures were added, where they have others.
  package var otherNames: [String] = []
  package var otherTargets: [String] = []
  package var read = DirectionResult()
  package var write = DirectionResult()
  package var trim = DirectionResult()
  /// fsync and fdatasync: no bytes, timed apart.
  package var sync = DirectionResult()
  package var errorCount: UInt64 = 0
  package var firstError: String?
  /// An errno for fio's `error` field: 0 for none.
  package var errorNumber: Int32 = 0
  package var verification: VerificationResult?
  /// From the job's first operation to its last answer, without the ramp.
  package var runtimeNanoseconds: UInt64 = 0
  /// The whole process's, while the job ran.
  package var processor = ProcessorTime()
  /// How long the job ran in all, with ramp and verifying pass: what `processor` was used in.
  package var wholeNanoseconds: UInt64 = 0

  package init(options: JobOptions, target: String) {
    self.options = options
    self.target = target
  }

  /// What was measured, all of it.
  package var targets: String { ([target] + otherTargets).joined(separator: " and ") }

  package subscript(direction: OperationKind) -> DirectionResult {
    get {
      switch direction {
      case .read: read
      case .write: write
      case .trim: trim
      }
    }
    set {
      switch direction {
      case .read: read = newValue
      case .write: write = newValue
      case .trim: trim = newValue
      }
    }
  }

  /// Whether the job did all it should and found no fault.
  package var isGood: Bool {
    firstError == nil && (verification?.faultCount ?? 0) == 0
      && (verification?.unreadable ?? 0) == 0
  }

  /// Adds the figures of a clone, or of another job of the group.
  package mutating func merge(_ other: JobResult) {
    cloneCount += other.cloneCount
    let (name, isClone) = (other.options.name, other.options.name == options.name)
    if !isClone, !otherNames.contains(name) { otherNames.append(name) }
    if other.target != target, !otherTargets.contains(other.target) {
      otherTargets.append(other.target)
    }
    for direction in OperationKind.allCases { self[direction].merge(other[direction]) }
    sync.merge(other.sync)
    errorCount += other.errorCount
    if firstError == nil {
      firstError = other.firstError.map { isClone ? $0 : "\(name): \($0)" }
    }
    // A bad block is an error without a text.
    if errorNumber == 0 { errorNumber = other.errorNumber }
    runtimeNanoseconds = max(runtimeNanoseconds, other.runtimeNanoseconds)
    wholeNanoseconds = max(wholeNanoseconds, other.wholeNanoseconds)
    if other.processor.userNanoseconds + other.processor.systemNanoseconds
      > processor.userNanoseconds + processor.systemNanoseconds
    {
      processor = other.processor
    }
    guard let added = other.verification else { return }
    verification = verification ?? VerificationResult()
    verification?.merge(added)
  }
}

/// One interval of the run, all jobs together, for plots and for the samples of the reports.
package struct IntervalSample: Equatable, Sendable {
  /// When it ended, counted from the start of the run.
  package var endNanoseconds: UInt64
  package var lengthNanoseconds: UInt64
  /// By direction: read, write, trim.
  package var operationCounts: [UInt64]
  package var byteCounts: [UInt64]
  package var medianNanoseconds: UInt64
  package var percentile99Nanoseconds: UInt64
  package var maximumNanoseconds: UInt64

  package init(
    endNanoseconds: UInt64, lengthNanoseconds: UInt64, operationCounts: [UInt64],
    byteCounts: [UInt64], medianNanoseconds: UInt64, percentile99Nanoseconds: UInt64,
    maximumNanoseconds: UInt64
  ) {
    self.endNanoseconds = endNanoseconds
    self.lengthNanoseconds = lengthNanoseconds
    self.operationCounts = operationCounts
    self.byteCounts = byteCounts
    self.medianNanoseconds = medianNanoseconds
    self.percentile99Nanoseconds = percentile99Nanoseconds
    self.maximumNanoseconds = maximumNanoseconds
  }

  package var operationCount: UInt64 { operationCounts.reduce(0, +) }
}
