import Glibc
package import IO

/// A simulated listening socket.
package final class SimulatedListener: StreamListener, MachinePart, @unchecked Sendable {
  /// How many connections wait to be accepted before clients are told EAGAIN.
  package static let backlogMax = 128

  package let machine: SimulatedMachine
  package let localDescription: String
  private let network: SimulatedNetwork
  private var backlog: [SimulatedStream] = []
  private var acceptor: Waiter?
  private var acceptsInFlight = 0
  private var isStopped = false
  private(set) var isClosed = false

  init(_ network: SimulatedNetwork, _ machine: SimulatedMachine, _ address: String) {
    self.network = network
    self.machine = machine
    localDescription = address
    machine.attach(self)
  }

  var isDead: Bool { machine.crashKind != nil }
  /// Its machine has no power: nobody refuses a connection there.
  var isSilent: Bool { machine.crashKind == .powerLoss }
  var canAnswer: Bool { !isStopped && !isClosed && !isDead }
  var isFull: Bool { backlog.count >= Self.backlogMax }

  package func acceptOnce() async -> Result<SimulatedStream, SystemError> {
    network.simulation.confine()
    precondition(!isClosed, "an accept on a closed listener")
    precondition(acceptsInFlight == 0, "one accept at a time")
    acceptsInFlight += 1
    let injected = machine.crashKind == nil ? machine.faultPlan.begin(.accept) : nil
    if case .crash(let kind) = injected { machine.crash(kind) }
    await machine.pause(nanoseconds: network.random.next(below: 5_000))
    let result = await finishAccept(injected)
    acceptsInFlight -= 1
    let errorNumber: Int32 = if case .failure(let error) = result { error.number } else { 0 }
    network.simulation.note(
      .accept, machine.number, UInt64(UInt32(bitPattern: errorNumber)), 0,
      "\(machine.name) accepts: \(errorNumber)")
    return result
  }

  private func finishAccept(
    _ injected: InjectedResult?
  ) async -> Result<SimulatedStream, SystemError> {
    if case .failure(let number) = injected {
      // The connection that was to be accepted is gone; with other errors it keeps waiting.
      if number == ECONNABORTED, !backlog.isEmpty { backlog.removeFirst().reset() }
      return .failure(SystemError(number))
    }
    while true {
      if isStopped { return .failure(SystemError(ECANCELED)) }
      if !backlog.isEmpty { return .success(backlog.removeFirst()) }
      await machine.suspend { waiter in
        if isStopped || !backlog.isEmpty { waiter.resume() } else { acceptor = waiter }
      }
    }
  }

  package func stop() {
    network.simulation.confine()
    guard !isStopped, !isDead else { return }
    isStopped = true
    refuseBacklog()
    acceptor?.resume()
    acceptor = nil
  }

  package func close() async {
    precondition(acceptsInFlight == 0, "closed while an accept waits")
    precondition(!isClosed, "a listener is closed once")
    isClosed = true
    refuseBacklog()
    network.forget(self)
    await machine.pause(nanoseconds: network.random.next(below: 10_000))
  }

  func admit(_ stream: SimulatedStream) {
    backlog.append(stream)
    acceptor?.resume()
    acceptor = nil
  }

  private func refuseBacklog() {
    let refused = backlog
    backlog = []
    for stream in refused { stream.reset() }
  }

  func machineCrashed(_ kind: CrashKind) {
    // The streams in the backlog are parts of the machine and learn of it themselves.
    backlog = []
    acceptor = nil
  }
}
