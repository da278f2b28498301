package import RAID
import DiskFormat
import Geometry

/// An array's status in the form in which it travels: plain values and text.
///
/// The keys of its JSON are a contract: docs/control.md.
package struct ArrayReport: Equatable, Sendable {
  package var arrayID: String
  /// `raid5`, and so on.
  package var level: String
  package var chunkBytes: UInt64
  package var state: ArrayStatus.State
  package var members: [ArrayMemberReport]
  /// How many further members may be lost, whichever they are; nil when it cannot serve now.
  package var redundancyLeft: UInt64?
  package var eventCount: UInt64
  package var configurationID: String
  /// `auto` or `full`.
  package var logPolicy: String
  package var logFillBytes: UInt64
  package var logBytes: UInt64
  package var dirtyBytes: UInt64
  package var dirtyBytesMax: UInt64
  package var checkpointSequence: UInt64
  package var lastSequence: UInt64
  package var horizon: UInt64
  package var recovery: ArrayRecoveryReport
  package var healedBlockCount: UInt64
  package var lostBlockCount: UInt64
  /// More were met than can be remembered.
  package var hasMoreLost: Bool
  /// Where the first of them are, in order.
  package var lostRanges: [ArrayRangeReport]
  /// Oldest first.
  package var events: [ArrayEventReport]
  package var upkeep = UpkeepReport()
  /// Nil for an array that is alone.
  package var replication: ReplicationReport?
}

/// What an array's start found in the log, and how long it took.
package struct ArrayRecoveryReport: Equatable, Sendable {
  /// The array was stopped in good order before.
  package var wasClean: Bool
  package var batchCount: UInt64
  package var recordCount: UInt64
  package var settledRowCount: UInt64
  package var logBytes: UInt64
  package var nanoseconds: UInt64
  package var readNanoseconds: UInt64
  package var rewriteNanoseconds: UInt64
  package var settleNanoseconds: UInt64
}

/// One slot of an array, and the member in it.
package struct ArrayMemberReport: Equatable, Sendable {
  package var slot: UInt64
  package var memberID: String
  package var place: String
  package var state: MemberStatus.State
  /// An operator put it out: it is taken again by command only.
  package var isFailed: Bool
  package var cause: String
  package var readCount: UInt64
  package var readBytes: UInt64
  package var writeCount: UInt64
  package var writeBytes: UInt64
  package var flushCount: UInt64
  package var errorCount: UInt64
  package var checksumErrorCount: UInt64
  package var healedCount: UInt64
  package var resyncPagesLeft: UInt64
  package var resyncPages: UInt64
  package var oldestOperationNanoseconds: UInt64
}

/// Bytes of an array that lie together.
package struct ArrayRangeReport: Equatable, Sendable {
  package var offsetBytes: UInt64
  package var byteCount: UInt64
}

/// Something that happened to an array.
package struct ArrayEventReport: Equatable, Sendable {
  /// Before the status was taken.
  package var ageNanoseconds: UInt64
  /// By the host's calendar, which may have been set meanwhile.
  package var unixSeconds: UInt64
  package var text: String
  package var offsetBytes: UInt64?
  package var byteCount: UInt64?
}

extension ArrayReport {
  /// Sums a status up.
  ///
  /// - Parameters:
  ///   - status: as the engine gave it.
  ///   - nowNanoseconds: on the clock of its events.
  ///   - nowUnixSeconds: the calendar's time at the same instant.
  package init(_ status: ArrayStatus, nowNanoseconds: UInt64, nowUnixSeconds: UInt64) {
    arrayID = status.arrayID.description
    level = status.level.name
    chunkBytes = status.chunkBytes
    state = status.state
    members = status.members.map { ArrayMemberReport($0) }
    redundancyLeft = status.redundancyLeft.map { UInt64(clamping: $0) }
    eventCount = status.eventCount
    configurationID = status.configurationID.description
    logPolicy = status.logPolicy.name
    logFillBytes = status.logFillBytes
    logBytes = status.logBytes
    dirtyBytes = status.dirtyBytes
    dirtyBytesMax = status.dirtyBytesMax
    checkpointSequence = status.checkpointSequence
    lastSequence = status.lastSequence
    horizon = status.horizon
    recovery = ArrayRecoveryReport(status.recovery)
    healedBlockCount = status.healedBlockCount
    lostBlockCount = status.lostBlockCount
    hasMoreLost = status.hasMoreLost
    lostRanges = status.lostRuns.map { ArrayRangeReport($0) }
    upkeep = UpkeepReport(status)
    replication = status.replication.map { ReplicationReport($0) }
    events = status.events.suffix(ArrayStatus.eventCountMax).map { event in
      let age = nowNanoseconds - min(nowNanoseconds, event.atNanoseconds)
      return ArrayEventReport(
        ageNanoseconds: age,
        unixSeconds: nowUnixSeconds - min(nowUnixSeconds, age / 1_000_000_000), text: event.text,
        offsetBytes: event.offsetBytes, byteCount: event.byteCount)
    }
  }
}

extension ArrayRecoveryReport {
  init(_ recovery: RecoveryReport) {
    wasClean = recovery.wasClean
    batchCount = UInt64(clamping: recovery.batchCount)
    recordCount = UInt64(clamping: recovery.recordCount)
    settledRowCount = UInt64(clamping: recovery.settledRowCount)
    logBytes = recovery.logBytes
    nanoseconds = recovery.nanoseconds
    readNanoseconds = recovery.readNanoseconds
    rewriteNanoseconds = recovery.rewriteNanoseconds
    settleNanoseconds = recovery.settleNanoseconds
  }
}

extension ArrayMemberReport {
  init(_ member: MemberStatus) {
    slot = UInt64(clamping: member.slot)
    memberID = member.memberID.description
    place = member.place
    state = member.state
    isFailed = member.isFailed
    cause = member.cause
    readCount = member.readCount
    readBytes = member.readBytes
    writeCount = member.writeCount
    writeBytes = member.writeBytes
    flushCount = member.flushCount
    errorCount = member.errorCount
    checksumErrorCount = member.checksumErrorCount
    healedCount = member.healedCount
    resyncPagesLeft = member.resyncPagesLeft
    resyncPages = member.resyncPages
    oldestOperationNanoseconds = member.oldestOperationNanoseconds
  }
}

extension StatusReport {
  /// Adds what the array says of itself.
  ///
  /// The worse of its state and of the volume's health counts, so that neither hides the other; of
  /// equals the volume's words stay.
  mutating func add(_ status: ArrayStatus, nowNanoseconds: UInt64, nowUnixSeconds: UInt64) {
    let ofArray: State =
      switch status.state {
      case .optimal: .optimal
      case .degraded, .resyncing, .damaged: .impaired
      case .failed, .stopped: .failed
      }
    if ofArray.severity > state.severity {
      state = ofArray
      cause = status.cause
      action = status.action
    }
    array = ArrayReport(
      status, nowNanoseconds: nowNanoseconds, nowUnixSeconds: nowUnixSeconds)
  }

  /// The state in the most telling word: the array's own, unless the device is worse off than it.
  package var stateWord: String {
    guard let array else { return state.rawValue }
    let isWorse = state == .failed && array.state != .failed && array.state != .stopped
    let isImpaired = state == .impaired && array.state == .optimal
    return isWorse || isImpaired ? state.rawValue : array.state.rawValue
  }
}

extension StatusReport.State {
  fileprivate var severity: Int {
    switch self {
    case .optimal: 0
    case .impaired: 1
    case .failed: 2
    }
  }
}
