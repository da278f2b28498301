import IO
import NBDWire
import Units
import Volumes

/// A place for one request of a connection, used again and again.
///
/// Each slot has a task that lives as long as the connection and loops: take a request, serve it,
/// queue the reply. So a request starts no task and allocates nothing, and the number of slots is
/// the flow control: while all are in use the connection is not read from.
@safe
final class RequestSlot {
  enum State {
    /// Vacant, or being filled by the receiver.
    case idle
    /// The volume has it.
    case serving
    /// The reply is queued or being sent.
    case replying
    /// It was answered with an error because the volume took too long, and the volume still has
    /// it: neither the slot nor its buffer may be used before the volume returns them.
    case abandoned
  }

  let index: Int
  /// Room for the reply's headers, at a stable address.
  let headers: IOBuffer
  /// The reply, in pieces to send.
  var pieces: [IOBuffer] = []

  var state = State.idle
  var request = Request(
    flags: [], commandNumber: 0, cookie: 0, offsetBytes: 0, byteCount: 0)
  var command = NBDCommand.read
  var range = ByteRange(from: 0, to: 0)
  var receivedNanoseconds: UInt64 = 0
  /// When the volume got it: how slow the client was with its payload is not the volume's fault.
  var servingSinceNanoseconds: UInt64 = 0
  /// The reply of an abandoned request has been sent.
  var errorIsSent = false

  /// BLOCK_STATUS: the context to describe, and how much of the buffer is the answer.
  var contextIdentifier: UInt32?
  var statusByteCount = 0

  /// What a READ found, where it lies: in the slot's own buffer, or in the volume's memory.
  var found: IOBuffer?
  /// The volume's memory, if it was lent with what was found.
  var lent: (any LentMemory)?
  var payload: AlignedMemory?
  var payloadIsReserved = false

  // Safe: resumed once, and cleared at the same time.
  private var waiter: UnsafeContinuation<Void, Never>?
  private var isHandedOver = false
  /// The slot's task is started with the first request that has to wait for the volume.
  var hasTask = false
  private(set) var isRetired = false

  static let headerByteCount = 512
  /// Header room for each chunk of a structured read.
  static let chunkCountMax = headerByteCount / 32

  init(index: Int, headers: IOBuffer) {
    self.index = index
    self.headers = headers
    pieces.reserveCapacity(2 * Self.chunkCountMax)
  }

  /// Suspends the slot's task until it has a request.
  ///
  /// - Returns: false when the slot is retired.
  func nextRequest() async -> Bool {
    if !isHandedOver && !isRetired {
      // Safe: resumed once, by `wake`.
      unsafe await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
        unsafe waiter = continuation
      }
    }
    isHandedOver = false
    return !isRetired
  }

  /// Lets the slot's task serve the request that was filled in.
  func handOver() {
    isHandedOver = true
    wake()
  }

  /// Ends the slot's task.
  func retire() {
    isRetired = true
    wake()
  }

  private func wake() {
    guard let continuation = unsafe waiter else { return }
    unsafe waiter = nil
    unsafe continuation.resume()
  }
}
