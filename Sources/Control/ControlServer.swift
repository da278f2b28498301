import Glibc
package import IO
package import NBDServer
package import RAID

/// What a control socket controls: the server of one device.
package protocol ControlTarget: Sendable {
  /// Taken at once, never waiting for the I/O path.
  func status() async -> ServerStatus
  /// The same of the array, when the device is one.
  func arrayStatus() async -> ArrayStatus?
  /// Asks for an orderly end and returns; repeated calls change nothing.
  func requestStop() async
  /// Carries an order out, or says why not; bounded in time.
  func perform(_ order: ArrayOrder) async -> Result<OrderOutcome, ControlRefusal>
}

extension ControlTarget {
  package func arrayStatus() async -> ArrayStatus? { nil }
}

/// How much of a server's attention clients of the control socket can take.
package struct ControlLimits: Sendable {
  /// Connections at once.
  ///
  /// One more ends the one that has been silent the longest, so that
  /// forgotten clients cannot lock an operator out.
  package var connectionCountMax = 16
  /// A connection ends when nothing has moved on it for this long.
  package var idleNanosecondsMax: UInt64 = 30_000_000_000
  /// So long, at the end, for those who asked for it to take the last word.
  package var lastWordNanosecondsMax: UInt64 = 1_000_000_000

  package init() {}
}

