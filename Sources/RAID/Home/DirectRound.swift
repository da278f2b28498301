import DiskFormat
import Geometry
import IO
import Parity

/// Takes whole rows home whose payload is not in the log: docs/upkeep.md, section 6.
///
/// The payload is copied once, into memory in which the blocks of each member lie one behind the
/// other: so each member gets one long write, and memory that a hanging member holds is our own.
final class DirectRound<M: Machine, D: Disk> {
  /// One request of the round.
  private struct Part {
    let request: DirectRequest
    let rows: Range<UInt64>
    /// Runs inside one chunk, in the array's order, and where in the memory each lies.
    var chunks: [(run: BlockRun, memoryBlock: Int)] = []
    /// Runs on one member.
    var lanes: [Lane] = []
    var intent: DirectIntent
  }

  /// Blocks of one member that lie one behind the other, there and in the memory.
  private struct Lane {
    /// The first; of mirrors the first copy.
    let place: BlockPlace
    let firstRow: UInt64
    var blockCount: Int
    var memoryBlock = 0
  }

  private let parts: ArrayParts<M, D>
  private let memory: OwnedBuffer
  private let vectors: ParityVectors
  private var work: [Part] = []
  private var pinnedPages: [UInt64] = []
  private var memoryEnd = 0
  private var geometry: StripeGeometry { parts.geometry }

  /// Blocks of data that one round takes, for arrays where that is enough for whole rows.
  static func blockCountMax(_ parts: ArrayParts<M, D>) -> Int {
    let unit = Int(parts.geometry.directUnitBlockCount)
    return parts.log.directBlockCountMax / unit * unit
  }

  init?(_ parts: ArrayParts<M, D>) {
    let blockCount = Self.blockCountMax(parts)
    let geometry = parts.geometry
    let width = geometry.parityCount > 0 ? geometry.width : 1
    guard blockCount > 0,
      let memory = OwnedBuffer(byteCount: blockCount / geometry.dataCount * width * 4096)
    else { return nil }
    self.parts = parts
    self.memory = memory
    vectors = ParityVectors(byteCountMax: Int(geometry.chunkBlockCount) * 4096)
  }

  /// Whether an operation that was given up still holds the memory: then make another round.
  var isSpent: Bool { !memory.isIdle }

  var rows: [UInt64] { work.flatMap { Array($0.rows) } }

  // MARK: Preparing

  /// Copies payloads, computes parity, and takes down what intents have to say.
  ///
  /// - Precondition: no row of theirs awaits its table page.
  func prepare(_ requests: [DirectRequest]) async throws(ArrayError) {
    for request in requests { try await pinPages(geometry.rows(of: request.run)) }
    for request in requests { add(request) }
  }

  private func pinPages(_ rows: Range<UInt64>) async throws(ArrayError) {
    let first = parts.placement.page(ofRow: rows.lowerBound)
    for page in first...parts.placement.page(ofRow: rows.upperBound - 1) {
      try await parts.preparePage(page)
      parts.table.pin(page)
      pinnedPages.append(page)
    }
  }

  private func add(_ request: DirectRequest) {
    var part = Part(
      request: request, rows: geometry.rows(of: request.run),
      intent: DirectIntent(run: request.run, old: [], sectorChecksums: []))
    layOut(&part)
    let blockCount = Int(request.run.blockCount)
    part.intent.old.reserveCapacity(blockCount)
    part.intent.sectorChecksums.reserveCapacity(blockCount * 8)
    for (run, memoryBlock) in part.chunks {
      let offset = Int(run.firstBlock - request.run.firstBlock) * 4096
      let content = blocks(memoryBlock, Int(run.blockCount))
      content.copy(from: request.payload.slice(offset, content.byteCount))
      for index in 0..<Int(run.blockCount) {
        part.intent.old.append(old(run.firstBlock + UInt64(index)))
        for sector in 0..<8 {
          part.intent.sectorChecksums.append(
            CRC32C.checksum(content.slice(index * 4096 + sector * 512, 512).bytes))
        }
      }
    }
    if geometry.parityCount > 0 { computeParity(part) }
    work.append(part)
  }

  /// What the home of a block holds now.
  private func old(_ block: UInt64) -> DirectOldBlock {
    if parts.options.plants(.directIntentWithoutOld) { return .neverWritten }
    let at = geometry.rowPosition(ofBlock: block)
    let entry = parts.table.entry(row: at.row, position: at.position) ?? .neverWritten
    switch entry.state {
    case .neverWritten: return .neverWritten
    case .lost: return .lost
    case .written:
      let place = geometry.place(ofRow: at.row, position: at.position)
      return .written(checksum: entry.checksum ^ parts.mask(place))
    }
  }

