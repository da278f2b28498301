import DiskFormat
import RAID

// Safe: everything that has one runs on the executor of its array.
/// A comparison of all that a replica has with all that its primary has, and what came of it.
final class Verification: @unchecked Sendable {
  private(set) var status: VerificationStatus
  private var rate = WorkRate()
  /// Where the next unit begins.
  var nextBlock: UInt64 = 0
  /// Each difference is told as an event while there are few.
  private static let toldCountMax = 16
  private var toldCount = 0

  init(of nodeID: Identifier, blockCount: UInt64, unixSeconds: UInt64) {
    status = VerificationStatus(
      nodeID: nodeID, blockCount: blockCount, startedUnixSeconds: unixSeconds)
  }

  var isRunning: Bool { status.state == .running }
  var isThrough: Bool { status.doneBlockCount == status.blockCount }

  /// So many more blocks are compared; of these so many were written, on one side at least.
  func noteDone(_ blockCount: UInt64, written: UInt64, now: UInt64) {
    status.doneBlockCount += blockCount
    status.writtenBlockCount += written
    rate.note(status.doneBlockCount * 4096, at: now)
    let left = (status.blockCount - status.doneBlockCount) * 4096
    status.bytesPerSecond = rate.bytesPerSecond
    status.secondsLeft = rate.secondsLeft(forBytes: left)
  }

  /// - Returns: whether it is told as an event of its own.
  func note(_ outcome: VerificationStatus.Outcome, _ run: BlockRun) -> Bool {
    switch outcome {
    case .mendedHere: status.mendedHereCount += run.blockCount
    case .mendedThere: status.mendedThereCount += run.blockCount
    case .unreadable: status.unreadableCount += run.blockCount
    case .fork: status.forkCount += run.blockCount
    }
    if status.findings.count < VerificationStatus.findingCountMax {
      status.findings.append(VerificationStatus.Finding(outcome: outcome, run: run))
    }
    toldCount += 1
    return toldCount <= Self.toldCountMax
  }

  func end(_ state: VerificationStatus.State, _ words: String, unixSeconds: UInt64) {
    guard isRunning else { return }
    status.state = state
    status.words = words
    status.endedUnixSeconds = unixSeconds
    status.secondsLeft = nil
  }
}
