import DiskFormat
import Geometry
import IO
import Units
import Volumes

// What clients ask for. Requests may be unaligned; the engine's unit is the block of 4096 bytes.
extension ArrayEngine {
  /// The largest request that is atomic, and where longer ones are cut (promise P6, rule R2).
  static var atomicBytes: UInt64 { 65536 }

  // MARK: Read

  func read(_ range: ByteRange, into buffer: IOBuffer) async throws(ArrayError) {
    try checkReadable()
    let began = requestBegins()
    defer { requestEnds(began) }
    var start = range.offsetBytes
    while start < range.endBytes {
      // Pieces end where blocks do, so that none is read twice.
      let rest = ByteRange(from: start, to: range.endBytes)
      let piece = rest.limited(toBlocks: BlockReader<M, D>.blockCountMax)
      if Self.isLong(piece), let long = longReads.take() {
        defer { long.giveBack() }
        try await readLong(piece, by: long)
        buffer.slice(Int(start - range.offsetBytes), long.bytes.byteCount).copy(from: long.bytes)
        start = piece.endBytes
      } else {
        let piece = rest.limited(toBlocks: Self.shortReadBlockCountMax)
        let target = buffer.slice(Int(start - range.offsetBytes), Int(piece.byteCount))
        try await readShort(piece, into: target)
        start = piece.endBytes
      }
    }
  }

  /// Reads into memory of the engine's own, which is lent to the caller.
  ///
  /// - Returns: nil when there is none to be had now.
  func readLent(_ range: ByteRange) async throws(ArrayError) -> (any LentMemory)? {
    try checkReadable()
    guard range.limited(toBlocks: BlockReader<M, D>.blockCountMax) == range,
      let long = longReads.take()
    else { return nil }
    let began = requestBegins()
    defer { requestEnds(began) }
    do throws(ArrayError) {
      try await readLong(range, by: long)
    } catch {
      long.giveBack()
      throw error
    }
    return long
  }

  /// Blocks that are read at once in requests that are not long.
  static var shortReadBlockCountMax: Int { 64 }
  /// Long reads at once, those included whose bytes are being sent; others are cut into short ones.
  static var longReadCountMax: Int { 16 }

  /// Whether a range is worth a buffer for long reads.
  static func isLong(_ range: ByteRange) -> Bool {
    range.limited(toBlocks: shortReadBlockCountMax) != range
  }

  private func readLong(_ range: ByteRange, by long: LongRead) async throws(ArrayError) {
    let (first, count) = range.blocks
    let found = try await reader.read(first, count: count, into: long.memory)
    long.note(found, Int(range.offsetBytes - first * 4096), Int(range.byteCount))
  }

  private func readShort(_ range: ByteRange, into target: IOBuffer) async throws(ArrayError) {
    guard let memory = buffers.take() else { throw .outOfMemory }
    defer { buffers.give(memory) }
    let (first, count) = range.blocks
    let found = try await reader.read(first, count: count, into: memory)
    defer { withExtendedLifetime(found) {} }
    let all = found.buffer
    target.copy(from: all.slice(Int(range.offsetBytes - first * 4096), target.byteCount))
  }

  // MARK: Write

  func write(_ range: ByteRange, from buffer: IOBuffer, durably: Bool) async throws(ArrayError) {
    try checkWritable()
    let began = requestBegins()
    defer { requestEnds(began) }
    if range.byteCount <= Self.atomicBytes {
      try await writeAtomically(range, from: buffer)
    } else if let run = directRun(inside: range) {
      try await writeDirectly(range, from: buffer, run)
    } else {
      try await writeInPieces(range, from: buffer)
    }
    try await finish(durably: durably)
  }

  /// The last step before a change is acknowledged.
  ///
  /// Without a member, what went home directly has to be durable before anything else is
  /// acknowledged: torn, it could not be told from what is there (rule D3).
  private func finish(durably: Bool) async throws(ArrayError) {
    if durably {
      try await flushAll()
    } else if parts.hasIncompleteMembers, !options.plants(.failedDirectAcknowledged) {
      try await flushDirect()
    }
  }

  /// Makes durable what the log has, and what went home without it.
  func flushAll() async throws(ArrayError) {
    let replicated = parts.log.requestReplicaFlush()
    try await parts.log.flush()
    try await flushDirect()
    try await parts.log.waitForReplicas(durable: replicated)
  }

