import DiskFormat
import Geometry
import IO
import Parity

/// A row whose destage may have been under way when the array stopped.
struct OpenIntent {
  var intent: RowIntent
  var batchSequence: UInt64
}

/// Brings rows that a crash left between two generations to the newer one (docs/array.md,
/// "Recovery", step 5).
///
/// The order of a destage is intent, parity, data, table, each durable before the next. So: if any
/// sector of any parity is old, all data at home is old; the new data is in the log; and which
/// sectors of parity are new, their checksums in the intent tell. A crash in here leaves the same
/// situation.
final class Settler<M: Machine, D: Disk> {
  private let parts: ArrayParts<M, D>
  private var geometry: StripeGeometry { parts.geometry }
  /// Those that are settled together.
  private var rows: [SettledRow] = []
  private var raw: OwnedBuffer?
  /// Rows whose last intent is home, with all that it takes to read them without a member.
  private(set) var homeRows: Set<UInt64> = []

  init(_ parts: ArrayParts<M, D>) {
    self.parts = parts
  }

  /// Settles rows, in bounded groups: what a group needs is read side by side.
  func settle(_ open: [OpenIntent]) async throws(ArrayError) {
    defer { letGo() }
    var rest = open[...]
    while !rest.isEmpty {
      let part = rest.prefix(parts.rowImages.idleCountMax - rows.count)
      rest = rest.dropFirst(part.count)
      try await gather(part)
      if rows.count == parts.rowImages.idleCountMax || rest.isEmpty { try await settleGroup() }
    }
  }

  private func settleGroup() async throws(ArrayError) {
    guard !rows.isEmpty else { return }
    try await readHome()
    // What did not answer may only be absent: nothing is given up for lost because of it.
    try parts.checkServing()
    try await loadNewContent()
    for index in rows.indices where !rows[index].intent.paritySectorChecksums.isEmpty {
      solve(&rows[index])
    }
    try await write(rows) { $0.parityWritten }
    try await write(rows) { $0.dataWritten }
    for row in rows {
      setEntries(row)
      if row.isWhole { homeRows.insert(row.intent.row) }
    }
    letGo()
  }

  private func letGo() {
    for row in rows {
      parts.rowImages.giveBack(row.image)
      parts.table.unpin(row.page)
    }
    rows.removeAll(keepingCapacity: true)
  }

  // MARK: One row

  /// Whether everything that the intent announced is in the table.
  private func isComplete(_ intent: RowIntent) -> Bool {
    for (position, block) in intent.blocks.enumerated() {
      let entry = parts.table.entry(row: intent.row, position: position) ?? .neverWritten
      let place = geometry.place(ofRow: intent.row, position: position)
      switch block {
      case .unchanged: continue
      case .written(_, let checksum):
        guard entry == .written(checksum ^ parts.mask(place)) else { return false }
      case .trimmed: guard entry.state == .neverWritten else { return false }
      case .lost: guard entry.state == .lost else { return false }
      }
    }
    return true
  }

  /// Whether the table has the parity that the intent announced; what it is was not looked at.
  private func hasParity(_ intent: RowIntent) -> Bool {
    intent.paritySectorChecksums.isEmpty
      || (geometry.dataCount..<geometry.width).allSatisfy {
        parts.table.entry(row: intent.row, position: $0)?.state == .written
      }
  }

  /// Whether a payload that the intent names is no longer in the log: it was pinned until the
  /// row's table page was durable (rule L4).
  private func hasBeenSettled(_ intent: RowIntent) -> Bool {
    for (position, block) in intent.blocks.enumerated() {
      guard case .written(let batchSequence, _) = block else { continue }
      let number = geometry.block(ofRow: intent.row, position: position)
      if parts.payloadIndex(ofBlock: number, inBatch: batchSequence) == nil { return true }
    }
    return false
  }

  /// Takes the rows that have to be settled, with their pages, which stay until the group is home.
  private func gather(_ open: ArraySlice<OpenIntent>) async throws(ArrayError) {
    var pages: [UInt64] = []
    for entry in open {
      let page = parts.placement.page(ofRow: entry.intent.row)
      parts.touch(page)
      if pages.last != page { pages.append(page) }
    }
    await parts.table.loadAhead(pages)
    for entry in open {
      let intent = entry.intent
      let page = parts.placement.page(ofRow: intent.row)
      try await parts.preparePage(page)
      if isComplete(intent) || hasBeenSettled(intent) {
        if hasParity(intent) { homeRows.insert(intent.row) }
        continue
      }
      let image = try parts.rowImages.take()
      parts.table.pin(page)
      let entries = (0..<geometry.width).map { position in
        parts.table.entry(row: intent.row, position: position) ?? .neverWritten
      }
      rows.append(SettledRow(intent: intent, image: image, page: page, entries: entries))
    }
  }

