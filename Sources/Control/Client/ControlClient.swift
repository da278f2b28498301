import Glibc
import IO

/// A blocking connection to a server's control socket; every wait ends at a deadline.
package struct ControlClient: ~Copyable {
  private let descriptor: Int32
  /// Who listens, from the kernel; with socket activation the manager that made the socket.
  private let listenerProcessID: Int32?
  private var received: [UInt8] = []

  /// A status with 100 connections takes about 15 KB.
  private static let responseByteCountMax = 8 << 20

  /// Connects to the socket at `path`.
  package init(path: String, until deadline: Deadline) throws(ControlError) {
    let descriptor = socket(
      AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    guard descriptor >= 0 else { throw .unreachable(SystemError.last) }
    let result = ControlClient.connect(descriptor, to: path, until: deadline)
    guard result == 0 else {
      close(descriptor)
      switch result {
      case ENOENT: throw .notRunning(staleSocket: false)
      case ECONNREFUSED: throw .notRunning(staleSocket: true)
      case EAGAIN: throw .noAnswer(processID: nil)
      default: throw .unreachable(SystemError(result))
      }
    }
    self.descriptor = descriptor
    self.listenerProcessID = ControlClient.peerProcessID(descriptor)
  }

  deinit { close(descriptor) }

  /// Sends a request and takes its response.
  ///
  /// - Parameters:
  ///   - request: what to do.
  ///   - deadline: when to give up.
  ///   - stillWaiting: called every few seconds while no answer comes.
  /// - Returns: its answer, which is no refusal.
  /// - Throws: the refusal, or why there is no answer.
  package mutating func ask(
    _ request: ControlRequest, until deadline: Deadline, stillWaiting: () -> Void = {}
  ) throws(ControlError) -> ControlResponse {
    try send(request.line, until: deadline)
    while true {
      let step = Deadline(afterNanoseconds: min(5_000_000_000, deadline.remainingNanoseconds))
      let line: [UInt8]
      do throws(ControlError) {
        line = try receiveLine(until: step)
      } catch {
        guard case .noAnswer = error, !deadline.hasPassed else { throw error }
        stillWaiting()
        continue
      }
      let response = try ControlResponse(line: line)
      if case .refused(let refusal) = response { throw .refused(refusal) }
      return response
    }
  }

  /// What the server has to say in the end, when it was asked to stop.
  ///
  /// - Returns: its complaint; nil when it had none.
  /// - Throws: that it ended without a word, or has not ended.
  package mutating func outcome(until deadline: Deadline) throws(ControlError) -> String? {
    while true {
      let response = try ControlResponse(line: receiveLine(until: deadline))
      if case .stopped(let complaint, _) = response { return complaint }
    }
  }

  /// Waits until the server closes the connection, as it does when it ends.
  ///
  /// - Returns: false when the deadline passed first.
  package mutating func waitForEnd(until deadline: Deadline) -> Bool {
    while true {
      switch receiveSome() {
      case .some(0): return true
      case .some: continue
      case nil where errno == EAGAIN || errno == EINTR:
        guard wait(for: POLLIN, until: deadline) else { return false }
      case nil: return true
      }
    }
  }

  private func send(_ bytes: [UInt8], until deadline: Deadline) throws(ControlError) {
    var done = 0
    while done < bytes.count {
      // Safe: the pointer covers the rest of `bytes` and is not kept.
      let count = unsafe bytes[done...].withUnsafeBytes { rest in
        unsafe Glibc.send(descriptor, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
      }
      if count > 0 {
        done += count
      } else if errno == EAGAIN {
        guard wait(for: POLLOUT, until: deadline) else {
          throw .noAnswer(processID: listenerProcessID)
        }
      } else if errno == EPIPE || errno == ECONNRESET {
        // It may have said why before it closed: receiving tells.
        return
      } else if errno != EINTR {
        throw .unreachable(SystemError.last)
      }
    }
  }

  private mutating func receiveLine(until deadline: Deadline) throws(ControlError) -> [UInt8] {
    while true {
      if let newline = received.firstIndex(of: UInt8(ascii: "\n")) {
        let line = Array(received[..<newline])
        received.removeFirst(newline + 1)
        return line
      }
      guard received.count < Self.responseByteCountMax else {
        throw .unexpectedResponse("longer than \(Self.responseByteCountMax) bytes")
      }
      switch receiveSome() {
      case .some(0): throw .closed(processID: listenerProcessID)
      case .some: continue
      case nil where errno == EAGAIN || errno == EINTR:
        guard wait(for: POLLIN, until: deadline) else {
          throw .noAnswer(processID: listenerProcessID)
        }
      case nil where errno == ECONNRESET: throw .closed(processID: listenerProcessID)
      case nil: throw .unreachable(SystemError.last)
      }
    }
  }

  /// - Returns: how many bytes came, 0 at the end; nil with errno set when none did.
  private mutating func receiveSome() -> Int? {
    var count = 0
    // Safe: the closure's buffer has the capacity that recv is told.
    let chunk = unsafe [UInt8](unsafeUninitializedCapacity: 65536) { buffer, filled in
      count = unsafe recv(descriptor, buffer.baseAddress, 65536, 0)
      filled = max(0, count)
    }
    guard count >= 0 else { return nil }
    received += chunk
    return count
  }

  private func wait(for event: Int32, until deadline: Deadline) -> Bool {
    while true {
      guard !deadline.hasPassed else { return false }
      var item = pollfd(fd: descriptor, events: Int16(event), revents: 0)
      let result = unsafe poll(&item, 1, deadline.remainingMilliseconds)
      if result > 0 { return true }
      if result < 0, errno != EINTR { return true }
    }
  }

  /// - Returns: 0 or an errno. A full backlog is waited for, since it cannot be polled.
  private static func connect(
    _ descriptor: Int32, to path: String, until deadline: Deadline
  ) -> Int32 {
    guard path.utf8.count <= ListenAddress.unixPathByteCountMax else { return ENAMETOOLONG }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    // Safe: the path and its zero byte fit, as was just checked.
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { bytes in
      unsafe bytes.copyBytes(from: path.utf8)
    }
    while true {
      let result = unsafe withUnsafePointer(to: &address) { pointer in
        // Safe: a sockaddr_un is passed as what it is, with its size.
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
          unsafe Glibc.connect(descriptor, generic, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
      }
      if result == 0 { return 0 }
      let error = errno
      guard error == EAGAIN || error == EINTR, !deadline.hasPassed else { return error }
      Deadline.pause(milliseconds: 10)
    }
  }

  private static func peerProcessID(_ descriptor: Int32) -> Int32? {
    // A `struct ucred`: process, user, group.
    var credentials: [Int32] = [0, 0, 0]
    var byteCount = socklen_t(12)
    // Safe: the array has the 12 bytes that the kernel is told.
    let result = unsafe getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &byteCount)
    guard result == 0, byteCount == 12, credentials[0] > 0 else { return nil }
    return credentials[0]
  }
}

extension ControlError {
  /// What happened to the server called `name`, and what to do next.
  package func explained(_ name: String) -> String {
    switch self {
    case .notRunning(staleSocket: false):
      return "\(name) is not running: start it with 'ashlar serve'"
    case .notRunning(staleSocket: true):
      return "\(name) is not running; it ended without cleaning up its socket: start it again "
        + "with 'ashlar serve'"
    case .unreachable(let error) where error.number == EACCES:
      return "may not talk to \(name): \(error): run it as the user of the server, or as root"
    case .unreachable(let error):
      return "cannot talk to \(name): \(error): check the runtime directory and the server's log"
    case .noAnswer(let processID):
      return "\(name) does not answer\(Self.process(processID)): look at its log; if it stays "
        + "like this, 'ashlar stop --force \(name)' ends it"
    case .closed(let processID):
      return "\(name) closed the connection without an answer\(Self.process(processID)): "
        + "it may be ending; try again"
    case .unexpectedResponse(let reason):
      return "\(name) answered something unexpected (\(reason)): use the ashlar program of the "
        + "server's version"
    case .stillRunning(let processID):
      return "\(name) has not ended in time\(Self.process(processID)): wait longer with "
        + "--timeout, or kill it with --force"
    case .refused(let refusal):
      return "\(name) refused: \(refusal.message): \(refusal.action)"
    }
  }

  private static func process(_ processID: Int32?) -> String {
    guard let processID else { return "" }
    guard let facts = ProcessFacts(processID: processID) else {
      return "; its process \(processID) has ended"
    }
    return "; its process \(processID) \(facts.stateWords)"
  }
}
