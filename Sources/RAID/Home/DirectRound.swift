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
    /// Of each block of parity, row by row.
    var parityChecksums: [UInt32] = []
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
      let memory = OwnedBuffer(
        byteCount: blockCount / geometry.dataCount * width * 4096,
        prefersHugePages: parts.options.usesHugePages)
    else { return nil }
    self.parts = parts
    self.memory = memory
    vectors = ParityVectors(byteCountMax: Int(geometry.chunkBlockCount) * 4096)
  }

  /// Whether an operation that was given up still holds the memory: then make another round.
  var isSpent: Bool { !memory.isIdle }

  /// Its rows, in runs that have none in common.
  var rows: [Range<UInt64>] { work.map(\.rows) }

  // MARK: Preparing

  /// Copies payloads, computes parity, and takes down what intents have to say.
  ///
  /// - Precondition: no row of theirs awaits its table page.
  func prepare(_ requests: [DirectRequest]) async throws(ArrayError) {
    for request in requests { try await pinPages(geometry.rows(of: request.run)) }
    for request in requests { add(request) }
  }

  private func pinPages(_ rows: Range<UInt64>) async throws(ArrayError) {
    for page in parts.pages(ofRows: rows) {
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
    part.parityChecksums.reserveCapacity(part.rows.count * geometry.parityCount)
    for index in part.chunks.indices {
      let (run, memoryBlock) = part.chunks[index]
      let content = blocks(memoryBlock, Int(run.blockCount))
      request.copyPayload(from: Int(run.firstBlock - request.run.firstBlock) * 4096, into: content)
      for block in run.firstBlock..<run.endBlock { part.intent.old.append(old(block)) }
      BlockChecksum.appendSectors(of: content.bytes, to: &part.intent.sectorChecksums)
      // While its data is in the processor's cache.
      if geometry.parityCount > 0, (index + 1) % geometry.dataCount == 0 {
        computeParity(&part, stripe: index / geometry.dataCount)
      }
    }
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
  private func computeParity(_ part: inout Part, stripe: Int) {
    let count = Int(geometry.chunkBlockCount)
    vectors.removeAll()
    for position in 0..<geometry.dataCount {
      let chunk = part.chunks[stripe * geometry.dataCount + position]
      vectors.append(blocks(chunk.memoryBlock, count).parity)
    }
    let row = part.rows.lowerBound + UInt64(stripe * count)
    let parities = (geometry.dataCount..<geometry.width).map {
      blocks(memoryBlock(part, row, $0), count)
    }
    if parities.count == 2 {
      vectors.generatePQ(p: parities[0].parity, q: parities[1].parity)
    } else {
      vectors.generateP(into: parities[0].parity)
    }
    for index in 0..<count {
      for parity in parities {
        part.parityChecksums.append(BlockChecksum.of(parity.slice(index * 4096, 4096).bytes))
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

  /// Begins to write data and parity home, each member's blocks of a request at once.
  ///
  /// - Returns: the operations, and the members that are written to.
  func write() -> (group: OperationGroup, slots: SlotSet) {
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
    return (group, slots)
  }

  // MARK: The end

  /// Brings the table up to date in memory; nothing can come between.
  func finish() {
    for part in work {
      let run = part.request.run
      if !parts.lostBlocks.isEmpty {
        parts.lostBlocks.remove(run.firstBlock..<run.endBlock)
      }
      parts.table.setEntries(ofRows: part.rows, positions: 0..<geometry.width) { row, position in
        let place = geometry.place(ofRow: row, position: position)
        return .written(checksum(part, row, position) ^ parts.mask(place))
      }
    }
  }

  /// The checksum of a block of the round's, without a mask.
  private func checksum(_ part: Part, _ row: UInt64, _ position: Int) -> UInt32 {
    if geometry.parityCount > 0, position >= geometry.dataCount {
      let index = Int(row - part.rows.lowerBound) * geometry.parityCount
      return part.parityChecksums[index + position - geometry.dataCount]
    }
    // Each copy of a mirror has the same.
    let block = geometry.block(ofRow: row, position: geometry.isMirrored ? 0 : position)
    let index = Int(block - part.request.run.firstBlock)
    return BlockChecksum.ofSectors(part.intent.sectorChecksums[index * 8..<index * 8 + 8])
  }

  /// Tells those that went on that they are home.
  func acknowledge() {
    for part in work { part.request.end(.done) }
  }

  /// Tells those that have not been told anything that they have to take the log.
  func refuse() {
    for part in work { part.request.end(.refused) }
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
    for page in pages(ofRows: rows) { touch(page) }
  }

  /// The pages with the entries of these rows, of which there are some.
  func pages(ofRows rows: Range<UInt64>) -> ClosedRange<UInt64> {
    placement.page(ofRow: rows.lowerBound)...placement.page(ofRow: rows.upperBound - 1)
  }
}
