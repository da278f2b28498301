/// Mistakes that tests plant where nodes meet: each breaks one rule, and a history must show it.
package enum ReplicationBug: String, CaseIterable, Sendable {
  /// Writes are acknowledged although the replica has not.
  case acknowledgesBeforeReplica
  /// The log keeps what the replica has logged, not what it has durably (rule C2).
  case pinsFollowLogged
  /// A replica is set aside before that is recorded.
  case setsAsideUnrecorded
  /// A replica that counts is believed in sync, although its link is down (rule C4).
  case promotesOutdated
  /// A primary starts to write before it has heard its replica (rule C4).
  case startsUnheard
  /// Histories are compared by their numbers only (rule C1).
  case comparesNumbersOnly
  /// A primary goes on after a crash in the same timeline (rule C1).
  case recoversWithoutTimeline
  /// A promotion begins no timeline (rule C1).
  case promotesWithoutTimeline
  /// An inconsistent replica can be promoted (rule C3).
  case promotesInconsistent
  /// A replica takes records of a superseded primary.
  case takesSuperseded
  /// Acknowledgements wait for a replica only after the configuration says so (rule C5).
  case countsBeforeWaiting
  /// A replica acknowledges as durable what it has only logged.
  case durableBeforeFlush
  /// A copy is called done before all of it is in the replica's log (rule C2).
  case copyEndsEarly
}
