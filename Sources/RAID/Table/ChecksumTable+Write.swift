import DiskFormat
import Geometry
import IO

/// One page's snapshot on its way to its copies.
struct PageWrite {
  let page: CachedPage
  let incarnation: Int
  let sequence: UInt64
  /// The slot that each copy is written in; nil where it is not, or has failed.
  var targets: [Int?]
}

extension ChecksumTable {
  /// Makes every change of entries that was made before the call durable, on all copies.
  ///
  /// What changes while it is written stays dirty. Members that fail are put out, and pages whose
  /// copy a member has missed are marked as changed.
  ///
  /// - Parameter wanted: only these pages; all that are dirty when nil.
  /// - Throws: when the array cannot spare who failed; the pages stay dirty.
  package func writeDirty(_ wanted: [UInt64]? = nil) async throws(ArrayError) {
    await writeTurn.acquire()
    let pages = takeDirty(wanted)
    var writes: [PageWrite] = []
    var failure: ArrayError?
    do throws(ArrayError) {
      try await write(pages, &writes)
    } catch {
      failure = error
      for write in writes where isCurrent(write) { markDirty(write.page) }
    }
    for page in pages { page.isWriting = false }
    cache.evict(downTo: cache.capacity)
    writeTurn.release()
    if let failure { throw failure }
  }

  /// The pages to write; they cannot be evicted until their copies are known again.
  private func takeDirty(_ wanted: [UInt64]?) -> [CachedPage] {
    var pages: [CachedPage] = []
    func take(_ page: CachedPage) {
      guard page.isDirty, !page.isWriting else { return }
      page.isWriting = true
      pages.append(page)
    }
    if let wanted {
      for number in wanted { if let page = cache.find(number) { take(page) } }
    } else {
      for page in cache.dirtyPages() { take(page) }
    }
    return pages
  }

  /// Whether the page is still what was written, or has only changed since.
  private func isCurrent(_ write: PageWrite) -> Bool {
    write.page.incarnation == write.incarnation && isPresent(write.page.number)
  }

  private func write(
    _ pages: [CachedPage], _ writes: inout [PageWrite]
  ) async throws(ArrayError) {
    var rest = pages[...]
    while !rest.isEmpty {
      let batch = Array(rest.prefix(Self.batchPageCount))
      rest = rest.dropFirst(batch.count)
      try await probe(batch)
      try await write(batch: batch, &writes)
    }
    try await synchronize(&writes)
    for write in writes { try settle(write) }
  }

  /// Finds out which slots of new pages may be overwritten.
  ///
  /// An absent page may have been present before; then its old version must stay whole until the
  /// new one is durable, and the new one needs the higher sequence.
  private func probe(_ batch: [CachedPage]) async throws(ArrayError) {
    let unknown = batch.filter { page in
      page.copies.indices.contains { copy in
        page.copies[copy] == .unknown
          && members[placement.slot(ofPage: page.number, copy: copy)].isUsable
      }
    }
    guard !unknown.isEmpty else { return }
    guard let memory = probeBuffers.take() else { throw .outOfMemory }
    let readings = await readCopies(of: unknown.map(\.number), into: memory)
    probeBuffers.give(memory)
    for (index, page) in unknown.enumerated() {
      for copy in page.copies.indices where page.copies[copy] == .unknown {
        page.copies[copy] = readings[index * placement.copyCount + copy].knowledge
      }
    }
  }

