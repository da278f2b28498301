import DiskFormat
import Geometry
import IO
import Parity
import Units

/// Reads everything that was ever written: table copies, data, parity, all copies of mirrors; tells
/// what is wrong, and repairs it where it is asked to (docs/upkeep.md, section 4).
///
/// Its steps belong to the loop that owns home: between reading a page and judging it nobody changes
/// its rows or entries. What verifies is the truth, and what does not is written from it, never the
/// other way round.
final class Scrub<M: Machine, D: Disk> {
  private let parts: ArrayParts<M, D>
  private let reader: PageReader<M, D>
  private var geometry: StripeGeometry { parts.geometry }
  private(set) var run: ScrubRun?
  private(set) var history: [ScrubRecord] = []
  private var rate = WorkRate()
  private var sums: OwnedBuffer?
  private var keptNanoseconds: UInt64 = 0
  /// Another value whenever a scrub begins or ends: what was read for another one does not count.
  private var runNumber = 0
  /// Takes the state down, for the next start.
  var keep: (ScrubState) -> Void = { _ in }

  /// A position that a crash may cost at most.
  private static var keepNanoseconds: UInt64 { 10_000_000_000 }

  init(_ parts: ArrayParts<M, D>, _ reader: PageReader<M, D>) {
    self.parts = parts
    self.reader = reader
  }

  /// Whether there is something to do now.
  var isNeeded: Bool { run.map { !$0.isPaused } ?? false }

  var status: ScrubStatus? {
    guard let run else { return nil }
    let present = UInt64(parts.table.presentPageCount)
    let pages = max(run.donePages, present)
    let pageBytes =
      run.donePages == 0
      ? Double(parts.placement.rowsPerPage) * Double(geometry.width * 4096)
      : Double(run.doneBytes) / Double(run.donePages)
    let left = UInt64(pageBytes * Double(pages - run.donePages))
    var status = ScrubStatus(run, pages: pages, bytes: run.doneBytes + left)
    if !run.isPaused {
      status.bytesPerSecond = rate.bytesPerSecond
      status.secondsLeft = rate.secondsLeft(forBytes: left)
    }
    return status
  }

  // MARK: Commands

  /// Goes on from what was kept; numbers that no scrub reaches were not written by one.
  func restore(_ state: ScrubState) {
    run = state.run.flatMap { $0.isPlausible ? $0 : nil }
    history = Array(state.history.suffix(ScrubState.historyCountMax))
    runNumber += 1
  }

  func begin(_ kind: ScrubKind) throws(ScrubCommandError) {
    if let run { throw .alreadyRunning(run.kind) }
    run = ScrubRun(kind: kind, beganSeconds: parts.options.unixSeconds())
    runNumber += 1
    rate.restart()
    parts.events.note("a scrub (\(kind.rawValue)) begins")
    keepNow()
  }

  func setPaused(_ isPaused: Bool) throws(ScrubCommandError) {
    guard run != nil else { throw .notRunning }
    run?.isPaused = isPaused
    rate.restart()
    keepNow()
  }

  func cancel() throws(ScrubCommandError) {
    guard run != nil else { throw .notRunning }
    end(.cancelled)
  }

  private func end(_ ending: ScrubRecord.Ending) {
    guard let ended = run else { return }
    if let last = history.indices.last { history[last].ranges = [] }
    history.append(
      ScrubRecord(
        kind: ended.kind, beganSeconds: ended.beganSeconds,
        endedSeconds: parts.options.unixSeconds(), ending: ending, doneBytes: ended.doneBytes,
        counts: ended.counts, ranges: ended.ranges))
    if history.count > ScrubState.historyCountMax { history.removeFirst() }
    run = nil
    runNumber += 1
    reader.forgetIdle()
    let counts = ended.counts
    parts.events.note(
      "the scrub (\(ended.kind.rawValue)) is \(ending.rawValue): \(ended.doneBytes >> 20) MiB "
        + "verified, \(counts.total) troubles, \(counts.repaired) repaired, "
        + "\(counts.beyondRepair) beyond repair",
      counts.notRepaired + counts.beyondRepair > 0 ? .warning : .notice)
    keepNow()
  }

  /// Takes down where it is, because the array is stopped.
  func keepPosition() {
    if run != nil { keepNow() }
  }

  private func keepNow() {
    keptNanoseconds = parts.machine.nowNanoseconds
    keep(ScrubState(run: run, history: history))
  }

  // MARK: A step

  /// Pages of one step: 32 MiB of blocks.
  private static var pageCountMax: Int { 16 }