  /// Makes durable what went home without the log; without a member also what is going there just
  /// now: half written it could not be told from what is there (rule D3).
  private func flushDirect() async throws(ArrayError) {
    try await parts.flushDirect()
    guard parts.hasIncompleteMembers, !options.plants(.failedDirectAcknowledged) else { return }
    await parts.directSync.waitForRound()
    try await parts.flushDirect()
  }

  // MARK: Write to the log

  /// A long request: cut at multiples of 64 KiB, each piece atomic, as many at once as may be.
  ///
  /// `isHeld` says that the caller has reserved the range.
  func writeInPieces(
    _ range: ByteRange, from buffer: IOBuffer, isHeld: Bool = false
  ) async throws(ArrayError) {
    // A last piece that ends inside a block is one record as well, so it goes by itself.
    let wholeEnd =
      range.endBytes % 4096 == 0
      ? range.endBytes : range.endBytes / Self.atomicBytes * Self.atomicBytes
    var start = range.offsetBytes
    while start < range.endBytes {
      var end = min(range.endBytes, (start / Self.atomicBytes + 1) * Self.atomicBytes)
      let groupEnd = min(
        wholeEnd, (start + longWriteBytesMax) / Self.atomicBytes * Self.atomicBytes)
      let isGroup = start % 4096 == 0 && groupEnd > end && buffer.isAligned(to: 16)
      if isGroup { end = groupEnd }
      let piece = buffer.slice(Int(start - range.offsetBytes), Int(end - start))
      if isGroup {
        try await writeGroup(ByteRange(from: start, to: end), from: piece, isHeld: isHeld)
      } else {
        try await writeAtomically(ByteRange(from: start, to: end), from: piece, isHeld: isHeld)
      }
      start = end
    }
  }

  /// Bytes that one request has on their way at most.
  private var longWriteBytesMax: UInt64 {
    max(Self.atomicBytes, min(1 << 20, UInt64(options.dirtyBytesMax) / 4))
  }

  private func writeGroup(
    _ range: ByteRange, from buffer: IOBuffer, isHeld: Bool
  ) async throws(ArrayError) {
    let run = BlockRun(firstBlock: range.offsetBytes / 4096, blockCount: range.byteCount / 4096)
    // The hold first, always: who had room and waited for a hold would keep it from the one who has
    // the hold and waits for room.
    let hold = isHeld ? nil : await reservations.reserve(range, isExclusive: false)
    defer { if let hold { reservations.release(hold) } }
    // The role may have been given up between two pieces of a request.
    if !isHeld { try checkWritable() }
    guard await parts.payloads.reserve(Int(run.blockCount)) else { throw noRoomError }
    // When it fails, the array has stopped, and so has the budget.
    try await parts.log.append(
      longWrite: run, pieceBlockCount: Self.atomicBytes / 4096, payload: buffer)
  }

  /// One record, whole or not at all after a crash.
  private func writeAtomically(
    _ range: ByteRange, from buffer: IOBuffer, isHeld: Bool = false
  ) async throws(ArrayError) {
    guard !range.isEmpty, let blocks = range.alignedOutside(4096) else { return }
    let run = BlockRun(
      firstBlock: blocks.offsetBytes / 4096, blockCount: blocks.byteCount / 4096)
    let hold = isHeld ? nil : await reservations.reserve(blocks, isExclusive: blocks != range)
    defer { if let hold { reservations.release(hold) } }
    if !isHeld { try checkWritable() }
    guard await parts.payloads.reserve(Int(run.blockCount)) else { throw noRoomError }
    let isAligned = blocks == range && buffer.isAligned(to: 16)
    do throws(ArrayError) {
      if isAligned {
        try await parts.log.append(write: run, payload: buffer)
      } else {
        try await writeMerged(range, from: buffer, run)
      }
    } catch {
      // One that waits for its replica is in the log, and will be shown.
      if error != .replicaLost { parts.payloads.cancelReservation(Int(run.blockCount)) }
      throw error
    }
  }

  /// A write that does not cover its first or last block: what they hold beside it stays.
  ///
  /// Nobody else writes to these blocks meanwhile: they are reserved.
  private func writeMerged(
    _ range: ByteRange, from buffer: IOBuffer, _ run: BlockRun
  ) async throws(ArrayError) {
    guard let memory = buffers.take() else { throw .outOfMemory }
    defer { buffers.give(memory) }
    let all = memory.buffer
    let content = all.prefix(Int(run.blockCount) * 4096)
    let last = Int(run.blockCount) - 1
    let startsInside = range.offsetBytes % 4096 != 0
    let endsInside = range.endBytes % 4096 != 0
    if startsInside { try await readEdge(run.firstBlock, into: content.prefix(4096)) }
    if endsInside, !(startsInside && last == 0) {
      try await readEdge(run.firstBlock + UInt64(last), into: content.slice(last * 4096, 4096))
    }
    content.slice(Int(range.offsetBytes % 4096), buffer.byteCount).copy(from: buffer)
    try await parts.log.append(write: run, payload: content)
  }

