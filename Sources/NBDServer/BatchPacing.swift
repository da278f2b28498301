import NBDWire

/// How long a receiver may let requests collect before it looks for more.
///
/// A client that keeps many requests in flight sends them one by one, and a server that is faster
/// finds one or two each time it looks: it then pays a turn of its loop for one or two requests. But a
/// client that has n replies to deal with is busy for a while: if the server is back before it has
/// nothing left to do, nobody waits, and the requests come as one batch.
struct BatchPacing {
  /// Less than clients need to take one reply and send the next request.
  static let replyNanoseconds = 4000
  /// What a sleep takes longer than it was meant to, and a reply to reach the client.
  static let wakeNanoseconds = 16_000
  static let pauseNanosecondsMax = 32_000
  /// A shorter one is not worth the sleep.
  static let pauseNanosecondsMin = 2000
  /// Larger payloads keep the socket busy: each is taken while the next is being copied.
  static let payloadByteCountMax = 32 << 10
  /// About what the kernel counts for a message beyond its bytes.
  private static let messageByteCount = 1024

  private struct Batch {
    var replyCount = 0
    var byteCount = 0
  }

  /// What was sent last, `history[newest]` the latest.
  private var history = InlineArray<8, Batch>(repeating: Batch())
  private var newest = 0
  private var requestCount = 0
  /// Receives in a row that brought one request, from a client that had taken all replies.
  private var oneByOneCount = 0
  private var requestByteCount = 0

  mutating func count(_ request: Request) {
    requestCount += 1
    requestByteCount += Int(request.byteCount)
  }

  /// Whether it is worth asking how much the client has not taken.
  ///
  /// Seldom where each of the last receives brought one request: that client has most likely one in
  /// flight, and every tenth of a microsecond counts.
  var shouldAskForUntaken: Bool { oneByOneCount < 8 || oneByOneCount % 8 == 0 }

  /// Remembers a message that was sent.
  mutating func noteSent(replyCount: Int, byteCount: Int) {
    newest = (newest + 1) % history.count
    history[newest] = Batch(replyCount: replyCount, byteCount: byteCount + Self.messageByteCount)
  }

  /// How many of the replies that were sent are still in the kernel's hands.
  func untakenReplyCount(untakenByteCount: Int) -> Int {
    var left = untakenByteCount
    var replyCount = 0
    for age in 0..<history.count {
      let batch = history[(newest + history.count - age) % history.count]
      guard left > batch.byteCount / 2 else { break }
      replyCount += batch.replyCount
      left -= batch.byteCount
    }
    return replyCount
  }

  /// How long to wait before the next receive.
  ///
  /// - Parameters:
  ///   - queuedReplyCount: replies that have not been sent.
  ///   - untakenByteCount: of those that have been sent, see `ByteStream`.
  /// - Returns: nanoseconds; 0 for a client that may be waiting for what the server does next.
  mutating func pauseBeforeReceiving(queuedReplyCount: Int, untakenByteCount: Int) -> UInt64 {
    defer {
      requestCount = 0
      requestByteCount = 0
    }
    guard requestCount > 0, requestByteCount <= requestCount * Self.payloadByteCountMax else {
      return 0
    }
    let replyCount = queuedReplyCount + untakenReplyCount(untakenByteCount: untakenByteCount)
    oneByOneCount = replyCount > 1 ? 0 : oneByOneCount &+ 1
    let pause = replyCount * Self.replyNanoseconds - Self.wakeNanoseconds
    return pause < Self.pauseNanosecondsMin ? 0 : UInt64(min(pause, Self.pauseNanosecondsMax))
  }
}
