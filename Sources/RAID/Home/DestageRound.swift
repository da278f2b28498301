import DiskFormat
import Geometry
import IO
import Parity

/// Takes rows from the log home, in the order that leaves no write hole: docs/array.md, "Destage".
final class DestageRound<M: Machine, D: Disk> {
  private let parts: ArrayParts<M, D>
  private let memory: RoundMemory
  private(set) var rows: [RoundRow] = []
  /// How often the log's copies of a block could not be read.
  private var unreadableTries: [UInt64: Int] = [:]
  private static var unreadableTriesMax: Int { 4 }
  private var geometry: StripeGeometry { parts.geometry }

  init?(_ parts: ArrayParts<M, D>) {
    self.parts = parts
    let width = parts.geometry.width
    let rowCountMax = max(1, min(parts.options.destageRowCountMax, 2048 / width))
    guard
      let memory = RoundMemory(
        width: width, rowCountMax: rowCountMax, usesHugePages: parts.options.usesHugePages)
    else { return nil }
    self.memory = memory
  }

  var rowCountMax: Int { memory.rowCountMax }

  /// Whether an operation that was given up still holds the memory: then make another round.
  var isSpent: Bool { !memory.memory.isIdle }

  /// What a round leaves to be released when the table is durable.
  struct Outcome {
    var pins: [UInt64] = []
    var rows: [UInt64] = []
    /// Rows that are as they were.
    var abandonedRows: [UInt64] = []
  }

  /// Takes rows home, given in rising order.
  ///
  /// When it throws, the log still has everything.
  func run(_ rowNumbers: [UInt64]) async throws(ArrayError) -> Outcome {
    rows = []
    for row in rowNumbers { rows.append(try await begin(row)) }
    defer { for row in rows { parts.table.unpin(row.page) } }
    var outcome = Outcome()
    if geometry.parityCount > 0 {
      try await readOld()
      computeParity()
      if parts.options.plants(.parityBeforeIntent) { try await writeParity() }
      outcome.pins += try await logIntents()
      if parts.options.plants(.parityAfterData) {
        try await writeData()
        try await writeParity()
      } else {
        try await writeParity()
        if parts.options.plants(.tableBeforeData) { try await writeTableEarly() }
        try await writeData()
      }
    } else {
      try await parts.log.waitUntilDurable(newestBatch)
      if parts.options.plants(.tableBeforeData) { try await writeTableEarly() }
      try await writeData()
    }
    finish(&outcome)
    return outcome
  }

  private var newestBatch: UInt64 {
    rows.reduce(0) { newest, row in row.changes.reduce(newest) { max($0, $1.batchSequence) } }
  }

  // MARK: Taking

  private func begin(_ row: UInt64) async throws(ArrayError) -> RoundRow {
    let page = parts.placement.page(ofRow: row)
    try await parts.preparePage(page)
    var work = RoundRow(row: row, index: rows.count, page: page)
    parts.table.pin(page)
    // Trimmed while the page was loaded: first the trim, in the next round.
    if parts.index.trimmedPages[page] != nil {
      work.isAbandoned = true
      return work
    }
    var logged: [(position: Int, batchSequence: UInt64, payloadIndex: Int)] = []
    for position in 0..<geometry.width {
      work.entries.append(parts.table.entry(row: row, position: position) ?? .neverWritten)
    }
    for position in 0..<geometry.dataCount {
      let block = geometry.block(ofRow: row, position: position)
      guard let pending = parts.index[block] else { continue }
      parts.index.beginDestage(block)
      work.changes.append(
        RoundRow.Change(
          position: position, block: block, batchSequence: pending.batchSequence,
          checksum: pending.checksum, isTrim: pending.content == .zeros))
      let target = memory.new(position, work.index)
      switch pending.content {
      case .zeros: target.fill(with: 0)
      case .memory(let slot): target.copy(from: parts.payloads.buffer(slot))
      case .log(let batchSequence, let payloadIndex):
        logged.append((position, batchSequence, payloadIndex))
      }
    }
    for (position, batchSequence, payloadIndex) in logged {
      guard let change = work.change(at: position) else { continue }
      do throws(ArrayError) {
        try await parts.readLogged(
          batchSequence, payloadIndex, checksum: change.checksum, block: change.block,
          into: memory.new(position, work.index))
      } catch {
        guard case .unreadable = error else { throw error }
        try parts.checkServing()
        giveUp(change, &work)
      }
    }
    return work
  }