  /// Reads a block through memory of its own: what a member was asked for in vain may still land.
  private func readEdge(_ block: UInt64, into target: IOBuffer) async throws(ArrayError) {
    guard let memory = buffers.take() else { throw .outOfMemory }
    defer { buffers.give(memory) }
    let found = try await reader.read(block, count: 1, into: memory)
    defer { withExtendedLifetime(found) {} }
    let all = found.buffer
    target.copy(from: all.prefix(4096))
  }

  func flush() async throws(ArrayError) {
    try checkReadable()
    let began = requestBegins()
    defer { requestEnds(began) }
    try await flushAll()
  }

  // MARK: Trim

  /// Makes the whole blocks of a range never-written; the rest of it stays.
  func trim(_ range: ByteRange, durably: Bool) async throws(ArrayError) {
    try checkWritable()
    let began = requestBegins()
    defer { requestEnds(began) }
    let inside = range.alignedInside(4096)
    try await trimBlocks(
      inside.offsetBytes / 4096..<inside.endBytes / 4096)
    try await finish(durably: durably)
  }

  private func trimBlocks(_ blocks: Range<UInt64>) async throws(ArrayError) {
    // Bounded records (rule D7): so many blocks are looked at in one go when one is published.
    let countMax: UInt64 = 1 << 16
    var start = blocks.lowerBound
    while start < blocks.upperBound {
      // What is atomic is one record.
      let isSmall = UInt64(blocks.count) <= Self.atomicBytes / 4096
      let end =
        isSmall ? blocks.upperBound : min(blocks.upperBound, (start / countMax + 1) * countMax)
      let run = BlockRun(firstBlock: start, blockCount: end - start)
      start = end
      guard mayHaveContent(run) else { continue }
      let bytes = ByteRange(
        from: run.firstBlock * 4096, to: (run.firstBlock + run.blockCount) * 4096)
      let hold = await reservations.reserve(bytes, isExclusive: false)
      defer { reservations.release(hold) }
      try checkWritable()
      try await parts.log.append(trim: run, unsettledBlockCount: partialBlockCount(run))
    }
  }

  /// Whether a trim of these blocks would change anything.
  func mayHaveContent(_ run: BlockRun) -> Bool {
    if parts.options.plants(.trimPinsForever) { return true }
    let pages = pages(of: run)
    return pages.contains { parts.table.isPresent($0) || parts.index.hasContent(page: $0) }
  }

  /// The pages with an entry of these blocks.
  private func pages(of run: BlockRun) -> ClosedRange<UInt64> {
    let last = run.firstBlock + run.blockCount - 1
    guard geometry.parityCount > 0 else {
      return parts.placement.page(ofRow: run.firstBlock)...parts.placement.page(ofRow: last)
    }
    let stripeBlocks = geometry.chunkBlockCount * UInt64(geometry.dataCount)
    let firstRow = run.firstBlock / stripeBlocks * geometry.chunkBlockCount
    let lastRow = (last / stripeBlocks + 1) * geometry.chunkBlockCount - 1
    return parts.placement.page(ofRow: firstRow)...parts.placement.page(ofRow: lastRow)
  }

  /// How many blocks of a trim lie in pages that it does not cover, and may need intents.
  func partialBlockCount(_ run: BlockRun) -> Int {
    let perPage = UInt64(TablePlacement.entriesPerPage)
    let edges = 2 * (perPage + geometry.chunkBlockCount * UInt64(geometry.dataCount))
    return Int(min(run.blockCount, edges))
  }

