import DiskFormat
import Geometry
import IO

/// A member that is brought up to date: whose blocks it gets, and where they are written.
struct RebuildTarget: Equatable {
  /// The slot whose blocks these are.
  var slot: Int
  /// Where they are written: the slot itself, or the seat of a replacement.
  var seat: Int
  /// Who is there: another one may take its slot meanwhile, and has nothing of it.
  var memberID: Identifier
  /// Which of its disks, one after the other, this is: one that left and came back is another target.
  var attachment: Int

  /// A copy of a member that goes on serving.
  var isReplacement: Bool { slot != seat }
}

/// Brings members up to date, all together, in one pass over the pages that are marked changed:
/// the page's table copies, then every block of the targets in it (rules T4, T5, T8;
/// docs/upkeep.md, section 3).
///
/// Destage writes to the targets as well, so a page that was done stays right. What says how far
/// the pass has come is the marks themselves: one is taken away when the page is durable on every
/// target, and only then.
final class Resync<M: Machine, D: Disk> {
  private let parts: ArrayParts<M, D>
  private let reader: PageReader<M, D>
  private let checker: ResyncCheck<M, D>
  private var targets: [RebuildTarget] = []
  /// Another value whenever the pass begins anew: what was begun before is of no use then.
  private var passNumber = 0
  /// Pages whose table copies the targets have, and whose data is next, in order.
  private var batch: ArraySlice<UInt64> = []
  /// From where on marked pages are looked for.
  private var nextPage: UInt64 = 0
  private var hasMap = false
  /// Done, but perhaps not durable on the targets.
  private var unsettledPages: [UInt64] = []
  /// Marks taken away that the media still have.
  private var clearedPageCount = 0
  private var donePageCount: UInt64 = 0
  private var pageCount: UInt64 = 0
  private var doneBytes: UInt64 = 0
  private var rate = WorkRate()
  private var named = NamedBlocks()
  /// What could not be read from the others, up to a limit.
  private var missedRows: [UInt64] = []
  /// Their pages, whose marks stay.
  private var missedPages: Set<UInt64> = []
  private(set) var isPaused = false

  /// Pages whose table copies are written together.
  private static var batchPageCount: Int { 32 }
  /// Pages that are made durable together: 128 MiB of the array's blocks.
  private static var unsettledPageCountMax: Int { 64 }
  /// After so many the map is written, so that a crash does not cost what was done.
  private static var clearedPageCountMax: Int { 64 }

  /// Pages that are read back at once where clients may wait.
  private static var readBackCountMax: Int { 4 }

  private static var missedRowCountMax: Int { 16384 }

  init(_ parts: ArrayParts<M, D>, _ reader: PageReader<M, D>) {
    self.parts = parts
    self.reader = reader
    checker = ResyncCheck(parts)
  }

  /// Whether there is something to do now.
  var isNeeded: Bool { !targets.isEmpty && !isPaused }

  var isActive: Bool { !targets.isEmpty }

  /// Whether the pass is for a member, in a slot or in a seat.
  func hasTarget(_ place: Int) -> Bool { targets.contains { $0.seat == place && isValid($0) } }

  /// Something was done that a crash would cost.
  var isUnsettled: Bool {
    !unsettledPages.isEmpty || checker.isUnsettled || clearedPageCount > 0
  }

  var status: RebuildStatus? {
    guard isActive else { return nil }
    var status = RebuildStatus()
    status.slots = targets.map(\.slot)
    status.seats = targets.map(\.seat)
    status.donePages = donePageCount
    status.pages = max(pageCount, donePageCount)
    status.doneBytes = doneBytes
    let left = bytesLeft
    status.bytes = doneBytes + left
    status.isPaused = isPaused
    status.bytesPerSecond = isPaused ? 0 : rate.bytesPerSecond
    status.secondsLeft = isPaused ? nil : rate.secondsLeft(forBytes: left)
    named.fill(&status)
    return status
  }

  /// What is left to be written, if the rest is like what was done; at first as if all were full.
  private var bytesLeft: UInt64 {
    let pagesLeft = pageCount - min(pageCount, donePageCount)
    guard donePageCount == 0 else {
      return UInt64(Double(doneBytes) / Double(donePageCount) * Double(pagesLeft))
    }
    let geometry = parts.geometry
    let blocksOfSlot =
      parts.placement.rowsPerPage * UInt64(geometry.width) / UInt64(geometry.memberCount)
    return pagesLeft * blocksOfSlot * 4096 * UInt64(targets.count)
  }

