import Glibc
package import IO
package import Units

/// One job, or one clone of one: `iodepth` long-lived tasks that work on a target.
///
/// Everything runs on the machine's executor. In the steady state an operation costs no
/// allocation and no task: a slot's buffer is made once, and its loop is one suspended function.
package actor JobRunner<JobMachine: Machine> {
  package nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe machine.unownedExecutor }

  /// Where a job stands.
  package enum Phase: Equatable, Sendable {
    case waiting, ramping, running, verifying, ended
  }

  /// One of the `iodepth` places for an operation in flight.
  struct Slot {
    let memory: AlignedMemory
    /// What it works on; nil while it works on nothing.
    var range: ByteRange?
    /// When the operation in flight was started.
    var startNanoseconds: UInt64 = 0
    var isChanging = false
    var overlapEnd = WaitPoint()
  }

  nonisolated let machine: JobMachine
  package nonisolated let options: JobOptions
  nonisolated let target: any BenchTarget
  nonisolated let region: ByteRange

  var plan: OperationPlan
  var verifier: Verifier?
  var slots: [Slot] = []
  var activeSlotCount = 0
  var operationsInFlight = 0
  private var slotsEnded = WaitPoint()
  package private(set) var isAbandoned = false
  package internal(set) var phase = Phase.waiting
  /// No further operation is started.
  var isStopping = false
  package private(set) var wasInterrupted = false
  var serial: UInt64

  // When counting starts and ends, and what has been issued since.
  var countFromNanoseconds: UInt64 = 0
  var deadlineNanoseconds = UInt64.max
  var lastEndNanoseconds: UInt64 = 0
  var isCounting = false
  var issuedByteCount: UInt64 = 0
  var issuedOperationCount: UInt64 = 0
  /// Planned and not yet answered: what of the ramp is still going to be counted.
  var openByteCount: UInt64 = 0
  var openOperationCount: UInt64 = 0
  var rateLimit: RateLimit?
  var writesSinceSync: UInt64 = 0
  var writesSinceDataSync: UInt64 = 0

  // What was measured.
  var directions = [DirectionResult](repeating: DirectionResult(), count: 3)
  var sync = DirectionResult()
  var intervalLatency = LatencyHistogram()
  let samplesLatency: Bool
  var errorCount: UInt64 = 0
  var firstError: String?
  var errorNumber: Int32 = 0
  var verification: VerificationResult?
  var verifyCursor = VerifyCursor()
  /// Everything that was answered, counted or not.
  package internal(set) var performedOperationCount: UInt64 = 0

  /// A job that waits to be run; its options are resolved against the target.
  ///
  /// `cloneIndex` makes the seeds of clones differ, `region` is what `offset` and `size` come to,
  /// and `samplesLatency` tells whether each interval's latencies are wanted: see `takeInterval`.
  package init(
    options: JobOptions, cloneIndex: Int, target: any BenchTarget, region: ByteRange,
    verifier: Verifier?, samplesLatency: Bool, machine: JobMachine
  ) {
    self.options = options
    self.target = target
    self.region = region
    self.machine = machine
    self.verifier = verifier
    self.samplesLatency = samplesLatency
    let seed = RandomSequence.derivedSeed(options.randomSeed, UInt64(cloneIndex))
    plan = OperationPlan(options: options, seed: seed)
    serial = seed
    if options.verify != .none { verification = VerificationResult() }
  }

  // MARK: The course of a job

  /// Runs the job to its end: the operations, the last flush, the verifying pass.
  package func run() async {
    guard allocateSlots() else {
      fail("no memory for \(options.ioDepth) buffers of \(options.blockByteCountMax) bytes", ENOMEM)
      phase = .ended
      return
    }
    if options.verify != .none, verifier == nil {
      fail("no memory for the generations of the blocks: use a larger bs or a smaller size", ENOMEM)
      phase = .ended
      return
    }
    let start = machine.readClock()
    countFromNanoseconds = start.addingSaturating(options.rampNanoseconds)
    if let runtime = options.runtimeNanoseconds {
      deadlineNanoseconds = countFromNanoseconds.addingSaturating(runtime)
    }
    lastEndNanoseconds = countFromNanoseconds
    rateLimit = options.rateIOPS.map { RateLimit(perSecond: $0, startNanoseconds: start) }
    phase = options.rampNanoseconds > 0 ? .ramping : .running
    isCounting = options.rampNanoseconds == 0
    await runSlots { await $0.work($1) }
    if options.flushesAtEnd, !isStopping, firstError == nil {
      await runSlots(count: 1) { await $0.flushOnce($1) }
    }
    if mustReadBack {
      phase = .verifying
      let before = machine.readClock()
      verifyCursor = VerifyCursor()
      await runSlots { await $0.readBack($1) }
      // A pass that was cut short has not read everything back, and takes no time for it.
      if !isStopping { verification?.passNanoseconds = max(1, machine.readClock() - before) }
    }
    phase = .ended
    // Jobs behind a stonewall need the memory; what was given up may still be used.
    if !isAbandoned { slots = [] }
  }

  /// Whether what was written is to be read back now.
  private var mustReadBack: Bool {
    options.verify != .none && options.verifiesAtEnd && options.writes && firstError == nil
      && !wasInterrupted && !isAbandoned && !(options.stopsAtFirstBadBlock && hasFault)
  }

  var hasFault: Bool { (verification?.faultCount ?? 0) > 0 }

  private func allocateSlots() -> Bool {
    var random = RandomSequence(seed: serial)
    for _ in 0..<options.ioDepth {
      guard let memory = AlignedMemory(byteCount: Int(options.blockByteCountMax)) else {
        return false
      }
      // Incompressible, and never zeros: those a server may send and store as holes.
      let buffer = memory.buffer
      var offset = 0
      while offset < buffer.byteCount {
        buffer.store(random.next() | 1, at: offset)
        offset += 8
      }
      slots.append(Slot(memory: memory))
    }
    return true
  }

  /// Runs `body` in the first `count` slots, all by default, and waits until each has returned or
  /// the job was abandoned.
  private func runSlots(
    count: Int? = nil, _ body: @escaping @Sendable (isolated JobRunner, Int) async -> Void
  ) async {
    let count = count ?? slots.count
    activeSlotCount = count
    for index in 0..<count {
      Task(executorPreference: machine) {
        await body(self, index)
        await self.slotEnded()
      }
    }
    while activeSlotCount > 0 && !isAbandoned {
      // Safe: resumed once, by `slotEnded` or `abandon`, or here: others may have run meanwhile.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if activeSlotCount == 0 || isAbandoned {
          unsafe waiter.resume()
        } else {
          unsafe slotsEnded.put(waiter)
        }
      }
    }
  }

  private func slotEnded() {
    activeSlotCount -= 1
    if activeSlotCount == 0 { slotsEnded.signal() }
  }

  // MARK: From outside

  /// Starts nothing more; what is in flight is waited for.
  package func interrupt() {
    wasInterrupted = true
    stop()
  }

  /// Gives up what is in flight: it will not be waited for, nor counted.
  ///
  /// - Returns: how many operations that are.
  @discardableResult
  package func abandon() -> Int {
    guard !isAbandoned else { return 0 }
    isAbandoned = true
    stop()
    slotsEnded.signal()
    return operationsInFlight
  }

  func stop() {
    isStopping = true
    wakeOverlapping()
  }

  /// How long the oldest operation has been in flight; 0 when there is none.
  package func oldestAge(now: UInt64) -> UInt64 {
    var oldest = now
    for slot in slots where slot.range != nil { oldest = min(oldest, slot.startNanoseconds) }
    return now - oldest
  }

  /// The target does not answer: ends the job with an error.
  ///
  /// - Returns: how many operations are given up.
  package func giveUp(afterNanoseconds timeout: UInt64) -> Int {
    // Its operations grow older while other jobs go on, and are asked about again and again.
    guard !isAbandoned else { return 0 }
    fail(
      "no answer from \(target.description) within \(TimeSpan.format(nanoseconds: timeout))",
      ETIMEDOUT)
    return abandon()
  }

  /// The latencies since the last call, for the sampler.
  package func takeInterval() -> LatencyHistogram {
    defer { intervalLatency = LatencyHistogram() }
    return intervalLatency
  }

  /// What has been counted so far, and how far the job has come.
  package func progress(now: UInt64) -> JobProgress {
    var progress = JobProgress(phase: phase, errorCount: errorCount)
    for index in 0..<3 {
      progress.operationCounts[index] = directions[index].operationCount
      progress.byteCounts[index] = directions[index].byteCount
    }
    progress.hasCounted = isCounting
    guard phase == .running || phase == .ramping else {
      progress.fraction = phase == .waiting ? 0 : 1
      if phase == .verifying, let verifier, verifier.writtenByteCount > 0 {
        progress.fraction =
          Double(verification?.byteCount ?? 0) / Double(verifier.writtenByteCount)
      }
      return progress
    }
    var fraction = 0.0
    if let byTime = timeFraction(now) { fraction = byTime }
    if !options.isTimeBased, isCounting {
      fraction = max(fraction, Double(issuedByteCount) / Double(max(1, byteCountMax)))
    }
    if let operations = options.operationCountMax, isCounting {
      fraction = max(fraction, Double(issuedOperationCount) / Double(max(1, operations)))
    }
    progress.fraction = min(1, fraction)
    return progress
  }

  private func timeFraction(_ now: UInt64) -> Double? {
    guard let runtime = options.runtimeNanoseconds else { return nil }
    let start = countFromNanoseconds - options.rampNanoseconds
    let whole = options.rampNanoseconds.addingSaturating(runtime)
    return Double(now - min(now, start)) / Double(max(1, whole))
  }

  /// What was measured.
  package func takeResult(processor: ProcessorTime) -> JobResult {
    var result = JobResult(options: options, target: target.description)
    let elapsed =
      isCounting ? max(lastEndNanoseconds, countFromNanoseconds) - countFromNanoseconds : 0
    for direction in OperationKind.allCases {
      var measured = directions[direction.rawValue]
      if measured.operationCount > 0 { measured.runtimeNanoseconds = max(1, elapsed) }
      result[direction] = measured
    }
    sync.runtimeNanoseconds = elapsed
    result.sync = sync
    result.runtimeNanoseconds = elapsed
    result.errorCount = errorCount
    result.firstError = firstError
    // A bad block is fio's EILSEQ; an error that ended the job comes first.
    result.errorNumber = errorNumber == 0 && hasFault ? EILSEQ : errorNumber
    result.verification = verification
    result.processor = processor
    return result
  }
}

/// How far a job has come.
package struct JobProgress: Sendable {
  package var isOver: Bool
  package var isVerifying: Bool
  package var isRamping: Bool
  package var errorCount: UInt64
  package var operationCounts: [UInt64] = [0, 0, 0]
  package var byteCounts: [UInt64] = [0, 0, 0]
  /// Whether the ramp is over.
  package var hasCounted = false
  package var fraction = 0.0

  init<JobMachine>(phase: JobRunner<JobMachine>.Phase, errorCount: UInt64) {
    isOver = phase == .ended
    isVerifying = phase == .verifying
    isRamping = phase == .ramping
    self.errorCount = errorCount
  }
}

extension UInt64 {
  func addingSaturating(_ other: UInt64) -> UInt64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
  }
}
