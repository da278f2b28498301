import Geometry
import IO

// Where batches go, and whether there is room: rules L5 and L6.
extension WriteLog {
  // MARK: Placement

  /// Members that get batches: current ones, and one that is about to become current.
  var logSlots: SlotSet {
    members.currentSlots.union(joiningSlots.intersection(members.writableSlots))
  }

  /// How many copies a batch gets where members are interchangeable.
  private var copyCountWanted: Int {
    switch geometry.level {
    case .raid0: 1
    case .raid5, .raid6: geometry.parityCount + 1
    case .raid1, .raid10: geometry.memberCount
    }
  }

  /// The size of a batch with the most copies it may get.
  func byteCountBound(_ batch: PendingBatch) -> UInt64 {
    let header = batch.headerByteCount(
      copyCount: logSlots.count,
      previousRunCount: options.plants(.noSeal) ? 0 : lastRuns.count)
    return UInt64(header + batch.payloadBlockCount * 4096)
  }

  /// The members that get a batch of this size.
  ///
  /// Nil when it fits nowhere now.
  func placement(_ byteCount: UInt64) -> SlotSet? {
    let current = logSlots
    rotation &+= 1
    let slots: SlotSet? =
      switch geometry.level {
      case .raid10: pairPlacement(byteCount, current)
      default: emptiest(min(copyCountWanted, current.count), byteCount, current)
      }
    guard let slots, !slots.isEmpty else { return nil }
    return slots
  }

  /// So many members with the most free space, turn by turn where it is the same.
  private func emptiest(_ count: Int, _ byteCount: UInt64, _ current: SlotSet) -> SlotSet? {
    var chosen = SlotSet()
    while chosen.count < count {
      var best: Int?
      for step in 0..<geometry.memberCount {
        let slot = (rotation &+ step) % geometry.memberCount
        guard current.contains(slot), !chosen.contains(slot),
          rings[slot].place(byteCount) != nil
        else { continue }
        if let found = best, rings[found].freeByteCount >= rings[slot].freeByteCount { continue }
        best = slot
      }
      guard let best else { return nil }
      chosen.insert(best)
    }
    return chosen
  }

  /// The mirror pair with both members and the most free space; else half of one.
  ///
  /// The log of a pair is lost when the array is.
  private func pairPlacement(_ byteCount: UInt64, _ current: SlotSet) -> SlotSet? {
    let pairs = mirrorPairs
    var best: (slots: SlotSet, free: UInt64)?
    for step in pairs.indices {
      let slots = pairs[(rotation &+ step) % pairs.count].intersection(current)
      guard !slots.isEmpty, slots.allSatisfy({ rings[$0].place(byteCount) != nil }) else {
        continue
      }
      let free = slots.reduce(UInt64.max) { min($0, rings[$1].freeByteCount) }
      if let found = best {
        guard slots.count >= found.slots.count else { continue }
        guard slots.count > found.slots.count || free > found.free else { continue }
      }
      best = (slots, free)
    }
    return best?.slots
  }

  // MARK: Admission

  /// The members for a batch of client records, or a seal.
  ///
  /// Nil when it has to wait: the intents that its blocks and all earlier ones may need must fit
  /// behind it.
  func admissibleSlots(_ batch: PendingBatch) -> SlotSet? {
    let byteCount = byteCountBound(batch)
    if let slots = sealPlacement(byteCount), leavesReserve(batch, byteCount, slots) {
      return slots
    }
    guard let slots = placement(byteCount) else { return nil }
    return leavesReserve(batch, byteCount, slots) ? slots : nil
  }

  /// The members of the last batch, if that is a seal and all before it is durable.
  ///
  /// One round of fdatasync then covers both; elsewhere the next would go to twice as many members.
  /// Not for intents, whose reserve counts on the emptiest.
  private func sealPlacement(_ byteCount: UInt64) -> SlotSet? {
    guard horizon >= lastRecordSequence, lastSequence == horizon + 1 else { return nil }
    let slots = newestBatchSlots
    let current = logSlots
    let wanted = geometry.level == .raid10 ? 2 : min(copyCountWanted, current.count)
    guard slots.count == wanted, slots.isSubset(of: current),
      slots.allSatisfy({ rings[$0].place(byteCount) != nil })
    else { return nil }
    return slots
  }

