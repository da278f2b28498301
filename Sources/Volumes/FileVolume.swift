package import IO
package import Units

/// One plain file or block device, without redundancy.
///
/// Requests that are not aligned to the disk's blocks are made whole by reading around them.
/// What it promises: an acknowledged write survives the daemon (P1), a flushed one the power (P2),
/// and nothing is made up (P4, P8): a failed fdatasync stops all writing, and a file that another
/// program has truncated stops the device altogether, because the bytes that were there would
/// come back as zeros.
package final class FileVolume<ServingMachine: Machine>: Volume {
  /// The disk of the machine that serves it.
  package typealias VolumeDisk = ServingMachine.MachineDisk

  package let traits: VolumeTraits
  let disk: WatchedDisk<VolumeDisk, ServingMachine>
  let machine: ServingMachine
  /// The disk's block, 1 for any byte: what is no multiple of it needs the blocks around it.
  let alignment: UInt64
  let reservations = RangeReservations()
  let bounceBuffers = BufferPool(byteCountMax: 64 << 20)
  private let flushes = FlushGroup()

  private var failure: (cause: String, action: String)?
  /// After a truncation reads stop, too.
  private var readsAreStopped = false
  private var lastTrouble: (cause: String, action: String, atNanoseconds: UInt64)?
  private var noSpaceCount: UInt64 = 0
  private var readErrorCount: UInt64 = 0
  private var writeErrorCount: UInt64 = 0
  /// Zeros to write from, shared by all who need some; never written to.
  private var zeros: AlignedMemory?
  private static var zeroByteCount: Int { 1 << 20 }
  private var punchHoleIsSupported = true
  private var zeroRangeIsSupported = true

  /// How long after the last refused write the device still counts as impaired.
  private static var troubleNanoseconds: UInt64 { 60_000_000_000 }

  /// `byteCount`, the device's size, is a multiple of the disk's alignment; `kind` tells the status
  /// what it lies on.
  package init(
    disk: VolumeDisk, byteCount: UInt64, kind: String, isReadOnly: Bool, machine: ServingMachine
  ) {
    self.disk = WatchedDisk(disk, machine: machine)
    self.machine = machine
    alignment = UInt64(disk.properties.alignmentBytes)
    precondition(byteCount % alignment == 0)
    traits = VolumeTraits(
      kind: kind, byteCount: byteCount, isReadOnly: isReadOnly,
      isRotational: disk.properties.isRotational,
      preferredBlockBytes: UInt32(max(4096, disk.properties.alignmentBytes)))
  }

  package var health: VolumeHealth {
    if let failure { return .failed(cause: failure.cause, action: failure.action) }
    if let trouble = lastTrouble,
      machine.nowNanoseconds - trouble.atNanoseconds < Self.troubleNanoseconds
    {
      return .impaired(cause: trouble.cause, action: trouble.action)
    }
    return .optimal
  }

  package var oldestOperationNanoseconds: UInt64? { disk.oldestNanoseconds }

  // MARK: Reading and writing

  package func read(_ range: ByteRange, into buffer: IOBuffer) async throws(VolumeError) {
    guard !readsAreStopped else { throw .stopped }
    guard !range.isEmpty else { return }
    do throws(DiskError) {
      if isDirectlyTransferable(range, buffer) {
        try await disk.read(at: range.offsetBytes, into: buffer.prefix(Int(range.byteCount)))
      } else {
        try await readAround(range, into: buffer)
      }
    } catch {
      throw noteReadError(error, range)
    }
    try checkSize()
  }

  package func readAtOnce(
    _ range: ByteRange, into buffer: IOBuffer
  ) throws(VolumeError) -> Bool {
    guard !readsAreStopped else { throw .stopped }
    // What is short or fails here is asked for again, and judged, the long way.
    guard isDirectlyTransferable(range, buffer),
      disk.readAtOnce(at: range.offsetBytes, into: buffer.prefix(Int(range.byteCount)))
        == range.byteCount
    else { return false }
    try checkSize()
    return true
  }

  package func write(
    _ range: ByteRange, from buffer: IOBuffer, durably: Bool
  ) async throws(VolumeError) {
    try checkWritable()
    if !range.isEmpty { try await writeReserved(range, from: buffer) }
    if durably { try await flush() }
  }

  private func writeReserved(
    _ range: ByteRange, from buffer: IOBuffer
  ) async throws(VolumeError) {
    let isDirect = isDirectlyTransferable(range, buffer)
    guard let blocks = isDirect ? range : range.alignedOutside(alignment) else {
      throw .inputOutput(reason: "a range beyond what a disk can have")
    }
    let reservation = await reservations.reserve(blocks, isExclusive: !isDirect)
    defer { reservations.release(reservation) }
    // It may have waited long.
    try checkWritable()
    do throws(DiskError) {
      if isDirect {
        try checkSizeBeforeWriting(range)
        try await disk.write(at: range.offsetBytes, from: buffer.prefix(Int(range.byteCount)))
      } else {
        try await writeAround(range, in: blocks, from: buffer)
      }
    } catch {
      throw noteWriteError(error, range)
    }
    try checkSize()
    try checkWritable()
  }

  package func flush() async throws(VolumeError) {
    try checkWritable()
    await flushes.join {
      // Somebody's round may have failed while this one waited: never ask again (P8).
      guard failure == nil else { return }
      do throws(DiskError) {
        try await disk.synchronize()
      } catch {
        fail(
          cause: "flushing \(traits.kind) failed: \(error.words)",
          action: "what was written since the last successful flush may be lost. Check the disk, "
            + "stop the server, and let the client recover its data before it goes on")
      }
    }
    try checkWritable()
    try checkSize()
  }

  // MARK: Clearing

  package func trim(_ range: ByteRange, durably: Bool) async throws(VolumeError) {
    try checkWritable()
    if punchHoleIsSupported {
      do throws(DiskError) {
        try await clear(range.alignedInside(clearAlignment), .punchHole)
      } catch {
        guard error.isUnsupported else { throw noteWriteError(error, range) }
        // Not being able to give space back is no error: trim is advice.
        punchHoleIsSupported = false
      }
      try checkSize()
    }
    if durably { try await flush() }
  }

  package func writeZeroes(
    _ range: ByteRange, keepAllocated: Bool, onlyIfFast: Bool, durably: Bool
  ) async throws(VolumeError) {
    try checkWritable()
    let inside = range.alignedInside(clearAlignment)
    if !inside.isEmpty {
      let isCleared = try await clearByFileSystem(inside, keepAllocated: keepAllocated)
      if !isCleared {
        if onlyIfFast { throw .notSupported }
        try await writeZeroBytes(inside)
      }
      try await writeZeroBytes(ByteRange(from: range.offsetBytes, to: inside.offsetBytes))
      try await writeZeroBytes(ByteRange(from: inside.endBytes, to: range.endBytes))
    } else {
      try await writeZeroBytes(range)
    }
    try checkSize()
    if durably { try await flush() }
  }

  /// Tries the file system's own ways.
  ///
  /// - Returns: false when it has none for this; nothing was changed then.
  private func clearByFileSystem(
    _ range: ByteRange, keepAllocated: Bool
  ) async throws(VolumeError) -> Bool {
    if !keepAllocated && punchHoleIsSupported {
      do throws(DiskError) {
        try await clear(range, .punchHole)
        return true
      } catch {
        guard error.isUnsupported else { throw noteWriteError(error, range) }
        punchHoleIsSupported = false
      }
    }
    if zeroRangeIsSupported {
      do throws(DiskError) {
        try await clear(range, .zeroRange)
        return true
      } catch {
        guard error.isUnsupported else { throw noteWriteError(error, range) }
        zeroRangeIsSupported = false
      }
    }
    return false
  }

  /// Clears with nobody writing there meanwhile: a client that trims a block and writes it in the
  /// same breath (fio's trimwrite does) expects to find what it wrote.
  private func clear(_ range: ByteRange, _ mode: ClearMode) async throws(DiskError) {
    var offset = range.offsetBytes
    while offset < range.endBytes {
      let end = min(offset + Self.clearByteCountMax, range.endBytes)
      let part = ByteRange(from: offset, to: end)
      let reservation = await reservations.reserve(part, isExclusive: true)
      defer { reservations.release(reservation) }
      try await disk.clear(part, mode: mode)
      offset = end
    }
  }

  /// Some disks clear no faster than they write: one call must not take so long that the disk
  /// looks stuck, nor keep the writes to the range waiting all the while.
  private static var clearByteCountMax: UInt64 { 256 << 20 }

  private func writeZeroBytes(_ range: ByteRange) async throws(VolumeError) {
    guard !range.isEmpty else { return }
    if zeros == nil { zeros = AlignedMemory(byteCount: Self.zeroByteCount) }
    guard let zeros else { throw .inputOutput(reason: "out of memory") }
    var offset = range.offsetBytes
    while offset < range.endBytes {
      let end = min(offset + UInt64(Self.zeroByteCount), range.endBytes)
      let part = ByteRange(from: offset, to: end)
      try await write(part, from: zeros.buffer.prefix(Int(part.byteCount)), durably: false)
      offset = end
    }
  }

  /// A block device clears whole sectors only, also when it is not opened for direct I/O.
  private var clearAlignment: UInt64 {
    disk.properties.isBlockDevice ? max(alignment, 4096) : alignment
  }

  // MARK: The rest

  package func extents(
    of range: ByteRange, into extents: ExtentList
  ) async throws(VolumeError) {
    guard !readsAreStopped else { throw .stopped }
    var offset = range.offsetBytes
    while offset < range.endBytes {
      let found: DiskExtent
      do throws(DiskError) {
        found = try await disk.extent(at: offset)
      } catch {
        if error.isUnsupported {
          // Nothing is known: "allocated" is always safe.
          let rest = Extent(byteCount: range.endBytes - offset, isHole: false, isZero: false)
          _ = extents.append(rest)
          return
        }
        try checkSize()
        throw noteReadError(error, range)
      }
      let end = min(found.endBytes, range.endBytes)
      guard end > offset else { throw .inputOutput(reason: "an extent that does not move on") }
      let extent = Extent(byteCount: end - offset, isHole: found.isHole, isZero: found.isHole)
      guard extents.append(extent) else { return }
      offset = end
    }
    try checkSize()
  }

  package func prefetch(_ range: ByteRange) async {
    guard !readsAreStopped else { return }
    await disk.prefetch(range)
  }

  package func fail(cause: String, action: String) {
    // The first failure is the one to know.
    if failure == nil { failure = (cause, action) }
  }

  package func close() async throws(VolumeError) {
    var flushError: VolumeError?
    if !traits.isReadOnly {
      do throws(VolumeError) { try await flush() } catch { flushError = error }
    }
    await disk.close()
    if let flushError { throw flushError }
  }

  // MARK: Trouble

  func checkWritable() throws(VolumeError) {
    guard failure == nil else { throw .stopped }
  }

  /// Notices that another program has truncated the file.
  ///
  /// Writes behind the new end would grow the file again, and what was in between would read as
  /// zeros. Called after every operation, before its result is believed.
  private func checkSize() throws(VolumeError) {
    guard !disk.properties.isBlockDevice else { return }
    switch disk.currentByteCount() {
    case .success(let byteCount):
      guard byteCount < traits.byteCount else { return }
      stopBecauseTruncated(to: byteCount)
      throw .stopped
    case .failure(let error):
      throw .inputOutput(reason: "the size of \(traits.kind) cannot be read: \(error)")
    }
  }

  /// A write to the very end would hide a truncation from the check behind it.
  ///
  /// To be called right before the write: what it has to wait for may take long.
  func checkSizeBeforeWriting(_ range: ByteRange) throws(DiskError) {
    guard range.endBytes == traits.byteCount, !disk.properties.isBlockDevice else { return }
    switch disk.currentByteCount() {
    case .success(let byteCount):
      if byteCount < traits.byteCount { throw .endedEarly(atBytes: byteCount) }
    case .failure(let error): throw .refused(error)
    }
  }

  /// An operation met the end of the file, somewhere before what it asked for.
  private func noteTruncation(endedAtBytes: UInt64) {
    guard case .success(let byteCount) = disk.currentByteCount() else {
      return stopBecauseTruncated(to: endedAtBytes)
    }
    stopBecauseTruncated(to: min(byteCount, endedAtBytes))
  }

  private func stopBecauseTruncated(to byteCount: UInt64) {
    readsAreStopped = true
    fail(
      cause: "\(traits.kind) was truncated by another program: it has \(byteCount) bytes, "
        + "\(traits.byteCount) were being served",
      action: "the bytes behind the cut are lost. Stop the server, restore the file from a copy, "
        + "and keep other programs away from it")
  }

  private func noteReadError(_ error: DiskError, _ range: ByteRange) -> VolumeError {
    if case .endedEarly(let atBytes) = error, !disk.properties.isBlockDevice {
      noteTruncation(endedAtBytes: atBytes)
      return .stopped
    }
    readErrorCount += 1
    noteTrouble(
      "\(readErrorCount) reads failed; the last at byte \(range.offsetBytes): \(error.words)",
      "check the disk below")
    return .inputOutput(reason: error.words)
  }

  private func noteWriteError(_ error: DiskError, _ range: ByteRange) -> VolumeError {
    if case .endedEarly(let atBytes) = error, !disk.properties.isBlockDevice {
      noteTruncation(endedAtBytes: atBytes)
      return .stopped
    }
    if error.isNoSpace {
      noSpaceCount += 1
      noteTrouble(
        "\(noSpaceCount) writes were refused: no space left below \(traits.kind)",
        "free space there; writes then succeed again. No acknowledged byte is lost")
      return .noSpace
    }
    writeErrorCount += 1
    noteTrouble(
      "\(writeErrorCount) writes failed; the last at byte \(range.offsetBytes): \(error.words)",
      "check the disk below")
    return .inputOutput(reason: error.words)
  }

  private func noteTrouble(_ cause: String, _ action: String) {
    lastTrouble = (cause, action, machine.nowNanoseconds)
  }
}
