import IO
import NBDServer
import Simulator
import TestSupport
import Volumes

// The input is one byte of choice and a client's session: raw, or behind a good handshake. The
// whole server with a device in memory meets it on the simulator, and a second client after it.

@_cdecl("LLVMFuzzerTestOneInput")
func fuzzServer(_ data: UnsafePointer<UInt8>?, _ byteCount: Int) -> CInt {
  // Safe: passed on as it came.
  let input = unsafe fuzzInput(data, byteCount)
  guard let choice = input.first else { return 0 }
  let world = World(input)
  do throws(SimulationFailure) {
    try world.clients.run(within: Simulation.Limits(stepCount: 2_000_000)) {
      try await world.meet(Session(choice, Array(input.dropFirst())))
    }
    try world.simulation.runUntilQuiet()
  } catch {
    preconditionFailure("\(error)")
  }
  return 0
}

/// What the client says, and what it may expect.
private struct Session: Sendable {
  /// Nothing is known of what a raw session may expect but the greeting.
  var isRaw: Bool
  var wishes: TestWishes
  var requests: [TestRequest] = []
  var raw: [UInt8] = []
  /// The session ends within a request, or with one that closes it.
  var endsBadly = false

  init(_ choice: UInt8, _ bytes: [UInt8]) {
    isRaw = choice & 1 != 0
    wishes = choice & 2 != 0 ? .simple : TestWishes()
    guard !isRaw else {
      raw = bytes
      return
    }
    var reader = InputReader(bytes)
    while reader.remaining.count >= 16, !endsBadly {
      let flags = reader.integer(UInt16.self)
      let command = reader.integer(UInt16.self)
      let offset = reader.integer(UInt64.self)
      var request = TestRequest(command, offset, reader.integer(UInt32.self), flags: flags)
      if command == TestRequest.write {
        let count = min(Int(request.byteCount), reader.remaining.count)
        request.payload = (0..<count).map { _ in reader.byte() }
        endsBadly = count < Int(request.byteCount)
      }
      requests.append(request)
      if command == TestRequest.disconnect { return }
    }
    if !endsBadly { requests.append(TestRequest(TestRequest.disconnect)) }
  }
}

private struct World: Sendable {
  let simulation: Simulation
  let clients: SimulatedMachine
  private let machine: SimulatedMachine
  private let network: SimulatedNetwork
  private let server: NBDServer<SimulatedMachine, MemoryVolume>
  private static let address = "unix:/fuzz"

  init(_ input: [UInt8]) {
    var random = InputRandom(input)
    let simulation = Simulation(seed: UInt64(random.next(below: 1 << 30)))
    self.simulation = simulation
    machine = SimulatedMachine(simulation, name: "server")
    clients = SimulatedMachine(simulation, name: "clients")
    network = SimulatedNetwork(simulation)
    network.conditions.bufferBytes = [200, 4096, 1 << 20][random.next(below: 3)]
    network.conditions.fragmentPerMillion = [0, 500_000][random.next(below: 2)]
    var options = ServerOptions(name: "a")
    options.requestsPerConnectionMax = [1, 4, 128][random.next(below: 3)]
    options.bytesPerConnectionMax = [4096, 64 << 20][random.next(below: 2)]
    guard let volume = MemoryVolume(byteCount: 1 << 20) else {
      preconditionFailure("no memory for a device")
    }
    server = NBDServer(
      volume: volume, options: options, machine: machine, log: ServerLog { _, _ in })
  }

  func meet(_ session: Session) async throws {
    guard let listener = network.listen(on: machine, at: Self.address) else {
      preconditionFailure("the address is taken")
    }
    await server.listen(at: listener)
    if session.isRaw { try await sayRaw(session.raw) } else { try await play(session) }
    let good = try await TestClient.connect(clients, network, to: Self.address)
    let bytes = [UInt8](repeating: 0xA5, count: 600)
    let write = try await good.perform(.write(77, bytes))
    precondition(write.error == 0)
    let read = try await good.perform(TestRequest(TestRequest.read, 77, 600))
    precondition(read.data == bytes)
    good.submit(TestRequest(TestRequest.disconnect))
    let hasEnded = await good.expectEnd()
    precondition(hasEnded)
    await good.close()
    let complaint = await server.stop()
    precondition(complaint == nil)
    let status = await server.status()
    precondition(status.connections.isEmpty)
    precondition(status.requestsInFlight == 0)
    precondition(status.bufferBytesInUse == 0)
    precondition(status.health == .optimal)
  }

  private func sayRaw(_ bytes: [UInt8]) async throws {
    let stream = try await network.connect(from: clients, to: Self.address).get()
    let client = TestClient(clients, stream)
    client.submit(bytes)
    // A client that breaks the rules at once may lose even the greeting to the reset.
    if let greeting = try? await client.take(18) {
      precondition(greeting[..<16].elementsEqual("NBDMAGICIHAVEOPT".utf8))
    }
    clients.start {
      await client.waitUntilSent()
      stream.shutdownSending()
    }
    while await !client.expectEnd() {}
    await client.close()
  }

  private func play(_ session: Session) async throws {
    let client = try await TestClient.connect(
      clients, network, to: Self.address, session.wishes)
    for request in session.requests { client.submit(request) }
    do throws(ClientError) {
      while client.pendingCount > 0 { _ = try await client.nextReply() }
    } catch {
      if case .malformed(let reason) = error { preconditionFailure(reason) }
      // It closes without answers only where the session gave it reason to.
      precondition(session.endsBadly, "closed with \(client.pendingCount) requests unanswered")
    }
    await client.close()
  }
}
