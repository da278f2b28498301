import IO
import NBDServer
import Simulator
import TestSupport
import Testing
import Units
import Volumes

@Suite("Server: stopping")
struct StopTests {
  /// Stops the server as its process does.
  ///
  /// - Returns: what `stop` said, and how long it took.
  private func stop(_ site: FileSite) async -> (String?, UInt64) {
    let start = site.simulation.nowNanoseconds
    let words = await site.server.stop()
    return (words, site.simulation.nowNanoseconds - start)
  }

  @Test("S14: what is in flight is finished and answered, new requests get ESHUTDOWN, then flush")
  func finishesAndFlushes() throws {
    let (site, below) = fileSite()
    below.disk.latency = DiskLatency(
      shortestNanoseconds: 300_000_000, longestNanoseconds: 300_000_000, synchronizeFactor: 1,
      slowPerMillion: 0)
    try site.run {
      let client = try await site.connect()
      let early = client.submit(.write(0, filled(4096, 1)))
      #expect(await site.happens { $0.oldestRequestNanoseconds > 0 })
      let stopping = Task(executorPreference: site.machine) { await stop(site) }
      await site.clients.sleep(nanoseconds: 50_000_000)
      #expect(await site.server.status().isStopping)
      let late = client.submit(.write(4096, filled(4096, 2)))
      #expect(try await client.reply(to: late).error == Wire.shutdown)
      #expect(try await client.reply(to: early).error == 0)
      #expect(await client.expectEnd())
      let (words, nanoseconds) = await stopping.value
      #expect(words == nil)
      #expect(nanoseconds < 2 * second)
      #expect(below.holds(1, from: 0, to: 4096))
      #expect(below.holds(0, from: 4096, to: 8192))
      #expect(below.medium.unflushedWrites.isEmpty)
    }
  }

  @Test("S14: a disk that is stuck with a request: stop says so within its bound")
  func stuckRequest() throws {
    let (site, below) = fileSite(testOptions { $0.shutdownNanoseconds = 5 * second })
    try site.run {
      let client = try await site.connect()
      below.disk.isStuck = true
      client.submit(.write(0, filled(4096, 1)))
      #expect(await site.happens { $0.oldestRequestNanoseconds > 0 })
      let (words, nanoseconds) = await stop(site)
      #expect(words?.contains("1 requests were still waiting") == true)
      #expect(nanoseconds >= 5 * second && nanoseconds < 6 * second)
    }
  }

  @Test("S14: a disk that is stuck when the last flush comes: stop says so within its bound")
  func stuckFlush() throws {
    let (site, below) = fileSite(testOptions { $0.shutdownNanoseconds = 5 * second })
    try site.run(within: Simulation.Limits(virtualNanoseconds: 100 * second)) {
      let client = try await site.connect()
      #expect(try await client.perform(.write(0, filled(4096, 1))).error == 0)
      below.disk.isStuck = true
      let (words, nanoseconds) = await stop(site)
      #expect(words != nil)
      #expect(nanoseconds >= 5 * second && nanoseconds < 6 * second)
      below.disk.release()
      await site.clients.sleep(nanoseconds: second)
    }
  }

  @Test("S14: a payload that arrives after the stop is not served, whatever the disk does")
  func latePayload() throws {
    let (site, below) = fileSite(testOptions { $0.shutdownNanoseconds = 5 * second })
    try site.run(within: Simulation.Limits(virtualNanoseconds: 100 * second)) {
      let client = try await site.connect()
      let cookie = client.submit(
        TestRequest(TestRequest.write, 0, 8192, payload: filled(4096, 1)))
      #expect(await site.happens { $0.requestsInFlight == 1 })
      let stopping = Task(executorPreference: site.machine) { await stop(site) }
      await site.clients.sleep(nanoseconds: 100_000_000)
      client.submit(filled(4096, 1))
      #expect(try await client.reply(to: cookie).error == Wire.shutdown)
      let (words, nanoseconds) = await stopping.value
      #expect(words == nil)
      #expect(nanoseconds < 3 * second)
      #expect(below.holds(0, from: 0, to: 8192))
    }
  }

