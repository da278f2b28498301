package import DiskFormat
import Geometry
import IO
import Units
import Volumes

// What the sessions of replication ask of the array; each runs on its executor.
extension ArrayEngine {
  // MARK: The feed

  /// Where client records end, those on their way included.
  package var streamPosition: StreamPosition { parts.log.position }
  /// Where those end that clients were told of; at a replica, those that its log has.
  package var publishedPosition: StreamPosition { parts.log.published }
  /// Where those end that are durable here.
  package var durablePosition: StreamPosition { parts.log.durablePosition }
  /// Whether the array still works.
  package var isServing: Bool { isOpen && membership.stopReason == nil }

  /// How far a replica is; nil when it is none.
  package func replicaProgress(_ nodeID: Identifier) -> ReplicaProgress? {
    parts.log.replica(nodeID)
  }

  /// Whether the log has everything behind a number.
  package func reachesBack(to number: UInt64) -> Bool { parts.log.reachesBack(to: number) }

  /// The record chain at a number; nil when it is not known any more.
  package func recordChain(at number: UInt64) async throws(ArrayError) -> UInt32? {
    if let known = membership.timelines.first(where: { $0.start.number == number }) {
      return known.start.chain
    }
    return try await parts.log.chain(at: number)
  }

  /// Records behind a number, as many as lie together: from memory, or from the log.
  ///
  /// Nil when they are not in the log any more.
  package func streamBatch(behind number: UInt64) async throws(ArrayError) -> StreamBatch? {
    if let batch = parts.log.batchInMemory(behind: number) { return batch }
    return try await parts.log.readBatch(behind: number)?.behind(number)
  }

  /// A session serves a replica that has everything up to a number durably.
  package func connectReplica(
    _ replica: ReplicaProgress, at number: UInt64, sentThrough sent: UInt64
  ) {
    parts.log.connect(replica, at: number, sentThrough: sent)
  }

  /// The session has ended.
  package func disconnectReplica(_ replica: ReplicaProgress) { parts.log.disconnect(replica) }

  /// A replica tells how far it is.
  package func note(
    _ replica: ReplicaProgress, received: UInt64, logged: UInt64, durable: UInt64
  ) {
    parts.log.note(replica, received: received, logged: logged, durable: durable)
  }

  /// Records up to a number have been sent to a replica.
  package func noteSent(_ replica: ReplicaProgress, _ number: UInt64) {
    replica.sent = number
    parts.log.forgetSent()
  }

  /// A replica has records up to a number that this primary has lost and fetches from it.
  package func noteTail(of nodeID: Identifier, number: UInt64) {
    guard let replica = parts.log.replica(nodeID) else { return }
    replica.sent = number
    parts.log.note(replica, received: number, logged: number, durable: 0)
  }

  // MARK: At a replica

  /// Told whenever records were published, or the array has stopped.
  package func watchPublished(_ onPublished: @escaping @Sendable () -> Void) {
    parts.log.onPublished = onPublished
  }

  /// Whether records that were handed over have no number yet: `streamPosition` does not tell of them.
  package var hasUnnumbered: Bool { parts.log.hasUnnumbered }
  /// Records that were handed over since the start, and those of them that were published.
  package var enqueuedRecordCount: UInt64 { parts.log.enqueuedCount }
  package var publishedRecordCount: UInt64 { parts.log.publishedCount }

  /// Returns when so many of the records that were handed over have been published.
  package func waitUntilPublished(_ count: UInt64) async throws(ArrayError) {
    try await parts.log.waitUntilPublished(count)
  }

  /// Makes everything durable that the log has.
  package func flushLog() async throws(ArrayError) { try await parts.log.flush() }

  /// The primary has everything up to a number durably: what is behind it stays in the log here, for
  /// the primary may lose it in a crash, and fetches it back (rule C1).
  package func notePrimaryDurable(_ nodeID: Identifier, _ number: UInt64) {
    guard membership.replication.role == .replica else { return }
    keepForPrimary(nodeID, behind: number)
    guard let primary = parts.log.replica(nodeID) else { return }
    parts.log.note(primary, received: number, logged: number, durable: number)
  }

  /// Until it has said what it has durably, all that the log has stays for it.
  func keepForPrimary(_ nodeID: Identifier, behind number: UInt64) {
    guard parts.log.replica(nodeID) == nil else { return }
    let primary = parts.log.addReplica(nodeID, mode: .a, counts: false, durable: number)
    primary.sent = .max
  }

  // MARK: Records that are given

  /// Hands records to the log when there is room for their payload, and `check` finds nothing against it then.
  func logReplicated(
    _ records: [StreamBatch.Record], _ payload: IOBuffer, isCopy: Bool,
    _ check: () throws(ArrayError) -> Void
  ) async throws(ArrayError) {
    let blockCount = records.reduce(0) { $0 + ($1.isTrim ? 0 : Int($1.run.blockCount)) }
    if blockCount > 0 {
      guard await parts.payloads.reserve(blockCount) else { throw noRoomError }
    }
    do throws(ArrayError) {
      try check()
      try parts.log.checkRunning()
    } catch {
      parts.payloads.cancelReservation(blockCount)
      throw error
    }
    for record in records {
      if record.isTrim {
        parts.log.enqueueReplicated(
          trim: record.run, unsettledBlockCount: partialBlockCount(record.run), isCopy: isCopy)
      } else {
        parts.log.enqueueReplicated(
          write: record.run,
          payload: payload.slice(record.payloadIndex * 4096, Int(record.run.blockCount) * 4096),
          isCopy: isCopy)
      }
    }
  }
}
