import Glibc
package import IO

/// One end of a simulated connection; it behaves as a Linux stream socket does.
package final class SimulatedStream: ByteStream, MachinePart, @unchecked Sendable {
  package let machine: SimulatedMachine
  package let peerDescription: String
  private let network: SimulatedNetwork
  private let inbound: BytePipe
  private let outbound: BytePipe
  private var receiver: Waiter?
  private var sender: Waiter?
  package private(set) var receivesInFlight = 0
  package private(set) var sendsInFlight = 0
  /// What broke the connection, until one call has reported it.
  private var pendingError: Int32?
  private var isBroken = false
  private var isSendShut = false
  private var isReceiveShut = false
  private var isClosed = false

  init(
    _ network: SimulatedNetwork, _ machine: SimulatedMachine, inbound: BytePipe,
    outbound: BytePipe, peerDescription: String
  ) {
    self.network = network
    self.machine = machine
    self.inbound = inbound
    self.outbound = outbound
    self.peerDescription = peerDescription
    machine.attach(self)
  }

  /// Whether bytes that arrive will find a reader.
  var takesBytes: Bool {
    !isClosed && !isReceiveShut && !isBroken && machine.crashKind == nil
  }

  // MARK: ByteStream

  package func receiveSome(into pieces: ScatterList) async -> Int32 {
    precondition(receivesInFlight == 0, "one receive at a time")
    receivesInFlight += 1
    let fault = await begin(.receive)
    let result = await finishReceive(into: pieces, fault)
    receivesInFlight -= 1
    network.simulation.note(
      .streamReceive, inbound.number, UInt64(UInt32(bitPattern: result)), 0,
      "\(machine.name) receives \(result) from pipe \(inbound.number)")
    return result
  }

  package func sendSome(from pieces: ScatterList) async -> Int32 {
    precondition(sendsInFlight == 0, "one send at a time")
    sendsInFlight += 1
    let fault = await begin(.send)
    let result = await finishSend(from: pieces, fault)
    sendsInFlight -= 1
    network.simulation.note(
      .streamSend, outbound.number, UInt64(UInt32(bitPattern: result)), 0,
      "\(machine.name) sends \(result) into pipe \(outbound.number)")
    return result
  }

  package var untakenByteCount: Int { outbound.untakenCount }

  package func shutdown() {
    guard beginChange("shuts down") else { return }
    shutSending()
    isReceiveShut = true
    wakeReceiver()
  }

  package func close() async {
    precondition(receivesInFlight == 0 && sendsInFlight == 0, "closed with calls in flight")
    precondition(!isClosed, "a stream is closed once")
    _ = beginChange("closes")
    isClosed = true
    leave()
    await machine.pause(nanoseconds: network.random.next(below: 10_000))
  }

  // MARK: For tests

  /// Ends the sending direction only, as `shutdown(SHUT_WR)` does.
  package func shutdownSending() {
    guard beginChange("shuts down sending") else { return }
    shutSending()
  }

  /// The connection breaks: both ends get ECONNRESET, and what was on the way is lost.
  package func reset() {
    guard beginChange("is reset") else { return }
    outbound.fallSilent()
    outbound.reset()
    inbound.discardUnread()
    breakOff(ECONNRESET)
  }

  // MARK: A call's course

  /// Counts a call, lets a little time pass, and tells its fault.
  private func begin(_ kind: OperationKind) async -> InjectedResult? {
    network.simulation.confine()
    precondition(!isClosed, "a call on a closed stream")
    guard machine.crashKind == nil else {
      await machine.suspend { _ in }
      return nil
    }
    let injected = machine.faultPlan.begin(kind)
    if case .crash(let crash) = injected { machine.crash(crash) }
    await machine.pause(nanoseconds: network.random.next(below: 5_000))
    if network.random.happens(perMillion: network.conditions.resetPerMillion) { reset() }
    return injected
  }

  private func finishReceive(into pieces: ScatterList, _ fault: InjectedResult?) async -> Int32 {
    guard pieces.byteCount > 0 else { return 0 }
    if let answer = answer(to: fault) { return answer }
    while true {
      if inbound.unreadCount > 0 {
        let most = min(inbound.unreadCount, pieces.byteCount, limit(fault, pieces.byteCount))
        let count = network.drawFragment(most)
        inbound.take(count, into: pieces)
        return Int32(clamping: count)
      }
      if let error = takeError() { return -error }
      if isReceiveShut || isBroken || inbound.isAtEnd { return 0 }
      await machine.suspend { waiter in
        if canReceive { waiter.resume() } else { receiver = waiter }
      }
    }
  }

  private func finishSend(from pieces: ScatterList, _ fault: InjectedResult?) async -> Int32 {
    guard pieces.byteCount > 0 else { return 0 }
    if let answer = answer(to: fault) { return answer }
    while true {
      if let error = takeError() { return -error }
      if isSendShut || isBroken { return -EPIPE }
      if outbound.vacantCount > 0 {
        let most = min(outbound.vacantCount, pieces.byteCount, limit(fault, pieces.byteCount))
        let count = network.drawFragment(most)
        outbound.put(count, from: pieces)
        return Int32(clamping: count)
      }
      await machine.suspend { waiter in
        if canSend { waiter.resume() } else { sender = waiter }
      }
    }
  }

  /// Whether a receive would return now, with whatever answer.
  private var canReceive: Bool {
    inbound.unreadCount > 0 || inbound.isAtEnd || isReceiveShut || isBroken
  }

  /// Whether a send would return now, with whatever answer.
  private var canSend: Bool { outbound.vacantCount > 0 || isSendShut || isBroken }

  /// The answer that a planned fault gives at once.
  private func answer(to fault: InjectedResult?) -> Int32? {
    switch fault {
    case .failure(let number):
      // Interrupted, asked again or cancelled, the connection lives; else both ends learn of it.
      if ![EINTR, EAGAIN, ECANCELED, ENOMEM, ENOBUFS].contains(number) {
        reset()
        pendingError = nil
      }
      return -number
    case .count(let count) where count <= 0: return 0
    default: return nil
    }
  }

  private func limit(_ fault: InjectedResult?, _ byteCount: Int) -> Int {
    switch fault {
    case .count(let count): max(1, count)
    case .short: max(1, byteCount / 2)
    default: byteCount
    }
  }

  private func takeError() -> Int32? {
    defer { pendingError = nil }
    return pendingError
  }

  // MARK: Changes of state

  private func beginChange(_ what: String) -> Bool {
    network.simulation.confine()
    guard machine.crashKind == nil else { return false }
    network.simulation.note(
      .streamState, outbound.number, UInt64(what.utf8.count), 0, "\(machine.name) \(what)")
    return true
  }

  private func shutSending() {
    guard !isSendShut else { return }
    isSendShut = true
    if !isBroken { outbound.end() }
    wakeSender()
  }

  /// The socket is gone.
  ///
  /// What the peer sent in vain, it learns by a reset.
  private func leave() {
    guard !isBroken else { return }
    if inbound.unreadCount > 0 {
      inbound.discardUnread()
      outbound.reset()
    } else if !isSendShut {
      outbound.end()
    }
  }

  func breakOff(_ errorNumber: Int32) {
    guard !isBroken, !isClosed else { return }
    isBroken = true
    pendingError = errorNumber
    wakeReceiver()
    wakeSender()
  }

  /// The peer's kernel answered that nobody reads there any more.
  func outboundRefused() {
    network.simulation.schedule(after: network.drawDelay(), on: nil) { self.breakOff(ECONNRESET) }
  }

  func wakeReceiver() {
    receiver?.resume()
    receiver = nil
  }

  func wakeSender() {
    sender?.resume()
    sender = nil
  }

  func machineCrashed(_ kind: CrashKind) {
    receiver = nil
    sender = nil
    guard !isClosed else { return }
    switch kind {
    case .kill: leave()
    case .powerLoss: outbound.fallSilentForGood()
    }
  }
}
