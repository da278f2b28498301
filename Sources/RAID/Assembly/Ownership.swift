package import DiskFormat

/// Whether another process serves an array (rule T7).
///
/// Two hosts can reach the same NBD member, so no lock tells. A process that serves draws a nonce,
/// keeps it in the superblocks, and raises their heartbeat at least once in
/// `heartbeatNanosecondsMax`. Whoever wants to start reads the superblocks, waits
/// `watchNanoseconds` if `mustWatch` says so, reads them again and asks `judge`. Members that are
/// local files locked by the asker need none of this: leave them out.
package enum Ownership {
  /// The longest time between two heartbeats of a process that serves.
  package static let heartbeatNanosecondsMax: UInt64 = 2_000_000_000
  /// How long to wait between the two readings: one heartbeat may be late.
  package static let watchNanoseconds: UInt64 = 3 * heartbeatNanosecondsMax

  /// What two readings show.
  package enum Verdict: Equatable, Sendable {
    /// Nobody has it.
    case free
    /// Somebody had it and gives no sign of life: the start may go on, with these warnings.
    case abandoned(warnings: [String])
    /// Somebody is writing to it.
    case inUse(Use)
  }

  /// Evidence that somebody else is writing.
  package struct Use: Error, Equatable, Sendable {
    package var member: MemberIdentity
    package var nonce: Identifier
    package var heartbeatBefore: UInt64
    package var heartbeatAfter: UInt64

    package init(
      member: MemberIdentity, nonce: Identifier, heartbeatBefore: UInt64, heartbeatAfter: UInt64
    ) {
      self.member = member
      self.nonce = nonce
      self.heartbeatBefore = heartbeatBefore
      self.heartbeatAfter = heartbeatAfter
    }
  }

  /// Whether some member says that a process has it: then a second reading is needed.
  package static func mustWatch(_ reports: [MemberReport]) -> Bool {
    reports.contains { report in report.newest.map { $0.ownerNonce != .none } ?? false }
  }

  /// Compares two readings of the same members, `watchNanoseconds` apart.
  ///
  /// - Parameters:
  ///   - before: the first reading.
  ///   - after: the second, of the same members in the same order.
  package static func judge(before: [MemberReport], after: [MemberReport]) -> Verdict {
    precondition(before.count == after.count)
    var owned: [MemberIdentity: Identifier] = [:]
    for (first, second) in zip(before, after) {
      precondition(first.name == second.name)
      guard let new = second.newest else { continue }
      let member = MemberIdentity(path: second.name, new)
      if let old = first.newest, hasMoved(old, new) {
        let nonce = new.ownerNonce == .none ? old.ownerNonce : new.ownerNonce
        return .inUse(
          Use(
            member: member, nonce: nonce, heartbeatBefore: old.heartbeat,
            heartbeatAfter: new.heartbeat))
      }
      if new.ownerNonce != .none { owned[member] = new.ownerNonce }
    }
    guard !owned.isEmpty else { return .free }
    let warnings = owned.map { member, nonce in
      "\(member) was in use by the process with nonce \(nonce), which gave no sign of life in "
        + "\(watchNanoseconds / 1_000_000_000) s: taken for dead. If it runs on another host, stop "
        + "it there before anything is written"
    }
    return .abandoned(warnings: warnings.sorted())
  }

  /// Whether anything was written between the readings.
  ///
  /// An owner that was there and is gone has stopped properly. A copy that became unreadable or
  /// readable again in between moves the sequence too, and then a further look is right.
  private static func hasMoved(_ old: Superblock, _ new: Superblock) -> Bool {
    if old.ownerNonce != .none, new.ownerNonce == .none { return false }
    return old.ownerNonce != new.ownerNonce || old.heartbeat != new.heartbeat
      || old.superblockSequence != new.superblockSequence
  }
}

extension Ownership.Use: CustomStringConvertible {
  package var description: String {
    "\(member) is in use: the process with nonce \(nonce) wrote to it a moment ago (heartbeat "
      + "\(heartbeatBefore), then \(heartbeatAfter)). Stop it where it runs ('ashlar status' names "
      + "what this host serves; another host may reach the member too), then start again"
  }
}