  /// All copies of a block's batch have gone bad since recovery read it.
  ///
  /// A few rounds later the block becomes lost: else it would hold the log's space for ever (D4).
  private func giveUp(_ change: RoundRow.Change, _ work: inout RoundRow) {
    let tries = unreadableTries[change.block, default: 0] + 1
    guard tries >= Self.unreadableTriesMax else {
      unreadableTries[change.block] = tries
      work.isAbandoned = true
      return
    }
    unreadableTries[change.block] = nil
    guard let index = work.changes.firstIndex(of: change) else { return }
    work.changes[index].isTrim = true
    work.changes[index].isLost = true
    memory.new(change.position, work.index).fill(with: 0)
    parts.noteLost(change.block, "has a logged content that cannot be read any more")
  }

  // MARK: Reading

  private func readOld() async throws(ArrayError) {
    let group = parts.members.makeGroup()
    for index in rows.indices where !rows[index].isAbandoned {
      chooseMethod(index)
      submitReads(index, group)
    }
    await group.wait()
    for failure in group.failures {
      rows[failure.tag / 64].needsWholeRow = true
      await parts.noteReadFailure(failure)
    }
    parts.members.release(group)
    // A read that was given up may still land in the memory: nothing may be computed there.
    if isSpent {
      for index in rows.indices { rows[index].isAbandoned = true }
      return
    }
    for index in rows.indices where !rows[index].isAbandoned {
      if !rows[index].needsWholeRow { verifyReads(index) }
      if rows[index].needsWholeRow { try await readWholeRow(index) }
    }
  }

  private func isReadable(_ row: UInt64, _ position: Int) -> Bool {
    parts.readableSlots.contains(geometry.place(ofRow: row, position: position).slot)
  }

  /// Calls `body` with the positions that a method has to read.
  private func forEachPositionRead(
    _ work: RoundRow, _ method: RoundRow.Method, _ body: (Int) -> Void
  ) {
    switch method {
    case .noParity: break
    case .reconstructWrite:
      for position in 0..<geometry.dataCount
      where work.entries[position].state == .written && work.change(at: position) == nil {
        body(position)
      }
    case .readModifyWrite:
      for change in work.changes where work.entries[change.position].state == .written {
        body(change.position)
      }
      for position in geometry.dataCount..<geometry.width
      where work.entries[position].state == .written {
        body(position)
      }
    }
  }

  private func chooseMethod(_ index: Int) {
    let work = rows[index]
    if work.becomesUnwritten(geometry) { return }
    let readable = parts.readableSlots
    func cost(_ method: RoundRow.Method) -> (count: Int, isPossible: Bool) {
      var (count, isPossible) = (0, true)
      forEachPositionRead(work, method) { position in
        count += 1
        let slot = geometry.place(ofRow: work.row, position: position).slot
        isPossible = isPossible && readable.contains(slot)
      }
      return (count, isPossible)
    }
    let (reconstructCount, canReconstruct) = cost(.reconstructWrite)
    let (modifyCount, canReadForModify) = cost(.readModifyWrite)
    let canModify = canReadForModify && isParityValid(work.entries)
    switch (canReconstruct, canModify) {
    case (true, true):
      rows[index].method =
        modifyCount < reconstructCount ? .readModifyWrite : .reconstructWrite
    case (true, false): rows[index].method = .reconstructWrite
    case (false, true): rows[index].method = .readModifyWrite
    case (false, false):
      rows[index].method = .reconstructWrite
      rows[index].needsWholeRow = true
    }
  }

  /// Whether all parity can be modified rather than computed anew.
  private func isParityValid(_ entries: [BlockEntry]) -> Bool {
    (geometry.dataCount..<geometry.width).allSatisfy { entries[$0].state != .lost }
  }

  /// Where a block that is read goes: what is subtracted lies apart from what is written.
  private func readTarget(_ work: RoundRow, _ position: Int) -> IOBuffer {
    work.method == .readModifyWrite && position < geometry.dataCount
      ? memory.old(position, work.index) : memory.new(position, work.index)
  }

  private func submitReads(_ index: Int, _ group: OperationGroup) {
    let work = rows[index]
    guard !work.needsWholeRow else { return }
    forEachPositionRead(work, work.method) { position in
      let place = geometry.place(ofRow: work.row, position: position)
      parts.members.readData(
        place, into: readTarget(work, position), keeping: memory.memory, group,
        tag: index * 64 + position)
    }
  }

  /// Never goes on from a block that does not verify.
  private func verifyReads(_ index: Int) {
    let work = rows[index]
    if parts.options.plants(.unverifiedReadModifyWrite) { return }
    forEachPositionRead(work, work.method) { position in
      let place = geometry.place(ofRow: work.row, position: position)
      let found = BlockChecksum.of(readTarget(work, position).bytes) ^ parts.mask(place)
      guard found != work.entries[position].checksum else { return }
      parts.members[place.slot].counters.checksumErrors += 1
      rows[index].needsWholeRow = true
    }
  }

