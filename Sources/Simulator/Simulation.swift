import Glibc

/// A seeded world: one thread, virtual time, machines that share both.
///
/// It picks by seed which ready job runs next, and when none is ready its clock jumps to the next
/// event. The same seed and the same code give the same run, byte for byte (`trace.digest`).
///
/// A simulation is used by one thread at a time: all of it happens inside `run`, on the caller's
/// thread. A job that arrives from another thread means that some code left its machine (for
/// example by a plain `Task {}` outside any actor) and traps.
package final class Simulation: @unchecked Sendable {
  /// How long a run may take before it counts as failed.
  package struct Limits: Sendable {
    package var virtualNanoseconds: UInt64
    package var stepCount: Int

    package init(virtualNanoseconds: UInt64 = 3_600_000_000_000, stepCount: Int = 5_000_000) {
      self.virtualNanoseconds = virtualNanoseconds
      self.stepCount = stepCount
    }
  }

  private struct ReadyJob {
    // Safe: the runtime keeps a job until it has run; each is run at most once.
    let job: UnownedJob
    let machine: SimulatedMachine
    let sequence: UInt64
  }

  private struct WeakMachine {
    weak var machine: SimulatedMachine?
  }

  package let seed: UInt64
  /// Virtual time.
  ///
  /// It does not start at 0, because no real clock reads 0 after boot.
  package private(set) var nowNanoseconds: UInt64 = 1_000_000_000
  package private(set) var trace: Trace
  /// Jobs run and events fired so far.
  package private(set) var stepCount = 0
  /// The longest virtual time that one job may take; the actual one is drawn.
  package var jobNanosecondsMax: UInt64 = 500

  private var scheduling: RandomSource
  private var root: RandomSource
  private var ready: [ReadyJob] = []
  private var events = EventQueue()
  private var jobSequence: UInt64 = 0
  private var eventSequence: UInt64 = 0
  private var partCount: UInt64 = 0
  private var machines: [WeakMachine] = []
  private var runner: pthread_t?
  private var runningMachine: SimulatedMachine?

  package init(seed: UInt64, recordsTrace: Bool = false) {
    self.seed = seed
    trace = Trace(seed: seed, recordsLines: recordsTrace)
    root = RandomSource(seed: seed)
    scheduling = root.split()
  }

  // MARK: Running

  /// Runs `body` on the machine until it returns.
  ///
  /// What it left running stays where it is and goes on with the next `run`. Tasks that never end
  /// are never freed, nor is what they hold.
  ///
  /// - Returns: what `body` returned; nil when the machine crashed before that.
  /// - Throws: when `body` throws, hangs, or passes a limit. The failure tells the seed.
  @discardableResult
  package func run<Value: Sendable>(
    on machine: SimulatedMachine, within limits: Limits = Limits(),
    _ body: @escaping @Sendable () async throws -> Value
  ) throws(SimulationFailure) -> Value? {
    let outcome = BodyOutcome<Value>()
    machine.start {
      do { outcome.result = .success(try await body()) } catch { outcome.result = .failure(error) }
    }
    let reason = drive(within: limits) { outcome.result != nil || machine.crashKind != nil }
    if let reason { throw failure(reason) }
    switch outcome.result {
    case .success(let value): return value
    case .failure(let error): throw failure(.threw(String(describing: error)))
    case nil: return nil
    }
  }

  /// Runs until nothing is ready and nothing is going to happen.
  package func runUntilQuiet(within limits: Limits = Limits()) throws(SimulationFailure) {
    let reason = drive(within: limits) { ready.isEmpty && events.isEmpty }
    if let reason { throw failure(reason) }
  }

  /// Does something once, so much later.
  ///
  /// It runs between jobs, and must not wait.
  package func schedule(afterNanoseconds delay: UInt64, _ action: @escaping @Sendable () -> Void) {
    schedule(after: delay, on: nil, action)
  }

  /// Kills every machine, so that what their unfinished tasks hold of the simulation is freed.
  ///
  /// For campaigns of many histories. The tasks themselves, and memory of their own, stay.
  package func end() {
    for entry in machines { entry.machine?.crash(.kill) }
    machines = []
  }

  private func drive(within limits: Limits, until isDone: () -> Bool) -> SimulationFailure.Reason? {
    precondition(runner == nil, "a simulation runs one thing at a time")
    runner = pthread_self()
    defer { runner = nil }
    let deadline = nowNanoseconds.addingSaturating(limits.virtualNanoseconds)
    let stepEnd = stepCount + limits.stepCount
    while !isDone() {
      guard stepCount < stepEnd else { return .tooManySteps }
      guard nowNanoseconds <= deadline else { return .deadlinePassed }
      stepCount += 1
      if let first = events.firstNanoseconds, first <= nowNanoseconds || ready.isEmpty {
        guard first <= deadline else { return .deadlinePassed }
        nowNanoseconds = max(nowNanoseconds, first)
        fire(events.popFirst())
      } else if !ready.isEmpty {
        runOneJob()
      } else {
        return .hung
      }
    }
    return nil
  }

  private func fire(_ event: EventQueue.Event?) {
    guard let event else { return }
    if let machine = event.machine, machine.isStalled {
      events.insert(event.delayed(to: machine.stalledUntilNanoseconds))
    } else {
      event.action()
    }
  }

  private func runOneJob() {
    let index = scheduling.index(below: ready.count)
    ready.swapAt(index, ready.count - 1)
    let picked = ready.removeLast()
    note(
      .job, picked.sequence, UInt64(index), picked.machine.number,
      "\(picked.sequence) on \(picked.machine.name)")
    runningMachine = picked.machine
    // Safe: taken out of `ready`, so it is run this once.
    unsafe picked.job.runSynchronously(
      isolatedTo: picked.machine.asUnownedSerialExecutor(),
      taskExecutor: picked.machine.asUnownedTaskExecutor())
    runningMachine = nil
    if jobNanosecondsMax > 0 {
      nowNanoseconds += scheduling.next(below: jobNanosecondsMax + 1)
    }
  }

  private func failure(_ reason: SimulationFailure.Reason) -> SimulationFailure {
    SimulationFailure(
      seed: seed, reason: reason, nowNanoseconds: nowNanoseconds, stepCount: stepCount)
  }

  // MARK: For the parts

  func enqueue(_ job: UnownedJob, on machine: SimulatedMachine) {
    confine()
    // What a crashed machine still had to do never happens.
    guard machine.crashKind == nil else { return }
    guard !machine.isStalled else { return machine.hold(job) }
    jobSequence += 1
    ready.append(ReadyJob(job: job, machine: machine, sequence: jobSequence))
  }

  func schedule(
    after delay: UInt64, on machine: SimulatedMachine?, _ action: @escaping () -> Void
  ) {
    confine()
    guard machine?.crashKind == nil else { return }
    eventSequence += 1
    events.insert(
      EventQueue.Event(
        atNanoseconds: nowNanoseconds.addingSaturating(delay), sequence: eventSequence,
        machine: machine, action: action))
  }

  func add(_ machine: SimulatedMachine) {
    machines.append(WeakMachine(machine: machine))
  }

  /// Drops every job and event of a machine that has just crashed.
  func forget(_ machine: SimulatedMachine) {
    ready.removeAll { $0.machine === machine }
    events.removeAll(of: machine)
  }

  /// Takes the ready jobs of a machine that stalls.
  func takeReadyJobs(of machine: SimulatedMachine) -> [UnownedJob] {
    let taken = ready.filter { $0.machine === machine }
    ready.removeAll { $0.machine === machine }
    return taken.map { $0.job }
  }

  /// Traps when something runs that this simulation did not start.
  func confine() {
    guard let runner else { return }
    precondition(
      pthread_equal(runner, pthread_self()) != 0,
      "code of simulation \(seed) runs on a thread of its own: start tasks with `machine.start`")
  }

  func isRunning(_ machine: SimulatedMachine) -> Bool {
    guard let runner, runningMachine === machine else { return false }
    return pthread_equal(runner, pthread_self()) != 0
  }

  /// A source for one part, and the number that names it in the trace.
  func makeSource() -> RandomSource { root.split() }

  func makePartNumber() -> UInt64 {
    partCount += 1
    return partCount
  }

  func note(
    _ kind: Trace.Kind, _ first: UInt64, _ second: UInt64, _ third: UInt64,
    _ line: @autoclosure () -> String
  ) {
    trace.note(kind, at: nowNanoseconds, first, second, third, line())
  }
}

