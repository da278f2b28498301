import Glibc
package import IO
import NBDWire
import Units

/// How a disk that is an NBD export is reached and waited for.
package struct NBDDiskOptions: Equatable, Sendable {
  package var exportName: String
  /// For the whole handshake of each connection.
  package var handshakeNanoseconds: UInt64 = 10_000_000_000
  /// For each request; then the connection is given up, and all that is under way with it.
  package var requestNanoseconds: UInt64 = 30_000_000_000
  /// Requests on the wire at once; further ones wait.
  package var requestCountMax = 128
  /// How long after a connection that took unanswered changes with it no new one is made.
  ///
  /// The server may still be working on what it had received: nothing in NBD tells when it has
  /// ended, and a write that lands later would overwrite what was written after it (rule T7).
  package var drainNanoseconds: UInt64 = 10_000_000_000
  /// How often `revive` tries.
  package var backOff = BackOff()
  /// Only to be looked at: an export that cannot be written, or cannot flush, will do.
  package var isReadOnly = false

  package init(exportName: String) {
    self.exportName = exportName
  }
}

/// Why an export is not, or not any more, a disk.
package enum NBDDiskError: Error, Equatable, Sendable {
  /// Nobody answers at its address; the words of the attempt.
  case unreachable(String)
  /// The handshake failed.
  case handshake(ClientError)
  /// The export lacks what a disk needs; what, and what to do.
  case unsuitable(String)
  /// It had more bytes at first than it has now.
  case shrunk(fromByteCount: UInt64, toByteCount: UInt64)
  /// Changes that the last connection took with it may still be under way at the server.
  case draining(nanosecondsLeft: UInt64)
  /// The disk is in use, or being connected, or closed.
  case busy

  /// What happened and what to do, for an operator.
  package var explanation: String {
    switch self {
    case .unreachable(let words): words
    case .handshake(let error): error.explanation
    case .unsuitable(let words): words
    case .shrunk(let before, let now):
      "the export had \(before) bytes and now has \(now): what lay behind is gone. Restore it to "
        + "its size, or go on without the member"
    case .draining(let nanoseconds):
      "writes of the last connection may still be under way at the server; it is tried again in "
        + "\((nanoseconds + 999_999_999) / 1_000_000_000) s"
    case .busy: "it is in use"
    }
  }
}

