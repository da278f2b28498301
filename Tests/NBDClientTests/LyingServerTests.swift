import IO
import NBDClient
import NBDWire
import Simulator
import TestSupport
import Testing
import Units

@Suite("NBDClient: servers that lie")
struct LyingServerTests {
  /// How a server answers a READ of 1000 bytes at 500 and a FLUSH behind it.
  struct Lie: CustomTestStringConvertible, Sendable {
    var name: String
    var words: String
    var isStructured = true
    var answer: @Sendable (_ read: UInt64, _ flush: UInt64) -> [UInt8]
    /// What the server does afterwards; it waits unless it is told to leave.
    var leaves = false

    var testDescription: String { name }

    init(
      _ name: String, _ words: String, isStructured: Bool = true, leaves: Bool = false,
      _ answer: @escaping @Sendable (UInt64, UInt64) -> [UInt8]
    ) {
      self.name = name
      self.words = words
      self.isStructured = isStructured
      self.leaves = leaves
      self.answer = answer
    }
  }

  static let bytes = [UInt8](repeating: 0xA5, count: 1000)

  static let lies: [Lie] = [
    Lie("wrong magic", "where a reply should begin") { _, _ in [UInt8](repeating: 7, count: 64) },
    Lie("a chunk where simple replies were agreed", "where a reply", isStructured: false) {
      read, _ in Bytes.data(read, 500, bytes, isLast: true)
    },
    Lie("a simple reply to a READ in chunks", "mixed a simple reply") { read, _ in
      Bytes.simple(read) + bytes
    },
    Lie("a simple reply behind a chunk", "mixed a simple reply") { read, _ in
      Bytes.data(read, 500, bytes, isLast: false) + Bytes.simple(read, error: 5)
    },
    Lie("unknown cookie", "never made") { _, _ in Bytes.simple(0xDEAD_BEEF_0000_0003) },
    Lie("cookie beyond the table", "never made") { _, _ in Bytes.simple(0x0000_0001_FFFF_FFFF) },
    Lie("cookie of a place never used", "never made") { _, _ in Bytes.simple(0x0000_0001_0000_0005)
    },
    Lie("cookie of generation zero", "never made") { read, _ in
      Bytes.simple(read & 0xFFFF_FFFF, error: 5)
    },
    Lie("cookie of a coming generation", "never made") { read, _ in
      Bytes.simple(read + 1 << 32, error: 5)
    },
    Lie("the same answer twice", "twice") { _, flush in
      Bytes.simple(flush) + Bytes.simple(flush)
    },
    Lie("a chunk after the last", "twice") { read, _ in
      Bytes.data(read, 500, bytes, isLast: true) + Bytes.chunk(read, 0, isLast: true)
    },
    Lie("payload longer than asked", "impossible length") { read, _ in
      Bytes.data(read, 500, bytes + [1], isLast: true)
    },
    Lie("endless payload", "impossible length") { read, _ in
      Bytes.chunk(read, 1, isLast: true, announced: 0xFFFF_FFFF)
    },
    Lie("payload shorter than asked", "lacks bytes at 1499") { read, _ in
      Bytes.data(read, 500, bytes.dropLast(), isLast: true)
    },
    Lie("payload in another place", "where nobody asked") { read, _ in
      Bytes.data(read, 501, bytes, isLast: true)
    },
    Lie("a place that wraps", "where nobody asked") { read, _ in
      Bytes.data(read, UInt64.max - 3, bytes, isLast: true)
    },
    Lie("overlapping chunks", "has the bytes at 600 twice") { read, _ in
      Bytes.data(read, 500, Array(bytes[..<200]), isLast: false)
        + Bytes.data(read, 600, Array(bytes[..<900]), isLast: true)
    },
    Lie("overlapping hole", "has the bytes at 1400 twice") { read, _ in
      Bytes.hole(read, 1400, 100, isLast: false) + Bytes.hole(read, 500, 1000, isLast: true)
    },
    Lie("a gap in the middle", "lacks bytes at 600") { read, _ in
      Bytes.data(read, 500, Array(bytes[..<100]), isLast: false)
        + Bytes.hole(read, 700, 800, isLast: true)
    },
    Lie("success without content", "lacks bytes at 500") { read, _ in
      Bytes.chunk(read, 0, isLast: true)
    },
    Lie("empty data", "impossible length") { read, _ in Bytes.data(read, 500, [], isLast: true) },
    Lie("empty hole", "makes no sense") { read, _ in Bytes.hole(read, 500, 0, isLast: true) },
    Lie("hole of an odd length", "impossible length") { read, _ in
      Bytes.chunk(read, 2, isLast: true, [UInt8](repeating: 0, count: 11))
    },
    Lie("data for a FLUSH", "does not belong") { _, flush in
      Bytes.data(flush, 0, [1], isLast: true)
    },
    Lie("extents for a READ", "does not belong") { read, _ in
      Bytes.chunk(read, 5, isLast: true, [UInt8](repeating: 0, count: 12))
    },
    Lie("an unknown chunk", "does not belong") { read, _ in Bytes.chunk(read, 77, isLast: true) },
    Lie("an error that is none", "makes no sense") { read, _ in Bytes.error(read, 0) },
    Lie("an error's text longer than its chunk", "makes no sense") { read, _ in
      Bytes.chunk(read, 32769, isLast: true, Bytes.number(5, 4) + Bytes.number(900, 2))
    },
    Lie("an endless error", "impossible length") { read, _ in
      Bytes.chunk(read, 32769, isLast: true, announced: 1 << 30)
    },
    Lie("an error outside the request", "where nobody asked") { read, _ in
      Bytes.chunk(
        read, 32770, isLast: true, Bytes.number(5, 4) + Bytes.number(0, 2) + Bytes.number(0, 8))
    },
    Lie("half a header and silence", "no answer for 30 s") { read, _ in
      Array(Bytes.data(read, 500, bytes, isLast: true)[..<13])
    },
    Lie("half a payload and silence", "no answer for 30 s") { read, _ in
      Array(Bytes.data(read, 500, bytes, isLast: true)[..<700])
    },
    Lie("silence", "no answer for 30 s") { _, _ in [] },
    Lie("closes without an answer", "the server closed the connection", leaves: true) { _, _ in
      []
    },
    Lie("closes within a header", "in the middle of a reply", leaves: true) { read, _ in
      Array(Bytes.data(read, 500, bytes, isLast: true)[..<13])
    },
    Lie("closes within a payload", "in the middle of a reply", leaves: true) { read, _ in
      Array(Bytes.data(read, 500, bytes, isLast: true)[..<700])
    },
    Lie("closes between chunks", "the server closed the connection", leaves: true) { read, _ in
      Bytes.data(read, 500, Array(bytes[..<500]), isLast: false)
    },
  ]

