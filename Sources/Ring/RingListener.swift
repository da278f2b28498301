import CUring
import Glibc
package import IO

/// A listening socket on the ring.
package final class RingListener: StreamListener, @unchecked Sendable {
  // Used on the loop's thread only.
  package let localDescription: String
  private let descriptor: Int32
  private let machine: RingMachine
  /// The socket file to remove when it is ours.
  private let ownPath: SocketFile?
  private var pendingAccept: UInt64 = 0
  private var isStopped = false

  init(descriptor: Int32, localDescription: String, ownPath: SocketFile?, machine: RingMachine) {
    self.descriptor = descriptor
    self.localDescription = localDescription
    self.ownPath = ownPath
    self.machine = machine
  }

  /// Whether other machines can reach it.
  package var isBeyondLoopback: Bool { SocketOptions.isBeyondLoopback(descriptor) }

  package func acceptOnce() async -> Result<RingStream, SystemError> {
    guard !isStopped else { return .failure(SystemError(ECANCELED)) }
    let result = unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Int32, Never>) in
      // Safe: as in `RingMachine.submit`; the identifier is kept only to cancel by.
      let entry = machine.vacantEntry()
      entry.accept(descriptor)
      pendingAccept = unsafe UInt64(unsafeBitCast(waiter, to: UInt.self))
      entry.identifier = pendingAccept
    }
    pendingAccept = 0
    if isStopped {
      if result >= 0 { _ = Glibc.close(result) }
      return .failure(SystemError(ECANCELED))
    }
    guard result >= 0 else { return .failure(SystemError(-result)) }
    return .success(machine.adoptStream(result))
  }

  package func stop() {
    guard !isStopped else { return }
    isStopped = true
    // Cancelled rather than shut down: an inherited socket belongs to others, too.
    if pendingAccept != 0 { machine.cancel(identifier: pendingAccept) }
  }

  package func close() async {
    stop()
    _ = Glibc.close(descriptor)
    ownPath?.remove()
  }
}

extension RingMachine {
  /// Makes a connected socket a stream of this machine, which closes it.
  package func adoptStream(_ descriptor: Int32) -> RingStream {
    let peer = SocketOptions.prepareStream(descriptor)
    let file = fileTable?.register(descriptor) ?? FileReference(descriptor: descriptor)
    return RingStream(file: file, peerDescription: peer, machine: self)
  }

  /// Makes a listening socket that somebody else opened (socket activation) a listener.
  ///
  /// - Returns: nil when the descriptor is no listening stream socket.
  package func adoptListener(_ descriptor: Int32) -> RingListener? {
    guard SocketOptions.isListeningStream(descriptor) else { return nil }
    return RingListener(
      descriptor: descriptor, localDescription: SocketOptions.localDescription(descriptor),
      ownPath: nil, machine: self)
  }

  /// Listens on a unix socket.
  ///
  /// A socket file that nobody answers any more is replaced; one that is in use is not.
  ///
  /// - Parameters:
  ///   - path: at most 107 bytes.
  ///   - mode: the file's permission bits.
  /// - Returns: a listener that removes the file when it is closed.
  /// - Throws: `inUse` when somebody answers there, `notSocket` for any other file.
  package func listen(
    unixPath path: String, mode: UInt32
  ) throws(ListenError) -> RingListener {
    let descriptor = try SocketOpening.listenUnix(path, mode: mode)
    return RingListener(
      descriptor: descriptor, localDescription: "unix:\(path)", ownPath: SocketFile(path),
      machine: self)
  }

  /// Listens on every address that `host` and `port` stand for.
  ///
  /// - Parameters:
  ///   - host: a name or an address; empty for all interfaces.
  ///   - port: a number.
  ///   - isLoopbackOnly: refuse an address that other machines can reach, before it is opened.
  /// - Returns: one listener an address.
  /// - Throws: `beyondLoopback`, and whatever kept one of them from listening; none is open then.
  package func listen(
    host: String, port: String, isLoopbackOnly: Bool
  ) throws(ListenError) -> [RingListener] {
    let descriptors = try SocketOpening.listenTCP(
      host: host, port: port, isLoopbackOnly: isLoopbackOnly)
    return descriptors.map { descriptor in
      RingListener(
        descriptor: descriptor, localDescription: SocketOptions.localDescription(descriptor),
        ownPath: nil, machine: self)
    }
  }
}

/// Why no socket listens.
package enum ListenError: Error, Equatable, Sendable {
  /// A unix path of more than 107 bytes.
  case pathTooLong(byteCount: Int)
  /// Somebody answers there.
  case inUse
  /// The path exists and is no socket.
  case notSocket
  /// Other machines could reach it, and only loopback was wanted.
  case beyondLoopback(address: String)
  /// The name or port is unknown; the resolver's words.
  case unresolved(String)
  case refused(operation: String, SystemError)
}

/// A socket's file, told from another that has taken its place.
struct SocketFile {
  private let path: String
  private let identity: (device: dev_t, inode: ino_t)?

  init(_ path: String) {
    self.path = path
    identity = Self.identity(of: path)
  }

  /// Removes the file unless it is somebody else's by now.
  func remove() {
    guard let identity, let current = Self.identity(of: path), current == identity else { return }
    unsafe _ = unlink(path)
  }

  private static func identity(of path: String) -> (device: dev_t, inode: ino_t)? {
    var status = stat()
    // Safe: `status` lives until the call returns.
    guard unsafe lstat(path, &status) == 0 else { return nil }
    return (status.st_dev, status.st_ino)
  }
}
