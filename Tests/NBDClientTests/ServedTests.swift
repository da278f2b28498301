import IO
import NBDClient
import NBDServer
import NBDWire
import Simulator
import TestSupport
import Testing
import Units

@Suite("NBDClient: our own server")
struct ServedTests {
  @Test("the handshake tells what the export is", arguments: [true, false])
  func exportIsTold(isStructured: Bool) throws {
    let site = ClientSite()
    try site.run {
      let server = await site.serve(byteCount: 1 << 20)
      let client = try await site.connect { $0.wantsStructuredReplies = isStructured }
      #expect(client.export.byteCount == 1 << 20)
      #expect(client.export.usesStructuredReplies == isStructured)
      #expect(client.export.canFlush && client.export.canFUA && client.export.canTrim)
      #expect(client.export.canWriteZeroes && client.export.canFastZero)
      #expect(client.export.canMultiConnect && !client.export.isReadOnly)
      #expect(client.export.minimumBlockBytes == 1)
      #expect(client.export.preferredBlockBytes == 4096)
      #expect(client.export.maximumPayloadBytes == 32 << 20)
      await client.close()
      #expect(await server.stop() == nil)
    }
  }

  @Test("every command does what it says", arguments: [true, false])
  func commandsWork(isStructured: Bool) throws {
    let site = ClientSite()
    try site.run {
      let server = await site.serve(byteCount: 1 << 20)
      let client = try await site.connect { $0.wantsStructuredReplies = isStructured }
      let bytes = Patterns.small.bytes(7, at: 4096, 20000)
      try await client.writeBytes(4096, bytes, durably: true)
      #expect(try await client.readBytes(4096, 20000) == bytes)
      try await client.flush()
      try await client.writeZeroes(
        ByteRange(from: 5000, to: 9000), keepAllocated: true, onlyIfFast: false, durably: true)
      var zeroed = bytes
      for index in 904..<4904 { zeroed[index] = 0 }
      #expect(try await client.readBytes(4096, 20000) == zeroed)
      try await client.trim(ByteRange(from: 0, to: 1 << 20), durably: true)
      #expect(try await client.readBytes(0, 1 << 20).allSatisfy { $0 == 0 })
      await client.close()
      let status = await server.status()
      #expect(status.violationCount == 0)
      #expect(await server.stop() == nil)
    }
  }

  @Test("a request of no bytes needs no server")
  func emptyRequests() throws {
    let site = ClientSite()
    try site.run {
      let server = await site.serve(byteCount: 4096)
      let client = try await site.connect()
      try await client.writeBytes(4096, [])
      #expect(try await client.readBytes(0, 0).isEmpty)
      try await client.trim(ByteRange(from: 9, to: 9), durably: false)
      await client.close()
      #expect(await server.stop() == nil)
    }
  }

  @Test("an unknown export is refused in the server's words")
  func unknownExport() throws {
    let site = ClientSite()
    try site.run {
      let server = await site.serve(byteCount: 4096)
      do throws(ConnectError) {
        let stream = try? await site.network.connect(from: site.machine, to: address).get()
        guard let stream else { return }
        _ = try await Client.connect(
          over: stream, options: ClientOptions(exportName: "b\n"), machine: site.machine)
        Issue.record("it was given an export that nobody has")
      } catch {
        #expect(error.explanation.hasPrefix("the server has no export \"b\\u{a}\"; it says"))
        #expect(!error.explanation.contains("\n"))
      }
      #expect(await server.stop() == nil)
    }
  }

  @Test("a closed client stays closed")
  func closedStaysClosed() throws {
    let site = ClientSite()
    try site.run {
      let server = await site.serve(byteCount: 1 << 20)
      let client = try await site.connect()
      await client.close()
      await client.close()
      let lost = await failure { () async throws(RequestError) in try await client.flush() }
      #expect(lost == .lost(reason: "the connection was closed"))
      #expect(await server.stop() == nil)
    }
  }

  @Test("a server that stops says so to every request in flight")
  func serverStops() throws {
    let site = ClientSite()
    try site.run {
      let server = await site.serve(byteCount: 1 << 20)
      let client = try await site.connect()
      #expect(await server.stop() == nil)
      let error = await failure { () async throws(RequestError) in try await client.flush() }
      guard case .lost = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      await client.close()
    }
  }
}
