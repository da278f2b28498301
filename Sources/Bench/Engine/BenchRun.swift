import Glibc
package import IO
package import Units

/// One job, ready to run: its options, and the target of each clone.
package struct PlannedJob: Sendable {
  package var options: JobOptions
  /// One for each of `numjobs`.
  package var targets: [any BenchTarget]
  /// What an earlier run has written, for `verify_state_load`; nil when any generation will do.
  package var savedState: VerifyState?

  /// - Precondition: the options are resolved against the target.
  package init(
    options: JobOptions, targets: [any BenchTarget], savedState: VerifyState? = nil
  ) {
    precondition(targets.count == options.jobCount)
    self.options = options
    self.targets = targets
    self.savedState = savedState
  }

  /// What it works on.
  package var region: ByteRange {
    guard
      let byteCount = options.regionByteCount,
      let region = ByteRange(offsetBytes: options.offsetBytes, byteCount: byteCount)
    else { preconditionFailure("the job's region is not resolved") }
    return region
  }
}

/// What the engine is told, and told by, from outside.
package struct RunEnvironment: Sendable {
  /// How long one operation may take before its target counts as lost.
  package var timeoutNanoseconds: UInt64 = 30_000_000_000
  /// How long to wait for what is in flight when interrupted.
  package var interruptNanoseconds: UInt64 = 5_000_000_000
  /// How long an interval of the samples is; nil chooses by the runtime.
  package var sampleNanoseconds: UInt64?
  /// Whether intervals are kept, with their latencies: for plots and JSON.
  package var keepsSamples = false
  /// How often `showProgress` is called; 0 for never.
  package var progressNanoseconds: UInt64 = 0
  /// Reads what the process has used so far.
  package var processorTime: @Sendable () -> ProcessorTime = { ProcessorTime() }
  package var showProgress: @Sendable (RunProgress) -> Void = { _ in }

  /// Nothing shown, nothing kept.
  package init() {}
}

