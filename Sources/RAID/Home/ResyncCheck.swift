import DiskFormat
import Geometry
import IO
import Parity

/// Reads back what a rebuild has written to its targets, and holds it against the checksum table
/// (docs/upkeep.md, section 3, "Reading back").
///
/// A page's mark says that a target may lack it: so it is taken away only when the target has shown
/// the page, after an fdatasync that covered it. Part of the steps of the loop that owns home:
/// nobody changes rows or entries between `begin` and `finish`, which are of one step.
final class ResyncCheck<M: Machine, D: Disk> {
  private let parts: ArrayParts<M, D>
  /// Written and durable, as the targets say: to be read back, in order.
  private var waiting: ArraySlice<UInt64> = []
  /// Read back, and right.
  private var checked: [UInt64] = []
  /// Of which something was wrong: to be copied again.
  private var wrong: [UInt64] = []
  /// Pages of which something was wrong once, by the seat that had it.
  private var suspects: [Int: Set<UInt64>] = [:]
  private var reading: [ReadBackPage] = []
  private let memories: OwnedBufferPool
  /// Another value whenever everything begins anew: what is being read then says nothing.
  private var generation = 0
  /// Planted bugs whose traces it would find and mend, or that take it away.
  private let isBlind: Bool

  /// Pages that are read at once: 4 MiB.
  private static var readingCountMax: Int { 2 }
  /// Blocks of one operation, and of one beside which clients wait.
  private static var runBlockCountMax: Int { 128 }
  private static var gentleBlockCountMax: Int { 32 }
  /// Blocks nobody needs that are read along rather than divide a run.
  private static var gapMax: UInt64 { 8 }

  init(_ parts: ArrayParts<M, D>) {
    self.parts = parts
    let pageBytes = Int(parts.placement.rowsPerPage) * parts.geometry.width * 4096
    memories = OwnedBufferPool(
      byteCount: pageBytes + parts.geometry.memberCount * 2 * PageCache.pageBytes,
      idleCountMax: Self.readingCountMax)
    let blinding: [PlantedBug] = [
      .rebuildTrustsWrites, .rebuildMissesWritesBehind, .replacementMissesWrites,
      .resyncForgetsTable, .changedFlagClearedEarly,
    ]
    isBlind = blinding.contains { parts.options.plants($0) }
  }

  /// Whether pages are to be read back.
  var hasWaiting: Bool { !waiting.isEmpty }

  /// Whether pages are not known to be right yet, or have not been taken.
  var isUnsettled: Bool { hasWaiting || !checked.isEmpty }

  /// Everything begins anew; what was wrong once is remembered no longer.
  func restart() {
    generation += 1
    waiting = []
    checked = []
    wrong = []
    suspects = [:]
  }

  /// These pages are durable on the targets, as these say.
  func append(_ pages: [UInt64]) {
    if isBlind { checked += pages } else { waiting += pages }
  }

  /// Takes the pages that all targets have.
  func takeChecked() -> [UInt64] {
    defer { checked = [] }
    return checked
  }

  /// Takes the pages that are to be copied again.
  func takeWrong() -> [UInt64] {
    defer { wrong = [] }
    return wrong
  }

  // MARK: Reading

  /// Begins to read one more page, beside others; what was begun before may end.
  func advance(_ targets: [RebuildTarget], isGentle: Bool) async throws(ArrayError) {
    guard !waiting.isEmpty else { return }
    if reading.count >= Self.readingCountMax { try await finish(reading.removeFirst()) }
    try await begin(targets, isGentle)
  }

  /// Waits for what was begun.
  func finish() async throws(ArrayError) {
    while !reading.isEmpty { try await finish(reading.removeFirst()) }
  }

