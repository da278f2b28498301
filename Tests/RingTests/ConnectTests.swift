import Glibc
import IO
import Ring
import Testing

@Suite("Ring: connecting")
struct ConnectTests {
  /// Why there was no connection; nil when there was one, which is closed again.
  private func error(
    _ dial: () async throws(DialError) -> RingStream
  ) async -> DialError? {
    do throws(DialError) {
      await (try await dial()).close()
      return nil
    } catch {
      return error
    }
  }

  @Test("bytes cross a connection to a unix socket")
  func unixWorks() throws {
    let folder = try TemporaryFolder()
    let path = folder.file("s")
    try onRing(folder) { machine in
      let listener = try machine.listen(unixPath: path, mode: 0o600)
      let client = try await machine.connect(toUnixPath: path)
      let server = try await listener.acceptOnce().get()
      try await exchange(client, server)
      #expect(client.peerDescription == "unix:pid=\(getpid()),uid=\(getuid())")
      await client.close()
      await server.close()
      await listener.close()
    }
  }

  @Test("bytes cross a connection to a host by name, and by number")
  func hostWorks() throws {
    try onRing { machine in
      let listener = try machine.listen(host: "127.0.0.1", port: "0", isLoopbackOnly: true)[0]
      let port = String(listener.localDescription.split(separator: ":").last ?? "")
      for host in ["127.0.0.1", "localhost"] {
        let client = try await machine.connect(toHost: host, port: port)
        let server = try await listener.acceptOnce().get()
        #expect(client.peerDescription == "tcp:127.0.0.1:\(port)")
        try await exchange(client, server)
        await client.close()
        await server.close()
      }
      await listener.close()
    }
  }

  private func exchange(_ client: RingStream, _ server: RingStream) async throws {
    let source = try memory(4096, filledWith: 7)
    let target = try memory(4096)
    let outgoing = ScatterList(capacity: 1)
    outgoing.append(source.buffer)
    try await client.send(outgoing)
    let incoming = ScatterList(capacity: 1)
    incoming.append(target.buffer)
    #expect(try await server.receive(into: incoming) == 4096)
    #expect(target.buffer[4095] == 7)
  }

  @Test("a path without a socket, and a socket without a server, are told apart")
  func unixRefused() throws {
    let folder = try TemporaryFolder()
    let path = folder.file("s")
    try onRing(folder) { machine in
      let missing = await error { () async throws(DialError) in
        try await machine.connect(toUnixPath: path)
      }
      #expect(missing == .refused(address: "unix:\(path)", SystemError(ENOENT)))
      #expect(missing?.explanation == "there is no socket unix:\(path)")
      let file = unsafe creat(path, 0o600)
      close(file)
      let notSocket = await error { () async throws(DialError) in
        try await machine.connect(toUnixPath: path)
      }
      #expect(notSocket?.explanation == "nobody listens at unix:\(path)")
      let long = String(repeating: "x", count: 108)
      let tooLong = await error { () async throws(DialError) in
        try await machine.connect(toUnixPath: long)
      }
      #expect(tooLong == .badPath(byteCount: 108))
    }
  }

  @Test("a port that nobody listens at refuses")
  func hostRefused() throws {
    try onRing { machine in
      let listener = try machine.listen(host: "127.0.0.1", port: "0", isLoopbackOnly: true)[0]
      let port = String(listener.localDescription.split(separator: ":").last ?? "")
      await listener.close()
      let refused = await error { () async throws(DialError) in
        try await machine.connect(toHost: "127.0.0.1", port: port)
      }
      #expect(refused?.explanation == "nobody listens at tcp:127.0.0.1:\(port)")
      let unknown = await error { () async throws(DialError) in
        try await machine.connect(toHost: "127.0.0.1", port: "none")
      }
      guard case .unresolved = unknown else {
        Issue.record("\(String(describing: unknown))")
        return
      }
    }
  }

  @Test("a server that does not accept is not waited for without end")
  func deadline() throws {
    let folder = try TemporaryFolder()
    let path = folder.file("s")
    try onRing(folder) { machine in
      let listener = try machine.listen(unixPath: path, mode: 0o600)
      // The kernel queues as many as the backlog and one, then connect waits.
      var clients: [RingStream] = []
      var late: DialError?
      let start = machine.readClock()
      do throws(DialError) {
        while clients.count < 200 {
          clients.append(try await machine.connect(toUnixPath: path, nanosecondsMax: 200_000_000))
        }
      } catch {
        late = error
      }
      guard case .timedOut = late else {
        Issue.record("\(String(describing: late)) after \(clients.count) connections")
        return
      }
      #expect(machine.readClock() - start >= 200_000_000)
      for client in clients { await client.close() }
      await listener.close()
    }
  }
}