  // MARK: Reading home

  /// Reads what the new content needs: data that stays; where that is not as it should be, the whole
  /// row as it is.
  private func readHome() async throws(ArrayError) {
    let rowBytes = geometry.width * 4096
    if raw.map({ !$0.isIdle || $0.buffer.byteCount < rows.count * rowBytes }) ?? true {
      raw = OwnedBuffer(byteCount: max(rows.count, parts.rowImages.idleCountMax) * rowBytes)
    }
    guard let raw else { throw .outOfMemory }
    for index in rows.indices {
      rows[index].setHome(raw, offset: index * rowBytes)
      for position in 0..<geometry.width {
        let place = geometry.place(ofRow: rows[index].intent.row, position: position)
        rows[index].isPresent[position] = parts.readableSlots.contains(place.slot)
      }
    }
    let kept = rows.map(\.keptPositions)
    try await readHome { kept[$0] }
    let isWhole = rows.indices.map { index in
      kept[index].allSatisfy { rows[index].isOldKnown[$0] }
    }
    guard isWhole.contains(false) else { return }
    for index in rows.indices where !isWhole[index] { blankZeros(rows[index]) }
    try await readHome { index in
      isWhole[index]
        ? [] : (0..<geometry.width).filter { isOfUse($0, rows[index]) && !kept[index].contains($0) }
    }
  }

  /// Whether what lies at home says something: never-written data does not, but parity may be newer
  /// than the table.
  private func isOfUse(_ position: Int, _ row: SettledRow) -> Bool {
    position >= geometry.dataCount || row.entries[position].state == .written
  }

  private func blankZeros(_ row: SettledRow) {
    for position in 0..<geometry.dataCount where !isOfUse(position, row) {
      row.home(position).fill(with: 0)
    }
  }

  /// Reads some positions of each row, and says what is known of them.
  private func readHome(_ positions: (Int) -> [Int]) async throws(ArrayError) {
    guard let memory = raw else { throw .outOfMemory }
    let group = parts.members.makeGroup()
    for index in rows.indices {
      for position in positions(index) where rows[index].isPresent[position] {
        parts.members.readData(
          geometry.place(ofRow: rows[index].intent.row, position: position),
          into: rows[index].home(position), keeping: memory, group, tag: index * 64 + position)
      }
    }
    await group.wait()
    for failure in group.failures {
      rows[failure.tag / 64].isPresent[failure.tag % 64] = false
      await parts.noteReadFailure(failure)
    }
    parts.members.release(group)
    if !memory.isIdle { try leaveHome(memory) }
    for index in rows.indices {
      for position in positions(index) where rows[index].entries[position].state == .written {
        let place = geometry.place(ofRow: rows[index].intent.row, position: position)
        let found = BlockChecksum.of(rows[index].home(position).bytes) ^ parts.mask(place)
        rows[index].isOldKnown[position] =
          rows[index].isPresent[position] && found == rows[index].entries[position].checksum
      }
    }
  }

  /// A read that was given up may yet land in the memory: what is there is kept elsewhere.
  private func leaveHome(_ memory: OwnedBuffer) throws(ArrayError) {
    guard let other = OwnedBuffer(byteCount: memory.buffer.byteCount) else { throw .outOfMemory }
    other.buffer.copy(from: memory.buffer)
    raw = other
    for index in rows.indices {
      rows[index].setHome(other, offset: index * geometry.width * 4096)
    }
  }

  // MARK: New content

  /// The new content: the log's for what changes, home's for what does not.
  private func loadNewContent() async throws(ArrayError) {
    var wants: [PayloadWant] = []
    for row in rows {
      for position in row.intent.blocks.indices {
        try loadNewContent(row, position, &wants)
      }
    }
    try await parts.readLogged(wants)
  }

  private func loadNewContent(
    _ row: SettledRow, _ position: Int, _ wants: inout [PayloadWant]
  ) throws(ArrayError) {
    let target = row.image.buffer(position)
    switch row.intent.blocks[position] {
    case .written(let batchSequence, let checksum):
      let number = geometry.block(ofRow: row.intent.row, position: position)
      guard let index = parts.payloadIndex(ofBlock: number, inBatch: batchSequence) else {
        throw .unreadable(block: number)
      }
      wants.append(
        PayloadWant(
          batchSequence: batchSequence, payloadIndex: index, checksum: checksum, block: number,
          target: target))
      row.image.parts[position] = .good
    case .trimmed, .lost:
      target.fill(with: 0)
      row.image.parts[position] = .zeros
    case .unchanged:
      if row.entries[position].state != .written {
        target.fill(with: 0)
        row.image.parts[position] = .zeros
      } else if row.isOldKnown[position] {
        target.copy(from: row.home(position))
        row.image.parts[position] = .good
      } else {
        row.image.parts[position] = row.isPresent[position] ? .bad : .absent
      }
    }
  }