  /// Makes a range read as zeros.
  ///
  /// - Returns: false when it would be no faster than writing zeros, and `onlyIfFast` asked.
  func writeZeroes(
    _ range: ByteRange, keepAllocated: Bool, onlyIfFast: Bool, durably: Bool
  ) async throws(ArrayError) -> Bool {
    try checkWritable()
    let began = requestBegins()
    defer { requestEnds(began) }
    if keepAllocated {
      // Only content takes space, so it is written.
      if onlyIfFast { return false }
      try await writeZeroBytes(range)
    } else {
      // Each piece of a request is one record: what of it is not whole blocks is written as zeros,
      // together with the rest of its piece.
      var middle = range
      if range.offsetBytes % 4096 != 0 {
        let end = min(range.endBytes, (range.offsetBytes / Self.atomicBytes + 1) * Self.atomicBytes)
        middle = ByteRange(from: end, to: range.endBytes)
      }
      if !middle.isEmpty, middle.endBytes % 4096 != 0 {
        let start = max(middle.offsetBytes, middle.endBytes / Self.atomicBytes * Self.atomicBytes)
        middle = ByteRange(from: middle.offsetBytes, to: start)
      }
      if range.byteCount <= Self.atomicBytes, middle != range {
        try await writeZeroBytes(range)
      } else {
        try await writeZeroBytes(ByteRange(from: range.offsetBytes, to: middle.offsetBytes))
        try await trimBlocks(middle.offsetBytes / 4096..<middle.endBytes / 4096)
        try await writeZeroBytes(ByteRange(from: middle.endBytes, to: range.endBytes))
      }
    }
    try await finish(durably: durably)
    return true
  }

  private func writeZeroBytes(_ range: ByteRange) async throws(ArrayError) {
    guard !range.isEmpty else { return }
    guard let memory = AlignedMemory(byteCount: Int(min(range.byteCount, Self.atomicBytes))) else {
      throw .outOfMemory
    }
    defer { withExtendedLifetime(memory) {} }
    let zeros = memory.buffer
    if range.byteCount <= Self.atomicBytes {
      return try await writeAtomically(range, from: zeros.prefix(Int(range.byteCount)))
    }
    var start = range.offsetBytes
    while start < range.endBytes {
      let end = min(range.endBytes, (start / Self.atomicBytes + 1) * Self.atomicBytes)
      try await writeAtomically(
        ByteRange(from: start, to: end), from: zeros.prefix(Int(end - start)))
      start = end
    }
  }

  // MARK: Extents

  /// Tells written blocks from those that were never written, from the start of the range on.
  func extents(of range: ByteRange, into extents: ExtentList) async throws(ArrayError) {
    try checkReadable()
    var start = range.offsetBytes
    // A range of a large device is answered in part rather than late.
    var blocksLeft = 1 << 16
    while start < range.endBytes, blocksLeft > 0 {
      blocksLeft -= 1
      let block = start / 4096
      let end = min(range.endBytes, (block + 1) * 4096)
      let isHole = try await isUnwritten(block)
      guard
        extents.append(Extent(byteCount: end - start, isHole: isHole, isZero: isHole))
      else { return }
      start = end
    }
  }

  private func isUnwritten(_ block: UInt64) async throws(ArrayError) -> Bool {
    while true {
      switch reader.look(block) {
      case .pending, .lost, .home: return false
      case .zeros: return true
      case .pageNeeded(let page): try await parts.load(page: page)
      }
    }
  }

  // MARK: State

  var noRoomError: ArrayError {
    isServing
      ? .refused("its replica is lost, and what waits for it fills the memory for writes")
      : stoppedError
  }

  var stoppedError: ArrayError { .stopped(membership.stopReason ?? "the array is closed") }

  private func checkReadable() throws(ArrayError) {
    guard isOpen else { throw stoppedError }
    if case .none(let reason) = clientAccess { throw .refused(reason) }
  }

  private func checkWritable() throws(ArrayError) {
    guard isOpen else { throw stoppedError }
    switch clientAccess {
    case .readWrite: break
    case .readOnly(let reason), .none(let reason):
      if membership.replication.role == .primary { nodes.hasFailedClients = true }
      throw .refused(reason)
    }
  }

  // MARK: Time

  /// A client waits from now on: upkeep is steered by how long.
  private func requestBegins() -> UInt64 {
    keeper.governor.requestBegins()
    return machine.nowNanoseconds
  }

  private func requestEnds(_ began: UInt64) {
    let now = machine.nowNanoseconds
    keeper.governor.requestEnds(nanoseconds: now &- began, now: now)
  }
}

extension ByteRange {
  /// The first of the blocks that it touches, and how many there are.
  fileprivate var blocks: (first: UInt64, count: Int) {
    let first = offsetBytes / 4096
    return (first, Int((endBytes + 4095) / 4096 - first))
  }

  /// As much of it as lies in so many blocks.
  fileprivate func limited(toBlocks count: Int) -> ByteRange {
    ByteRange(
      from: offsetBytes, to: min(endBytes, offsetBytes / 4096 * 4096 + UInt64(count) * 4096))
  }
}
