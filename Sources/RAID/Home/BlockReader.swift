import DiskFormat
import Geometry
import IO
import Parity

/// Reads blocks: from the index, the table's word for zeros, home, or what redundancy gives.
///
/// Takes no hold of anything. What it reads from home is believed if it verifies against the entry
/// that it saw before; if not, it looks again, because a destage may have changed both meanwhile
/// (rule D5).
final class BlockReader<M: Machine, D: Disk> {
  private let parts: ArrayParts<M, D>
  /// Suspends until the home of a row is not being written.
  private let waitForHome: (UInt64) async -> Bool
  private var readCount = 0
  private var jobs: [ReadJob] = []

  /// `waitForHome` returns false at once when nobody is writing the row.
  init(_ parts: ArrayParts<M, D>, waitForHome: @escaping (UInt64) async -> Bool) {
    self.parts = parts
    self.waitForHome = waitForHome
  }

  /// Blocks of one read: each may be an operation of its own.
  static var blockCountMax: Int { OperationGroup.tagCount }

  /// What is to be done for one block.
  enum Found: Equatable {
    case pending(PendingContent, checksum: UInt32)
    case zeros
    case lost
    case home(row: UInt64, position: Int, entry: BlockEntry)
    case pageNeeded(UInt64)
  }

  /// Reads blocks as they are now, at most `blockCountMax`, into memory of the engine's own.
  ///
  /// Returns who has the blocks, from its start on: `memory`, or another one where a member that
  /// was not waited for may still put something into it.
  func read(
    _ firstBlock: UInt64, count: Int, into memory: OwnedBuffer
  ) async throws(ArrayError) -> OwnedBuffer {
    precondition(count <= Self.blockCountMax)
    do throws(ArrayError) {
      let owner = try await readBlocks(firstBlock, count, into: memory)
      parts.lostBlocks.remove(firstBlock..<firstBlock + UInt64(count))
      return owner
    } catch {
      if case .unreadable(let block) = error { parts.noteLost(block) }
      throw error
    }
  }

  private func readBlocks(
    _ firstBlock: UInt64, _ count: Int, into memory: OwnedBuffer
  ) async throws(ArrayError) -> OwnedBuffer {
    let all = memory.buffer
    let buffer = all.prefix(count * 4096)
    let job = jobs.popLast() ?? ReadJob()
    defer { jobs.append(job) }
    job.removeAll()
    var index = 0
    while true {
      index = gather(firstBlock, from: index, count, into: buffer, &job.blocks)
      guard index < count else { break }
      let block = firstBlock + UInt64(index)
      if let home = try await fill(block, index, into: buffer.slice(index * 4096, 4096)) {
        job.blocks.append(home)
      }
      index += 1
    }
    guard !job.blocks.isEmpty else { return memory }
    return try await readHome(job, into: buffer, keeping: memory)
  }

  /// Fills in blocks from `start` on as far as that takes no waiting, and lists those to be read.
  ///
  /// - Returns: the first block that has to be waited for; `count` when there is none.
  private func gather(
    _ firstBlock: UInt64, from start: Int, _ count: Int, into buffer: IOBuffer,
    _ blocks: inout [HomeBlock]
  ) -> Int {
    for index in start..<count {
      let block = firstBlock + UInt64(index)
      switch look(block) {
      case .home(let row, let position, let entry):
        blocks.append(
          HomeBlock(index: index, block: block, row: row, position: position, entry: entry))
      case .zeros: buffer.slice(index * 4096, 4096).fill(with: 0)
      case .pending(.memory(let slot), _):
        buffer.slice(index * 4096, 4096).copy(from: parts.payloads.buffer(slot))
      case .pending, .lost, .pageNeeded: return index
      }
    }
    return count
  }

  /// Fills in a block that is not to be read from home.
  ///
  /// - Returns: where it is to be read, if it is.
  private func fill(
    _ block: UInt64, _ index: Int, into target: IOBuffer
  ) async throws(ArrayError) -> HomeBlock? {
    while true {
      let found = try await find(block)
      switch found {
      case .pending(let content, let checksum):
        guard try await copy(content, checksum: checksum, found, block, into: target) else {
          continue
        }
      case .zeros: target.fill(with: 0)
      case .lost: throw .unreadable(block: block)
      case .home(let row, let position, let entry):
        return HomeBlock(index: index, block: block, row: row, position: position, entry: entry)
      case .pageNeeded: preconditionFailure("the page was loaded")
      }
      return nil
    }
  }