  // MARK: Parity

  /// Finds the new parity, and unchanged blocks that are missing.
  private func solve(_ row: inout SettledRow) {
    let missing = (0..<geometry.dataCount).filter { !row.image.isKnown($0) }
    guard !missing.isEmpty else { return sumParity(&row) }
    markNewSectors(&row)
    let isSolved = solveBySector(&row, missing)
    if isSolved { return sumParity(&row) }
    // What is missing stays missing: parity can still be brought up to date without it.
    if modifyParity(&row) { return }
    for position in missing {
      row.lost.append(position)
      row.image.buffer(position).fill(with: 0)
      row.image.parts[position] = .zeros
      parts.noteLost(geometry.block(ofRow: row.intent.row, position: position))
    }
    sumParity(&row)
  }

  /// Tells new sectors of parity from old ones.
  private func markNewSectors(_ row: inout SettledRow) {
    for parity in 0..<geometry.parityCount {
      var flags = [Bool](repeating: false, count: 8)
      let position = geometry.dataCount + parity
      if row.isPresent[position] {
        for sector in 0..<8 {
          let content = row.home(position).slice(sector * 512, 512)
          flags[sector] =
            BlockChecksum.ofSector(content.bytes)
            == row.intent.paritySectorChecksums[parity * 8 + sector]
        }
        // A parity that was never written counts as zeros, whatever lies there.
        if row.entries[position].state == .neverWritten {
          for sector in 0..<8 where !flags[sector] {
            row.home(position).slice(sector * 512, 512).fill(with: 0)
          }
        }
      }
      row.isNewSector.append(flags)
    }
  }

  private func sumParity(_ row: inout SettledRow) {
    row.image.sumData(geometry, into: geometry.dataCount, leavingOut: [])
    row.image.parts[geometry.dataCount] = .good
    guard geometry.parityCount == 2 else { return }
    row.image.sumScaledData(geometry, into: geometry.dataCount + 1, leavingOut: [])
    row.image.parts[geometry.dataCount + 1] = .good
  }

  // MARK: Without the missing blocks

  /// Brings the old sectors of each parity to the new generation by what changes.
  ///
  /// - Returns: false when none could be, and so nothing would be left to find the missing with.
  private func modifyParity(_ row: inout SettledRow) -> Bool {
    let changed = row.changedPositions
    var hasGood = false
    for parity in 0..<geometry.parityCount {
      let position = geometry.dataCount + parity
      row.image.parts[position] = .bad
      guard row.isPresent[position], row.entries[position].state != .lost else { continue }
      let target = row.image.buffer(position)
      target.copy(from: row.home(position))
      var isGood = true
      for sector in 0..<8 where !row.isNewSector[parity][sector] {
        guard changed.allSatisfy({ row.isOldKnown[$0] }) else {
          isGood = false
          break
        }
        let piece = target.slice(sector * 512, 512)
        for change in changed {
          add(row.home(change).slice(sector * 512, 512), change, parity, into: piece)
          add(row.image.buffer(change).slice(sector * 512, 512), change, parity, into: piece)
        }
        // Whatever an old sector was taken for, the result is known to be right.
        let expected = row.intent.paritySectorChecksums[parity * 8 + sector]
        if BlockChecksum.ofSector(piece.bytes) != expected,
          !parts.options.plants(.solvedRowsUnverified)
        {
          isGood = false
          break
        }
      }
      if isGood {
        row.image.parts[position] = .good
        hasGood = true
      }
    }
    return hasGood
  }

  private func add(_ source: IOBuffer, _ index: Int, _ parity: Int, into target: IOBuffer) {
    if parity == 0 {
      RowMath.xor(source, into: target)
    } else {
      RowMath.addScaled(source, index: index, into: target)
    }
  }

  // MARK: Solving for the missing blocks

  /// Solves for one or two missing unchanged blocks, each sector by itself, and verifies them.
  private func solveBySector(_ row: inout SettledRow, _ missing: [Int]) -> Bool {
    guard missing.count <= geometry.parityCount else { return false }
    for sector in 0..<8 {
      guard solve(sector, &row, missing) else { return false }
    }
    for position in missing {
      let place = geometry.place(ofRow: row.intent.row, position: position)
      let found = BlockChecksum.of(row.image.buffer(position).bytes) ^ parts.mask(place)
      guard
        found == row.entries[position].checksum || parts.options.plants(.solvedRowsUnverified)
      else { return false }
    }
    for position in missing {
      if row.image.parts[position] == .bad { row.healed.append(position) }
      row.image.parts[position] = .good
    }
    return true
  }

