import Glibc
import IO
import NBDServer
import Simulator
import TestSupport
import Testing
import Units
import Volumes

typealias FileServer = NBDServer<SimulatedMachine, FileVolume<SimulatedMachine>>
typealias MemoryServer = NBDServer<SimulatedMachine, MemoryVolume>

let second: UInt64 = 1_000_000_000
let address = "unix:/run/ashlar/a.sock"

/// A server and its clients' machine, in a world of their own.
struct ServerSite<ServedVolume: Volume>: Sendable {
  let simulation: Simulation
  let machine: SimulatedMachine
  let clients: SimulatedMachine
  let network: SimulatedNetwork
  let server: NBDServer<SimulatedMachine, ServedVolume>
  let logLines: Box<[String]>

  // `makeVolume` is called with the server's machine.
  init(
    seed: UInt64, options: ServerOptions, conditions: NetworkConditions, recordsTrace: Bool,
    _ makeVolume: (SimulatedMachine) -> sending ServedVolume
  ) {
    let simulation = Simulation(seed: seed, recordsTrace: recordsTrace)
    let lines = Box<[String]>([])
    self.simulation = simulation
    machine = SimulatedMachine(simulation, name: "server")
    clients = SimulatedMachine(simulation, name: "clients")
    network = SimulatedNetwork(simulation)
    network.conditions = conditions
    logLines = lines
    let log = ServerLog { level, line in lines.value.append("\(level): \(line)") }
    server = NBDServer(
      volume: makeVolume(machine), options: options, machine: machine, log: log)
  }

  /// Runs a test on the clients' machine, with the server listening.
  func run(
    within limits: Simulation.Limits = Simulation.Limits(),
    _ body: @escaping @Sendable () async throws -> Void
  ) throws {
    let listener = try #require(network.listen(on: machine, at: address))
    try clients.run(within: limits) {
      await server.listen(at: listener)
      try await body()
    }
  }

  func connect(_ wishes: TestWishes = TestWishes()) async throws(ClientError) -> TestClient {
    try await TestClient.connect(clients, network, to: address, wishes)
  }

  /// A connected stream that has said nothing.
  func connectSilently() async throws -> SimulatedStream {
    try await network.connect(from: clients, to: address).get()
  }

  /// Waits until the server has nobody and nothing any more.
  func becomesQuiet(within nanoseconds: UInt64 = 5_000_000_000) async -> Bool {
    await happens(within: nanoseconds) { status in
      status.connections.isEmpty && status.requestsInFlight == 0 && status.bufferBytesInUse == 0
    }
  }

  func happens(
    within nanoseconds: UInt64 = 5_000_000_000, _ condition: (ServerStatus) -> Bool
  ) async -> Bool {
    let deadline = simulation.nowNanoseconds + nanoseconds
    var pause: UInt64 = 100_000
    while simulation.nowNanoseconds < deadline {
      if condition(await server.status()) { return true }
      await clients.sleep(nanoseconds: pause)
      pause = min(pause + pause / 8, 200_000_000)
    }
    return condition(await server.status())
  }
}

typealias FileSite = ServerSite<FileVolume<SimulatedMachine>>
typealias MemorySite = ServerSite<MemoryVolume>

/// What lies below a file server.
struct Below: Sendable {
  let medium: SimulatedMedium
  private let opened = Box<SimulatedDisk?>(nil)
  /// See `SimulatedDisk`; set before the site runs.
  let cachedReadsPerMillion = Box(0)

  init(byteCount: UInt64) { medium = SimulatedMedium(byteCount: byteCount) }

  var disk: SimulatedDisk {
    guard let disk = opened.value else { preconditionFailure("not opened yet") }
    return disk
  }

  /// Whether all bytes of the range are `byte`; a comparison of arrays would fill the log.
  func holds(_ byte: UInt8, from: UInt64, to: UInt64) -> Bool {
    medium.live.bytes(ByteRange(from: from, to: to)).allSatisfy { $0 == byte }
  }

  fileprivate func open(_ machine: SimulatedMachine, alignment: Int) -> SimulatedDisk {
    let disk = SimulatedDisk(machine, medium, alignmentBytes: alignment)
    disk.cachedReadsPerMillion = cachedReadsPerMillion.value
    opened.value = disk
    return disk
  }
}

func testOptions(_ change: (inout ServerOptions) -> Void = { _ in }) -> ServerOptions {
  var options = ServerOptions(name: "a")
  change(&options)
  return options
}

/// Serves 1 MiB of a file.
func fileSite(
  seed: UInt64 = 1, byteCount: UInt64 = 1 << 20, alignment: Int = 4096, isReadOnly: Bool = false,
  conditions: NetworkConditions = NetworkConditions(), recordsTrace: Bool = false,
  _ options: ServerOptions = testOptions()
) -> (site: FileSite, below: Below) {
  let below = Below(byteCount: byteCount)
  let site = FileSite(
    seed: seed, options: options, conditions: conditions, recordsTrace: recordsTrace
  ) { machine in
    FileVolume(
      disk: below.open(machine, alignment: alignment), byteCount: byteCount,
      kind: "file /srv/a.img", isReadOnly: isReadOnly, machine: machine)
  }
  return (site, below)
}

/// Serves memory.
func memorySite(
  seed: UInt64 = 1, byteCount: UInt64 = 1 << 20,
  conditions: NetworkConditions = NetworkConditions(),
  _ options: ServerOptions = testOptions()
) -> MemorySite {
  MemorySite(seed: seed, options: options, conditions: conditions, recordsTrace: false) { _ in
    guard let volume = MemoryVolume(byteCount: byteCount) else {
      preconditionFailure("no memory for a test")
    }
    return volume
  }
}

/// A network that never cuts a message into pieces; faster to simulate.
var smoothConditions: NetworkConditions {
  var conditions = NetworkConditions()
  conditions.fragmentPerMillion = 0
  conditions.bufferBytes = 1 << 20
  return conditions
}

func filled(_ byteCount: Int, _ byte: UInt8) -> [UInt8] {
  [UInt8](repeating: byte, count: byteCount)
}

/// Errors of the wire.
enum Wire {
  static let notPermitted: UInt32 = 1
  static let inputOutput: UInt32 = 5
  static let invalid: UInt32 = 22
  static let noSpace: UInt32 = 28
  static let overflow: UInt32 = 75
  static let notSupported: UInt32 = 95
  static let shutdown: UInt32 = 108
}