  // MARK: Targets

  /// Adds a target: a member whose state is `syncing`, or a replacement.
  ///
  /// The pass begins anew, over what is marked.
  func begin(slot: Int, seat: Int) {
    targets.removeAll { $0.seat == seat }
    let member = parts.members[seat]
    targets.append(
      RebuildTarget(
        slot: slot, seat: seat, memberID: member.memberID, attachment: member.attachmentCount))
    missedRows = []
    restart()
  }

  /// Rows whose blocks the targets do not have, because the others could not be read then.
  ///
  /// To be looked at again when they are current: a read that failed once may succeed the next time.
  func takeMissedRows() -> [UInt64] {
    defer { missedRows = [] }
    return missedRows
  }

  func pause() {
    isPaused = true
    rate.restart()
  }

  func resume() { isPaused = false }

  private func restart() {
    passNumber += 1
    batch = []
    nextPage = 0
    hasMap = false
    unsettledPages = []
    checker.restart()
    donePageCount = 0
    pageCount = UInt64(parts.table.changedPageCount)
    doneBytes = 0
    rate.restart()
    named = NamedBlocks()
    missedPages = []
  }

  /// Whether a target is still one.
  func isValid(_ target: RebuildTarget) -> Bool {
    let member = parts.members[target.seat]
    return member.state == .syncing && member.memberID == target.memberID
      && member.attachmentCount == target.attachment
  }

  private func dropLeavers() { targets.removeAll { !isValid($0) } }

  /// No member lacks anything but the targets; nor does a replacement that is away.
  private var isNobodyElseOut: Bool {
    let members = parts.members
    return (0..<parts.geometry.memberCount).allSatisfy { slot in
      members.currentSlots.contains(slot) || targets.contains { $0.seat == slot }
    }
      && members.seats.allSatisfy { seat in
        members[seat].targetSlot == nil || targets.contains { $0.seat == seat }
      }
  }

  // MARK: The pass

  /// Does a bounded part of the work: up to so many pages, as long as `mayGoOn` says so; gently,
  /// where clients wait beside it.
  ///
  /// - Returns: the targets, when all their blocks are there, durably.
  func step(
    pageCountMax: Int, isGentle: Bool, mayGoOn: () -> Bool
  ) async throws(ArrayError) -> [RebuildTarget] {
    dropLeavers()
    guard isNeeded else { return [] }
    let pass = passNumber
    if !hasMap {
      try await writeMap(pass)
      return []
    }
    let wrong = checker.takeWrong()
    if !wrong.isEmpty {
      try await copyAgain(wrong, pass)
      return []
    }
    if batch.isEmpty {
      let pages = nextBatch()
      guard !pages.isEmpty else {
        return try await end(pass, pageCountMax, isGentle, mayGoOn)
      }
      nextPage = (pages.last ?? 0) + 1
      if !parts.options.plants(.resyncForgetsTable) { try await writeTable(pages) }
      if pass == passNumber { batch = pages[...] }
      return []
    }
    if parts.options.plants(.believedBeforePassEnds) { return end() }
    try await copyPages(pass, pageCountMax, isGentle, mayGoOn)
    if pass == passNumber, unsettledPages.count >= Self.unsettledPageCountMax {
      try await settle()
    }
    return []
  }

  /// Pages of which a target did not have what was written to it.
  private func copyAgain(_ pages: [UInt64], _ pass: Int) async throws(ArrayError) {
    try await writeTable(pages)
    guard pass == passNumber else { return }
    batch = (pages + batch)[...]
    donePageCount -= min(donePageCount, UInt64(pages.count))
  }

  /// Settles what is left, a bounded part at a time.
  private func end(
    _ pass: Int, _ pageCountMax: Int, _ isGentle: Bool, _ mayGoOn: () -> Bool
  ) async throws(ArrayError) -> [RebuildTarget] {
    guard unsettledPages.isEmpty, !checker.isUnsettled else {
      try await readBack(pageCountMax, isGentle, mayGoOn)
      if pass == passNumber, !checker.hasWaiting { try await settle() }
      return []
    }
    // What the targets were asked to write must be durable, also where nothing was to be copied.
    try await parts.synchronizeTargets(targets.map(\.seat))
    dropLeavers()
    return pass == passNumber ? end() : []
  }

  private func end() -> [RebuildTarget] {
    reader.forgetIdle()
    defer {
      targets = []
      restart()
    }
    return targets
  }

