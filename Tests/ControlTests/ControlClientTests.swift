import Glibc
import IO
import Testing

@testable import Control

/// A listening socket of one test that answers nothing by itself.
private final class SilentServer {
  let path: String
  private let folder: TemporaryFolder
  private let descriptor: Int32

  init(backlog: Int32 = 8) throws {
    folder = try TemporaryFolder()
    path = "\(folder.path)/x.control"
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let name = path
    // Safe: the path is short.
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: name.utf8) }
    let descriptor = descriptor
    let result = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
        unsafe bind(descriptor, generic, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard result == 0, listen(descriptor, backlog) == 0 else { throw SystemError.last }
  }

  /// Takes the client that is waiting, sends it bytes, and closes the connection.
  func answer(_ bytes: [UInt8]) {
    let stream = accept(descriptor, nil, nil)
    #expect(stream >= 0)
    #expect(unsafe send(stream, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
    close(stream)
  }

  /// Ends as a killed server does: the socket's file stays.
  func die() { _ = unsafe dup2(open("/dev/null", O_RDONLY), descriptor) }

  deinit { close(descriptor) }
}

@Suite("Control: the client")
struct ControlClientTests {
  private func limit(_ milliseconds: UInt64) -> Deadline {
    Deadline(afterNanoseconds: milliseconds * 1_000_000)
  }

  private func ask(
    _ path: String, _ milliseconds: UInt64 = 10_000, meanwhile: () -> Void = {}
  ) throws(ControlError) -> ControlResponse {
    var client = try ControlClient(path: path, until: limit(milliseconds))
    meanwhile()
    return try client.ask(.status, until: limit(milliseconds))
  }

  @Test("no socket and a socket left behind are told apart")
  func tellsStaleSockets() throws {
    #expect(throws: ControlError.notRunning(staleSocket: false)) { try ask("/nonexistent/x") }
    let server = try SilentServer()
    server.die()
    #expect(throws: ControlError.notRunning(staleSocket: true)) { try ask(server.path) }
  }

  @Test("a server that does not answer is named with its process")
  func namesTheSilent() throws {
    let server = try SilentServer()
    #expect(throws: ControlError.noAnswer(processID: getpid())) { try ask(server.path, 50) }
    let text = ControlError.noAnswer(processID: getpid()).explained("x")
    #expect(text.contains("x does not answer; its process \(getpid()) is alive"))
    #expect(ControlError.noAnswer(processID: .max).explained("x").contains("has ended"))
  }

  @Test("a server whose backlog is full does not hang the client")
  func survivesAFullBacklog() throws {
    let server = try SilentServer(backlog: 0)
    let first = try ControlClient(path: server.path, until: limit(1000))
    #expect(throws: ControlError.noAnswer(processID: nil)) {
      _ = try ControlClient(path: server.path, until: limit(50))
    }
    _ = consume first
  }

  @Test("an answer is taken, a cut one and nonsense are not")
  func takesAnswers() throws {
    let response = ControlResponse.status(sampleReport, processID: 5)
    let server = try SilentServer()
    #expect(try ask(server.path) { server.answer(response.line) } == response)
    #expect(throws: ControlError.closed(processID: getpid())) {
      try ask(server.path) { server.answer(Array(response.line.dropLast(3))) }
    }
    #expect {
      try ask(server.path) { server.answer(Array("hello\n".utf8)) }
    } throws: { error in
      if case ControlError.unexpectedResponse = error { return true }
      return false
    }
    let refusal = ControlRefusal(code: "a", message: "b", action: "c")
    #expect(throws: ControlError.refused(refusal)) {
      try ask(server.path) { server.answer(ControlResponse.refused(refusal).line) }
    }
  }

  @Test("a path that is too long is an error, not another path")
  func refusesLongPaths() {
    let path = "/" + String(repeating: "a", count: 107)
    #expect(throws: ControlError.unreachable(SystemError(ENAMETOOLONG))) { try ask(path) }
  }
}

@Suite("Control: status for people")
struct StatusTextTests {
  private func sighting(_ respond: (SilentServer) -> Void) throws -> DeviceSighting {
    // A sighting takes its deadline from the caller: this one is answered before it is taken.
    let server = try SilentServer()
    let directory = RuntimeDirectory(path: String(server.path.dropLast("/x.control".count)))
    respond(server)
    return try DeviceSighting("x", in: directory, until: Deadline(afterNanoseconds: 50_000_000))
  }

  @Test("state, cause and action come first, then device, clients and figures")
  func describes() {
    let sighting = DeviceSighting(
      name: "disk1", server: .answers(sampleReport, processID: 42), attachment: nil)
    let text = StatusText.describe(sighting)
    let expected = """
            name: disk1
           state: impaired, stopping
           cause: the file system is full
          action: make room
         running: 2 h 5 min, process 42
          device: 10 GiB, file /srv/a.img (direct), rotational
       listening: unix:/run/ashlar/disk1.sock
         clients: 1 of 100 at most, 9 since the start, 1 closed for violations
                  user 0, process 12: 4 in flight, 64 KiB, up 1 min 30 s
        requests: 5 in flight, buffers 128 KiB of 64 MiB, oldest 1.05 ms

               count   bytes  errors     mean    p50   p99  p99.9   max
        read       3  12 KiB       1  1.67 us  12 ns  5 us   5 us  5 us
        write      2   8 KiB       0     0 ns   0 ns  0 ns   0 ns  0 ns
        flush      0     0 B       0        -      -     -      -     -
        other      0     0 B       0        -      -     -      -     -

      """
    #expect(
      text
        == expected.split(separator: "\n", omittingEmptySubsequences: false)
        .map { String($0) }.joined(separator: "\n"))
    #expect(sighting.exitCode == 1)
  }

  @Test("rates are differences over the time between, and survive a restart of the server")
  func computesRates() {
    #expect(StatusText.perSecond(300, 100, 2_000_000_000) == 100)
    #expect(StatusText.perSecond(50, 100, 1_000_000_000) == 50)
    #expect(StatusText.perSecond(.max, 0, 1_000_000_000) == .max)
    #expect(StatusText.perSecond(.max, 0, 1) == 0)
    #expect(StatusText.perSecond(1, 0, 0) == 0)
  }

  @Test("a device that is not running or does not answer says so, and has its exit code")
  func describesTheSilent() throws {
    let dead = try sighting { $0.die() }
    #expect(dead.exitCode == 3)
    #expect(StatusText.describe(dead).contains("state: not running"))
    let hung = try sighting { _ in }
    #expect(hung.exitCode == 2)
    #expect(StatusText.describe(hung).contains("x does not answer; its process"))
    #expect(hung.json["running"] == true)
    #expect(dead.json["running"] == false)
  }
}
