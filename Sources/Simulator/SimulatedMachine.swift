package import IO

/// How a machine ends without warning.
package enum CrashKind: Equatable, Sendable {
  /// `kill -9`: the process is gone, its kernel goes on. Written data stays, flushed or not.
  case kill
  /// Power loss: of what was not flushed, each sector survives or not.
  case powerLoss
}

/// What lives on a machine and learns of its crash.
protocol MachinePart: AnyObject {
  /// Called once, after the machine's jobs and events are gone.
  func machineCrashed(_ kind: CrashKind)
}

/// One machine of a simulation: the executor of its actors, its clock, its randomness.
///
/// Actors take it as their `unownedExecutor`; `run` and `start` begin tasks on it.
package final class SimulatedMachine: Machine, SerialExecutor, TaskExecutor, @unchecked Sendable {
  package typealias MachineDisk = SimulatedDisk
  package typealias MachineStream = SimulatedStream
  package typealias MachineListener = SimulatedListener

  private struct Attachment {
    weak var part: (any MachinePart)?
  }

  package let simulation: Simulation
  package let name: String
  /// Fails operations of this machine's disks, streams and listeners by number.
  package let faultPlan = FaultPlan()
  /// How it crashed, if it did.
  ///
  /// Such a machine never runs again: build a new one.
  package private(set) var crashKind: CrashKind?
  /// Told of the crash when its media are as it left them; must not wait.
  package var onCrash: @Sendable (CrashKind) -> Void = { _ in }
  /// Until when it does nothing: see `stall`.
  private(set) var stalledUntilNanoseconds: UInt64 = 0
  private var heldJobs: [UnownedJob] = []
  let number: UInt64
  private var random: RandomSource
  private var attachments: [Attachment] = []
  private var attachmentsPruneCount = 16

  package init(_ simulation: Simulation, name: String = "machine") {
    self.simulation = simulation
    self.name = name
    number = simulation.makePartNumber()
    random = simulation.makeSource()
    simulation.add(self)
  }

  /// A machine in a simulation of its own.
  package convenience init(seed: UInt64, recordsTrace: Bool = false) {
    self.init(Simulation(seed: seed, recordsTrace: recordsTrace))
  }

  // MARK: Machine

  package nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: whoever uses the machine's executor keeps the machine.
    unsafe asUnownedSerialExecutor()
  }

  package var nowNanoseconds: UInt64 { simulation.nowNanoseconds }

  package func readClock() -> UInt64 { simulation.nowNanoseconds }

  /// Simulated time says nothing about cost.
  package var loopCounters: LoopCounters { LoopCounters() }

  package func sleep(nanoseconds: UInt64) async {
    // Timers are late, never early.
    let lateNanoseconds = random.next(below: 20_000)
    await pause(nanoseconds: nanoseconds.addingSaturating(lateNanoseconds))
  }

  package func randomNumber() -> UInt64 {
    simulation.confine()
    let number = random.next()
    simulation.note(.random, number, 0, 0, "\(number)")
    return number
  }

  // MARK: Executor

  package func enqueue(_ job: consuming ExecutorJob) {
    simulation.enqueue(UnownedJob(job), on: self)
  }

  package func checkIsolated() {
    precondition(simulation.isRunning(self), "not on the executor of machine \(name)")
  }

  package func isIsolatingCurrentContext() -> Bool? { simulation.isRunning(self) }

  // MARK: Running and crashing

  /// Runs `body` here until it returns: see `Simulation.run`.
  @discardableResult
  package func run<Value: Sendable>(
    within limits: Simulation.Limits = Simulation.Limits(),
    _ body: @escaping @Sendable () async throws -> Value
  ) throws(SimulationFailure) -> Value? {
    try simulation.run(on: self, within: limits, body)
  }

  /// Starts a task here.
  ///
  /// It runs when the simulation does.
  @discardableResult
  package func start(_ body: @escaping @Sendable () async -> Void) -> Task<Void, Never> {
    Task(executorPreference: self) { await body() }
  }

  /// Ends the machine at this instant.
  ///
  /// No task of it is resumed again: they stay suspended and are never freed, nor is what they
  /// hold; a crashed process leaves no other way. A job that is running goes on to its next
  /// suspension, and nothing it starts has an effect. Operations in flight take effect in part,
  /// by seed. The disks' media survive as the kind of crash leaves them; streams are reset by the
  /// kernel (`kill`) or fall silent (`powerLoss`).
  package func crash(_ kind: CrashKind) {
    simulation.confine()
    guard crashKind == nil else { return }
    crashKind = kind
    simulation.note(.crash, number, kind == .kill ? 0 : 1, 0, "\(name) \(kind)")
    simulation.forget(self)
    let parts = attachments.compactMap(\.part)
    attachments = []
    for part in parts { part.machineCrashed(kind) }
    heldJobs.removeAll()
    onCrash(kind)
  }

  /// Does nothing for so long, as a stopped process or a paused guest: then it goes on, and its clock
  /// has gone on meanwhile.
  ///
  /// What it has sent arrives, and what is sent to it waits; its disks rest as well.
  package func stall(nanoseconds: UInt64) {
    simulation.confine()
    guard crashKind == nil else { return }
    stalledUntilNanoseconds = max(
      stalledUntilNanoseconds, simulation.nowNanoseconds.addingSaturating(nanoseconds))
    heldJobs += simulation.takeReadyJobs(of: self)
    simulation.schedule(after: nanoseconds, on: nil) { self.goOn() }
  }

  var isStalled: Bool { simulation.nowNanoseconds < stalledUntilNanoseconds }

  private func goOn() {
    guard !isStalled else { return }
    let jobs = heldJobs
    heldJobs.removeAll()
    for job in jobs { simulation.enqueue(job, on: self) }
  }

  /// Keeps a job until a stall ends.
  func hold(_ job: UnownedJob) { heldJobs.append(job) }

  // MARK: For the parts

  func attach(_ part: any MachinePart) {
    if attachments.count >= attachmentsPruneCount {
      attachments.removeAll { $0.part == nil }
      attachmentsPruneCount = max(16, attachments.count * 2)
    }
    attachments.append(Attachment(part: part))
  }

  /// Suspends the caller until the waiter that `register` keeps is resumed.
  ///
  /// Outside actors the runtime may let other jobs run before it calls `register`: what the caller
  /// has seen before may no longer hold there, and is to be looked at again.
  func suspend(_ register: (Waiter) -> Void) async {
    simulation.confine()
    // Safe: the waiter resumes it at most once; a crash leaves it suspended on purpose.
    await unsafe withUnsafeContinuation { continuation in
      unsafe register(Waiter(continuation))
    }
  }

  /// Suspends the caller for exactly so long.
  func pause(nanoseconds: UInt64) async {
    await suspend { waiter in
      simulation.schedule(after: nanoseconds, on: self) { waiter.resume() }
    }
  }
}

/// A suspended caller, resumed once or never.
@safe
final class Waiter {
  // Safe: taken out before it is resumed.
  private var continuation: UnsafeContinuation<Void, Never>?

  init(_ continuation: UnsafeContinuation<Void, Never>) {
    unsafe self.continuation = unsafe continuation
  }

  func resume() {
    guard let resumed = unsafe continuation else { preconditionFailure("resumed twice") }
    unsafe continuation = nil
    unsafe resumed.resume()
  }
}
