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
  /// The place behind this one in the list that it is in.
  fileprivate(set) var next = PlaceList.end
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
    if reply != nil { reply = nil }
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

/// A list of places that runs through the places themselves, so that it needs no memory; each is in
/// one list at most.
struct PlaceList {
  /// No place has this index.
  static let end = -1

  private(set) var first = end
  private var last = end

  var isEmpty: Bool { first == Self.end }

  mutating func append(_ entry: PendingRequest, in places: [PendingRequest]) {
    entry.next = Self.end
    if last == Self.end { first = entry.index } else { places[last].next = entry.index }
    last = entry.index
  }

  mutating func popFirst(in places: [PendingRequest]) -> PendingRequest? {
    guard first != Self.end else { return nil }
    let entry = places[first]
    first = entry.next
    if first == Self.end { last = Self.end }
    return entry
  }
}
