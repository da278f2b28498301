import Glibc
import IO
import Ring
import Testing

@Suite("Ring: sockets, time and signals")
struct RingStreamTests {
  @Test("bytes cross a unix socket in pieces, in order")
  func piecesInOrder() throws {
    let folder = try TemporaryFolder()
    let path = folder.file("s")
    try onRing(folder) { machine in
      let listener = try machine.listen(unixPath: path, mode: 0o600)
      let client = machine.adoptStream(try connectUnix(path))
      let server = try await listener.acceptOnce().get()
      #expect(server.peerDescription == "unix:pid=\(getpid()),uid=\(getuid())")
      let source = try memory(100_000)
      for index in 0..<100_000 where index % 97 == 0 {
        source.buffer.slice(index, 1).fill(with: UInt8(index % 251))
      }
      let outgoing = ScatterList(capacity: 3)
      outgoing.append(source.buffer.slice(0, 1))
      outgoing.append(source.buffer.slice(1, 60_000))
      outgoing.append(source.buffer.slice(60_001, 39_999))
      let sending = Task(executorPreference: machine) { try await client.send(outgoing) }
      let target = try memory(100_000)
      let incoming = ScatterList(capacity: 2)
      var done = 0
      while done < 100_000 {
        incoming.removeAll()
        incoming.append(target.buffer.slice(done, min(50, 100_000 - done)))
        incoming.append(
          target.buffer.slice(done, 100_000 - done).dropFirst(min(50, 100_000 - done)))
        done += try await server.receive(into: incoming)
      }
      try await sending.value
      for index in stride(from: 0, to: 100_000, by: 97) {
        #expect(target.buffer[index] == UInt8(index % 251))
      }
      server.shutdown()
      await server.close()
      await client.close()
      await listener.close()
      #expect(unsafe access(path, F_OK) != 0, "the socket file is removed")
    }
  }

  @Test("shutdown makes a waiting receive return")
  func shutdownEndsReceive() throws {
    let folder = try TemporaryFolder()
    let path = folder.file("s")
    try onRing(folder) { machine in
      let listener = try machine.listen(unixPath: path, mode: 0o600)
      let client = machine.adoptStream(try connectUnix(path))
      let server = try await listener.acceptOnce().get()
      let target = try memory(4096)
      let pieces = ScatterList(capacity: 1)
      pieces.append(target.buffer)
      let receiving = Task(executorPreference: machine) { await server.receiveSome(into: pieces) }
      await machine.sleep(nanoseconds: 5_000_000)
      server.shutdown()
      #expect(await receiving.value <= 0)
      await server.close()
      await client.close()
      await listener.close()
    }
  }

  @Test("stopping a listener makes a waiting and every later accept fail with ECANCELED")
  func stopEndsAccept() throws {
    let folder = try TemporaryFolder()
    let path = folder.file("s")
    try onRing(folder) { machine in
      let listener = try machine.listen(unixPath: path, mode: 0o600)
      let accepting = Task(executorPreference: machine) { await listener.acceptOnce().failure }
      await machine.sleep(nanoseconds: 5_000_000)
      listener.stop()
      #expect(await accepting.value == SystemError(ECANCELED))
      #expect(await listener.acceptOnce().failure == SystemError(ECANCELED))
      await listener.close()
    }
  }

  @Test("a socket file that nobody serves is replaced; one in use, or another kind of file, is not")
  func staleSockets() throws {
    let folder = try TemporaryFolder()
    let path = folder.file("s")
    try onRing(folder) { machine in
      let first = try machine.listen(unixPath: path, mode: 0o600)
      #expect(throws: ListenError.inUse) { _ = try machine.listen(unixPath: path, mode: 0o600) }
      // As after kill -9: the file stays, nobody listens.
      #expect(unsafe link(path, folder.file("t")) == 0)
      await first.close()
      #expect(unsafe rename(folder.file("t"), path) == 0)
      let second = try machine.listen(unixPath: path, mode: 0o640)
      var status = stat()
      #expect(unsafe lstat(path, &status) == 0)
      #expect(status.st_mode & 0o777 == 0o640)
      await second.close()
      let (disk, _) = try await machine.openDisk(
        path: path, options: FileOptions(createByteCount: 4096))
      await disk.close()
      #expect(throws: ListenError.notSocket) { _ = try machine.listen(unixPath: path, mode: 0o600) }
      let long = String(repeating: "x", count: 108)
      #expect(throws: ListenError.pathTooLong(byteCount: 108)) {
        _ = try machine.listen(unixPath: long, mode: 0o600)
      }
    }
  }

  @Test("TCP beyond loopback is refused before it is opened, loopback is not")
  func loopbackOnly() throws {
    try onRing { machine in
      let listeners = try machine.listen(host: "127.0.0.1", port: "0", isLoopbackOnly: true)
      #expect(listeners.count == 1)
      for listener in listeners {
        #expect(!listener.isBeyondLoopback)
        await listener.close()
      }
      for host in ["", "0.0.0.0", "192.0.2.1"] {
        #expect(throws: ListenError.self) {
          _ = try machine.listen(host: host, port: "0", isLoopbackOnly: true)
        }
      }
    }
  }

  @Test("sleepers wake in the order of their times, never early")
  func sleepersWakeInOrder() throws {
    try onRing { machine in
      let start = machine.nowNanoseconds
      let tasks = [30, 10, 20].map { (milliseconds: UInt64) in
        Task(executorPreference: machine) {
          await machine.sleep(nanoseconds: milliseconds * 1_000_000)
          return machine.nowNanoseconds
        }
      }
      var times: [UInt64] = []
      for task in tasks { times.append(await task.value) }
      #expect(times[1] < times[2] && times[2] < times[0])
      #expect(times[1] >= start + 10_000_000)
      #expect(times[0] >= start + 30_000_000)
    }
  }

  @Test("everything runs on the thread of the loop")
  func oneThread() throws {
    let thread = ThreadName()
    try onRing { machine in
      #expect(thread.isCurrent)
      await machine.sleep(nanoseconds: 1000)
      #expect(thread.isCurrent)
      let task = Task(executorPreference: machine) {
        await machine.sleep(nanoseconds: 1000)
        return thread.isCurrent
      }
      #expect(await task.value)
    }
  }
}

/// The thread that made it.
private struct ThreadName: @unchecked Sendable {
  private let thread = pthread_self()
  var isCurrent: Bool { pthread_equal(thread, pthread_self()) != 0 }
}

extension Result {
  var failure: Failure? {
    if case .failure(let error) = self { return error }
    return nil
  }
}

private func connectUnix(_ path: String) throws -> Int32 {
  let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  // Safe: the paths of these tests are short; the field ends with a zero.
  unsafe withUnsafeMutableBytes(of: &address.sun_path) { field in
    unsafe field.copyBytes(from: path.utf8)
  }
  let length = socklen_t(MemoryLayout<sockaddr_un>.size)
  // Safe: every socket address may be looked at as a `sockaddr`.
  let result = unsafe withUnsafePointer(to: &address) { pointer in
    unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      unsafe connect(descriptor, $0, length)
    }
  }
  try #require(result == 0)
  return descriptor
}