  private func nextBatch() -> [UInt64] {
    var pages: [UInt64] = []
    var next = nextPage
    while pages.count < Self.batchPageCount, let page = parts.table.nextChanged(from: next) {
      pages.append(page)
      next = page + 1
    }
    return pages
  }

  private func writeMap(_ pass: Int) async throws(ArrayError) {
    for target in targets {
      guard parts.options.plants(.resyncForgetsTable) == false else { break }
      _ = try await parts.table.writeMapCopies(to: target.seat)
    }
    if pass == passNumber { hasMap = true }
  }

  /// Gives the targets their copies of these pages.
  private func writeTable(_ pages: [UInt64]) async throws(ArrayError) {
    await parts.table.loadAhead(pages)
    for target in targets {
      do throws(TableError) {
        _ = try await parts.table.writeCopies(of: pages, ofSlot: target.slot, to: target.seat)
      } catch {
        guard case .pageLost = error else { throw ArrayError(error) }
        for page in pages { try await writeTable(page, to: target) }
      }
    }
  }

  private func writeTable(_ page: UInt64, to target: RebuildTarget) async throws(ArrayError) {
    do throws(TableError) {
      _ = try await parts.table.writeCopies(of: [page], ofSlot: target.slot, to: target.seat)
    } catch {
      guard case .pageLost = error else { throw ArrayError(error) }
      try parts.checkServing()
      // Nobody has it: its blocks are lost, whatever this member's copy says of before.
      _ = try await parts.table.voidCopy(of: page, ofSlot: target.slot, on: target.seat)
    }
  }

  /// Makes what was done durable on the targets, and takes the marks of these pages away.
  ///
  /// With `writesMap` the marks on the media follow at once.
  ///
  /// First they are read back, then an fdatasync covers what clients have written to them meanwhile.
  func settle(writesMap: Bool = false) async throws(ArrayError) {
    let pass = passNumber
    if checker.hasWaiting {
      try await readBack(Self.readBackCountMax, true) { true }
      guard pass == passNumber, !checker.hasWaiting else { return }
    }
    if parts.options.plants(.changedFlagClearedEarly) {
      checker.append(unsettledPages)
      unsettledPages = []
    } else if !unsettledPages.isEmpty || checker.isUnsettled {
      try await parts.synchronizeTargets(targets.map(\.seat))
      guard pass == passNumber else { return }
    }
    let pages = checker.takeChecked()
    checker.append(unsettledPages)
    unsettledPages = []
    // One that has left since comes back to all that is marked.
    if !pages.isEmpty, targets.allSatisfy(isValid), isNobodyElseOut {
      parts.table.clearChanged(pages)
      clearedPageCount += pages.count
    }
    guard clearedPageCount >= (writesMap ? 1 : Self.clearedPageCountMax) else { return }
    clearedPageCount = 0
    try await parts.table.writeMap()
  }

  /// Reads back a bounded part of what was written.
  private func readBack(
    _ pageCountMax: Int, _ isGentle: Bool, _ mayGoOn: () -> Bool
  ) async throws(ArrayError) {
    var count = 0
    while checker.hasWaiting, count < pageCountMax, count == 0 || mayGoOn() {
      count += 1
      try await checker.advance(targets, isGentle: isGentle)
    }
    try await checker.finish()
  }

  // MARK: Copying

  /// Copies pages of the batch, reading the next while the former are written.
  private func copyPages(
    _ pass: Int, _ pageCountMax: Int, _ isGentle: Bool, _ mayGoOn: () -> Bool
  ) async throws(ArrayError) {
    var reading: [PageImage] = []
    var writing: [PageImage] = []
    var failure: ArrayError?
    var begunCount = 0
    do throws(ArrayError) {
      while true {
        while pass == passNumber, reading.count + writing.count < PageReader<M, D>.imageCountMax,
          begunCount < pageCountMax, begunCount == 0 || mayGoOn(), let page = batch.first
        {
          batch = batch.dropFirst()
          begunCount += 1
          if let image = try await beginReading(page, isGentle) {
            reading.append(image)
          } else if pass == passNumber {
            noteDone(page, byteCount: 0)
          }
        }
        if !reading.isEmpty {
          let image = reading.removeFirst()
          writing.append(image)
          try await copy(image)
          if !isGentle { try await checker.advance(targets, isGentle: false) }
          if writing.count < PageReader<M, D>.imageCountMax / 2, !reading.isEmpty { continue }
        }
        guard !writing.isEmpty else { break }
        let image = writing.removeFirst()
        defer { reader.giveBack(image) }
        try await reader.finishWriting(image)
        if isGentle { try await checker.advance(targets, isGentle: true) }
        if pass == passNumber { noteDone(image.page, byteCount: image.writtenBytes) }
      }
    } catch {
      failure = error
    }
    for image in reading + writing {
      await image.group?.wait()
      reader.giveBack(image)
    }
    try await checker.finish()
    if let failure { throw failure }
  }

