import DiskFormat
import Geometry
import IO
package import RAID
import Replication
import Simulator

/// One history of two nodes, drawn from a seed: clients write to the primary, links and machines
/// fail, replicas are promoted; and a checker that knows every acknowledged write.
// Safe: a simulation runs on one thread.
package final class PairHistory: @unchecked Sendable {
  package struct Outcome: Sendable {
    package var violation: String?
    package var acknowledgedCount = 0
    package var promotionCount = 0
    package var crashCount = 0
    package var hadInStepEnd = false
  }

  private let simulation: Simulation
  private let network: SimulatedNetwork
  private let driver: SimulatedMachine
  private let nodes: [PairNode]
  private var random: RandomSource
  private var model: PairModel
  private var busyBlocks: Set<Int> = []
  private var outcome = Outcome()
  private var log: [String] = []
  private let lossPolicy: LossPolicy
  private let mode: ReplicaMode
  /// Which node clients use.
  private var primary = 0
  private var clientsRun = false
  /// Nodes that lost power and were not seen in step since.
  private var lostPower: Set<Int> = []
  /// An operator has forced something that may have lost writes.
  private var mayFork = false
  private var pendingClients = 0
  private static let blockCount = 48

  package init(seed: UInt64, bug: ReplicationBug? = nil) {
    simulation = Simulation(seed: seed)
    network = SimulatedNetwork(simulation)
    driver = SimulatedMachine(simulation, name: "driver")
    random = RandomSource(seed: seed ^ 0x7061_6972)
    network.conditions.connectNanoseconds = 200_000_000
    model = PairModel(blockCount: Self.blockCount)
    lossPolicy = random.next() % 2 == 0 ? .stop : .goOn
    mode = random.next() % 4 == 0 ? .b : .c
    let level: RAIDLevel = random.next() % 2 == 0 ? .raid1 : .raid5
    nodes = [
      PairNode("a", simulation, network, level: level),
      PairNode("b", simulation, network, level: level),
    ]
    for node in nodes { node.options.replicationBug = bug }
  }

  /// Plays it.
  package func play() -> Outcome {
    do {
      for node in nodes { try node.create() }
      _ = try simulation.run(
        on: driver, within: Simulation.Limits(virtualNanoseconds: 600_000_000_000)
      ) { try await self.drive() }
    } catch let error as Complaint {
      outcome.violation = error.words
    } catch {
      outcome.violation = "\(error)"
    }
    simulation.end()
    return outcome
  }

  package var story: String { log.joined(separator: "\n") }

  private struct Complaint: Error, CustomStringConvertible {
    let words: String
    var description: String { words }
  }

  private func note(_ line: String) {
    log.append("\(simulation.nowNanoseconds / 1_000_000) ms: \(line)")
    unsafe PairNode.tell(log.last ?? "")
  }

  private func draw(_ bound: UInt64) -> UInt64 { random.next() % bound }

  private func rest(milliseconds: UInt64) async {
    await driver.sleep(nanoseconds: milliseconds * 1_000_000)
  }

  /// Does something on a node's machine; nil when the machine dies, or it takes too long.
  private func on<Answer: Sendable>(
    _ index: Int, seconds: UInt64 = 20, _ body: @escaping @Sendable (PairHost) async -> Answer
  ) async -> Answer? {
    guard let host = nodes[index].host, let machine = nodes[index].machine, nodes[index].isUp else {
      return nil
    }
    let box = AnswerBox<Answer>()
    machine.start { box.answer = await body(host) }
    for _ in 0..<seconds * 200 where box.answer == nil {
      guard machine.crashKind == nil else { return nil }
      await rest(milliseconds: 5)
    }
    return box.answer
  }

  private final class AnswerBox<Answer: Sendable>: @unchecked Sendable {
    var answer: Answer?
  }

  // MARK: The history

  private func drive() async throws {
    for node in nodes { node.boot() }
    try await waitFor("both are up", seconds: 20) { self.nodes.allSatisfy(\.isUp) }
    startClients()
    if draw(2) == 0 { await rest(milliseconds: draw(300)) }
    try await addReplica()
    if draw(3) > 0 {
      try await waitFor("in step", seconds: 20) { await self.isInStep() }
      note("in step")
    }
    for _ in 0..<3 + draw(6) {
      try await step()
      await rest(milliseconds: draw(400))
    }
    try await end()
  }

  private func addReplica() async throws {
    let (lossPolicy, mode) = (lossPolicy, mode)
    let answer = await on(primary) { host -> String? in
      do throws(ReplicaCommandError) {
        _ = try await host.node.addReplica(
          at: "tcp:b:1", mode: mode, lossPolicy: lossPolicy, timeoutMilliseconds: 300)
        return nil
      } catch {
        return error.words
      }
    }
    note("replica added, mode \(mode.name), on loss \(lossPolicy.name)")
    if let words = answer ?? "no answer" { throw Complaint(words: "add replica: \(words)") }
  }

  private func step() async throws {
    let other = 1 - primary
    if await on(other, { await $0.engine.isConfirmed }) == true { lostPower.remove(other) }
    switch draw(8) {
    case 0:
      note("cut")
      cut(both: true)
      await rest(milliseconds: draw(1500))
      note("heal")
      network.heal()
    case 1:
      note("cut one way")
      cut(both: false)
      await rest(milliseconds: draw(1500))
      note("heal")
      network.heal()
    case 2:
      let kind = drawnCrash
      note("replica \(kind)")
      crash(other, kind)
      await rest(milliseconds: draw(1500))
      nodes[other].boot()
    case 3:
      let kind = drawnCrash
      note("primary \(kind), and comes back")
      crash(primary, kind)
      await rest(milliseconds: draw(600))
      nodes[primary].boot()
    case 4, 5: try await failOver()
    case 6: try await handOver()
    default: try await readReplica()
    }
  }

  private var drawnCrash: CrashKind { draw(2) == 0 ? .kill : .powerLoss }

  private func crash(_ index: Int, _ kind: CrashKind) {
    outcome.crashCount += 1
    if kind == .powerLoss {
      // Whoever is alone loses with its power what was not flushed; a replica that lost its own has
      // not got it back from there.
      lostPower.insert(index)
    }
    nodes[index].crash(kind)
    if kind == .powerLoss, index == primary,
      !nodes[index].replicaCountsOnDisk || lostPower.contains(1 - index)
    {
      model.loseUnflushed()
    }
  }

  private func cut(both: Bool) {
    guard let a = nodes[0].machine, let b = nodes[1].machine else { return }
    if both {
      network.partition(a, b)
    } else if draw(2) == 0 {
      network.cut(from: a, to: b)
    } else {
      network.cut(from: b, to: a)
    }
  }

  // MARK: Failing over

  /// The primary dies, perhaps behind a cut; the replica is promoted, and everything is looked at.
  private func failOver() async throws {
    let (old, new) = (primary, 1 - primary)
    guard nodes[new].isUp, nodes[old].isUp else { return }
    if draw(2) == 0 {
      note("cut before the end")
      cut(both: true)
      await rest(milliseconds: draw(900))
    }
    let kind = drawnCrash
    note("primary \(nodes[old].name) \(kind)")
    clientsRun = false
    crash(old, kind)
    network.heal()
    await rest(milliseconds: draw(700))
    // What it had made of its replica at its end decides what may be lost.
    let counted = nodes[old].replicaCountsOnDisk
    let first = await promote(new, isForced: false)
    var wasForced = false
    if let refusal = first {
      note("promotion refused: \(refusal)")
      guard draw(4) > 0 else {
        nodes[old].boot()
        startClients()
        return
      }
      wasForced = true
      if refusal.contains("another history") { mayFork = true }
      if let again = await promote(new, isForced: true) {
        note("promotion refused: \(again)")
        nodes[old].boot()
        startClients()
        return
      }
    }
    outcome.promotionCount += 1
    primary = new
    note("\(nodes[new].name) promoted\(wasForced ? " by force" : "")")
    // Without force, nothing may be lost. By force neither, unless it had been set aside.
    let isBound = !wasForced || counted
    if !isBound {
      // From here on there may be two lines of history; which one goes on is the operator's choice.
      mayFork = true
    }
    // A replica that lost power has what was flushed, and says that it is in doubt.
    let bound: PairModel.Bound = lostPower.contains(new) ? .flushed : .acknowledged
    if bound == .flushed, !wasForced {
      throw Complaint(words: "\(nodes[new].name) lost power, and is promoted without force")
    }
    try await checkAll(new, mayFork ? .none : bound, settles: true)
    startClients()
    if draw(3) > 0 { await rest(milliseconds: draw(500)) }
    nodes[old].boot()
  }

  private func promote(_ index: Int, isForced: Bool) async -> String? {
    let answer = await on(index) { host -> String? in
      do throws(ReplicaCommandError) {
        _ = try await host.node.promote(isForced: isForced)
        return nil
      } catch {
        return error.words
      }
    }
    return answer ?? "no answer"
  }

  private func handOver() async throws {
    let (old, new) = (primary, 1 - primary)
    guard nodes[new].isUp, nodes[old].isUp else { return }
    clientsRun = false
    let answer = await on(old) { host -> String? in
      do throws(ReplicaCommandError) {
        _ = try await host.node.demote()
        return nil
      } catch {
        return error.words
      }
    }
    if let words = answer ?? "no answer" {
      note("no hand-over: \(words)")
      return startClients()
    }
    note("\(nodes[old].name) hands over")
    for _ in 0..<40 {
      await rest(milliseconds: 50)
      guard nodes[new].isUp else { break }
      guard let refusal = await promote(new, isForced: false) else {
        note("\(nodes[new].name) has taken over")
        outcome.promotionCount += 1
        primary = new
        try await checkAll(new, .acknowledged, settles: true)
        return startClients()
      }
      note("not yet: \(refusal)")
    }
    // The other never heard of it: the role is taken back.
    // That is force: should the other have heard of it meanwhile, there are two.
    mayFork = true
    if let words = await promote(old, isForced: true) { note("not taken back: \(words)") }
    startClients()
  }

  // MARK: Looking

  private func checkAll(_ index: Int, _ bound: PairModel.Bound, settles: Bool) async throws {
    // Clients of the old primary have ended: nobody knows what became of their last writes.
    for block in 0..<Self.blockCount {
      guard let stamp = await on(index, { await $0.read(UInt64(block)) }) else {
        guard nodes[index].isUp else { return }
        throw Complaint(words: "a read at \(nodes[index].name) does not end")
      }
      // The other line of history may have come back, and stopped this one.
      if mayFork, stamp == nil { return }
      if let words = model.complaint(block, stamp, mayFork ? .none : bound) {
        throw Complaint(words: "at \(nodes[index].name): \(words)")
      }
      if settles, let stamp { model.settle(block, stamp) }
    }
  }

  /// A replica shows values that there were, and never older ones than it has shown.
  private func readReplica() async throws {
    let index = 1 - primary
    guard nodes[index].isUp,
      let access = await on(index, { await $0.engine.clientAccess }), case .readOnly = access
    else { return }
    for block in 0..<Self.blockCount {
      guard let stamp = await on(index, { await $0.read(UInt64(block)) }), let stamp else {
        return
      }
      if let words = model.complaint(block, stamp, mayFork ? .none : .any) {
        throw Complaint(words: "at the replica \(nodes[index].name): \(words)")
      }
    }
  }

  // MARK: Clients

  private func startClients() {
    guard !clientsRun else { return }
    clientsRun = true
    for number in 0..<3 {
      pendingClients += 1
      driver.start { await self.runClient(number) }
    }
  }

  private func runClient(_ number: Int) async {
    let home = primary
    while clientsRun, home == primary {
      let block = Int(draw(UInt64(Self.blockCount)))
      if draw(12) == 0 {
        let stamps = model.acknowledgedStamps
        if await on(home, { await $0.flush() }) == true, home == primary {
          model.noteFlushed(stamps)
        }
      } else if busyBlocks.insert(block).inserted {
        let stamp = model.begin(block)
        let isDurable = draw(8) == 0
        let isDone = await on(
          home,
          {
            await $0.write(UInt64(block), 1, stamp: stamp, durably: isDurable)
          })
        busyBlocks.remove(block)
        if isDone == true {
          // Told after a promotion elsewhere is told too late: nobody hears a dead primary.
          if home == primary, nodes[home].isUp {
            model.acknowledge(block, stamp)
            outcome.acknowledgedCount += 1
          }
        } else {
          await rest(milliseconds: 20)
        }
      }
      await rest(milliseconds: 1 + draw(10))
    }
    pendingClients -= 1
  }

  // MARK: The end

  private func hasFork() async -> Bool {
    for index in 0..<2 where nodes[index].isUp {
      let words = await on(index) { await $0.engine.status.replication?.divergence ?? "" }
      if words?.isEmpty == false { return true }
    }
    return false
  }

  private func isInStep() async -> Bool {
    guard nodes.allSatisfy(\.isUp) else { return false }
    let isConnected = await on(primary) { host in
      await host.node.connections.first.map { $0.phase == .inStep && $0.peer.counts } ?? false
    }
    let state = await on(primary) { await $0.engine.nodeView }
    return isConnected == true && state?.isOpen == true
  }

  /// Everything is healed: the pair comes in step, and has the same everywhere.
  private func end() async throws {
    network.heal()
    for node in nodes where !node.isUp { node.boot() }
    note("everything is healed")
    if await on(primary, { await $0.engine.nodeView.replication.isHandedOver }) == true {
      mayFork = true
      note("the role is taken back: \(await promote(primary, isForced: true) ?? "done")")
    }
    do {
      try await waitFor("in step at the end", seconds: 60) {
        if await self.hasFork() { return true }
        // A client was told that a write failed: nothing is accepted before the next start.
        let words = await self.on(self.primary) { "\(await $0.engine.clientAccess)" }
        if words?.contains("a write failed") == true {
          self.note("the primary is served again")
          self.crash(self.primary, .kill)
          self.nodes[self.primary].boot()
        }
        return await self.isInStep()
      }
      if await hasFork() { throw Complaint(words: "a fork") }
    } catch {
      // Histories that fork are an operator's affair; that they have is said.
      var words: [String] = []
      for index in 0..<2 {
        words.append(
          await on(index) { host in
            let status = await host.engine.status
            let connections = await host.node.connections
            return "\(status.replication?.role.name ?? "alone") "
              + "\(status.replication?.refusal ?? "") \(status.replication?.divergence ?? "") "
              + "\(connections.map { "\($0.phase?.rawValue ?? "-") \($0.lastEnd ?? "")" })"
          } ?? "down (\(nodes[index].startFailure ?? ""))")
      }
      note("at the end: \(words.joined(separator: " | "))")
      guard words.contains(where: { $0.contains("another history") }) else {
        throw Complaint(words: "the pair does not come in step: \(words.joined(separator: " | "))")
      }
      clientsRun = false
      return
    }
    clientsRun = false
    try await waitFor("clients end", seconds: 60) { self.pendingClients == 0 }
    // One that looks connected may have lost its power just now: then a flush fails, once.
    var isFlushed = false
    for _ in 0..<3 where !isFlushed {
      isFlushed = await on(primary) { await $0.flush() } == true
      if !isFlushed { try await waitFor("in step again", seconds: 60) { await self.isInStep() } }
    }
    guard isFlushed else { throw Complaint(words: "the last flush failed") }
    outcome.hadInStepEnd = true
    try await checkAll(primary, .acknowledged, settles: false)
    for block in 0..<Self.blockCount {
      let mine = await on(primary) { await $0.read(UInt64(block)) }
      let theirs = await on(1 - primary) { await $0.read(UInt64(block)) }
      guard mine == theirs else {
        throw Complaint(
          words: "block \(block) differs: \(String(describing: mine)) at the primary, "
            + "\(String(describing: theirs)) at the replica")
      }
    }
  }

  private func waitFor(
    _ what: String, seconds: UInt64, _ isDone: () async -> Bool
  ) async throws {
    for _ in 0..<seconds * 50 {
      if await isDone() { return }
      await rest(milliseconds: 20)
    }
    throw Complaint(words: "not within \(seconds) s: \(what)")
  }
}
