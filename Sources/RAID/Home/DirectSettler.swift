import DiskFormat
import Geometry
import IO
import Parity

/// A direct write that recovery found announced.
struct OpenDirect {
  var intent: DirectIntent
  var batchSequence: UInt64
}

/// The direct writes that recovery meets, in the order of the log.
struct RecoveredDirects {
  private let placement: TablePlacement
  private(set) var all: [OpenDirect] = []
  /// By page, the rows that nothing else was announced of since: a trim takes whole pages.
  private var last: [UInt64: [UInt64: OpenDirect]] = [:]

  init(_ placement: TablePlacement) {
    self.placement = placement
  }

  mutating func append(_ direct: OpenDirect, _ rows: Range<UInt64>) {
    all.append(direct)
    for row in rows { last[placement.page(ofRow: row), default: [:]][row] = direct }
  }

  /// A destage of the row was announced: what was written directly before is finished.
  mutating func remove(_ row: UInt64) { last[placement.page(ofRow: row)]?[row] = nil }

  /// Pages, among some, whose rows are not to be looked at any more.
  ///
  /// - Returns: how many pages were looked at: no more than `pages`, nor than are announced.
  @discardableResult
  mutating func removeAll(
    ofPages pages: ClosedRange<UInt64>, where isGone: (UInt64) -> Bool
  ) -> Int {
    guard last.count > pages.count else {
      let announced = Array(last.keys)
      for page in announced where pages.contains(page) && isGone(page) { last[page] = nil }
      return announced.count
    }
    for page in pages where last[page] != nil && isGone(page) { last[page] = nil }
    return pages.count
  }

  func announces(_ row: UInt64) -> Bool { last[placement.page(ofRow: row)]?[row] != nil }

  /// In rising order.
  var lastOfRows: [(row: UInt64, direct: OpenDirect)] {
    last.values.flatMap(\.self).sorted { $0.key < $1.key }.map { (row: $0.key, direct: $0.value) }
  }
}

/// Brings rows that a crash left amid a direct write to one content (docs/upkeep.md, section 6).
///
/// Whatever it writes is what a second look would decide again: so a crash in here changes nothing.
final class DirectSettler<M: Machine, D: Disk> {
  private let parts: ArrayParts<M, D>
  private var geometry: StripeGeometry { parts.geometry }
  /// Pins of what the log has and home has newer, to be released when the table is durable.
  private(set) var pins: [UInt64] = []
  private(set) var settledRowCount = 0

  /// A row, and the direct write that was the last to announce anything of it.
  private struct Work {
    let row: UInt64
    let direct: OpenDirect
    let image: RowImage
    var isPresent: [Bool]
  }

  init(_ parts: ArrayParts<M, D>) {
    self.parts = parts
  }

  // MARK: What the log still has

  /// Takes out of the index what the log has of before direct writes of the same blocks.
  ///
  /// Home and table had all of that durably before the intent was logged, so it says nothing any
  /// more, whatever became of the direct write.
  func dropSuperseded(by all: [OpenDirect]) {
    for direct in all {
      endTrims(before: direct)
      for block in direct.intent.run.firstBlock..<direct.intent.run.endBlock {
        guard let pending = parts.index[block], pending.batchSequence < direct.batchSequence else {
          continue
        }
        pins += parts.index.dropSuperseded(block)
      }
    }
  }

  /// The same for trims of the whole pages: applied again they would take what came after them.
  private func endTrims(before direct: OpenDirect) {
    let rows = geometry.rows(of: direct.intent.run)
    let last = parts.placement.page(ofRow: rows.upperBound - 1)
    for page in parts.placement.page(ofRow: rows.lowerBound)...last {
      guard let trim = parts.index.trimmedPages[page], trim.batchSequence < direct.batchSequence,
        let pin = parts.index.endTrim(page: page, batchSequence: trim.batchSequence)
      else { continue }
      pins.append(pin)
    }
  }

  // MARK: Rows

  /// Settles rows, in bounded groups.
  ///
  /// `rows` are in rising order, each with the last intent of it.
  func settle(_ rows: [(row: UInt64, direct: OpenDirect)]) async throws(ArrayError) {
    var rest = rows[...]
    while !rest.isEmpty {
      let part = rest.prefix(parts.rowImages.idleCountMax)
      rest = rest.dropFirst(part.count)
      var pinned: [UInt64] = []
      defer { for page in pinned { parts.table.unpin(page) } }
      await parts.table.loadAhead(pages(of: part))
      var work: [Work] = []
      for (row, direct) in part {
        let page = parts.placement.page(ofRow: row)
        try await parts.preparePage(page)
        guard isOpen(row, direct) else { continue }
        parts.table.pin(page)
        pinned.append(page)
        parts.touch(page)
        work.append(
          Work(
            row: row, direct: direct, image: try parts.rowImages.take(),
            isPresent: [Bool](repeating: false, count: geometry.width)))
      }
      try await settleGroup(&work)
    }
  }

  /// Each once: the rows are in order.
  private func pages(of part: ArraySlice<(row: UInt64, direct: OpenDirect)>) -> [UInt64] {
    var pages: [UInt64] = []
    for (row, _) in part {
      let page = parts.placement.page(ofRow: row)
      if pages.last != page { pages.append(page) }
    }
    return pages
  }

  /// Whether the table does not know how the write ended.
  private func isOpen(_ row: UInt64, _ direct: OpenDirect) -> Bool {
    if parts.index.trimmedPages[parts.placement.page(ofRow: row)] != nil { return false }
    for position in 0..<geometry.dataCount {
      let block = geometry.block(ofRow: row, position: position)
      // Without parity a block is for itself, and what came later is in the log.
      if geometry.parityCount == 0, let pending = parts.index[block],
        pending.batchSequence > direct.batchSequence
      {
        return false
      }
      if entry(row, position) != oldEntry(direct, row, position) { return false }
    }
    return true
  }

