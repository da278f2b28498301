import DiskFormat
import Geometry
import IO
import Volumes

extension ArrayEngine {
  /// How the array is now; waits for nothing.
  package var status: ArrayStatus {
    parts.events.tellUntold(isLast: false)
    let lost = membership.lostSlots
    // Without writes it protects nothing more.
    let left = isStopped ? nil : geometry.redundancyLeft(without: lost)
    let lostRuns = parts.lostRuns
    var status = ArrayStatus(
      arrayID: parts.arrayID, level: geometry.level,
      chunkBytes: geometry.chunkBlockCount * StripeGeometry.blockBytes,
      state: state(left, without: lost, hasLost: !lostRuns.isEmpty || parts.lostBlocks.hasMore),
      members: (0..<geometry.memberCount).map(memberStatus), redundancyLeft: left,
      eventCount: membership.configuration.eventCount,
      configurationID: membership.configuration.configurationID,
      lostBlockCount: lostRuns.reduce(0) { $0 + $1.blockCount },
      hasMoreLost: parts.lostBlocks.hasMore,
      lostRuns: Array(lostRuns.prefix(ArrayStatus.lostRunCountMax)))
    status.reserves = membership.reserves.map { reserve in
      ReserveStatus(
        seat: reserve.seat, targetSlot: reserve.targetSlot, member: memberStatus(reserve.seat))
    }
    switch health {
    case .optimal: break
    case .impaired(cause: let cause, action: let action),
      .failed(cause: let cause, action: let action):
      (status.cause, status.action) = (cause, action)
    }
    status.logPolicy = parts.logPolicy
    status.logBytes = parts.layout.logByteCount
    if let log = parts.openLog {
      // A fraction of what the ring can take; nothing here is worth more digits.
      status.logFillBytes = UInt64(
        max(0, min(1, log.fillFraction)) * Double(parts.layout.logByteCount))
      status.checkpointSequence = log.checkpointSequence
      status.lastSequence = log.writtenSequence
      status.horizon = log.horizon
    }
    status.dirtyBytes = UInt64(clamping: parts.payloads.byteCountInUse)
    status.dirtyBytesMax = UInt64(clamping: options.dirtyBytesMax)
    status.recovery = recovery
    status.replication = replicationStatus
    status.rebuild = keeper.rebuildStatus
    status.rebuildIsPaused = keeper.resync.isPaused
    status.resyncIsHeld = !resyncsAutomatically
    status.scrub = keeper.scrub.status
    status.scrubHistory = keeper.scrub.history
    status.latencyBudget = keeper.governor.status(machine.nowNanoseconds)
    status.healedBlockCount = parts.events.healedBlockCount
    status.events = parts.events.recent.map {
      ArrayEvent(
        atNanoseconds: $0.atNanoseconds, text: $0.text, offsetBytes: $0.block.map { $0 * 4096 },
        byteCount: $0.block.map { _ in 4096 })
    }
    return status
  }

  private func state(
    _ redundancyLeft: Int?, without lost: SlotSet, hasLost: Bool
  ) -> ArrayStatus.State {
    if !isOpen { return .stopped }
    if redundancyLeft == nil { return .failed }
    if hasLost { return .damaged }
    if keeper.rebuildStatus != nil { return .resyncing }
    return lost.isEmpty ? .optimal : .degraded
  }

  private func memberStatus(_ slot: Int) -> MemberStatus {
    let member = parts.members[slot]
    let counters = member.counters
    var status = MemberStatus(
      slot: slot, memberID: member.memberID, place: member.name, state: memberState(member))
    if status.state != .current, slot < geometry.memberCount || status.state != .syncing {
      status.cause = member.whyOut
    }
    status.isFailed = member.isFailed && slot < geometry.memberCount
    status.readCount = counters.readCount
    status.readBytes = counters.readBytes
    status.writeCount = counters.writeCount
    status.writeBytes = counters.writtenBytes
    status.flushCount = counters.synchronizeCount
    status.errorCount =
      counters.readErrors + counters.writeErrors + counters.synchronizeErrors + counters.timeouts
    status.checksumErrorCount = counters.checksumErrors
    status.healedCount = counters.healedBlocks
    if let rebuild = keeper.rebuildStatus, rebuild.seats.contains(slot) {
      status.resyncPages = rebuild.pages
      status.resyncPagesLeft = rebuild.pages - rebuild.donePages
    }
    if let start = member.oldestStartNanoseconds {
      status.oldestOperationNanoseconds =
        machine.nowNanoseconds - min(machine.nowNanoseconds, start)
    }
    return status
  }

  private func memberState(_ member: Member<M, D>) -> MemberStatus.State {
    guard member.disk != nil else { return .missing }
    return switch member.state {
    case .current: .current
    case .syncing: .syncing
    case .out, .failed: .out
    case nil: .missing
    }
  }
}
