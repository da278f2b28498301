import Glibc
package import IO

/// The network of a simulation: it joins listeners and streams of its machines.
///
/// Bytes of one direction arrive in order, after a drawn delay, in drawn pieces. A cut holds what
/// is on the way until it is healed. It knows no packets: TCP hides their loss and order.
package final class SimulatedNetwork: @unchecked Sendable {
  private struct Cut: Equatable {
    let source: UInt64
    let target: UInt64
  }

  private struct WeakPipe {
    weak var pipe: BytePipe?
  }

  package let simulation: Simulation
  package var conditions = NetworkConditions()
  var random: RandomSource
  private var listeners: [SimulatedListener] = []
  private var cuts: [Cut] = []
  /// Directions that hold something back because of a cut.
  private var held: [WeakPipe] = []
  private var connectionCount: UInt64 = 0

  package init(_ simulation: Simulation) {
    self.simulation = simulation
    random = simulation.makeSource()
  }

  // MARK: Connections

  /// Listens at an address, for example `tcp:server:10809`.
  ///
  /// - Returns: nil when another listener of a running machine has it.
  package func listen(on machine: SimulatedMachine, at address: String) -> SimulatedListener? {
    simulation.confine()
    listeners.removeAll { $0.isClosed || ($0.localDescription == address && $0.isDead) }
    guard !listeners.contains(where: { $0.localDescription == address }) else { return nil }
    let listener = SimulatedListener(self, machine, address)
    listeners.append(listener)
    return listener
  }

  /// A closed listener and its network would otherwise keep each other for ever.
  func forget(_ listener: SimulatedListener) {
    listeners.removeAll { $0 === listener }
  }

  /// Connects to a listener, as a client's `connect` does.
  package func connect(
    from machine: SimulatedMachine, to address: String
  ) async -> Result<SimulatedStream, SystemError> {
    simulation.confine()
    let injected = machine.faultPlan.begin(.connect)
    if case .crash(let kind) = injected { machine.crash(kind) }
    let deadline = simulation.nowNanoseconds.addingSaturating(conditions.connectNanoseconds)
    await machine.pause(nanoseconds: drawDelay())
    if case .failure(let number) = injected { return .failure(SystemError(number)) }
    while true {
      let listener = listeners.last { $0.localDescription == address && !$0.isClosed }
      guard let listener, listener.canAnswer || listener.isSilent else {
        return connected(nil, machine, ECONNREFUSED)
      }
      if listener.canAnswer, !isCut(machine, listener.machine), !isCut(listener.machine, machine) {
        guard !listener.isFull else { return connected(nil, machine, EAGAIN) }
        let (client, server) = pair(machine, listener.machine, address)
        listener.admit(server)
        await machine.pause(nanoseconds: drawDelay())
        return connected(client, machine, 0)
      }
      guard simulation.nowNanoseconds < deadline else {
        return connected(nil, machine, ETIMEDOUT)
      }
      await machine.pause(nanoseconds: 1_000_000_000)
    }
  }

  private func connected(
    _ stream: SimulatedStream?, _ machine: SimulatedMachine, _ errorNumber: Int32
  ) -> Result<SimulatedStream, SystemError> {
    simulation.note(
      .connect, machine.number, UInt64(UInt32(bitPattern: errorNumber)), 0,
      "\(machine.name) connects: \(errorNumber)")
    if let stream { return .success(stream) }
    return .failure(SystemError(errorNumber))
  }

  /// Two ends of a new connection, without a listener.
  package func pair(
    _ first: SimulatedMachine, _ second: SimulatedMachine
  ) -> (SimulatedStream, SimulatedStream) {
    pair(first, second, "simulated:\(second.name)")
  }

  private func pair(
    _ client: SimulatedMachine, _ server: SimulatedMachine, _ address: String
  ) -> (SimulatedStream, SimulatedStream) {
    connectionCount += 1
    let up = BytePipe(self, client, server, capacity: conditions.bufferBytes)
    let down = BytePipe(self, server, client, capacity: conditions.bufferBytes)
    let clientEnd = SimulatedStream(
      self, client, inbound: down, outbound: up, peerDescription: address)
    let serverEnd = SimulatedStream(
      self, server, inbound: up, outbound: down,
      peerDescription: "simulated:\(client.name)#\(connectionCount)")
    up.join(from: clientEnd, to: serverEnd)
    down.join(from: serverEnd, to: clientEnd)
    return (clientEnd, serverEnd)
  }

  // MARK: Cuts

  /// Holds back everything from one machine to another until it is healed.
  package func cut(from source: SimulatedMachine, to target: SimulatedMachine) {
    let cut = Cut(source: source.number, target: target.number)
    if !cuts.contains(cut) { cuts.append(cut) }
  }

  /// Holds back everything between two machines, both ways.
  package func partition(_ first: SimulatedMachine, _ second: SimulatedMachine) {
    cut(from: first, to: second)
    cut(from: second, to: first)
  }

  /// Ends every cut; what was held back arrives.
  package func heal() {
    simulation.confine()
    cuts = []
    let released = held.compactMap(\.pipe)
    held = []
    for pipe in released { pipe.resumeDelivery() }
  }

  func isCut(_ source: SimulatedMachine, _ target: SimulatedMachine) -> Bool {
    cuts.contains(Cut(source: source.number, target: target.number))
  }

  func hold(_ pipe: BytePipe) {
    held.append(WeakPipe(pipe: pipe))
  }

  // MARK: Draws

  func drawDelay() -> UInt64 {
    random.next(from: conditions.shortestNanoseconds, through: conditions.longestNanoseconds)
  }

  /// How many of `count` bytes one call moves: all, or by seed some or very few.
  func drawFragment(_ count: Int) -> Int {
    guard count > 1, random.happens(perMillion: conditions.fragmentPerMillion) else { return count }
    return 1 + random.index(below: random.coin() ? min(count, 16) : count)
  }
}
