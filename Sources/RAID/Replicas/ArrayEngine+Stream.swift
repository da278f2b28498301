package import DiskFormat
import Geometry
package import IO
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
    let primary =
      parts.log.replica(nodeID)
      ?? parts.log.addReplica(nodeID, mode: .a, counts: false, durable: number)
    primary.sent = .max
    parts.log.note(primary, received: number, logged: number, durable: number)
  }

  // MARK: Copying by comparison

  /// Keeps clients' writes out of a range, once those under way have ended.
  package func holdRange(_ run: BlockRun) async -> RangeHold {
    let range = ByteRange(
      from: run.firstBlock * 4096, to: (run.firstBlock + run.blockCount) * 4096)
    return RangeHold(await reservations.reserve(range, isExclusive: true))
  }

  /// Lets clients write there again.
  package func release(_ hold: RangeHold) { reservations.release(hold.reservation) }

  /// What the blocks of a run hold, by the checksum table and the log.
  ///
  /// Checksum without a mask; nil where nothing was ever written.
  package func blockStates(_ run: BlockRun) async throws(ArrayError) -> [BlockEntry] {
    var states: [BlockEntry] = []
    states.reserveCapacity(Int(run.blockCount))
    for block in run.firstBlock..<run.firstBlock + run.blockCount {
      states.append(try await blockState(block))
    }
    return states
  }

  private func blockState(_ block: UInt64) async throws(ArrayError) -> BlockEntry {
    while true {
      switch reader.look(block) {
      case .pending(_, let checksum): return .written(checksum)
      case .zeros: return .neverWritten
      case .lost: return .lost
      case .home(let row, let position, let entry):
        return .written(
          entry.checksum ^ parts.mask(geometry.place(ofRow: row, position: position)))
      case .pageNeeded(let page): try await parts.load(page: page)
      }
    }
  }

  /// What blocks hold, for a comparison: for those that were written a hash of their content.
  ///
  /// What is read is verified, and healed where this node can; blocks that cannot be read count as
  /// lost.
  package func contents(_ run: BlockRun, salt: UInt64) async throws(ArrayError) -> [BlockContent] {
    var contents: [BlockContent] = []
    guard mayHaveContent(run) else {
      return Array(repeating: .neverWritten, count: Int(run.blockCount))
    }
    contents.reserveCapacity(Int(run.blockCount))
    for (index, entry) in try await blockStates(run).enumerated() {
      switch entry.state {
      case .neverWritten: contents.append(.neverWritten)
      case .lost: contents.append(.lost)
      case .written:
        contents.append(try await writtenContent(run.firstBlock + UInt64(index), salt: salt))
      }
    }
    return contents
  }

  private func writtenContent(
    _ block: UInt64, salt: UInt64
  ) async throws(ArrayError) -> BlockContent {
    guard let memory = buffers.take() else { throw .outOfMemory }
    defer { buffers.give(memory) }
    do throws(ArrayError) {
      let found = try await reader.read(block, count: 1, into: memory)
      defer { withExtendedLifetime(found) {} }
      return .written(hash: ContentHash.hash(found.buffer.prefix(4096), salt: salt))
    } catch {
      guard case .unreadable = error else { throw error }
      return .lost
    }
  }

  /// Whether a run has a page that was ever written, or records that are not home.
  package func mayHaveContent(in run: BlockRun) -> Bool { mayHaveContent(run) }

  /// Reads blocks, verified, whatever clients may do.
  package func readBlocks(_ run: BlockRun, into buffer: IOBuffer) async throws(ArrayError) {
    var done: UInt64 = 0
    while done < run.blockCount {
      let count = min(run.blockCount - done, UInt64(Self.shortReadBlockCountMax))
      guard let memory = buffers.take() else { throw .outOfMemory }
      defer { buffers.give(memory) }
      let found = try await reader.read(run.firstBlock + done, count: Int(count), into: memory)
      let all = found.buffer
      buffer.slice(Int(done) * 4096, Int(count) * 4096).copy(from: all.prefix(Int(count) * 4096))
      withExtendedLifetime(found) {}
      done += count
    }
  }
}

/// A range that is kept for one user.
package struct RangeHold: Sendable {
  /// As `RangeReservations` named it.
  let reservation: Int

  init(_ reservation: Int) { self.reservation = reservation }
}