  private func leavesReserve(
    _ batch: PendingBatch, _ byteCount: UInt64, _ slots: SlotSet
  ) -> Bool {
    guard limits.intentBytes > 0, !options.plants(.intentsUnreserved), !ledger.isEmpty else {
      return true
    }
    let blockCount =
      (publisher?.unsettledBlockCount ?? 0) + unpublishedBlockCount + batch.unsettledBlockCount
    return reserveRemains(limits.intentReserve(blockCount: blockCount), byteCount, slots)
  }

  /// Whether intents of `reserve` bytes find their copies when the batch is in its place, also
  /// after as many members have gone as may go.
  ///
  /// Copies of one batch are on different members, so a member counts for no more than the reserve
  /// itself; then the sum decides.
  private func reserveRemains(_ reserve: UInt64, _ byteCount: UInt64, _ slots: SlotSet) -> Bool {
    let current = logSlots
    let spareCount = max(0, geometry.redundancy - (geometry.memberCount - current.count))
    let wanted = UInt64(min(current.count, copyCountWanted + spareCount)) * reserve
    var found: UInt64 = 0
    for slot in current {
      let free = rings[slot].freeByteCount(
        afterPlacing: slots.contains(slot) ? byteCount : 0)
      found += min(reserve, free > limits.reserveSlack ? free - limits.reserveSlack : 0)
    }
    return found >= wanted
  }

  // MARK: Ledger

  /// Holds the checkpoint before a batch, until as many unpins.
  package func pin(_ sequence: UInt64) { ledger.pin(sequence) }

  /// Takes one pin back.
  package func unpin(_ sequence: UInt64) {
    ledger.unpin(sequence)
    // What is settled needs no reserve any more.
    if recordsAreBlocked { retryBlocked() }
  }

  /// How far the checkpoint may go now: to the batch before the first that is pinned, and not
  /// beyond the horizon.
  package var checkpointCandidate: UInt64 {
    limitPins()
    let candidate = ledger.candidate(limit: min(writtenSequence, horizon))
    // It may be under way to the superblocks from now on: no pin can hold it any more.
    unpinnableSequence = max(unpinnableSequence, candidate)
    if options.plants(.reuseBeforeCheckpoint) {
      for slot in rings.indices { rings[slot].release(through: candidate) }
    }
    return candidate
  }

  /// The last checkpoint that is durable.
  package var checkpointSequence: UInt64 { ledger.checkpoint.sequence }

  /// What a superblock says of a checkpoint: the current one, or any up to the candidate.
  package func checkpointFields(at sequence: UInt64) -> CheckpointFields {
    ledger.fields(at: sequence, horizon: horizon)
  }

  /// Where a member's first batch behind a checkpoint begins, or will.
  package func tailOffset(_ slot: Int, checkpoint sequence: UInt64) -> UInt64 {
    rings[slot].tailOffset(behind: sequence)
  }

  /// The superblocks of all current members have the checkpoint, durably: its space is free.
  package func checkpointWritten(_ sequence: UInt64) {
    ledger.advance(to: sequence)
    for slot in rings.indices { rings[slot].release(through: sequence) }
    retryBlocked()
  }

  // MARK: Space

  /// How full the fullest current member's log is, from 0 to 1.
  package var fillFraction: Double {
    let used = logSlots.reduce(UInt64(0)) { max($0, rings[$1].usedByteCount) }
    return Double(used) / Double(limits.regionBytes)
  }

  /// A member that is being brought up to date gets batches from now on, in an empty log.
  ///
  /// It has a say when the checkpoint has passed the last batch before (rule T4).
  ///
  /// - Returns: that batch.
  package func join(_ slot: Int) -> UInt64 {
    rings[slot] = MemberRing(byteCount: limits.regionBytes)
    joiningSlots.insert(slot)
    // It has a say when the checkpoint has passed: that is not kept waiting by a replica.
    giveUpPins()
    return lastSequence
  }

  /// The member is current, or has left again.
  package func endJoining(_ slot: Int) { joiningSlots.remove(slot) }
}