  @Test("whatever it is, every request ends with a reason, and at once", arguments: lies)
  func everyLieIsNoticed(lie: Lie) throws {
    for seed in Seeds.of(10) {
      let site = ClientSite(seed: seed)
      let isOver = Box(false)
      try site.run {
        let client = try await site.connect(over: site.play { await Self.tell(lie, $0) })
        let start = site.simulation.nowNanoseconds
        let outcomes = await Self.readAndFlush(client, site)
        let reasons = outcomes.compactMap { outcome -> String? in
          if case .lost(let reason) = outcome { reason } else { nil }
        }
        // A lie may come behind the right answer to the other request, but one is always lost.
        let waited = site.simulation.nowNanoseconds - start
        if !reasons.isEmpty {
          #expect(reasons.allSatisfy { $0.contains(lie.words) }, "\(reasons)")
        }
        #expect(waited < 33 * second)
        // One that comes later learns the same, at once.
        let late = await failure { () async throws(RequestError) in try await client.flush() }
        guard case .lost(let reason) = late else {
          Issue.record("a later request: \(String(describing: late))")
          return
        }
        #expect(reason.contains(lie.words), "\(reason)")
        await client.close()
        isOver.value = true
      }
      #expect(isOver.value)
    }
  }

  private static func tell(_ lie: Lie, _ server: ScriptedServer) async {
    await server.greet(isStructured: lie.isStructured)
    var read: UInt64 = 0
    var flush: UInt64 = 0
    for _ in 0..<2 {
      guard let request = await server.takeRequest() else { return await server.close() }
      if request.command == 0 { read = request.cookie } else { flush = request.cookie }
    }
    await server.say(lie.answer(read, flush))
    if lie.leaves { await server.close() } else { await server.leave() }
  }

  private static func readAndFlush(_ client: Client, _ site: ClientSite) async -> [RequestError?] {
    let flushed = Box<RequestError??>(nil)
    let gate = Gate()
    site.machine.start {
      flushed.value = await failure { () async throws(RequestError) in try await client.flush() }
      gate.signal()
    }
    let read = await failure { () async throws(RequestError) in
      _ = try await client.readBytes(500, 1000)
    }
    await gate.wait { flushed.value != nil }
    return [read, flushed.value ?? nil]
  }

