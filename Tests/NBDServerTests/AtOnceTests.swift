import IO
import NBDServer
import Simulator
import TestSupport
import Testing
import Units
import Volumes

// What the server answers in the turn in which it comes: from memory that the volume lends, from
// the page cache, or by a write that waits for nothing.
@Suite("Server: requests answered at once")
struct AtOnceTests {
  private var narrow: NetworkConditions {
    var conditions = smoothConditions
    conditions.bufferBytes = 16 << 10
    return conditions
  }

  @Test("memory lent to a client that does not read costs none, and may change until it is sent")
  func lentMemory() throws {
    let site = memorySite(conditions: narrow, testOptions { $0.requestsPerConnectionMax = 16 })
    try site.run {
      let good = try await site.connect()
      #expect(try await good.perform(.write(0, filled(65536, 7))).error == 0)
      let slow = try await site.connect()
      for _ in 0..<50 { slow.submit(TestRequest(TestRequest.read, 0, 65536)) }
      await site.clients.sleep(nanoseconds: second)
      let status = await site.server.status()
      #expect(status.requestsInFlight == 16 && status.bufferBytesInUse == 0)
      #expect(try await good.perform(TestRequest(TestRequest.trim, 0, 65536)).error == 0)
      #expect(try await good.perform(.write(4096, filled(4096, 9))).error == 0)
      for _ in 0..<50 {
        let reply = try await slow.nextReply()
        let isLegal = reply.data.allSatisfy { $0 == 0 || $0 == 7 || $0 == 9 }
        #expect(reply.error == 0 && reply.data.count == 65536 && isLegal)
      }
      let last = try await slow.perform(TestRequest(TestRequest.read, 0, 65536))
      #expect(last.data == filled(4096, 0) + filled(4096, 9) + filled(57344, 0))
      await slow.close()
      await good.close()
      #expect(await site.becomesQuiet())
    }
  }

  @Test(
    "pipelined reads and writes on memory, in pieces of any size and few slots",
    arguments: 0..<12 as Range<UInt64>)
  func randomMemory(seed: UInt64) throws {
    var conditions = NetworkConditions()
    conditions.bufferBytes = 1 << Int(8 + seed % 10)
    conditions.fragmentPerMillion = seed % 2 == 0 ? 500_000 : 0
    let site = memorySite(
      seed: seed, byteCount: 64 * 8192, conditions: conditions,
      testOptions {
        $0.requestsPerConnectionMax = [1, 2, 128][Int(seed % 3)]
        $0.requestsMax = [1, 4096][Int(seed % 2)]
        $0.bytesPerConnectionMax = [4096, 64 << 20][Int(seed / 2 % 2)]
      })
    try site.run {
      let client = try await site.connect(seed % 4 == 0 ? .simple : TestWishes())
      var bytes = filled(64, 0)
      var pending: [UInt64: (block: Int, byteCount: Int, isRead: Bool)] = [:]
      var left = 300
      while left > 0 || !pending.isEmpty {
        while left > 0, pending.count < 16 {
          left -= 1
          let block = Int(site.clients.randomNumber() % 64)
          guard !pending.values.contains(where: { $0.block == block }) else { continue }
          let (offset, isRead) = (UInt64(block) * 8192, site.clients.randomNumber() % 2 == 0)
          let size = isRead ? Int(1 + site.clients.randomNumber() % 8192) : 8192
          if !isRead { bytes[block] = UInt8(left % 255 + 1) }
          let flags = left % 5 == 0 ? TestRequest.durable : 0
          let request =
            isRead
            ? TestRequest(TestRequest.read, offset, UInt32(size), flags: flags)
            : .write(offset, filled(size, bytes[block]), flags: flags)
          pending[client.submit(request)] = (block, size, isRead)
        }
        guard !pending.isEmpty else { continue }
        let reply = try await client.nextReply()
        let known = pending.removeValue(forKey: reply.cookie)
        let found = try #require(known)
        let isRight = !found.isRead || reply.data == filled(found.byteCount, bytes[found.block])
        #expect(reply.error == 0 && isRight, "seed \(seed)")
      }
      await client.close()
      #expect(await site.becomesQuiet())
      let totals = await site.server.status()
      #expect(totals.reads.errorCount == 0 && totals.writes.errorCount == 0)
    }
  }

