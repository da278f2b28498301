import Glibc
import IO
import Simulator
import Testing

/// A server and a client machine on one network.
struct Site {
  let simulation: Simulation
  let server: SimulatedMachine
  let client: SimulatedMachine
  let network: SimulatedNetwork

  init(seed: UInt64 = 1) {
    simulation = Simulation(seed: seed)
    server = SimulatedMachine(simulation, name: "server")
    client = SimulatedMachine(simulation, name: "client")
    network = SimulatedNetwork(simulation)
  }

  /// A connection; the client's end first.
  func pair() -> (SimulatedStream, SimulatedStream) { network.pair(client, server) }
}

/// One receive of at most `count` bytes.
func receive(_ count: Int, from stream: SimulatedStream) async -> Int32 {
  let memory = filled(max(count, 1), with: 0)
  let list = ScatterList(capacity: 1)
  list.append(memory.buffer.prefix(count))
  return await stream.receiveSome(into: list)
}

/// One send of `count` bytes.
func send(_ count: Int, over stream: SimulatedStream) async -> Int32 {
  let memory = filled(max(count, 1), with: 7)
  let list = ScatterList(capacity: 1)
  list.append(memory.buffer.prefix(count))
  return await stream.sendSome(from: list)
}

@Suite("Simulator: streams")
struct SimulatedStreamTests {
  @Test("receives and sends come in arbitrary pieces when the network fragments")
  func fragmentation() throws {
    let site = Site()
    site.network.conditions.fragmentPerMillion = 1_000_000
    let (client, server) = site.pair()
    var sizes: Set<Int32> = []
    let seen = try #require(
      try site.client.run { () -> Set<Int32> in
        var seen: Set<Int32> = []
        for _ in 0..<50 {
          let sent = await send(1000, over: client)
          #expect(sent > 0)
          var left = sent
          while left > 0 {
            let count = await receive(2000, from: server)
            #expect(count > 0 && count <= left)
            left -= count
            seen.insert(count)
          }
        }
        return seen
      })
    sizes.formUnion(seen)
    #expect(sizes.count > 20)
  }

  @Test("a sender waits for a slow reader once the buffer is full")
  func boundedBuffer() throws {
    let site = Site()
    site.network.conditions.bufferBytes = 100
    site.network.conditions.fragmentPerMillion = 0
    let (client, server) = site.pair()
    let sent = Box(0)
    try site.server.run {
      site.client.start {
        for _ in 0..<5 { sent.value += Int(await send(60, over: client)) }
      }
      await site.server.sleep(nanoseconds: 10_000_000_000)
      #expect(sent.value == 100)
      #expect(await receive(30, from: server) == 30)
      await site.server.sleep(nanoseconds: 10_000_000_000)
      #expect(sent.value == 130)
      var received = 30
      while received < sent.value || sent.value < 190 {
        received += Int(await receive(1000, from: server))
        await site.server.sleep(nanoseconds: 1_000_000)
      }
    }
  }

  @Test("the peer's close is seen after its bytes")
  func orderlyEnd() throws {
    let site = Site()
    site.network.conditions.fragmentPerMillion = 0
    let (client, server) = site.pair()
    try site.client.run {
      #expect(await send(10, over: client) == 10)
      await client.close()
      #expect(await receive(100, from: server) == 10)
      #expect(await receive(100, from: server) == 0)
      #expect(await receive(100, from: server) == 0)
    }
  }

  @Test("half a close leaves the other direction open")
  func halfClose() throws {
    let site = Site()
    site.network.conditions.fragmentPerMillion = 0
    let (client, server) = site.pair()
    try site.client.run {
      client.shutdownSending()
      #expect(await receive(100, from: server) == 0)
      #expect(await send(10, over: client) == -EPIPE)
      #expect(await send(10, over: server) == 10)
      #expect(await receive(100, from: client) == 10)
    }
  }

  @Test("shutdown ends a waiting receive with 0 and a waiting send with EPIPE, and may be repeated")
  func shutdownEndsWaits() throws {
    let site = Site()
    site.network.conditions.bufferBytes = 10
    site.network.conditions.fragmentPerMillion = 0
    let (client, server) = site.pair()
    let answers = Box<[Int32]>([])
    try site.client.run {
      #expect(await send(10, over: client) == 10)
      let receiving = site.client.start { answers.value.append(await receive(1, from: client)) }
      let sending = site.client.start { answers.value.append(await send(1, over: client)) }
      await site.client.sleep(nanoseconds: 1_000_000_000)
      #expect(answers.value.isEmpty)
      client.shutdown()
      client.shutdown()
      await receiving.value
      await sending.value
      #expect(answers.value.sorted() == [-EPIPE, 0])
      #expect(await receive(100, from: server) == 10)
      #expect(await receive(100, from: server) == 0)
      await client.close()
    }
  }

  @Test("what is sent to a closed end comes back as a reset")
  func sendToClosedEnd() throws {
    let site = Site()
    let (client, server) = site.pair()
    try site.client.run {
      await server.close()
      await site.client.sleep(nanoseconds: 1_000_000_000)
      #expect(await receive(1, from: client) == 0)
      #expect(await send(1, over: client) == 1)
      await site.client.sleep(nanoseconds: 1_000_000_000)
      #expect(await send(1, over: client) == -ECONNRESET)
      #expect(await send(1, over: client) == -EPIPE)
      #expect(await receive(1, from: client) == 0)
    }
  }

  @Test("closing with unread bytes resets the peer")
  func closeWithUnreadBytes() throws {
    let site = Site()
    let (client, server) = site.pair()
    try site.client.run {
      #expect(await send(1, over: client) == 1)
      await site.client.sleep(nanoseconds: 1_000_000_000)
      await server.close()
      #expect(await receive(1, from: client) == -ECONNRESET)
    }
  }

  @Test("a reset breaks both ends, waiting calls too")
  func reset() throws {
    let site = Site()
    let (client, server) = site.pair()
    let answer = Box<Int32>(1)
    try site.client.run {
      let receiving = site.server.start { answer.value = await receive(1, from: server) }
      await site.client.sleep(nanoseconds: 1_000_000_000)
      client.reset()
      await receiving.value
      #expect(answer.value == -ECONNRESET)
      #expect(await send(1, over: client) == -ECONNRESET)
      #expect(await send(1, over: server) == -EPIPE)
    }
  }

  @Test("a partition holds bytes silently until it is healed, one way or both")
  func partition() throws {
    for oneWay in [true, false] {
      let site = Site()
      let (client, server) = site.pair()
      let answer = Box<Int32>(0)
      try site.client.run {
        if oneWay {
          site.network.cut(from: site.client, to: site.server)
        } else {
          site.network.partition(site.client, site.server)
        }
        #expect(await send(1, over: client) == 1)
        let receiving = site.server.start { answer.value = await receive(1, from: server) }
        await site.client.sleep(nanoseconds: 600_000_000_000)
        #expect(answer.value == 0)
        #expect(await send(1, over: server) == 1)
        if oneWay { #expect(await receive(1, from: client) == 1) }
        site.network.heal()
        await receiving.value
        #expect(answer.value == 1)
        if !oneWay { #expect(await receive(1, from: client) == 1) }
      }
    }
  }

  @Test("a killed peer's kernel ends the connection, one without power falls silent for long")
  func peerCrashes() throws {
    for kind in [CrashKind.kill, .powerLoss] {
      let site = Site()
      let (client, server) = site.pair()
      try site.client.run {
        site.server.crash(kind)
        let start = site.client.nowNanoseconds
        let answer = await receive(1, from: client)
        let waited = site.client.nowNanoseconds - start
        #expect(answer == (kind == .kill ? 0 : -ETIMEDOUT))
        #expect((waited > 800_000_000_000) == (kind == .powerLoss))
      }
      withExtendedLifetime(server) {}
    }
  }
}

@Suite("Simulator: listeners")
struct SimulatedListenerTests {
  @Test("a client that connects is accepted, and both ends know each other")
  func connectAndAccept() throws {
    let site = Site()
    let listener = try #require(site.network.listen(on: site.server, at: "unix:/s"))
    #expect(site.network.listen(on: site.client, at: "unix:/s") == nil)
    #expect(listener.localDescription == "unix:/s")
    try site.client.run {
      let accepting = Task(executorPreference: site.server) { await listener.acceptOnce() }
      let client = try await site.network.connect(from: site.client, to: "unix:/s").get()
      let server = try await accepting.value.get()
      #expect(await send(1, over: client) == 1)
      #expect(await receive(1, from: server) == 1)
      #expect(server.peerDescription == "simulated:client#1")
      #expect(client.peerDescription == "unix:/s")
    }
  }

  @Test("nobody listening refuses; a stopped listener cancels its accept and refuses")
  func refusals() throws {
    let site = Site()
    let listener = try #require(site.network.listen(on: site.server, at: "a"))
    try site.client.run {
      let nobody = await site.network.connect(from: site.client, to: "b")
      #expect(throws: SystemError(ECONNREFUSED)) { try nobody.get() }
      let accepting = Task(executorPreference: site.server) { await listener.acceptOnce() }
      await site.client.sleep(nanoseconds: 1_000_000)
      listener.stop()
      listener.stop()
      let stopped = await accepting.value
      #expect(throws: SystemError(ECANCELED)) { try stopped.get() }
      let again = await listener.acceptOnce()
      #expect(throws: SystemError(ECANCELED)) { try again.get() }
      let refused = await site.network.connect(from: site.client, to: "a")
      #expect(throws: SystemError(ECONNREFUSED)) { try refused.get() }
      await listener.close()
    }
    #expect(site.network.listen(on: site.server, at: "a") != nil)
  }

  @Test("EMFILE leaves the connection waiting, ECONNABORTED takes it away")
  func acceptFaults() throws {
    let site = Site()
    let listener = try #require(site.network.listen(on: site.server, at: "a"))
    site.server.faultPlan.fail(operation: 1, of: .accept, with: .failure(EMFILE))
    site.server.faultPlan.fail(operation: 3, of: .accept, with: .failure(ECONNABORTED))
    try site.client.run {
      let first = try await site.network.connect(from: site.client, to: "a").get()
      let full = await listener.acceptOnce()
      #expect(throws: SystemError(EMFILE)) { try full.get() }
      let server = try await listener.acceptOnce().get()
      #expect(await send(1, over: first) == 1)
      #expect(await receive(1, from: server) == 1)
      let second = try await site.network.connect(from: site.client, to: "a").get()
      let aborted = await listener.acceptOnce()
      #expect(throws: SystemError(ECONNABORTED)) { try aborted.get() }
      #expect(await receive(1, from: second) == -ECONNRESET)
    }
  }

  @Test("connecting across a partition waits until it is healed, or gives up")
  func connectAcrossPartition() throws {
    let site = Site()
    _ = try #require(site.network.listen(on: site.server, at: "a"))
    site.network.partition(site.client, site.server)
    try site.client.run {
      let late = await site.network.connect(from: site.client, to: "a")
      #expect(throws: SystemError(ETIMEDOUT)) { try late.get() }
      site.simulation.schedule(afterNanoseconds: 5_000_000_000) { site.network.heal() }
      _ = try await site.network.connect(from: site.client, to: "a").get()
    }
  }

  @Test("a new machine takes over the address of a crashed one")
  func takeover() throws {
    let site = Site()
    _ = try #require(site.network.listen(on: site.server, at: "a"))
    let next = SimulatedMachine(site.simulation, name: "next")
    try site.client.run {
      site.server.crash(.kill)
      let refused = await site.network.connect(from: site.client, to: "a")
      #expect(throws: SystemError(ECONNREFUSED)) { try refused.get() }
      let listener = try #require(site.network.listen(on: next, at: "a"))
      _ = try await site.network.connect(from: site.client, to: "a").get()
      _ = try await listener.acceptOnce().get()
    }
  }
}
