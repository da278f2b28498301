import DiskFormat
import Geometry
import IO

/// The one who writes home: destages, applies trims, heals, resyncs, and writes checkpoints.
///
/// One loop does all of it, one thing at a time, so that nothing else ever changes the blocks of a
/// row while it works on them (rule D5).
final class HomeKeeper<M: Machine, D: Disk> {
  let parts: ArrayParts<M, D>
  private let healer: Healer<M, D>
  private let resync: Resync<M, D>
  /// Writes superblocks with a new checkpoint; the engine's.
  private let writeSuperblocks: (UInt64) async throws(ArrayError) -> Void
  private var round: DestageRound<M, D>?
  var directRound: DirectRound<M, D>?
  var directQueue = DirectQueue()

  // What was done and is not yet durable in the table.
  var settlingPins: [UInt64] = []
  var settlingRows: Set<UInt64> = []
  private(set) var trimmedPages: [UInt64] = []
  /// Pages that are durably gone, whose space has not been given back.
  private var punchQueue: [UInt64] = []

  private var rest = WaitPoint()
  private var isWoken = false
  private var isStopping = false
  private(set) var hasStopped = false
  private var drainWaiters: [WaitPoint] = []
  private var roundWaiters: [WaitPoint] = []
  var busyRows: Set<UInt64> = []
  var pendingSinceNanoseconds: UInt64 = 0
  /// Makes a member current by a new configuration; the engine's.
  var becomeCurrent: (Int) async throws(ArrayError) -> Void = { (_) async throws(ArrayError) in }
  /// Told when a resync has ended, whatever came of it: members that wait may be taken back.
  var onResyncEnd: () -> Void = {}
  /// Has all its blocks, and waits for its log: it must not be taken back meanwhile, or it would
  /// count as up to date although it was away.
  private var joiningSlot: Int?
  /// Set by who wants everything home and the log empty.
  private var isDraining: Bool { !drainWaiters.isEmpty }
  private(set) var failure: ArrayError?

  init(
    _ parts: ArrayParts<M, D>,
    writeSuperblocks: @escaping (UInt64) async throws(ArrayError) -> Void
  ) {
    self.parts = parts
    self.writeSuperblocks = writeSuperblocks
    healer = Healer(parts)
    resync = Resync(parts)
  }

  var isIdle: Bool {
    parts.index.isEmpty && settlingPins.isEmpty && directQueue.isEmpty && parts.healQueue.isEmpty
      && !resync.isNeeded
  }

  var resyncProgress: ResyncProgress? {
    resync.progress
      ?? joiningSlot.map { ResyncProgress(slot: $0, donePageCount: 1, pageCount: 1) }
  }

  // MARK: Asking

  /// Something has come up that may have to be done.
  func wake() {
    isWoken = true
    rest.signal()
  }

  /// Something was published; the clock of what waits starts with the first.
  func notePublished(wasEmpty: Bool) {
    if wasEmpty { pendingSinceNanoseconds = parts.machine.nowNanoseconds }
    if wasEmpty || isPressed { wake() }
  }

  /// Returns when everything that was acknowledged before is home and the checkpoint has passed it,
  /// or when the array has stopped.
  func drain() async {
    guard !hasStopped else { return }
    await waitIn(\.drainWaiters) { self.hasStopped }
  }

  /// Suspends until the row is not being written; false at once when it is not.
  func waitForHome(_ row: UInt64) async -> Bool {
    guard busyRows.contains(row) else { return false }
    await waitIn(\.roundWaiters) { !self.busyRows.contains(row) }
    return true
  }

  /// Ends the loop after what it is doing.
  func stop() {
    isStopping = true
    wake()
  }

