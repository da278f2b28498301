package import DiskFormat
import Geometry
import IO

/// What this node has written and the other history has not.
package struct DivergedData: Equatable, Sendable {
  /// Records behind the fork.
  package var recordCount: UInt64
  /// The blocks that they name, joined and in order.
  package var runs: [BlockRun]
  /// The log still has all of these records: the list is complete.
  package var isComplete: Bool

  package var byteCount: UInt64 { runs.reduce(0) { $0 + $1.blockCount } * 4096 }
  /// What an operator has to say to give it up.
  package var discardWord: String { isComplete ? "\(byteCount)" : "all" }
}

extension ArrayEngine {
  /// Lists what would be given up if this node followed the other history.
  ///
  /// Nil when no other history was met.
  package func divergedData() async throws(ArrayError) -> DivergedData? {
    guard nodes.divergence != nil, let fork = nodes.forkNumber else { return nil }
    var data = DivergedData(recordCount: 0, runs: [], isComplete: true)
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
    return data
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
  /// `word`: what `divergedData` asks for; nil to be told.
  /// - Returns: what was given up.
  package func resync(discarding word: String?) async throws(ReplicaCommandError) -> DivergedData {
    await commandTurn.acquire()
    defer { commandTurn.release() }
    do throws(ArrayError) {
      guard let data = try await divergedData() else {
        throw ArrayError.refused("no other history was met: there is nothing to resync from")
      }
      guard word == data.discardWord else {
        throw ArrayError.refused(
          (data.isComplete
            ? "\(data.byteCount) bytes were written here that the other history has not "
              + "('ashlar replica diff NAME' lists them)"
            : "more was written here than the log still has a list of")
            + ": to give them up say --discard \(data.discardWord)")
      }
      // Nobody is served from here on, and what is under way ends first.
      nodes.superseded = "it is being made a replica of another history"
      parts.log.abandonAwaiting()
      for peer in membership.replication.peers { parts.log.removeReplica(peer.nodeID) }
      membership.replication.role = .replica
      membership.replication.isConsistent = false
      membership.replication.isHandedOver = false
      for index in membership.replication.peers.indices {
        membership.replication.peers[index].counts = false
      }
      try await membership.change()
      parts.log.endAbandoning()
      nodes.superseded = nil
      nodes.divergence = nil
      nodes.forkNumber = nil
      nodes.standingIsKnown = false
      nodes.onChange()
      parts.events.note(
        "gave up \(data.recordCount) records behind number "
          + "\(parts.log.position.number - data.recordCount): this node follows another history",
        .warning)
      return data
    } catch {
      if case .refused(let words) = error { throw .needsForce(words) }
      throw .array(error)
    }
  }
}