  private func noteDone(_ page: UInt64, byteCount: UInt64) {
    // What could not be read this time is tried again behind a crash: then its mark has to be there.
    if !missedPages.contains(page) { unsettledPages.append(page) }
    donePageCount += 1
    doneBytes += byteCount
    rate.note(doneBytes, at: parts.machine.nowNanoseconds)
  }

  /// - Returns: nil when there is nothing to be copied.
  private func beginReading(
    _ page: UInt64, _ isGentle: Bool
  ) async throws(ArrayError) -> PageImage? {
    guard parts.table.isPresent(page) else { return nil }
    let image = try reader.take()
    let readable = parts.readableSlots.subtracting(untrustedSlots)
    do throws(ArrayError) {
      try await reader.begin(image, page: page, isGentle: isGentle) { image, row in
        self.choose(image, row, readable)
      }
      return image
    } catch {
      reader.giveBack(image)
      guard case .unreadable = error else { throw error }
      try parts.checkServing()
      namePage(page)
      return nil
    }
  }

  /// Targets that are not believed themselves.
  private var untrustedSlots: SlotSet {
    SlotSet(targets.filter { !$0.isReplacement }.map(\.slot))
  }

  /// The place in the row of a target's block that is to be written.
  private func position(_ image: PageImage, _ row: UInt64, of target: RebuildTarget) -> Int? {
    (0..<image.geometry.width).first { position in
      let index = image.index(row, position)
      return image.places[index].slot == target.slot && image.entries[index].state == .written
    }
  }

  /// Says what has to be read of a row: the block itself where its member serves, one copy, or all.
  private func choose(_ image: PageImage, _ row: UInt64, _ readable: SlotSet) {
    let first = image.index(row, 0)
    let all = first..<first + image.geometry.width
    for target in targets {
      guard let position = position(image, row, of: target) else { continue }
      let isReadable = { (index: Int) in
        image.entries[index].state == .written && readable.contains(image.places[index].slot)
      }
      if isReadable(first + position) {
        image.isWanted[first + position] = true
      } else if image.geometry.isMirrored {
        if let source = all.first(where: isReadable) { image.isWanted[source] = true }
      } else {
        for index in all where isReadable(index) { image.isWanted[index] = true }
      }
    }
  }

  /// Verifies what was read, finds what is missing, and begins to write it to the targets.
  private func copy(_ image: PageImage) async throws(ArrayError) {
    guard await reader.finish(image) else { return try await copyCarefully(image) }
    var sources = [Int?](repeating: nil, count: image.places.count)
    for row in image.rows {
      let isDone = solve(image, row, &sources)
      if !isDone { try await solveCarefully(image, row, &sources) }
    }
    write(image, sources)
  }

  private func write(_ image: PageImage, _ sources: [Int?]) {
    reader.beginWriting(image, to: targets) { sources[$0] }
  }

  /// Finds the targets' blocks of a row from what was read of it.
  ///
  /// - Returns: false when something was wrong, or is missing.
  private func solve(_ image: PageImage, _ row: UInt64, _ sources: inout [Int?]) -> Bool {
    if image.hasBad(row) { return false }
    let first = image.index(row, 0)
    var isSolved = false
    for target in targets {
      guard let position = position(image, row, of: target) else { continue }
      let index = first + position
      if image.geometry.isMirrored, image.parts[index] != .good {
        let copies = first..<first + image.geometry.width
        guard let source = copies.first(where: { image.isWanted[$0] && image.parts[$0] == .good }),
          plainChecksum(image, source) == plainChecksum(image, index)
        else { return false }
        sources[index] = image.offsets[source]
        continue
      }
      if image.parts[index] != .good, !isSolved {
        isSolved = true
        _ = image.rowView(row).solve(image.geometry) { position in
          let index = first + position
          return image.entries[index].state == .written ? self.plainChecksum(image, index) : nil
        }
        image.adoptView(row)
      }
      guard image.parts[index] == .good else { return false }
      sources[index] = image.offsets[index]
    }
    return true
  }

