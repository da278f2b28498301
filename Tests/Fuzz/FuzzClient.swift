import IO
import NBDClient
import NBDWire
import Simulator
import TestSupport
import Units

// The input is one byte of choice and what a server says: from its greeting on, or behind a good
// handshake, when the client's requests have come. The client meets it on the simulator.

@_cdecl("LLVMFuzzerTestOneInput")
func fuzzClient(_ data: UnsafePointer<UInt8>?, _ byteCount: Int) -> CInt {
  // Safe: passed on as it came.
  let input = unsafe fuzzInput(data, byteCount)
  guard let choice = input.first else { return 0 }
  let world = World(input)
  do throws(SimulationFailure) {
    try world.machine.run(within: Simulation.Limits(stepCount: 2_000_000)) {
      await world.meet(choice, Array(input.dropFirst()))
    }
    try world.simulation.runUntilQuiet()
  } catch {
    preconditionFailure("\(error)")
  }
  return 0
}

/// A request's buffer between bytes that nobody may touch.
private struct GuardedBuffer: Sendable {
  let memory: AlignedMemory
  let byteCount: Int
  private static let margin = 64

  init(_ byteCount: Int) {
    memory = AlignedMemory.ofTest(byteCount + 2 * Self.margin)
    self.byteCount = byteCount
    memory.buffer.fill(with: 0xEE)
  }

  var buffer: IOBuffer { memory.buffer.slice(Self.margin, byteCount) }

  /// The caller has its buffer back, and makes it its own again.
  func takeBack() { memory.buffer.fill(with: 0xEE) }

  func check() {
    let bytes = memory.buffer.array
    precondition(bytes.allSatisfy { $0 == 0xEE }, "written after the request had returned")
  }

  func checkMargins() {
    let bytes = memory.buffer.array
    precondition(bytes[..<Self.margin].allSatisfy { $0 == 0xEE }, "written before the buffer")
    precondition(
      bytes[(Self.margin + byteCount)...].allSatisfy { $0 == 0xEE }, "written behind the buffer")
  }
}

private struct World: Sendable {
  let simulation: Simulation
  let machine: SimulatedMachine
  private let far: SimulatedMachine
  private let network: SimulatedNetwork
  private let requestCountMax: Int

  init(_ input: [UInt8]) {
    var random = InputRandom(input)
    let simulation = Simulation(seed: UInt64(random.next(below: 1 << 30)))
    self.simulation = simulation
    machine = SimulatedMachine(simulation, name: "client")
    far = SimulatedMachine(simulation, name: "server")
    network = SimulatedNetwork(simulation)
    network.conditions.bufferBytes = [4096, 1 << 20][random.next(below: 2)]
    network.conditions.fragmentPerMillion = [0, 500_000][random.next(below: 2)]
    requestCountMax = [2, 4, 128][random.next(below: 3)]
  }

  func meet(_ choice: UInt8, _ bytes: [UInt8]) async {
    let (near, distant) = network.pair(machine, far)
    let isRaw = choice & 1 != 0
    let closes = choice & 4 != 0
    far.start { await serve(distant, isRaw: isRaw, choice & 2 != 0, closes, bytes) }
    var options = ClientOptions(exportName: "a")
    options.requestCountMax = requestCountMax
    do throws(ClientFailure) {
      let client = try await connect(over: near, options)
      await request(of: client)
      await client.close()
    } catch {}
  }

  /// Any error of a handshake is a good end.
  private struct ClientFailure: Error {}

  private func connect(
    over stream: SimulatedStream, _ options: ClientOptions
  ) async throws(ClientFailure) -> NBDClient<SimulatedMachine> {
    do {
      return try await NBDClient.connect(over: stream, options: options, machine: machine)
    } catch {
      throw ClientFailure()
    }
  }

  // MARK: The server

