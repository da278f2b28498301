import Control
import DiskFormat
import IO
import RAID
import Replication
import Ring

/// The node of a served array: its listeners, how it calls others, and what operators order of it.
struct ReplicaDesk: Sendable {
  let node: ReplicationNode<RingMachine, MemberDisk>
  private let diverged: DivergedSaving

  init(
    _ engine: ArrayEngine<RingMachine, MemberDisk>, machine: RingMachine, advertised: String,
    undo: UndoRegion<MemberDisk>?,
    log: @escaping @Sendable (String) -> Void
  ) {
    var options = SessionOptions()
    options.advertisedAddress = advertised
    let dialer = ReplicaDialer(machine: machine)
    diverged = DivergedSaving(engine: engine, machine: machine)
    node = ReplicationNode(
      engine: engine, machine: machine, options: options, undo: undo,
      call: { await dialer.call($0) },
      log: log)
  }

  /// Does it, or says why not.
  func perform(_ order: ReplicaOrder) async -> Result<OrderOutcome, ControlRefusal> {
    do throws(ReplicaCommandError) {
      return .success(try await carryOut(order))
    } catch {
      return .failure(error.refusal)
    }
  }

  private func carryOut(_ order: ReplicaOrder) async throws(ReplicaCommandError) -> OrderOutcome {
    switch order {
    case .add(let address, let mode, let lossPolicy, let milliseconds):
      let nodeID = try await node.addReplica(
        at: address, mode: mode, lossPolicy: lossPolicy, timeoutMilliseconds: milliseconds)
      return OrderOutcome(
        "node \(nodeID) at \(address) is a replica, mode \(mode.name): it is being copied to, and "
          + "'ashlar status' shows when it is in step")
    case .remove(let text):
      let peer = try await peer(text)
      try await node.removeReplica(peer.nodeID)
      return OrderOutcome(
        "node \(peer.nodeID) is no replica any more: nobody waits for it. It is not told: it must not be "
          + "promoted")
    case .promote(let isForced): return OrderOutcome(try await node.promote(isForced: isForced))
    case .demote: return OrderOutcome(try await node.demote())
    case .verify(let text):
      var nodeID: Identifier?
      if let text { nodeID = try await peer(text).nodeID }
      return OrderOutcome(
        "everything is being compared with replica \(try await node.beginVerify(nodeID)): 'ashlar "
          + "status' shows how far it is")
    case .cancelVerify:
      return OrderOutcome(
        await node.cancelVerify() ? "the comparison has ended where it was" : "none is under way")
    case .diff: return try await diff()
    case .exportDiverged(let path): return try await diverged.save(to: path)
    case .resync(let word, let path):
      var consent = word.map { DivergenceConsent.discard($0) } ?? .none
      if let path { consent = try await diverged.receipt(path) }
      let data = try await node.resync(consent)
      return OrderOutcome(
        "\(data.byteCount) bytes of \(data.recordCount) records are given up"
          + (path.map { " (saved in \($0))" } ?? "") + ": what differs is copied "
          + "from the other node, and 'ashlar status' shows how far that is")
    case .seed:
      try await node.becomeSeed()
      return OrderOutcome(
        "what this array holds is a seed now: 'ashlar replica add' at a primary copies what differs from "
          + "there, and nothing is served before that is done")
    case .stepBack(.takeBack):
      let position = try await node.stepBack()
      return OrderOutcome(
        "the copy is taken back: this node is as it was at record \(position.number), and follows nobody "
          + "before 'ashlar replica step-back NAME --follow', a promotion or the next start")
    case .stepBack(.giveUp):
      try await node.giveUpUndo()
      return OrderOutcome("the copy goes on, and cannot be taken back any more")
    case .stepBack(.follow):
      try await node.followAgain()
      return OrderOutcome("this node follows its primary again: the copy begins anew")
    }
  }

  private func peer(_ text: String) async throws(ReplicaCommandError) -> Peer {
    let peers = await node.connections.map(\.peer)
    guard let peer = peers.first(where: { $0.nodeID.description == text || $0.address == text })
    else { throw .notNow("no replica is '\(text)': name it by its address or identity") }
    return peer
  }

  private func diff() async throws(ReplicaCommandError) -> OrderOutcome {
    guard let data = try await node.divergedData() else {
      return OrderOutcome("no other history was met: nothing here differs from it by its history")
    }
    var outcome = OrderOutcome(
      "\(data.recordCount) records here are not in the other history, \(data.byteCount) bytes"
        + (data.isComplete ? "" : ", as far as the log still has them"))
    outcome.ranges = data.runs.map { ArrayRangeReport($0) }
    return outcome
  }

  /// What connections do, put beside what the array says.
  func complete(_ status: ArrayStatus) async -> ArrayStatus {
    var status = status
    guard status.replication != nil else { return status }
    for connection in await node.connections {
      guard
        let index = status.replication?.peers.firstIndex(where: {
          $0.nodeID == connection.peer.nodeID
        })
      else { continue }
      status.replication?.peers[index].connection = connection.phase?.rawValue ?? ""
      status.replication?.peers[index].lastEnd = connection.lastEnd ?? ""
      status.replication?.peers[index].copiedUnitCount = connection.copiedUnitCount
      status.replication?.peers[index].copyUnitCount = connection.copyUnitCount
      status.replication?.peers[index].copyBytesPerSecond = connection.copyBytesPerSecond
      status.replication?.peers[index].copySecondsLeft = connection.copySecondsLeft
      status.replication?.peers[index].verification = connection.verification
    }
    return status
  }
}

/// Connects to peers while the array is served: a name is resolved on a thread of its own.
struct ReplicaDialer: Sendable {
  let machine: RingMachine
  private static let nanosecondsMax: UInt64 = 2_000_000_000

  func call(_ text: String) async -> RingStream? {
    guard let address = try? ListenAddress(text) else { return nil }
    do throws(DialError) {
      switch address {
      case .unix(let path):
        return try await machine.connect(toUnixPath: path, nanosecondsMax: Self.nanosecondsMax)
      case .tcp(let host, let port):
        let resolved = await Offload(machine: machine).onThread { () -> ResolvedHost? in
          try? ResolvedHost(host: host, port: "\(port)")
        }
        guard let resolved else { return nil }
        return try await machine.connect(to: resolved, nanosecondsMax: Self.nanosecondsMax)
      }
    } catch {
      return nil
    }
  }
}

extension ReplicaCommandError {
  /// For the control socket.
  fileprivate var refusal: ControlRefusal {
    let (code, action) =
      switch self {
      case .notNow: ("not_now", "see 'ashlar status'")
      case .needsForce: (OrderRefusalCode.needsForce, "with '--force NAME' it is done all the same")
      case .unknownReplica: ("unknown_replica", "see 'ashlar status'")
      case .tooMany: ("too_many", "remove one first")
      case .array: ("stopped", "see 'ashlar status'")
      }
    return ControlRefusal(code: code, message: words, action: action)
  }
}