/// Answers requests on a listener, beside the data path and on the same executor.
package actor ControlServer<M: Machine> {
  private let machine: M
  private let listener: M.MachineListener
  private let target: any ControlTarget
  private let limits: ControlLimits
  private let processID = getpid()

  private var connections: [UInt64: Connection] = [:]
  private var nextConnectionID: UInt64 = 0
  private var isStopping = false
  /// One at a time: so that orders which take long never hold all connections, and a status is
  /// always answered at once.
  private var isCarryingOut = false
  private var isSweeping = false
  /// Resumed whenever a connection has ended.
  private var vacancyWaiters: [CheckedContinuation<Void, Never>] = []
  /// Those who asked for a stop and are told what came of it, by connection.
  private var outcomeWaiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
  private var complaint: String?

  private struct Connection {
    let stream: M.MachineStream
    var activeAtNanoseconds: UInt64
    var isEnding = false
    /// Asked for something that takes a while, and is silent until that has come to its end.
    var awaitsOutcome = false
    /// Asked for the stop, and has not been told yet what came of it.
    var awaitsStop = false
  }

  package nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: the actor holds the machine, so its executor outlives the actor's jobs.
    unsafe machine.unownedExecutor
  }

  package init(
    machine: M, listener: M.MachineListener, target: any ControlTarget,
    limits: ControlLimits = ControlLimits()
  ) {
    precondition(limits.connectionCountMax > 0)
    self.machine = machine
    self.listener = listener
    self.target = target
    self.limits = limits
  }

  /// Serves until `stop`, then waits for the open connections to end and closes the listener.
  package func run() async {
    while !isStopping {
      switch await listener.acceptOnce() {
      case .success(let stream):
        await admit(stream)
      case .failure(let error) where error.number == ECANCELED:
        isStopping = true
      case .failure:
        // Out of descriptors or memory, or a peer that left again: neither is the end of it.
        await machine.sleep(nanoseconds: 100_000_000)
      }
    }
    // Who asked for the stop may not even have its first answer yet: it gets both, if it takes them.
    for id in connections.keys.sorted() where connections[id]?.awaitsStop == false { end(id) }
    if !connections.isEmpty { Task(executorPreference: machine) { await self.endAllLater() } }
    while !connections.isEmpty { await vacancy() }
    await listener.close()
  }

  private func endAllLater() async {
    await machine.sleep(nanoseconds: limits.lastWordNanosecondsMax)
    for id in connections.keys.sorted() { end(id) }
  }

  /// Makes `run` return.
  ///
  /// Responses on their way are cut off after what has been queued; who asked for the stop is told
  /// what came of it.
  ///
  /// - Parameter complaint: what went wrong at the device's end; nil for nothing.
  package func stop(complaint: String? = nil) {
    isStopping = true
    self.complaint = complaint
    for id in outcomeWaiters.keys.sorted() { resumeOutcomeWaiter(id) }
    listener.stop()
  }

  private func admit(_ stream: M.MachineStream) async {
    while connections.count >= limits.connectionCountMax {
      let living = connections.filter { !$0.value.isEnding }
      // Those who wait for what they asked for come last: they are silent for a reason.
      let key = { (entry: (key: UInt64, value: Connection)) in
        (entry.value.awaitsOutcome ? 1 : 0, entry.value.activeAtNanoseconds, entry.key)
      }
      if let oldest = living.min(by: { key($0) < key($1) }) { end(oldest.key) }
      await vacancy()
    }
    let id = nextConnectionID
    nextConnectionID += 1
    connections[id] = Connection(
      stream: stream, activeAtNanoseconds: machine.nowNanoseconds, isEnding: isStopping)
    if isStopping { stream.shutdown() }
    Task(executorPreference: machine) { await self.serve(stream, id) }
    startSweeping()
  }

  private func serve(_ stream: M.MachineStream, _ id: UInt64) async {
    await converse(on: stream, id)
    connections[id] = nil
    await stream.close()
    for waiter in vacancyWaiters { waiter.resume() }
    vacancyWaiters.removeAll()
  }

  private func vacancy() async {
    await withCheckedContinuation { vacancyWaiters.append($0) }
  }

  /// Makes whatever waits on the connection return; its task does the rest.
  private func end(_ id: UInt64) {
    guard connections[id]?.isEnding == false else { return }
    connections[id]?.isEnding = true
    connections[id]?.stream.shutdown()
    resumeOutcomeWaiter(id)
  }

  /// One task looks after the idle times of all connections, as long as there are any.
  private func startSweeping() {
    guard !isSweeping else { return }
    isSweeping = true
    Task(executorPreference: machine) { await self.sweep() }
  }

  private func sweep() async {
    let interval = max(1, min(1_000_000_000, limits.idleNanosecondsMax / 4))
    while !connections.isEmpty {
      await machine.sleep(nanoseconds: interval)
      let now = machine.nowNanoseconds
      for (id, connection) in connections.sorted(by: { $0.key < $1.key })
      where !connection.awaitsOutcome
        && now &- connection.activeAtNanoseconds >= limits.idleNanosecondsMax
      { end(id) }
    }
    isSweeping = false
  }

  private func converse(on stream: M.MachineStream, _ id: UInt64) async {
    guard let lines = LineBuffer(byteCountMax: ControlRequest.lineByteCountMax) else { return }
    let pieces = ScatterList(capacity: 1)
    do throws(StreamError) {
      while true {
        while let line = lines.nextLine() {
          if line.isEmpty { continue }
          try await answer(line, on: stream, id, pieces)
          connections[id]?.activeAtNanoseconds = machine.nowNanoseconds
        }
        guard let vacant = lines.vacant else {
          let refusal = ControlRefusal(
            code: "line_too_long",
            message: "a request is longer than \(ControlRequest.lineByteCountMax) bytes",
            action: "send one JSON object a line")
          return try await send(.refused(refusal), on: stream, pieces)
        }
        pieces.removeAll()
        pieces.append(vacant)
        lines.grow(by: try await stream.receive(into: pieces))
        connections[id]?.activeAtNanoseconds = machine.nowNanoseconds
      }
    } catch {
      // The client left, was idle for too long, or broke: nobody is there to be told.
    }
  }

  private func answer(
    _ line: [UInt8], on stream: M.MachineStream, _ id: UInt64, _ pieces: ScatterList
  ) async throws(StreamError) {
    let request: ControlRequest
    do throws(ControlRefusal) {
      request = try ControlRequest(line: line)
    } catch {
      return try await send(.refused(error), on: stream, pieces)
    }
    switch request {
    case .status:
      var report = StatusReport(await target.status())
      if let array = await target.arrayStatus() {
        report.add(
          array, nowNanoseconds: machine.nowNanoseconds, nowUnixSeconds: Self.unixSeconds)
      }
      try await send(.status(report, processID: processID), on: stream, pieces)
    case .order(let order):
      switch await carryOut(order, id) {
      case .success(let outcome):
        try await send(.done(outcome, processID: processID), on: stream, pieces)
      case .failure(let refusal): try await send(.refused(refusal), on: stream, pieces)
      }
    case .stop:
      connections[id]?.awaitsOutcome = true
      connections[id]?.awaitsStop = true
      // Whether or not the answer gets through: it was asked for, so it is done.
      do throws(StreamError) {
        try await send(.stopping(processID: processID), on: stream, pieces)
      } catch {
        await target.requestStop()
        throw error
      }
      await target.requestStop()
      await outcome(id)
      try await send(.stopped(complaint: complaint, processID: processID), on: stream, pieces)
      // What was sent arrives; there is nothing more to be said.
      connections[id]?.awaitsStop = false
      if isStopping { end(id) }
    }
  }

  private func carryOut(
    _ order: ArrayOrder, _ id: UInt64
  ) async -> Result<OrderOutcome, ControlRefusal> {
    guard !isCarryingOut else {
      return .failure(
        ControlRefusal(
          code: "busy", message: "it is carrying out another order",
          action: "try again when that is done"))
    }
    isCarryingOut = true
    connections[id]?.awaitsOutcome = true
    let result = await target.perform(order)
    connections[id]?.awaitsOutcome = false
    isCarryingOut = false
    return result
  }

  /// Suspends until the device has been stopped, or the connection is given up.
  private func outcome(_ id: UInt64) async {
    await withCheckedContinuation { waiter in
      if isStopping || connections[id]?.isEnding != false {
        waiter.resume()
      } else {
        outcomeWaiters[id] = waiter
      }
    }
  }

  private func resumeOutcomeWaiter(_ id: UInt64) {
    outcomeWaiters.removeValue(forKey: id)?.resume()
  }

  private static var unixSeconds: UInt64 {
    var now = timespec()
    // Safe: `now` lives until the call returns.
    unsafe _ = clock_gettime(CLOCK_REALTIME, &now)
    return UInt64(max(0, now.tv_sec))
  }

  private func send(
    _ response: ControlResponse, on stream: M.MachineStream, _ pieces: ScatterList
  ) async throws(StreamError) {
    let line = response.line
    guard let memory = AlignedMemory(byteCount: line.count) else {
      throw .broken(SystemError(ENOMEM))
    }
    let buffer = memory.buffer.prefix(line.count)
    buffer.copy(from: line)
    pieces.removeAll()
    pieces.append(buffer)
    try await stream.send(pieces)
    withExtendedLifetime(memory) {}
  }
}
