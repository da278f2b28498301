import Glibc
package import IO
import Parity
import Units

/// A simulated medium, opened on a machine.
///
/// An operation takes effect between its submission and its return, in up to four pieces cut at
/// sectors, each at a time of its own: overlapping operations in flight interleave.
package final class SimulatedDisk: Disk, MachinePart, @unchecked Sendable {
  package let properties: DiskProperties
  /// Given up at a crash, because tasks that never end go on holding the disk.
  private var openMedium: SimulatedMedium?
  package let machine: SimulatedMachine
  /// How long operations take from now on.
  package var latency = DiskLatency()
  /// How many of a million reads of a buffered file find everything in the page cache.
  package var cachedReadsPerMillion = 0
  /// While true, what is submitted does not return: see `release`.
  package var isStuck = false
  let number: UInt64
  var random: RandomSource
  private var inFlight: [DiskOperation] = []
  private var stuck: [DiskOperation] = []
  private var isClosed = false

  /// Opens a medium.
  ///
  /// Offsets, lengths and addresses must be multiples of `alignmentBytes`, as with O_DIRECT; with 1
  /// it behaves as a buffered file.
  package init(
    _ machine: SimulatedMachine, _ medium: SimulatedMedium, alignmentBytes: Int = 4096,
    isRotational: Bool = false
  ) {
    properties = DiskProperties(
      alignmentBytes: alignmentBytes, isBlockDevice: medium.isBlockDevice,
      isRotational: isRotational)
    openMedium = medium
    self.machine = machine
    number = machine.simulation.makePartNumber()
    random = machine.simulation.makeSource()
    machine.attach(self)
  }

  /// What it lies on.
  ///
  /// - Precondition: its machine has not crashed. Keep the medium itself to reopen it.
  package var medium: SimulatedMedium {
    guard let openMedium else { preconditionFailure("the disk's machine has crashed") }
    return openMedium
  }

  // MARK: Disk

  package func readSome(at offsetBytes: UInt64, into buffer: IOBuffer) async -> Int32 {
    await perform(DiskOperation(.read, offsetBytes, UInt64(buffer.byteCount), buffer))
  }

  package func readAtOnce(at offsetBytes: UInt64, into buffer: IOBuffer) -> Int32 {
    guard machine.crashKind == nil, properties.alignmentBytes == 1,
      random.happens(perMillion: cachedReadsPerMillion)
    else { return -EAGAIN }
    return readCached(at: offsetBytes, into: buffer)
  }

  package func writeSome(at offsetBytes: UInt64, from buffer: IOBuffer) async -> Int32 {
    await perform(DiskOperation(.write, offsetBytes, UInt64(buffer.byteCount), buffer))
  }

  package func synchronizeOnce() async -> Int32 {
    await perform(DiskOperation(.synchronize, 0, 0, nil))
  }

  package func clearOnce(
    at offsetBytes: UInt64, byteCount: UInt64, mode: ClearMode
  ) async -> Int32 {
    await perform(DiskOperation(.clear, offsetBytes, byteCount, nil, mode))
  }

  package func prefetchOnce(at offsetBytes: UInt64, byteCount: UInt64) async -> Int32 {
    await perform(DiskOperation(.prefetch, offsetBytes, byteCount, nil))
  }

  package func extentOnce(at offsetBytes: UInt64) async -> Result<DiskExtent, SystemError> {
    let operation = DiskOperation(.extent, offsetBytes, 0, nil)
    let result = await perform(operation)
    guard result >= 0, let extent = operation.extent else {
      return .failure(SystemError(result < 0 ? -result : EIO))
    }
    return .success(extent)
  }

  package func currentByteCount() -> Result<UInt64, SystemError> {
    machine.simulation.confine()
    guard machine.crashKind == nil else { return .failure(SystemError(ECANCELED)) }
    if let error = medium.sizeError { return .failure(error) }
    return .success(medium.live.byteCount)
  }

  package func close() async {
    precondition(!isClosed, "a disk is closed once")
    precondition(
      inFlight.isEmpty,
      "disk \(number) is closed with \(inFlight.map { "\($0.kind) \($0.offsetBytes)" }) in flight")
    isClosed = true
    await machine.pause(nanoseconds: random.next(below: 10_000))
  }

  /// Lets every stuck operation go on, and new ones no longer get stuck.
  package func release() {
    machine.simulation.confine()
    isStuck = false
    let released = stuck
    stuck = []
    guard machine.crashKind == nil else { return }
    for operation in released { proceed(operation) }
  }

  /// How many operations have been submitted and have not returned.
  package var inFlightCount: Int { inFlight.count }

  // MARK: An operation's course

  private func perform(_ operation: DiskOperation) async -> Int32 {
    await machine.suspend { waiter in
      operation.waiter = waiter
      submit(operation)
    }
    return operation.result
  }

  private func submit(_ operation: DiskOperation) {
    precondition(!isClosed, "an operation on a closed disk")
    // What a crashed machine still starts never happens.
    guard machine.crashKind == nil else { return }
    let injected = machine.faultPlan.begin(operation.kind)
    decide(operation, injected)
    machine.simulation.note(
      .diskSubmit, number << 8 | UInt64(operation.kind.rawValue), operation.offsetBytes,
      operation.byteCount << 32 | UInt64(UInt32(bitPattern: operation.result)),
      "disk \(number) \(operation.kind) \(operation.offsetBytes)+\(operation.byteCount)"
        + " will be \(operation.result)\(operation.note)")
    inFlight.append(operation)
    if case .crash(let kind) = injected {
      machine.crash(kind)
    } else if operation.isStuck {
      stuck.append(operation)
    } else {
      proceed(operation)
    }
  }

  private func proceed(_ operation: DiskOperation) {
    let duration = latency.draw(&random, isSynchronize: operation.kind == .synchronize)
    while let piece = operation.pendingPieces.popLast() {
      // Half of the single pieces take effect as they complete, which saves an event.
      if operation.pieceCount == 1, random.coin() {
        operation.pendingPieces.append(piece)
        break
      }
      operation.scheduledPieces.append(piece)
      machine.simulation.schedule(after: random.next(below: duration + 1), on: machine) {
        self.takeEffect(operation)
      }
    }
    machine.simulation.schedule(after: duration, on: machine) { self.complete(operation) }
  }

  /// One of the scheduled pieces, whichever: their times were drawn alike.
  private func takeEffect(_ operation: DiskOperation) {
    guard !operation.scheduledPieces.isEmpty else { return }
    let index = random.index(below: operation.scheduledPieces.count)
    takeEffect(operation, operation.scheduledPieces.remove(at: index))
  }

  private func complete(_ operation: DiskOperation) {
    for piece in operation.pendingPieces { takeEffect(operation, piece) }
    operation.pendingPieces = []
    finish(operation)
    if operation.kind == .write || operation.kind == .clear {
      medium.acknowledge(operation.ticket)
    }
    let place = inFlight.firstIndex { $0 === operation }
    if let place { inFlight.remove(at: place) }
    var dataChecksum: UInt32 = 0
    if operation.kind == .read, operation.result > 0, let buffer = operation.buffer {
      dataChecksum = CRC32C.checksum(buffer.prefix(Int(operation.result)).bytes)
    }
    machine.simulation.note(
      .diskComplete, number << 8 | UInt64(operation.kind.rawValue), operation.offsetBytes,
      UInt64(dataChecksum) << 32 | UInt64(UInt32(bitPattern: operation.result)),
      "disk \(number) \(operation.kind) \(operation.offsetBytes)+\(operation.byteCount)"
        + " is \(operation.result)")
    operation.waiter?.resume()
    operation.waiter = nil
  }

  func machineCrashed(_ kind: CrashKind) {
    // Each piece that was still to come may have come.
    for operation in inFlight where operation.kind == .write || operation.kind == .clear {
      for piece in operation.pendingPieces + operation.scheduledPieces where random.coin() {
        takeEffect(operation, piece)
      }
      // The kernel is done with a killed process's operations before another opens the medium: that
      // one's fdatasync covers what they did.
      if kind == .kill { medium.acknowledge(operation.ticket) }
    }
    inFlight = []
    stuck = []
    if kind == .powerLoss { medium.losePower(&random) }
    machine.simulation.note(
      .mediumChange, number, UInt64(medium.live.checksum), medium.live.byteCount, "disk \(number)")
    openMedium = nil
  }
}
