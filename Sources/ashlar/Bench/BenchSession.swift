import Bench
import Control
import Glibc
import IO
import Ring
import Units

/// What the command line asks for, checked.
struct BenchSettings: Sendable {
  enum Format: Sendable {
    case normal, json, terse
  }

  /// In the order of the file, not yet resolved against their targets.
  var jobs: [JobOptions]
  var format = Format.normal
  var outputPath: String?
  var plotPath: String?
  var timeoutNanoseconds: UInt64 = 30_000_000_000
  var mayOverwrite = false
  var progress = ProgressDisplay.Mode.automatic
  var stateSavePath: String?
  var stateLoadPath: String?
}

/// One `ashlar bench`: opens the targets, looks what they hold, runs, reports.
actor BenchSession {
  nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe machine.unownedExecutor }

  private nonisolated let machine: RingMachine
  private let settings: BenchSettings
  private let signals: SignalStream
  private let display: ProgressDisplay
  private var bench: BenchRun<RingMachine>?
  private var firstSignal: Int32?

  init(machine: RingMachine, settings: BenchSettings, signals: SignalStream) {
    self.machine = machine
    self.settings = settings
    self.signals = signals
    display = ProgressDisplay(settings.progress)
  }

  /// - Returns: the process's exit code.
  func run() async -> Int32 {
    Task(executorPreference: machine) { await self.watchSignals() }
    let opener = TargetOpener(
      machine: machine, timeoutNanoseconds: settings.timeoutNanoseconds
    ) { text in
      Terminal.error.write("ashlar bench: note: \(text)\n")
    }
    do throws(BenchError) {
      let outputs = try openOutputs()
      let jobs: [PlannedJob]
      do throws(BenchError) {
        jobs = try await plan(opener, try loadState(), outputs)
      } catch {
        await opener.undo()
        outputs.discard()
        throw error
      }
      let result = await perform(jobs)
      // A target that has not answered would not answer the farewell either.
      if result.abandonedOperationCount == 0 { await opener.close() }
      try await deliver(result, outputs)
      if let firstSignal { return 128 + firstSignal }
      return result.isGood ? ExitCode.success : ExitCode.failure
    } catch {
      display.clear()
      Complaint.print(command: "bench", error.message)
      return firstSignal.map { 128 + $0 } ?? error.exitCode
    }
  }

  // MARK: Before the run

  private struct Outputs {
    var report: ReportFile?
    var plot: ReportFile?
    var state: ReportFile?

    var all: [ReportFile] { [report, plot, state].compactMap(\.self) }

    func discard() { for file in all { file.discard() } }
  }

  private func openOutputs() throws(BenchError) -> Outputs {
    var outputs = Outputs()
    do throws(BenchError) {
      outputs.report = try openOutput(settings.outputPath)
      outputs.plot = try openOutput(settings.plotPath)
      outputs.state = try openOutput(settings.stateSavePath)
    } catch {
      outputs.discard()
      throw error
    }
    return outputs
  }

  private func openOutput(_ path: String?) throws(BenchError) -> ReportFile? {
    guard let path else { return nil }
    return try ReportFile(path: path)
  }

  private func loadState() throws(BenchError) -> VerifyState? {
    guard let path = settings.stateLoadPath else { return nil }
    let bytes: [UInt8]
    do throws(SystemError) {
      // Four bytes for each block: as large as the table that is made of it.
      bytes = try SmallFile.read(path, byteCountMax: .max)
    } catch {
      throw BenchError("cannot read \(path): \(error)")
    }
    do throws(VerifyStateError) {
      return try VerifyState(decoding: bytes)
    } catch {
      throw BenchError("\(path) \(error.reason)")
    }
  }

  /// What each job works on, before anything of it is opened.
  private func choose(_ outputs: Outputs) throws(BenchError) -> [(JobOptions, TargetChoice)] {
    var choices: [(JobOptions, TargetChoice)] = []
    for job in settings.jobs {
      let choice = try TargetChoice.resolve(job.target ?? "") { text in
        Terminal.error.write("ashlar bench: note: \(text)\n")
      }
      if case .path(let path) = choice, let target = FileIdentity(path: path),
        let output = outputs.all.first(where: { $0.identity == target })
      {
        throw BenchError(
          "\(path) is the target, and writing \(output.path) would destroy it: choose another file",
          isUsage: true)
      }
      choices.append((job, choice))
    }
    return choices
  }

  private func plan(
    _ opener: TargetOpener, _ state: VerifyState?, _ outputs: Outputs
  ) async throws(BenchError) -> [PlannedJob] {
    let choices = try choose(outputs)
    var jobs: [PlannedJob] = []
    for (job, choice) in choices {
      let targets = try await opener.open(job, choice, among: choices)
      let resolved = try resolve(job, targets[0])
      if job.changesTarget, !settings.mayOverwrite { try await examine(targets[0], resolved) }
      let verifies = resolved.verify != .none && !resolved.writes
      if verifies, let problem = state?.objection(to: resolved) {
        throw BenchError("\(resolved.name): \(problem)", isUsage: true)
      }
      jobs.append(
        PlannedJob(options: resolved, targets: targets, savedState: verifies ? state : nil))
    }
    do throws(UsageError) {
      try JobPlan.checkOverlaps(
        zip(jobs, choices).map { job, choice in
          // A NAME and its URI are one target.
          var options = job.options
          options.target = choice.1.identity
          return options
        })
      try JobPlan.checkMemory(
        jobs.map(\.options), availableByteCount: Self.availableByteCount() ?? .max)
    } catch {
      throw BenchError(error.message, isUsage: true)
    }
    return jobs
  }

  private static func availableByteCount() -> UInt64? {
    // "MemAvailable:   12345 kB"
    let line = SmallFile.text("/proc/meminfo")?.split(separator: "\n")
      .first { $0.hasPrefix("MemAvailable:") }
    return line?.split(separator: " ").dropFirst().first.flatMap { UInt64($0) }.map { $0 << 10 }
  }

  private func resolve(
    _ job: JobOptions, _ target: any BenchTarget
  ) throws(BenchError) -> JobOptions {
    do throws(UsageError) {
      return try job.resolved(for: target.byteCount, alignmentBytes: target.alignmentBytes)
    } catch {
      throw BenchError("\(target.description): \(error.message)", isUsage: true)
    }
  }

  /// Refuses to destroy what somebody may want to keep.
  private func examine(_ target: any BenchTarget, _ job: JobOptions) async throws(BenchError) {
    let found: String?
    do throws(TargetError) {
      let start = job.offsetBytes
      let region = ByteRange(from: start, to: start + (job.regionByteCount ?? 0))
      found = try await ContentsProbe.contents(of: target, region: region)
    } catch {
      switch error {
      case .refused(let reason), .lost(let reason):
        throw BenchError("\(target.description): its contents cannot be looked at: \(reason)")
      }
    }
    guard let found else { return }
    throw BenchError(
      "\(target.description) holds \(found), and --rw=\(job.workload.rawValue) would destroy it: "
        + "nothing was written. If nobody needs it, add --overwrite")
  }

  // MARK: The run

  private func perform(_ jobs: [PlannedJob]) async -> RunResult {
    var environment = RunEnvironment()
    environment.timeoutNanoseconds = settings.timeoutNanoseconds
    environment.keepsSamples = settings.plotPath != nil || settings.format == .json
    environment.progressNanoseconds = display.periodNanoseconds
    environment.processorTime = processorTimeNow
    environment.showProgress = { [display] in display.show($0) }
    let bench = BenchRun(jobs: jobs, environment: environment, machine: machine)
    self.bench = bench
    if firstSignal != nil { await bench.interrupt() }
    var now = timespec()
    // Safe: `now` lives until the call returns.
    unsafe _ = clock_gettime(CLOCK_REALTIME, &now)
    var result = await bench.run()
    display.clear()
    result.startedMilliseconds = UInt64(max(0, now.tv_sec)) * 1000 + UInt64(now.tv_nsec) / 1_000_000
    return result
  }

  private func watchSignals() async {
    while let signal = await signals.next() {
      // The second one means it.
      guard firstSignal == nil, let bench else {
        display.clear()
        exit(128 + signal)
      }
      firstSignal = signal
      await bench.interrupt()
    }
  }

  // MARK: After the run

  /// Writes everything that was asked for, also where one of it cannot be written: a run is not
  /// repeated for a full disk or a reader that has gone.
  ///
  /// - Throws: the first that could not be written.
  private func deliver(_ result: RunResult, _ outputs: Outputs) async throws(BenchError) {
    var problem: BenchError?
    func attempt(_ write: () throws(BenchError) -> Void) {
      do throws(BenchError) { try write() } catch { problem = problem ?? error }
    }
    attempt { () throws(BenchError) in try writeReport(result, outputs.report) }
    if settings.format != .normal { tellTrouble(result) }
    if let file = outputs.plot {
      let names = result.jobs.map(\.options.name)
      let title = "\(names.prefix(4).joined(separator: ", ")) on \(result.jobs.first?.target ?? "")"
      let plot = Plot(title: title, samples: result.samples)
      attempt { () throws(BenchError) in try file.write(Array(plot.text.utf8)) }
    }
    if let file = outputs.state, let state = await bench?.verifyState() {
      attempt { () throws(BenchError) in try file.write(state.encoded) }
    }
    if let problem { throw problem }
  }

  private func writeReport(_ result: RunResult, _ file: ReportFile?) throws(BenchError) {
    let text: String
    switch settings.format {
    case .normal: text = NormalReport.text(result)
    case .json: text = JSONReport.value(result).text + "\n"
    case .terse: text = TerseReport.text(result)
    }
    if let file {
      try file.write(Array(text.utf8))
    } else if !Terminal.output.write(text) {
      throw BenchError("standard output is closed")
    }
  }

  /// Scripts read the report; whoever watches the terminal must see what went wrong, too.
  private func tellTrouble(_ result: RunResult) {
    if let note = result.interruptionNote { Terminal.error.write("ashlar bench: \(note)\n") }
    for job in result.jobs {
      if let error = job.firstError {
        Terminal.error.write("ashlar bench: \(job.options.name): \(error)\n")
      }
      if let found = job.verification, found.faultCount > 0 {
        Terminal.error.write(
          "ashlar bench: \(job.options.name): \(found.faultCount) bad blocks; the first: "
            + "\(found.sentences.first ?? "")\n")
      }
    }
  }
}
