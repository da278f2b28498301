/// How long the loop may let new requests collect after a batch of replies.
///
/// A client that keeps many requests in flight sends them one by one. If the server is woken by each,
/// it pays a turn of its loop for each, and the client pays for waking it. But a client that has
/// just been sent n replies is busy with them for a while: left alone for about that time, it finds
/// its next requests served as one batch. A client with one request in flight waits for each
/// reply, and is never kept waiting.
struct BatchPacing: Equatable {
  /// Less than a client needs to take one reply and send the next request, so that the server is
  /// back before the client has nothing left to do.
  static let replyNanoseconds: UInt64 = 500
  static let restNanosecondsMax: UInt64 = 30_000
  /// Larger replies keep the socket busy: the client takes each while the next is being copied.
  static let replyByteCountMax = 16 << 10

  /// A moving average over about four batches, in eighths of a reply.
  private var averageEighths = 8

  /// Takes notice of a batch that has been sent, and says how long the next may take to collect.
  ///
  /// - Parameters:
  ///   - replyCount: at least 1.
  ///   - byteCount: of all replies together.
  /// - Returns: nanoseconds; 0 for a client that sends one request at a time.
  mutating func rest(afterReplies replyCount: Int, byteCount: Int) -> UInt64 {
    averageEighths += (replyCount * 8 - averageEighths) / 4
    let isOneByOne = averageEighths < 12
    guard !isOneByOne && byteCount <= replyCount * Self.replyByteCountMax else { return 0 }
    let expectedEighths = UInt64(max(replyCount * 8, averageEighths))
    return min(expectedEighths * Self.replyNanoseconds / 8, Self.restNanosecondsMax)
  }
}