  /// Does a bounded part of the work: up to so many pages; gently, where clients wait beside it.
  func step(
    of keeper: HomeKeeper<M, D>, pageCountMax: Int, isGentle: Bool
  ) async throws(ArrayError) {
    guard let now = run else { return }
    let number = runNumber
    let pages = nextPages(from: now.nextPage, max: min(pageCountMax, Self.pageCountMax))
    guard !pages.isEmpty else { return end(.completed) }
    var pinned: [UInt64] = []
    var leftPages: Set<UInt64> = []
    defer {
      for page in pinned { parts.table.unpin(page) }
      parts.table.forget(leftPages)
    }
    leftPages = try await inspectTable(pages, now.kind, number, &pinned)
    try await inspectPages(pages, pinned, now.kind, number, keeper, isGentle)
    let time = parts.machine.nowNanoseconds
    if number == runNumber, time >= keptNanoseconds &+ Self.keepNanoseconds { keepNow() }
  }

  private func nextPages(from start: UInt64, max count: Int) -> [UInt64] {
    var pages: [UInt64] = []
    var next = start
    while pages.count < count, let page = parts.table.nextPresent(from: next) {
      pages.append(page)
      next = page + 1
    }
    return pages
  }

  private func note(
    _ number: Int, block: UInt64, slot: Int?, _ trouble: ScrubTrouble, _ outcome: ScrubOutcome
  ) {
    guard number == runNumber else { return }
    run?.note(block: block, slot: slot, trouble, outcome)
  }

  // MARK: The table

  /// - Returns: the pages with copies that were left as they are.
  private func inspectTable(
    _ pages: [UInt64], _ kind: ScrubKind, _ number: Int, _ pinned: inout [UInt64]
  ) async throws(ArrayError) -> Set<UInt64> {
    var troubles = try await parts.table.inspectCopies(
      of: pages, isExpected: parts.index.hasContent(page:), pinned: &pinned)
    if kind == .repair, troubles.contains(where: { $0.slot != nil }) {
      // Not all that is looked at: who is out would have to get everything.
      for trouble in troubles where trouble.slot != nil { parts.touch(trouble.page) }
      // Entries of direct writes are in the pages: first what they tell of (rule D2).
      if !parts.options.plants(.tableBeforeDirectHome) { try await parts.flushDirect() }
      troubles = try await parts.table.repairCopies(troubles)
      parts.forgetTouched()
    }
    for trouble in troubles {
      let rows = parts.placement.rows(ofPage: trouble.page)
      guard let slot = trouble.slot else {
        try parts.checkServing()
        noteLostPage(rows, number)
        continue
      }
      note(
        number, block: geometry.block(ofRow: rows.lowerBound, position: 0), slot: slot, .table,
        trouble.isRepaired ? .repaired : .notRepaired)
    }
    return Set(troubles.filter { !$0.isRepaired }.map(\.page))
  }

  /// Nothing that the page described can be told right from wrong.
  private func noteLostPage(_ rows: Range<UInt64>, _ number: Int) {
    var blocks: [UInt64] = []
    for row in rows {
      for position in 0..<geometry.dataCount {
        blocks.append(geometry.block(ofRow: row, position: position))
      }
    }
    for block in blocks.sorted() {
      parts.noteLost(block, "cannot be verified, because its table page is lost")
      note(number, block: block, slot: nil, .table, .lost)
    }
  }

  // MARK: Blocks

  private func inspectPages(
    _ pages: [UInt64], _ pinned: [UInt64], _ kind: ScrubKind, _ number: Int,
    _ keeper: HomeKeeper<M, D>, _ isGentle: Bool
  ) async throws(ArrayError) {
    var left = pages[...]
    // Without an image: a page that was lost and told of already.
    var reading: [(page: UInt64, image: PageImage?)] = []
    var failure: ArrayError?
    do throws(ArrayError) {
      while number == runNumber {
        while reading.count < PageReader<M, D>.imageCountMax - 1, let page = left.popFirst() {
          let image = pinned.contains(page) ? try await beginReading(page, isGentle) : nil
          reading.append((page, image))
        }
        guard !reading.isEmpty else { break }
        let next = reading.removeFirst()
        guard let image = next.image else {
          noteDone(next.page, byteCount: 0, number)
          continue
        }
        defer { reader.giveBack(image) }
        try await inspect(image, kind, number, keeper)
      }
    } catch {
      failure = error
    }
    for case (_, let image?) in reading {
      await image.group?.wait()
      reader.giveBack(image)
    }
    if let failure { throw failure }
  }

