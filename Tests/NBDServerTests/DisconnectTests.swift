import Glibc
import IO
import NBDServer
import Simulator
import TestSupport
import Testing
import Units
import Volumes

/// A session of each command, as bytes, recorded once.
private enum Recording {
  static let requests: [TestRequest] = [
    .write(100, filled(600, 1)), TestRequest(TestRequest.read, 0, 900),
    TestRequest(TestRequest.flush), TestRequest(TestRequest.trim, 4096, 4096),
    .write(8192, filled(300, 2), flags: TestRequest.durable),
    TestRequest(TestRequest.writeZeroes, 200, 100), TestRequest(TestRequest.blockStatus, 0, 65536),
    TestRequest(TestRequest.cache, 0, 4096), .write(1 << 20, filled(50, 3)),
    TestRequest(TestRequest.read, 1 << 20, 1), TestRequest(TestRequest.disconnect),
  ]

  static func clientBytes(_ wishes: TestWishes) -> [UInt8] {
    var bytes = WireBytes.handshake(wishes)
    for (index, request) in requests.enumerated() {
      bytes += request.header(cookie: UInt64(index + 1)) + request.payload
    }
    return bytes
  }
}

@Suite("Server: clients that disconnect, and faults one by one")
struct DisconnectTests {
  enum Ending: CaseIterable {
    /// Closes; the kernel resets where replies are unread.
    case closes
    /// Sends no more, but reads until the server closes.
    case stopsSending
    case resets
  }

  @Test(
    "a client that ends its session after any byte leaves nothing behind",
    arguments: Ending.allCases)
  func cutClientBytes(ending: Ending) throws {
    let (site, _) = fileSite(seed: 7, conditions: smoothConditions)
    try site.run(within: Simulation.Limits(stepCount: 50_000_000)) {
      for wishes in [TestWishes(), .simple] {
        let bytes = Recording.clientBytes(wishes)
        // Each byte with one kind of replies, and with each ending a third of them.
        let step = ending == .closes && wishes.usesStructuredReplies ? 1 : 3
        for count in stride(from: 0, through: bytes.count, by: step) {
          let stream = try await site.connectSilently()
          let client = TestClient(site.clients, stream)
          client.submit(Array(bytes[..<count]))
          await client.waitUntilSent()
          switch ending {
          case .closes: break
          case .stopsSending:
            stream.shutdownSending()
            // The whole session ends with DISC; before that the server closes when it is told.
            while await !client.expectEnd() {}
          case .resets:
            if count % 3 == 0 { await site.clients.sleep(nanoseconds: 300_000) }
            stream.reset()
          }
          await client.close()
        }
      }
      #expect(await site.becomesQuiet())
      #expect(await site.server.status().health == .optimal)
      let good = try await site.connect()
      #expect(try await good.perform(TestRequest(TestRequest.read, 0, 512)).error == 0)
    }
  }

  @Test("a client that reads so many bytes and then leaves, for any number, leaves nothing behind")
  func cutServerBytes() throws {
    for wishes in [TestWishes(), .simple] {
      let (site, _) = fileSite(seed: 8, conditions: smoothConditions)
      try site.run(within: Simulation.Limits(stepCount: 50_000_000)) {
        let bytes = Recording.clientBytes(wishes)
        var count = 0
        while true {
          let stream = try await site.connectSilently()
          let client = TestClient(site.clients, stream)
          client.submit(bytes)
          let isWhole = (try? await client.takeNoMore(than: count)) != nil
          if count % 2 == 0 { stream.reset() }
          await client.close()
          if !isWhole { break }
          count += count < 400 ? 1 : 7
        }
        #expect(count > 1000)
        #expect(await site.becomesQuiet())
        #expect(await site.server.status().health == .optimal)
      }
    }
  }

  /// A client's life that goes on over a new connection when one breaks.
  private static func workload(_ site: FileSite, _ model: SectorModel) async {
    for part in 0..<2 {
      guard let client = try? await site.connect() else { continue }
      do throws(ClientError) {
        for index in 0..<4 {
          let number = part * 4 + index + 1
          let range = ByteRange(
            from: UInt64(index) * 3000, to: UInt64(index) * 3000 + 4000)
          let bytes = Patterns.small.bytes(number, at: range.offsetBytes, 4000)
          let flags = index % 2 == 0 ? 0 : TestRequest.durable
          let operation = model.begin(.write(bytes), range)
          let reply = try await client.perform(.write(range.offsetBytes, bytes, flags: flags))
          model.end(operation, succeeded: reply.error == 0)
          let read = model.beginRead(range)
          let seen = try await client.perform(
            TestRequest(TestRequest.read, range.offsetBytes, 4000))
          if case .failed = await site.server.status().health { continue }
          if let sector = model.endRead(read, range, seen.error == 0 ? seen.data : nil) {
            Issue.record("sector \(sector) holds what was never written")
          }
        }
        _ = try await client.perform(TestRequest(TestRequest.flush))
        _ = try await client.perform(TestRequest(TestRequest.blockStatus, 0, 65536))
      } catch {
        if case .malformed(let reason) = error { Issue.record("malformed: \(reason)") }
      }
      await client.close()
    }
  }

  @Test(
    "any operation of disk or stream fails, once or for good: no lie, no leak, then service",
    arguments: [
      .failure(EIO), .failure(ENOSPC), .failure(EINTR), .failure(EAGAIN), .failure(ECANCELED),
      .failure(ECONNRESET), .short, .count(512),
    ] as [InjectedResult])
  func failNth(result: InjectedResult) throws {
    // A cancelled accept means that the listener was stopped.
    let kinds: [OperationKind?] =
      result == .failure(ECANCELED)
      ? [.read, .write, .synchronize, .extent, .receive, .send] : [nil]
    for isPersistent in [false, true] {
      for kind in kinds {
        var number = 1
        while try failOne(number, kind, result, isPersistent) {
          number += number < 40 && !isPersistent ? 1 : 11
        }
        #expect(number > 1)
      }
    }
  }

  /// - Returns: whether the operation of this number came.
  private func failOne(
    _ number: Int, _ kind: OperationKind?, _ result: InjectedResult, _ isPersistent: Bool
  ) throws -> Bool {
    let (site, _) = fileSite(seed: UInt64(number), byteCount: 65536, conditions: smoothConditions)
    let plan = site.machine.faultPlan
    plan.fail(operation: number, of: kind, with: result, persistently: isPersistent)
    let model = SectorModel(byteCount: 65536)
    try site.run {
      let isDone = Box(false)
      let working = Task(executorPreference: site.clients) {
        await Self.workload(site, model)
        isDone.value = true
      }
      let deadline = site.simulation.nowNanoseconds + 20 * second
      while !isDone.value && site.simulation.nowNanoseconds < deadline {
        await site.clients.sleep(nanoseconds: 100_000_000)
      }
      plan.removeAll()
      await working.value
      #expect(await site.becomesQuiet(), "operation \(number)")
      model.settle()
      let health = await site.server.status().health
      let client = try await site.connect()
      let whole = try await client.perform(TestRequest(TestRequest.read, 0, 65536))
      let write = try await client.perform(.write(60_000, filled(10, 1)))
      if case .failed = health {
        // A flush has failed: what reads show is the kernel's affair, but nothing is written.
        #expect(write.error == Wire.inputOutput)
      } else {
        #expect(whole.error == 0 && write.error == 0)
        #expect(model.firstWrongSector(in: whole.data) == nil, "operation \(number)")
      }
    }
    return plan.hitCount > 0
  }
}