  private func entry(_ row: UInt64, _ position: Int) -> BlockEntry {
    parts.table.entry(row: row, position: position) ?? .neverWritten
  }

  private func oldEntry(_ direct: OpenDirect, _ row: UInt64, _ position: Int) -> BlockEntry {
    let block = geometry.block(ofRow: row, position: position)
    switch direct.intent.old[Int(block - direct.intent.run.firstBlock)] {
    case .neverWritten:
      // With the bug, whatever the table says is taken for that.
      return parts.options.plants(.directIntentWithoutOld) ? entry(row, position) : .neverWritten
    case .lost: return .lost
    case .written(let checksum):
      return .written(checksum ^ parts.mask(geometry.place(ofRow: row, position: position)))
    }
  }

  private func settleGroup(_ work: inout [Work]) async throws(ArrayError) {
    defer { for entry in work { parts.rowImages.giveBack(entry.image) } }
    guard !work.isEmpty else { return }
    try await read(&work)
    // What did not answer may only be absent: nothing is given up for lost because of it.
    try parts.checkServing()
    var settled: [(work: Work, row: DirectRow)] = []
    for entry in work {
      var row = makeRow(entry)
      row.settle()
      if !row.isUntouched { settled.append((entry, row)) }
    }
    // Data first: until it is durable, parity may still be what a block is found with.
    try await write(settled) { 0..<(geometry.isMirrored ? geometry.width : geometry.dataCount) }
    try await write(settled) { geometry.dataCount..<geometry.dataCount + geometry.parityCount }
    for (entry, row) in settled { setEntries(entry, row) }
    settledRowCount += settled.count
  }

  private func read(_ work: inout [Work]) async throws(ArrayError) {
    let group = parts.members.makeGroup()
    let readable = parts.readableSlots
    for index in work.indices {
      for position in 0..<geometry.width {
        let place = geometry.place(ofRow: work[index].row, position: position)
        guard readable.contains(place.slot) else { continue }
        work[index].isPresent[position] = true
        parts.members.readData(
          place, into: work[index].image.buffer(position), keeping: work[index].image.memory,
          group, tag: index * 64 + position)
      }
    }
    await group.wait()
    for failure in group.failures {
      work[failure.tag / 64].isPresent[failure.tag % 64] = false
      await parts.noteReadFailure(failure)
    }
    parts.members.release(group)
    // A read that was given up may yet land in the memory.
    for index in work.indices where !work[index].image.memory.isIdle {
      guard let copy = RowImage(copying: work[index].image) else { throw .outOfMemory }
      work[index] = Work(
        row: work[index].row, direct: work[index].direct, image: copy,
        isPresent: work[index].isPresent)
    }
  }

  private func makeRow(_ work: Work) -> DirectRow {
    let first = work.direct.intent.run.firstBlock
    var old: [DirectOldBlock] = []
    var sectors: [UInt32] = []
    for position in 0..<geometry.dataCount {
      let index = Int(geometry.block(ofRow: work.row, position: position) - first)
      old.append(work.direct.intent.old[index])
      sectors += work.direct.intent.sectorChecksums[index * 8..<index * 8 + 8]
    }
    let oldParity = (geometry.dataCount..<geometry.dataCount + geometry.parityCount).map {
      position -> UInt32? in
      let entry = entry(work.row, position)
      guard entry.state == .written else { return nil }
      return entry.checksum ^ parts.mask(geometry.place(ofRow: work.row, position: position))
    }
    var row = DirectRow(
      geometry: geometry, image: work.image, old: old, newSectors: sectors[...],
      isPresent: work.isPresent, oldParity: oldParity)
    row.plantsRotAdopted = parts.options.plants(.rotAdoptedAsTorn)
    return row
  }

  private func write(
    _ settled: [(work: Work, row: DirectRow)], _ positions: () -> Range<Int>
  ) async throws(ArrayError) {
    let group = parts.members.makeGroup()
    let writable = parts.members.writableSlots
    var written = SlotSet()
    for (work, row) in settled {
      for position in positions() {
        let data = geometry.parityCount > 0 ? position : 0
        if position < geometry.dataCount || geometry.parityCount == 0,
          row.outcomes[data] != .written
        {
          continue
        }
        let place = geometry.place(ofRow: work.row, position: position)
        guard writable.contains(place.slot) else { continue }
        written.insert(place.slot)
        parts.members.writeData(
          place, from: work.image.buffer(position), keeping: work.image.memory, group)
      }
    }
    guard !written.isEmpty else { return parts.members.release(group) }
    await group.wait()
    try await parts.expelFailed(group)
    try await parts.synchronize(written)
  }

  private func setEntries(_ work: Work, _ row: DirectRow) {
    for position in 0..<geometry.width {
      let isParity = geometry.parityCount > 0 && position >= geometry.dataCount
      let outcome =
        isParity ? DirectRow.Outcome.written : row.outcomes[geometry.isMirrored ? 0 : position]
      let place = geometry.place(ofRow: work.row, position: position)
      let entry: BlockEntry =
        switch outcome {
        case .written:
          .written(BlockChecksum.of(work.image.buffer(position).bytes) ^ parts.mask(place))
        case .neverWritten: .neverWritten
        case .lost: .lost
        }
      parts.table.setEntry(entry, row: work.row, position: position)
    }
    for position in 0..<geometry.dataCount where row.outcomes[position] == .lost {
      let block = geometry.block(ofRow: work.row, position: position)
      if parts.index[block] == nil { parts.noteLost(block) }
    }
  }
}
