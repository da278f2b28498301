/// Tells when a replica that is not in step comes no nearer, and what is the matter.
///
/// Pure: who watches gives it what is left, and what is going on, every few seconds.
package struct CatchUpWatch: Equatable, Sendable {
  /// What keeps a replica from coming nearer; the first that is true is told.
  package enum Obstacle: String, CaseIterable, Sendable {
    case noConnection = "there is no connection"
    case replicaDisk = "the replica does not answer for what it was sent: look at its disks"
    case primaryDisk = "this node does not come to read what it would send: look at its disks"
    case latencyBudget = "clients leave the copy no time within the latency budget"
    case writesFaster = "clients write faster than it is sent"
  }

  /// What is going on at one instant.
  package struct Sight: Equatable, Sendable {
    package var isConnected = false
    /// Since when the oldest thing has been waited for that the replica owes, and that this node reads;
    /// nil for nothing.
    package var replicaOwesNanoseconds: UInt64?
    package var readsNanoseconds: UInt64?
    /// How long the copy has rested for the clients' sake, since it began.
    package var restedNanoseconds: UInt64 = 0

    package init() {}
  }

  package static let patienceNanoseconds: UInt64 = 60_000_000_000
  /// An answer that takes longer is a matter of disks.
  package static let slowNanoseconds: UInt64 = 10_000_000_000

  private var isCopy = false
  private var least = UInt64.max
  private var sinceNanoseconds: UInt64 = 0
  private var restedBefore: UInt64 = 0

  package init() {}

  /// Takes note of what is left, in units of a copy or in records.
  ///
  /// - Returns: what is the matter, once a minute in which nothing has become less.
  package mutating func note(
    left: UInt64, isCopy: Bool, _ sight: Sight, now: UInt64
  ) -> Obstacle? {
    if left < least || isCopy != self.isCopy || sinceNanoseconds == 0 {
      least = left
      self.isCopy = isCopy
      begin(sight, now)
      return nil
    }
    guard now >= sinceNanoseconds, now - sinceNanoseconds >= Self.patienceNanoseconds else {
      return nil
    }
    let rested = sight.restedNanoseconds - min(restedBefore, sight.restedNanoseconds)
    let obstacle = Self.obstacle(sight, restedNanoseconds: rested)
    begin(sight, now)
    return obstacle
  }

  private mutating func begin(_ sight: Sight, _ now: UInt64) {
    sinceNanoseconds = max(1, now)
    restedBefore = sight.restedNanoseconds
  }

  private static func obstacle(_ sight: Sight, restedNanoseconds: UInt64) -> Obstacle {
    if !sight.isConnected { return .noConnection }
    if let owes = sight.replicaOwesNanoseconds, owes > slowNanoseconds { return .replicaDisk }
    if let reads = sight.readsNanoseconds, reads > slowNanoseconds { return .primaryDisk }
    return restedNanoseconds > patienceNanoseconds / 2 ? .latencyBudget : .writesFaster
  }
}
