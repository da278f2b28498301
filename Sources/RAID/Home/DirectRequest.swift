import DiskFormat
import Geometry
import IO
import Units

/// A part of a client's request that is to go home without its payload in the log.
final class DirectRequest {
  /// What came of it.
  enum Outcome {
    /// It is home; a flush makes it durable.
    case done
    /// Not now: its home is as it was, and its payload has to take the log.
    case refused
  }

  /// Whole rows.
  let run: BlockRun
  /// Stays as it is until the end.
  private let payload: IOBuffer
  /// Of the blocks behind it, where a second client's request completes the rows.
  private let rest: IOBuffer?
  private var outcome: Outcome?
  /// One for each client's request.
  private var waiting: [WaitPoint] = []

  init(_ run: BlockRun, payload: IOBuffer, rest: IOBuffer? = nil) {
    precondition(
      UInt64(payload.byteCount + (rest?.byteCount ?? 0))
        == run.blockCount * StripeGeometry.blockBytes)
    self.run = run
    self.payload = payload
    self.rest = rest
  }

  /// Copies a part of what is to be written, from `offset` bytes on, and fills `target` with it.
  func copyPayload(from offset: Int, into target: IOBuffer) {
    let count = min(target.byteCount, max(0, payload.byteCount - offset))
    if count > 0 { target.prefix(count).copy(from: payload.slice(offset, count)) }
    guard count < target.byteCount, let rest else { return }
    let left = target.byteCount - count
    target.dropFirst(count).copy(from: rest.slice(offset + count - payload.byteCount, left))
  }

  func end(_ outcome: Outcome) {
    guard self.outcome == nil else { return }
    self.outcome = outcome
    let all = waiting
    waiting = []
    for var point in all { point.signal() }
  }

  func wait() async -> Outcome {
    while true {
      if let outcome { return outcome }
      // Safe: resumed once, by `end`, or here: others may have run meanwhile.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        guard outcome == nil else { return unsafe waiter.resume() }
        var point = WaitPoint()
        unsafe point.put(waiter)
        waiting.append(point)
      }
    }
  }
}

/// What a client's request has behind its last whole rows: the next request may complete them.
///
/// A stream of requests that are no multiples of a stripe would else have each boundary in the log.
final class DirectTail {
  /// What came of it.
  enum Outcome {
    /// The next request has the rest of the rows: this one writes both.
    case completed(DirectRequest)
    /// Nobody came: it has to take the log.
    case refused
  }

  /// From the first block of a unit of whole rows on.
  let run: BlockRun
  /// Stays as it is until the end.
  let payload: IOBuffer
  /// It is refused when so many rounds have gone home.
  let roundNumberMax: UInt64
  private var outcome: Outcome?
  private var rest = WaitPoint()

  init(_ run: BlockRun, payload: IOBuffer, roundNumberMax: UInt64) {
    self.run = run
    self.payload = payload
    self.roundNumberMax = roundNumberMax
  }

  func end(_ outcome: Outcome) {
    guard self.outcome == nil else { return }
    self.outcome = outcome
    rest.signal()
  }

  func wait() async -> Outcome {
    while true {
      if let outcome { return outcome }
      // Safe: resumed once, by `end`, or here: others may have run meanwhile.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if outcome != nil { unsafe waiter.resume() } else { unsafe rest.put(waiter) }
      }
    }
  }
}

/// Requests that wait for the keeper of home, in order.
struct DirectQueue {
  private var requests = LogQueue<DirectRequest>()
  private var blockCount: UInt64 = 0
  /// What waits for the request behind it, which then comes into the queue with it.
  private var tails: [DirectTail] = []

  var isEmpty: Bool { requests.isEmpty }

  mutating func append(_ request: DirectRequest) {
    requests.append(request)
    blockCount += request.run.blockCount
  }

  mutating func append(_ tail: DirectTail) { tails.append(tail) }

  /// Takes the tail that ends where these blocks begin, if both together are `unitBlockCount` blocks.
  mutating func takeTail(before run: BlockRun, unitBlockCount: UInt64) -> DirectTail? {
    guard
      let index = tails.firstIndex(where: {
        $0.run.endBlock == run.firstBlock && $0.run.blockCount + run.blockCount == unitBlockCount
      })
    else { return nil }
    return tails.remove(at: index)
  }

  /// Refuses the tails that have waited for so many rounds.
  mutating func refuseTails(through roundNumber: UInt64) {
    guard !tails.isEmpty else { return }
    for tail in tails where tail.roundNumberMax <= roundNumber { tail.end(.refused) }
    tails.removeAll { $0.roundNumberMax <= roundNumber }
  }

  /// Takes the first ones, together no more than so many blocks, and none that has rows of another.
  ///
  /// `isHalf` leaves half of what waits to the next round, which is prepared while this one is
  /// written.
  mutating func take(blockCountMax: Int, isHalf: Bool) -> [DirectRequest] {
    var taken: [DirectRequest] = []
    var left = UInt64(blockCountMax)
    if isHalf { left = min(left, (blockCount + 1) / 2) }
    while let first = requests.first {
      let run = first.run
      guard run.blockCount <= left || taken.isEmpty else { break }
      let overlaps = taken.contains {
        $0.run.firstBlock < run.endBlock && run.firstBlock < $0.run.endBlock
      }
      guard !overlaps else { break }
      left -= min(left, run.blockCount)
      taken.append(first)
      requests.removeFirst()
      blockCount -= run.blockCount
    }
    return taken
  }

