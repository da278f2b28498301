package import DiskFormat
import Geometry
import IO
import Units
import Volumes

/// What this node has written and the other history has not.
package struct DivergedData: Equatable, Sendable {
  /// The last record in common with the other history, and this node's last one.
  package var forkNumber: UInt64
  package var end: StreamPosition
  /// Records behind the fork.
  package var recordCount: UInt64
  /// The blocks that they name, joined and in order.
  package var runs: [BlockRun]
  /// The log still has all of these records: the list is complete.
  package var isComplete: Bool

  package init(
    forkNumber: UInt64, end: StreamPosition, recordCount: UInt64, runs: [BlockRun],
    isComplete: Bool
  ) {
    self.forkNumber = forkNumber
    self.end = end
    self.recordCount = recordCount
    self.runs = runs
    self.isComplete = isComplete
  }

  package var byteCount: UInt64 { runs.reduce(0) { $0 + $1.blockCount } * 4096 }
  /// What an operator has to say to give it up.
  package var discardWord: String { isComplete ? "\(byteCount)" : "all" }
}

/// What an operator says before diverged data is given up.
package enum DivergenceConsent: Equatable, Sendable {
  /// Nothing: to be told what to say.
  case none
  /// So many bytes, or `all`.
  case discard(String)
  /// It was saved, and this is what is in the file.
  case exported(arrayID: Identifier, DivergedData)
}

extension ArrayEngine {
  /// Lists what would be given up if this node followed the other history.
  ///
  /// Nil when no other history was met.
  package func divergedData() async throws(ArrayError) -> DivergedData? {
    guard nodes.divergence != nil, let fork = nodes.forkNumber else { return nil }
    var data = DivergedData(
      forkNumber: fork, end: parts.log.position, recordCount: 0, runs: [], isComplete: true)
    var number = fork
    while number < parts.log.position.number {
      guard let batch = try await streamBatch(behind: number) else {
        data.isComplete = false
        break
      }
      data.recordCount += UInt64(batch.records.count)
      data.runs += batch.records.map(\.run)
      number = batch.end.number
    }
    data.runs = Self.joined(data.runs)
    // No more was written since the last look at it.
    data.end = parts.log.position
    return data
  }

  /// Tells clients that wait for a replica that nobody knows what becomes of their writes, also those
  /// that wait for the memory which such writes hold.
  ///
  /// - Returns: whether anybody was told of a write that is in the log.
  @discardableResult
  func abandonRequests() -> Bool {
    let hasWaiters = parts.log.abandonAwaiting()
    parts.payloads.refusesWaiting = true
    return hasWaiters
  }

  /// Replicas are there again, or need not be.
  func endAbandoningRequests() {
    parts.log.endAbandoning()
    parts.payloads.refusesWaiting = false
  }

  /// It was given up what this array holds, and nobody has begun to copy to it.
  var isSeed: Bool {
    let state = membership.replication
    return state.role == .replica && !state.isConsistent && state.peers.isEmpty
  }

  /// Gives up what this array holds, for a primary that is going to copy to it what differs.
  package func becomeSeed() async throws(ReplicaCommandError) {
    await commandTurn.acquire()
    defer { commandTurn.release() }
    guard membership.replication.role == .alone else {
      throw .notNow("it has replicas or is one: only an array that is alone becomes a seed")
    }
    do throws(ArrayError) {
      // Nobody is served from here on, and what is under way ends first.
      membership.replication.role = .replica
      membership.replication.isConsistent = false
      let hold = await reservations.reserve(
        ByteRange(from: 0, to: geometry.byteCount), isExclusive: true)
      reservations.release(hold)
      try await flushAll()
      try await membership.change()
      if let reason = membership.stopReason { throw .stopped(reason) }
    } catch {
      throw .array(error)
    }
    nodes.onChange()
    parts.events.note("what it holds is a seed: it waits for a primary", .warning)
  }

  private static func joined(_ runs: [BlockRun]) -> [BlockRun] {
    var joined: [BlockRun] = []
    for run in runs.sorted(by: { $0.firstBlock < $1.firstBlock }) {
      if let last = joined.last, run.firstBlock <= last.endBlock {
        joined[joined.count - 1].blockCount =
          max(last.endBlock, run.endBlock) - last.firstBlock
      } else {
        joined.append(run)
      }
    }
    return joined
  }

  /// Gives up what only this node has: it becomes a replica that has to be copied to, which rewinds
  /// exactly the blocks that differ.
  ///
  /// - Returns: what was given up.
  package func resync(
    _ consent: DivergenceConsent
  ) async throws(ReplicaCommandError) -> DivergedData {
    await commandTurn.acquire()
    defer { commandTurn.release() }
    do throws(ArrayError) {
      guard let data = try await divergedData() else {
        throw ArrayError.refused("no other history was met: there is nothing to resync from")
      }
      try check(consent, data)
      // Nobody is served from here on, and what is under way ends first.
      let superseded = nodes.superseded
      nodes.superseded = "it is being made a replica of another history"
      abandonRequests()
      let everything = ByteRange(from: 0, to: geometry.byteCount)
      reservations.release(await reservations.reserve(everything, isExclusive: true))
      guard parts.log.position == data.end else {
        nodes.superseded = superseded
        throw ArrayError.refused(
          "more was written here meanwhile: stop what writes, and look again")
      }
      for peer in membership.replication.peers { parts.log.removeReplica(peer.nodeID) }
      membership.replication.role = .replica
      membership.replication.isConsistent = false
      membership.replication.undoID = .none
      membership.replication.isHandedOver = false
      for index in membership.replication.peers.indices {
        membership.replication.peers[index].counts = false
      }
      try await membership.change()
      endAbandoningRequests()
      nodes.superseded = nil
      nodes.divergence = nil
      nodes.forkNumber = nil
      nodes.standingIsKnown = false
      nodes.onChange()
      parts.events.note(
        "gave up \(data.recordCount) records behind number \(data.forkNumber): this node follows "
          + "another history", .warning)
      return data
    } catch {
      if case .refused(let words) = error { throw .needsForce(words) }
      throw .array(error)
    }
  }

  private func check(
    _ consent: DivergenceConsent, _ data: DivergedData
  ) throws(ArrayError) {
    switch consent {
    case .discard(data.discardWord): return
    case .exported(parts.arrayID, data) where data.isComplete: return
    case .exported:
      throw .refused(
        "the file does not hold what this node has now and the other history has not: export it again"
      )
    case .none, .discard:
      throw .refused(
        (data.isComplete
          ? "\(data.byteCount) bytes were written here that the other history has not "
            + "('ashlar replica diff NAME' lists them)"
          : "more was written here than the log still has a list of")
          + ": to give them up say --discard \(data.discardWord)"
          + (data.isComplete
            ? ", or save them ('ashlar replica export-diverged NAME FILE') and say --exported FILE"
            : ""))
    }
  }
}
