import IO
import NBDServer
import Simulator
import TestSupport
import Testing
import Units
import Volumes

@Suite("Server: a disk that does not answer")
struct StuckDiskTests {
  private func isFailed(_ health: VolumeHealth) -> Bool {
    if case .failed = health { true } else { false }
  }

  @Test("P9: the request gets EIO at its timeout, the buffer stays out of use, status answers")
  func requestTimeout() throws {
    let (site, below) = fileSite()
    try site.run {
      let client = try await site.connect()
      below.disk.isStuck = true
      let start = site.simulation.nowNanoseconds
      let cookie = client.submit(.write(0, filled(8192, 1)))
      #expect(await site.happens { $0.requestsInFlight == 1 && $0.oldestRequestNanoseconds > 0 })
      let reply = try await client.reply(to: cookie)
      let waited = site.simulation.nowNanoseconds - start
      #expect(reply.error == Wire.inputOutput)
      #expect(waited >= 60 * second && waited < 63 * second)
      let status = await site.server.status()
      #expect(isFailed(status.health))
      #expect(status.requestsInFlight == 1)
      #expect(status.bufferBytesInUse == 8192)
      #expect(site.logLines.value.contains { $0.hasPrefix("error: 1 requests were given up") })
      // Nothing is written any more.
      #expect(try await client.perform(.write(8192, filled(4096, 2))).error == Wire.inputOutput)
      below.disk.release()
      #expect(await site.happens { $0.requestsInFlight == 0 && $0.bufferBytesInUse == 0 })
      // Stopped for good: what the disk held may have taken effect at any time.
      let late = try await client.perform(TestRequest(TestRequest.read, 0, 4096))
      #expect(late.error == Wire.inputOutput)
      #expect(isFailed(await site.server.status().health))
      await client.close()
      #expect(await site.becomesQuiet())
    }
  }

  @Test("a stuck request's client leaves: the connection ends when the disk returns")
  func clientLeaves() throws {
    let (site, below) = fileSite()
    try site.run {
      let client = try await site.connect()
      below.disk.isStuck = true
      #expect(try await client.perform(.write(0, filled(4096, 1))).error == Wire.inputOutput)
      await client.close()
      await site.clients.sleep(nanoseconds: 5 * second)
      #expect(await site.server.status().bufferBytesInUse == 4096)
      below.disk.release()
      #expect(await site.becomesQuiet())
    }
  }

  @Test("the disk returns while the error reply is still being sent: the slot comes back")
  func returnsBeforeTheErrorIsSent() throws {
    var conditions = smoothConditions
    conditions.bufferBytes = 4096
    let (site, below) = fileSite(
      conditions: conditions, testOptions { $0.requestNanoseconds = 10 * second })
    try site.run {
      let client = try await site.connect()
      // The client does not read: a large reply fills the socket and the next waits behind it.
      let read = client.submit(TestRequest(TestRequest.read, 0, 65536, flags: 0))
      _ = read
      below.medium.overwrite(at: 0, with: filled(65536, 7))
      #expect(await site.happens { $0.reads.count == 1 })
      below.disk.isStuck = true
      let write = client.submit(.write(0, filled(4096, 1)))
      await site.clients.sleep(nanoseconds: 15 * second)
      #expect(isFailed(await site.server.status().health))
      below.disk.release()
      await site.clients.sleep(nanoseconds: second)
      #expect(try await client.reply(to: read).error == 0)
      #expect(try await client.reply(to: write).error == Wire.inputOutput)
      #expect(await site.happens { $0.requestsInFlight == 0 && $0.bufferBytesInUse == 0 })
      await client.close()
      #expect(await site.becomesQuiet())
    }
  }

  @Test("a payload that took longer than the request timeout is no sign of a stuck disk")
  func slowClientIsNoStuckDisk() throws {
    let (site, below) = fileSite(testOptions { $0.requestNanoseconds = 20 * second })
    below.disk.latency = DiskLatency(
      shortestNanoseconds: 3 * second, longestNanoseconds: 3 * second, slowPerMillion: 0)
    try site.run {
      let client = try await site.connect()
      let cookie = client.submit(
        TestRequest(TestRequest.write, 0, 8192, payload: filled(4096, 1)))
      await site.clients.sleep(nanoseconds: 30 * second)
      client.submit(filled(4096, 2))
      #expect(try await client.reply(to: cookie).error == 0)
      #expect(await site.server.status().health == .optimal)
    }
  }

  @Test("a long WRITE_ZEROES on a slow disk that answers all the time is no sign of a stuck one")
  func longWriteZeroes() throws {
    let (site, below) = fileSite(byteCount: 256 << 20, conditions: smoothConditions)
    below.medium.canPunchHoles = false
    below.medium.canZeroRanges = false
    below.disk.latency = DiskLatency(
      shortestNanoseconds: 400_000_000, longestNanoseconds: 400_000_000, slowPerMillion: 0)
    try site.run {
      let client = try await site.connect()
      let request = TestRequest(TestRequest.writeZeroes, 0, 256 << 20)
      #expect(try await client.perform(request).error == 0)
      #expect(site.simulation.nowNanoseconds > 60 * second)
      #expect(await site.server.status().health == .optimal)
    }
  }

  @Test("many small writes to one block of a slow disk are no sign of a stuck one")
  func manySmallWrites() throws {
    let (site, below) = fileSite(conditions: smoothConditions)
    below.disk.latency = DiskLatency(
      shortestNanoseconds: 300_000_000, longestNanoseconds: 300_000_000, slowPerMillion: 0)
    try site.run {
      let client = try await site.connect()
      let cookies = (0..<128).map { client.submit(.write(UInt64($0) * 32, filled(32, 1))) }
      for cookie in cookies { #expect(try await client.reply(to: cookie).error == 0) }
      #expect(site.simulation.nowNanoseconds > 60 * second)
      #expect(await site.server.status().health == .optimal)
    }
  }

  @Test(
    "P9: more requests than slots while the disk is stuck: each is answered within a bound")
  func slotsAllStuck() throws {
    let (site, below) = fileSite(
      conditions: smoothConditions, testOptions { $0.requestsPerConnectionMax = 4 })
    try site.run {
      let client = try await site.connect()
      below.disk.isStuck = true
      for index in 0..<8 { client.submit(.write(UInt64(index) * 4096, filled(4096, 1))) }
      #expect(await site.happens(within: 400 * second) { $0.writes.errorCount == 8 })
      below.disk.release()
    }
  }

  @Test(
    "P9: all buffers held by a stuck disk: another client is answered within a bound")
  func buffersAllStuck() throws {
    let (site, below) = fileSite(
      conditions: smoothConditions, testOptions { $0.bytesMax = 1 << 20 })
    try site.run {
      let holder = try await site.connect()
      let other = try await site.connect()
      below.disk.isStuck = true
      let write = holder.submit(.write(0, filled(1 << 20, 1)))
      #expect(await site.happens { $0.oldestRequestNanoseconds > 0 })
      other.submit(TestRequest(TestRequest.read, 0, 512 << 10))
      #expect(try await holder.reply(to: write).error == Wire.inputOutput)
      #expect(await site.happens(within: 400 * second) { $0.reads.errorCount == 1 })
      below.disk.release()
    }
  }
}