  /// Refuses all.
  mutating func refuseAll() {
    for index in 0..<requests.count { requests[index].end(.refused) }
    requests.removeAll()
    blockCount = 0
    refuseTails(through: .max)
  }
}

/// Makes what went home directly durable: rounds of fdatasync, each for all who wait.
final class DirectSync {
  private var unsyncedSlots = SlotSet()
  /// Rounds of direct writes so far, and how many of them are durable.
  private var writtenCount: UInt64 = 0
  private var durableCount: UInt64 = 0
  private var roundIsUnderWay = false
  /// What went wrong once is not tried again into a success (promise P8).
  private var failure: ArrayError?
  private var waiting: [WaitPoint] = []
  /// Home is being written directly just now.
  private var isWriting = false
  private var waitingForRound: [WaitPoint] = []

  var isDurable: Bool { durableCount == writtenCount }

  /// These members have been written to.
  func noteWritten(_ slots: SlotSet) {
    unsyncedSlots = unsyncedSlots.union(slots)
    writtenCount += 1
  }

  /// A round is about to write home.
  func beginRound() { isWriting = true }

  /// It has ended, well or not.
  func endRound() {
    isWriting = false
    let all = waitingForRound
    waitingForRound = []
    for var point in all { point.signal() }
  }

  /// Returns when no round is half written: for who must not be acknowledged beside one (rule D3).
  func waitForRound() async {
    while isWriting {
      // Safe: resumed once, at the end of the round, or here: others may have run meanwhile.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        guard isWriting else { return unsafe waiter.resume() }
        var point = WaitPoint()
        unsafe point.put(waiter)
        waitingForRound.append(point)
      }
    }
  }

  /// Returns when everything that was noted before the call is durable.
  ///
  /// `synchronize` makes what was written to members durable, and puts out those that fail.
  func flush(
    _ synchronize: (SlotSet) async throws(ArrayError) -> Void
  ) async throws(ArrayError) {
    let awaited = writtenCount
    while durableCount < awaited {
      if let failure { throw failure }
      guard !roundIsUnderWay else {
        await rest()
        continue
      }
      roundIsUnderWay = true
      let (covered, slots) = (writtenCount, unsyncedSlots)
      unsyncedSlots = SlotSet()
      do throws(ArrayError) {
        try await synchronize(slots)
        durableCount = max(durableCount, covered)
      } catch {
        failure = error
      }
      roundIsUnderWay = false
      let all = waiting
      waiting = []
      for var point in all { point.signal() }
    }
  }

  private func rest() async {
    // Safe: resumed once, at the end of the round, or here: others may have run meanwhile.
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      guard roundIsUnderWay else { return unsafe waiter.resume() }
      var point = WaitPoint()
      unsafe point.put(waiter)
      waiting.append(point)
    }
  }
}

extension ArrayParts {
  /// Whether anything may go home directly now.
  ///
  /// Every member has to get everything, and the log must hold nothing from before this start: then
  /// a recovery can always tell what came first (docs/upkeep.md, section 6).
  var mayWriteDirectly: Bool {
    logPolicy == .auto && !hasIncompleteMembers
      && members.writableSlots.count == geometry.memberCount
      && log.checkpointSequence >= recoveredSequence
  }

  /// Makes what went home directly durable; members that fail are put out.
  func flushDirect() async throws(ArrayError) {
    guard !directSync.isDurable else { return }
    try await directSync.flush { (slots) async throws(ArrayError) in
      try await self.synchronize(slots)
      // Whoever hangs is out, durably, before this counts without it (rule T6).
      await self.log.settleMembership()
      try self.log.checkRunning()
    }
  }
}

extension StripeGeometry {
  /// The blocks of the smallest run that is whole rows.
  ///
  /// With parity these are the rows of a stripe of chunks, which lie together.
  var directUnitBlockCount: UInt64 {
    parityCount > 0 ? chunkBlockCount * UInt64(dataCount) : 1
  }

  /// Whether a run inside the array has nothing but whole rows.
  func isWholeRows(_ run: BlockRun) -> Bool {
    run.firstBlock % directUnitBlockCount == 0 && run.blockCount % directUnitBlockCount == 0
  }

  /// The rows of a run of whole ones.
  func rows(of run: BlockRun) -> Range<UInt64> {
    run.firstBlock / UInt64(dataCount)..<run.endBlock / UInt64(dataCount)
  }

  /// The whole rows in the middle of a range of bytes; nil when there are none.
  func wholeRows(inside range: ByteRange) -> BlockRun? {
    let unit = directUnitBlockCount * Self.blockBytes
    let (first, end) = ((range.offsetBytes + unit - 1) / unit, range.endBytes / unit)
    guard first < end else { return nil }
    return BlockRun(
      firstBlock: first * directUnitBlockCount, blockCount: (end - first) * directUnitBlockCount)
  }
}