  /// What a written block's checksum must be, without the mask.
  private func plainChecksum(_ image: PageImage, _ index: Int) -> UInt32 {
    image.entries[index].checksum ^ parts.mask(image.places[index])
  }

  /// The same by itself, with everything that can be asked; what cannot be had is named.
  private func solveCarefully(
    _ image: PageImage, _ row: UInt64, _ sources: inout [Int?]
  ) async throws(ArrayError) {
    let found: RowImage
    do throws(ArrayError) {
      found = try await parts.loadRow(row, excluding: untrustedSlots, isAgain: true)
    } catch {
      guard case .unreadable = error else { throw error }
      return try name(row, 0..<parts.geometry.dataCount)
    }
    defer { parts.rowImages.giveBack(found) }
    if !found.solvedBad.isEmpty { parts.requestHeal(row) }
    for target in targets {
      guard let position = position(image, row, of: target) else { continue }
      let index = image.index(row, position)
      guard found.parts[position] == .good, found.entries[position] == image.entries[index] else {
        sources[index] = nil
        missedPages.insert(image.page)
        if missedRows.last != row, missedRows.count < Self.missedRowCountMax {
          missedRows.append(row)
        }
        continue
      }
      image.buffer(index).copy(from: found.buffer(position))
      image.parts[index] = .good
      sources[index] = image.offsets[index]
    }
    try name(
      row,
      (0..<parts.geometry.dataCount).filter { position in
        parts.geometry.isMirrored
          ? !found.parts.contains { $0 == .good || $0 == .zeros } : !found.isKnown(position)
      })
  }

  /// All of a page again in other memory: into this one something may yet land.
  private func copyCarefully(_ image: PageImage) async throws(ArrayError) {
    // The member that gave up is out by now, and its page is done when it comes back; who else is a
    // target gets it from the rows by themselves.
    let fresh = try reader.take()
    defer { reader.giveBack(fresh) }
    fresh.restart(page: image.page, rows: image.rows)
    fresh.entries = image.entries
    var sources = [Int?](repeating: nil, count: fresh.places.count)
    for row in fresh.rows { try await solveCarefully(fresh, row, &sources) }
    write(fresh, sources)
    image.writtenBytes = fresh.writtenBytes
    try await reader.finishWriting(fresh)
  }

  // MARK: What cannot be had

  /// Names blocks of a row that nobody can give: the targets will not have them either.
  private func name(_ row: UInt64, _ positions: some Collection<Int>) throws(ArrayError) {
    guard !positions.isEmpty else { return }
    try parts.checkServing()
    for position in positions {
      let block = parts.geometry.block(ofRow: row, position: position)
      guard !parts.isSuperseded(block) else { continue }
      parts.noteLost(block, "could not be had while members were brought up to date")
      named.insert(BlockRun(firstBlock: block, blockCount: 1))
    }
  }

  private func namePage(_ page: UInt64) {
    let rows = parts.placement.rows(ofPage: page)
    parts.events.note(
      "all copies of table page \(page) are damaged: the blocks of rows \(rows.lowerBound) to "
        + "\(rows.upperBound - 1) cannot be brought to the members that are rebuilt", .error)
    for row in rows {
      for position in 0..<parts.geometry.dataCount {
        let block = parts.geometry.block(ofRow: row, position: position)
        named.insert(BlockRun(firstBlock: block, blockCount: 1))
      }
    }
  }
}

/// Blocks that a pass could not get, in runs, as many as are worth keeping.
struct NamedBlocks {
  private(set) var blockCount: UInt64 = 0
  private(set) var runs: [BlockRun] = []

  /// Adds blocks; those that follow the last ones become one run with them.
  mutating func insert(_ run: BlockRun) {
    blockCount += run.blockCount
    if let last = runs.indices.last, runs[last].endBlock == run.firstBlock {
      runs[last].blockCount += run.blockCount
    } else if runs.count < RebuildStatus.namedRunCountMax {
      runs.append(run)
    }
  }

  func fill(_ status: inout RebuildStatus) {
    status.namedBlockCount = blockCount
    status.namedRuns = runs
  }
}

extension ArrayError {
  /// What a table says, where a lost page has been dealt with.
  init(_ error: TableError) {
    switch error {
    case .pageLost(let page): self = .stopped("table page \(page) is lost")
    case .outOfMemory: self = .outOfMemory
    case .stopped(let error): self = error
    }
  }
}
