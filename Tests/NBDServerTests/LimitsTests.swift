import IO
import NBDServer
import Simulator
import TestSupport
import Testing
import Units
import Volumes

@Suite("Server: limits and hostile clients")
struct LimitsTests {
  private var narrow: NetworkConditions {
    var conditions = smoothConditions
    conditions.bufferBytes = 16 << 10
    return conditions
  }

  @Test("S3: a client that never reads is no longer read from, others go on, then it is dropped")
  func clientThatNeverReads() throws {
    let (site, below) = fileSite(
      conditions: narrow, testOptions { $0.requestsPerConnectionMax = 16 })
    below.medium.overwrite(at: 0, with: filled(1 << 20, 9))
    try site.run {
      let hostile = try await site.connect()
      for _ in 0..<2000 { hostile.submit(TestRequest(TestRequest.read, 0, 4096)) }
      let good = try await site.connect()
      var slowest: UInt64 = 0
      for index in 0..<50 {
        let start = site.simulation.nowNanoseconds
        let reply = try await good.perform(
          TestRequest(TestRequest.read, UInt64(index) * 4096, 4096))
        #expect(reply.error == 0)
        slowest = max(slowest, site.simulation.nowNanoseconds - start)
      }
      #expect(slowest < second)
      let status = await site.server.status()
      #expect(status.requestsInFlight <= 16)
      #expect(status.bufferBytesInUse <= 16 * 4096)
      // All in flight, what the sockets hold, and the receive buffer; never 2000.
      #expect(status.reads.count < 100)
      #expect(
        await site.happens(within: 70 * second) {
          $0.connections.count == 1 && $0.violationCount == 1
        })
      #expect(site.logLines.value.contains { $0.contains("did not take its replies") })
      #expect(try await good.perform(TestRequest(TestRequest.read, 0, 4096)).error == 0)
      await good.close()
      #expect(await site.becomesQuiet())
    }
  }

  @Test("S3: 100 clients that never read: memory stays within its limit, the last one is served")
  func hundredThatNeverRead() throws {
    let limit = 1 << 20
    let (site, below) = fileSite(
      conditions: narrow,
      testOptions {
        $0.connectionCountMax = 101
        $0.bytesMax = limit
      })
    below.medium.overwrite(at: 0, with: filled(1 << 20, 9))
    try site.run {
      var hostile: [TestClient] = []
      for _ in 0..<100 {
        let client = try await site.connect()
        for _ in 0..<8 { client.submit(TestRequest(TestRequest.read, 0, 65536)) }
        hostile.append(client)
      }
      await site.clients.sleep(nanoseconds: second)
      let good = try await site.connect()
      for _ in 0..<10 {
        let start = site.simulation.nowNanoseconds
        #expect(try await good.perform(TestRequest(TestRequest.read, 0, 65536)).error == 0)
        #expect(site.simulation.nowNanoseconds - start < second)
      }
      let inUse = await site.server.status().bufferBytesInUse
      #expect(inUse <= limit + 101 * ServerOptions.reservedByteCount)
      await good.close()
      #expect(await site.becomesQuiet(within: 300 * second))
      withExtendedLifetime(hostile) {}
    }
  }

  @Test("S4: a payload that trickles is dropped at its deadline, however busy it looks")
  func tricklingPayload() throws {
    let (site, _) = fileSite()
    try site.run {
      let client = try await site.connect()
      let start = site.simulation.nowNanoseconds
      client.submit(TestRequest(TestRequest.write, 0, 65536).header(cookie: 1))
      Task(executorPreference: site.clients) {
        for _ in 0..<200 {
          client.submit([1])
          await site.clients.sleep(nanoseconds: second)
        }
      }
      #expect(await client.expectEnd())
      let waited = site.simulation.nowNanoseconds - start
      #expect(waited >= 60 * second && waited < 63 * second)
      #expect(await site.becomesQuiet())
      #expect(site.logLines.value.contains { $0.contains("did not send the payload") })
    }
  }

  @Test("S4: the payload of a refused WRITE that never comes is dropped at its deadline")
  func payloadOfRefusedWrite() throws {
    let (site, _) = fileSite(isReadOnly: true)
    try site.run {
      let client = try await site.connect()
      await site.clients.sleep(nanoseconds: 5 * second)
      client.submit(TestRequest(TestRequest.write, 0, 65536).header(cookie: 1))
      #expect(
        await site.happens(within: 70 * second) {
          $0.connections.isEmpty && $0.violationCount == 1
        })
      #expect(await client.expectEnd())
    }
  }

  @Test("S2: a byte every 9 s does not extend the handshake beyond its 10 s")
  func tricklingHandshake() throws {
    let (site, _) = fileSite()
    try site.run {
      let stream = try await site.connectSilently()
      let client = TestClient(site.clients, stream)
      let start = site.simulation.nowNanoseconds
      Task(executorPreference: site.clients) {
        for byte in WireBytes.handshake(TestWishes()) {
          await site.clients.sleep(nanoseconds: 9 * second)
          client.submit([byte])
        }
      }
      _ = try await client.take(18)
      #expect(await client.expectEnd())
      let waited = site.simulation.nowNanoseconds - start
      #expect(waited >= 10 * second && waited < 12 * second)
      #expect(await site.becomesQuiet())
    }
  }

  @Test("S2: a client that reads nothing of the handshake is dropped, too")
  func deafHandshake() throws {
    var conditions = smoothConditions
    conditions.bufferBytes = 64
    let (site, _) = fileSite(conditions: conditions)
    try site.run {
      let client = TestClient(site.clients, try await site.connectSilently())
      client.submit(WireBytes.big(3, 4))
      for _ in 0..<30 { client.submit(WireBytes.option(3)) }
      #expect(await site.happens(within: 12 * second) { $0.violationCount == 1 })
      #expect(await site.becomesQuiet())
    }
  }

  @Test("S4: a WRITE header of 2 GiB closes the connection and allocates nothing")
  func hugeWrite() throws {
    let (site, _) = fileSite()
    try site.run {
      let client = try await site.connect()
      client.submit(TestRequest(TestRequest.write, 0, 1 << 31).header(cookie: 1))
      client.submit(filled(4096, 1))
      while await site.server.status().violationCount == 0 {
        #expect(await site.server.status().bufferBytesInUse == 0)
        await site.clients.sleep(nanoseconds: 10_000)
      }
      #expect(await client.expectEnd())
      #expect(await site.becomesQuiet())
    }
  }

  @Test("a client beyond the limit waits, is not greeted, and is served when another leaves")
  func connectionLimit() throws {
    let (site, _) = fileSite(testOptions { $0.connectionCountMax = 3 })
    try site.run {
      var clients: [TestClient] = []
      for _ in 0..<3 { clients.append(try await site.connect()) }
      let greeted = Box(false)
      Task(executorPreference: site.clients) {
        let late = try await site.connect()
        greeted.value = true
        #expect(try await late.perform(TestRequest(TestRequest.read, 0, 512)).error == 0)
        await late.close()
      }
      await site.clients.sleep(nanoseconds: 30 * second)
      #expect(!greeted.value)
      #expect(await site.server.status().connections.count == 3)
      #expect(site.logLines.value.contains { $0.contains("(--max-connections)") })
      await clients[1].close()
      await site.clients.sleep(nanoseconds: second)
      #expect(greeted.value)
      await clients[0].close()
      await clients[2].close()
      #expect(await site.becomesQuiet())
    }
  }

  @Test("S13: out of descriptors, accepting pauses without spinning, and recovers")
  func outOfDescriptors() throws {
    let (site, _) = fileSite()
    try site.run {
      let first = try await site.connect()
      let accepts = site.machine.faultPlan.count(of: .accept)
      site.machine.faultPlan.fail(
        operation: accepts + 1, of: .accept, with: .failure(24), persistently: true)
      let steps = site.simulation.stepCount
      Task(executorPreference: site.clients) {
        let late = try await site.connect()
        #expect(try await late.perform(TestRequest(TestRequest.read, 0, 512)).error == 0)
        await late.close()
      }
      // The accept that was waiting takes the client; those after it fail.
      await site.clients.sleep(nanoseconds: 20 * second)
      #expect(site.machine.faultPlan.count(of: .accept) - accepts <= 105)
      #expect(site.simulation.stepCount - steps < 5000)
      #expect(try await first.perform(TestRequest(TestRequest.read, 0, 512)).error == 0)
      site.machine.faultPlan.removeAll()
      await site.clients.sleep(nanoseconds: second)
      let again = try await site.connect()
      #expect(try await again.perform(TestRequest(TestRequest.read, 0, 512)).error == 0)
      await first.close()
      await again.close()
      #expect(await site.becomesQuiet())
    }
  }

  @Test("hostile clients hold all requests and all bytes: another connection still progresses")
  func hostileHolders() throws {
    let (site, below) = fileSite(
      conditions: narrow,
      testOptions {
        $0.requestsMax = 32
        $0.requestsPerConnectionMax = 16
        $0.bytesMax = 512 << 10
      })
    below.medium.overwrite(at: 0, with: filled(1 << 20, 9))
    try site.run {
      var hostile: [TestClient] = []
      for index in 0..<6 {
        let client = try await site.connect()
        // Some announce payloads that never come, some never read.
        if index % 2 == 0 {
          client.submit(TestRequest(TestRequest.write, 0, 1 << 18).header(cookie: 1))
        } else {
          for _ in 0..<100 { client.submit(TestRequest(TestRequest.read, 0, 32768)) }
        }
        hostile.append(client)
      }
      await site.clients.sleep(nanoseconds: second)
      let good = try await site.connect()
      for index in 0..<20 {
        let start = site.simulation.nowNanoseconds
        let bytes = filled(128 << 10, UInt8(index))
        #expect(try await good.perform(.write(0, bytes)).error == 0)
        #expect(site.simulation.nowNanoseconds - start < second)
        let status = await site.server.status()
        // Each connection may always have one more.
        #expect(status.requestsInFlight <= 32 + 7)
      }
      withExtendedLifetime(hostile) {}
    }
  }

  @Test("one connection holds at most its requests and its bytes, and gets all answers")
  func perConnectionLimits() throws {
    let (site, _) = fileSite(
      conditions: smoothConditions,
      testOptions {
        $0.requestsPerConnectionMax = 8
        $0.bytesPerConnectionMax = 256 << 10
      })
    try site.run {
      let client = try await site.connect()
      let most = Box((requests: 0, bytes: 0))
      let isOver = Box(false)
      Task(executorPreference: site.clients) {
        while !isOver.value {
          let status = await site.server.status()
          most.value.requests = max(most.value.requests, status.requestsInFlight)
          most.value.bytes = max(most.value.bytes, status.connections.first?.bytesInFlight ?? 0)
          await site.clients.sleep(nanoseconds: 20_000)
        }
      }
      for index in 0..<60 {
        let size: UInt32 = index % 3 == 0 ? 1 << 18 : 1 << 16
        client.submit(TestRequest(TestRequest.read, 0, size))
      }
      for _ in 0..<60 { #expect(try await client.nextReply().error == 0) }
      isOver.value = true
      #expect(most.value.requests >= 2 && most.value.requests <= 8)
      #expect(most.value.bytes >= 1 << 17 && most.value.bytes <= 256 << 10)
      // A request above the connection's own limit passes alone.
      #expect(try await client.perform(TestRequest(TestRequest.read, 0, 1 << 20)).error == 0)
      await client.close()
      #expect(await site.becomesQuiet())
    }
  }

  @Test("S10: hostile clients do not fill the log")
  func logBudget() throws {
    let (site, _) = fileSite()
    try site.run {
      for _ in 0..<200 {
        let stream = try await site.connectSilently()
        let client = TestClient(site.clients, stream)
        client.submit(filled(4, 0xFF))
        _ = try await client.take(18)
        #expect(await client.expectEnd())
        await client.close()
      }
      #expect(await site.server.status().violationCount == 200)
      #expect(site.logLines.value.count <= 21)
      await site.clients.sleep(nanoseconds: 11 * second)
      let client = TestClient(site.clients, try await site.connectSilently())
      client.submit(filled(4, 0xFF))
      #expect(await site.becomesQuiet())
      #expect(site.logLines.value.contains { $0.contains("180 log lines were left out") })
      #expect(site.logLines.value.allSatisfy { !$0.contains("\n") })
    }
  }

  @Test("listeners keep the connection limit together, and none starves the other")
  func twoListeners() throws {
    let (site, _) = fileSite(testOptions { $0.connectionCountMax = 1 })
    let second = try #require(site.network.listen(on: site.machine, at: "tcp:server:10809"))
    try site.run {
      await site.server.listen(at: second)
      await site.clients.sleep(nanoseconds: 1_000_000)
      for place in [address, "tcp:server:10809", address, "tcp:server:10809"] {
        let isServed = Box(false)
        Task(executorPreference: site.clients) {
          let client = try await TestClient.connect(site.clients, site.network, to: place)
          isServed.value = true
          await client.close()
        }
        await site.clients.sleep(nanoseconds: 1_000_000_000)
        #expect(isServed.value, "a client at \(place)")
      }
    }
  }
}
