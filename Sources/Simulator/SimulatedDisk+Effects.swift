import Glibc
import IO
import Parity
import Units

/// An operation in flight.
final class DiskOperation {
  let kind: OperationKind
  let offsetBytes: UInt64
  let byteCount: UInt64
  let buffer: IOBuffer?
  let clearMode: ClearMode
  /// What it will return.
  var result: Int32 = 0
  /// What it moves; the pieces together.
  var range = ByteRange(from: 0, to: 0)
  /// Where the medium really reads or writes: misdirected when not `offsetBytes`.
  var placeBytes: UInt64
  /// Of a failing write: each piece happens or not.
  var isPartial = false
  var isLost = false
  var isStuck = false
  var pieceCount = 0
  var pendingPieces: [ByteRange] = []
  var scheduledPieces: [ByteRange] = []
  /// The smallest size that its pieces have met.
  var sizeSeenBytes = UInt64.max
  var ticket = WriteTicket(number: 0)
  /// Of an fdatasync: what had been acknowledged when it began.
  var acknowledgedCount: UInt64 = 0
  var extent: DiskExtent?
  var waiter: Waiter?

  init(
    _ kind: OperationKind, _ offsetBytes: UInt64, _ byteCount: UInt64, _ buffer: IOBuffer?,
    _ clearMode: ClearMode = .punchHole
  ) {
    self.kind = kind
    self.offsetBytes = offsetBytes
    self.byteCount = byteCount
    self.buffer = buffer
    self.clearMode = clearMode
    placeBytes = offsetBytes
  }

  /// What a reader of the trace should know besides the result.
  var note: String {
    (isLost ? ", lost" : "") + (isStuck ? ", stuck" : "")
      + (placeBytes == offsetBytes ? "" : ", misdirected to \(placeBytes)")
  }
}

extension SimulatedDisk {
  /// The most that one system call moves on Linux.
  private static let transferBytesMax: UInt64 = 0x7fff_f000

  // MARK: Deciding, at submission

  /// Settles what the operation will return and which bytes it will touch.
  func decide(_ operation: DiskOperation, _ injected: InjectedResult?) {
    operation.isStuck = isStuck || random.happens(perMillion: medium.faultRates.stuck)
    switch operation.kind {
    case .read: decideRead(operation)
    case .write: decideWrite(operation)
    case .synchronize: decideSynchronize(operation)
    case .clear: decideClear(operation)
    case .prefetch: operation.result = 0
    case .extent: operation.result = operation.offsetBytes < medium.live.byteCount ? 0 : -ENXIO
    case .accept, .connect, .receive, .send: preconditionFailure("not an operation of a disk")
    }
    if let injected { override(operation, injected) }
    if operation.isStuck { medium.injected.stuckOperations += 1 }
    cutIntoPieces(operation)
  }

  private func fail(_ operation: DiskOperation, _ errorNumber: Int32) {
    operation.result = -errorNumber
    let beginsNothing = [EINTR, EAGAIN, ENOSPC, EINVAL, EOPNOTSUPP, EFBIG].contains(errorNumber)
    operation.isPartial = !beginsNothing
    if beginsNothing { operation.range = ByteRange(from: 0, to: 0) }
  }

  private func move(_ operation: DiskOperation, _ byteCount: UInt64) {
    let end = operation.offsetBytes + byteCount
    operation.range = ByteRange(from: operation.offsetBytes, to: end)
    operation.result = Int32(clamping: byteCount)
  }

  /// - Returns: whether the operation may go on; else its result says why not.
  private func isAcceptable(_ operation: DiskOperation) -> Bool {
    let alignment = UInt64(properties.alignmentBytes)
    var mixed = operation.offsetBytes | operation.byteCount
    // Safe: the address is looked at, not followed.
    if let buffer = operation.buffer {
      mixed |= unsafe UInt64(UInt(bitPattern: buffer.baseAddress))
    }
    let (end, overflow) = operation.offsetBytes.addingReportingOverflow(operation.byteCount)
    guard mixed & (alignment - 1) == 0, !overflow, end <= UInt64(Int64.max) else {
      fail(operation, EINVAL)
      return false
    }
    return true
  }

