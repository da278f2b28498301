import IO
import NBDWire

/// The requests of one connection: those that wait to be sent, those that wait for their answer,
/// and those that wait for a place among them.
///
/// It knows no sockets, and is not generic: what happens for each request happens here. Lists are
/// copied, changed and put back: a change in place would be watched for overlaps at run time, which
/// costs more than the change.
final class RequestTable: @unchecked Sendable {
  // Used on the machine's executor only, by callers and by the client's tasks.
  /// What a caller is resumed with: 0, the number of an `NBDErrorCode`, or this.
  static let lostResult: Int32 = -1

  private let places: [PendingRequest]
  private var vacant = PlaceList()
  private(set) var pendingCount = 0
  /// Places whose requests are to be sent, in order.
  private var queue = PlaceList()
  /// Callers without a place, from `firstWaiting` on.
  private var waiting: [WaitingRequest] = []
  private var firstWaiting = 0
  /// WRITEs whose payload the kernel may be reading.
  private var writesBeingSent = PlaceList()
  private let headers: AlignedMemory
  /// The sender, waiting for something to send.
  private var senderRest = WaitPoint()
  private var senderIsResting = false
  /// The watchdog, waiting for something to watch.
  private var watchdogRest = WaitPoint()
  private var watchdogIsResting = false
  /// Set when the connection is lost.
  private(set) var lossReason: String?
  /// Nobody touches the buffers of callers any more, so they may go.
  private var isDrained = false

  init?(countMax: Int) {
    precondition(countMax > 0)
    guard let headers = AlignedMemory(byteCount: (countMax + 1) * Request.headerByteCount) else {
      return nil
    }
    self.headers = headers
    places = (0..<countMax).map { PendingRequest(index: $0) }
    for entry in places { vacant.append(entry, in: places) }
  }

  var hasQueued: Bool { !queue.isEmpty }

  /// When the oldest request that has no answer was given a place; nil when there is none.
  var oldestNanoseconds: UInt64? {
    places.lazy.filter { $0.state != .vacant }.map(\.startNanoseconds).min()
  }

  // MARK: Callers

  /// Suspends the caller until its request has an answer, and nobody uses its buffer any more.
  func perform(
    _ request: Request, _ buffer: IOBuffer?, nowNanoseconds: UInt64
  ) async throws(RequestError) {
    // Safe: `begin` keeps the continuation, and it is resumed once, whatever happens.
    let result = unsafe await withUnsafeContinuation {
      (waiter: UnsafeContinuation<Int32, Never>) in
      begin(
        unsafe WaitingRequest(request: request, buffer: buffer, waiter: waiter),
        nowNanoseconds: nowNanoseconds)
    }
    guard result != 0 else { return }
    guard result != Self.lostResult else {
      throw .lost(reason: lossReason ?? "the connection is gone")
    }
    throw .refused(NBDErrorCode(rawValue: UInt32(result)) ?? .invalid)
  }

  private func begin(_ request: WaitingRequest, nowNanoseconds: UInt64) {
    guard !isDrained else {
      unsafe request.waiter.resume(returning: Self.lostResult)
      return
    }
    // Behind those who came earlier.
    if firstWaiting == waiting.count, lossReason == nil,
      let entry = takeVacant()
    {
      pendingCount += 1
      place(request, in: entry, nowNanoseconds)
    } else {
      waiting.append(request)
    }
    wakeWatchdog()
  }

  private func takeVacant() -> PendingRequest? {
    var list = vacant
    let entry = list.popFirst(in: places)
    vacant = list
    return entry
  }

  private func place(
    _ request: WaitingRequest, in entry: PendingRequest, _ nowNanoseconds: UInt64
  ) {
    entry.fill(request, nowNanoseconds: nowNanoseconds)
    var list = queue
    list.append(entry, in: places)
    queue = list
    wakeSender()
  }

  /// Gives the answer to the caller, and the place to the next.
  private func finish(_ entry: PendingRequest, _ result: Int32, nowNanoseconds: UInt64) {
    let waiter = unsafe entry.vacate()
    if firstWaiting < waiting.count, lossReason == nil {
      place(waiting[firstWaiting], in: entry, nowNanoseconds)
      firstWaiting += 1
      if firstWaiting == waiting.count || firstWaiting >= 1024 {
        waiting.removeFirst(firstWaiting)
        firstWaiting = 0
      }
    } else {
      pendingCount -= 1
      var list = vacant
      list.append(entry, in: places)
      vacant = list
    }
    unsafe waiter?.resume(returning: result)
  }

  /// The answer has come.
  ///
  /// While the kernel still reads the payload the caller does not get its buffer back.
  func answer(_ entry: PendingRequest, _ error: NBDErrorCode?, nowNanoseconds: UInt64) {
    let result = error.map { Int32($0.rawValue) } ?? 0
    if entry.state == .sending {
      entry.earlyAnswer = result
    } else {
      finish(entry, result, nowNanoseconds: nowNanoseconds)
    }
  }

