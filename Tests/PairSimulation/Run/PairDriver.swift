import DiskFormat
import Geometry
import IO
import RAID
import Replication
import Simulator

/// What a history finds wrong.
struct PairComplaint: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}

/// Two nodes, the network between them, and the hand that does things to them.
// Safe: a simulation runs on one thread.
final class PairDriver: @unchecked Sendable {
  let simulation: Simulation
  let network: SimulatedNetwork
  /// Node a and node b; where a history tells of another, c.
  let nodes: [PairNode]
  private let machine: SimulatedMachine
  private var calls: [PairCall] = []
  private var story: [String] = []
  static let blockCount = 48

  init(seed: UInt64, level: RAIDLevel, bug: PairBug?, nodeCount: Int = 2) throws {
    simulation = Simulation(seed: seed)
    network = SimulatedNetwork(simulation)
    network.conditions.connectNanoseconds = 200_000_000
    machine = SimulatedMachine(simulation, name: "driver")
    let (simulation, network) = (simulation, network)
    nodes = ["a", "b", "c"].prefix(nodeCount).map {
      PairNode($0, simulation, network, level: level)
    }
    bug?.plant(in: nodes)
    for node in nodes { try node.create() }
  }

  /// Plays a history; nil when nothing was wrong.
  func play(_ history: @escaping @Sendable () async throws -> Void) -> String? {
    defer { simulation.end() }
    do throws(SimulationFailure) {
      try simulation.run(
        on: machine, within: Simulation.Limits(virtualNanoseconds: 600_000_000_000)
      ) {
        self.watchCalls()
        try await history()
      }
      return nil
    } catch {
      if case .threw(let words) = error.reason { return words }
      return "\(error)"
    }
  }

  var nowNanoseconds: UInt64 { simulation.nowNanoseconds }

  func note(_ line: String) {
    unsafe PairNode.tell("\(simulation.nowNanoseconds / 1_000_000) ms: \(line)")
  }

  func start(_ body: @escaping @Sendable () async -> Void) { machine.start(body) }

  func rest(milliseconds: UInt64) async { await rest(microseconds: milliseconds * 1000) }

  func rest(microseconds: UInt64) async {
    await machine.sleep(nanoseconds: microseconds * 1000)
  }

  /// Waits until something is so; false when it does not come to be.
  func waits(
    seconds: UInt64, everyMicroseconds step: UInt64 = 20_000, _ isDone: () async -> Bool
  ) async -> Bool {
    let deadline = nowNanoseconds + seconds * 1_000_000_000
    while nowNanoseconds < deadline {
      if await isDone() { return true }
      await rest(microseconds: step)
    }
    return false
  }

  /// Waits until something is so, which has to come to be.
  func wait(
    for what: String, seconds: UInt64 = 20, everyMicroseconds step: UInt64 = 20_000,
    until isDone: () async -> Bool
  ) async throws {
    guard await waits(seconds: seconds, everyMicroseconds: step, isDone) else {
      throw PairComplaint("not within \(seconds) s: \(what)")
    }
  }

  // MARK: Asking a node

  /// Does something on a node's machine; nil when that dies, or it takes too long.
  func ask<Answer: Sendable>(
    _ index: Int, seconds: UInt64 = 20, _ body: @escaping @Sendable (PairHost) async -> Answer
  ) async -> Answer? {
    guard let host = nodes[index].host, let machine = nodes[index].machine, nodes[index].isUp else {
      return nil
    }
    let box = AnswerBox<Answer>()
    let call = PairCall(machine, deadlineNanoseconds: nowNanoseconds + seconds * 1_000_000_000)
    calls.append(call)
    machine.start {
      box.answer = await body(host)
      call.finish()
    }
    await call.wait()
    return machine.crashKind == nil || call.isAnswered ? box.answer : nil
  }

  private final class AnswerBox<Answer: Sendable>: @unchecked Sendable { var answer: Answer? }

  /// Lets go of those who ask the dead, or wait for too long.
  private func watchCalls() {
    // It is never freed: what it held would not be either.
    let machine = machine
    machine.start { [weak self] in
      while true {
        await machine.sleep(nanoseconds: 10_000_000)
        guard let self else { return }
        self.sweepCalls()
      }
    }
  }

  private func sweepCalls() {
    calls.removeAll { $0.isOver }
    for call in calls where call.isHopeless(at: nowNanoseconds) { call.abandon() }
  }
}

/// Who waits for an answer of a machine that may die meanwhile.
// Safe: a simulation runs on one thread.
@safe
private final class PairCall: @unchecked Sendable {
  private let machine: SimulatedMachine
  private let deadlineNanoseconds: UInt64
  private(set) var isAnswered = false
  private(set) var isOver = false
  // Safe: taken out before it is resumed.
  private var waiter: UnsafeContinuation<Void, Never>?

  init(_ machine: SimulatedMachine, deadlineNanoseconds: UInt64) {
    self.machine = machine
    self.deadlineNanoseconds = deadlineNanoseconds
  }

