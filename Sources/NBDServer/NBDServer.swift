package import IO
import NBDWire
import Units
package import Volumes

/// Serves one volume over NBD.
///
/// Runs on the machine's executor: one thread, no locks. Each connection has a receiver (its own
/// task), a sender, and a slot with a task for each request in flight. What they share is touched
/// between two `await`s only.
package actor NBDServer<ServingMachine: Machine, ServedVolume: Volume> {
  typealias ServedConnection = Connection<ServingMachine.MachineStream>

  package nonisolated var unownedExecutor: UnownedSerialExecutor {
    unsafe machine.unownedExecutor
  }

  nonisolated let machine: ServingMachine
  let volume: ServedVolume
  let options: ServerOptions
  /// What clients that connect now are offered: a volume may become writable while it is served.
  var export: ExportDescription { Self.describe(volume.traits, options) }
  let log: ServerLog
  let buffers: BufferPool
  private let startNanoseconds: UInt64

  var listeners: [ServingMachine.MachineListener] = []
  var connections: [Int: ServedConnection] = [:]
  var nextConnectionNumber = 1
  /// Connections that are being set up or served.
  var openConnectionCount = 0
  var acceptorsWaiting: [WaitPoint] = []
  var runningAcceptorCount = 0
  var isStopping = false
  var volumeIsClosed = false
  private var closingError: VolumeError?

  var requestsInFlight = 0
  /// Receivers that wait for `requestsMax` to have room.
  var receiversWaiting: [Int] = []

  var reads = RequestTotals()
  var writes = RequestTotals()
  var flushes = RequestTotals()
  var others = RequestTotals()
  var acceptedCount: UInt64 = 0
  var violationCount: UInt64 = 0
  var logBudget = LogBudget()

  /// Requests that the volume has.
  var servingCount = 0
  /// The device does not answer and has been stopped.
  ///
  /// What it holds will not come back, so nobody waits for that any more: requests are refused.
  var deviceIsStuck = false
  /// The watchdog, waiting for something to watch.
  var watchdogRest = WaitPoint()
  var watchdogIsStarted = false

  /// Makes a server that does not listen yet.
  ///
  /// The volume belongs to the server from now on.
  package init(
    volume: sending ServedVolume, options: ServerOptions, machine: ServingMachine, log: ServerLog
  ) {
    self.machine = machine
    self.options = options
    self.log = log
    buffers = BufferPool(byteCountMax: options.bytesMax)
    startNanoseconds = machine.nowNanoseconds
    self.volume = volume
  }

  private static func describe(
    _ traits: VolumeTraits, _ options: ServerOptions
  ) -> ExportDescription {
    // CAN_MULTI_CONN is true: all connections share one volume, and its flush covers every write
    // that has returned, whoever sent it.
    var flags: TransmissionFlags = [
      .hasFlags, .sendFlush, .sendForceUnitAccess, .sendCache, .canMultiConnect,
    ]
    if traits.isReadOnly {
      flags.insert(.readOnly)
    } else {
      flags.formUnion([.sendTrim, .sendWriteZeroes, .sendFastZero])
    }
    if traits.isRotational { flags.insert(.rotational) }
    return ExportDescription(
      name: options.name, description: options.description, byteCount: traits.byteCount,
      flags: flags, minimumBlockBytes: 1, preferredBlockBytes: traits.preferredBlockBytes,
      maximumPayloadBytes: ServerOptions.payloadByteCountMax)
  }

  // MARK: Accepting

  /// Accepts clients at a listener until the server stops.
  package func listen(at listener: ServingMachine.MachineListener) {
    listeners.append(listener)
    runningAcceptorCount += 1
    let index = listeners.count - 1
    Task(executorPreference: machine) {
      await self.acceptConnections(at: index)
      await self.acceptorEnded()
    }
  }

  private func acceptConnections(at index: Int) async {
    let listener = listeners[index]
    while !isStopping {
      switch await listener.acceptOnce() {
      case .success(let stream):
        acceptedCount += 1
        // After the accept: a place that a listener kept for a client who may never come would be
        // missing at the others.
        await waitForPlace()
        openConnectionCount += 1
        // Too late for `stop` to see it: its handshake ends at once.
        if isStopping { stream.shutdown() }
        start(stream)
      case .failure(let error):
        if isStopping { return }
        await recover(from: error, at: listener.localDescription)
      }
    }
  }

  private func waitForPlace() async {
    while openConnectionCount >= options.connectionCountMax && !isStopping {
      logRarely(
        .warning,
        "\(options.connectionCountMax) clients are connected; further ones wait "
          + "(--max-connections)")
      await waitForConnectionEnd()
    }
  }

  private func acceptorEnded() { runningAcceptorCount -= 1 }

  private func recover(from error: SystemError, at place: String) async {
    logRarely(.warning, "accepting at \(place): \(error)")
    // Without a pause a lasting error (no descriptors left) would spin.
    await machine.sleep(nanoseconds: error.isOutOfDescriptors ? 200_000_000 : 10_000_000)
  }

  private func start(_ stream: ServingMachine.MachineStream) {
    let number = nextConnectionNumber
    nextConnectionNumber += 1
    let connection = ServedConnection(
      number: number, stream: stream, slotCountMax: options.requestsPerConnectionMax,
      nowNanoseconds: machine.nowNanoseconds)
    guard let connection else {
      logRarely(.error, "out of memory for a connection of \(stream.peerDescription)")
      Task(executorPreference: machine) {
        await stream.close()
        await self.connectionEnded()
      }
      return
    }
    connections[number] = connection
    Task(executorPreference: machine) { await self.run(number) }
  }

  private func waitForConnectionEnd() async {
    // Safe: `connectionEnded` and `stop` signal every acceptor that waits.
    unsafe await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
      var point = WaitPoint()
      unsafe point.put(continuation)
      acceptorsWaiting.append(point)
    }
  }

  private func connectionEnded() {
    openConnectionCount -= 1
    wakeAcceptors()
  }

  private func wakeAcceptors() {
    var points = acceptorsWaiting
    acceptorsWaiting.removeAll()
    for index in points.indices { points[index].signal() }
  }

  // MARK: A connection's life

  private func run(_ number: Int) async {
    guard let connection = connections[number] else { return }
    if await negotiate(connection) {
      connection.phase = .transmission
      Task(executorPreference: machine) { await self.sendReplies(of: number) }
      await receiveRequests(of: connection)
      connection.phase = .draining
      connection.receiveDeadlineNanoseconds = nil
      await waitUntilDrained(connection)
      for slot in connection.slots { slot.retire() }
    }
    if let reason = connection.endReason {
      logRarely(.notice, "client \(connection.stream.peerDescription): \(reason)")
    }
    // First out of everybody's sight: its descriptor's number may be used anew once it is closed.
    connections[number] = nil
    connection.stream.shutdown()
    await connection.stream.close()
    // A burst of large requests must not keep its memory for ever.
    if connections.isEmpty { buffers.freeIdle(downTo: 1 << 20) }
    connectionEnded()
  }

  private func waitUntilDrained(_ connection: ServedConnection) async {
    connection.isFinished = true
    connection.replyArrival.signal()
    while connection.requestsInFlight > 0 || !connection.senderHasEnded {
      // Safe: resumed once, by `release` or the sender's end.
      unsafe await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
        unsafe connection.drained.put(continuation)
      }
    }
  }

  // MARK: Stopping

  /// Stops accepting, finishes what is in flight, flushes, and closes.
  ///
  /// New requests meanwhile are answered ESHUTDOWN.
  ///
  /// - Returns: what went wrong with the last flush, or the bound that was passed.
  package func stop() async -> String? {
    guard !isStopping else { return nil }
    isStopping = true
    for listener in listeners { listener.stop() }
    wakeAcceptors()
    let deadline = machine.nowNanoseconds + options.shutdownNanoseconds
    guard await waitUntil(deadline, { servingCount == 0 }) else {
      return "\(servingCount) requests were still waiting for \(volume.traits.kind) after "
        + "\(options.shutdownNanoseconds / 1_000_000_000) s"
    }
    // What was answered should arrive, but a client that does not read is not waited for.
    let replyDeadline = min(deadline, machine.nowNanoseconds + 1_000_000_000)
    _ = await waitUntil(replyDeadline) { requestsInFlight == 0 }
    for number in connections.keys.sorted() { connections[number]?.stream.shutdown() }
    let haveEnded = await waitUntil(deadline) {
      openConnectionCount == 0 && runningAcceptorCount == 0
    }
    guard haveEnded else {
      return "\(openConnectionCount) connections had not ended after "
        + "\(options.shutdownNanoseconds / 1_000_000_000) s"
    }
    for listener in listeners { await listener.close() }
    // In a task of its own: a disk may be stuck with the last flush as with any other.
    Task(executorPreference: machine) { await self.closeVolume() }
    guard await waitUntil(deadline, { volumeIsClosed }) else {
      return "the last flush of \(volume.traits.kind) had not returned after "
        + "\(options.shutdownNanoseconds / 1_000_000_000) s"
    }
    return closingError.map { "the last flush failed: \(describe($0))" }
  }

  private func closeVolume() async {
    do throws(VolumeError) { try await volume.close() } catch { closingError = error }
    volumeIsClosed = true
    watchdogRest.signal()
  }

  /// Waits for a condition, at most until the deadline.
  ///
  /// - Returns: whether the condition holds.
  private func waitUntil(_ deadlineNanoseconds: UInt64, _ condition: () -> Bool) async -> Bool {
    while !condition() {
      guard machine.nowNanoseconds < deadlineNanoseconds else { return false }
      await machine.sleep(nanoseconds: 2_000_000)
    }
    return true
  }

  // MARK: Status

  /// What there is to know now; takes no I/O.
  package func status() -> ServerStatus {
    let now = machine.nowNanoseconds
    var oldest: UInt64 = 0
    var clients: [ConnectionStatus] = []
    for number in connections.keys.sorted() {
      guard let connection = connections[number] else { continue }
      for slot in connection.slots where slot.state == .serving || slot.state == .abandoned {
        oldest = max(oldest, now - min(now, slot.servingSinceNanoseconds))
      }
      clients.append(
        ConnectionStatus(
          peer: connection.stream.peerDescription, requestsInFlight: connection.requestsInFlight,
          bytesInFlight: connection.bytesInFlight,
          upNanoseconds: now - min(now, connection.startNanoseconds)))
    }
    return ServerStatus(
      name: options.name, traits: volume.traits, health: volume.health, isStopping: isStopping,
      upNanoseconds: now - startNanoseconds, listeners: listeners.map(\.localDescription),
      connections: clients, connectionCountMax: options.connectionCountMax,
      acceptedCount: acceptedCount, violationCount: violationCount, reads: reads, writes: writes,
      flushes: flushes, others: others, requestsInFlight: requestsInFlight,
      bufferBytesInUse: buffers.byteCountInUse, bufferBytesMax: buffers.byteCountMax,
      oldestRequestNanoseconds: oldest, loop: machine.loopCounters)
  }

  // MARK: Logging

  /// Logs, but only so often: a hostile client must not fill the log.
  func logRarely(_ level: ServerLog.Level, _ line: @autoclosure () -> String) {
    switch logBudget.take(nowNanoseconds: machine.nowNanoseconds) {
    case .write: log(level, line())
    case .writeAfter(let suppressedCount):
      log(.warning, "\(suppressedCount) log lines were left out")
      log(level, line())
    case .suppress: break
    }
  }

  func describe(_ error: VolumeError) -> String {
    switch error {
    case .inputOutput(let reason): reason
    case .noSpace: "no space left below \(volume.traits.kind)"
    case .notSupported: "not supported"
    case .stopped:
      if case .failed(let cause, let action) = volume.health {
        "\(cause); \(action)"
      } else {
        "the device has stopped"
      }
    }
  }
}

/// At most 20 lines in a window of 10 seconds; windows do not slide.
struct LogBudget {
  enum Decision: Equatable {
    case write
    case writeAfter(suppressedCount: Int)
    case suppress
  }

  private static let lineCountMax = 20
  private static let windowNanoseconds: UInt64 = 10_000_000_000
  private var windowStartNanoseconds: UInt64 = 0
  private var lineCount = 0
  private var suppressedCount = 0

  mutating func take(nowNanoseconds: UInt64) -> Decision {
    if nowNanoseconds - min(nowNanoseconds, windowStartNanoseconds) >= Self.windowNanoseconds {
      windowStartNanoseconds = nowNanoseconds
      lineCount = 0
    }
    guard lineCount < Self.lineCountMax else {
      suppressedCount += 1
      return .suppress
    }
    lineCount += 1
    guard suppressedCount > 0 else { return .write }
    defer { suppressedCount = 0 }
    return .writeAfter(suppressedCount: suppressedCount)
  }
}