  /// What a parity's sector says about the missing: its syndrome, with its own generation of data.
  ///
  /// - Returns: nil when it is not there, or refers to old data that is not known; with
  ///   `allowingUnknown`, that one is left out.
  private func syndrome(
    _ parity: Int, _ sector: Int, _ row: SettledRow, _ missing: [Int], leavingOut unknown: [Int],
    into target: IOBuffer
  ) -> Bool {
    let position = geometry.dataCount + parity
    guard row.isPresent[position], row.entries[position].state != .lost else { return false }
    let isNew = row.isNewSector[parity][sector]
    target.copy(from: row.home(position).slice(sector * 512, 512))
    for data in 0..<geometry.dataCount where !missing.contains(data) {
      let isChanged = row.intent.blocks[data] != .unchanged
      if isChanged && !isNew {
        if unknown.contains(data) { continue }
        guard row.isOldKnown[data] else { return false }
        add(row.home(data).slice(sector * 512, 512), data, parity, into: target)
      } else {
        add(row.image.buffer(data).slice(sector * 512, 512), data, parity, into: target)
      }
    }
    return true
  }

  private func solve(_ sector: Int, _ row: inout SettledRow, _ missing: [Int]) -> Bool {
    guard let scratch = row.scratch ?? OwnedBuffer(byteCount: 4096) else { return false }
    row.scratch = scratch
    let buffer = scratch.buffer
    let (p, q) = (buffer.slice(0, 512), buffer.slice(512, 512))
    let offset = sector * 512
    func take(_ solved: IOBuffer, _ position: Int) {
      row.image.buffer(position).slice(offset, 512).copy(from: solved)
    }
    let first = missing[0]
    if missing.count == 1 {
      if syndrome(0, sector, row, missing, leavingOut: [], into: p) {
        take(p, first)
        return true
      }
      guard geometry.parityCount == 2 else { return false }
      if syndrome(1, sector, row, missing, leavingOut: [], into: q) {
        RowMath.solveOneFromQ(index: first, q)
        take(q, first)
        return true
      }
      // Both old, and one changed block's old content is missing as well: two equations.
      let unknown = row.changedPositions.filter { !row.isOldKnown[$0] }
      guard unknown.count == 1, !row.isNewSector[0][sector], !row.isNewSector[1][sector],
        syndrome(0, sector, row, missing, leavingOut: unknown, into: p),
        syndrome(1, sector, row, missing, leavingOut: unknown, into: q)
      else { return false }
      RowMath.solveTwo(x: first, y: unknown[0], p: p, q: q)
      take(p, first)
      return true
    }
    guard syndrome(0, sector, row, missing, leavingOut: [], into: p),
      syndrome(1, sector, row, missing, leavingOut: [], into: q)
    else { return false }
    RowMath.solveTwo(x: missing[0], y: missing[1], p: p, q: q)
    take(p, missing[0])
    take(q, missing[1])
    return true
  }

  // MARK: Writing

  private func write(
    _ rows: [SettledRow], _ positions: (SettledRow) -> [Int]
  ) async throws(ArrayError) {
    let group = parts.members.makeGroup()
    var written = SlotSet()
    for row in rows {
      for position in positions(row) {
        let place = geometry.place(ofRow: row.intent.row, position: position)
        guard parts.members.writableSlots.contains(place.slot) else { continue }
        written.insert(place.slot)
        parts.members.writeData(
          place, from: row.image.buffer(position), keeping: row.image.memory, group)
      }
    }
    await group.wait()
    try await parts.expelFailed(group)
    try await parts.synchronize(written)
  }

  private func setEntries(_ row: SettledRow) {
    let number = row.intent.row
    for (position, block) in row.intent.blocks.enumerated() {
      let place = geometry.place(ofRow: number, position: position)
      switch block {
      case .unchanged:
        if row.lost.contains(position) {
          parts.table.setEntry(.lost, row: number, position: position)
        }
      case .written(_, let checksum):
        parts.table.setEntry(
          .written(checksum ^ parts.mask(place)), row: number, position: position)
      case .trimmed: parts.table.setEntry(.neverWritten, row: number, position: position)
      case .lost:
        parts.table.setEntry(.lost, row: number, position: position)
        parts.noteLost(geometry.block(ofRow: number, position: position))
      }
    }
    for parity in geometry.dataCount..<geometry.width {
      let place = geometry.place(ofRow: number, position: parity)
      let entry: BlockEntry
      if row.intent.paritySectorChecksums.isEmpty {
        entry = .neverWritten
      } else if row.image.parts[parity] == .good {
        entry = .written(
          BlockChecksum.of(row.image.buffer(parity).bytes) ^ parts.mask(place))
      } else {
        entry = .lost
      }
      parts.table.setEntry(entry, row: number, position: parity)
    }
    for position in row.healed { parts.noteHealed(number, position) }
  }
}