  @Test("where no buffer is left at once, the request waits its turn and its slot comes back")
  func fewBuffers() throws {
    let (site, below) = fileSite(
      alignment: 1, conditions: smoothConditions,
      testOptions {
        $0.requestsPerConnectionMax = 4
        $0.requestsMax = 6
        $0.bytesPerConnectionMax = 16 << 10
        $0.bytesMax = 32 << 10
      })
    below.cachedReadsPerMillion.value = 500_000
    below.medium.overwrite(at: 0, with: filled(1 << 20, 5))
    try site.run {
      let (first, second) = (try await site.connect(), try await site.connect())
      for client in [first, second] {
        for index in 0..<100 as Range<UInt64> {
          let offset = index * 8192
          if index % 3 == 0 {
            client.submit(.write(offset, filled(8192, 5)))
          } else {
            client.submit(TestRequest(TestRequest.read, offset, 8192))
          }
        }
      }
      for client in [first, second] {
        for _ in 0..<100 {
          let reply = try await client.nextReply()
          #expect(reply.error == 0 && reply.data.allSatisfy { $0 == 5 })
        }
        await client.close()
      }
      #expect(await site.becomesQuiet())
      let status = await site.server.status()
      #expect(status.reads.count == 132 && status.writes.count == 68)
    }
  }

  @Test("P4: a cached read of a file that was cut is EIO, as any other, and sends no data")
  func cutFile() throws {
    let (site, below) = fileSite(alignment: 1, conditions: smoothConditions)
    below.cachedReadsPerMillion.value = 1_000_000
    below.medium.overwrite(at: 0, with: filled(1 << 20, 5))
    try site.run {
      let client = try await site.connect()
      #expect(try await client.perform(TestRequest(TestRequest.read, 0, 4096)).error == 0)
      below.medium.truncate(to: 8192)
      for offset in [0, 4096, 65536] as [UInt64] {
        let reply = try await client.perform(TestRequest(TestRequest.read, offset, 4096))
        #expect(reply.error == Wire.inputOutput && reply.data.isEmpty)
      }
      #expect(await site.server.status().reads.errorCount == 3)
      await client.close()
      #expect(await site.becomesQuiet())
    }
  }

  @Test("the server's limit of requests holds for those answered at once, too")
  func requestsMax() throws {
    let site = memorySite(
      conditions: narrow,
      testOptions {
        $0.requestsMax = 8
        $0.requestsPerConnectionMax = 128
      })
    try site.run {
      var slow: [TestClient] = []
      for _ in 0..<4 {
        let client = try await site.connect()
        client.submit(.write(0, filled(65536, 1)))
        for _ in 0..<20 { client.submit(TestRequest(TestRequest.read, 0, 65536)) }
        slow.append(client)
      }
      await site.clients.sleep(nanoseconds: second)
      let inFlight = await site.server.status().requestsInFlight
      // Each connection may always have one.
      #expect(inFlight >= 8 && inFlight <= 8 + 3)
      for client in slow {
        for _ in 0..<21 { #expect(try await client.nextReply().error == 0) }
        await client.close()
      }
      #expect(await site.becomesQuiet())
    }
  }

  @Test("what was answered before a violation arrives; then the connection ends")
  func violation() throws {
    let site = memorySite(conditions: smoothConditions)
    try site.run {
      let client = try await site.connect()
      for index in 0..<20 as Range<UInt64> {
        client.submit(.write(index * 512, filled(512, 3)))
        client.submit(TestRequest(TestRequest.read, index * 512, 512))
      }
      client.submit(filled(28, 0xEE))
      for _ in 0..<40 { #expect(try await client.nextReply().error == 0) }
      #expect(await client.expectEnd())
      await client.close()
      #expect(await site.becomesQuiet())
      #expect(await site.server.status().violationCount == 1)
    }
  }

  @Test("S14: at the stop, requests that need no waiting get ESHUTDOWN like all others")
  func stop() throws {
    let site = memorySite(conditions: narrow)
    try site.run {
      // Who does not read holds the stop up for a second.
      let slow = try await site.connect()
      slow.submit(.write(0, filled(65536, 1)))
      for _ in 0..<8 { slow.submit(TestRequest(TestRequest.read, 0, 65536)) }
      let client = try await site.connect()
      let isOver = Box(false)
      let results = Box<[UInt32]>([])
      Task(executorPreference: site.clients) {
        do throws(ClientError) {
          while true {
            let request =
              results.value.count % 2 == 0
              ? TestRequest(TestRequest.read, 0, 4096) : .write(0, filled(4096, 1))
            results.value.append(try await client.perform(request).error)
          }
        } catch {
          isOver.value = true
        }
      }
      await site.clients.sleep(nanoseconds: 50_000_000)
      let stopping = Task(executorPreference: site.machine) { await site.server.stop() }
      #expect(await stopping.value == nil)
      await site.clients.sleep(nanoseconds: second)
      #expect(isOver.value)
      let firstRefused = try #require(results.value.firstIndex(of: Wire.shutdown))
      #expect(firstRefused > 10 && results.value.count > firstRefused + 10)
      #expect(results.value[..<firstRefused].allSatisfy { $0 == 0 })
      #expect(results.value[firstRefused...].allSatisfy { $0 == Wire.shutdown })
      await client.close()
      await slow.close()
    }
  }
}
