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
  /// Twice it did not have what was written to it.
  case wroteWrong
  case timedOut
  case disconnected
  /// Its file is not what it was.
  case lost(MemberLoss)
  /// An operator's wish.
  case commanded
}

/// What became of a member's file while it was in use.
package enum MemberLoss: Equatable, Sendable {
  /// Nothing is at its place any more.
  case removed
  /// Something else is at its place.
  case replaced
  /// It ends before its layout does.
  case cutShort(atBytes: UInt64)
}

/// Who decides about members; the engine.
package protocol MembershipKeeper: AnyObject {
  /// Puts a member out: returns when the survivors' superblocks durably say so, so that whoever
  /// waits may go on without it. Calls for one member are one expulsion.
  ///
  /// - Throws: `stopped` when the level cannot spare it; the array has then stopped writing.
  func expel(_ slot: Int, _ reason: ExpulsionReason) async throws(ArrayError)

  /// Where the member of a failure is now; nil when it has left: who is in its slot has done nothing.
  func place(of failure: OperationFailure) -> Int?

  /// Returns when the survivors' superblocks durably say what has been decided about members.
  func settleChanges() async throws(ArrayError)

  /// No further write is accepted, and status says why.
  func stop(_ reason: String)
}

extension OperationFailure {
  /// Why its member has to go.
  package var expulsionReason: ExpulsionReason {
    switch (error, kind) {
    case (.timedOut, _): .timedOut
    case (.absent, _): .disconnected
    case (.disk(let error), .synchronize): .synchronizeFailed(error)
    case (.disk(let error), _): .writeFailed(error)
    }
  }
}

extension MembershipKeeper {
  /// Puts out the member of a failure, wherever it is now.
  ///
  /// One that has left needs no expulsion, but whoever goes on without it waits until that is durable.
  package func expel(
    _ failure: OperationFailure, _ reason: ExpulsionReason
  ) async throws(ArrayError) {
    guard let place = place(of: failure) else { return try await settleChanges() }
    try await expel(place, reason)
  }

  /// Puts out every member that one of the failures tells of.
  ///
  /// For changes, which a member must not miss. Members that are `absent` are put out too: whoever
  /// did it first may not have made it durable yet.
  package func expel(_ failures: [OperationFailure]) async throws(ArrayError) {
    var seen: [MemberAttachment] = []
    for failure in failures where !seen.contains(failure.attachment) {
      seen.append(failure.attachment)
      try await expel(failure, failure.expulsionReason)
    }
  }
}
