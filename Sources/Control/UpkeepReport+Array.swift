package import DiskFormat
import RAID
import Units

extension UpkeepReport {
  /// Sums up what the engine says.
  init(_ status: ArrayStatus) {
    reserves = status.reserves.map { ArrayReserveReport($0) }
    rebuild = status.rebuild.map { ArrayRebuildReport($0) }
    isRebuildPaused = status.rebuildIsPaused
    isResyncHeld = status.resyncIsHeld
    scrub = status.scrub.map { ArrayScrubReport($0) }
    scrubHistory = status.scrubHistory.map { ScrubRecordReport($0) }
    latencyBudget = LatencyBudgetReport(
      askedNanoseconds: status.latencyBudget.askedNanoseconds,
      achievedP99Nanoseconds: status.latencyBudget.achievedP99Nanoseconds,
      upkeepPercent: UInt64(clamping: status.latencyBudget.upkeepPercent))
  }
}

extension ArrayReserveReport {
  fileprivate init(_ status: ReserveStatus) {
    seat = UInt64(clamping: status.seat)
    memberID = status.member.memberID.description
    place = status.member.place
    targetSlot = status.targetSlot.map { UInt64(clamping: $0) }
    cause = status.member.cause
    readBytes = status.member.readBytes
    writeBytes = status.member.writeBytes
    errorCount = status.member.errorCount
  }
}

extension ArrayRebuildReport {
  fileprivate init(_ status: RebuildStatus) {
    pass = PassReport(
      donePages: status.donePages, pages: status.pages, doneBytes: status.doneBytes,
      byteCount: status.bytes, bytesPerSecond: status.bytesPerSecond,
      secondsLeftMin: status.secondsLeft?.lowerBound,
      secondsLeftMax: status.secondsLeft?.upperBound, isPaused: status.isPaused)
    slots = status.slots.map { UInt64(clamping: $0) }
    seats = status.seats.map { UInt64(clamping: $0) }
    isJoining = status.isJoining
    unreadableBlockCount = status.namedBlockCount
    unreadableRanges = status.namedRuns.map { ArrayRangeReport($0) }
  }
}

extension ArrayScrubReport {
  fileprivate init(_ status: ScrubStatus) {
    kind = status.kind.rawValue
    pass = PassReport(
      donePages: status.donePages, pages: status.pages, doneBytes: status.doneBytes,
      byteCount: status.bytes, bytesPerSecond: status.bytesPerSecond,
      secondsLeftMin: status.secondsLeft?.lowerBound,
      secondsLeftMax: status.secondsLeft?.upperBound, isPaused: status.isPaused)
    counts = ScrubCountsReport(status.counts)
    findings = status.ranges.map { found in
      ScrubFindingReport(
        range: ArrayRangeReport(
          offsetBytes: found.range.offsetBytes, byteCount: found.range.byteCount),
        slot: found.slot.map { UInt64(clamping: $0) }, trouble: found.trouble.rawValue,
        outcome: found.outcome.rawValue)
    }
  }
}

extension ScrubCountsReport {
  fileprivate init(_ counts: ScrubCounts) {
    self.init()
    checksum = counts.checksum
    unreadable = counts.unreadable
    parity = counts.parity
    mirror = counts.mirror
    table = counts.table
    lost = counts.lost
    repaired = counts.repaired
    notRepaired = counts.notRepaired
    beyondRepair = counts.beyondRepair
  }
}

extension ScrubRecordReport {
  fileprivate init(_ record: ScrubRecord) {
    self.init(
      kind: record.kind.rawValue, ending: record.ending.rawValue,
      beganUnixSeconds: record.beganSeconds, endedUnixSeconds: record.endedSeconds,
      byteCount: record.doneBytes, counts: ScrubCountsReport(record.counts))
  }
}

extension ArrayRangeReport {
  /// Blocks as bytes.
  package init(_ run: BlockRun) {
    self.init(offsetBytes: run.firstBlock * 4096, byteCount: run.blockCount * 4096)
  }
}
