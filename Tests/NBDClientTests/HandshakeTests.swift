import IO
import NBDClient
import NBDWire
import Simulator
import TestSupport
import Testing

@Suite("NBDClient: handshakes")
struct HandshakeTests {
  /// What is wrong with a server, and what the client has to say of it.
  struct Case: CustomTestStringConvertible, Sendable {
    var name: String
    var words: String
    var script: @Sendable (ScriptedServer) async -> Void

    var testDescription: String { name }

    init(
      _ name: String, _ words: String, _ script: @escaping @Sendable (ScriptedServer) async -> Void
    ) {
      self.name = name
      self.words = words
      self.script = script
    }

    /// As far as GO, which it answers with these bytes.
    static func go(_ name: String, _ words: String, _ answer: [UInt8]) -> Case {
      Case(name, words) { server in
        await server.say(Bytes.greeting)
        _ = await server.take(4 + 16)
        await server.say(Bytes.optionReply(8, 1) + answer)
        await server.leave()
      }
    }

    static func greeting(_ name: String, _ words: String, _ bytes: [UInt8]) -> Case {
      Case(name, words) { server in
        await server.say(bytes)
        await server.leave()
      }
    }
  }

  static let info = Bytes.exportInfo(4096, 1)

  static let cases: [Case] = [
    .greeting("another protocol", "does not greet", Array("HTTP/1.1 400 Bad Request\r\n".utf8)),
    .greeting(
      "oldstyle", "oldstyle",
      Array("NBDMAGIC".utf8) + Bytes.number(0x4202_8186_1253, 8) + Bytes.number(4096, 8)
        + [UInt8](repeating: 0, count: 128)),
    .greeting("half a magic", "almost", Array("NBDMAGICNBDMAGIC".utf8) + [0, 3]),
    .greeting("not fixed", "fixed newstyle", Array("NBDMAGICIHAVEOPT".utf8) + [0, 2]),
    Case("closes at once", "closed the connection before its greeting") { await $0.close() },
    Case("closes after the greeting", "closed the connection before the reply to an option") {
      await $0.say(Bytes.greeting)
      _ = await $0.take(20)
      await $0.close()
    },
    Case("is reset", "the connection broke") {
      await $0.say(Bytes.greeting)
      _ = await $0.take(20)
      $0.stream.reset()
      await $0.close()
    },
    .go("wrong reply magic", "is none", Bytes.number(1, 8) + Bytes.number(0, 12)),
    .go("reply to another option", "is none", Bytes.optionReply(3, 1)),
    .go(
      "huge length", "announces 4294967295 bytes",
      Array(Bytes.optionReply(7, 3).dropLast(4)) + Bytes.number(0xFFFF_FFFF, 4)),
    .go("no size", "does not say how large", Bytes.optionReply(7, 1)),
    .go("short information", "empty", Bytes.optionReply(7, 3, [0])),
    .go("long size", "has 13 bytes", Bytes.optionReply(7, 3, [UInt8](repeating: 0, count: 13))),
    .go("odd reply", "answers GO with 2", Bytes.optionReply(7, 2)),
    .go(
      "unknown export", "the server has no export \"a\"; it says",
      Bytes.optionReply(7, 0x8000_0006, Array("try \"b\"".utf8))),
    .go("policy", "policy forbids", Bytes.optionReply(7, 0x8000_0002)),
    .go("TLS", "wants TLS", Bytes.optionReply(7, 0x8000_0005)),
    .go("an error of the future", "error 77", Bytes.optionReply(7, 0x8000_004D)),
    .go(
      "endless replies", "does not come to an end",
      [UInt8]((0..<1000).flatMap { _ in Bytes.optionReply(7, 3, [0, 9]) })),
    .go(
      "negative size", "says that the export has",
      Bytes.exportInfo(1 << 63, 1) + Bytes.optionReply(7, 1)),
    .go(
      "impossible blocks", "impossible block sizes",
      info + Bytes.blockInfo(3, 4096, 1 << 20) + Bytes.optionReply(7, 1)),
    .go(
      "no largest block", "impossible block sizes",
      info + Bytes.blockInfo(512, 4096, 0) + Bytes.optionReply(7, 1)),
    Case("structured replies acknowledged with data", "answers STRUCTURED_REPLY") {
      await $0.say(Bytes.greeting + Bytes.optionReply(8, 1, [1]))
      await $0.leave()
    },
    Case("falls silent", "within 10 s") {
      await $0.say(Bytes.greeting)
      await $0.leave()
    },
    Case("says nothing at all", "within 10 s") { await $0.leave() },
    Case("drips", "within 10 s") { server in
      for byte in Bytes.greeting {
        await server.stream.machine.sleep(nanoseconds: second)
        await server.say([byte])
      }
      await server.leave()
    },
  ]

