package import DiskFormat
import Geometry
package import IO
import Units
import Volumes

// What a copy by comparison asks of the array, on both sides (docs/replication.md, section 4).
extension ArrayEngine {
  /// Keeps clients' writes out of a range, once those under way have ended.
  package func holdRange(_ run: BlockRun) async -> RangeHold {
    RangeHold(await reservations.reserve(run.byteRange, isExclusive: true))
  }

  /// Lets clients write there again.
  package func release(_ hold: RangeHold) { reservations.release(hold.reservation) }

  /// Blocks that `readContent` reads at once.
  package static var contentBlockCountMax: Int { BlockReader<M, D>.blockCountMax }

  /// Reads what blocks hold, verified, with a hash of each by a salt.
  ///
  /// Those that cannot be read count as lost. Give it back by `giveBack`.
  package func readContent(_ run: BlockRun, salt: UInt64) async throws(ArrayError) -> CopyContent {
    var states = try await blockStates(run)
    guard let memory = copyBuffers.take() else { throw .outOfMemory }
    var found = memory
    if states.contains(where: { $0.state == .written }) {
      do throws(ArrayError) {
        found = try await reader.read(run.firstBlock, count: states.count, into: memory)
      } catch {
        guard case .unreadable = error else { throw error }
        found = try await readSingly(run, &states)
      }
    }
    return CopyContent(run: run, states: states, memory: found, salt: salt)
  }

  /// The memory may be used again: nobody reads it any more.
  package func giveBack(_ content: CopyContent) { copyBuffers.give(content.memory) }

  /// Block by block, into memory that no earlier read may still write to.
  private func readSingly(
    _ run: BlockRun, _ states: inout [BlockEntry]
  ) async throws(ArrayError) -> OwnedBuffer {
    guard let target = copyBuffers.take() else { throw .outOfMemory }
    let all = target.buffer
    for index in states.indices where states[index].state == .written {
      guard let memory = buffers.take() else { throw .outOfMemory }
      defer { buffers.give(memory) }
      do throws(ArrayError) {
        let found = try await reader.read(run.firstBlock + UInt64(index), count: 1, into: memory)
        let content = found.buffer
        all.slice(index * 4096, 4096).copy(from: content.prefix(4096))
        withExtendedLifetime(found) {}
      } catch {
        guard case .unreadable = error else { throw error }
        states[index] = .lost
      }
    }
    return target
  }

