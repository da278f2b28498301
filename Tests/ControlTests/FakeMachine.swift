import Control
import Glibc
import IO
import NBDServer

// A machine just large enough for the control server: streams are queues in memory, time moves
// when a test says so, and everything runs on the main actor.

/// Safe to share: every method runs on the main actor's executor, which the tests use too.
final class FakeMachine: Machine, @unchecked Sendable {
  typealias MachineDisk = NoDisk
  typealias MachineStream = FakeStream
  typealias MachineListener = FakeListener

  private(set) var nowNanoseconds: UInt64 = 1_000_000_000
  func readClock() -> UInt64 { nowNanoseconds }
  private var sleepers: [(wakeAt: UInt64, waiter: CheckedContinuation<Void, Never>)] = []

  nonisolated var unownedExecutor: UnownedSerialExecutor {
    unsafe MainActor.sharedUnownedExecutor
  }

  /// Tasks that prefer this machine run on the main actor like everything else here.
  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    Task { @MainActor in
      // Safe: each job is run once, on the executor that it is told.
      unsafe job.runSynchronously(
        isolatedTo: MainActor.sharedUnownedExecutor, taskExecutor: self.asUnownedTaskExecutor())
    }
  }

  func sleep(nanoseconds: UInt64) async {
    await withCheckedContinuation { sleepers.append((nowNanoseconds + nanoseconds, $0)) }
  }

  var loopCounters: LoopCounters { LoopCounters() }

  func randomNumber() -> UInt64 { 4 }

  var sleeperCount: Int { sleepers.count }

  /// Moves the clock and wakes who is due.
  func advance(nanoseconds: UInt64) {
    nowNanoseconds += nanoseconds
    let due = sleepers.filter { $0.wakeAt <= nowNanoseconds }
    sleepers.removeAll { $0.wakeAt <= nowNanoseconds }
    for sleeper in due { sleeper.waiter.resume() }
  }
}

struct NoDisk: Disk {
  var properties: DiskProperties { DiskProperties(alignmentBytes: 1) }
  func readSome(at offsetBytes: UInt64, into buffer: IOBuffer) async -> Int32 { -EIO }
  func writeSome(at offsetBytes: UInt64, from buffer: IOBuffer) async -> Int32 { -EIO }
  func synchronizeOnce() async -> Int32 { -EIO }
  func clearOnce(at offsetBytes: UInt64, byteCount: UInt64, mode: ClearMode) async -> Int32 { -EIO }
  func prefetchOnce(at offsetBytes: UInt64, byteCount: UInt64) async -> Int32 { -EIO }
  func extentOnce(at offsetBytes: UInt64) async -> Result<DiskExtent, SystemError> {
    .failure(SystemError(EIO))
  }
  func currentByteCount() -> Result<UInt64, SystemError> { .failure(SystemError(EIO)) }
  func close() async {}
}

/// The server's end of a connection; the test holds the other end in its hands.
final class FakeStream: ByteStream, @unchecked Sendable {
  private var incoming: [UInt8] = []
  private var hasEnded = false
  private var reader: CheckedContinuation<Void, Never>?
  private var writer: CheckedContinuation<Void, Never>?
  private(set) var sent: [UInt8] = []
  private(set) var isShutDown = false
  private(set) var isClosed = false
  /// How much one receive or send moves at most; 0 makes sends wait for ever.
  var chunkByteCount = Int.max

  let peerDescription = "a test"

  var hasBlockedSender: Bool { writer != nil }

  /// Bytes from the client.
  func deliver(_ bytes: [UInt8]) {
    incoming += bytes
    wake()
  }

  /// The client has closed its end.
  func end() {
    hasEnded = true
    wake()
  }

  private func wake() {
    reader?.resume()
    reader = nil
    writer?.resume()
    writer = nil
  }

  func receiveSome(into pieces: ScatterList) async -> Int32 {
    precondition(!isClosed && pieces.pieceCount == 1)
    while incoming.isEmpty, !hasEnded, !isShutDown {
      await withCheckedContinuation { waiter in
        // Others may have run since the condition was looked at: again, where none can.
        if incoming.isEmpty, !hasEnded, !isShutDown { reader = waiter } else { waiter.resume() }
      }
    }
    if isShutDown { return -ECONNRESET }
    let piece = pieces.piece(0)
    let count = min(piece.byteCount, incoming.count, max(1, chunkByteCount))
    piece.copy(from: Array(incoming[..<count]))
    incoming.removeFirst(count)
    return Int32(count)
  }

  func sendSome(from pieces: ScatterList) async -> Int32 {
    precondition(!isClosed)
    while chunkByteCount == 0, !isShutDown {
      await withCheckedContinuation { waiter in
        if chunkByteCount == 0, !isShutDown { writer = waiter } else { waiter.resume() }
      }
    }
    if isShutDown { return -EPIPE }
    let piece = pieces.piece(0)
    let count = min(piece.byteCount, chunkByteCount)
    for index in 0..<count {
      // Safe: inside the piece; every pattern of bits is a byte.
      sent.append(unsafe piece.bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self))
    }
    return Int32(count)
  }

  var untakenByteCount: Int { 0 }

  func shutdown() {
    isShutDown = true
    wake()
  }

  func close() async {
    precondition(!isClosed, "closed twice")
    isClosed = true
  }

  /// The lines that the server has sent.
  var lines: [[UInt8]] { sent.split(separator: UInt8(ascii: "\n")).map { Array($0) } }
}

final class FakeListener: StreamListener, @unchecked Sendable {
  private var waiting: [Result<FakeStream, SystemError>] = []
  private var acceptor: CheckedContinuation<Void, Never>?
  private var isStopped = false
  private(set) var isClosed = false

  let localDescription = "unix:/test"

  func connect() -> FakeStream {
    let stream = FakeStream()
    offer(.success(stream))
    return stream
  }

  func offer(_ result: Result<FakeStream, SystemError>) {
    waiting.append(result)
    wake()
  }

  private func wake() {
    acceptor?.resume()
    acceptor = nil
  }

  func acceptOnce() async -> Result<FakeStream, SystemError> {
    while waiting.isEmpty, !isStopped {
      await withCheckedContinuation { waiter in
        if waiting.isEmpty, !isStopped { acceptor = waiter } else { waiter.resume() }
      }
    }
    if isStopped { return .failure(SystemError(ECANCELED)) }
    return waiting.removeFirst()
  }

  func stop() {
    isStopped = true
    wake()
  }

  func close() async { isClosed = true }
}

/// Counts how often it is asked to stop.
actor FakeTarget: ControlTarget {
  private(set) var stopCount = 0

  func status() async -> ServerStatus { sampleStatus }

  func requestStop() async { stopCount += 1 }

  /// Orders that have been begun, and whoever waits for the end of the last one.
  private(set) var orders: [ArrayOrder] = []
  private var finisher: CheckedContinuation<Result<OrderOutcome, ControlRefusal>, Never>?

  func perform(_ order: ArrayOrder) async -> Result<OrderOutcome, ControlRefusal> {
    orders.append(order)
    return await withCheckedContinuation { finisher = $0 }
  }

  func finish(_ result: Result<OrderOutcome, ControlRefusal>) {
    finisher?.resume(returning: result)
    finisher = nil
  }
}
