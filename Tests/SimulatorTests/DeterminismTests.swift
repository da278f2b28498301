import Glibc
import IO
import Simulator
import Testing
import Units

/// Three clients write and read blocks on a server's disk over the network, with faults of every
/// kind, sleeps, a stuck disk, a partition, and a kill in the middle for some seeds.
enum MixedWorkload {
  /// A request: one byte of kind, one of the block; then 4096 bytes for a write.
  static func run(seed: UInt64, recordsTrace: Bool = false) throws -> Simulation {
    let simulation = Simulation(seed: seed, recordsTrace: recordsTrace)
    let server = SimulatedMachine(simulation, name: "server")
    let client = SimulatedMachine(simulation, name: "client")
    let network = SimulatedNetwork(simulation)
    network.conditions.bufferBytes = 3000
    network.conditions.resetPerMillion = 2000
    let medium = SimulatedMedium(byteCount: 65536)
    medium.faultRates.readError = 10_000
    medium.faultRates.lostWrite = 20_000
    medium.faultRates.misdirectedWrite = 20_000
    medium.faultRates.misdirectedRead = 20_000
    medium.faultRates.bitRot = 20_000
    medium.faultRates.shortTransfer = 100_000
    medium.faultRates.interrupted = 100_000
    medium.faultRates.synchronizeError = 50_000
    medium.faultRates.damagedSectorAtPowerLoss = 500_000
    let disk = SimulatedDisk(server, medium, alignmentBytes: 512)
    guard let listener = network.listen(on: server, at: "tcp:server:10809") else {
      return simulation
    }
    server.start { await accept(listener, disk, server) }
    simulation.schedule(afterNanoseconds: 2_000_000) { disk.isStuck = true }
    simulation.schedule(afterNanoseconds: 4_000_000) { disk.release() }
    simulation.schedule(afterNanoseconds: 5_000_000) { network.partition(server, client) }
    simulation.schedule(afterNanoseconds: 9_000_000) { network.heal() }
    if seed % 2 == 1 {
      simulation.schedule(afterNanoseconds: 12_000_000) { server.crash(.powerLoss) }
    }
    try client.run {
      await withTaskGroup(of: Void.self) { group in
        for name in 0..<3 { group.addTask { await talk(name, client, network) } }
      }
    }
    return simulation
  }

  private static func accept(
    _ listener: SimulatedListener, _ disk: SimulatedDisk, _ machine: SimulatedMachine
  ) async {
    while case .success(let stream) = await listener.acceptOnce() {
      machine.start { await serve(stream, disk) }
    }
  }

  private static func serve(_ stream: SimulatedStream, _ disk: SimulatedDisk) async {
    let memory = filled(8192, with: 0)
    let header = memory.buffer.prefix(2)
    let payload = memory.buffer.slice(4096, 4096)
    do {
      while true {
        try await receiveAll(header, from: stream)
        let offset = UInt64(header[1] % 16) * 4096
        if header[0] == 0 {
          try? await disk.read(at: offset, into: payload)
          let list = ScatterList(capacity: 1)
          list.append(payload)
          try await stream.send(list)
        } else {
          try await receiveAll(payload, from: stream)
          try? await disk.write(at: offset, from: payload)
          if header[0] == 2 { try? await disk.synchronize() }
        }
      }
    } catch {
      await stream.close()
    }
  }

  private static func receiveAll(
    _ buffer: IOBuffer, from stream: SimulatedStream
  ) async throws(StreamError) {
    let list = ScatterList(capacity: 1)
    list.append(buffer)
    while !list.isEmpty { list.advance(by: try await stream.receive(into: list)) }
  }

  private static func talk(
    _ name: Int, _ machine: SimulatedMachine, _ network: SimulatedNetwork
  ) async {
    guard
      case .success(let stream) = await network.connect(from: machine, to: "tcp:server:10809")
    else { return }
    let memory = filled(8192, with: UInt8(name))
    let list = ScatterList(capacity: 2)
    do throws(StreamError) {
      for _ in 0..<12 {
        let kind = UInt8(machine.randomNumber() % 3)
        memory.buffer.slice(0, 1).fill(with: kind)
        memory.buffer.slice(1, 1).fill(with: UInt8(truncatingIfNeeded: machine.randomNumber()))
        list.removeAll()
        list.append(memory.buffer.prefix(2))
        if kind != 0 { list.append(memory.buffer.slice(4096, 4096)) }
        try await stream.send(list)
        if kind == 0 { try await receiveAll(memory.buffer.slice(4096, 4096), from: stream) }
        await machine.sleep(nanoseconds: machine.randomNumber() % 1_000_000)
      }
    } catch {}
    await stream.close()
  }
}

@Suite("Simulator: one seed, one run")
struct DeterminismTests {
  @Test("the same seed gives the same run, line by line", arguments: 0..<20 as Range<UInt64>)
  func sameSeedSameRun(seed: UInt64) throws {
    let first = try MixedWorkload.run(seed: seed, recordsTrace: true)
    let second = try MixedWorkload.run(seed: seed, recordsTrace: true)
    #expect(first.trace.lines.first == "seed 0x" + String(seed, radix: 16))
    #expect(first.trace.lines.count > 200)
    #expect(first.trace.lines == second.trace.lines)
    #expect(first.trace.digest == second.trace.digest)
    #expect(first.trace.entryCount == second.trace.entryCount)
    #expect(first.stepCount == second.stepCount)
    // Recording changes nothing.
    #expect(try MixedWorkload.run(seed: seed).trace.digest == first.trace.digest)
  }

  @Test("different seeds give different runs")
  func differentSeedsDiffer() throws {
    let digests = try Set((0..<100).map { try MixedWorkload.run(seed: $0).trace.digest })
    #expect(digests.count == 100)
  }

  @Test("another process gives the same run: no hash seed, address or clock goes into it")
  func sameRunInAnotherProcess() async throws {
    var outputs: [[UInt8]] = []
    for _ in 0..<2 {
      let result = await #expect(
        processExitsWith: .success, observing: [\.standardOutputContent]
      ) {
        for seed: UInt64 in 0..<10 {
          print("digest", seed, try MixedWorkload.run(seed: seed).trace.digest)
        }
      }
      outputs.append(try #require(result).standardOutputContent)
    }
    #expect(outputs[0] == outputs[1])
    let text = String(decoding: outputs[0], as: UTF8.self)
    for seed: UInt64 in 0..<10 {
      #expect(text.contains("digest \(seed) \(try MixedWorkload.run(seed: seed).trace.digest)\n"))
    }
  }

  @Test("one bit more or less in a read shows in the digest")
  func digestSeesData() throws {
    func digest(_ byte: UInt8) throws -> UInt64 {
      let machine = SimulatedMachine(seed: 1)
      let medium = SimulatedMedium(byteCount: 4096)
      medium.overwrite(at: 4095, with: [byte])
      let disk = SimulatedDisk(machine, medium)
      let memory = filled(4096, with: 0)
      try machine.run { try await disk.read(at: 0, into: memory.buffer) }
      return machine.simulation.trace.digest
    }
    #expect(try digest(0) != digest(1))
    #expect(try digest(1) == digest(1))
  }
}