  /// The request that a reply names by its cookie.
  func request(cookie: UInt64) throws(ServerFault) -> PendingRequest {
    let index = Int(cookie & 0xFFFF_FFFF)
    guard index < places.count else {
      throw ServerFault("the server answered a request that was never made")
    }
    let entry = places[index]
    let isOpen: Bool =
      switch entry.state {
      case .sent: true
      case .sending: entry.earlyAnswer == nil
      case .vacant, .queued: false
      }
    guard isOpen && entry.cookie == cookie else {
      // Generations are given out in order, but for the one time in four milliards.
      let isPast = cookie >> 32 != 0 && cookie >> 32 <= UInt64(entry.generation)
      let isAnswered = isPast && (cookie != entry.cookie || entry.earlyAnswer != nil)
      throw ServerFault(
        isAnswered
          ? "the server answered a request twice"
          : "the server answered a request that was never made")
    }
    return entry
  }

  // MARK: Sending

  /// Puts queued requests into the list, headers and payloads, as many as one call should take.
  ///
  /// Headers lie behind each other, so those of many READs are one piece.
  func gather(into list: ScatterList) {
    list.removeAll()
    let buffer = headers.buffer
    var bytes = buffer.mutableBytes
    var headerEnd = 0
    var runStart = 0
    var unsent = queue
    var writes = writesBeingSent
    // A run of headers, a payload, and the run behind it.
    while list.vacantPieceCount >= 3, list.byteCount < Self.bytesPerSendMax,
      let entry = unsent.popFirst(in: places)
    {
      entry.request.encode(into: &bytes, at: headerEnd)
      headerEnd += Request.headerByteCount
      if entry.isWrite, let payload = entry.buffer {
        entry.state = .sending
        writes.append(entry, in: places)
        list.append(buffer.slice(runStart, headerEnd - runStart))
        list.append(payload)
        runStart = headerEnd
      } else {
        // The header is a copy of our own, so nothing of the caller's is with the kernel.
        entry.state = .sent
      }
    }
    list.append(buffer.slice(runStart, headerEnd - runStart))
    queue = unsent
    writesBeingSent = writes
  }

  /// Payloads come back when the whole call has ended: do not let it grow without end.
  private static let bytesPerSendMax = 1 << 20

  /// Puts a DISC into the list, which is the last to be sent.
  func gatherDisconnect(into list: ScatterList) {
    list.removeAll()
    let buffer = headers.buffer
    var bytes = buffer.mutableBytes
    let request = Request(
      commandNumber: NBDCommand.disconnect.rawValue, cookie: 0, offsetBytes: 0, byteCount: 0)
    request.encode(into: &bytes, at: 0)
    list.append(buffer.prefix(Request.headerByteCount))
  }

  /// The kernel has taken everything that was gathered.
  func endSend(nowNanoseconds: UInt64) {
    var writes = writesBeingSent
    writesBeingSent = PlaceList()
    while let entry = writes.popFirst(in: places) {
      entry.state = .sent
      if let result = entry.earlyAnswer { finish(entry, result, nowNanoseconds: nowNanoseconds) }
    }
  }

  // MARK: Resting

  func wakeSender() {
    guard senderIsResting else { return }
    senderIsResting = false
    senderRest.signal()
  }

  func wakeWatchdog() {
    guard watchdogIsResting else { return }
    watchdogIsResting = false
    watchdogRest.signal()
  }

  /// Suspends the sender until it is woken.
  func putSender(_ continuation: UnsafeContinuation<Void, Never>) {
    unsafe senderRest.put(continuation)
    senderIsResting = true
  }

  /// Suspends the watchdog until it is woken.
  func putWatchdog(_ continuation: UnsafeContinuation<Void, Never>) {
    unsafe watchdogRest.put(continuation)
    watchdogIsResting = true
  }

  // MARK: The end

  /// Nothing is sent any more; the first reason counts.
  ///
  /// - Returns: whether this was the first.
  func lose(_ reason: String) -> Bool {
    guard lossReason == nil else { return false }
    lossReason = reason
    return true
  }

  /// Fails everybody: the kernel has no buffer of theirs any more.
  func failAll() {
    precondition(lossReason != nil)
    isDrained = true
    for entry in places where entry.state != .vacant {
      // An answer that came before the end is an answer.
      let result = entry.earlyAnswer ?? Self.lostResult
      finish(entry, result, nowNanoseconds: 0)
    }
    let left = waiting[firstWaiting...]
    waiting = []
    firstWaiting = 0
    for request in left { unsafe request.waiter.resume(returning: Self.lostResult) }
  }
}