  func isHopeless(at nanoseconds: UInt64) -> Bool {
    machine.crashKind != nil || nanoseconds > deadlineNanoseconds
  }

  func finish() {
    guard !isOver, machine.crashKind == nil else { return }
    isAnswered = true
    abandon()
  }

  func abandon() {
    guard !isOver else { return }
    isOver = true
    let waiting = unsafe waiter
    unsafe waiter = nil
    unsafe waiting?.resume()
  }

  func wait() async {
    // Safe: resumed once, by `abandon`, or here.
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      if isOver {
        unsafe waiter.resume()
      } else {
        unsafe self.waiter = unsafe waiter
      }
    }
  }
}

// MARK: What an operator says

extension PairDriver {
  /// Nil when it was done; else why not.
  private func command(
    _ index: Int, _ body: @escaping @Sendable (PairHost) async throws(ReplicaCommandError) -> Void
  ) async -> String? {
    let answer = await ask(index) { host -> String? in
      do throws(ReplicaCommandError) {
        try await body(host)
        return nil
      } catch {
        return error.words
      }
    }
    return answer ?? "no answer"
  }

  /// Makes the other node, or one that is named, a replica of this one.
  func addReplica(
    _ index: Int, other: Int? = nil, mode: ReplicaMode, lossPolicy: LossPolicy
  ) async -> String? {
    let address = nodes[other ?? 1 - index].address
    return await command(index) { host throws(ReplicaCommandError) in
      _ = try await host.node.addReplica(
        at: address, mode: mode, lossPolicy: lossPolicy, timeoutMilliseconds: 300)
    }
  }

  func promote(_ index: Int, isForced: Bool) async -> String? {
    await command(index) { host throws(ReplicaCommandError) in
      _ = try await host.node.promote(isForced: isForced)
    }
  }

  func demote(_ index: Int) async -> String? {
    await command(index) { host throws(ReplicaCommandError) in _ = try await host.node.demote() }
  }

  func resync(_ index: Int, discarding word: String?) async -> String? {
    await command(index) { host throws(ReplicaCommandError) in
      _ = try await host.node.resync(word.map { .discard($0) } ?? .none)
    }
  }

  func diverged(_ index: Int) async -> DivergedData? {
    let found = await ask(index) { host -> DivergedData? in
      do throws(ArrayError) { return try await host.engine.divergedData() } catch { return nil }
    }
    return found ?? nil
  }
}

// MARK: What can be seen

extension PairDriver {
  func access(_ index: Int) async -> ClientAccess? {
    await ask(index) { await $0.engine.clientAccess }
  }

  func role(_ index: Int) async -> NodeRole? {
    await ask(index) { await $0.engine.nodeView.replication.role }
  }

  func isReadable(_ index: Int) async -> Bool {
    switch await access(index) {
    case .readWrite?, .readOnly?: true
    case .none?, nil: false
    }
  }

  /// Whether a primary's replica has everything, counts, and writes are accepted.
  func isInStep(_ primary: Int) async -> Bool {
    guard nodes.allSatisfy(\.isUp) else { return false }
    let answer = await ask(primary) { host in
      let isConnected = await host.node.connections.first.map {
        $0.phase == .inStep && $0.peer.counts
      }
      return await host.engine.nodeView.isOpen && isConnected == true
    }
    return answer == true
  }

  /// What both are, for a complaint.
  func describe() async -> String {
    var words: [String] = []
    for (index, node) in nodes.enumerated() {
      let line = await ask(index) { host in
        let status = await host.engine.status
        let connections = await host.node.connections
        return "\(status.replication?.role.name ?? "alone") "
          + "\(status.replication?.refusal ?? "") \(status.replication?.divergence ?? "") "
          + "\(connections.map { "\($0.phase?.rawValue ?? "-") \($0.lastEnd ?? "")" })"
      }
      words.append("\(node.name): " + (line ?? "down \(node.startFailure ?? "")"))
    }
    return words.joined(separator: " | ")
  }

  /// What all blocks hold; nil when the node does not serve, `.max` for a torn block.
  func image(_ index: Int) async throws -> [UInt64]? {
    guard await isReadable(index) else { return nil }
    guard let stamps = await ask(index, { await $0.readAll(Self.blockCount) }) else {
      guard nodes[index].isUp else { return nil }
      throw PairComplaint("a read at \(nodes[index].name) does not end")
    }
    var image: [UInt64] = []
    for (block, stamp) in stamps.enumerated() {
      guard let stamp else {
        guard await isReadable(index) else { return nil }
        throw PairComplaint("block \(block) cannot be read at \(nodes[index].name)")
      }
      image.append(stamp)
    }
    return image
  }

  func cut(_ first: Int = 0, _ second: Int = 1) {
    if let one = nodes[first].machine, let other = nodes[second].machine {
      network.partition(one, other)
    }
  }

  func cut(from source: Int) {
    if let from = nodes[source].machine, let to = nodes[1 - source].machine {
      network.cut(from: from, to: to)
    }
  }
}
