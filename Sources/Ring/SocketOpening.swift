import CUring
import Glibc
import IO

/// The calls that open listening sockets; they run once, before anything is served.
enum SocketOpening {
  static func listenUnix(_ path: String, mode: UInt32) throws(ListenError) -> Int32 {
    var address = sockaddr_un()
    let capacity = MemoryLayout.size(ofValue: address.sun_path)
    let bytes = Array(path.utf8)
    guard !bytes.isEmpty, bytes.count < capacity else {
      throw .pathTooLong(byteCount: bytes.count)
    }
    address.sun_family = sa_family_t(AF_UNIX)
    // Safe: `bytes` is shorter than the field, which ends with a zero.
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { field in
      unsafe field.copyBytes(from: bytes)
    }
    let descriptor = try makeSocket(AF_UNIX)
    do throws(ListenError) {
      try removeStaleSocket(path, &address)
      let length = socklen_t(MemoryLayout<sockaddr_un>.size)
      // The file must never be open to more than `mode`, not even for a moment.
      let formerMask = umask(0o777 & ~mode)
      // Safe: the address lives until the call returns.
      let result = unsafe withSocketAddress(&address) { unsafe bind(descriptor, $0, length) }
      let error = SystemError.last
      _ = umask(formerMask)
      guard result == 0 else { throw ListenError.refused(operation: "bind", error) }
      guard Glibc.listen(descriptor, 128) == 0 else {
        let error = SystemError.last
        unsafe _ = unlink(path)
        throw ListenError.refused(operation: "listen", error)
      }
      return descriptor
    } catch {
      close(descriptor)
      throw error
    }
  }

  /// Removes a socket file that a killed server left behind; waits a second for its end.
  private static func removeStaleSocket(
    _ path: String, _ address: inout sockaddr_un
  ) throws(ListenError) {
    var status = stat()
    // Safe: `status` lives until the call returns.
    guard unsafe lstat(path, &status) == 0 else { return }
    guard status.st_mode & S_IFMT == S_IFSOCK else { throw .notSocket }
    // The sockets of a killed server go on listening until the kernel has torn down its ring, some
    // milliseconds after the process itself is gone; then it hangs up on whoever waits.
    var roundsLeft = 10
    while try isListenedAt(&address, hangUpMilliseconds: 1000) {
      roundsLeft -= 1
      guard roundsLeft > 0 else { throw .inUse }
    }
    guard unsafe unlink(path) == 0 else {
      throw .refused(operation: "remove the old socket", .last)
    }
  }

  /// Whether a socket listens there; one with a full backlog does.
  ///
  /// - Parameters:
  ///   - address: where.
  ///   - hangUpMilliseconds: how long to wait for the end of a server that is dying.
  /// - Throws: `inUse` when somebody answers, or does not hang up in this time.
  /// - Returns: false when nobody listens; true when somebody has hung up: ask again.
  private static func isListenedAt(
    _ address: inout sockaddr_un, hangUpMilliseconds: Int32
  ) throws(ListenError) -> Bool {
    let probe = try makeSocket(AF_UNIX)
    defer { close(probe) }
    // A hung server's full backlog must not hang us, too.
    _ = ashlar_set_flags(probe, O_NONBLOCK)
    let length = socklen_t(MemoryLayout<sockaddr_un>.size)
    // Safe: the address lives until the call returns.
    let result = unsafe withSocketAddress(&address) { unsafe connect(probe, $0, length) }
    // Only a socket that nobody listens on refuses.
    guard result == 0 else {
      guard errno == ECONNREFUSED || errno == ENOENT else { throw .inUse }
      return false
    }
    var waiting = pollfd(fd: probe, events: Int16(POLLIN), revents: 0)
    // Safe: `waiting` lives until the call returns.
    guard unsafe poll(&waiting, 1, hangUpMilliseconds) == 1,
      waiting.revents & Int16(POLLHUP | POLLERR) != 0
    else { throw .inUse }
    return true
  }