  @Test("a server that breaks the rules is left with a reason", arguments: cases)
  func lyingServers(lie: Case) throws {
    for seed in Seeds.of(5) {
      let site = ClientSite(seed: seed)
      try site.run {
        let start = site.simulation.nowNanoseconds
        let error = await site.handshakeError(lie.script)
        let words = error?.explanation ?? "none"
        #expect(words.contains(lie.words), "\(words)")
        #expect(site.simulation.nowNanoseconds - start < 13 * second)
      }
    }
  }

  @Test("a server without GO and structured replies is asked by name", arguments: [true, false])
  func exportName(omitsZeroes: Bool) throws {
    let site = ClientSite()
    try site.run {
      let stream = site.play { server in
        await server.say(Array("NBDMAGICIHAVEOPT".utf8) + [0, omitsZeroes ? 3 : 1])
        let flags = await server.take(4)
        #expect(flags == [0, 0, 0, omitsZeroes ? 3 : 1])
        _ = await server.take(16)
        await server.say(Bytes.optionReply(8, 0x8000_0001))
        _ = await server.take(16 + 4 + 1 + 4)
        await server.say(Bytes.optionReply(7, 0x8000_0001))
        let name = await server.take(17)
        #expect(name == Array("IHAVEOPT".utf8) + [0, 0, 0, 1, 0, 0, 0, 1, 97])
        let padding = [UInt8](repeating: 0, count: omitsZeroes ? 0 : 124)
        await server.say(Bytes.number(8192, 8) + Bytes.number(0b11, 2) + padding)
        await server.leave()
      }
      let client = try await site.connect(over: stream)
      #expect(client.export.byteCount == 8192)
      #expect(client.export.isReadOnly && !client.export.canFlush && !client.export.canTrim)
      #expect(!client.export.usesStructuredReplies)
      #expect(client.export.maximumPayloadBytes == 32 << 20)
      let memory = AlignedMemory.ofTest(512)
      let write = await failure { () async throws(RequestError) in
        try await client.writeBytes(0, memory.buffer.prefix(512).array)
      }
      #expect(write == .refused(.notPermitted))
      let flush = await failure { () async throws(RequestError) in try await client.flush() }
      #expect(flush == .refused(.notSupported))
      await client.close()
    }
  }

  @Test("a server that refuses every option and the name closes, and that is explained")
  func refusesEverything() throws {
    let site = ClientSite()
    try site.run {
      let error = await site.handshakeError { server in
        await server.say(Bytes.greeting)
        _ = await server.take(20)
        await server.say(Bytes.optionReply(8, 0x8000_0002))
        _ = await server.take(25)
        await server.say(Bytes.optionReply(7, 0x8000_0001))
        _ = await server.take(17)
        await server.close()
      }
      #expect(
        error
          == .refused(
            reason: "the server closed the connection; perhaps it has no export \"a\""))
    }
  }

  @Test("a server that talks before it is asked is left, at the latest with the first request")
  func talksUnasked() throws {
    for seed in Seeds.of(20) {
      let site = ClientSite(seed: seed)
      try site.run {
        let stream = site.play { server in
          await server.say(Bytes.greeting)
          _ = await server.take(4 + 16)
          await server.say(
            Bytes.optionReply(8, 1) + Self.info + Bytes.optionReply(7, 1) + Bytes.simple(0))
          await server.leave()
        }
        do throws(ConnectError) {
          // The network may have kept the bytes back until the handshake was over.
          let client = try await site.connect(over: stream)
          await site.machine.sleep(nanoseconds: second)
          let read = await failure { () async throws(RequestError) in
            _ = try await client.readBytes(0, 512)
          }
          #expect(read == .lost(reason: "the server answered a request that was never made"))
          await client.close()
        } catch {
          #expect(error.explanation.contains("nobody had asked"))
        }
      }
    }
  }

  @Test("without HAS_FLAGS the other flags mean nothing")
  func flagsWithoutMeaning() throws {
    let site = ClientSite()
    try site.run {
      let stream = site.play { server in
        await server.greet(flags: 0xFFFE)
        await server.leave()
      }
      let client = try await site.connect(over: stream)
      #expect(client.export.flags.isEmpty)
      await client.close()
    }
  }

  @Test("block sizes are taken over, and what is beyond our own limit is cut")
  func blockSizes() throws {
    let site = ClientSite()
    try site.run {
      let stream = site.play { server in
        await server.say(Bytes.greeting)
        _ = await server.take(4 + 16)
        await server.say(
          Bytes.optionReply(8, 1) + Bytes.exportInfo(1 << 40, 1)
            + Bytes.optionReply(7, 3, Bytes.number(1, 2) + Array("name".utf8))
            + Bytes.blockInfo(512, 65536, 0xFFFF_FFFF) + Bytes.optionReply(7, 1))
        await server.leave()
      }
      let client = try await site.connect(over: stream)
      #expect(client.export.minimumBlockBytes == 512)
      #expect(client.export.preferredBlockBytes == 65536)
      #expect(client.export.maximumPayloadBytes == 32 << 20)
      await client.close()
    }
  }
}