  /// The slow way: everything that can be read or solved; what cannot becomes lost.
  private func readWholeRow(_ index: Int) async throws(ArrayError) {
    let image = try await parts.loadRow(rows[index].row)
    defer { parts.rowImages.giveBack(image) }
    // What is solved where a member answered wrongly is healed on the way.
    rows[index].healed = image.solvedBad
    let data = (0..<geometry.dataCount).filter { rows[index].change(at: $0) == nil }
    let unknown = data.filter { !image.isKnown($0) }
    let modifies =
      !unknown.isEmpty
      && rows[index].changes.allSatisfy { image.isKnown($0.position) }
      && (geometry.dataCount..<geometry.width).allSatisfy {
        image.isKnown($0) || !isReadable(rows[index].row, $0)
      }
      && (geometry.dataCount..<geometry.width).contains { image.isKnown($0) }
    if modifies {
      // The unknown blocks stay as they are, for the member that may come back with them.
      rows[index].method = .readModifyWrite
      rows[index].lostParity = (geometry.dataCount..<geometry.width).filter { !image.isKnown($0) }
    } else {
      if !unknown.isEmpty, parts.options.plants(.lostBlocksRow) {
        rows[index].isAbandoned = true
        return
      }
      if !unknown.isEmpty { try parts.checkServing() }
      rows[index].method =
        rows[index].becomesUnwritten(geometry) ? .noParity : .reconstructWrite
      rows[index].lost = unknown
      for position in unknown {
        parts.noteLost(geometry.block(ofRow: rows[index].row, position: position))
      }
    }
    for position in 0..<geometry.width {
      let isNew = rows[index].change(at: position) != nil
      let target =
        isNew
        ? memory.old(position, rows[index].index) : memory.new(position, rows[index].index)
      if image.parts[position] == .good, !rows[index].lost.contains(position) {
        target.copy(from: image.buffer(position))
      } else {
        target.fill(with: 0)
      }
    }
    let work = rows[index]
    rows[index].healed = work.healed.filter { position in
      position < geometry.dataCount && work.change(at: position) == nil
    }
  }

  // MARK: Parity

  private func computeParity() {
    for work in rows where !work.isAbandoned {
      switch work.method {
      case .noParity: break
      case .reconstructWrite: sumParity(work)
      case .readModifyWrite: modifyParity(work)
      }
    }
  }

  private func sumParity(_ work: RoundRow) {
    let p = memory.new(geometry.dataCount, work.index)
    p.fill(with: 0)
    if geometry.parityCount == 2 { memory.new(geometry.dataCount + 1, work.index).fill(with: 0) }
    for position in 0..<geometry.dataCount {
      let isZero =
        work.change(at: position)?.isTrim
        ?? (work.lost.contains(position) || work.entries[position].state != .written)
      if isZero { continue }
      addToParity(memory.new(position, work.index), position, work.index)
    }
  }

  /// P and Q += the old and the new content of each block that changes.
  private func modifyParity(_ work: RoundRow) {
    for parity in geometry.dataCount..<geometry.width
    where work.entries[parity].state != .written {
      memory.new(parity, work.index).fill(with: 0)
    }
    for change in work.changes {
      if work.entries[change.position].state == .written {
        addToParity(memory.old(change.position, work.index), change.position, work.index)
      }
      if !change.isTrim {
        addToParity(memory.new(change.position, work.index), change.position, work.index)
      }
    }
  }

  private func addToParity(_ source: IOBuffer, _ position: Int, _ index: Int) {
    RowMath.xor(source, into: memory.new(geometry.dataCount, index))
    if geometry.parityCount == 2 {
      RowMath.addScaled(
        source, index: position, into: memory.new(geometry.dataCount + 1, index))
    }
  }

  // MARK: Intents

  /// Says in the log what is about to happen, and waits until that is durable (rule D1).
  ///
  /// Rows whose data changes as a whole as well, although recovery could do without: the last
  /// intent of a row must be that of its last destage.
  private func logIntents() async throws(ArrayError) -> [UInt64] {
    var intents: [RowIntent] = []
    for work in rows where !work.isAbandoned {
      intents.append(intent(work))
    }
    guard !intents.isEmpty else { return [] }
    return [try await parts.log.appendIntents(intents[...])]
  }