  static func listenTCP(
    host: String, port: String, isLoopbackOnly: Bool
  ) throws(ListenError) -> [Int32] {
    var hints = unsafe addrinfo()
    unsafe hints.ai_family = AF_UNSPEC
    unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    unsafe hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    // Safe: `list` is freed below.
    let result = unsafe getaddrinfo(host.isEmpty ? nil : host, port, &hints, &list)
    guard result == 0 else {
      throw .unresolved(unsafe String(cString: gai_strerror(result)))
    }
    defer { unsafe freeaddrinfo(list) }
    var descriptors: [Int32] = []
    do throws(ListenError) {
      var entry = unsafe list
      while let current = unsafe entry {
        let info = unsafe current.pointee
        if let address = unsafe info.ai_addr {
          let name = unsafe SocketOptions.numericName(of: address, info.ai_addrlen)
          if isLoopbackOnly && !SocketOptions.isLoopback(name) {
            throw ListenError.beyondLoopback(address: name)
          }
          descriptors.append(
            try unsafe listenTCP(info.ai_family, address, info.ai_addrlen))
        }
        unsafe entry = unsafe info.ai_next
      }
    } catch {
      for descriptor in descriptors { close(descriptor) }
      throw error
    }
    return descriptors
  }

  private static func listenTCP(
    _ family: Int32, _ address: UnsafeMutablePointer<sockaddr>, _ length: socklen_t
  ) throws(ListenError) -> Int32 {
    let descriptor = try makeSocket(family)
    SocketOptions.set(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
    // An IPv4 socket of its own serves IPv4: both can then be bound to one port.
    if family == AF_INET6 { SocketOptions.set(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
    // Safe: the resolver's list outlives the call.
    guard unsafe bind(descriptor, address, length) == 0,
      Glibc.listen(descriptor, 128) == 0
    else {
      let error = SystemError.last
      close(descriptor)
      if error.number == EADDRINUSE { throw .inUse }
      throw .refused(operation: "listen", error)
    }
    return descriptor
  }

  private static func makeSocket(_ family: Int32) throws(ListenError) -> Int32 {
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = socket(family, kind, 0)
    guard descriptor >= 0 else { throw .refused(operation: "make a socket", .last) }
    return descriptor
  }

  @unsafe
  private static func withSocketAddress(
    _ address: inout sockaddr_un, _ body: (UnsafePointer<sockaddr>) -> Int32
  ) -> Int32 {
    // Safe: every socket address may be looked at as a `sockaddr`.
    unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe body($0) }
    }
  }
}

/// Options and names of sockets.
enum SocketOptions {
  @discardableResult
  static func set(_ descriptor: Int32, _ level: Int32, _ name: Int32, _ value: Int32) -> Bool {
    var value = value
    // Safe: `value` lives until the call returns.
    return unsafe setsockopt(
      descriptor, level, name, &value, socklen_t(MemoryLayout<Int32>.size)) == 0
  }

  /// Makes closing, also by the end of the process, reset the connection at once: what was sent and
  /// not taken is thrown away.
  static func discardUnsentAtClose(_ descriptor: Int32) {
    var value = linger(l_onoff: 1, l_linger: 0)
    // Safe: `value` lives until the call returns.
    unsafe _ = setsockopt(
      descriptor, SOL_SOCKET, SO_LINGER, &value, socklen_t(MemoryLayout<linger>.size))
  }

  static func value(_ descriptor: Int32, _ level: Int32, _ name: Int32) -> Int32? {
    var value: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    // Safe: both live until the call returns.
    return unsafe getsockopt(descriptor, level, name, &value, &length) == 0 ? value : nil
  }

