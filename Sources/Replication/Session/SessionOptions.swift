/// How a node talks to others.
package struct SessionOptions: Sendable {
  /// Where this node can be reached, for the time when the roles have changed; empty when unknown.
  package var advertisedAddress = ""
  /// A peer that is silent for so long is gone.
  ///
  /// Each side says something four times in it.
  package var silenceNanoseconds: UInt64 = 2_000_000_000
  /// Between attempts to connect: this long at first, then twice as long each time.
  package var backoffNanosecondsMin: UInt64 = 100_000_000
  package var backoffNanosecondsMax: UInt64 = 10_000_000_000
  /// Payload that was received and is not logged yet.
  package var receiveBytesMax = 32 << 20
  /// Units of a copy that are compared at once.
  package var copyTaskCount = 4
  /// Frames of a copy that are written at once.
  package var copyWriterCount = 24

  package init() {}
}

/// Why a session ended.
package enum SessionEnd: Error, Equatable, Sendable {
  case lost(String)
  /// One of both refused.
  case refused(Refusal)
  /// The peer said what it must not say.
  case protocolError(String)
  /// This node's array does not go on.
  case stopped(String)

  package var words: String {
    switch self {
    case .lost(let words), .stopped(let words): words
    case .refused(let refusal): refusal.words
    case .protocolError(let words): "it broke the protocol: \(words)"
    }
  }
}