  /// The faults that reads and writes share.
  private func meetsTransferFault(_ operation: DiskOperation) -> Bool {
    let rates = medium.faultRates
    if random.happens(perMillion: rates.interrupted) {
      fail(operation, EINTR)
    } else if random.happens(perMillion: rates.tryAgain) {
      fail(operation, EAGAIN)
    } else {
      if random.happens(perMillion: rates.shortTransfer) { shorten(operation) }
      return false
    }
    return true
  }

  private func decideRead(_ operation: DiskOperation) {
    guard isAcceptable(operation) else { return }
    let size = medium.live.byteCount
    guard operation.offsetBytes < size else { return }
    move(
      operation,
      min(operation.byteCount, size - operation.offsetBytes, Self.transferBytesMax))
    guard !operation.range.isEmpty, !meetsTransferFault(operation) else { return }
    let rates = medium.faultRates
    if random.happens(perMillion: rates.readError) {
      medium.injected.readErrors += 1
      return fail(operation, EIO)
    }
    if let sector = medium.firstUnreadable(operation.range) {
      // Direct reads fail as a whole; buffered ones return what lies before.
      let before = SimulatedMedium.range(ofSector: sector).offsetBytes
      guard properties.alignmentBytes == 1, before > operation.offsetBytes else {
        medium.injected.readErrors += 1
        return fail(operation, EIO)
      }
      move(operation, before - operation.offsetBytes)
    }
    if random.happens(perMillion: rates.bitRot) { medium.rot(operation.range, &random) }
    if random.happens(perMillion: rates.misdirectedRead), misdirect(operation, limit: size) {
      medium.injected.misdirectedReads += 1
    }
  }

  private func decideWrite(_ operation: DiskOperation) {
    operation.ticket = medium.makeTicket()
    guard isAcceptable(operation), operation.byteCount > 0 else { return }
    let limit = medium.isBlockDevice ? medium.live.byteCount : medium.live.capacityBytes
    guard operation.offsetBytes < limit else {
      return fail(operation, medium.isBlockDevice ? ENOSPC : EFBIG)
    }
    move(
      operation,
      min(operation.byteCount, limit - operation.offsetBytes, Self.transferBytesMax))
    if let spaceMax = medium.spaceBlockCountMax {
      let free = max(0, spaceMax - medium.live.allocatedBlockCount)
      let writable = medium.live.writableByteCount(operation.range, freeBlockCount: free)
      guard writable > 0 else { return fail(operation, ENOSPC) }
      move(operation, writable)
    }
    guard !meetsTransferFault(operation) else { return }
    let rates = medium.faultRates
    if random.happens(perMillion: rates.writeError) {
      medium.injected.writeErrors += 1
      return fail(operation, EIO)
    }
    if random.happens(perMillion: rates.noSpace) { return fail(operation, ENOSPC) }
    if springTrap(operation) { return }
    if random.happens(perMillion: rates.lostWrite) {
      operation.isLost = true
      medium.injected.lostWrites += 1
      medium.noteLie(operation.range)
    } else if random.happens(perMillion: rates.misdirectedWrite),
      misdirect(operation, limit: medium.live.byteCount)
    {
      medium.injected.misdirectedWrites += 1
      medium.noteLie(operation.range)
      medium.noteLie(
        ByteRange(
          from: operation.placeBytes, to: operation.placeBytes + operation.range.byteCount))
    }
  }

  /// - Returns: whether a trap has caught the write.
  private func springTrap(_ operation: DiskOperation) -> Bool {
    let caught = medium.writeTraps.firstIndex {
      $0.range.offsetBytes < operation.range.endBytes
        && operation.range.offsetBytes < $0.range.endBytes
    }
    guard let caught else { return false }
    let trap = medium.writeTraps.remove(at: caught)
    if let place = trap.landsAtBytes {
      operation.placeBytes = place
      medium.injected.misdirectedWrites += 1
    } else {
      operation.isLost = true
      medium.injected.lostWrites += 1
    }
    return true
  }

