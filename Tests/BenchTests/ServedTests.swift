import IO
import NBDServer
import NBDWire
import Simulator
import TestSupport
import Testing
import Units
import Volumes

@testable import Bench
@testable import NBDClient

/// The engine, our client and our server on one simulated network.
private struct ServedSite: Sendable {
  let simulation: Simulation
  let machine: SimulatedMachine
  let far: SimulatedMachine
  let network: SimulatedNetwork

  init(seed: UInt64) {
    simulation = Simulation(seed: seed)
    machine = SimulatedMachine(simulation, name: "client")
    far = SimulatedMachine(simulation, name: "server")
    network = SimulatedNetwork(simulation)
  }

  /// Runs a job on so many connections to 1 MiB of memory.
  func run(
    connections: Int, _ change: @escaping @Sendable (inout JobOptions) -> Void,
    during: @escaping @Sendable () async -> Void = {}
  ) throws -> RunResult {
    let result = try machine.run {
      guard let volume = MemoryVolume(byteCount: 1 << 20),
        let listener = network.listen(on: far, at: "unix:/a.sock")
      else { preconditionFailure("no server for a test") }
      let server = NBDServer(
        volume: volume, options: ServerOptions(name: "a"), machine: far,
        log: ServerLog { _, _ in })
      await server.listen(at: listener)
      var clients: [NBDClient<SimulatedMachine>] = []
      for _ in 0..<connections {
        let stream = try await network.connect(from: machine, to: "unix:/a.sock").get()
        var options = ClientOptions(exportName: "a")
        options.requestNanoseconds = 3 * second
        clients.append(
          try await NBDClient.connect(over: stream, options: options, machine: machine))
      }
      let target = NBDTarget(clients: clients, description: "nbd://test/a")
      var options = JobOptions()
      change(&options)
      let job = PlannedJob(
        options: try options.resolved(
          for: target.byteCount, alignmentBytes: target.alignmentBytes),
        targets: [target])
      Task(executorPreference: machine) { await during() }
      var environment = RunEnvironment()
      environment.timeoutNanoseconds = 3 * second
      let result = await BenchRun(jobs: [job], environment: environment, machine: machine).run()
      await target.close()
      return result
    }
    return try #require(result)
  }
}

@Suite("Bench: over NBD")
struct ServedTests {
  @Test(
    "a verified job over one connection or several finds everything as it was written",
    arguments: [1, 3])
  func verified(connections: Int) throws {
    for seed in 1...5 as ClosedRange<UInt64> {
      let result = try ServedSite(seed: seed).run(connections: connections) {
        $0.workload = .randrw
        $0.ioDepth = 16
        $0.ioByteCount = 4 << 20
        $0.verify = .crc32c
        $0.fsyncInterval = 50
        ($0.blockByteCountMin, $0.blockByteCountMax) = (4096, 16384)
      }
      #expect(result.isGood, "seed \(seed): \(NormalReport.text(result))")
      let job = result.jobs[0]
      #expect(job.read.byteCount + job.write.byteCount >= 4 << 20)
      #expect((job.verification?.blocksChecked ?? 0) > 0)
      #expect(job.sync.operationCount == job.write.operationCount / 50)
    }
  }

  @Test("trimming reaches the server")
  func trims() throws {
    let result = try ServedSite(seed: 1).run(connections: 1) { $0.workload = .randtrim }
    #expect(result.jobs[0].trim.operationCount == 256)
    #expect(result.isGood)
  }

  @Test(
    "a server that is killed, or loses its power, ends the job within its time limit",
    arguments: [CrashKind.kill, .powerLoss])
  func crashed(kind: CrashKind) throws {
    let site = ServedSite(seed: 9)
    let result = try site.run(
      connections: 2,
      {
        $0.workload = .randread
        $0.ioDepth = 8
        $0.isTimeBased = true
        $0.runtimeNanoseconds = 1000 * second
      },
      during: {
        await site.machine.sleep(nanoseconds: second / 16)
        site.far.crash(kind)
      })
    let job = result.jobs[0]
    #expect(job.firstError?.hasPrefix("the target is lost: ") == true)
    #expect(job.read.operationCount > 100)
    #expect(result.elapsedNanoseconds < 6 * second)
    #expect(result.abandonedOperationCount == 0, "the client answers for its server")
  }

  private func export(_ flags: TransmissionFlags) -> RemoteExport {
    RemoteExport(
      byteCount: 1 << 20, flags: flags, minimumBlockBytes: 1, preferredBlockBytes: 4096,
      maximumPayloadBytes: 1 << 20, usesStructuredReplies: true)
  }

  @Test("what a server does not offer is refused before the run")
  func objections() {
    typealias Target = NBDTarget<SimulatedMachine>
    let plain: TransmissionFlags = [.hasFlags, .sendFlush, .sendTrim]
    var job = JobOptions()
    job.workload = .randwrite
    #expect(Target.objection(to: job, on: export(plain)) == nil)
    #expect(Target.objection(to: job, on: export([.readOnly]))?.contains("read-only") == true)
    job.fsyncInterval = 1
    #expect(Target.objection(to: job, on: export(plain)) == nil)
    #expect(Target.objection(to: job, on: export([.hasFlags]))?.contains("FLUSH") == true)
    job.connectionCount = 2
    #expect(Target.objection(to: job, on: export(plain))?.contains("CAN_MULTI_CONN") == true)
    #expect(Target.objection(to: job, on: export(plain.union(.canMultiConnect))) == nil)
    job.fsyncInterval = nil
    #expect(Target.objection(to: job, on: export(plain)) == nil)
    #expect(Target.caution(for: job, on: export(plain)) != nil)
    job.verify = .crc32c
    #expect(Target.objection(to: job, on: export(plain)) != nil)
    var trimming = JobOptions()
    trimming.workload = .randtrim
    #expect(Target.objection(to: trimming, on: export([.hasFlags]))?.contains("TRIM") == true)
    #expect(Target.objection(to: trimming, on: export(plain)) == nil)
  }
}
