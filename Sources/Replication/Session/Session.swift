import DiskFormat
import IO
import RAID

/// One connection with another node, from the first byte to the last.
///
/// A handful of tasks serve it: one sends, one receives, others wait for the array. What they share is
/// here; nothing is locked, for all of them run on the array's executor.
// Safe: everything that has one runs on that executor.
final class Session<M: Machine, D: Disk>: @unchecked Sendable {
  let engine: ArrayEngine<M, D>
  let machine: M
  let options: SessionOptions
  /// Told what happens, a line each.
  let log: @Sendable (String) -> Void
  let channel: FrameChannel<M.MachineStream>

  /// Why it is over; the first reason counts.
  private(set) var end: SessionEnd?
  /// Keeps what a copy overwrites here; nil when nobody asked for that.
  var undo: UndoRegion<D>?
  var mine: Hello
  var theirs: Hello?
  /// One side does not know its record chain any more where both have records.
  var chainIsUnknown = false
  /// For status.
  var phase = SessionPhase.connecting

  // What is to be sent.
  private var outbox: [Outgoing] = []
  /// Copy frames that are not sent yet: they are sent in order.
  private var waitingCopyCount = 0
  private var rests: [WaitPoint] = []
  /// Counts signals, so that none is missed.
  private var signalCount: UInt64 = 0
  private(set) var runningTaskCount = 0
  private var isGivenUp = false
  /// Records go back to a primary that lost them, and a frame is being sent meanwhile.
  var isTail = false
  var isSendingAlone = false

  // A primary's side.
  var replica: ReplicaProgress?
  var flushSent: UInt64 = 0
  var isCopying = false
  var copiedCount: UInt64 = 0
  var copyNumber: UInt64 = 0
  var nextUnit: UInt64 = 0
  var unitsDone: UInt64 = 0
  var copyRate = WorkRate()
  var checksumAnswers: [UInt64: Checksums] = [:]
  var requestCount: UInt64 = 0
  /// Of the unit that was compared last all was different.
  var lastUnitDiffered = false
  var standingSent: Bool?
  /// The mode that the replica has been told.
  var modeTold: ReplicaMode?
  var wantsToCount = false
  var handOverPosition: StreamPosition?
  var verification: Verification?
  var blocksAwaited: Set<UInt64> = []
  var blockAnswers: [UInt64: (blocks: Blocks, slot: PayloadSlot?)] = [:]
  /// Steps of copies and comparisons that are under way, and how long they rested for clients.
  var stepCount = 0
  var restedNanoseconds: UInt64 = 0
  // For the watchdog: since when answers are awaited, and reads of this node are under way, by a number;
  // when the replica said last that it has more.
  var questionsSince: [UInt64: UInt64] = [:]
  var readsSince: [UInt64: UInt64] = [:]
  var progressNanoseconds: UInt64 = 0

  // A replica's side.
  var received = StreamPosition(number: 0, chain: 0)
  var flushWanted: UInt64 = 0
  /// When the primary acknowledges its writes.
  var primaryMode = ReplicaMode.c
  var acknowledged = Acknowledgement(received: 0, logged: 0, durable: 0, copied: 0)
  var durable: UInt64 = 0
  var copied: UInt64 = 0
  var copyEnd: CopyEnd?
  var standing: Standing?
  var slots: [PayloadSlot] = []
  var slotsInUse: [PayloadSlot] = []
  /// Copied blocks that are to be written, and the runs of all that are not yet.
  var copiesWaiting: [ReceivedCopy] = []
  var copiesPending: [BlockRun] = []
  var checksumsWanted: [(wanted: ChecksumsWanted, records: UInt64)] = []
  var blocksWanted: [(wanted: BlocksWanted, records: UInt64)] = []
  /// Blocks were mended since the log was flushed.
  var hasMended = false

  struct ReceivedCopy {
    var run: BlockRun
    var slot: PayloadSlot
    /// The records that came before it.
    var recordCount: UInt64
  }

  struct Outgoing {
    var message: StreamMessage
    var payload: IOBuffer?
    /// Whose memory that is.
    var owner: AnyObject?
    /// Records up to here are sent before it.
    var afterNumber: UInt64 = 0
  }

  init?(
    _ engine: ArrayEngine<M, D>, _ machine: M, _ stream: M.MachineStream,
    options: SessionOptions, hello: Hello, log: @escaping @Sendable (String) -> Void
  ) {
    guard let channel = FrameChannel(stream, clock: { machine.nowNanoseconds }) else {
      return nil
    }
    self.engine = engine
    self.machine = machine
    self.options = options
    self.log = log
    self.channel = channel
    mine = hello
  }

  /// Asks the array something that it answers at once.
  func onArray<Answer: Sendable>(
    _ body: (isolated ArrayEngine<M, D>) -> Answer
  ) -> Answer { engine.assumeIsolated(body) }

  var view: NodeView { onArray { $0.nodeView } }
  /// What frames carry: the newest timeline that this node is in.
  var timelineID: Identifier { view.timelines.last?.timelineID ?? .none }

  // MARK: Waiting

  /// Something has changed: all who wait look again.
  func signal() {
    signalCount += 1
    let waiting = rests
    rests.removeAll(keepingCapacity: true)
    for var point in waiting { point.signal() }
    replica?.signal()
  }