  @Test("an answer that comes before the payload was taken frees nothing")
  func earlyAnswer() throws {
    var conditions = NetworkConditions()
    conditions.bufferBytes = 4096
    let site = ClientSite(conditions: conditions)
    try site.run {
      let hasAnswered = Box(false)
      let isTaken = Box(false)
      let stream = site.play { server in
        await server.greet()
        guard let header = await server.take(28) else { return }
        await server.say(Bytes.simple(WireBytes.number(header[8..<16]), error: 28))
        hasAnswered.value = true
        await site.far.sleep(nanoseconds: 5 * second)
        _ = await server.take(100_000)
        isTaken.value = true
        await server.leave()
      }
      let client = try await site.connect(over: stream)
      let error = await failure { () async throws(RequestError) in
        try await client.writeBytes(0, [UInt8](repeating: 1, count: 100_000))
      }
      #expect(error == .refused(.noSpace))
      #expect(hasAnswered.value && site.simulation.nowNanoseconds > 5 * second)
      await client.close()
    }
  }

  @Test("a connection that is reset ends every request, and those that wait for a place")
  func reset() throws {
    for seed in Seeds.of(20) {
      let site = ClientSite(seed: seed)
      try site.run {
        let stream = site.play { server in
          await server.greet()
          _ = await server.take(28 * 2 + 10)
          server.stream.reset()
          await server.close()
        }
        var options = ClientOptions(exportName: "a")
        options.requestCountMax = 3
        let client = try await site.connect(over: stream, options)
        let errors = Box<[RequestError?]>([])
        let gate = Gate()
        for index in 0..<10 {
          site.machine.start {
            errors.value.append(
              await failure { () async throws(RequestError) in
                _ = try await client.readBytes(UInt64(index) * 4096, 4096)
              })
            gate.signal()
          }
        }
        await gate.wait { errors.value.count == 10 }
        #expect(
          errors.value.allSatisfy { error in
            if case .lost(let reason) = error { reason.hasPrefix("the ") } else { false }
          })
        await client.close()
      }
    }
  }

  @Test("a server that does not read is given up, and the buffers come back only then")
  func serverDoesNotRead() throws {
    try playToDeafServer(bufferByteCount: 4096) { site, client in
      let start = site.simulation.nowNanoseconds
      let error = await failure { () async throws(RequestError) in
        try await client.writeBytes(0, [UInt8](repeating: 1, count: 100_000))
      }
      #expect(error == .lost(reason: "no answer for 30 s"))
      #expect(site.simulation.nowNanoseconds - start < 33 * second)
      await client.close()
    }
  }

  @Test("when the connection is lost, callers return only once nothing is with the kernel any more")
  func buffersComeBackLast() throws {
    var conditions = NetworkConditions()
    conditions.bufferBytes = 4096
    for seed in Seeds.of(60) {
      let site = ClientSite(seed: seed, conditions: conditions)
      try site.run {
        let stream = site.play { server in
          await server.greet()
          _ = await server.take(Int(10_000 + seed * 997))
          await server.say([UInt8](repeating: 0xEE, count: 20))
          await server.leave()
        }
        let client = try await site.connect(over: stream)
        let inFlight = Box<[Int]>([])
        let gate = Gate()
        for index in 0..<8 as Range<UInt64> {
          site.machine.start {
            _ = await failure { () async throws(RequestError) in
              try await client.writeBytes(index << 16, [UInt8](repeating: 1, count: 1 << 16))
            }
            inFlight.value.append(stream.sendsInFlight + stream.receivesInFlight)
            gate.signal()
          }
        }
        await gate.wait { inFlight.value.count == 8 }
        #expect(inFlight.value.allSatisfy { $0 == 0 }, "seed \(seed)")
        await client.close()
      }
    }
  }

  @Test("close does not wait for ever for a server that does not read")
  func closeIsBounded() throws {
    try playToDeafServer(bufferByteCount: 64) { site, client in
      let errors = Box<[RequestError?]>([])
      let gate = Gate()
      for _ in 0..<9 {
        site.machine.start {
          errors.value.append(
            await failure { () async throws(RequestError) in try await client.flush() })
          gate.signal()
        }
      }
      await site.machine.sleep(nanoseconds: second)
      let start = site.simulation.nowNanoseconds
      await client.close()
      #expect(site.simulation.nowNanoseconds - start < 4 * second)
      await gate.wait { errors.value.count == 9 }
      #expect(errors.value.allSatisfy { $0 == .lost(reason: "the connection was closed") })
    }
  }

  /// Plays to a server that greets and then reads nothing for 100 s, over a network that holds a few
  /// bytes.
  private func playToDeafServer(
    bufferByteCount: Int,
    _ body: @escaping @Sendable (ClientSite, Client) async throws -> Void
  ) throws {
    var conditions = NetworkConditions()
    conditions.bufferBytes = bufferByteCount
    let site = ClientSite(conditions: conditions)
    try site.run {
      let stream = site.play { server in
        await server.greet()
        await site.far.sleep(nanoseconds: 100 * second)
        await server.close()
      }
      try await body(site, site.connect(over: stream))
    }
  }
}
