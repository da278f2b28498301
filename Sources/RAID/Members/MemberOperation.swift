import IO

/// What an operation does on its member.
package enum MemberOperationKind: Equatable, Sendable {
  case read
  case write
  case synchronize
  /// Gives space back; the range reads as zeros afterwards.
  case punch
}

/// One disk of one member: another one may have the slot by the time that its failure is acted upon.
package struct MemberAttachment: Hashable, Sendable {
  /// Which of all members that were ever in the set it is.
  let memberNumber: Int
  /// Which of the disks that it had, one after the other.
  let attachmentCount: Int
}

/// An operation that was not done, as its group tells it.
package struct OperationFailure: Equatable, Sendable {
  /// Where the member was when that became known.
  package let slot: Int
  /// Who it was.
  package let attachment: MemberAttachment
  package let kind: MemberOperationKind
  /// What its submitter called it.
  package let tag: Int
  package let error: MemberError

  package init(
    slot: Int, attachment: MemberAttachment, kind: MemberOperationKind, tag: Int,
    error: MemberError
  ) {
    self.slot = slot
    self.attachment = attachment
    self.kind = kind
    self.tag = tag
    self.error = error
  }
}

/// One operation on its way; reused when it has come back from the kernel.
final class MemberOperation {
  var kind = MemberOperationKind.read
  var tag = 0
  /// A copy, for a replacement, of what goes to its target: its group waits for it, and no more.
  var isMirror = false
  var offsetBytes: UInt64 = 0
  var byteCount: UInt64 = 0
  /// What is read into or written from; nil for the kinds that move nothing.
  var buffer: IOBuffer?
  /// Kept until the kernel has returned the operation, whatever its group has been told.
  var owner: AnyObject?
  var ownedBuffer: OwnedBuffer?
  /// Who learns of the outcome; nil as soon as it has: then the operation is abandoned.
  var group: OperationGroup?
  /// When it was handed to a lane.
  var startedNanoseconds: UInt64 = 0

  // Neighbours in the member's queue, or among what it has under way: `next` is the younger.
  var next: MemberOperation?
  var previous: MemberOperation?

  var isAbandoned: Bool { group == nil }
  /// Whether it changes what a later fdatasync has to cover.
  var isChange: Bool { kind == .write || kind == .punch }

  /// Tells the group, once.
  func tell(_ slot: Int, _ attachment: MemberAttachment, _ error: MemberError?) {
    guard let told = group else { return }
    group = nil
    // No submitter knows the tag of a copy.
    let tag = isMirror ? -1 : tag
    told.operationEnded(
      tag: tag,
      error.map {
        OperationFailure(slot: slot, attachment: attachment, kind: kind, tag: tag, error: $0)
      })
  }
}

/// Operations that lie idle: the steady state allocates none.
final class OperationPool {
  private var idle: [MemberOperation] = []

  func take() -> MemberOperation { idle.popLast() ?? MemberOperation() }

  /// Takes back what neither a queue nor the kernel has any more.
  func give(_ operation: MemberOperation) {
    operation.ownedBuffer?.operationReturned()
    operation.ownedBuffer = nil
    operation.owner = nil
    operation.buffer = nil
    operation.group = nil
    operation.isMirror = false
    idle.append(operation)
  }
}

/// Operations in order, linked through themselves.
struct OperationList {
  private(set) var first: MemberOperation?
  private var last: MemberOperation?
  private(set) var count = 0

  mutating func append(_ operation: MemberOperation) {
    operation.previous = last
    operation.next = nil
    if let last { last.next = operation } else { first = operation }
    last = operation
    count += 1
  }

  /// - Precondition: it is in this list.
  mutating func remove(_ operation: MemberOperation) {
    if let next = operation.next {
      next.previous = operation.previous
    } else {
      last = operation.previous
    }
    if let previous = operation.previous {
      previous.next = operation.next
    } else {
      first = operation.next
    }
    operation.next = nil
    operation.previous = nil
    count -= 1
  }

  mutating func popFirst() -> MemberOperation? {
    guard let operation = first else { return nil }
    remove(operation)
    return operation
  }
}
