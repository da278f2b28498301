import IO
import NBDWire
import Units

/// One client's connection, which belongs to the server's actor.
final class Connection<Stream: ByteStream> {
  enum Phase {
    case handshake
    case transmission
    /// No further request is read; what is in flight is answered.
    case draining
  }

  let number: Int
  let stream: Stream
  let startNanoseconds: UInt64
  var phase = Phase.handshake
  /// What the client was offered.
  var export: ExportDescription?
  var agreement = Agreement(
    exportIndex: 0, usesStructuredReplies: false, allocationContextIdentifier: nil)

  /// Received and not yet consumed: `received[start..<end]`.
  let received: AlignedMemory
  var start = 0
  var end = 0
  let incoming = ScatterList(capacity: 2)

  let slotHeaders: AlignedMemory
  var slots: [RequestSlot] = []
  var vacantSlots: [RequestSlot] = []
  /// The receiver, waiting for a vacant slot or for bytes in flight to end.
  var vacancy = WaitPoint()

  let outgoing = ScatterList(capacity: 256)
  var replies: [RequestSlot] = []
  /// Bytes of the replies that have not been sent.
  var replyByteCount = 0
  var pacing = BatchPacing()
  /// The sender, waiting for a reply to send.
  var replyArrival = WaitPoint()
  /// The connection's own task, waiting for the last request to be answered.
  var drained = WaitPoint()

  /// Received requests that have not been answered, or whose buffers are not back yet.
  var requestsInFlight = 0
  var bytesInFlight = 0
  var reservedBytesInFlight = 0

  /// When the client must have finished what it is being waited for.
  var receiveDeadlineNanoseconds: UInt64?
  var sendDeadlineNanoseconds: UInt64?
  /// Why it ends, where it is not the client's own wish.
  var endReason: String?
  /// Replies are dropped: the client is gone.
  var isBroken = false
  /// No more requests come; the sender ends with the last reply.
  var isFinished = false
  var senderHasEnded = false
  /// The receiver waits for the server's budget of requests.
  var budgetArrival = WaitPoint()

  static var receiveByteCount: Int { 128 << 10 }

  init?(number: Int, stream: Stream, slotCountMax: Int, nowNanoseconds: UInt64) {
    guard let received = AlignedMemory(byteCount: Self.receiveByteCount),
      let slotHeaders = AlignedMemory(
        byteCount: (slotCountMax + 1) * RequestSlot.headerByteCount)
    else { return nil }
    self.number = number
    self.stream = stream
    self.received = received
    self.slotHeaders = slotHeaders
    startNanoseconds = nowNanoseconds
  }

  /// The bytes that have not been consumed.
  var unconsumed: IOBuffer { received.buffer.slice(start, end - start) }
  var unconsumedByteCount: Int { end - start }

  func consume(_ count: Int) {
    precondition(count <= unconsumedByteCount)
    start += count
    if start == end {
      start = 0
      end = 0
    }
  }

  /// Moves what is left to the front, so that the buffer has room behind it.
  func compact() {
    guard start > 0 else { return }
    let rest = unconsumed
    received.buffer.prefix(rest.byteCount).copy(from: rest)
    end = rest.byteCount
    start = 0
  }

  /// Counts a buffer that is taken, or with a negative size given back.
  func countBytes(_ byteCount: Int, isReserved: Bool) {
    bytesInFlight += byteCount
    if isReserved { reservedBytesInFlight += byteCount }
  }

  /// Makes what waits on the socket return, and the connection end.
  func breakOff(_ reason: String) {
    if endReason == nil { endReason = reason }
    isBroken = true
    stream.shutdown()
  }
}
