// Stands in for Members/MemberSet.swift until that is merged; goes then.
package import Geometry
package import IO

package enum MemberOperationKind: Equatable, Sendable { case read, write, synchronize }

package struct OperationFailure: Sendable {
  package var slot: Int
  package var kind: MemberOperationKind
  package var tag: Int
  package var error: MemberError
}

package final class OperationGroup {
  package init() {}
  package var failures: [OperationFailure] = []
  package func wait() async { preconditionFailure("stand-in") }
}

package final class MemberSet<M: Machine, D: Disk> {
  package var currentSlots = SlotSet()
  package init() {}
  package func read(
    _ slot: Int, atBytes: UInt64, into: IOBuffer, keeping: AnyObject, tag: Int,
    _ group: OperationGroup
  ) {}
  package func write(
    _ slot: Int, atBytes: UInt64, from: IOBuffer, keeping: AnyObject, tag: Int,
    _ group: OperationGroup
  ) {}
  package func synchronize(_ slot: Int, tag: Int, _ group: OperationGroup) {}
}