  private func begin(_ targets: [RebuildTarget], _ isGentle: Bool) async throws(ArrayError) {
    guard let page = waiting.popFirst() else { return }
    let begun = generation
    if parts.table.isPresent(page) {
      do throws(ArrayError) {
        try await parts.load(page: page)
      } catch {
        // What nobody has an entry of was not copied.
        guard case .unreadable = error else { throw error }
        if begun == generation { checked.append(page) }
        return
      }
    }
    guard begun == generation else { return }
    guard parts.table.isPresent(page) else { return checked.append(page) }
    guard let memory = memories.take() else { throw .outOfMemory }
    parts.table.pin(page)
    let check = ReadBackPage(page, targets, memory, parts.members.makeGroup(), begun)
    collectBlocks(check, isGentle ? Self.gentleBlockCountMax : Self.runBlockCountMax)
    check.isGentle = isGentle
    reading.append(check)
    submit(check)
  }

  /// Finds what is to be read: the written blocks of the targets, as their entries are now, and
  /// their copies of the page itself.
  private func collectBlocks(_ check: ReadBackPage, _ blockCountMax: Int) {
    let geometry = parts.geometry
    var targetOfSlot = [Int?](repeating: nil, count: geometry.memberCount)
    for (index, target) in check.targets.enumerated() { targetOfSlot[target.slot] = index }
    var blocks = [[ReadBackBlock]](repeating: [], count: check.targets.count)
    for row in parts.placement.rows(ofPage: check.page) {
      for position in 0..<geometry.width {
        let place = geometry.place(ofRow: row, position: position)
        guard let target = targetOfSlot[place.slot],
          let entry = parts.table.entry(row: row, position: position), entry.state == .written
        else { continue }
        blocks[target].append(
          ReadBackBlock(
            memberBlock: place.memberBlock, checksum: entry.checksum ^ parts.mask(place)))
      }
    }
    var offset = 0
    for (index, target) in check.targets.enumerated() {
      if let copy = parts.table.copyIndex(ofPage: check.page, slot: target.slot) {
        check.operations.append(
          ReadBackRun(
            target: index, offset: offset, byteCount: 2 * PageCache.pageBytes,
            atBytes: parts.table.offset(check.page, copy, 0)))
        offset += 2 * PageCache.pageBytes
      }
      for run in runs(blocks[index], blockCountMax) {
        guard let first = run.first?.memberBlock, let last = run.last?.memberBlock else { continue }
        let byteCount = (Int(last - first) + 1) * 4096
        check.operations.append(
          ReadBackRun(
            target: index, offset: offset, byteCount: byteCount,
            atBytes: parts.members.dataOffset(
              BlockPlace(slot: target.slot, memberBlock: first)), blocks: run))
        offset += byteCount
      }
    }
  }

  /// Divides blocks in rising order into those that one operation reads.
  private func runs(
    _ blocks: [ReadBackBlock], _ blockCountMax: Int
  ) -> [ArraySlice<ReadBackBlock>] {
    var runs: [ArraySlice<ReadBackBlock>] = []
    var begin = 0
    for index in blocks.indices.dropFirst()
    where blocks[index].memberBlock - blocks[begin].memberBlock >= UInt64(blockCountMax)
      || blocks[index].memberBlock - blocks[index - 1].memberBlock > Self.gapMax + 1
    {
      runs.append(blocks[begin..<index])
      begin = index
    }
    if begin < blocks.count { runs.append(blocks[begin...]) }
    return runs
  }

  /// Submits what is next: everything, or, where clients wait beside it, one operation.
  private func submit(_ check: ReadBackPage) {
    let all = check.memory.buffer
    let end = check.isGentle ? check.submittedCount + 1 : check.operations.count
    while check.submittedCount < min(end, check.operations.count) {
      let tag = check.submittedCount
      let operation = check.operations[tag]
      check.submittedCount += 1
      parts.members.read(
        check.targets[operation.target].seat, atBytes: operation.atBytes,
        into: all.slice(operation.offset, operation.byteCount), keeping: check.memory, check.group,
        tag: tag)
    }
  }

  // MARK: Judging

