import IO
import NBDClient
import NBDWire
import Simulator
import TestSupport
import Testing

@Suite("NBDClient: answers")
struct AnswerTests {
  @Test("pieces and holes in any order make up a READ")
  func pieces() throws {
    for seed in Seeds.of(20) {
      let site = ClientSite(seed: seed)
      try site.run {
        let bytes = Patterns.small.bytes(3, at: 0, 1000)
        let stream = site.play { server in
          await server.greet()
          guard let read = await server.takeRequest() else { return }
          let cookie = read.cookie
          await server.say(
            Bytes.data(cookie, 900, Array(bytes[900...]), isLast: false)
              + Bytes.hole(cookie, 100, 300, isLast: false)
              + Bytes.data(cookie, 0, Array(bytes[..<100]), isLast: false)
              + Bytes.data(cookie, 400, Array(bytes[400..<900]), isLast: false)
              + Bytes.chunk(cookie, 0, isLast: true))
          await server.leave()
        }
        let client = try await site.connect(over: stream)
        var expected = bytes
        for index in 100..<400 { expected[index] = 0 }
        #expect(try await client.readBytes(0, 1000) == expected)
        await client.close()
      }
    }
  }

  @Test("an error ends one request, and the others go on")
  func errors() throws {
    for seed in Seeds.of(20) {
      let site = ClientSite(seed: seed)
      try site.run {
        let stream = site.play { server in
          await server.greet()
          for error in [5, 28, 4711] as [UInt64] {
            guard let request = await server.takeRequest() else { return }
            // Data before an error is no lie: the error counts.
            await server.say(
              Bytes.data(request.cookie, request.offset, [1, 2], isLast: false)
                + Bytes.error(request.cookie, error, "no luck"))
          }
          guard let request = await server.takeRequest() else { return }
          await server.say(Bytes.simple(request.cookie, error: 108))
          guard let flush = await server.takeRequest() else { return }
          await server.say(Bytes.chunk(flush.cookie, 0, isLast: true))
          await server.leave()
        }
        let client = try await site.connect(over: stream)
        for expected in [.inputOutput, .noSpace, .invalid, .shutdown] as [NBDErrorCode] {
          let error = await failure { () async throws(RequestError) in
            _ = try await client.readBytes(4096, 4096)
          }
          #expect(error == .refused(expected))
        }
        try await client.flush()
        await client.close()
      }
    }
  }

  @Test("a long READ or WRITE becomes several that the server can take")
  func longRequests() throws {
    let site = ClientSite()
    try site.run {
      let seen = Box<[SeenRequest]>([])
      let stream = site.play { server in
        await server.say(Bytes.greeting)
        _ = await server.take(20)
        await server.say(
          Bytes.optionReply(8, 0x8000_0001) + Bytes.exportInfo(1 << 20, 0b10_1101)
            + Bytes.blockInfo(512, 512, 1024) + Bytes.optionReply(7, 1))
        _ = await server.take(16 + 4 + 1 + 4)
        while let request = await server.takeRequest() {
          if request.command == 2 { break }
          seen.value.append(request)
          let data = [UInt8](repeating: 9, count: request.command == 0 ? Int(request.byteCount) : 0)
          await server.say(Bytes.simple(request.cookie) + data)
        }
        await server.leave()
      }
      let client = try await site.connect(over: stream)
      #expect(try await client.readBytes(512, 2560) == [UInt8](repeating: 9, count: 2560))
      try await client.writeBytes(0, [UInt8](repeating: 1, count: 1536), durably: true)
      await client.close()
      #expect(seen.value.map(\.command) == [0, 0, 0, 1, 1])
      #expect(seen.value.map(\.offset) == [512, 1536, 2560, 0, 1024])
      #expect(seen.value.map(\.byteCount) == [1024, 1024, 512, 1024, 512])
      #expect(seen.value.map(\.flags) == [0, 0, 0, 1, 1])
    }
  }

  @Test("a durable write is a write and a flush where the server knows no FUA")
  func durableWithoutFUA() throws {
    let site = ClientSite()
    try site.run {
      let commands = Box<[UInt16]>([])
      let stream = site.play { server in
        await server.greet(flags: 0b101)
        while let request = await server.takeRequest() {
          commands.value.append(request.command)
          if request.command == 2 { break }
          await server.say(Bytes.simple(request.cookie))
        }
        await server.leave()
      }
      let client = try await site.connect(over: stream)
      try await client.writeBytes(0, [1, 2, 3], durably: true)
      await client.close()
      // What was sent is still on its way.
      await site.machine.sleep(nanoseconds: second)
      #expect(commands.value == [1, 3, 2])
    }
  }

  @Test("no more requests are under way than the client was told to allow")
  func requestsInFlight() throws {
    let site = ClientSite()
    try site.run {
      let cookies = Box<Set<UInt64>>([])
      let stream = site.play { server in
        await server.greet()
        for round in 0..<5 {
          var batch: [UInt64] = []
          while batch.count < 4, let request = await server.takeRequest() {
            batch.append(request.cookie)
          }
          // A fifth would have come by now.
          await site.far.sleep(nanoseconds: second)
          #expect(Set(batch.map { $0 & 0xFFFF_FFFF }) == [0, 1, 2, 3], "round \(round)")
          cookies.value.formUnion(batch)
          await server.say(batch.reversed().flatMap { Bytes.simple($0) })
        }
        await server.leave()
      }
      var options = ClientOptions(exportName: "a")
      options.requestCountMax = 4
      let client = try await site.connect(over: stream, options)
      let done = Box(0)
      let gate = Gate()
      for _ in 0..<20 {
        site.machine.start {
          let error = await failure { () async throws(RequestError) in try await client.flush() }
          #expect(error == nil)
          done.value += 1
          gate.signal()
        }
      }
      await gate.wait { done.value == 20 }
      #expect(cookies.value.count == 20)
      await client.close()
    }
  }
}