  /// Sets what every client connection wants.
  ///
  /// - Returns: who is at the other end.
  static func prepareStream(_ descriptor: Int32) -> String {
    guard value(descriptor, SOL_SOCKET, SO_DOMAIN) != AF_UNIX else {
      // TCP tunes its buffers itself. Here the default, 208 KiB, stops a sender at the second large
      // payload. The kernel grants as much of this as net.core.wmem_max allows.
      set(descriptor, SOL_SOCKET, SO_SNDBUF, 512 << 10)
      return unixPeer(descriptor)
    }
    // Replies are whole already: waiting for more to send would only delay them.
    set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    // A client that vanished is noticed within about a minute and a half.
    set(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
    set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPIDLE, 30)
    set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPINTVL, 10)
    set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPCNT, 6)
    return "tcp:" + numericAddress(descriptor, ofPeer: true)
  }

  static func isListeningStream(_ descriptor: Int32) -> Bool {
    value(descriptor, SOL_SOCKET, SO_TYPE) == Int32(SOCK_STREAM.rawValue)
      && value(descriptor, SOL_SOCKET, SO_ACCEPTCONN) == 1
  }

  static func localDescription(_ descriptor: Int32) -> String {
    if value(descriptor, SOL_SOCKET, SO_DOMAIN) == AF_UNIX {
      return "unix:" + unixPath(descriptor)
    }
    return "tcp:" + numericAddress(descriptor, ofPeer: false)
  }

  /// Whether a TCP listener can be reached from other machines.
  static func isBeyondLoopback(_ descriptor: Int32) -> Bool {
    guard value(descriptor, SOL_SOCKET, SO_DOMAIN) != AF_UNIX else { return false }
    return !isLoopback(numericAddress(descriptor, ofPeer: false))
  }

  /// Whether an address, in numbers, can be reached from this machine alone.
  static func isLoopback(_ name: String) -> Bool {
    name.hasPrefix("127.") || name.hasPrefix("[::1]:")
  }

  private static func unixPeer(_ descriptor: Int32) -> String {
    // struct ucred, which Glibc shows only under _GNU_SOURCE: pid, uid, gid.
    var credentials: (Int32, UInt32, UInt32) = (0, 0, 0)
    var length = socklen_t(12)
    // Safe: twelve bytes of a local.
    guard unsafe getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0 else {
      return "unix"
    }
    return "unix:pid=\(credentials.0),uid=\(credentials.1)"
  }

  private static func unixPath(_ descriptor: Int32) -> String {
    var address = sockaddr_un()
    var length = socklen_t(MemoryLayout<sockaddr_un>.size)
    // Safe: the kernel writes at most `length` bytes into `address`.
    let result = unsafe withUnsafeMutablePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe getsockname(descriptor, $0, &length)
      }
    }
    guard result == 0 else { return "" }
    return unsafe withUnsafeBytes(of: &address.sun_path) { field in
      unsafe String(decoding: field.prefix { $0 != 0 }, as: UTF8.self)
    }
  }

  /// `127.0.0.1:10809` or `[::1]:10809`.
  private static func numericAddress(_ descriptor: Int32, ofPeer: Bool) -> String {
    var address = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    // Safe: the kernel writes at most `length` bytes into `address`.
    return unsafe withUnsafeMutablePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
        let result =
          ofPeer
          ? unsafe getpeername(descriptor, generic, &length)
          : unsafe getsockname(descriptor, generic, &length)
        return result == 0 ? unsafe numericName(of: generic, length) : "unknown"
      }
    }
  }

  /// The same of any socket address.
  @unsafe
  static func numericName(of address: UnsafePointer<sockaddr>, _ length: socklen_t) -> String {
    var host = [CChar](repeating: 0, count: 1025)
    var port = [CChar](repeating: 0, count: 32)
    // Safe: the resolver writes at most the lengths given.
    let result = unsafe getnameinfo(
      address, length, &host, socklen_t(host.count), &port, socklen_t(port.count),
      NI_NUMERICHOST | NI_NUMERICSERV)
    guard result == 0 else { return "unknown" }
    let hostText = text(host)
    return hostText.contains(":") ? "[\(hostText)]:\(text(port))" : "\(hostText):\(text(port))"
  }

  private static func text(_ characters: [CChar]) -> String {
    String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