  private func finish(_ check: ReadBackPage) async throws(ArrayError) {
    await check.group.wait()
    while check.submittedCount < check.operations.count {
      submit(check)
      await check.group.wait()
    }
    let failures = check.group.failures
    parts.members.release(check.group)
    defer {
      parts.table.unpin(check.page)
      memories.give(check.memory)
    }
    let wrongTargets = wrongTargets(check, failures)
    for failure in failures { await parts.noteReadFailure(failure) }
    guard check.generation == generation else { return }
    var isAgain = false
    for target in wrongTargets where isThere(target) {
      if suspects[target.seat, default: []].insert(check.page).inserted {
        isAgain = true
        noteWrong(check.page, target)
      } else {
        try await parts.keeper.expel(target.seat, .wroteWrong)
      }
    }
    guard check.generation == generation else { return }
    if isAgain { wrong.append(check.page) } else { checked.append(check.page) }
  }

  private func isThere(_ target: RebuildTarget) -> Bool {
    let member = parts.members[target.seat]
    return member.isUsable && member.memberID == target.memberID
      && member.attachmentCount == target.attachment
  }

  /// The targets that answered, and do not have what they should.
  private func wrongTargets(
    _ check: ReadBackPage, _ failures: [OperationFailure]
  ) -> [RebuildTarget] {
    let all = check.memory.buffer
    var isWrong = [Bool](repeating: false, count: check.targets.count)
    for (tag, operation) in check.operations.enumerated() {
      let target = check.targets[operation.target]
      if let failure = failures.first(where: { $0.tag == tag }) {
        // A sector that cannot be read; else it has gone.
        if case .disk = failure.error { isWrong[operation.target] = true }
        continue
      }
      let buffer = all.slice(operation.offset, operation.byteCount)
      let isRight =
        operation.blocks.isEmpty
        ? parts.table.isCopy(buffer, ofPage: check.page, ofSlot: target.slot, on: target.seat)
        : areRight(operation.blocks, in: buffer)
      if !isRight { isWrong[operation.target] = true }
    }
    return zip(check.targets, isWrong).filter(\.1).map(\.0)
  }

  private func areRight(_ blocks: ArraySlice<ReadBackBlock>, in buffer: IOBuffer) -> Bool {
    guard let first = blocks.first else { return true }
    return blocks.allSatisfy { block in
      let offset = Int(block.memberBlock - first.memberBlock) * 4096
      return BlockChecksum.of(buffer.slice(offset, 4096).bytes) == block.checksum
    }
  }

  private func noteWrong(_ page: UInt64, _ target: RebuildTarget) {
    let rows = parts.placement.rows(ofPage: page)
    parts.members[target.seat].counters.checksumErrors += 1
    parts.events.note(
      "\(parts.members[target.seat].name), which is brought up to date, does not have what was "
        + "written to it of rows \(rows.lowerBound) to \(rows.upperBound - 1): they are copied again",
      .warning)
  }
}

/// A page that is being read back from the targets.
private final class ReadBackPage {
  let page: UInt64
  let targets: [RebuildTarget]
  let memory: OwnedBuffer
  let group: OperationGroup
  let generation: Int
  var isGentle = false
  var operations: [ReadBackRun] = []
  var submittedCount = 0

  init(
    _ page: UInt64, _ targets: [RebuildTarget], _ memory: OwnedBuffer, _ group: OperationGroup,
    _ generation: Int
  ) {
    self.page = page
    self.targets = targets
    self.memory = memory
    self.group = group
    self.generation = generation
  }
}

/// One read of a target.
private struct ReadBackRun {
  /// Among those of the page.
  var target: Int
  /// In memory.
  var offset: Int
  var byteCount: Int
  /// From the start of the member.
  var atBytes: UInt64
  /// What is among it, in rising order; none where it is the copy of the page.
  var blocks: ArraySlice<ReadBackBlock> = []
}

private struct ReadBackBlock {
  var memberBlock: UInt64
  /// The checksum of its content, without the mask.
  var checksum: UInt32
}