/// Runs jobs, side by side or one after the other, and measures them.
///
/// All jobs share the machine and so one thread: what the report says of the client's processor
/// time is that of all jobs that run at once.
package actor BenchRun<RunMachine: Machine> {
  package nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe machine.unownedExecutor }

  private typealias Runner = JobRunner<RunMachine>

  /// What one entry of the report stands for: a job, or with `group_reporting` all that have it
  /// and run at once.
  private struct Unit {
    var runners: [Runner]
    var groupNumber: Int
    var isGroup = false
    var samples = [(iops: SampleSummary, bandwidth: SampleSummary)](
      repeating: (SampleSummary(), SampleSummary()), count: 3)
    var operationCounts: [UInt64] = [0, 0, 0]
    var byteCounts: [UInt64] = [0, 0, 0]
    var processor = ProcessorTime()
    var wholeNanoseconds: UInt64 = 0
  }

  private nonisolated let machine: RunMachine
  private let environment: RunEnvironment
  private let sampleNanoseconds: UInt64
  private var units: [Unit] = []
  private let groupCount: Int
  private var groupNumber = 0
  private var groupStartNanoseconds: UInt64 = 0
  private var startNanoseconds: UInt64 = 0
  private var lastSampleNanoseconds: UInt64 = 0
  private var lastProgressNanoseconds: UInt64 = 0
  private var progressOperations: [UInt64] = [0, 0, 0]
  private var progressBytes: [UInt64] = [0, 0, 0]
  private var interruptedNanoseconds: UInt64?
  private var isOver = false
  private var result = RunResult()
  /// The shortest step of the watch: for time limits, interrupts, progress.
  private static var tickNanoseconds: UInt64 { 100_000_000 }

  package init(jobs: [PlannedJob], environment: RunEnvironment, machine: RunMachine) {
    self.machine = machine
    self.environment = environment
    sampleNanoseconds = environment.sampleNanoseconds ?? Self.sampleLength(jobs)
    var group = 0
    for job in jobs {
      if job.options.waitsForPrevious, !units.isEmpty { group += 1 }
      let runners = job.targets.enumerated().map { index, target in
        Runner(
          options: job.options, cloneIndex: index, target: target, region: job.region,
          verifier: Verifier(
            options: job.options, region: job.region, saved: job.savedState,
            run: machine.randomNumber()),
          samplesLatency: environment.keepsSamples, machine: machine)
      }
      if !job.options.isGroupReporting {
        units += runners.map { Unit(runners: [$0], groupNumber: group) }
      } else if let last = units.indices.last, units[last].isGroup, units[last].groupNumber == group
      {
        units[last].runners += runners
      } else {
        units.append(Unit(runners: runners, groupNumber: group, isGroup: true))
      }
    }
    groupCount = group + 1
  }

  /// A second, or for runs under 20 s as long as gives some forty intervals.
  private static func sampleLength(_ jobs: [PlannedJob]) -> UInt64 {
    let longest = jobs.compactMap(\.options.runtimeNanoseconds).max() ?? 4_000_000_000
    return min(1_000_000_000, max(50_000_000, longest / 40))
  }

  // MARK: Running

  /// Runs every job.
  ///
  /// Ends within bounded time whatever a target does: see `RunEnvironment`.
  package func run() async -> RunResult {
    startNanoseconds = machine.readClock()
    lastSampleNanoseconds = startNanoseconds
    lastProgressNanoseconds = startNanoseconds
    let processorBefore = environment.processorTime()
    let loopBefore = machine.loopCounters
    Task(executorPreference: machine) { await self.watch() }
    for number in 0..<groupCount where interruptedNanoseconds == nil {
      groupNumber = number
      groupStartNanoseconds = machine.readClock()
      await runGroup(number)
    }
    isOver = true
    let now = machine.readClock()
    await sample(now, isLast: true)
    result.elapsedNanoseconds = now - startNanoseconds
    result.processor = environment.processorTime().since(processorBefore)
    result.loop = machine.loopCounters.since(loopBefore)
    result.interruptedAfterNanoseconds = interruptedNanoseconds.map {
      // Perhaps before the run began.
      $0 - min($0, startNanoseconds)
    }
    for index in units.indices { await finish(index) }
    noteSharing()
    return result
  }

  private func runGroup(_ number: Int) async {
    var tasks: [Task<Void, Never>] = []
    for index in units.indices where units[index].groupNumber == number {
      let runners = units[index].runners
      let readProcessor = environment.processorTime
      tasks.append(
        Task(executorPreference: machine) {
          let before = readProcessor()
          let start = self.machine.readClock()
          var clones: [Task<Void, Never>] = []
          for runner in runners {
            clones.append(Task(executorPreference: self.machine) { await runner.run() })
          }
          for clone in clones { await clone.value }
          await self.record(readProcessor().since(before), since: start, of: index)
        })
    }
    for task in tasks { await task.value }
  }

  private func record(_ processor: ProcessorTime, since start: UInt64, of index: Int) {
    units[index].processor = processor
    units[index].wholeNanoseconds = machine.readClock() - start
  }

  private func finish(_ index: Int) async {
    let unit = units[index]
    var merged: JobResult?
    for runner in unit.runners {
      var one = await runner.takeResult(processor: unit.processor)
      result.performedOperationCount += await runner.performedOperationCount
      judgeChecking(&one)
      if merged == nil { merged = one } else { merged?.merge(one) }
    }
    guard var job = merged else { return }
    job.groupNumber = unit.groupNumber
    job.wholeNanoseconds = unit.wholeNanoseconds
    for direction in OperationKind.allCases where job[direction].operationCount > 0 {
      var samples = unit.samples[direction.rawValue]
      if samples.iops.count == 0 {
        samples.iops.add(job[direction].iops)
        samples.bandwidth.add(job[direction].bytesPerSecond)
      }
      job[direction].iopsSamples = samples.iops
      job[direction].bandwidthSamples = samples.bandwidth
    }
    result.jobs.append(job)
  }

  /// Has nobody believe that more was checked than was.
  private func judgeChecking(_ job: inout JobResult) {
    let options = job.options
    guard let found = job.verification else { return }
    let wasCutShort = job.firstError != nil || interruptedNanoseconds != nil
    guard !wasCutShort else {
      if options.writes, options.verifiesAtEnd, found.passNanoseconds == 0 {
        result.notes.append("\(options.name): not all that it has written was read back")
      }
      return
    }
    let wasToCheck = !options.writes || options.verifiesAtEnd
    guard wasToCheck, found.blocksChecked == 0, found.unreadable == 0 else { return }
    // Whoever looks at the exit code alone must not take this for a check that was passed.
    job.errorCount += 1
    job.errorNumber = ENODATA
    job.firstError =
      options.writes
      ? "nothing was checked: it has written nothing"
      : "nothing was checked: of what it has read, the saved state knows nothing"
  }

  private func noteSharing() {
    let sharing = (0..<groupCount).contains { number in
      units.filter { $0.groupNumber == number }.flatMap(\.runners).count > 1
    }
    guard sharing else { return }
    result.notes.append(
      "jobs that run at once share one thread: each one's cpu figures are the whole process's")
  }

  /// What the first job that verifies has written, for a later run.
  package func verifyState() async -> VerifyState? {
    for unit in units {
      for runner in unit.runners {
        if let state = await runner.verifyState { return state }
      }
    }
    return nil
  }

  // MARK: Interrupting

  /// Starts nothing more; what is in flight is waited for, but not for ever.
  package func interrupt() async {
    guard interruptedNanoseconds == nil, !isOver else { return }
    interruptedNanoseconds = machine.readClock()
    for unit in units { for runner in unit.runners { await runner.interrupt() } }
  }

  // MARK: Watching

  /// Looks after time limits, samples and progress until the run is over.
  private func watch() async {
    let tick = min(Self.tickNanoseconds, sampleNanoseconds)
    while !isOver {
      await machine.sleep(nanoseconds: tick)
      guard !isOver else { return }
      let now = machine.readClock()
      await enforceLimits(now)
      if now - lastSampleNanoseconds >= sampleNanoseconds { await sample(now, isLast: false) }
      let period = environment.progressNanoseconds
      if period > 0, now - lastProgressNanoseconds >= period { await showProgress(now) }
    }
  }

  private func enforceLimits(_ now: UInt64) async {
    if let since = interruptedNanoseconds, now - since >= environment.interruptNanoseconds {
      for unit in units {
        for runner in unit.runners { result.abandonedOperationCount += await runner.abandon() }
      }
      return
    }
    // A target that keeps its own time gives the better reason: it gets a second more.
    let limit = environment.timeoutNanoseconds.addingSaturating(1_000_000_000)
    for unit in units where unit.groupNumber == groupNumber {
      for runner in unit.runners where await runner.oldestAge(now: now) > limit {
        result.abandonedOperationCount += await runner.giveUp(
          afterNanoseconds: environment.timeoutNanoseconds)
      }
    }
  }

  private func sample(_ now: UInt64, isLast: Bool) async {
    let length = now - lastSampleNanoseconds
    // What is left at the end says little unless it is long enough, or all there is.
    let isRest = isLast && length < sampleNanoseconds / 2 && !result.samples.isEmpty
    if length == 0 || isRest { return }
    var operations: [UInt64] = [0, 0, 0]
    var bytes: [UInt64] = [0, 0, 0]
    var latency = LatencyHistogram()
    var hasCounted = false
    // Those that have ended as well: what they did last belongs to the interval in which they ended.
    for index in units.indices where units[index].groupNumber <= groupNumber {
      var counts: [UInt64] = [0, 0, 0]
      var byteCounts: [UInt64] = [0, 0, 0]
      var isMeasuring = false
      for runner in units[index].runners {
        let progress = await runner.progress(now: now)
        for way in 0..<3 {
          counts[way] += progress.operationCounts[way]
          byteCounts[way] += progress.byteCounts[way]
        }
        if progress.hasCounted, !progress.isOver, !progress.isVerifying { isMeasuring = true }
        if environment.keepsSamples { latency.merge(await runner.takeInterval()) }
      }
      let wasFirst = units[index].operationCounts == [0, 0, 0]
      for way in 0..<3 {
        let count = counts[way] - units[index].operationCounts[way]
        let byteCount = byteCounts[way] - units[index].byteCounts[way]
        operations[way] += count
        bytes[way] += byteCount
        // The interval in which a job begins or ends is not whole.
        if isMeasuring, !wasFirst, counts[way] > 0 {
          let seconds = Double(length) / 1e9
          units[index].samples[way].iops.add(Double(count) / seconds)
          units[index].samples[way].bandwidth.add(Double(byteCount) / seconds)
        }
      }
      hasCounted = hasCounted || isMeasuring || counts != units[index].operationCounts
      units[index].operationCounts = counts
      units[index].byteCounts = byteCounts
    }
    lastSampleNanoseconds = now
    guard environment.keepsSamples, hasCounted else { return }
    result.samples.append(
      IntervalSample(
        endNanoseconds: now - startNanoseconds, lengthNanoseconds: length,
        operationCounts: operations, byteCounts: bytes,
        medianNanoseconds: latency.percentile(0.5),
        percentile99Nanoseconds: latency.percentile(0.99),
        maximumNanoseconds: latency.maximumNanoseconds))
  }

  private func showProgress(_ now: UInt64) async {
    var progress = RunProgress(
      elapsedNanoseconds: now - startNanoseconds, groupNumber: groupNumber, groupCount: groupCount)
    var operations: [UInt64] = [0, 0, 0]
    var bytes: [UInt64] = [0, 0, 0]
    var fraction = 1.0
    for unit in units {
      for runner in unit.runners {
        let job = await runner.progress(now: now)
        for way in 0..<3 {
          operations[way] += job.operationCounts[way]
          bytes[way] += job.byteCounts[way]
        }
        progress.errorCount += job.errorCount
        guard unit.groupNumber == groupNumber, !job.isOver else { continue }
        fraction = min(fraction, job.fraction)
        progress.isVerifying = progress.isVerifying || job.isVerifying
        progress.isRamping = progress.isRamping || job.isRamping
      }
    }
    let seconds = Double(max(1, now - lastProgressNanoseconds)) / 1e9
    for way in 0..<3 {
      progress.iops[way] = Double(operations[way] - progressOperations[way]) / seconds
      progress.bytesPerSecond[way] = Double(bytes[way] - progressBytes[way]) / seconds
    }
    progress.fraction = fraction
    let spent = Double(now - groupStartNanoseconds)
    if fraction > 0.001, !progress.isVerifying {
      progress.remainingNanoseconds = UInt64(spent * (1 - fraction) / fraction)
    }
    progress.isInterrupted = interruptedNanoseconds != nil
    progressOperations = operations
    progressBytes = bytes
    lastProgressNanoseconds = now
    environment.showProgress(progress)
  }
}

extension LoopCounters {
  /// What was done since `earlier`.
  func since(_ earlier: LoopCounters) -> LoopCounters {
    var difference = LoopCounters()
    difference.turnCount = turnCount &- earlier.turnCount
    difference.enterCount = enterCount &- earlier.enterCount
    difference.jobCount = jobCount &- earlier.jobCount
    difference.completionCount = completionCount &- earlier.completionCount
    return difference
  }
}