  private func decideSynchronize(_ operation: DiskOperation) {
    operation.acknowledgedCount = medium.acknowledgedCount
    guard random.happens(perMillion: medium.faultRates.synchronizeError) else { return }
    medium.injected.synchronizeErrors += 1
    operation.result = -EIO
  }

  private func decideClear(_ operation: DiskOperation) {
    operation.ticket = medium.makeTicket()
    let (end, overflow) = operation.offsetBytes.addingReportingOverflow(operation.byteCount)
    let size = medium.live.byteCount
    guard operation.byteCount > 0, !overflow, end <= UInt64(Int64.max) else {
      return fail(operation, EINVAL)
    }
    let canClear =
      operation.clearMode == .punchHole ? medium.canPunchHoles : medium.canZeroRanges
    guard canClear else { return fail(operation, EOPNOTSUPP) }
    if medium.isBlockDevice {
      let mixed = operation.offsetBytes | operation.byteCount
      guard mixed % SimulatedMedium.sectorBytes == 0, end <= size else {
        return fail(operation, EINVAL)
      }
    }
    // The size is kept: what lies behind it has nothing to clear.
    guard operation.offsetBytes < size else { return }
    let range = ByteRange(from: operation.offsetBytes, to: min(end, size))
    if operation.clearMode == .zeroRange, let spaceMax = medium.spaceBlockCountMax {
      let free = max(0, spaceMax - medium.live.allocatedBlockCount)
      let writable = medium.live.writableByteCount(range, freeBlockCount: free)
      guard writable == range.byteCount else { return fail(operation, ENOSPC) }
    }
    if random.happens(perMillion: medium.faultRates.interrupted) { return fail(operation, EINTR) }
    operation.range = range
    if random.happens(perMillion: medium.faultRates.writeError) {
      medium.injected.writeErrors += 1
      fail(operation, EIO)
    }
  }

  /// About half, in whole alignment units, at least one.
  private func shorten(_ operation: DiskOperation) {
    let unit = UInt64(properties.alignmentBytes)
    let unitCount = operation.range.byteCount / unit
    guard unitCount > 1 else { return }
    move(operation, (1 + random.next(below: unitCount - 1)) * unit)
  }

  /// Moves the operation to another place of its length and alignment, if there is one.
  private func misdirect(_ operation: DiskOperation, limit: UInt64) -> Bool {
    let unit = max(UInt64(properties.alignmentBytes), SimulatedMedium.sectorBytes)
    guard operation.range.byteCount <= limit else { return false }
    let placeCount = (limit - operation.range.byteCount) / unit + 1
    let place = random.next(below: placeCount) * unit
    operation.placeBytes = place
    return place != operation.offsetBytes
  }

  private func override(_ operation: DiskOperation, _ injected: InjectedResult) {
    let isTransfer = operation.kind == .read || operation.kind == .write
    switch injected {
    case .failure(let errorNumber): fail(operation, errorNumber)
    case .short where isTransfer && operation.result > 0: shorten(operation)
    case .count(let count) where isTransfer && operation.result >= 0:
      move(operation, min(UInt64(max(0, count)), operation.range.byteCount))
    case .count(let count): operation.result = Int32(clamping: count)
    case .short, .crash: break
    case .stuck: operation.isStuck = true
    }
  }

  private func cutIntoPieces(_ operation: DiskOperation) {
    guard !operation.range.isEmpty else { return }
    operation.pieceCount = 1
    var start = operation.range.offsetBytes
    defer { operation.pendingPieces.append(ByteRange(from: start, to: operation.range.endBytes)) }
    let sectors = SimulatedMedium.sectors(of: operation.range)
    guard operation.kind != .clear, sectors.count > 1, random.next(below: 4) == 0 else { return }
    let pieceCountMax = 2 + random.next(below: 3)
    while operation.pieceCount < pieceCountMax {
      let sector = random.next(from: sectors.lowerBound + 1, through: sectors.upperBound - 1)
      let cut = sector * SimulatedMedium.sectorBytes
      guard cut > start else { return }
      operation.pendingPieces.append(ByteRange(from: start, to: cut))
      operation.pieceCount += 1
      start = cut
    }
  }

