package import DiskFormat
import Geometry

// Intents of writes that go home directly (docs/upkeep.md, section 6).
extension WriteLog {
  /// The most blocks that the intents of one batch name, in requests of more than 16 blocks each.
  package var directBlockCountMax: Int {
    // 37 bytes for each block, and less than 48 for each request.
    min(2048, (limits.descriptorBytesMax(memberCount: geometry.memberCount) - 64) / 40)
  }

  /// Logs direct intents in one batch, and waits until the horizon covers them (rule D1).
  ///
  /// - Returns: the batch, which is pinned for the caller; nil when log space is so short that it
  ///   has to be kept for those who cannot do without (rule L5).
  package func tryAppend(direct intents: [DirectIntent]) async throws(ArrayError) -> UInt64? {
    precondition(!intents.isEmpty)
    try checkRunning()
    // Safe: resumed once: with its batch, or without, or by `stop`, or here.
    let sequence = unsafe await withUnsafeContinuation {
      (waiter: UnsafeContinuation<UInt64?, Never>) in
      let request = unsafe IntentRequest([], direct: intents, isPinned: true, waiter: waiter)
      guard stopReason == nil, !recordsAreBlocked, !intentsAreBlocked else {
        return request.resume(returning: nil)
      }
      waitingIntents.append(request)
      wakeWriter()
    }
    try checkRunning()
    if let sequence { try await waitUntilDurable(sequence) }
    return sequence
  }
}