  private func beginReading(
    _ page: UInt64, _ isGentle: Bool
  ) async throws(ArrayError) -> PageImage {
    let image = try reader.take()
    let readable = parts.readableSlots
    do throws(ArrayError) {
      try await reader.begin(image, page: page, isGentle: isGentle) { image, row in
        for position in 0..<image.geometry.width {
          let index = image.index(row, position)
          image.isWanted[index] =
            image.entries[index].state == .written && readable.contains(image.places[index].slot)
        }
      }
      return image
    } catch {
      reader.giveBack(image)
      throw error
    }
  }

  private func inspect(
    _ image: PageImage, _ kind: ScrubKind, _ number: Int, _ keeper: HomeKeeper<M, D>
  ) async throws(ArrayError) {
    // What a member that gave up may yet bring lands anywhere: row by row, then.
    let isWhole = await reader.finish(image)
    var blockCount = 0
    for row in image.rows where number == runNumber {
      let first = image.index(row, 0)
      let all = first..<first + geometry.width
      guard all.contains(where: { image.entries[$0].state != .neverWritten }),
        !isRewritten(row)
      else { continue }
      blockCount += all.count { image.isWanted[$0] }
      if !isWhole || image.hasBad(row) {
        try await inspectCarefully(row, image, kind, number, keeper)
      } else {
        noteLost(row, image.rowView(row), number)
        try await compare(row, image.rowView(row), kind, number, keeper)
      }
    }
    noteDone(image.page, byteCount: UInt64(blockCount) * 4096, number)
  }

  /// Whether nothing that lies at home of a row counts any more.
  private func isRewritten(_ row: UInt64) -> Bool {
    (0..<geometry.dataCount).allSatisfy { parts.isSuperseded(block(row, $0)) }
  }

  private func noteDone(_ page: UInt64, byteCount: UInt64, _ number: Int) {
    guard number == runNumber else { return }
    run?.nextPage = page + 1
    run?.donePages += 1
    run?.doneBytes += byteCount
    rate.note(run?.doneBytes ?? 0, at: parts.machine.nowNanoseconds)
  }

  /// The array's block that something in a row is told by.
  private func block(_ row: UInt64, _ position: Int) -> UInt64 {
    geometry.block(ofRow: row, position: position < geometry.dataCount ? position : 0)
  }

  private func slot(_ row: UInt64, _ position: Int) -> Int {
    geometry.place(ofRow: row, position: position).slot
  }

  /// Blocks that were given up before.
  private func noteLost(_ row: UInt64, _ image: RowImage, _ number: Int) {
    for position in 0..<geometry.dataCount where image.entries[position].state == .lost {
      note(number, block: block(row, position), slot: nil, .lost, .lost)
    }
  }

  // MARK: A row with something bad

  private func inspectCarefully(
    _ row: UInt64, _ seen: PageImage, _ kind: ScrubKind, _ number: Int, _ keeper: HomeKeeper<M, D>
  ) async throws(ArrayError) {
    if parts.options.plants(.scrubRepairsTowardsBadData), kind == .repair {
      return try await takeForRight(row, seen, keeper)
    }
    let image = try await parts.loadRow(row, isAgain: true)
    defer { parts.rowImages.giveBack(image) }
    noteLost(row, image, number)
    var healed: [Int] = []
    if kind == .repair, !image.solvedBad.isEmpty {
      healed = try await keeper.heal(row)
      parts.forgetTouched()
    }
    for position in image.solvedBad {
      note(
        number, block: block(row, position), slot: slot(row, position),
        trouble(image, position), healed.contains(position) ? .repaired : .notRepaired)
    }
    // Parity that is bad beside data that is known is looked at below.
    let isDataKnown =
      !geometry.isMirrored && (0..<geometry.dataCount).allSatisfy(image.isKnown)
    for position in 0..<geometry.width
    where !isDataKnown && image.parts[position] == .bad
      && image.entries[position].state == .written
    {
      if position < geometry.dataCount, parts.isSuperseded(block(row, position)) { continue }
      try parts.checkServing()
      note(
        number, block: block(row, position), slot: slot(row, position), trouble(image, position),
        .lost)
      if position < geometry.dataCount || geometry.isMirrored {
        parts.noteLost(block(row, position))
      }
    }
    try await compare(row, image, kind, number, keeper)
  }

  private func trouble(_ image: RowImage, _ position: Int) -> ScrubTrouble {
    image.failedReads & (1 << UInt32(position)) != 0 ? .unreadable : .checksum
  }

  // MARK: Parity against data