  private func serve(
    _ stream: SimulatedStream, isRaw: Bool, _ isStructured: Bool, _ closes: Bool, _ bytes: [UInt8]
  ) async {
    if !isRaw {
      await say(goodHandshake(isStructured), over: stream)
      // Client flags, STRUCTURED_REPLY, GO, and as many requests as come at once.
      let headerCount = min(requestCountMax, 4)
      let payloadByteCount = headerCount > 2 ? 512 : 0
      await take(4 + 16 + 16 + 11 + headerCount * 28 + payloadByteCount, from: stream)
    }
    await say(bytes, over: stream)
    if closes { stream.shutdownSending() }
    await take(.max, from: stream)
    stream.shutdown()
    await stream.close()
  }

  private func goodHandshake(_ isStructured: Bool) -> [UInt8] {
    func reply(_ option: UInt64, _ type: UInt64, _ data: [UInt8] = []) -> [UInt8] {
      WireBytes.big(0x3_e889_0455_65a9, 8) + WireBytes.big(option, 4) + WireBytes.big(type, 4)
        + WireBytes.big(UInt64(data.count), 4) + data
    }
    let info = WireBytes.big(0, 2) + WireBytes.big(1 << 20, 8) + WireBytes.big(0b110_1101, 2)
    return Array("NBDMAGICIHAVEOPT".utf8) + [0, 3]
      + reply(8, isStructured ? 1 : 0x8000_0001) + reply(7, 3, info) + reply(7, 1)
  }

  private func say(_ bytes: [UInt8], over stream: SimulatedStream) async {
    guard !bytes.isEmpty else { return }
    let memory = AlignedMemory.holding(bytes)
    defer { withExtendedLifetime(memory) {} }
    let list = ScatterList(capacity: 1)
    list.append(memory.buffer.prefix(bytes.count))
    do throws(StreamError) { try await stream.send(list) } catch {}
  }

  /// Receives so many bytes, or fewer when the client leaves.
  private func take(_ byteCount: Int, from stream: SimulatedStream) async {
    let memory = AlignedMemory.ofTest(4096)
    defer { withExtendedLifetime(memory) {} }
    let list = ScatterList(capacity: 1)
    var left = byteCount
    while left > 0 {
      list.removeAll()
      list.append(memory.buffer.prefix(min(left, 4096)))
      do throws(StreamError) { left -= try await stream.receive(into: list) } catch { return }
    }
  }

  // MARK: The requests

  /// READ 600 at 0, READ 5000 at 4096, WRITE 512 at 512, FLUSH, and three more behind them: with
  /// the cookies 0x1_0000_0000 and on.
  private func request(of client: NBDClient<SimulatedMachine>) async {
    guard client.export.byteCount >= 1 << 16 else { return }
    let buffers = [600, 5000, 512, 1, 70, 9000, 1].map { GuardedBuffer($0) }
    let ended = Box(0)
    let gate = Gate()
    for index in buffers.indices {
      machine.start {
        let buffer = buffers[index]
        do throws(RequestError) {
          try await request(index, buffer, of: client)
        } catch {
          if case .lost(let reason) = error { precondition(!reason.isEmpty) }
        }
        buffer.checkMargins()
        buffer.takeBack()
        ended.value += 1
        gate.signal()
      }
      // In this order.
      await machine.sleep(nanoseconds: 1000)
    }
    await gate.wait { ended.value == buffers.count }
    await client.close()
    for buffer in buffers { buffer.check() }
  }

  private func request(
    _ index: Int, _ guarded: GuardedBuffer, of client: NBDClient<SimulatedMachine>
  ) async throws(RequestError) {
    let offset: UInt64 = [0, 4096, 512, 0, 1000, 20000, 0][index]
    let range = ByteRange(from: offset, to: offset + UInt64(guarded.byteCount))
    switch index {
    case 2: try await client.write(range, from: guarded.buffer, durably: true)
    case 3: try await client.flush()
    case 6:
      try await client.writeZeroes(
        range, keepAllocated: false, onlyIfFast: false, durably: false)
    default: try await client.read(range, into: guarded.buffer)
    }
  }
}
