package import IO

/// Why an operation on a member was not done.
package enum MemberError: Error, Equatable, Sendable {
  case disk(DiskError)
  /// It did not answer within its deadline. Its buffer stays with it.
  case timedOut
  /// The member is out or missing: nothing was begun.
  case absent
}

/// Why a member is put out.
package enum ExpulsionReason: Equatable, Sendable {
  case writeFailed(DiskError)
  case synchronizeFailed(DiskError)
  case timedOut
  case disconnected
  /// An operator's wish.
  case commanded
}

/// Who decides about members; the engine.
package protocol MembershipKeeper: AnyObject {
  /// Puts a member out: returns when the survivors' superblocks durably say so, so that whoever
  /// waits may go on without it. Calls for one member are one expulsion.
  ///
  /// - Throws: `stopped` when the level cannot spare it; the array has then stopped writing.
  func expel(_ slot: Int, _ reason: ExpulsionReason) async throws(ArrayError)
}