  /// Whether parity is what the data says, and copies are the same, where all of them verify.
  private func compare(
    _ row: UInt64, _ image: RowImage, _ kind: ScrubKind, _ number: Int, _ keeper: HomeKeeper<M, D>
  ) async throws(ArrayError) {
    if geometry.isMirrored { return try await compareCopies(row, image, kind, number, keeper) }
    // Parity comes from data that is known, and from nothing else.
    guard geometry.parityCount > 0, (0..<geometry.dataCount).allSatisfy(image.isKnown) else {
      return
    }
    guard let sums = sums ?? OwnedBuffer(byteCount: 2 * 4096) else { throw .outOfMemory }
    self.sums = sums
    sumParity(image, into: sums)
    let all = sums.buffer
    var wrong: [Int] = []
    for position in geometry.dataCount..<geometry.width {
      guard parts.readableSlots.contains(slot(row, position)) else { continue }
      let sum = all.slice((position - geometry.dataCount) * 4096, 4096)
      let isRight =
        switch image.parts[position] {
        case .good: sum.isEqual(to: image.buffer(position))
        case .zeros: sum.isZero
        case .bad: false
        case .absent: true
        }
      if !isRight { wrong.append(position) }
    }
    guard !wrong.isEmpty else { return }
    if kind == .repair {
      for position in wrong {
        image.buffer(position).copy(
          from: all.slice((position - geometry.dataCount) * 4096, 4096))
      }
      try await rewrite(row, image, wrong, keeper)
    }
    for position in wrong {
      let isRepaired = kind == .repair && parts.readableSlots.contains(slot(row, position))
      note(
        number, block: block(row, position), slot: slot(row, position), .parity,
        isRepaired ? .repaired : .notRepaired)
    }
  }

  private func sumParity(_ image: RowImage, into sums: OwnedBuffer) {
    let all = sums.buffer
    all.fill(with: 0)
    for position in 0..<geometry.dataCount where image.parts[position] == .good {
      RowMath.xor(image.buffer(position), into: all.prefix(4096))
      guard geometry.parityCount == 2 else { continue }
      RowMath.addScaled(image.buffer(position), index: position, into: all.slice(4096, 4096))
    }
  }

  /// Copies that verify and are not the same: the first counts, as it does for readers.
  private func compareCopies(
    _ row: UInt64, _ image: RowImage, _ kind: ScrubKind, _ number: Int, _ keeper: HomeKeeper<M, D>
  ) async throws(ArrayError) {
    let good = (0..<geometry.width).filter { image.parts[$0] == .good }
    guard let first = good.first else { return }
    let wrong = good.filter {
      parts.plainChecksum(image, row: row, $0) != parts.plainChecksum(image, row: row, first)
    }
    guard !wrong.isEmpty else { return }
    if kind == .repair {
      for position in wrong { image.buffer(position).copy(from: image.buffer(first)) }
      try await rewrite(row, image, wrong, keeper)
    }
    for position in wrong {
      note(
        number, block: block(row, position), slot: slot(row, position), .mirror,
        kind == .repair ? .repaired : .notRepaired)
    }
  }

  /// Writes blocks of a row that are computed anew, and gives them new entries.
  ///
  /// A crash in between leaves a block that does not fit its entry, beside data that does: the row
  /// has no less than before.
  private func rewrite(
    _ row: UInt64, _ image: RowImage, _ positions: [Int], _ keeper: HomeKeeper<M, D>
  ) async throws(ArrayError) {
    try await keeper.hold(row)
    defer { keeper.letGo(isSettling: true) }
    let group = parts.members.makeGroup()
    var written = SlotSet()
    for position in positions {
      let place = geometry.place(ofRow: row, position: position)
      guard parts.members.writableSlots.contains(place.slot) else { continue }
      written.insert(place.slot)
      parts.members.writeData(
        place, from: image.buffer(position), keeping: image.memory, group, tag: position)
    }
    await group.wait()
    try await parts.expelFailed(group)
    try await parts.synchronize(written)
    for position in positions where written.contains(slot(row, position)) {
      let place = geometry.place(ofRow: row, position: position)
      parts.table.setEntry(
        .written(BlockChecksum.of(image.buffer(position).bytes) ^ parts.mask(place)), row: row,
        position: position)
    }
    parts.forgetTouched()
  }

  /// A planted bug: what lies there is taken for right, whatever its entry says.
  private func takeForRight(
    _ row: UInt64, _ seen: PageImage, _ keeper: HomeKeeper<M, D>
  ) async throws(ArrayError) {
    let image = seen.rowView(row)
    let bad = (0..<geometry.width).filter {
      image.parts[$0] == .bad && image.entries[$0].state == .written
    }
    for position in bad { image.parts[position] = .good }
    try await rewrite(row, image, bad, keeper)
    guard geometry.parityCount > 0 else { return }
    try await compare(row, image, .repair, runNumber, keeper)
  }
}