  /// What the blocks of a run hold, by the checksum table and the log.
  ///
  /// Checksum without a mask.
  package func blockStates(_ run: BlockRun) async throws(ArrayError) -> [BlockEntry] {
    var states: [BlockEntry] = []
    states.reserveCapacity(Int(run.blockCount))
    for block in run.firstBlock..<run.endBlock { states.append(try await blockState(block)) }
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
    guard mayHaveContent(run) else {
      return Array(repeating: .neverWritten, count: Int(run.blockCount))
    }
    var contents: [BlockContent] = []
    contents.reserveCapacity(Int(run.blockCount))
    var first = run.firstBlock
    while first < run.endBlock {
      let count = min(UInt64(Self.contentBlockCountMax), run.endBlock - first)
      let content = try await readContent(
        BlockRun(firstBlock: first, blockCount: count), salt: salt)
      contents += content.hashes
      giveBack(content)
      first += count
    }
    return contents
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

  // MARK: At a replica

  /// Writes copied blocks: whole rows go home without the log, the rest is logged.
  ///
  /// A crash amid a copy leaves a node that is inconsistent anyway, and `endCopy` makes all of it durable.
  /// Returns when the log has what did not go home, and the payload is in use until that is published.
  ///
  /// `isWanted`: asked when it is its turn; what a session leaves behind must not come late.
  ///
  /// - Precondition: nothing of these blocks is on its way to the log, and nobody logs any meanwhile.
  package func writeCopy(
    _ run: BlockRun, from payload: IOBuffer, isWanted: () -> Bool
  ) async throws(ArrayError) {
    let range = run.byteRange
    let hold = await reservations.reserve(range, isExclusive: true)
    defer { reservations.release(hold) }
    guard isWanted() else { return }
    try checkFollows(isTail: false)
    func part(_ part: BlockRun) -> IOBuffer {
      payload.slice(Int(part.firstBlock - run.firstBlock) * 4096, Int(part.blockCount) * 4096)
    }
    let most = keeper.directBlockCountMax
    guard most > 0, let middle = geometry.wholeRows(inside: range) else {
      return try await logCopy(run, part(run))
    }
    let requests = directRequests(middle, UInt64(most)) {
      part(BlockRun(firstBlock: $0.offsetBytes / 4096, blockCount: $0.byteCount / 4096))
    }
    for request in requests { keeper.requestDirectWrite(request) }
    let before = BlockRun(
      firstBlock: run.firstBlock, blockCount: middle.firstBlock - run.firstBlock)
    let behind = BlockRun(
      firstBlock: middle.endBlock, blockCount: run.endBlock - middle.endBlock)
    var failure = await logCopy(before, part(before), after: nil)
    failure = await logCopy(behind, part(behind), after: failure)
    // The payload is in use until each has ended, whatever became of the rest.
    for request in requests where await request.wait() == .refused {
      failure = await logCopy(request.run, part(request.run), after: failure)
    }
    if let failure { throw failure }
  }

  /// Logs a part of a copy, unless something went wrong before.
  ///
  /// - Returns: what went wrong first.
  private func logCopy(
    _ run: BlockRun, _ payload: IOBuffer, after failure: ArrayError?
  ) async -> ArrayError? {
    guard run.blockCount > 0, failure == nil else { return failure }
    do throws(ArrayError) {
      try await logCopy(run, payload)
      return nil
    } catch {
      return error
    }
  }

  private func logCopy(_ run: BlockRun, _ payload: IOBuffer) async throws(ArrayError) {
    var records: [StreamBatch.Record] = []
    var first = run.firstBlock
    while first < run.endBlock {
      let count = min(Self.atomicBytes / 4096, run.endBlock - first)
      records.append(
        StreamBatch.Record(
          isTrim: false, run: BlockRun(firstBlock: first, blockCount: count),
          payloadIndex: Int(first - run.firstBlock)))
      first += count
    }
    try await applyReplicated(records, payload: payload, isCopy: true, endNumber: 0)
  }
}

// Safe: everything that has one runs on the array's executor.
/// What a run of blocks holds: for a comparison, and to be sent where another node has something else.
package final class CopyContent: @unchecked Sendable {
  package let run: BlockRun
  /// With the checksum of each block, without a mask.
  package let states: [BlockEntry]
  /// The same, with a hash of its content.
  package let hashes: [BlockContent]
  let memory: OwnedBuffer

  init(run: BlockRun, states: [BlockEntry], memory: OwnedBuffer, salt: UInt64) {
    self.run = run
    self.states = states
    self.memory = memory
    let all = memory.buffer
    hashes = states.indices.map { index in
      switch states[index].state {
      case .neverWritten: .neverWritten
      case .lost: .lost
      case .written:
        .written(hash: ContentHash.hash(all.slice(index * 4096, 4096), salt: salt))
      }
    }
  }

  /// What some of them hold.
  package func payload(_ indices: Range<Int>) -> IOBuffer {
    let all = memory.buffer
    return all.slice(indices.lowerBound * 4096, indices.count * 4096)
  }
}

extension BlockRun {
  /// Its bytes on the device.
  fileprivate var byteRange: ByteRange {
    ByteRange(from: firstBlock * 4096, to: endBlock * 4096)
  }
}

/// A range that is kept for one user.
package struct RangeHold: Sendable {
  /// As `RangeReservations` named it.
  let reservation: Int

  init(_ reservation: Int) { self.reservation = reservation }
}
