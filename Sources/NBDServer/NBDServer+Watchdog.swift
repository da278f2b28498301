import IO
import NBDWire
import Volumes

// Every wait is bounded (P9): a task looks once a second, while there is something to look at, for
// clients that stall and for requests that the device does not answer.
extension NBDServer {
  private static var tickNanoseconds: UInt64 { 1_000_000_000 }

  /// Sees to it that the watchdog is awake.
  func startWatching() {
    if !watchdogIsStarted {
      watchdogIsStarted = true
      Task(executorPreference: machine) { await self.watch() }
    }
    watchdogRest.signal()
  }

  private func watch() async {
    // Until `stop` has ended: a task that waits for ever would keep the server.
    while !volumeIsClosed {
      if hasSomethingToWatch {
        await machine.sleep(nanoseconds: Self.tickNanoseconds)
        inspectConnections()
      } else {
        // Safe: resumed once, by `startWatching`.
        unsafe await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
          unsafe watchdogRest.put(continuation)
        }
      }
    }
  }

  private var hasSomethingToWatch: Bool {
    requestsInFlight > 0
      || connections.values.contains {
        $0.receiveDeadlineNanoseconds != nil || $0.sendDeadlineNanoseconds != nil
      }
  }

  private func inspectConnections() {
    let now = machine.nowNanoseconds
    // A request may take long although the disk answers all the time; that is no reason to stop.
    let oldest = volume.oldestOperationNanoseconds ?? now
    let isStuck = now - min(now, oldest) > requestLimit
    var stuckCount = 0
    for number in connections.keys.sorted() {
      guard let connection = connections[number] else { continue }
      inspectDeadlines(of: connection, now)
      for slot in connection.slots
      where isStuck && slot.state == .serving
        && now - min(now, slot.servingSinceNanoseconds) > requestLimit
      {
        stuckCount += 1
        abandon(slot, of: connection)
      }
    }
    guard stuckCount > 0 else { return }
    stopWaitingForDevice()
    logRarely(.error, "\(stuckCount) requests were given up: \(describe(.stopped))")
  }

  /// Lets go whoever waits for a slot or a buffer that the device will not give back.
  private func stopWaitingForDevice() {
    deviceIsStuck = true
    for number in connections.keys.sorted() {
      connections[number]?.vacancy.signal()
      connections[number]?.budgetArrival.signal()
    }
    buffers.cancelWaiters()
  }

  private var requestLimit: UInt64 { options.requestNanoseconds }

  private func inspectDeadlines(of connection: ServedConnection, _ now: UInt64) {
    let isLate =
      now >= (connection.receiveDeadlineNanoseconds ?? .max)
      || now >= (connection.sendDeadlineNanoseconds ?? .max)
    guard isLate && !connection.isBroken else { return }
    violationCount += 1
    let reason: String =
      switch connection.phase {
      case .handshake:
        "no export was chosen within \(options.handshakeNanoseconds / 1_000_000_000) s "
          + "(--handshake-timeout)"
      case .transmission, .draining:
        connection.sendDeadlineNanoseconds.map { now >= $0 } == true
          ? "it did not take its replies (--stall-timeout)"
          : "it did not send the payload it had announced (--stall-timeout)"
      }
    connection.breakOff(reason)
  }

  /// Answers a request in the place of a device that does not, and stops the device: what it still
  /// has may take effect at any time, so nothing may be written after it.
  private func abandon(_ slot: RequestSlot, of connection: ServedConnection) {
    let seconds = options.requestNanoseconds / 1_000_000_000
    volume.fail(
      cause: "\(volume.traits.kind) has not answered a request for more than \(seconds) s",
      action: "check the disk below, then stop and start the server (--request-timeout)")
    slot.state = .abandoned
    answer(slot, of: connection, error: .inputOutput)
  }
}
