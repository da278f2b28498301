package import DiskFormat
import Geometry
package import IO

// Taking a copy back: the replica returns to the last position at which it was consistent (rule C3).
extension ArrayEngine {
  /// The undo region that keeps what a copy overwrites from now on; `none` for none.
  ///
  /// It becomes durable with the beginning of the copy.
  package func noteUndo(_ undoID: Identifier) { nodes.undoID = undoID }

  /// Says why this node cannot be taken back; nil when it can.
  package var stepBackRefusal: String? {
    let state = membership.replication
    guard state.role == .replica else { return "it is no replica" }
    guard !state.isConsistent else {
      return "it is consistent: no copy is under way that could be taken back"
    }
    guard state.undoID != .none else {
      return
        "what the copy has overwritten was not kept: 'serve --undo FILE' does that for copies that "
        + "begin then"
    }
    guard !nodes.primaryIsConnected else { return "its primary is still connected" }
    return nil
  }

  /// Gives blocks their content from before the copy.
  ///
  /// The payload stays as it is until so many records have been published as were handed over.
  package func putBack(
    _ records: [StreamBatch.Record], payload: IOBuffer
  ) async throws(ArrayError) {
    try await logReplicated(records, payload, isCopy: true) { () throws(ArrayError) in
      if let words = stepBackRefusal { throw .refused(words) }
    }
  }

  /// All blocks are back: this node is at a position again, durably, and says so.
  package func endStepBack(
    at position: StreamPosition, timelines: [Timeline]
  ) async throws(ArrayError) {
    if let words = stepBackRefusal { throw .refused(words) }
    try await parts.log.waitUntilPublished(parts.log.enqueuedCount)
    try await parts.log.flush()
    // Records count from there; until the configuration says that it is consistent, nobody goes by it.
    if position != parts.log.position { try await parts.log.begin(at: position) }
    membership.timelines = Self.newest(timelines)
    membership.replication.isConsistent = true
    membership.replication.undoID = .none
    for index in membership.replication.peers.indices {
      membership.replication.peers[index].counts = false
      membership.replication.peers[index].position = position
    }
    try await membership.change()
    if let reason = membership.stopReason { throw .stopped(reason) }
    nodes.timelinesAhead = []
    nodes.standingIsKnown = false
    nodes.onChange()
    parts.events.note(
      "the copy is taken back: this node is as it was at record \(position.number)", .warning)
  }
}