/// An NBD export as a disk: what the kernel would do with a block device, by our own client.
///
/// One connection at a time. When it is lost, for whatever reason, every operation under way and
/// every later one fails with `ENOTCONN`, until the owner says by `retire` that it counts on
/// nothing any more, and then asks for a new connection: a server that was restarted may have
/// forgotten what it had not flushed, and a FLUSH on a second connection would succeed without
/// it. So a new connection never takes over silently.
///
/// Used on the machine's executor only.
package final class NBDDisk<DiskMachine: Machine>: Disk, @unchecked Sendable {
  // Safe to share: used on the machine's executor only, and changed between suspensions.

  /// Makes a connected stream to the server.
  package typealias Dial =
    @Sendable () async -> Result<DiskMachine.MachineStream, NBDDiskError>

  private let machine: DiskMachine
  private let options: NBDDiskOptions
  private let dial: Dial
  /// The connection in use, until it is retired; it may be lost.
  private var client: NBDClient<DiskMachine>?
  private var isConnecting = false
  /// Something was changed or flushed over the connection, that its loss may undo.
  private var hasChanged = false
  private var isClosed = false
  /// When a change went down with its connection.
  private var lostChangeNanoseconds: UInt64?
  /// Attempts of `revive` that failed in a row, and when the next may be made.
  private var failureCount = 0
  private var nextAttemptNanoseconds: UInt64 = 0

  package let properties: DiskProperties
  /// The size when it was first connected; it never becomes less.
  package let byteCount: UInt64
  /// Why the last connection was given up; nil before.
  package private(set) var lossReason: String?
  /// Why the last attempt to connect again failed; nil when there is a connection.
  package private(set) var reconnectError: NBDDiskError?

  private init(
    machine: DiskMachine, options: NBDDiskOptions, dial: @escaping Dial,
    client: NBDClient<DiskMachine>
  ) {
    self.machine = machine
    self.options = options
    self.dial = dial
    self.client = client
    byteCount = Self.usableByteCount(client.export)
    properties = DiskProperties(
      alignmentBytes: Int(client.export.minimumBlockBytes), isBlockDevice: false,
      isRotational: client.export.isRotational)
  }

  /// Connects for the first time.
  ///
  /// - Parameters:
  ///   - machine: everything runs on it.
  ///   - options: the export's name, and how long to wait.
  ///   - dial: called for this and every later connection.
  /// - Returns: a disk that is to be closed.
  /// - Throws: why there is none.
  package static func connect(
    on machine: DiskMachine, options: NBDDiskOptions, dial: @escaping Dial
  ) async throws(NBDDiskError) -> NBDDisk {
    let client = try await newClient(machine, options, dial)
    return NBDDisk(machine: machine, options: options, dial: dial, client: client)
  }

  private static func newClient(
    _ machine: DiskMachine, _ options: NBDDiskOptions, _ dial: Dial
  ) async throws(NBDDiskError) -> NBDClient<DiskMachine> {
    let stream: DiskMachine.MachineStream
    switch await dial() {
    case .success(let connected): stream = connected
    case .failure(let error): throw error
    }
    var request = ClientOptions(exportName: options.exportName)
    request.handshakeNanoseconds = options.handshakeNanoseconds
    request.requestNanoseconds = options.requestNanoseconds
    request.requestCountMax = options.requestCountMax
    let client: NBDClient<DiskMachine>
    do throws(ClientError) {
      client = try await NBDClient.connect(over: stream, options: request, machine: machine)
    } catch {
      throw .handshake(error)
    }
    guard let objection = objection(to: client.export, isReadOnly: options.isReadOnly) else {
      return client
    }
    await client.close()
    throw .unsuitable(objection)
  }

  // MARK: What an export must be able to do

  /// What an array's blocks are made of: requests of this size must be possible.
  private static var blockBytes: UInt32 { 4096 }

  /// Why an export cannot be a disk; nil when it can.
  private static func objection(to export: RemoteExport, isReadOnly: Bool) -> String? {
    guard export.minimumBlockBytes <= blockBytes else {
      return "the server takes requests in multiples of \(export.minimumBlockBytes) bytes only, "
        + "and 4096 are needed: let it serve blocks of 4096 bytes or less "
        + "(nbdkit: --filter=blocksize)"
    }
    guard export.maximumPayloadBytes >= blockBytes else {
      return "the server takes \(export.maximumPayloadBytes) bytes at once at most, and 4096 are "
        + "needed: raise its limit (nbdkit: --filter=blocksize)"
    }
    guard usableByteCount(export) > 0 else {
      return "the export is empty: give it a size at its server"
    }
    if isReadOnly { return nil }
    guard !export.isReadOnly else {
      return "the server offers it for reading only: let it be served for writing"
    }
    // Its cache might hold for ever what we take for durable.
    guard export.canFlush else {
      return "the server offers no FLUSH, so that nothing on it is ever known to be durable: use a "
        + "server that does, or one that is told to (qemu-nbd: --cache=writeback; nbdkit: a plugin "
        + "with can_flush)"
    }
    return nil
  }

  private static func usableByteCount(_ export: RemoteExport) -> UInt64 {
    let block = UInt64(export.minimumBlockBytes)
    return export.byteCount / block * block
  }

  // MARK: The connection

  /// Whether operations have a chance; false from the moment on at which the connection is lost.
  package var isConnected: Bool { client.map { $0.lossReason == nil } ?? false }

  /// Gives the connection up: what is under way fails now, and nothing is sent any more.
  ///
  /// For whoever has decided to do without this disk, because it was lost or does not answer; only
  /// then a new connection may be made. Returns when nothing is under way and no buffer is with the
  /// kernel.
  package func retire() async {
    guard let client else { return }
    self.client = nil
    await client.abandon("the disk was set aside")
    lossReason = client.lossReason
    await client.close()
  }

  /// Makes a new connection after `retire`.
  ///
  /// What the server says of the export is judged anew. That it is the same export only its
  /// contents can tell: the caller looks.
  ///
  /// - Throws: `draining` while changes of the last connection may be under way, `busy` without
  ///   `retire`, `shrunk`, or why there is no connection.
  package func reconnect() async throws(NBDDiskError) {
    guard client == nil, !isConnecting, !isClosed else { throw .busy }
    let left = drainNanosecondsLeft
    guard left == 0 else { throw .draining(nanosecondsLeft: left) }
    isConnecting = true
    defer { isConnecting = false }
    let client = try await Self.newClient(machine, options, dial)
    let problem: NBDDiskError? =
      if isClosed {
        .busy
      } else if Self.usableByteCount(client.export) < byteCount {
        .shrunk(
          fromByteCount: byteCount, toByteCount: Self.usableByteCount(client.export))
      } else if Int(client.export.minimumBlockBytes) > properties.alignmentBytes {
        .unsuitable(
          "the server now takes requests in multiples of \(client.export.minimumBlockBytes) bytes "
            + "only: serve it as before")
      } else {
        nil
      }
    if let problem {
      await client.close()
      throw problem
    }
    lostChangeNanoseconds = nil
    hasChanged = false
    self.client = client
  }

  /// Begins an attempt to connect again, if it is time: those that fail come at growing distances.
  ///
  /// Waits for nothing: whether the attempt succeeded, a later call tells.
  package func revive() async -> Bool {
    if isConnected { return true }
    // Nobody counts on a connection over which nothing was changed.
    if client != nil, !hasChanged { await retire() }
    let isEarly = machine.nowNanoseconds < nextAttemptNanoseconds
    guard !isConnecting, !isClosed, !isEarly, drainNanosecondsLeft == 0 else { return false }
    guard client == nil else {
      reconnectError = .busy
      return false
    }
    Task(executorPreference: machine) { await self.attempt() }
    return false
  }

  private func attempt() async {
    do throws(NBDDiskError) {
      try await reconnect()
      failureCount = 0
      nextAttemptNanoseconds = 0
      reconnectError = nil
    } catch {
      // Another attempt is under way: its outcome counts.
      guard error != .busy else { return }
      reconnectError = error
      failureCount += 1
      let wait = options.backOff.wait(
        failureCount: failureCount, random: machine.randomNumber())
      nextAttemptNanoseconds = machine.nowNanoseconds + wait
    }
  }

  /// How long `reconnect` will refuse.
  package var drainNanosecondsLeft: UInt64 {
    guard let lost = lostChangeNanoseconds else { return 0 }
    let waited = machine.nowNanoseconds - min(machine.nowNanoseconds, lost)
    return options.drainNanoseconds - min(options.drainNanoseconds, waited)
  }

  package func close() async {
    isClosed = true
    guard let client else { return }
    self.client = nil
    await client.close()
  }

  /// The client's error as the kernel would say it; never EINTR or EAGAIN.
  private func result(of error: RequestError, isChange: Bool) -> Int32 {
    switch error {
    // The numbers on the wire are Linux's.
    case .refused(let code): return -Int32(code.rawValue)
    case .lost(let reason):
      lossReason = reason
      if isChange { lostChangeNanoseconds = machine.nowNanoseconds }
      return -ENOTCONN
    }
  }

  // MARK: Disk

  /// The part of a transfer that lies inside the disk, and is short enough for a result.
  private func inside(_ offsetBytes: UInt64, _ count: Int) -> ByteRange? {
    guard offsetBytes < byteCount else { return nil }
    let length = min(UInt64(count), byteCount - offsetBytes, 1 << 30)
    return ByteRange(offsetBytes: offsetBytes, byteCount: length)
  }

  package func readSome(at offsetBytes: UInt64, into buffer: IOBuffer) async -> Int32 {
    guard let client else { return -ENOTCONN }
    guard let range = inside(offsetBytes, buffer.byteCount) else { return 0 }
    let count = Int(range.byteCount)
    do throws(RequestError) {
      try await client.read(range, into: buffer.prefix(count))
      return Int32(count)
    } catch {
      return result(of: error, isChange: false)
    }
  }

  package func writeSome(at offsetBytes: UInt64, from buffer: IOBuffer) async -> Int32 {
    guard let client else { return -ENOTCONN }
    hasChanged = true
    // As a block device says it.
    guard let range = inside(offsetBytes, buffer.byteCount) else { return -ENOSPC }
    let count = Int(range.byteCount)
    do throws(RequestError) {
      try await client.write(range, from: buffer.prefix(count), durably: false)
      return Int32(count)
    } catch {
      return result(of: error, isChange: true)
    }
  }

  package func synchronizeOnce() async -> Int32 {
    guard let client else { return -ENOTCONN }
    hasChanged = true
    do throws(RequestError) {
      try await client.flush()
      return 0
    } catch {
      return result(of: error, isChange: false)
    }
  }

  package func clearOnce(
    at offsetBytes: UInt64, byteCount length: UInt64, mode: ClearMode
  ) async -> Int32 {
    guard let client else { return -ENOTCONN }
    guard let range = ByteRange(offsetBytes: offsetBytes, byteCount: length),
      range.endBytes <= byteCount
    else { return -EINVAL }
    hasChanged = true
    do throws(RequestError) {
      // Not TRIM: after it a server may show what it likes, and a cleared range has to be zeros.
      // Space is given back only where that costs less than writing the zeros.
      try await client.writeZeroes(
        range, keepAllocated: mode == .zeroRange,
        onlyIfFast: mode == .punchHole && client.export.canFastZero, durably: false)
      return 0
    } catch {
      return result(of: error, isChange: true)
    }
  }

  /// There is no page cache of ours to read ahead into.
  package func prefetchOnce(at offsetBytes: UInt64, byteCount: UInt64) async -> Int32 { 0 }

  /// Everything counts as allocated.
  package func extentOnce(at offsetBytes: UInt64) async -> Result<DiskExtent, SystemError> {
    guard offsetBytes < byteCount else { return .failure(SystemError(ENXIO)) }
    return .success(DiskExtent(endBytes: byteCount, isHole: false))
  }

  package func currentByteCount() -> Result<UInt64, SystemError> {
    isConnected ? .success(byteCount) : .failure(.disconnected)
  }
}