  // MARK: Looking

  /// What a block is now.
  func look(_ block: UInt64) -> Found {
    if let pending = parts.index[block] {
      return pending.content == .zeros
        ? .zeros : .pending(pending.content, checksum: pending.checksum)
    }
    let place = parts.geometry.rowPosition(ofBlock: block)
    let page = parts.placement.page(ofRow: place.row)
    if parts.index.trimmedPages[page] != nil { return .zeros }
    guard let entry = parts.table.entry(row: place.row, position: place.position) else {
      return .pageNeeded(page)
    }
    switch entry.state {
    case .neverWritten: return .zeros
    case .lost: return .lost
    case .written: return .home(row: place.row, position: place.position, entry: entry)
    }
  }

  private func find(_ block: UInt64) async throws(ArrayError) -> Found {
    while true {
      let found = look(block)
      guard case .pageNeeded(let page) = found else { return found }
      do throws(ArrayError) {
        try await parts.load(page: page)
      } catch {
        // The page's copies are gone: the block cannot be told right from wrong.
        if case .unreadable = error { throw .unreadable(block: block) }
        throw error
      }
    }
  }

  /// - Returns: false when the block is somewhere else by now.
  private func copy(
    _ content: PendingContent, checksum: UInt32, _ found: Found, _ block: UInt64,
    into target: IOBuffer
  ) async throws(ArrayError) -> Bool {
    switch content {
    case .zeros: target.fill(with: 0)
    case .memory(let slot): target.copy(from: parts.payloads.buffer(slot))
    case .log(let batchSequence, let payloadIndex):
      do throws(ArrayError) {
        try await parts.readLogged(
          batchSequence, payloadIndex, checksum: checksum, block: block, into: target)
      } catch {
        // It may have gone home meanwhile, and its place in the log to others.
        if case .unreadable = error, look(block) != found { return false }
        throw error
      }
    }
    return true
  }

  // MARK: Home

  private func readHome(
    _ job: ReadJob, into given: IOBuffer, keeping owner: OwnedBuffer
  ) async throws(ArrayError) -> OwnedBuffer {
    let readable = parts.readableSlots
    plan(&job.blocks, &job.runs, readable)
    let group = parts.members.makeGroup()
    submit(job.runs, into: given, keeping: owner, readable, group)
    let isComplete = await group.wait(forNanoseconds: hedgeNanoseconds(job.runs, readable))
    if !isComplete {
      for tag in job.runs.indices where !group.hasSucceeded(tag) { job.runs[tag].isSlow = true }
    }
    for failure in group.failures {
      job.runs[failure.tag].hasFailed = true
      await parts.noteReadFailure(failure)
    }
    parts.members.release(group)
    // What was given up may yet land, whatever it brings, and over what was verified.
    var result = owner
    if !owner.isIdle {
      guard let spare = OwnedBuffer(byteCount: given.byteCount) else { throw .outOfMemory }
      spare.buffer.copy(from: given)
      result = spare
    }
    let all = result.buffer
    let buffer = all.prefix(given.byteCount)
    var next = 0
    while let bad = firstUnverified(job.blocks, job.runs, from: next, in: buffer) {
      var home = job.blocks[bad]
      if let tag = home.tag { home.isSlow = job.runs[tag].isSlow }
      try await readCarefully(home, into: buffer.slice(home.index * 4096, 4096))
      next = bad + 1
    }
    return result
  }

  /// The first block from `start` on that was not read, or not as its entry says.
  private func firstUnverified(
    _ blocks: [HomeBlock], _ runs: [ReadRun], from start: Int, in buffer: IOBuffer
  ) -> Int? {
    let plantsUnverifiedRead = parts.options.plants(.unverifiedRead)
    for index in start..<blocks.count {
      let home = blocks[index]
      guard let tag = home.tag else { return index }
      let run = runs[tag]
      if run.isSlow || run.hasFailed { return index }
      let place = BlockPlace(
        slot: run.first.slot, memberBlock: run.first.memberBlock + UInt64(index - run.start))
      let crc = BlockChecksum.of(buffer.slice(home.index * 4096, 4096).bytes)
      if crc ^ parts.mask(place) != home.copyEntry.checksum, !plantsUnverifiedRead { return index }
    }
    return nil
  }

