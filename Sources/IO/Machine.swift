import Glibc

/// The one seam between Ashlar and the world: executor, clock, randomness.
///
/// `Ring` implements it on io_uring, `Simulator` on a seeded virtual machine. Engines are generic
/// over it, so the identical code runs on both. Disks, streams and listeners are reached through
/// the associated types; a machine's own type says how they are opened.
///
/// Everything that uses a machine runs on its executor. Actors take it as their `unownedExecutor`,
/// and every task is started with `Task(executorPreference: machine)`: without the preference the
/// runtime (6.3) resumes a task's continuations on the global pool, on another thread.
package protocol Machine: TaskExecutor {
  associatedtype MachineDisk: Disk
  associatedtype MachineStream: ByteStream
  associatedtype MachineListener: StreamListener where MachineListener.Stream == MachineStream

  /// The executor of every actor that does I/O on this machine.
  nonisolated var unownedExecutor: UnownedSerialExecutor { get }

  /// Nanoseconds on a clock that never steps and runs on while the machine sleeps.
  ///
  /// Read once per turn of the loop: cheap, and at most one turn old.
  var nowNanoseconds: UInt64 { get }

  /// The same clock, read afresh: for measuring what happens within one turn.
  func readClock() -> UInt64

  /// What the executor has done so far.
  var loopCounters: LoopCounters { get }

  /// Suspends the caller for at least this long.
  func sleep(nanoseconds: UInt64) async

  /// A random number: from the kernel, or from the simulation's seed.
  func randomNumber() -> UInt64
}

/// What an executor's loop has done since it was made; what one request costs is told from two of
/// these.
package struct LoopCounters: Equatable, Sendable {
  /// Turns of the loop.
  package var turnCount: UInt64 = 0
  /// Calls into the kernel to hand over operations and wait for them.
  package var enterCount: UInt64 = 0
  /// Jobs run: each resumption after a suspension is one.
  package var jobCount: UInt64 = 0
  /// Operations completed.
  package var completionCount: UInt64 = 0

  package init() {}
}

/// What a disk can do and wants, asked once when it is opened.
package struct DiskProperties: Equatable, Sendable {
  /// Offsets, lengths and memory must be multiples of this power of two; 1 where nothing is
  /// required (buffered files).
  package var alignmentBytes: Int
  /// A block device cannot grow, and zeroing never needs new space.
  package var isBlockDevice: Bool
  /// Spinning media.
  package var isRotational: Bool

  package init(alignmentBytes: Int, isBlockDevice: Bool = false, isRotational: Bool = false) {
    precondition(alignmentBytes > 0 && alignmentBytes & (alignmentBytes - 1) == 0)
    self.alignmentBytes = alignmentBytes
    self.isBlockDevice = isBlockDevice
    self.isRotational = isRotational
  }
}

/// How a range of a disk is to be cleared.
package enum ClearMode: Equatable, Sendable {
  /// Give the space back; reads as zeros (`FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE`).
  case punchHole
  /// Keep the space reserved; reads as zeros (`FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE`).
  case zeroRange
}

/// A run of a disk that is allocated throughout, or a hole throughout.
package struct DiskExtent: Equatable, Sendable {
  /// The first byte behind the run.
  package var endBytes: UInt64
  package var isHole: Bool

  package init(endBytes: UInt64, isHole: Bool) {
    self.endBytes = endBytes
    self.isHole = isHole
  }
}

/// One member's bytes, at the level of single operations.
///
/// Each returns what the kernel would: a count of bytes or zero, or a negated errno. The loops
/// that continue short transfers and repeat interrupted ones stand above (`Disk+Whole.swift`),
/// once for the ring and the simulator alike. Nobody outside this module calls these directly.
package protocol Disk: Sendable {
  var properties: DiskProperties { get }

  /// - Returns: bytes read, fewer than asked at the end of the file, or a negated errno.
  func readSome(at offsetBytes: UInt64, into buffer: IOBuffer) async -> Int32
  /// Reads what needs no waiting for, as the page cache may have it.
  ///
  /// - Returns: bytes read, or a negated errno; `EAGAIN` where it would have to wait.
  func readAtOnce(at offsetBytes: UInt64, into buffer: IOBuffer) -> Int32
  /// - Returns: bytes written, perhaps fewer than asked, or a negated errno.
  func writeSome(at offsetBytes: UInt64, from buffer: IOBuffer) async -> Int32
  /// fdatasync.
  func synchronizeOnce() async -> Int32
  /// fsync: the file's times as well, not only what is needed to find its bytes again.
  func synchronizeAllOnce() async -> Int32
  /// fallocate, by `mode`.
  func clearOnce(at offsetBytes: UInt64, byteCount: UInt64, mode: ClearMode) async -> Int32
  /// Asks for a range to be read ahead (`POSIX_FADV_WILLNEED`).
  func prefetchOnce(at offsetBytes: UInt64, byteCount: UInt64) async -> Int32
  /// The extent that holds `offsetBytes` (`SEEK_DATA`, `SEEK_HOLE`), or the errno.
  func extentOnce(at offsetBytes: UInt64) async -> Result<DiskExtent, SystemError>
  /// The size now, which another program may have changed. Never waits for the medium.
  func currentByteCount() -> Result<UInt64, SystemError>
  /// For an owner who does without this disk from now on, because it hangs or was lost: ends what
  /// is under way as far as that is possible, and returns then. May be repeated.
  func retire() async
  /// Makes the disk usable again after `retire`, where that takes something: a new connection.
  ///
  /// Whatever was not flushed before may be gone. Bounded in time; to be asked again and again.
  ///
  /// - Returns: whether it is worth looking at now.
  func revive() async -> Bool
  /// Releases the disk. No operation may be in flight.
  func close() async
}

// Most disks have nothing at once, and none can take back what the kernel has.
extension Disk {
  package func readAtOnce(at offsetBytes: UInt64, into buffer: IOBuffer) -> Int32 { -EAGAIN }
  package func retire() async {}
  package func revive() async -> Bool { true }
}

/// A connected byte stream, at the level of single operations.
package protocol ByteStream: Sendable {
  /// Fills the pieces in order, at least one byte.
  ///
  /// - Returns: bytes received, 0 when the peer closed, or a negated errno.
  func receiveSome(into pieces: ScatterList) async -> Int32
  /// Sends from the pieces in order.
  ///
  /// - Returns: bytes sent, perhaps fewer than there are, or a negated errno.
  func sendSome(from pieces: ScatterList) async -> Int32
  /// How much of what was sent the peer has not taken yet, as far as that is known: 0 says nothing.
  var untakenByteCount: Int { get }
  /// Ends both directions: what is waiting to send or receive returns at once. May be repeated.
  func shutdown()
  /// Releases the stream. No operation may be in flight.
  func close() async
  /// Who is at the other end, for logs: an address, or a user and process number.
  var peerDescription: String { get }
}

/// A socket that accepts streams.
package protocol StreamListener: Sendable {
  associatedtype Stream: ByteStream

  /// - Returns: the next stream, or the errno (`EMFILE`, `ECONNABORTED`, `ECANCELED` when stopped).
  func acceptOnce() async -> Result<Stream, SystemError>
  /// Makes a waiting and every later `acceptOnce` fail with `ECANCELED`. May be repeated.
  func stop()
  /// Releases the listener. No accept may be waiting.
  func close() async
  /// Where it listens, as the user wrote it: `unix:PATH` or `tcp:HOST:PORT`.
  var localDescription: String { get }
}