  private func write(
    batch: [CachedPage], _ writes: inout [PageWrite]
  ) async throws(ArrayError) {
    guard let memory = writeBuffers.take() else { throw .outOfMemory }
    let buffer = memory.buffer
    let group = members.makeGroup()
    let first = writes.count
    // A page may have been trimmed since it was taken.
    for page in batch where page.isDirty && isPresent(page.number) {
      let index = writes.count - first
      let part = buffer.slice(index * PageCache.pageBytes, PageCache.pageBytes)
      pageSequence += 1
      seal(page, into: part, sequence: pageSequence)
      markClean(page)
      var targets = [Int?](repeating: nil, count: placement.copyCount)
      for copy in targets.indices {
        let member = placement.slot(ofPage: page.number, copy: copy)
        guard members[member].isUsable else { continue }
        let target = options.plants(.tableSlotOverwritten) ? 0 : page.copies[copy].nextSlot
        targets[copy] = target
        members.write(
          member, atBytes: offset(page.number, copy, target), from: part, keeping: memory, group,
          tag: index * placement.copyCount + copy)
      }
      writes.append(
        PageWrite(
          page: page, incarnation: page.incarnation, sequence: pageSequence, targets: targets))
    }
    await group.wait()
    let failures = group.failures
    members.release(group)
    writeBuffers.give(memory)
    for failure in failures {
      let index = first + failure.tag / placement.copyCount
      writes[index].targets[failure.tag % placement.copyCount] = nil
    }
    try await membership.expel(failures)
  }

  /// A copy of the page as it is now, with its header.
  func seal(_ page: CachedPage, into part: IOBuffer, sequence: UInt64) {
    part.copy(from: page.buffer)
    TablePage.seal(
      part,
      header: TablePageHeader(
        arrayID: arrayID, pageNumber: page.number, sequence: sequence,
        trimSequence: page.trimSequence))
  }

  private func synchronize(_ writes: inout [PageWrite]) async throws(ArrayError) {
    var written = SlotSet()
    for write in writes {
      for (copy, target) in write.targets.enumerated() where target != nil {
        written.insert(placement.slot(ofPage: write.page.number, copy: copy))
      }
    }
    let failures = await synchronize(written)
    guard !failures.isEmpty else { return }
    let failed = SlotSet(failures.map(\.slot))
    for index in writes.indices {
      for copy in writes[index].targets.indices
      where failed.contains(placement.slot(ofPage: writes[index].page.number, copy: copy)) {
        writes[index].targets[copy] = nil
      }
    }
    try await membership.expel(failures)
  }

  /// One fdatasync on each of the members.
  func synchronize(_ slots: SlotSet) async -> [OperationFailure] {
    guard !slots.isEmpty else { return [] }
    let group = members.makeGroup()
    for slot in slots { members.synchronize(slot, group) }
    await group.wait()
    let failures = group.failures
    members.release(group)
    return failures
  }

  /// Takes note of what is durable now.
  private func settle(_ write: PageWrite) throws(ArrayError) {
    let page = write.page
    for (copy, target) in write.targets.enumerated() {
      guard let target else { continue }
      let member = placement.slot(ofPage: page.number, copy: copy)
      page.copies[copy] = CopyKnowledge(newestSlot: target)
      if page.repairSlots.contains(member) {
        page.repairSlots.remove(member)
        members[member].counters.healedBlocks += 1
      }
    }
    guard isCurrent(write) else { return }
    guard write.targets.contains(where: { $0 != nil }) else {
      throw .stopped("no copy of page \(page.number) of the checksum table could be written")
    }
    page.sequence = write.sequence
    if write.targets.contains(nil) { markChanged(page.number) }
    guard flags[page.number].contains(.unwritten) else { return }
    flags.set(page.number, flags[page.number].subtracting(.unwritten))
    flags.markDirty(page.number)
  }

  // MARK: To a member that comes back

  /// Forgets what is known of the copies of a slot: another member is there, and nothing that it
  /// may hold in their places is believed.
  func forgetCopies(of slot: Int) {
    cache.forEach { page in
      guard let copy = copyIndex(ofPage: page.number, slot: slot) else { return }
      page.copies[copy] = .unknown
      page.repairSlots.remove(slot)
    }
    for index in flags.mapPages.indices { flags.mapPages[index].copies[slot] = .unknown }
  }

  /// The copy of a page that a slot keeps; nil when it keeps none.
  package func copyIndex(ofPage number: UInt64, slot: Int) -> Int? {
    (0..<placement.copyCount).first { placement.slot(ofPage: number, copy: $0) == slot }
  }

