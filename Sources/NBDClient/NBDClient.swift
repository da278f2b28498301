package import IO
import NBDWire
package import Units

/// A connection to an export of an NBD server.
///
/// An actor on the machine's executor, used by many tasks at once, and on that executor only. Each
/// request takes a place in a table, is queued, and suspends its caller once. One task sends all
/// that is queued with one call, another takes in all replies that one receive brought. Per request
/// nothing is allocated and no task is started. Requests do not enter the actor: going there and
/// back cost more than all else that is done for them here.
///
/// A caller's buffer belongs to the client until the request has returned, and the client returns
/// only when the kernel has no more to do with the buffer: when a server falls silent the
/// connection is shut down first, and callers learn of it once nothing is under way.
package actor NBDClient<ClientMachine: Machine> {
  package nonisolated var unownedExecutor: UnownedSerialExecutor {
    unsafe machine.unownedExecutor
  }

  package nonisolated let export: RemoteExport
  nonisolated let table: RequestTable
  nonisolated let machine: ClientMachine
  nonisolated let options: ClientOptions
  nonisolated let stream: ClientMachine.MachineStream
  let reader: ReplyReader
  let incoming = ScatterList(capacity: 2)
  let outgoing = ScatterList(capacity: 256)

  var senderHasEnded = false
  var receiverHasEnded = false
  var closeDeadlineNanoseconds: UInt64?
  private var closeWaiters: [WaitPoint] = []
  private var streamIsClosing = false
  private var streamIsClosed = false

  private init(
    stream: ClientMachine.MachineStream, export: RemoteExport, options: ClientOptions,
    machine: ClientMachine, reader: sending ReplyReader
  ) {
    self.stream = stream
    self.export = export
    self.options = options
    self.machine = machine
    table = reader.table
    self.reader = reader
  }

  /// Goes through the handshake on a connected stream.
  ///
  /// The stream belongs to the client from now on, also when this fails: it is closed then. A
  /// client is to be closed, even when its connection has been lost.
  package static func connect(
    over stream: ClientMachine.MachineStream, options: ClientOptions, machine: ClientMachine
  ) async throws(ClientError) -> NBDClient {
    do throws(ClientError) {
      let client = try await negotiate(stream, options, machine)
      Task(executorPreference: machine) { await client.sendRequests() }
      Task(executorPreference: machine) { await client.receiveReplies() }
      Task(executorPreference: machine) { await client.watch() }
      return client
    } catch {
      stream.shutdown()
      await stream.close()
      throw error
    }
  }

  private static func negotiate(
    _ stream: ClientMachine.MachineStream, _ options: ClientOptions, _ machine: ClientMachine
  ) async throws(ClientError) -> NBDClient {
    let clock = HandshakeClock()
    guard let handshake = ClientHandshake(stream, options, clock) else { throw .outOfMemory }
    Task(executorPreference: machine) {
      await watchHandshake(of: stream, clock, options, machine)
    }
    // Before the stream is closed, or the watch would shut down another's.
    defer { clock.isOver = true }
    let export: RemoteExport
    do throws(ClientError) {
      export = try await handshake.run()
    } catch {
      if case .refused = error { await handshake.abort() }
      throw error
    }
    guard let table = RequestTable(countMax: max(1, options.requestCountMax)) else {
      throw .outOfMemory
    }
    let reader = ReplyReader(
      handshake.received, table, usesStructuredReplies: export.usesStructuredReplies)
    return NBDClient(
      stream: stream, export: export, options: options, machine: machine, reader: reader)
  }

  /// Shuts the stream down when the handshake takes too long.
  private static func watchHandshake(
    of stream: ClientMachine.MachineStream, _ clock: HandshakeClock, _ options: ClientOptions,
    _ machine: ClientMachine
  ) async {
    var left = options.handshakeNanoseconds
    // In steps, so that this does not outlive a short handshake by long.
    while left > 0 {
      let step = min(left, 1_000_000_000)
      await machine.sleep(nanoseconds: step)
      if clock.isOver { return }
      left -= step
    }
    clock.isLate = true
    stream.shutdown()
  }

  // MARK: Requests

  /// Fills the buffer with the bytes of the range.
  ///
  /// A range longer than `export.maximumPayloadBytes` becomes several requests, one after the other.
  ///
  /// - Parameters:
  ///   - range: inside the export; `export.minimumBlockBytes` divides offset and length.
  ///   - buffer: as long as the range; its contents are undefined after a throw.
  /// - Throws: what the server answered, or that it is lost.
  package nonisolated func read(
    _ range: ByteRange, into buffer: IOBuffer
  ) async throws(RequestError) {
    precondition(buffer.byteCount == range.byteCount && range.endBytes <= export.byteCount)
    let longest = Int(export.maximumPayloadBytes)
    var done = 0
    while done < buffer.byteCount {
      let count = min(longest, buffer.byteCount - done)
      try await perform(
        .read, CommandFlags(rawValue: 0), range.offsetBytes + UInt64(done),
        UInt32(truncatingIfNeeded: count),
        buffer.slice(done, count))
      done += count
    }
  }

  /// Writes the buffer to the range.
  ///
  /// - Parameters:
  ///   - range: as for `read`.
  ///   - buffer: as long as the range.
  ///   - durably: return when it would survive power loss at the server's.
  /// - Throws: `refused(.notSupported)` when it is to be durable and the server has no means.
  package nonisolated func write(
    _ range: ByteRange, from buffer: IOBuffer, durably: Bool
  ) async throws(RequestError) {
    precondition(buffer.byteCount == range.byteCount && range.endBytes <= export.byteCount)
    guard !export.isReadOnly else { throw .refused(.notPermitted) }
    let flags = try flags(durably: durably)
    let longest = Int(export.maximumPayloadBytes)
    var done = 0
    while done < buffer.byteCount {
      let count = min(longest, buffer.byteCount - done)
      try await perform(
        .write, flags, range.offsetBytes + UInt64(done), UInt32(truncatingIfNeeded: count),
        buffer.slice(done, count))
      done += count
    }
    if durably, flags.isEmpty { try await flush() }
  }

  /// Makes every write durable that has returned.
  ///
  /// - Throws: `refused(.notSupported)` when the server knows no flush.
  package nonisolated func flush() async throws(RequestError) {
    guard export.canFlush else { throw .refused(.notSupported) }
    try await perform(.flush, CommandFlags(rawValue: 0), 0, 0, nil)
  }

  /// Says that the contents of a range are not needed any more.
  ///
  /// - Parameters:
  ///   - range: as for `read`.
  ///   - durably: as for `write`.
  /// - Throws: `refused(.notSupported)` when the server has not offered it.
  package nonisolated func trim(_ range: ByteRange, durably: Bool) async throws(RequestError) {
    guard export.canTrim else { throw .refused(.notSupported) }
    try await clear(.trim, range, [], durably: durably)
  }

  /// Makes the range read as zeros.
  ///
  /// - Parameters:
  ///   - range: as for `read`.
  ///   - keepAllocated: keep the space reserved.
  ///   - onlyIfFast: fail with `notSupported` where it would be no faster than writing zeros.
  ///   - durably: as for `write`.
  /// - Throws: `refused(.notSupported)` when the server has not offered it.
  package nonisolated func writeZeroes(
    _ range: ByteRange, keepAllocated: Bool, onlyIfFast: Bool, durably: Bool
  ) async throws(RequestError) {
    guard export.canWriteZeroes, export.canFastZero || !onlyIfFast else {
      throw .refused(.notSupported)
    }
    var flags: CommandFlags = keepAllocated ? .noHole : []
    if onlyIfFast { flags.insert(.fastZero) }
    try await clear(.writeZeroes, range, flags, durably: durably)
  }

  private nonisolated func clear(
    _ command: NBDCommand, _ range: ByteRange, _ flags: CommandFlags, durably: Bool
  ) async throws(RequestError) {
    precondition(range.endBytes <= export.byteCount)
    guard !export.isReadOnly else { throw .refused(.notPermitted) }
    let durableFlags = try self.flags(durably: durably)
    var offset = range.offsetBytes
    while offset < range.endBytes {
      // A length has 32 bits; half of that is a multiple of every block size.
      let count = min(range.endBytes - offset, 1 << 31)
      try await perform(
        command, flags.union(durableFlags), offset, UInt32(truncatingIfNeeded: count), nil)
      offset += count
    }
    if durably, durableFlags.isEmpty { try await flush() }
  }

  /// The flag that makes a change durable; none when a flush has to follow.
  private nonisolated func flags(durably: Bool) throws(RequestError) -> CommandFlags {
    guard durably else { return CommandFlags(rawValue: 0) }
    if export.canFUA { return .forceUnitAccess }
    guard export.canFlush else { throw .refused(.notSupported) }
    return []
  }

  private nonisolated func perform(
    _ command: NBDCommand, _ flags: CommandFlags, _ offsetBytes: UInt64, _ byteCount: UInt32,
    _ buffer: IOBuffer?
  ) async throws(RequestError) {
    let request = Request(
      flags: flags, commandNumber: command.rawValue, cookie: 0, offsetBytes: offsetBytes,
      byteCount: byteCount)
    try await table.perform(request, buffer, nowNanoseconds: machine.nowNanoseconds)
  }

  // MARK: The end

  /// Takes leave of the server and closes the connection.
  ///
  /// Nothing should be in flight: what is, fails with `lost`. Waits two seconds at most for the
  /// server to take the message.
  package func close() async {
    if closeDeadlineNanoseconds == nil {
      closeDeadlineNanoseconds = machine.nowNanoseconds + 2_000_000_000
    }
    table.wakeSender()
    table.wakeWatchdog()
    while !(senderHasEnded && receiverHasEnded) || streamIsClosing {
      // Safe: resumed once, by `wakeClosers`.
      unsafe await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
        var point = WaitPoint()
        unsafe point.put(continuation)
        closeWaiters.append(point)
      }
    }
    guard !streamIsClosed else { return }
    streamIsClosed = true
    streamIsClosing = true
    await stream.close()
    streamIsClosing = false
    wakeClosers()
  }

  /// Why the connection was given up; nil while it stands.
  package nonisolated var lossReason: String? { table.lossReason }

  /// Gives the connection up without taking leave: nothing more is sent, and what is under way
  /// fails with `lost`.
  ///
  /// For a server that is not to be waited for. `close` follows.
  package func abandon(_ reason: String) { lose(reason) }

  /// Gives the connection up: what is under way returns at once.
  func lose(_ reason: String) {
    guard table.lose(reason) else { return }
    stream.shutdown()
    table.wakeSender()
  }

  /// Called by the sender and the receiver when they have ended: with the second, no buffer of a
  /// caller is with the kernel any more.
  func noteEnd() {
    guard senderHasEnded && receiverHasEnded else { return }
    table.failAll()
    table.wakeWatchdog()
    wakeClosers()
  }

  private func wakeClosers() {
    var points = closeWaiters
    closeWaiters.removeAll()
    for index in points.indices { points[index].signal() }
  }
}
