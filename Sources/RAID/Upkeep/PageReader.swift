import DiskFormat
import Geometry
import IO
import Parity

/// Reads the written blocks of whole pages in long runs, and verifies each.
///
/// For the loop that owns home: nobody else changes rows or entries between `begin` and `finish`.
final class PageReader<M: Machine, D: Disk> {
  private let parts: ArrayParts<M, D>
  private var idle: [PageImage] = []
  /// Images that exist at once at most: what bounds the memory, with 2 MiB each.
  static var imageCountMax: Int { 4 }
  /// Never-written blocks that are read along rather than divide a run.
  private static var gapMax: UInt64 { 8 }
  /// Blocks of one operation, and of one beside which clients wait.
  private static var runBlockCountMax: Int { 128 }
  private static var gentleBlockCountMax: Int { 32 }

  init(_ parts: ArrayParts<M, D>) {
    self.parts = parts
  }

  func take() throws(ArrayError) -> PageImage {
    if let image = idle.popLast() { return image }
    guard let image = PageImage(parts.placement) else { throw .outOfMemory }
    return image
  }

  /// One whose memory an abandoned operation still holds is let go instead.
  func giveBack(_ image: PageImage) {
    if let group = image.group { parts.members.release(group) }
    image.group = nil
    guard image.memory.isIdle, idle.count < Self.imageCountMax else { return }
    idle.append(image)
  }

  /// The work is done: the memory is for others.
  func forgetIdle() { idle.removeAll() }

  /// Begins to read what `isWanted` says of the page's written blocks, and returns at once then.
  ///
  /// `isWanted` is given the image, with its entries, and a row; it sets the image's `isWanted`.
  ///
  /// With `isGentle` it takes longer, because members get a little at a time.
  ///
  /// - Throws: `unreadable` when the page is lost.
  func begin(
    _ image: PageImage, page: UInt64, isGentle: Bool,
    wanting choose: (PageImage, UInt64) -> Void
  ) async throws(ArrayError) {
    try await parts.load(page: page)
    image.restart(page: page, rows: parts.placement.rows(ofPage: page))
    takeEntries(image)
    image.isGentle = isGentle
    for row in image.rows { choose(image, row) }
    for slot in 0..<parts.geometry.memberCount {
      collectRuns(image, ofSlot: slot, seat: slot, gapMax: Self.gapMax) {
        image.isWanted[$0] ? image.offsets[$0] : nil
      }
    }
    let group = parts.members.makeGroup()
    image.group = group
    submitReads(image, group)
  }

  private func submitReads(_ image: PageImage, _ group: OperationGroup) {
    let all = image.memory.buffer
    for tag in image.takeRuns() {
      let run = image.runs[tag]
      parts.members.readData(
        BlockPlace(slot: run.seat, memberBlock: run.firstMemberBlock),
        into: all.slice(run.offset, run.blockCount * 4096), keeping: image.memory, group, tag: tag)
    }
  }

  private func takeEntries(_ image: PageImage) {
    let geometry = parts.geometry
    let readable = parts.readableSlots
    for row in image.rows {
      for position in 0..<geometry.width {
        let index = image.index(row, position)
        guard let entry = parts.table.entry(row: row, position: position) else {
          preconditionFailure("page \(image.page) has left memory while its entries were taken")
        }
        image.entries[index] = entry
        switch entry.state {
        case .neverWritten: image.parts[index] = .zeros
        case .written:
          image.parts[index] = readable.contains(image.places[index].slot) ? .bad : .absent
        // A parity whose content is not known is not zeros.
        case .lost: image.parts[index] = position < geometry.dataCount ? .zeros : .bad
        }
        if geometry.parityCount == 0, entry.state == .lost { image.parts[index] = .zeros }
      }
    }
  }

  /// Collects the runs of a slot's blocks for which `offset` gives a place in memory.
  private func collectRuns(
    _ image: PageImage, ofSlot slot: Int, seat: Int, gapMax: UInt64, _ offset: (Int) -> Int?
  ) {
    let countMax = image.isGentle ? Self.gentleBlockCountMax : Self.runBlockCountMax
    var open: PageRun?
    for index in image.places.indices where image.places[index].slot == slot {
      guard let offset = offset(index) else { continue }
      let memberBlock = image.places[index].memberBlock
      if var run = open, run.blockCount < countMax,
        run.continues(at: memberBlock, offset: offset, gapMax: gapMax)
      {
        run.extend(to: memberBlock)
        open = run
      } else {
        if let run = open { image.runs.append(run) }
        open = PageRun(seat: seat, firstMemberBlock: memberBlock, offset: offset, blockCount: 1)
      }
    }
    if let run = open { image.runs.append(run) }
  }

  /// Waits for what was begun, and verifies it: what fits its entry is `good`, and what was wanted
  /// and does not fit, or could not be read, stays `bad`.
  ///
  /// - Returns: false when a member gave up, and its buffer cannot be trusted any more.
  func finish(_ image: PageImage) async -> Bool {
    guard let group = image.group else { return true }
    await group.wait()
    while image.submittedRuns.count < image.runs.count {
      submitReads(image, group)
      await group.wait()
    }
    image.group = nil
    let failures = group.failures
    parts.members.release(group)
    var isRead = image.isWanted
    for failure in failures {
      let run = image.runs[failure.tag]
      let blocks = run.firstMemberBlock..<run.firstMemberBlock + UInt64(run.blockCount)
      for index in image.places.indices where image.places[index].slot == run.seat {
        guard blocks.contains(image.places[index].memberBlock) else { continue }
        isRead[index] = false
        if failure.error == .absent, image.entries[index].state == .written {
          image.parts[index] = .absent
        }
      }
      await parts.noteReadFailure(failure)
    }
    guard image.memory.isIdle else { return false }
    for index in image.places.indices where isRead[index] {
      guard image.entries[index].state == .written else { continue }
      let found = BlockChecksum.of(image.buffer(index).bytes) ^ parts.mask(image.places[index])
      if found == image.entries[index].checksum {
        image.parts[index] = .good
      } else {
        parts.members[image.places[index].slot].counters.checksumErrors += 1
      }
    }
    return true
  }

  /// Begins to write the targets' blocks, in long runs.
  ///
  /// `source` gives, for a block of the page, where its content lies in the image's memory.
  func beginWriting(
    _ image: PageImage, to targets: [RebuildTarget], _ source: (Int) -> Int?
  ) {
    image.forgetRuns()
    for target in targets {
      collectRuns(image, ofSlot: target.slot, seat: target.seat, gapMax: 0, source)
    }
    image.writtenBytes = image.runs.reduce(0) { $0 + UInt64($1.blockCount) * 4096 }
    let group = parts.members.makeGroup()
    image.group = group
    submitWrites(image, group)
  }

  private func submitWrites(_ image: PageImage, _ group: OperationGroup) {
    let all = image.memory.buffer
    for index in image.takeRuns() {
      let run = image.runs[index]
      parts.members.writeData(
        BlockPlace(slot: run.seat, memberBlock: run.firstMemberBlock),
        from: all.slice(run.offset, run.blockCount * 4096), keeping: image.memory, group)
    }
  }

  /// Waits for what is being written; members that fail are put out.
  func finishWriting(_ image: PageImage) async throws(ArrayError) {
    guard let group = image.group else { return }
    await group.wait()
    while image.submittedRuns.count < image.runs.count {
      submitWrites(image, group)
      await group.wait()
    }
    image.group = nil
    try await parts.expelFailed(group)
  }
}
