import IO
import NBDClient
import NBDServer
import NBDWire
import Simulator
import TestSupport
import Units
import Volumes

typealias Client = NBDClient<SimulatedMachine>

let second: UInt64 = 1_000_000_000
let address = "unix:/run/ashlar/a.sock"

/// A machine for the client, one for what it talks to, and the network between.
struct ClientSite: Sendable {
  let simulation: Simulation
  let machine: SimulatedMachine
  let far: SimulatedMachine
  let network: SimulatedNetwork

  init(seed: UInt64 = 1, conditions: NetworkConditions = NetworkConditions()) {
    let simulation = Simulation(seed: seed)
    self.simulation = simulation
    machine = SimulatedMachine(simulation, name: "client")
    far = SimulatedMachine(simulation, name: "server")
    network = SimulatedNetwork(simulation)
    network.conditions = conditions
  }

  /// Runs a test on the client's machine, and then everything until nothing is left to do.
  func run(
    within limits: Simulation.Limits = Simulation.Limits(),
    _ body: @escaping @Sendable () async throws -> Void
  ) throws(SimulationFailure) {
    try machine.run(within: limits, body)
    try simulation.runUntilQuiet(within: limits)
  }

  /// Serves a device in memory with our own server.
  func serve(
    byteCount: UInt64, _ change: (inout ServerOptions) -> Void = { _ in }
  ) async -> NBDServer<SimulatedMachine, MemoryVolume> {
    guard let volume = MemoryVolume(byteCount: byteCount),
      let listener = network.listen(on: far, at: address)
    else { preconditionFailure("no server for a test") }
    var options = ServerOptions(name: "a")
    change(&options)
    let server = NBDServer(
      volume: volume, options: options, machine: far, log: ServerLog { _, _ in })
    await server.listen(at: listener)
    return server
  }

  func connect(
    _ change: (inout ClientOptions) -> Void = { _ in }
  ) async throws -> Client {
    let stream = try await network.connect(from: machine, to: address).get()
    var options = ClientOptions(exportName: "a")
    change(&options)
    return try await Client.connect(over: stream, options: options, machine: machine)
  }
}

extension Client {
  func readBytes(_ offset: UInt64, _ count: Int) async throws(RequestError) -> [UInt8] {
    let memory = AlignedMemory.ofTest(count)
    defer { withExtendedLifetime(memory) {} }
    let buffer = memory.buffer.prefix(count)
    buffer.fill(with: 0xEE)
    try await read(ByteRange(from: offset, to: offset + UInt64(count)), into: buffer)
    return buffer.array
  }

  func writeBytes(
    _ offset: UInt64, _ bytes: [UInt8], durably: Bool = false
  ) async throws(RequestError) {
    let memory = AlignedMemory.holding(bytes)
    defer { withExtendedLifetime(memory) {} }
    try await write(
      ByteRange(from: offset, to: offset + UInt64(bytes.count)),
      from: memory.buffer.prefix(bytes.count), durably: durably)
  }
}

/// The error of a request, nil when it succeeded.
func failure(_ body: () async throws(RequestError) -> Void) async -> RequestError? {
  do throws(RequestError) {
    try await body()
    return nil
  } catch {
    return error
  }
}

/// A network that never cuts a message into pieces; faster to simulate.
var smoothConditions: NetworkConditions {
  var conditions = NetworkConditions()
  conditions.fragmentPerMillion = 0
  conditions.bufferBytes = 1 << 20
  return conditions
}
