package import DiskFormat
package import Geometry
package import IO
import Parity

/// A batch that recovery found.
package struct RecoveredBatch: Sendable {
  package var batch: LogBatch
  /// The current members with a good copy, and those whose copy is missing or damaged.
  package var goodSlots: SlotSet
  package var badSlots: SlotSet

  package var sequence: UInt64 { batch.header.sequence }

  func offset(_ slot: Int) -> UInt64? {
    batch.header.copies.first { $0.slot == slot }?.offsetBytes
  }
}

/// What the log held when it was opened: the batches behind the checkpoint, payload on request.
package final class RecoveredLog<M: Machine, D: Disk> {
  let members: MemberSet<M, D>
  let membership: any MembershipKeeper
  let layout: MemberLayout
  let options: ArrayOptions
  private let start: LogStart

  private var list = LogQueue<RecoveredBatch>()
  /// The last batch, and what it left: also when it has been forgotten.
  package private(set) var endSequence: UInt64
  package private(set) var endChain: UInt32
  /// Where client records end.
  package private(set) var position: StreamPosition
  /// The same behind each batch of the list.
  private var positions = LogQueue<StreamPosition>()
  /// The highest horizon that a batch told.
  private(set) var toldHorizon: UInt64
  /// The highest batch known to be durable together with all before it.
  package private(set) var horizon: UInt64
  private(set) var lastRuns: [BlockRun] = []
  /// Where each member's next batch goes, if it fits there.
  var heads: [(slot: Int, offset: UInt64)] = []
  /// A batch that was read cannot be read again: the log has to be read anew, and may end earlier.
  var hasLostBatch = false
  /// A header behind the end whose payload is not there.
  var unreadable: LogBatch?
  private let payloadBuffers = OwnedBufferPool(byteCount: 4096, idleCountMax: 64)

  init(
    members: MemberSet<M, D>, membership: any MembershipKeeper, layout: MemberLayout,
    options: ArrayOptions, start: LogStart
  ) {
    self.members = members
    self.membership = membership
    self.layout = layout
    self.options = options
    self.start = start
    endSequence = start.checkpointSequence
    endChain = start.checkpointChain
    position = start.checkpointPosition
    toldHorizon = start.horizon
    horizon = min(start.horizon, start.checkpointSequence)
  }

  /// The log of an array that has just been created, or that was closed in good order.
  package convenience init(
    empty start: LogStart, members: MemberSet<M, D>, membership: any MembershipKeeper,
    layout: MemberLayout, options: ArrayOptions
  ) {
    self.init(
      members: members, membership: membership, layout: layout, options: options, start: start)
    horizon = endSequence
    heads = start.members.map { ($0.slot, $0.tailOffset) }
  }

  func add(_ found: RecoveredBatch) {
    precondition(found.sequence == endSequence + 1)
    list.append(found)
    unreadable = nil
    endSequence = found.sequence
    endChain = found.batch.chain
    position = found.batch.position(after: position)
    positions.append(position)
    toldHorizon = max(toldHorizon, found.batch.header.horizon)
    horizon = min(toldHorizon, endSequence)
  }

  // MARK: What was found

  package var batchCount: Int { list.count }
  /// The batch at an index: in order of their numbers, without a gap.
  package func batch(at index: Int) -> RecoveredBatch { list[index] }

  /// A batch by its number; nil when it lies before the checkpoint or behind the end.
  package func batch(_ sequence: UInt64) -> RecoveredBatch? {
    guard let first = list.first?.sequence, sequence >= first, sequence <= endSequence,
      sequence - first < UInt64(list.count)
    else { return nil }
    return list[Int(sequence - first)]
  }

  /// Forgets the batches up to a checkpoint.
  package func forget(through sequence: UInt64) {
    while let first = list.first, first.sequence <= sequence {
      list.removeFirst()
      positions.removeFirst()
    }
  }

  func note(_ sequence: UInt64, goodSlots: SlotSet) {
    guard let first = list.first?.sequence, sequence >= first else { return }
    let index = Int(sequence - first)
    list[index].badSlots = list[index].badSlots.subtracting(goodSlots)
    list[index].goodSlots = list[index].goodSlots.union(goodSlots)
  }

  func noteDurable() { horizon = endSequence }

  // MARK: For the log that goes on

  func makeLedger() -> LogLedger {
    var ledger = LogLedger(
      checkpoint: CheckpointFields(
        sequence: start.checkpointSequence, chain: start.checkpointChain,
        position: start.checkpointPosition, horizon: horizon))
    for index in 0..<list.count {
      let found = list[index].batch
      ledger.append(
        LogLedger.Entry(
          chain: found.chain, position: positions[index], pinCount: 0))
    }
    return ledger
  }

  func makeRings(memberCount: Int) -> [MemberRing] {
    var rings = (0..<memberCount).map { _ in MemberRing(byteCount: layout.logByteCount) }
    var slots = SlotSet()
    for (slot, offset) in heads {
      rings[slot] = MemberRing(byteCount: layout.logByteCount, head: offset)
      slots.insert(slot)
    }
    for index in 0..<list.count {
      let found = list[index]
      for copy in found.batch.header.copies where slots.contains(copy.slot) {
        rings[copy.slot].append(
          MemberRing.Segment(
            sequence: found.sequence, offsetBytes: copy.offsetBytes,
            byteCount: UInt64(found.batch.byteCount)))
      }
    }
    return rings
  }

  // MARK: Payload

  /// Reads one block of a record's payload, verified, from whichever copy is good.
  ///
  /// - Parameters:
  ///   - sequence: the batch.
  ///   - payloadIndex: the block's place in the batch's payload.
  ///   - checksum: the checksum that the record says.
  ///   - block: the array's block, for the error.
  ///   - buffer: 4096 bytes.
  /// - Throws: `unreadable` when no copy is good.
  package func readPayload(
    ofBatch sequence: UInt64, at payloadIndex: Int, checksum: UInt32, block: UInt64,
    into buffer: IOBuffer
  ) async throws(ArrayError) {
    guard let found = batch(sequence), payloadIndex < found.batch.payloadBlockCount else {
      throw .unreadable(block: block)
    }
    let shift = UInt64(found.batch.headerByteCount + payloadIndex * 4096)
    // Also copies that were bad when the log was read: another block may have been the reason.
    for slots in [found.goodSlots, found.badSlots] {
      for slot in slots.intersection(members.currentSlots) {
        guard let offset = found.offset(slot) else { continue }
        guard let memory = payloadBuffers.take() else { throw .outOfMemory }
        defer { payloadBuffers.give(memory) }
        let group = members.makeGroup()
        members.read(
          slot, atBytes: layout.logOffset + offset + shift, into: memory.buffer, keeping: memory,
          group)
        await group.wait()
        let isRead = group.failures.isEmpty
        members.release(group)
        let bytes = memory.buffer
        if isRead, BlockChecksum.of(bytes.bytes) == checksum {
          buffer.copy(from: bytes)
          return
        }
        if isRead { members[slot].counters.checksumErrors += 1 }
      }
    }
    throw .unreadable(block: block)
  }
}

extension LogBatch {
  /// Where client records end behind this batch, when they ended at `position` before it.
  ///
  /// Numbers are those of the records; the chain is computed from them.
  func position(after position: StreamPosition) -> StreamPosition {
    var position = position
    for record in records {
      switch record {
      case .write(let run, let number, _, let checksums) where number != 0:
        position.chain = RecordChain.after(position.chain, write: run, number: number) {
          checksums[$0]
        }
        position.number = number
      case .trim(let run, let number) where number != 0:
        position.chain = RecordChain.after(position.chain, trim: run, number: number)
        position.number = number
      case .position(let given): position = given
      case .write, .trim, .intent, .direct: break
      }
    }
    position.number = header.clientSequence
    return position
  }
}
