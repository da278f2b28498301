import DiskFormat
import Geometry
import IO

// What recovery serves is durable before it is served (rule L3).
extension RecoveredLog {
  /// Batches that are read and written together.
  private struct Chunk {
    var batches: [(sequence: UInt64, offset: Int, slots: SlotSet)] = []
    var byteCount = 0
  }

  private static var chunkBytes: Int { 4 << 20 }
  private static var chunkBatchCountMax: Int { 64 }

  /// Makes everything that was found durable: writes what is above the horizon again, the same
  /// bytes to the same places, and every damaged copy, then syncs all current members.
  ///
  /// Only after it may the next epoch begin. It may be repeated, and a crash changes nothing: the
  /// damaged copies are durable before a good one is touched.
  package func rewrite() async throws(ArrayError) {
    guard !options.plants(.recoveryServesBeforeDurable) else {
      noteDurable()
      return
    }
    let known = horizon
    if try await rewriteCopies({ $0.badSlots }) { try await synchronize() }
    _ = try await rewriteCopies { $0.sequence > known ? $0.goodSlots : SlotSet() }
    try await synchronize()
    noteDurable()
  }

  /// - Returns: whether anything was written.
  private func rewriteCopies(
    _ chosen: (RecoveredBatch) -> SlotSet
  ) async throws(ArrayError) -> Bool {
    var hasWritten = false
    var memory: OwnedBuffer?
    var chunk = Chunk()
    for index in 0..<batchCount {
      let found = batch(at: index)
      let slots = chosen(found).intersection(members.currentSlots)
      guard !slots.isEmpty else { continue }
      let size = found.batch.byteCount
      if chunk.byteCount + size > Self.chunkBytes
        || chunk.batches.count == Self.chunkBatchCountMax
      {
        try await copy(chunk, &memory)
        chunk = Chunk()
      }
      chunk.batches.append((found.sequence, chunk.byteCount, slots))
      chunk.byteCount += size
      hasWritten = true
    }
    if !chunk.batches.isEmpty { try await copy(chunk, &memory) }
    return hasWritten
  }

  private func copy(_ chunk: Chunk, _ memory: inout OwnedBuffer?) async throws(ArrayError) {
    let size = max(chunk.byteCount, Self.chunkBytes)
    if memory.map({ !$0.isIdle || $0.buffer.byteCount < size }) ?? true {
      memory = OwnedBuffer(byteCount: size)
    }
    guard let memory else { throw .outOfMemory }
    try await load(chunk, memory)
    let group = members.makeGroup()
    for entry in chunk.batches {
      guard let found = batch(entry.sequence) else { continue }
      let buffer = memory.buffer
      for slot in entry.slots {
        guard let offset = found.offset(slot) else { continue }
        members.write(
          slot, atBytes: layout.logOffset + offset,
          from: buffer.slice(entry.offset, found.batch.byteCount), keeping: memory, group)
      }
    }
    await group.wait()
    let failures = group.failures
    members.release(group)
    var failed = SlotSet()
    for failure in failures where !failed.contains(failure.slot) {
      failed.insert(failure.slot)
      try await membership.expel(failure, ExpulsionReason(ofWrite: failure.error))
    }
    for entry in chunk.batches {
      note(entry.sequence, goodSlots: entry.slots.subtracting(failed))
    }
  }

  /// Reads the batches of a chunk again, each from a good copy.
  private func load(_ chunk: Chunk, _ memory: OwnedBuffer) async throws(ArrayError) {
    var missing = chunk.batches
    var triedSlots = [UInt64: SlotSet]()
    // A read that fails once may succeed the next time: it did before.
    var triesLeft = 8
    while !missing.isEmpty {
      let group = members.makeGroup()
      for (index, entry) in missing.enumerated() {
        guard let found = batch(entry.sequence) else { continue }
        let good = found.goodSlots.intersection(members.currentSlots)
        var left = good.subtracting(triedSlots[entry.sequence] ?? SlotSet())
        if left.isEmpty, triesLeft > 0 {
          triesLeft -= 1
          triedSlots[entry.sequence] = nil
          left = good
        }
        guard let slot = left.first(where: { _ in true }), let offset = found.offset(slot) else {
          await group.wait()
          members.release(group)
          hasLostBatch = true
          throw .stopped("log batch \(entry.sequence) was readable before, and is not any more")
        }
        triedSlots[entry.sequence, default: SlotSet()].insert(slot)
        let buffer = memory.buffer
        members.read(
          slot, atBytes: layout.logOffset + offset,
          into: buffer.slice(entry.offset, found.batch.byteCount), keeping: memory, group,
          tag: index)
      }
      await group.wait()
      let failedTags = Set(group.failures.map(\.tag))
      members.release(group)
      missing = missing.enumerated().filter { index, entry in
        failedTags.contains(index) || !isIntact(entry.sequence, memory, entry.offset)
      }.map(\.element)
    }
  }

  private func isIntact(_ sequence: UInt64, _ memory: OwnedBuffer, _ offset: Int) -> Bool {
    guard let expected = batch(sequence)?.batch else { return false }
    let buffer = memory.buffer
    do throws(FormatError) {
      let header = try LogBatch.decode(
        buffer.slice(offset, expected.headerByteCount), arrayID: expected.header.arrayID)
      let payload = buffer.slice(
        offset + expected.headerByteCount, expected.payloadBlockCount * 4096)
      return header.chain == expected.chain
        && (options.plants(.tornBatchAccepted) || expected.isPayloadIntact(payload))
    } catch {
      return false
    }
  }

  private func synchronize() async throws(ArrayError) {
    let group = members.makeGroup()
    for slot in members.currentSlots { members.synchronize(slot, group) }
    await group.wait()
    let failures = group.failures
    members.release(group)
    for failure in failures {
      try await membership.expel(failure, ExpulsionReason(ofSynchronize: failure.error))
    }
  }
}
