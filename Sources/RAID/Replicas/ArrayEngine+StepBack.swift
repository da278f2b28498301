package import DiskFormat
import Geometry
package import IO

// Taking a copy back: the replica returns to the last position at which it was consistent (rule C3).
extension ArrayEngine {
  /// Whether what a copy overwrites from now on is kept, so that the copy can be taken back.
  ///
  /// It becomes durable with the beginning of the copy.
  package func noteKeepsUndo(_ keepsUndo: Bool) { nodes.keepsUndo = keepsUndo }

  /// Says why this node cannot be taken back; nil when it can.
  package var stepBackRefusal: String? {
    let state = membership.replication
    guard state.role == .replica else { return "it is no replica" }
    guard !state.isConsistent else {
      return "it is consistent: no copy is under way that could be taken back"
    }
    guard state.canStepBack else {
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
    if let words = stepBackRefusal { throw .refused(words) }
    let blockCount = records.reduce(0) { $0 + ($1.isTrim ? 0 : Int($1.run.blockCount)) }
    if blockCount > 0 {
      guard await parts.payloads.reserve(blockCount) else { throw stoppedError }
    }
    do throws(ArrayError) {
      try parts.log.checkRunning()
    } catch {
      parts.payloads.cancelReservation(blockCount)
      throw error
    }
    for record in records {
      if record.isTrim {
        parts.log.enqueueReplicated(
          trim: record.run, unsettledBlockCount: partialBlockCount(record.run), isCopy: true)
      } else {
        parts.log.enqueueReplicated(
          write: record.run,
          payload: payload.slice(record.payloadIndex * 4096, Int(record.run.blockCount) * 4096),
          isCopy: true)
      }
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
    membership.replication.canStepBack = false
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