  /// Decides who is read: runs of blocks that lie together on one member.
  private func plan(_ blocks: inout [HomeBlock], _ runs: inout [ReadRun], _ readable: SlotSet) {
    var start = 0
    while start < blocks.count {
      guard let first = choose(&blocks[start], readable) else {
        start += 1
        continue
      }
      let tag = runs.count
      blocks[start].tag = tag
      var end = start + 1
      while end < blocks.count, blocks[end].index == blocks[end - 1].index + 1,
        extend(
          &blocks[end], behind: blocks[end - 1], first.slot,
          first.memberBlock + UInt64(end - start))
      {
        blocks[end].tag = tag
        end += 1
      }
      runs.append(
        ReadRun(first: first, start: start, count: end - start, index: blocks[start].index))
      start = end
    }
  }

  /// Submits the runs, member by member: the kernel makes one of requests that come one behind the
  /// other and continue each other on the disk.
  private func submit(
    _ runs: [ReadRun], into buffer: IOBuffer, keeping owner: OwnedBuffer, _ readable: SlotSet,
    _ group: OperationGroup
  ) {
    for slot in readable {
      for tag in runs.indices where runs[tag].first.slot == slot {
        let run = runs[tag]
        parts.members.readData(
          run.first, into: buffer.slice(run.index * 4096, run.count * 4096), keeping: owner, group,
          tag: tag)
      }
    }
  }

  /// Picks the copy to read: the member that is expected to answer first.
  ///
  /// - Returns: where it lies; nil when there is none to be read.
  private func choose(_ home: inout HomeBlock, _ readable: SlotSet) -> BlockPlace? {
    let geometry = parts.geometry
    guard geometry.isMirrored else {
      let place = geometry.place(ofRow: home.row, position: home.position)
      let slot = place.slot
      home.copy = home.position
      guard readable.contains(slot) else { return nil }
      let member = parts.members[slot]
      guard member.latencyNanoseconds > hedgeNanoseconds(ofSlot: slot, readable),
        geometry.canServe(without: geometry.allSlots.subtracting(readable).union(SlotSet([slot])))
      else { return place }
      // All the others together are far faster: but now and then it is asked again.
      member.notePassedOver()
      home.isSlow = true
      return nil
    }
    readCount &+= 1
    // Members that are about as fast take turns, for some reads each: that is kind to streams, and
    // the reads meet every copy.
    let turn = readCount / Self.readsPerTurn % geometry.width
    var best: (place: BlockPlace, cost: UInt64)?
    for step in 0..<geometry.width {
      let copy = (turn + step) % geometry.width
      let place = geometry.place(ofRow: home.row, position: copy)
      let slot = place.slot
      guard readable.contains(slot),
        let entry = parts.table.entry(row: home.row, position: copy), entry.state == .written
      else { continue }
      let cost = cost(parts.members[slot])
      guard best.map({ cost < $0.cost }) ?? true else {
        parts.members[slot].notePassedOver()
        continue
      }
      if let best { parts.members[best.place.slot].notePassedOver() }
      best = (place, cost)
      home.copy = copy
      home.copyEntry = entry
    }
    return best?.place
  }

  private static var readsPerTurn: Int { 16 }

  /// When a member is expected to answer, to a factor of two.
  private func cost(_ member: Member<M, D>) -> UInt64 {
    let latency = min(member.latencyNanoseconds, 1 << 40)
    return (1 << UInt64(UInt64.bitWidth - latency.leadingZeroBitCount))
      * UInt64(member.pendingCount + 1)
  }

  /// Whether the next block continues a run on `slot` at `memberBlock`.
  private func extend(
    _ home: inout HomeBlock, behind previous: HomeBlock, _ slot: Int, _ memberBlock: UInt64
  ) -> Bool {
    let geometry = parts.geometry
    guard geometry.isMirrored else {
      // Inside a chunk the member's blocks go on as the rows do.
      if home.position == previous.position, home.row == previous.row + 1,
        home.row % geometry.chunkBlockCount != 0
      {
        return true
      }
      return geometry.place(ofRow: home.row, position: home.position)
        == BlockPlace(slot: slot, memberBlock: memberBlock)
    }
    for copy in 0..<geometry.width {
      let place = geometry.place(ofRow: home.row, position: copy)
      guard place.slot == slot, place.memberBlock == memberBlock else { continue }
      guard let entry = parts.table.entry(row: home.row, position: copy), entry.state == .written
      else { return false }
      home.copy = copy
      home.copyEntry = entry
      return true
    }
    return false
  }