  /// Waits until `isDone`, which is asked after every signal; or until the end.
  func wait(until isDone: () -> Bool) async {
    while end == nil, !isDone() {
      let seen = signalCount
      // Safe: resumed once, by `signal`, or here: others may have run meanwhile.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        guard signalCount == seen else { return unsafe waiter.resume() }
        var point = WaitPoint()
        unsafe point.put(waiter)
        rests.append(point)
      }
    }
  }

  /// Ends it: whoever sends, receives or waits returns.
  func finish(_ reason: SessionEnd) {
    if end == nil { end = reason }
    channel.stream.shutdown()
    signal()
  }

  // MARK: Tasks

  /// Runs a part of it beside the others; when one ends, all do.
  func spawn(_ body: @escaping @Sendable (Session) async throws(SessionEnd) -> Void) {
    runningTaskCount += 1
    let machine = machine
    Task(executorPreference: machine) {
      do throws(SessionEnd) {
        try await body(self)
      } catch {
        self.finish(error)
      }
      self.runningTaskCount -= 1
      self.signal()
    }
  }

  /// Returns when it is over and all of its tasks have ended.
  func waitForTasks() async {
    await wait { false }
    while runningTaskCount > 0, !isGivenUp {
      let seen = signalCount
      // Safe: resumed once, by `signal`, or here.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        guard signalCount == seen else { return unsafe waiter.resume() }
        var point = WaitPoint()
        unsafe point.put(waiter)
        rests.append(point)
      }
    }
  }

  /// Whoever has not ended by now is not waited for any more.
  func giveUpTasks() {
    guard runningTaskCount > 1 else { return }
    isGivenUp = true
    signal()
  }

  // MARK: Sending

  /// Hands over a frame to be sent.
  func post(
    _ message: StreamMessage, payload: IOBuffer? = nil, owner: AnyObject? = nil,
    afterNumber: UInt64 = 0
  ) {
    if message.kind == .copyBlocks || message.kind == .copyEnd { waitingCopyCount += 1 }
    outbox.append(
      Outgoing(
        message: message, payload: payload, owner: owner, afterNumber: afterNumber))
    signal()
  }

  var hasOutgoing: Bool { !outbox.isEmpty }
  /// The copy frames that are with the stream, by their number.
  var copyFramesSent: UInt64 { copyNumber - UInt64(waitingCopyCount) }

  /// Sends the first frame of the outbox whose time has come.
  ///
  /// - Returns: false when there is none.
  func sendOutgoing(sent: UInt64) async throws(SessionEnd) -> Bool {
    guard let index = outbox.firstIndex(where: { $0.afterNumber <= sent }) else { return false }
    let next = outbox.remove(at: index)
    try await channel.send(next.message, payload: next.payload, timelineID: timelineID)
    withExtendedLifetime(next.owner) {}
    if next.message.kind == .copyBlocks || next.message.kind == .copyEnd { waitingCopyCount -= 1 }
    signal()
    return true
  }

  /// Says something from time to time, and ends it when the other says nothing.
  func runClock() async throws(SessionEnd) {
    let step = max(1_000_000, options.silenceNanoseconds / 4)
    while end == nil {
      await machine.sleep(nanoseconds: step)
      let now = machine.nowNanoseconds
      if now > channel.receivedNanoseconds,
        now - channel.receivedNanoseconds > options.silenceNanoseconds
      {
        throw .lost("it has been silent for \(options.silenceNanoseconds / 1_000_000) ms")
      }
      guard onArray({ $0.isServing }) else { throw .stopped("the array has stopped") }
      // What waits for records says nothing meanwhile.
      if !outbox.contains(where: { $0.message.kind == .keepAlive }) {
        let durable = onArray { $0.durablePosition.number }
        post(.keepAlive(KeepAlive(number: replica?.sent ?? 0, durable: durable)))
      }
    }
  }

  // MARK: Payload

  /// Memory for a payload; waits when too much is on its way.
  func takeSlot(_ byteCount: Int) async -> PayloadSlot? {
    let countMax = max(2, options.receiveBytesMax >> 20)
    while end == nil {
      reclaimSlots()
      let pendingCount = copiesPending.count
      if slotsInUse.count + pendingCount < countMax { break }
      await wait {
        let published = onArray { $0.publishedRecordCount }
        return self.slotsInUse.contains { $0.neededThrough <= published }
          || self.copiesPending.count < pendingCount
      }
    }
    guard end == nil else { return nil }
    if let index = slots.lastIndex(where: { $0.buffer.byteCount >= byteCount }) {
      return slots.remove(at: index)
    }
    return PayloadSlot(byteCount: max(byteCount, 1 << 20))
  }

  private func reclaimSlots() {
    let published = onArray { $0.publishedRecordCount }
    var kept: [PayloadSlot] = []
    for slot in slotsInUse {
      if slot.neededThrough > published { kept.append(slot) } else { slots.append(slot) }
    }
    slotsInUse = kept
  }

  /// A payload is in use until so many records have been published.
  func keep(_ slot: PayloadSlot?, through count: UInt64) {
    guard let slot else { return }
    slot.neededThrough = count
    slotsInUse.append(slot)
  }

  /// It is over, but a log that hangs has not copied every payload yet: their memory stays until then.
  func lendSlots() {
    guard let count = slotsInUse.map(\.neededThrough).max() else { return }
    let (engine, slots) = (engine, slotsInUse)
    Task(executorPreference: machine) {
      do throws(ArrayError) { try await engine.waitUntilPublished(count) } catch {}
      withExtendedLifetime(slots) {}
    }
  }

  func giveBack(_ slot: PayloadSlot?) {
    if let slot { slots.append(slot) }
  }
}

/// What a session is doing.
package enum SessionPhase: String, Sendable {
  case connecting = "connecting"
  case fetchingTail = "fetching what it lost"
  case givingTail = "giving back what the primary lost"
  case catchingUp = "catching up"
  case copying = "copying"
  case inStep = "in step"
  case following = "following"
  case receivingCopy = "receiving a copy"
}