  /// Finds a place in the memory for each of its blocks.
  private func layOut(_ part: inout Part) {
    let run = part.request.run
    if geometry.parityCount > 0 {
      // Each member has one block of each row.
      for slot in 0..<geometry.memberCount {
        part.lanes.append(
          Lane(
            place: BlockPlace(slot: slot, memberBlock: part.rows.lowerBound),
            firstRow: part.rows.lowerBound, blockCount: part.rows.count, memoryBlock: memoryEnd))
        memoryEnd += part.rows.count
      }
    }
    var laneOfSlot = [Int](repeating: -1, count: geometry.memberCount)
    var laneOfChunk: [(lane: Int, blockIndex: Int)] = []
    var first = run.firstBlock
    while first < run.endBlock {
      let end = min(
        run.endBlock, (first / geometry.chunkBlockCount + 1) * geometry.chunkBlockCount)
      let at = geometry.rowPosition(ofBlock: first)
      let place = geometry.place(ofRow: at.row, position: at.position)
      part.chunks.append((BlockRun(firstBlock: first, blockCount: end - first), 0))
      if geometry.parityCount > 0 {
        laneOfChunk.append((place.slot, Int(at.row - part.rows.lowerBound)))
      } else {
        let count = Int(end - first)
        let lane = laneOfSlot[place.slot]
        if lane >= 0,
          part.lanes[lane].place.memberBlock + UInt64(part.lanes[lane].blockCount)
            == place.memberBlock
        {
          laneOfChunk.append((lane, part.lanes[lane].blockCount))
          part.lanes[lane].blockCount += count
        } else {
          laneOfSlot[place.slot] = part.lanes.count
          laneOfChunk.append((part.lanes.count, 0))
          part.lanes.append(Lane(place: place, firstRow: at.row, blockCount: count))
        }
      }
      first = end
    }
    if geometry.parityCount == 0 {
      for lane in part.lanes.indices {
        part.lanes[lane].memoryBlock = memoryEnd
        memoryEnd += part.lanes[lane].blockCount
      }
    }
    for (index, (lane, blockIndex)) in laneOfChunk.enumerated() {
      part.chunks[index].memoryBlock = part.lanes[lane].memoryBlock + blockIndex
    }
  }

  /// The parity of a stripe of chunks is one computation on long buffers.
  private func computeParity(_ part: Part) {
    let count = Int(geometry.chunkBlockCount)
    for stripe in 0..<part.rows.count / count {
      vectors.removeAll()
      for position in 0..<geometry.dataCount {
        let chunk = part.chunks[stripe * geometry.dataCount + position]
        vectors.append(blocks(chunk.memoryBlock, count).parity)
      }
      let row = part.rows.lowerBound + UInt64(stripe * count)
      let p = blocks(memoryBlock(part, row, geometry.dataCount), count).parity
      if geometry.parityCount == 2 {
        let q = blocks(memoryBlock(part, row, geometry.dataCount + 1), count).parity
        vectors.generatePQ(p: p, q: q)
      } else {
        vectors.generateP(into: p)
      }
    }
  }

  private func blocks(_ first: Int, _ count: Int) -> IOBuffer {
    let buffer = memory.buffer
    return buffer.slice(first * 4096, count * 4096)
  }

  /// Where a block of a row with parity lies in the memory.
  private func memoryBlock(_ part: Part, _ row: UInt64, _ position: Int) -> Int {
    let slot = geometry.place(ofRow: row, position: position).slot
    return part.lanes[slot].memoryBlock + Int(row - part.rows.lowerBound)
  }

  // MARK: Intents

  var intents: [DirectIntent] { work.map(\.intent) }

  /// The intents are within the horizon: home is about to change.
  func begin() {
    for part in work { parts.touch(pagesOf: part.rows) }
  }

  // MARK: Writing

  /// Writes data and parity home, each member's blocks of a request at once.
  ///
  /// - Returns: the operations, which have ended, and the members that were written to.
  func write() async -> (group: OperationGroup, slots: SlotSet) {
    let group = parts.members.makeGroup()
    let writable = parts.members.writableSlots
    var slots = SlotSet()
    for part in work {
      for lane in part.lanes {
        for copy in 0..<(geometry.isMirrored ? geometry.width : 1) {
          let place =
            copy == 0 ? lane.place : geometry.place(ofRow: lane.firstRow, position: copy)
          guard writable.contains(place.slot) else { continue }
          slots.insert(place.slot)
          parts.members.writeData(
            place, from: blocks(lane.memoryBlock, lane.blockCount), keeping: memory, group)
        }
      }
    }
    await group.wait()
    return (group, slots)
  }

  // MARK: The end

  /// Brings the table up to date in memory; nothing can come between.
  func finish() {
    for part in work {
      for block in part.request.run.firstBlock..<part.request.run.endBlock {
        setEntries(part, block)
      }
      guard geometry.parityCount > 0 else { continue }
      for row in part.rows {
        for position in geometry.dataCount..<geometry.width {
          let place = geometry.place(ofRow: row, position: position)
          let content = blocks(memoryBlock(part, row, position), 1)
          parts.table.setEntry(
            .written(CRC32C.checksum(content.bytes) ^ parts.mask(place)), row: row,
            position: position)
        }
      }
    }
  }

  private func setEntries(_ part: Part, _ block: UInt64) {
    let at = geometry.rowPosition(ofBlock: block)
    let index = Int(block - part.request.run.firstBlock)
    let checksum = CRC32C.ofSectors(part.intent.sectorChecksums[index * 8..<index * 8 + 8])
    parts.lostBlocks.remove(block)
    let copies = geometry.isMirrored ? 0..<geometry.width : at.position..<at.position + 1
    for position in copies {
      let place = geometry.place(ofRow: at.row, position: position)
      parts.table.setEntry(
        .written(checksum ^ parts.mask(place)), row: at.row, position: position)
    }
  }

  /// Tells those that went on that they are home.
  func acknowledge() {
    for part in work { part.request.end(.done) }
  }

  /// Forgets everything, for the next round.
  func letGo() {
    for page in pinnedPages { parts.table.unpin(page) }
    pinnedPages.removeAll(keepingCapacity: true)
    work.removeAll(keepingCapacity: true)
    memoryEnd = 0
  }
}

extension ArrayParts {
  /// The pages of these rows are about to be written.
  func touch(pagesOf rows: Range<UInt64>) {
    let last = placement.page(ofRow: rows.upperBound - 1)
    for page in placement.page(ofRow: rows.lowerBound)...last { touch(page) }
  }
}
