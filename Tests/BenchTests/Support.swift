import Bench
import IO
import Simulator
import Synchronization
import TestSupport

let second: UInt64 = 1_000_000_000
let kib: UInt64 = 1024

/// Copies bytes to the start of a view.
func put(_ bytes: [UInt8], into buffer: IOBuffer) {
  let memory = AlignedMemory.holding(bytes)
  let source = memory.buffer
  buffer.copy(from: source.prefix(bytes.count))
  withExtendedLifetime(memory) {}
}

/// Keeps the tests' memory, so that views of it stay good: a view owns nothing.
private let kept = Mutex<[AlignedMemory]>([])

/// Zeros that stay where they are until the tests have ended.
func zeroed(_ byteCount: Int) -> AlignedMemory {
  let memory = AlignedMemory.ofTest(byteCount)
  kept.withLock { $0.append(memory) }
  return memory
}

extension AlignedMemory {
  /// The first bytes.
  func view(_ byteCount: Int) -> IOBuffer { buffer.prefix(byteCount) }
}

/// A machine with one target, and jobs on it.
struct BenchSite: Sendable {
  let machine: SimulatedMachine
  let target: TestTarget

  init(seed: UInt64 = 1, byteCount: UInt64 = 1 << 20) {
    machine = SimulatedMachine(seed: seed)
    target = TestTarget(machine, byteCount: byteCount)
  }

  /// A job on the whole target, or as `change` says.
  func job(_ workload: Workload, _ change: (inout JobOptions) -> Void = { _ in }) -> JobOptions {
    var options = JobOptions()
    options.workload = workload
    options.regionByteCount = target.byteCount
    change(&options)
    return options
  }

  func planned(_ options: JobOptions, saved: VerifyState? = nil) -> PlannedJob {
    PlannedJob(
      options: options,
      targets: [any BenchTarget](repeating: target, count: options.jobCount), savedState: saved)
  }

  /// Runs the jobs to their end, or until `during` has it end.
  func run(
    _ jobs: [PlannedJob], environment: RunEnvironment = RunEnvironment(),
    during: @escaping @Sendable (BenchRun<SimulatedMachine>) async -> Void = { _ in }
  ) throws -> (result: RunResult, state: VerifyState?) {
    let machine = machine
    let outcome = try machine.run {
      let run = BenchRun(jobs: jobs, environment: environment, machine: machine)
      Task(executorPreference: machine) { await during(run) }
      let result = await run.run()
      return (result, await run.verifyState())
    }
    guard let outcome else { preconditionFailure("the machine has crashed") }
    return outcome
  }

  func run(
    _ options: JobOptions..., environment: RunEnvironment = RunEnvironment()
  ) throws -> RunResult {
    try run(options.map { planned($0) }, environment: environment).result
  }
}
