import CUring
import Glibc
package import IO

extension RingMachine {
  /// Connects to a unix socket.
  ///
  /// - Parameters:
  ///   - path: at most 107 bytes.
  ///   - nanosecondsMax: how long to wait for a server whose queue is full.
  /// - Returns: a stream that belongs to the caller.
  /// - Throws: why there is no connection.
  package func connect(
    toUnixPath path: String, nanosecondsMax: UInt64 = 10_000_000_000
  ) async throws(DialError) -> RingStream {
    let deadline = readClock().addingSaturating(nanosecondsMax)
    let address = try SocketAddress(unixPath: path)
    return try await connect(to: address, until: deadline)
  }

  /// Connects to the first address of a host that answers.
  ///
  /// The addresses are tried in the resolver's order, within one limit of time for all. The
  /// resolver itself is waited for, and the loop with it: connect before anything is served.
  ///
  /// - Parameters:
  ///   - host: a name or an address, without brackets.
  ///   - port: a number.
  ///   - nanosecondsMax: for all addresses together; each gets its share of what is left.
  /// - Returns: a stream that belongs to the caller.
  /// - Throws: why the last address did not answer, or why there is none.
  package func connect(
    toHost host: String, port: String, nanosecondsMax: UInt64 = 10_000_000_000
  ) async throws(DialError) -> RingStream {
    try await connect(
      to: try ResolvedHost(host: host, port: port), nanosecondsMax: nanosecondsMax)
  }

  /// Connects to the first address that answers of a host that was resolved before.
  ///
  /// Never waits for the resolver: for connections while something is served.
  ///
  /// - Parameters:
  ///   - host: where to.
  ///   - nanosecondsMax: as above.
  /// - Returns: a stream that belongs to the caller.
  /// - Throws: why the last address did not answer, or why there is none.
  package func connect(
    to host: ResolvedHost, nanosecondsMax: UInt64 = 10_000_000_000
  ) async throws(DialError) -> RingStream {
    let addresses = host.addresses
    let deadline = readClock().addingSaturating(nanosecondsMax)
    var lastError = DialError.unresolved(name: host.name, reason: "it has no address")
    for (index, address) in addresses.enumerated() {
      let now = readClock()
      // A silent first address must leave time for the others.
      let share = (deadline - min(now, deadline)) / UInt64(addresses.count - index)
      do throws(DialError) {
        return try await connect(to: address, until: now.addingSaturating(share))
      } catch {
        lastError = error
      }
    }
    throw lastError
  }

  private func connect(
    to address: SocketAddress, until deadline: UInt64
  ) async throws(DialError) -> RingStream {
    let start = readClock()
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = socket(address.family, kind, 0)
    guard descriptor >= 0 else {
      throw .refused(address: address.description, SystemError.last)
    }
    // What a unix socket holds by default makes two or three sends of sixteen WRITEs of 64 KiB.
    // The kernel gives as much of it as it allows; still more would fall out of the caches.
    if address.family == AF_UNIX {
      SocketOptions.set(descriptor, SOL_SOCKET, SO_SNDBUF, 512 << 10)
    } else {
      // Else the kernel goes on sending for minutes what a closed connection, or a killed process,
      // has left: a write of then could overwrite newer ones (crash rule T7).
      SocketOptions.discardUnsentAtClose(descriptor)
    }
    let dial = PendingDial()
    Task(executorPreference: self) { await self.watch(dial, until: deadline) }
    var result: Int32
    repeat {
      result = await submit(address, on: descriptor, dial)
    } while (result == -EINTR || result == -EAGAIN) && !dial.isLate
    dial.isOver = true
    // A second try after an interruption may find that the first has succeeded.
    if result == 0 || result == -EISCONN { return adoptStream(descriptor) }
    _ = Glibc.close(descriptor)
    guard !dial.isLate, result != -ETIMEDOUT else {
      throw .timedOut(address: address.description, nanoseconds: readClock() - start)
    }
    throw .refused(address: address.description, SystemError(-result))
  }

  private func submit(
    _ address: SocketAddress, on descriptor: Int32, _ dial: PendingDial
  ) async -> Int32 {
    let result = unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Int32, Never>) in
      // Safe: as in `RingMachine.submit`; the identifier is kept only to cancel by, and the
      // address lives until the operation has completed.
      let entry = vacantEntry()
      unsafe entry.connect(descriptor, address.pointer, address.byteCount)
      dial.identifier = unsafe UInt64(unsafeBitCast(waiter, to: UInt.self))
      entry.identifier = dial.identifier
    }
    dial.identifier = 0
    withExtendedLifetime(address) {}
    return result
  }

  private func watch(_ dial: PendingDial, until deadline: UInt64) async {
    while true {
      let now = readClock()
      guard now < deadline else { break }
      // In steps, so that this does not outlive a quick connect by long.
      await sleep(nanoseconds: min(deadline - now, 1_000_000_000))
      if dial.isOver { return }
    }
    dial.isLate = true
    if dial.identifier != 0 { cancel(identifier: dial.identifier) }
  }
}