  @Test("S14: a client that never reads its replies does not hold the stop up")
  func clientThatNeverReads() throws {
    var conditions = NetworkConditions()
    conditions.bufferBytes = 4096
    let (site, below) = fileSite(conditions: conditions)
    below.medium.overwrite(at: 0, with: filled(1 << 20, 9))
    try site.run {
      let client = try await site.connect()
      for _ in 0..<20 { client.submit(TestRequest(TestRequest.read, 0, 65536)) }
      #expect(await site.happens { $0.reads.count >= 1 && $0.oldestRequestNanoseconds == 0 })
      let (words, nanoseconds) = await stop(site)
      #expect(words == nil)
      #expect(nanoseconds < 3 * second)
    }
  }

  @Test("S14: 100 clients that hang in the handshake do not hold the stop up")
  func hangingHandshakes() throws {
    let (site, _) = fileSite()
    try site.run {
      var streams: [SimulatedStream] = []
      for _ in 0..<100 { streams.append(try await site.connectSilently()) }
      #expect(await site.happens { $0.connections.count == 100 })
      let (words, nanoseconds) = await stop(site)
      #expect(words == nil)
      #expect(nanoseconds < second)
      #expect(await site.server.status().connections.isEmpty)
      let refused = await site.network.connect(from: site.clients, to: address)
      #expect(throws: SystemError(111)) { try refused.get() }
      withExtendedLifetime(streams) {}
    }
  }

  @Test("S14: clients that connect at the moment of the stop do not hold it up")
  func connectingAtTheStop() throws {
    var conditions = NetworkConditions()
    conditions.shortestNanoseconds = 5000
    conditions.longestNanoseconds = 5000
    for seed in Seeds.of(100) {
      let (site, _) = fileSite(seed: seed, conditions: conditions)
      try site.run {
        for _ in 0..<3 {
          Task(executorPreference: site.clients) {
            if let stream = try? await site.connectSilently() {
              await site.clients.sleep(nanoseconds: 100 * second)
              await stream.close()
            }
          }
        }
        // Connections arrive after 5 us; sleeping takes up to 20 us longer than asked.
        await Task.yield()
        while site.clients.randomNumber() % 12 > 0 { await Task.yield() }
        let (words, nanoseconds) = await stop(site)
        #expect(words == nil)
        #expect(nanoseconds < second, "seed \(seed)")
      }
    }
  }

  @Test("a flush that fails at the end is told")
  func lastFlushFails() throws {
    let (site, _) = fileSite()
    site.machine.faultPlan.fail(operation: 1, of: .synchronize, with: .failure(5))
    try site.run {
      let client = try await site.connect()
      #expect(try await client.perform(.write(0, filled(4096, 1))).error == 0)
      let (words, _) = await stop(site)
      #expect(words?.hasPrefix("the last flush failed") == true)
      #expect(await site.server.stop() == nil)
    }
  }

  @Test("70: requests that wait for a slot when the stop comes get ESHUTDOWN")
  func requestsBehindTheSlots() throws {
    let (site, below) = fileSite(testOptions { $0.requestsPerConnectionMax = 2 })
    below.disk.latency = DiskLatency(
      shortestNanoseconds: 200_000_000, longestNanoseconds: 200_000_000, slowPerMillion: 0)
    try site.run {
      let client = try await site.connect()
      var cookies: [UInt64] = []
      for index in 0..<6 {
        cookies.append(client.submit(.write(UInt64(index) * 4096, filled(4096, 1))))
      }
      #expect(await site.happens { $0.requestsInFlight == 2 })
      let stopping = Task(executorPreference: site.machine) { await stop(site) }
      var errors: [UInt32] = []
      for cookie in cookies { errors.append(try await client.reply(to: cookie).error) }
      #expect(errors == [0, 0] + filled(4, 0).map { _ in Wire.shutdown })
      #expect(await stopping.value.0 == nil)
    }
  }
}