/// Why a run failed, and how to see it again.
package struct SimulationFailure: Error, CustomStringConvertible, Sendable {
  /// What went wrong.
  package enum Reason: Equatable, Sendable {
    /// Nothing was ready, nothing was going to happen, and the body had not returned.
    case hung
    /// The limit of virtual time.
    case deadlinePassed
    /// The limit of steps: a loop that waits for nothing.
    case tooManySteps
    /// The body threw.
    case threw(String)
  }

  package let seed: UInt64
  package let reason: Reason
  package let nowNanoseconds: UInt64
  package let stepCount: Int

  package var description: String {
    let what =
      switch reason {
      case .hung: "hung: nothing is ready and nothing is going to happen"
      case .deadlinePassed: "was not done within its virtual time"
      case .tooManySteps: "was not done within its number of steps"
      case .threw(let error): "threw \(error)"
      }
    return "seed 0x\(String(seed, radix: 16)): \(what) (at \(nowNanoseconds) ns, step \(stepCount))"
  }
}

/// Where a body leaves what it came to.
///
/// Written on the simulation's thread, read after it.
private final class BodyOutcome<Value: Sendable>: @unchecked Sendable {
  var result: Result<Value, any Error>?
}

extension UInt64 {
  /// The sum, or `max` where it would not fit.
  func addingSaturating(_ other: UInt64) -> UInt64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
  }
}