/// The addresses of a host and port, as they were when it was resolved.
package struct ResolvedHost: Sendable {
  fileprivate let name: String
  fileprivate let addresses: [SocketAddress]

  /// Asks the resolver, and waits for it: before anything is served.
  ///
  /// - Parameters:
  ///   - host: a name or an address, without brackets.
  ///   - port: a number.
  /// - Throws: the resolver's words.
  package init(host: String, port: String) throws(DialError) {
    name = host
    addresses = try SocketAddress.resolve(host: host, port: port)
  }
}

/// One attempt to connect; used on the loop's thread only.
private final class PendingDial: @unchecked Sendable {
  /// What to cancel by; 0 while there is nothing.
  var identifier: UInt64 = 0
  var isLate = false
  var isOver = false
}

/// Why there is no connection.
package enum DialError: Error, Equatable, Sendable {
  /// A unix path that is empty, or of more than 107 bytes.
  case badPath(byteCount: Int)
  /// The name or port is unknown; the resolver's words.
  case unresolved(name: String, reason: String)
  case timedOut(address: String, nanoseconds: UInt64)
  case refused(address: String, SystemError)

  /// What happened and what to look at, for an operator.
  package var explanation: String {
    switch self {
    case .badPath(let byteCount):
      "a unix socket's path has 1 to 107 bytes, this one has \(byteCount)"
    case .unresolved(let name, let reason): "\(name) cannot be resolved: \(reason)"
    case .timedOut(let address, let nanoseconds):
      "\(address) did not answer within \(max(1, nanoseconds / 1_000_000_000)) s"
    case .refused(let address, let error) where error.number == ENOENT:
      "there is no socket \(address)"
    case .refused(let address, let error) where error.number == ECONNREFUSED:
      "nobody listens at \(address)"
    case .refused(let address, let error): "cannot connect to \(address): \(error)"
    }
  }
}

/// A socket address at a stable place, and how to name it.
@safe
private final class SocketAddress: @unchecked Sendable {
  // Safe: allocated in `init` and freed in `deinit`; never changed in between.
  private let storage: UnsafeMutablePointer<sockaddr_storage>
  let byteCount: socklen_t
  let description: String

  private init(_ value: sockaddr_storage, byteCount: socklen_t, _ description: String) {
    unsafe storage = .allocate(capacity: 1)
    unsafe storage.initialize(to: value)
    self.byteCount = byteCount
    self.description = description
  }

  deinit { unsafe storage.deallocate() }

  var family: Int32 { Int32(unsafe storage.pointee.ss_family) }

  @unsafe
  var pointer: UnsafePointer<sockaddr> {
    // Safe: every socket address may be looked at as a `sockaddr`.
    unsafe UnsafePointer(UnsafeRawPointer(storage).assumingMemoryBound(to: sockaddr.self))
  }

  convenience init(unixPath path: String) throws(DialError) {
    var address = sockaddr_un()
    let bytes = Array(path.utf8)
    guard !bytes.isEmpty, bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw .badPath(byteCount: bytes.count)
    }
    address.sun_family = sa_family_t(AF_UNIX)
    // Safe: `bytes` is shorter than the field, which ends with a zero.
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { field in
      unsafe field.copyBytes(from: bytes)
    }
    var value = sockaddr_storage()
    // Safe: the general address is larger than the one of a path.
    unsafe withUnsafeMutableBytes(of: &value) { target in
      unsafe withUnsafeBytes(of: &address) { unsafe target.copyMemory(from: $0) }
    }
    self.init(value, byteCount: socklen_t(MemoryLayout<sockaddr_un>.size), "unix:\(path)")
  }

  /// Every address of a host, in the resolver's order.
  static func resolve(host: String, port: String) throws(DialError) -> [SocketAddress] {
    var hints = unsafe addrinfo()
    unsafe hints.ai_family = AF_UNSPEC
    unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    unsafe hints.ai_flags = AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    // Safe: `list` is freed below.
    let result = unsafe getaddrinfo(host, port, &hints, &list)
    guard result == 0 else {
      throw .unresolved(
        name: "\(host):\(port)", reason: unsafe String(cString: gai_strerror(result)))
    }
    defer { unsafe freeaddrinfo(list) }
    var addresses: [SocketAddress] = []
    var entry = unsafe list
    while let info = unsafe entry?.pointee {
      if let address = unsafe info.ai_addr,
        unsafe Int(info.ai_addrlen) <= MemoryLayout<sockaddr_storage>.size
      {
        var value = sockaddr_storage()
        // Safe: the length was compared, and the resolver's list outlives the copy.
        unsafe withUnsafeMutableBytes(of: &value) { target in
          unsafe target.copyMemory(
            from: UnsafeRawBufferPointer(start: address, count: Int(info.ai_addrlen)))
        }
        let name = unsafe "tcp:" + SocketOptions.numericName(of: address, info.ai_addrlen)
        addresses.append(unsafe SocketAddress(value, byteCount: info.ai_addrlen, name))
      }
      unsafe entry = unsafe info.ai_next
    }
    return addresses
  }
}

extension UInt64 {
  /// The sum, or `max` where it would not fit.
  fileprivate func addingSaturating(_ other: UInt64) -> UInt64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
  }
}