  /// How long to wait before redundancy is asked as well.
  private func hedgeNanoseconds(_ runs: [ReadRun], _ readable: SlotSet) -> UInt64 {
    guard parts.geometry.redundancy > 0 else { return .max }
    var longest: UInt64 = 0
    var asked = SlotSet()
    for run in runs where !asked.contains(run.first.slot) {
      asked.insert(run.first.slot)
      longest = max(longest, hedgeNanoseconds(ofSlot: run.first.slot, readable))
    }
    return longest == 0 ? .max : longest
  }

  /// When a member is later than it is worth to wait for: by far later than usual, or than all the
  /// others.
  private func hedgeNanoseconds(ofSlot slot: Int, _ readable: SlotSet) -> UInt64 {
    let own = parts.members[slot].hedgeNanoseconds
    guard own > parts.options.hedgeNanosecondsMin else { return own }
    var others: UInt64?
    for other in readable where other != slot {
      others = max(others ?? 0, parts.members[other].hedgeNanoseconds)
    }
    return min(own, others ?? own)
  }

  // MARK: When something is wrong

  /// Reads one block by every way there is, until it verifies or has been shown to be lost.
  private func readCarefully(_ home: HomeBlock, into target: IOBuffer) async throws(ArrayError) {
    // What answered with something else may just be being written directly: that is no damage.
    if !home.isSlow { _ = await waitForHome(home.row) }
    var avoided = SlotSet()
    if home.isSlow {
      avoided.insert(parts.geometry.place(ofRow: home.row, position: home.copy).slot)
    }
    // A disk that read something else the first time may read right the next (fault F4).
    var hasTriedTwice = false
    while true {
      let found = try await find(home.block)
      switch found {
      case .zeros: return target.fill(with: 0)
      case .lost: throw .unreadable(block: home.block)
      case .pending(let content, let checksum):
        if try await copy(content, checksum: checksum, found, home.block, into: target) { return }
        continue
      case .pageNeeded: preconditionFailure("the page was loaded")
      case .home(let row, let position, _):
        let entries = entries(ofRow: row)
        if try await reconstruct(row, position, avoiding: avoided, into: target) { return }
        // Perhaps because the row was just being written, or has been meanwhile.
        if await waitForHome(row) { continue }
        if look(home.block) != found { continue }
        if let entries, let now = self.entries(ofRow: row), now != entries { continue }
        // The slow member is all there is.
        if !avoided.isEmpty {
          avoided = SlotSet()
          continue
        }
        guard hasTriedTwice else {
          hasTriedTwice = true
          continue
        }
        throw .unreadable(block: home.block)
      }
    }
  }

  /// What the table says of a row; nil when its page is not in memory.
  private func entries(ofRow row: UInt64) -> [BlockEntry]? {
    var entries: [BlockEntry] = []
    for position in 0..<parts.geometry.width {
      guard let entry = parts.table.entry(row: row, position: position) else { return nil }
      entries.append(entry)
    }
    return entries
  }

  /// Reads the whole row and takes the block from it, as read or as solved.
  private func reconstruct(
    _ row: UInt64, _ position: Int, avoiding avoided: SlotSet, into target: IOBuffer
  ) async throws(ArrayError) -> Bool {
    let image = try await parts.loadRow(row, excluding: avoided)
    defer { parts.rowImages.giveBack(image) }
    let hasBad = image.parts.contains(.bad) || !image.solvedBad.isEmpty
    if hasBad {
      if parts.options.plants(.healWithoutRecheck) {
        await writeBack(image, row)
      } else {
        parts.requestHeal(row)
      }
    }
    let source =
      parts.geometry.isMirrored
      ? image.parts.firstIndex(of: .good) ?? position : position
    guard image.parts[source] == .good, image.entries[source].state == .written else {
      return false
    }
    target.copy(from: image.buffer(source))
    return true
  }
}

extension BlockReader {
  /// A planted bug: the reader heals by itself what it has just seen.
  private func writeBack(_ image: RowImage, _ row: UInt64) async {
    let group = parts.members.makeGroup()
    for position in image.solvedBad {
      let place = parts.geometry.place(ofRow: row, position: position)
      guard parts.members.writableSlots.contains(place.slot) else { continue }
      parts.members.writeData(
        place, from: image.buffer(position), keeping: image.memory, group, tag: position)
    }
    await group.wait()
    parts.members.release(group)
  }
}
