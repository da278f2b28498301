package import DiskFormat
package import Geometry
package import IO

/// Why a page of the checksum table cannot be had.
package enum TableError: Error, Equatable, Sendable {
  /// It should exist, and no copy that may be believed is valid.
  case pageLost(UInt64)
  case outOfMemory
  /// Members had to go, and the array could not spare them.
  case stopped(ArrayError)
}

/// The checksum table: a cache of its pages, their copies on the members, and the page map.
///
/// Reading an entry and changing one need the page in memory: `load` brings it, `pin` keeps it.
/// Changes stay in memory until `writeDirty`. Each page has copies on several members, each of two
/// slots that are written in turn, so that whatever happens while one is written the other is whole
/// (rule T1); the valid slot with the highest sequence on any current member counts.
package final class ChecksumTable<M: Machine, D: Disk> {
  let geometry: StripeGeometry
  package let placement: TablePlacement
  let layout: MemberLayout
  let arrayID: Identifier
  let members: MemberSet<M, D>
  unowned let membership: any MembershipKeeper
  let options: ArrayOptions

  /// The highest sequence of any page that was written or seen.
  package internal(set) var pageSequence: UInt64
  /// Copies found damaged or old, of table and map, since the start.
  package internal(set) var repairedCopyCount = 0
  /// Pages of the map that had no valid copy.
  package internal(set) var lostMapPageCount = 0
  package private(set) var dirtyPageCount = 0

  let cache: PageCache
  var flags: TableFlags
  var loads: [UInt64: PageLoad] = [:]
  /// One writes at a time, so that a page is in one write at most.
  let writeTurn = TurnLock()
  /// Trims of pages that are absent.
  private var trims: [UInt64: UInt64] = [:]
  private var lastGeneration: UInt64 = 0
  let loadBuffers: OwnedBufferPool
  let writeBuffers: OwnedBufferPool
  let probeBuffers: OwnedBufferPool
  /// Pages that are written or looked at together.
  static var batchPageCount: Int { 32 }

  /// A table whose map is unknown: `loadMap` or `initializeMap` comes next.
  ///
  /// - Parameters:
  ///   - geometry: of the array.
  ///   - placement: where pages lie, from the geometry.
  ///   - layout: where table and map lie on a member.
  ///   - arrayID: what pages must carry to be believed.
  ///   - members: all of the array.
  ///   - membership: puts out members that fail; must outlive the table. While it does so it must
  ///     not wait for `writeDirty` or `writeMap`, one of which may be waiting for it.
  ///   - options: of the array.
  ///   - pageSequence: pages get sequence numbers above this one.
  package init(
    geometry: StripeGeometry, placement: TablePlacement, layout: MemberLayout,
    arrayID: Identifier, members: MemberSet<M, D>, membership: any MembershipKeeper,
    options: ArrayOptions, pageSequence: UInt64
  ) {
    self.geometry = geometry
    self.placement = placement
    self.layout = layout
    self.arrayID = arrayID
    self.members = members
    self.membership = membership
    self.options = options
    self.pageSequence = pageSequence
    let pageBytes = PageCache.pageBytes
    cache = PageCache(
      capacity: max(8, options.tableCacheBytes / pageBytes), copyCount: placement.copyCount)
    flags = TableFlags(pageCount: placement.pageCount, memberCount: geometry.memberCount)
    loadBuffers = OwnedBufferPool(byteCount: placement.copyCount * 2 * pageBytes, idleCountMax: 16)
    writeBuffers = OwnedBufferPool(byteCount: Self.batchPageCount * pageBytes, idleCountMax: 2)
    probeBuffers = OwnedBufferPool(
      byteCount: Self.batchPageCount * placement.copyCount * 2 * pageBytes, idleCountMax: 1)
  }

  // MARK: What is there

  /// Whether a page exists; without it all its blocks are never-written (rule T3).
  package func isPresent(_ page: UInt64) -> Bool { flags[page].contains(.present) }

  /// Whether `entry` can answer for the page now.
  package func isLoaded(_ page: UInt64) -> Bool { !isPresent(page) || cache.find(page) != nil }

  package var cachedPageCount: Int { cache.count }
  package var cachedPageCountMax: Int { cache.capacity }
  package var presentPageCount: Int { flags.presentCount }

  /// Half of the cache waits to be written, or it holds more than it should.
  package var wantsWriting: Bool {
    dirtyPageCount * 2 >= cache.capacity || cache.count > cache.capacity
  }

  /// A block's entry.
  ///
  /// - Returns: nil when the page has to be loaded first.
  package func entry(row: UInt64, position: Int) -> BlockEntry? {
    let number = placement.page(ofRow: row)
    guard isPresent(number) else { return .neverWritten }
    guard let page = cache.find(number) else { return nil }
    return TablePage.entry(
      in: page.buffer, at: placement.entryIndex(row: row, position: position))
  }

  /// Another value after each change of a page.
  ///
  /// Also after it left memory and came back: a changed value says that something may have changed.
  package func generation(ofPage number: UInt64) -> UInt64 {
    guard isPresent(number) else { return 0 }
    return cache.find(number)?.generation ?? 0
  }

  /// The batch of the last trim of the whole page that its entries include; 0 for none.
  ///
  /// - Returns: nil when the page has to be loaded first.
  package func trimSequence(ofPage number: UInt64) -> UInt64? {
    if let page = cache.find(number) { return page.trimSequence }
    return isPresent(number) ? nil : trims[number] ?? 0
  }

  // MARK: Changing

  /// Sets a block's entry.
  ///
  /// - Precondition: the page is present and in memory.
  package func setEntry(_ entry: BlockEntry, row: UInt64, position: Int) {
    let number = placement.page(ofRow: row)
    precondition(isPresent(number), "an entry is set in page \(number), which is absent")
    guard let page = cache.find(number) else {
      preconditionFailure("an entry is set in page \(number), which is not in memory")
    }
    TablePage.setEntry(
      entry, in: page.buffer, at: placement.entryIndex(row: row, position: position))
    noteChange(page)
    markDirty(page)
  }

  /// Sets entries of rows that lie together; each page is looked for once.
  ///
  /// - Precondition: the pages are present and in memory.
  package func setEntries(
    ofRows rows: Range<UInt64>, positions: Range<Int>, _ entry: (UInt64, Int) -> BlockEntry
  ) {
    var first = rows.lowerBound
    while first < rows.upperBound {
      let number = placement.page(ofRow: first)
      let end = min(rows.upperBound, placement.rows(ofPage: number).upperBound)
      precondition(isPresent(number), "entries are set in page \(number), which is absent")
      guard let page = cache.find(number) else {
        preconditionFailure("entries are set in page \(number), which is not in memory")
      }
      for row in first..<end {
        for position in positions {
          TablePage.setEntry(
            entry(row, position), in: page.buffer,
            at: placement.entryIndex(row: row, position: position))
        }
      }
      noteChange(page)
      markDirty(page)
      first = end
    }
  }

  /// Makes an absent page, all of whose blocks are never-written.
  ///
  /// - Precondition: it is absent.
  package func create(_ number: UInt64) throws(TableError) {
    precondition(!isPresent(number), "page \(number) is there already")
    let kept = cache.find(number)
    guard let page = kept ?? cache.add(number) else { throw .outOfMemory }
    if kept == nil {
      TablePage.clear(page.buffer)
      page.trimSequence = trims[number] ?? 0
    }
    trims[number] = nil
    loads[number]?.isObsolete = true
    flags.set(number, flags[number].union([.present, .unwritten]))
    noteChange(page)
    markDirty(page)
  }

  /// Forgets all entries of a page, for a trim of all its rows: it is absent until it is created.
  ///
  /// - Parameters:
  ///   - number: the page, present or not.
  ///   - trimSequence: the trim's batch.
  package func blank(_ number: UInt64, trimSequence: UInt64) {
    loads[number]?.isObsolete = true
    if isPresent(number) {
      flags.set(number, flags[number].subtracting([.present, .unwritten]))
      flags.markDirty(number)
    }
    trims[number] = trimSequence
    guard let page = cache.find(number) else { return }
    // It stays in memory, because what is known of its slots is needed when it is created again.
    TablePage.clear(page.buffer)
    page.trimSequence = trimSequence
    page.incarnation += 1
    page.repairSlots = SlotSet()
    noteChange(page)
    markClean(page)
  }

  /// A trim of an absent page, which changes nothing: a page created later includes it.
  package func noteTrim(_ number: UInt64, trimSequence: UInt64) {
    guard !isPresent(number) else { return }
    trims[number] = trimSequence
    // One that was there before may still be in memory, to be taken again.
    cache.find(number)?.trimSequence = trimSequence
  }

  /// Forgets trims of absent pages that the checkpoint has passed.
  package func forgetTrims(through sequence: UInt64) {
    trims = trims.filter { $0.value > sequence }
  }

  /// Keeps a page in memory until `unpin`.
  ///
  /// - Precondition: it is in memory.
  package func pin(_ number: UInt64) {
    guard let page = cache.find(number) else {
      preconditionFailure("page \(number) is pinned, but not in memory")
    }
    page.pinCount += 1
  }

  /// Takes a pin back.
  package func unpin(_ number: UInt64) {
    guard let page = cache.find(number) else {
      preconditionFailure("page \(number) was pinned and has left memory")
    }
    precondition(page.pinCount > 0)
    page.pinCount -= 1
  }

  func noteChange(_ page: CachedPage) {
    lastGeneration += 1
    page.generation = lastGeneration
  }

  func markDirty(_ page: CachedPage) {
    guard !page.isDirty else { return }
    page.isDirty = true
    dirtyPageCount += 1
  }

  func markClean(_ page: CachedPage) {
    guard page.isDirty else { return }
    page.isDirty = false
    dirtyPageCount -= 1
  }

  // MARK: The map

  /// For a new array: no page is present, and the whole map is to be written.
  package func initializeMap() {
    for index in flags.mapPages.indices { flags.mapPages[index].isDirty = true }
  }

  /// Pages that something changed in while a member was out (rule T5).
  package var changedPageCount: Int { flags.changedCount }

  /// Whether the page is marked as changed.
  package func isChanged(_ page: UInt64) -> Bool { flags[page].contains(.changed) }

  /// Marks a page as changed while a member was out; durable with the next `writeMap`.
  package func markChanged(_ page: UInt64) {
    guard !isChanged(page) else { return }
    flags.set(page, flags[page].union(.changed))
    flags.markDirty(page)
  }

  /// Takes the marks of pages away, when no member lacks them any more.
  package func clearChanged(_ pages: some Sequence<UInt64>) {
    for page in pages where isChanged(page) {
      flags.set(page, flags[page].subtracting(.changed))
      flags.markDirty(page)
    }
  }

  /// Calls `body` with each page that waits for `writeDirty`.
  package func forEachDirtyPage(_ body: (UInt64) -> Void) {
    for page in cache.dirtyPages() { body(page.number) }
  }

  /// The first changed page from `start` on.
  package func nextChanged(from start: UInt64) -> UInt64? { flags.next(.changed, from: start) }

  /// The first present page from `start` on.
  package func nextPresent(from start: UInt64) -> UInt64? { flags.next(.present, from: start) }

  /// Whether pages of the map wait for `writeMap`.
  package var mapIsDirty: Bool { flags.mapPages.contains { $0.isDirty } }
}
