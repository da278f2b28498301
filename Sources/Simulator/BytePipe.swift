import Glibc
import IO

/// One direction of a connection: bytes on their way, then bytes that arrived and are unread.
///
/// Both ends share it. Whatever travels (bytes, the end of the stream, a reset) arrives in the
/// order in which it was sent; a cut holds it, and all behind it.
final class BytePipe {
  private enum Parcel {
    case bytes(Int)
    case end
    case reset
  }

  let number: UInt64
  let capacity: Int
  private let network: SimulatedNetwork
  private let source: SimulatedMachine
  private let target: SimulatedMachine
  private weak var sender: SimulatedStream?
  private weak var receiver: SimulatedStream?

  /// Unread bytes start at `firstUnread`; behind `arrivedEnd` they are still on the way.
  private var storage: [UInt8] = []
  private var firstUnread = 0
  private var arrivedEnd = 0
  private var parcels: [Parcel] = []
  /// Parcels whose time has come and which a cut holds.
  private var dueCount = 0
  private var isHeld = false
  private var lastArrivalNanoseconds: UInt64 = 0
  private var hasEnded = false

  /// The sender's end of stream has arrived and everything before it was read.
  var isAtEnd: Bool { hasEnded && unreadCount == 0 }
  var unreadCount: Int { arrivedEnd - firstUnread }
  /// Sent, whether it has arrived or not, and not received.
  var untakenCount: Int { storage.count - firstUnread }
  var vacantCount: Int { capacity - untakenCount }

  init(
    _ network: SimulatedNetwork, _ source: SimulatedMachine, _ target: SimulatedMachine,
    capacity: Int
  ) {
    precondition(capacity > 0)
    self.network = network
    self.source = source
    self.target = target
    self.capacity = capacity
    number = network.simulation.makePartNumber()
  }

  func join(from sender: SimulatedStream, to receiver: SimulatedStream) {
    self.sender = sender
    self.receiver = receiver
  }

  // MARK: The sender's end

  /// Takes the first `count` bytes of the pieces and sends them on their way.
  func put(_ count: Int, from pieces: ScatterList) {
    precondition(count > 0 && count <= vacantCount)
    var left = count
    for index in 0..<pieces.pieceCount where left > 0 {
      let piece = pieces.piece(index)
      let part = piece.prefix(min(left, piece.byteCount))
      // Safe: appends a copy of live bytes.
      unsafe part.bytes.withUnsafeBytes { unsafe storage.append(contentsOf: $0) }
      left -= part.byteCount
    }
    dispatch(.bytes(count))
  }

  func end() { dispatch(.end) }

  func reset() { dispatch(.reset) }

  /// The sender's machine lost its power: what it had not sent yet is gone, and no end will come.
  func fallSilent() {
    storage.removeLast(storage.count - arrivedEnd)
    parcels = []
    dueCount = 0
  }

  /// As `fallSilent`, for good: the receiver gives up after a while.
  func fallSilentForGood() {
    fallSilent()
    let patience = network.conditions.silenceNanoseconds
    network.simulation.schedule(after: patience, on: nil) {
      self.receiver?.breakOff(ETIMEDOUT)
    }
  }

  private func dispatch(_ parcel: Parcel) {
    parcels.append(parcel)
    let now = network.simulation.nowNanoseconds
    lastArrivalNanoseconds = max(lastArrivalNanoseconds, now.addingSaturating(network.drawDelay()))
    network.simulation.schedule(after: lastArrivalNanoseconds - now, on: nil) {
      self.dueCount += 1
      self.deliver()
    }
  }

  // MARK: Arrival

  func resumeDelivery() {
    isHeld = false
    deliver()
    // Space that the receiver made meanwhile becomes known too.
    sender?.wakeSender()
  }

  private func deliver() {
    while dueCount > 0, !parcels.isEmpty {
      guard !network.isCut(source, target) else {
        if !isHeld { network.hold(self) }
        isHeld = true
        return
      }
      dueCount -= 1
      arrive(parcels.removeFirst())
    }
    if parcels.isEmpty { dueCount = 0 }
  }

  private func arrive(_ parcel: Parcel) {
    network.simulation.note(.streamArrive, number, code(parcel), 0, "pipe \(number) \(parcel)")
    switch parcel {
    case .bytes(let count):
      arrivedEnd += count
      guard let receiver, receiver.takesBytes else {
        // Nobody will read them, and the kernel says so, unless it has no power either.
        guard target.crashKind != .powerLoss else { return }
        discardUnread()
        sender?.outboundRefused()
        return
      }
      receiver.wakeReceiver()
    case .end:
      hasEnded = true
      receiver?.wakeReceiver()
    case .reset:
      if network.random.coin() { discardUnread() }
      receiver?.breakOff(ECONNRESET)
    }
  }

  private func code(_ parcel: Parcel) -> UInt64 {
    switch parcel {
    case .bytes(let count): UInt64(count)
    case .end: 1 << 40
    case .reset: 1 << 41
    }
  }

  // MARK: The receiver's end

  /// Moves the first `count` unread bytes into the pieces.
  func take(_ count: Int, into pieces: ScatterList) {
    precondition(count > 0 && count <= unreadCount && count <= pieces.byteCount)
    var left = count
    // Safe: the pointer is used inside the closure and only read.
    unsafe storage.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return }
      let unread = unsafe IOBuffer(
        UnsafeMutableRawPointer(mutating: base), byteCount: raw.count
      ).slice(firstUnread, count)
      for index in 0..<pieces.pieceCount where left > 0 {
        let piece = pieces.piece(index)
        let part = min(left, piece.byteCount)
        piece.copy(from: unread.slice(count - left, part))
        left -= part
      }
    }
    firstUnread += count
    compact()
    // The word that there is space takes its time, and does not pass a cut.
    network.simulation.schedule(after: network.drawDelay(), on: nil) { [self] in
      guard !network.isCut(target, source) else { return network.hold(self) }
      sender?.wakeSender()
    }
  }

  func discardUnread() {
    firstUnread = arrivedEnd
    compact()
  }

  private func compact() {
    guard firstUnread == storage.count || firstUnread >= capacity else { return }
    storage.removeFirst(firstUnread)
    arrivedEnd -= firstUnread
    firstUnread = 0
  }
}