  private func waitIn(
    _ list: ReferenceWritableKeyPath<HomeKeeper, [WaitPoint]>, unless isDone: () -> Bool
  ) async {
    // Safe: resumed once, when the list is emptied, or here: others may have run meanwhile.
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      if isDone() { return unsafe waiter.resume() }
      var point = WaitPoint()
      unsafe point.put(waiter)
      self[keyPath: list].append(point)
      wake()
    }
  }

  /// Nothing is being written home.
  func endBusy() {
    busyRows = []
    signalAll(\.roundWaiters)
  }

  private func signalAll(_ list: ReferenceWritableKeyPath<HomeKeeper, [WaitPoint]>) {
    let waiting = self[keyPath: list]
    self[keyPath: list] = []
    for var point in waiting { point.signal() }
  }

  // MARK: The loop

  /// Works until `stop`, or until the array has stopped.
  func run() async {
    do throws(ArrayError) {
      while !isStopping {
        isWoken = false
        let wasDraining = isDraining
        if try await step() { continue }
        if wasDraining { signalAll(\.drainWaiters) }
        await sleep()
      }
    } catch {
      failure = error
      parts.log.fail(error)
    }
    hasStopped = true
    busyRows = []
    directQueue.refuseAll()
    signalAll(\.drainWaiters)
    signalAll(\.roundWaiters)
  }

  /// - Returns: whether there may be more to do.
  private func step() async throws(ArrayError) -> Bool {
    var hasWorked = false
    if !directQueue.isEmpty {
      try await writeDirect()
      hasWorked = true
    }
    // With a member missing, what a crash tears could not be told from what is there.
    if parts.hasIncompleteMembers, !parts.directSync.isDurable {
      try await checkpoint()
      hasWorked = true
    }
    if !parts.index.trimmedPages.isEmpty, wantsDestage {
      try await applyTrims()
      hasWorked = true
    }
    // Whoever waits for the end does not wait for this.
    if !parts.healQueue.isEmpty, !isDraining {
      try await heal()
      hasWorked = true
    }
    if parts.index.pendingBlockCount > 0, wantsDestage {
      if try await destage() { hasWorked = true }
    }
    // Batches that pin nothing, as of trims of what was trimmed before, may be all that is there:
    // nobody else makes these durable.
    if parts.log.needsSpace, parts.log.horizon < parts.log.writtenSequence {
      try await parts.log.waitUntilDurable(parts.log.writtenSequence)
      hasWorked = true
    }
    if wantsCheckpoint {
      try await checkpoint()
      hasWorked = true
    }
    if !punchQueue.isEmpty {
      await punch()
      hasWorked = true
    }
    parts.events.tellUntold(isLast: false)
    if !isDraining, resync.isNeeded {
      try await resyncStep()
      hasWorked = true
    }
    return hasWorked
  }

  private func sleep() async {
    // Blocks wait a while for company; then the clock is what wakes.
    if !parts.index.isEmpty || !settlingPins.isEmpty {
      let end = pendingSinceNanoseconds &+ parts.options.destageDelayNanoseconds
      let now = parts.machine.nowNanoseconds
      let wait = end > now ? end - now : 1_000_000
      await rest(forNanoseconds: max(1_000_000, min(wait, parts.options.destageDelayNanoseconds)))
    } else {
      await rest(forNanoseconds: nil)
    }
  }

  private func rest(forNanoseconds nanoseconds: UInt64?) async {
    if let nanoseconds { parts.wakeLater(nanoseconds) }
    // Safe: resumed once, by `wake`, or here: others may have run meanwhile.
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      if isWoken || isStopping { unsafe waiter.resume() } else { unsafe rest.put(waiter) }
    }
  }

  // MARK: Destage

  private var isPressed: Bool {
    isDraining || parts.payloads.hasWaiters || parts.payloads.fillFraction > 0.5
      || parts.log.needsSpace || parts.log.fillFraction > 0.5
  }

  private var isOldEnough: Bool {
    parts.machine.nowNanoseconds
      >= pendingSinceNanoseconds &+ parts.options.destageDelayNanoseconds
  }

  private var wantsDestage: Bool { isPressed || isOldEnough }

  private func destage() async throws(ArrayError) -> Bool {
    let round = try makeRound()
    var rows = parts.index.takeRows(max: round.rowCountMax) { !settlingRows.contains($0) }
    if rows.isEmpty {
      // All that waits was destaged just now: it has to be durable first (rule D1).
      try await checkpoint()
      rows = parts.index.takeRows(max: round.rowCountMax) { !settlingRows.contains($0) }
    }
    guard !rows.isEmpty else { return false }
    rows.sort()
    if rows.count < round.rowCountMax { pendingSinceNanoseconds = parts.machine.nowNanoseconds }
    markTouched(rows)
    busyRows = Set(rows)
    let outcome = try await round.run(rows)
    busyRows = []
    signalAll(\.roundWaiters)
    settlingPins += outcome.pins
    settlingRows.formUnion(outcome.rows)
    for row in rows { parts.index.requeue(row) }
    parts.forgetTouched()
    // A round that gets nowhere must not spin.
    return outcome.abandonedRows.count < rows.count
  }

  private func makeRound() throws(ArrayError) -> DestageRound<M, D> {
    if let round, !round.isSpent { return round }
    guard let fresh = DestageRound(parts) else { throw .outOfMemory }
    round = fresh
    return fresh
  }

  /// The pages whose blocks are about to be written: a member that leaves before its next
  /// successful fdatasync may lack them (rule T5).
  private func markTouched(_ rows: [UInt64]) {
    for row in rows { parts.touch(parts.placement.page(ofRow: row)) }
  }

  // MARK: Trim

  func applyTrims() async throws(ArrayError) {
    let newest = parts.index.trimmedPages.values.reduce(0) { max($0, $1.batchSequence) }
    try await parts.log.waitUntilDurable(newest)
    // Those that came meanwhile are not durable yet.
    for (page, trim) in parts.index.trimmedPages where trim.batchSequence <= newest {
      guard let pin = parts.index.endTrim(page: page, batchSequence: trim.batchSequence) else {
        continue
      }
      parts.touch(page)
      if parts.table.isPresent(page) {
        parts.table.blank(page, trimSequence: trim.batchSequence)
        parts.forgetLost(inPage: page)
        trimmedPages.append(page)
      }
      settlingPins.append(pin)
    }
  }

  // MARK: Checkpoint

  /// Rows that a start behind a crash would have to settle: what it takes for each is most of that
  /// start.
  private var settlingRowCountMax: Int { max(4096, 16384 / parts.geometry.dataCount) }

  private var wantsCheckpoint: Bool {
    guard !settlingPins.isEmpty || parts.log.checkpointCandidate > parts.log.checkpointSequence
    else { return parts.table.wantsWriting }
    if parts.table.wantsWriting || isDraining || parts.log.needsSpace { return true }
    if parts.log.fillFraction > 0.5 || settlingRows.count >= settlingRowCountMax {
      return true
    }
    // In quiet times, so that the next start has little to do.
    return parts.index.isEmpty && isOldEnough
  }

  /// Recovery has brought blocks home: their pins are released when the table is durable.
  func noteSettled(_ pins: [UInt64]) { settlingPins += pins }

  /// Makes durable what was done: table, map, superblocks; then log space is free.
  func checkpoint() async throws(ArrayError) {
    // Who lacks what went home is not on the list any more when the table says that it is there:
    // recovery takes the table's word for it.
    for slot in parts.members.unusableSlots { try await parts.keeper.expel(slot, .timedOut) }
    let pins = settlingPins
    let rows = settlingRows
    let pages = trimmedPages
    settlingPins = []
    trimmedPages = []
    if !parts.options.plants(.mapMissesUnsynced) {
      parts.table.forEachDirtyPage { parts.touch($0) }
    }
    // Entries of direct writes are in the pages: first what they tell of (rule D2).
    if !parts.options.plants(.tableBeforeDirectHome) { try await parts.flushDirect() }
    try await parts.table.writeDirty()
    // A member that leaves meanwhile marks pages: that is durable before the checkpoint (rule T5).
    repeat { try await parts.table.writeMap() } while parts.table.mapIsDirty
    settlingRows.subtract(rows)
    parts.forgetTouched()
    for pin in pins { parts.log.unpin(pin) }
    let candidate = parts.log.checkpointCandidate
    if candidate > parts.log.checkpointSequence {
      try await writeSuperblocks(candidate)
      parts.log.checkpointWritten(candidate)
      parts.recovered?.forget(through: candidate)
      parts.table.forgetTrims(through: candidate)
    }
    if parts.options.plants(.tableSplitByMember) { try await setLateEntries() }
    punchQueue += pages
  }

  /// A planted bug: data and parity of a row have their entries in different pages (rule T2).
  private func setLateEntries() async throws(ArrayError) {
    let late = parts.lateEntries
    parts.lateEntries = []
    for (row, position, entry) in late {
      try await parts.preparePage(parts.placement.page(ofRow: row))
      parts.table.setEntry(entry, row: row, position: position)
    }
  }

  /// So many pages are given back together.
  private static var punchedPageCountMax: Int { 64 }

  /// Gives the space of some trimmed pages back to the members' file systems; destages wait
  /// meanwhile.
  private func punch() async {
    let pages = punchQueue.suffix(Self.punchedPageCountMax)
    punchQueue.removeLast(pages.count)
    let group = parts.members.makeGroup()
    for page in pages where !parts.table.isPresent(page) {
      for slot in 0..<parts.geometry.memberCount { punch(page, slot, group) }
    }
    await group.wait()
    // One that cannot keeps its space; nothing depends on it.
    parts.members.release(group)
  }

  private func punch(_ page: UInt64, _ slot: Int, _ group: OperationGroup) {
    guard parts.members.writableSlots.contains(slot) else { return }
    var run: (first: UInt64, count: UInt64)?
    func end() {
      guard let ended = run else { return }
      parts.members.punchData(
        BlockPlace(slot: slot, memberBlock: ended.first), blockCount: ended.count, group)
    }
    for row in parts.placement.rows(ofPage: page) {
      for position in 0..<parts.geometry.width {
        let place = parts.geometry.place(ofRow: row, position: position)
        guard place.slot == slot else { continue }
        if let current = run, current.first + current.count == place.memberBlock {
          run = (current.first, current.count + 1)
        } else {
          end()
          run = (place.memberBlock, 1)
        }
      }
    }
    end()
  }

  // MARK: Heal and resync

  /// Sectors that cannot be read take a disk seconds each, and destages wait meanwhile.
  private static var healedRowCountMax: Int { 16 }

  private func heal() async throws(ArrayError) {
    for _ in 0..<Self.healedRowCountMax {
      guard let row = parts.healQueue.takeFirst() else { break }
      // One that awaits its table page is not touched before (rule D1).
      if settlingRows.contains(row) { try await checkpoint() }
      parts.touch(parts.placement.page(ofRow: row))
      busyRows = [row]
      try await healer.heal(row)
      busyRows = []
      signalAll(\.roundWaiters)
    }
    parts.forgetTouched()
  }

  private func resyncStep() async throws(ArrayError) {
    defer { if resyncProgress == nil { onResyncEnd() } }
    guard let slot = try await resync.step() else { return }
    // All blocks are there. Its log must be, too, before it has a say (rule T4).
    joiningSlot = slot
    let sequence = parts.log.join(slot)
    defer {
      parts.log.endJoining(slot)
      joiningSlot = nil
    }
    if !parts.options.plants(.resyncForgetsLog) {
      while parts.log.checkpointSequence < sequence {
        try await parts.log.waitUntilDurable(sequence)
        try await applyTrims()
        if parts.index.pendingBlockCount > 0 { _ = try await destage() }
        try await checkpoint()
      }
    }
    guard parts.members[slot].state == .syncing else { return }
    try await becomeCurrent(slot)
    for row in resync.takeMissedRows() { parts.requestHeal(row) }
  }

  /// Brings a member whose state is `syncing` up to date.
  func resync(_ slot: Int) {
    resync.begin(slot)
    wake()
  }
}