  private func intent(_ work: RoundRow) -> RowIntent {
    var blocks = [IntentBlock](repeating: .unchanged, count: geometry.dataCount)
    for change in work.changes {
      blocks[change.position] =
        change.isLost
        ? .lost
        : change.isTrim
          ? .trimmed : .written(batchSequence: change.batchSequence, checksum: change.checksum)
    }
    for position in work.lost { blocks[position] = .lost }
    var sectors: [UInt32] = []
    if work.method != .noParity {
      for parity in geometry.dataCount..<geometry.width {
        let content = memory.new(parity, work.index)
        for sector in 0..<8 {
          sectors.append(BlockChecksum.ofSector(content.slice(sector * 512, 512).bytes))
        }
      }
    }
    return RowIntent(row: work.row, blocks: blocks, paritySectorChecksums: sectors)
  }

  // MARK: Writing home

  private func writeParity() async throws(ArrayError) {
    let parity = geometry.dataCount..<geometry.width
    try await write { work, position in
      parity.contains(position) && work.method != .noParity && !work.lostParity.contains(position)
        ? position : nil
    }
  }

  private func writeData() async throws(ArrayError) {
    let copies = geometry.isMirrored
    try await write { work, position in
      if copies { return work.change(at: 0).map { !$0.isTrim } ?? false ? 0 : nil }
      guard position < geometry.dataCount else { return nil }
      if work.healed.contains(position) { return position }
      return work.change(at: position).map { !$0.isTrim } ?? false ? position : nil
    }
    for work in rows where !work.isAbandoned {
      for position in work.healed { parts.noteHealed(work.row, position) }
    }
  }

  /// Writes to all members that are not out, neighbours together, and makes that durable.
  ///
  /// `source` tells the position whose new content goes to a position; nil to leave it.
  private func write(
    _ source: (RoundRow, Int) -> Int?
  ) async throws(ArrayError) {
    let group = parts.members.makeGroup()
    let writable =
      parts.options.plants(.rebuildMissesWritesBehind)
      ? parts.members.currentSlots : parts.members.writableSlots
    var written = SlotSet()
    for position in 0..<geometry.width {
      var index = 0
      while index < rows.count {
        guard !rows[index].isAbandoned, let from = source(rows[index], position) else {
          index += 1
          continue
        }
        let place = geometry.place(ofRow: rows[index].row, position: position)
        var end = index + 1
        while end < rows.count, !rows[end].isAbandoned, source(rows[end], position) == from,
          geometry.place(ofRow: rows[end].row, position: position)
            == BlockPlace(
              slot: place.slot, memberBlock: place.memberBlock + UInt64(end - index))
        { end += 1 }
        if writable.contains(place.slot) {
          written.insert(place.slot)
          parts.members.writeData(
            place, from: memory.new(from, index..<end), keeping: memory.memory, group,
            tag: position)
        }
        index = end
      }
    }
    await group.wait()
    try await parts.expelFailed(group)
    try await parts.synchronize(written)
  }

  // MARK: The end

  /// Brings table and index up to date in memory; nothing can come between.
  private func finish(_ outcome: inout Outcome) {
    for work in rows {
      if work.isAbandoned {
        for change in work.changes { parts.index.abandonDestage(change.block, ledger: parts.log) }
        outcome.abandonedRows.append(work.row)
        continue
      }
      setEntries(work)
      for change in work.changes {
        if let pin = parts.index.endDestage(change.block, batchSequence: change.batchSequence) {
          outcome.pins.append(pin)
        }
      }
      outcome.rows.append(work.row)
    }
  }

  private func setEntries(_ work: RoundRow) {
    for change in work.changes {
      if !change.isLost { parts.lostBlocks.remove(change.block) }
      let copies = geometry.isMirrored ? 0..<geometry.width : change.position..<change.position + 1
      for position in copies {
        let place = geometry.place(ofRow: work.row, position: position)
        parts.table.setEntry(
          change.isLost
            ? .lost
            : change.isTrim ? .neverWritten : .written(change.checksum ^ parts.mask(place)),
          row: work.row, position: position)
      }
    }
    for position in work.lost {
      parts.table.setEntry(.lost, row: work.row, position: position)
    }
    guard geometry.parityCount > 0 else { return }
    for parity in geometry.dataCount..<geometry.width {
      let place = geometry.place(ofRow: work.row, position: parity)
      let entry =
        work.lostParity.contains(parity)
        ? BlockEntry.lost
        : work.method == .noParity
          ? BlockEntry.neverWritten
          : .written(
            BlockChecksum.of(memory.new(parity, work.index).bytes) ^ parts.mask(place))
      if parts.options.plants(.tableSplitByMember) {
        parts.lateEntries.append((work.row, parity, entry))
        continue
      }
      parts.table.setEntry(entry, row: work.row, position: parity)
    }
  }

  /// A planted bug: entries become durable before the data that they describe.
  private func writeTableEarly() async throws(ArrayError) {
    for work in rows where !work.isAbandoned { setEntries(work) }
    try await parts.table.writeDirty()
  }
}