  // MARK: Taking effect

  func takeEffect(_ operation: DiskOperation, _ piece: ByteRange) {
    if operation.isPartial, random.coin() { return }
    let skipped = piece.offsetBytes - operation.offsetBytes
    let place = ByteRange(
      from: operation.placeBytes + skipped,
      to: operation.placeBytes + skipped + piece.byteCount)
    switch operation.kind {
    case .read: readPiece(operation, place, Int(skipped))
    case .write:
      guard !operation.isLost, let buffer = operation.buffer else { return }
      let source = buffer.slice(Int(skipped), Int(piece.byteCount))
      machine.simulation.note(
        .diskEffect, number, place.offsetBytes,
        place.byteCount << 32 | UInt64(CRC32C.checksum(source.bytes)),
        "disk \(number) writes \(place.offsetBytes)+\(place.byteCount)")
      medium.write(place, from: source, operation.ticket)
    case .clear:
      // Another program may have cut the file meanwhile.
      let end = min(piece.endBytes, medium.live.byteCount)
      guard piece.offsetBytes < end else { return }
      machine.simulation.note(
        .diskEffect, number, piece.offsetBytes, piece.byteCount,
        "disk \(number) clears \(piece.offsetBytes)+\(piece.byteCount)")
      medium.clear(
        ByteRange(from: piece.offsetBytes, to: end), mode: operation.clearMode, operation.ticket)
    case .synchronize, .prefetch, .extent, .accept, .connect, .receive, .send: break
    }
  }

  /// A read that the page cache answers: no operation, and none of a disk's faults, but what lies
  /// behind the end is not there, and what cannot be read is not in the cache.
  func readCached(at offsetBytes: UInt64, into buffer: IOBuffer) -> Int32 {
    let size = medium.live.byteCount
    guard offsetBytes < size else { return 0 }
    let byteCount = min(UInt64(buffer.byteCount), size - offsetBytes)
    let range = ByteRange(from: offsetBytes, to: offsetBytes + byteCount)
    guard medium.firstUnreadable(range) == nil else { return -EAGAIN }
    buffer.prefix(Int(byteCount)).copy(from: medium.live.view(range))
    machine.simulation.note(
      .diskEffect, number, offsetBytes, byteCount,
      "disk \(number) reads \(offsetBytes)+\(byteCount) at once")
    return Int32(clamping: byteCount)
  }

  private func readPiece(_ operation: DiskOperation, _ place: ByteRange, _ skipped: Int) {
    operation.sizeSeenBytes = min(operation.sizeSeenBytes, medium.live.byteCount)
    guard let buffer = operation.buffer else { return }
    buffer.slice(skipped, Int(place.byteCount)).copy(from: medium.live.view(place))
    machine.simulation.note(
      .diskEffect, number, place.offsetBytes, place.byteCount,
      "disk \(number) reads \(place.offsetBytes)+\(place.byteCount)")
  }

  /// What happens as the operation returns.
  func finish(_ operation: DiskOperation) {
    switch operation.kind {
    case .read where operation.result > 0 && operation.placeBytes == operation.offsetBytes:
      // A file that was cut meanwhile ends a read where its pieces met the end.
      let readable =
        operation.sizeSeenBytes > operation.offsetBytes
        ? operation.sizeSeenBytes - operation.offsetBytes : 0
      operation.result = min(operation.result, Int32(clamping: readable))
    case .synchronize:
      if operation.result >= 0 {
        medium.settle(acknowledgedThrough: operation.acknowledgedCount)
      } else if ![EINTR, EAGAIN, ECANCELED].contains(-operation.result) {
        medium.failToSettle(acknowledgedThrough: operation.acknowledgedCount, &random)
      }
    case .extent where operation.result == 0:
      let live = medium.live
      guard operation.offsetBytes < live.byteCount else {
        operation.result = -ENXIO
        return
      }
      operation.extent = DiskExtent(
        endBytes: min(live.runEnd(at: operation.offsetBytes), live.byteCount),
        isHole: !live.isAllocated(at: operation.offsetBytes))
    default: break
    }
  }
}