  /// Writes a member's copies of pages anew, in both slots.
  ///
  /// For a member that is *syncing*: nothing that it had is believed, so nothing of it is left. They
  /// are durable with the member's next fdatasync: until then they count for nothing.
  ///
  /// - Parameters:
  ///   - numbers: pages; absent ones, and those of which the slot keeps no copy, are left out.
  ///   - slot: whose copies.
  ///   - seat: where they are written: the slot itself, or the seat of who replaces it.
  /// - Returns: false when the member was put out meanwhile.
  /// - Throws: `pageLost` for the first page that cannot be read from the others; what was written
  ///   before is of no use then.
  package func writeCopies(
    of numbers: some Sequence<UInt64>, ofSlot slot: Int, to seat: Int
  ) async throws(TableError) -> Bool {
    var pinned: [UInt64] = []
    for number in numbers where copyIndex(ofPage: number, slot: slot) != nil {
      do throws(TableError) {
        guard try await loadPinned(number) else { continue }
      } catch {
        for number in pinned { unpin(number) }
        throw error
      }
      pinned.append(number)
      guard pinned.count == Self.batchPageCount else { continue }
      guard try await writeBothSlots(&pinned, slot, seat) else { return false }
    }
    return try await writeBothSlots(&pinned, slot, seat)
  }

  private func writeBothSlots(
    _ pinned: inout [UInt64], _ slot: Int, _ seat: Int
  ) async throws(TableError) -> Bool {
    await writeTurn.acquire()
    defer {
      for number in pinned { unpin(number) }
      pinned.removeAll(keepingCapacity: true)
      writeTurn.release()
    }
    guard !pinned.isEmpty else { return members[seat].isUsable }
    guard let memory = writeBuffers.take() else { throw .outOfMemory }
    let buffer = memory.buffer
    let group = members.makeGroup()
    for (index, number) in pinned.enumerated() {
      guard isPresent(number), let page = cache.find(number),
        let copy = copyIndex(ofPage: number, slot: slot)
      else { continue }
      // A clean page keeps its sequence: the copies are the same.
      if page.isDirty { pageSequence += 1 }
      let part = buffer.slice(index * PageCache.pageBytes, PageCache.pageBytes)
      seal(page, into: part, sequence: page.isDirty ? pageSequence : page.sequence)
      for target in 0...1 {
        members.write(
          seat, atBytes: offset(number, copy, target), from: part, keeping: memory, group)
      }
      // What is known of a slot that has a member already is that member's.
      if seat == slot { page.copies[copy] = .firstIsNewest }
    }
    await group.wait()
    let failures = group.failures
    members.release(group)
    writeBuffers.give(memory)
    do throws(ArrayError) {
      try await membership.expel(failures)
    } catch {
      throw .stopped(error)
    }
    return failures.isEmpty
  }

  /// Waits for writes to one member, makes them durable, and gives group and memory back.
  private func finish(
    _ group: OperationGroup, on slot: Int, _ memory: OwnedBuffer
  ) async -> [OperationFailure] {
    await group.wait()
    if group.failures.isEmpty {
      members.synchronize(slot, group)
      await group.wait()
    }
    let failures = group.failures
    members.release(group)
    writeBuffers.give(memory)
    return failures
  }

  /// Makes a member's copy of a page invalid, in both slots, durably.
  ///
  /// For a member that is *syncing*, and a page of which nobody in sync has a copy: the one that it
  /// had is of before, and would count once the member does (rule T4).
  ///
  /// - Returns: false when the member was put out meanwhile.
  package func voidCopy(
    of number: UInt64, ofSlot slot: Int, on seat: Int
  ) async throws(ArrayError) -> Bool {
    guard let copy = copyIndex(ofPage: number, slot: slot) else { return members[seat].isUsable }
    await writeTurn.acquire()
    defer { writeTurn.release() }
    guard let memory = writeBuffers.take() else { throw .outOfMemory }
    let buffer = memory.buffer
    let zeros = buffer.prefix(PageCache.pageBytes)
    zeros.fill(with: 0)
    let group = members.makeGroup()
    for target in 0...1 {
      members.write(
        seat, atBytes: offset(number, copy, target), from: zeros, keeping: memory, group)
    }
    let failures = await finish(group, on: seat, memory)
    try await membership.expel(failures)
    return failures.isEmpty
  }
}
