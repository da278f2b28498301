import IO
import NBDWire

/// A place for one request that the server has not answered yet, used again and again.
@safe
final class PendingRequest {
  enum State {
    case vacant
    /// Waits to be sent.
    case queued
    /// The kernel has it, and may still read its payload.
    case sending
    /// All of it has been sent.
    case sent
  }

  let index: Int
  /// How often the place has been used: part of the cookie, so that an answer to a request which is
  /// long done is told from one to the request that now has its place.
  private(set) var generation: UInt32 = 1
  var state = State.vacant
  var request = Request(
    commandNumber: 0, cookie: 0, offsetBytes: 0, byteCount: 0)
  /// What a READ fills, or a WRITE sends.
  var buffer: IOBuffer?
  var startNanoseconds: UInt64 = 0
  /// Several chunks of a structured reply; nil while one is enough.
  var reply: StructuredReply?
  /// The server has answered while the kernel still reads the payload; what it answered.
  var earlyAnswer: Int32?
  // Safe: resumed once, by `RequestTable.finish`.
  fileprivate(set) var waiter: UnsafeContinuation<Int32, Never>?

  init(index: Int) {
    self.index = index
  }

  var cookie: UInt64 { UInt64(generation) << 32 | UInt64(index) }
  var isWrite: Bool { request.commandNumber == NBDCommand.write.rawValue }

  func fill(_ waiting: WaitingRequest, nowNanoseconds: UInt64) {
    precondition(state == .vacant)
    request = waiting.request
    request.cookie = cookie
    buffer = waiting.buffer
    startNanoseconds = nowNanoseconds
    unsafe waiter = waiting.waiter
    state = .queued
  }

  /// Empties the place.
  ///
  /// - Returns: who waits for the answer.
  func vacate() -> UnsafeContinuation<Int32, Never>? {
    precondition(state != .vacant)
    defer { unsafe waiter = nil }
    state = .vacant
    generation &+= 1
    buffer = nil
    reply = nil
    earlyAnswer = nil
    return unsafe waiter
  }
}

/// A request and its caller.
@safe
struct WaitingRequest {
  var request: Request
  var buffer: IOBuffer?
  // Safe: resumed once, when the request has an answer.
  var waiter: UnsafeContinuation<Int32, Never>
}
