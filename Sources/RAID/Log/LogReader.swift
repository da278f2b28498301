package import DiskFormat
package import Geometry
package import IO

/// Reads the log of an array that is being opened (docs/array.md section 5, rule L2).
package final class LogReader<M: Machine, D: Disk> {
  package init(
    members: MemberSet<M, D>, membership: any MembershipKeeper, machine: M, arrayID: Identifier,
    geometry: StripeGeometry, layout: MemberLayout, options: ArrayOptions
  ) {}

  /// Follows the log from the checkpoint to its end.
  package func read(_ start: LogStart) async throws(LogReadError) -> RecoveredLog<M, D> {
    preconditionFailure("not written yet")
  }
}
