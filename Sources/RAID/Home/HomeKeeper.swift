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
  let resync: Resync<M, D>
  let scrub: Scrub<M, D>
  /// Divides time between clients and upkeep.
  let governor: UpkeepGovernor
  /// Writes superblocks with a new checkpoint; the engine's.
  private let writeSuperblocks: (UInt64) async throws(ArrayError) -> Void
  private var round: DestageRound<M, D>?
  var directQueue = DirectQueue()
  /// The round whose blocks are on their way home.
  var directLanding: DirectLanding<M, D>?
  /// Rounds that lie idle, with their memory.
  var directRounds: [DirectRound<M, D>] = []
  /// Direct requests are being taken home.
  var isWritingDirectly = false
  /// How many rounds of direct requests have gone home.
  var directRoundNumber: UInt64 = 0

  // What was done and is not yet durable in the table.
  var settlingPins: [UInt64] = []
  var settlingRows = RowSet()
  private(set) var trimmedPages: [UInt64] = []
  /// Pages that are durably gone, whose space has not been given back.
  private var punchQueue: [UInt64] = []

  private var rest = WaitPoint()
  private var isWoken = false
  private(set) var isStopping = false
  private(set) var hasStopped = false
  private var drainWaiters: [WaitPoint] = []
  private var roundWaiters: [WaitPoint] = []
  var busyRows = RowSet()
  var pendingSinceNanoseconds: UInt64 = 0
  /// Makes a member current by a new configuration; the engine's.
  var becomeCurrent: (Int) async throws(ArrayError) -> Void = { (_) async throws(ArrayError) in }
  /// Lets a replacement that has everything change places with its target; the engine's.
  var takeOver: (Int) async throws(ArrayError) -> Void = { (_) async throws(ArrayError) in }
  /// Told when a resync has ended, whatever came of it: members that wait may be taken back.
  var onResyncEnd: () -> Void = {}
  /// They have all their blocks, and wait for their log: they must not be taken back meanwhile, or
  /// they would count as up to date although they were away.
  private var joiningTargets: [RebuildTarget] = []
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
    let pages = PageReader(parts)
    resync = Resync(parts, pages)
    scrub = Scrub(parts, pages)
    governor = UpkeepGovernor(
      budgetNanoseconds: parts.options.latencyBudgetNanoseconds,
      now: parts.machine.nowNanoseconds)
  }

  var isIdle: Bool {
    parts.index.isEmpty && !hasUnsettled && directQueue.isEmpty && parts.healQueue.isEmpty
      && !resync.isActive
  }

  /// Members wait for the log: others cannot be taken back before.
  var isJoining: Bool { !joiningTargets.isEmpty }

  /// How far members have been brought up to date; nil where none is.
  var rebuildStatus: RebuildStatus? {
    guard isJoining else { return resync.status }
    var status = RebuildStatus()
    status.slots = joiningTargets.map(\.slot)
    status.seats = joiningTargets.map(\.seat)
    status.isJoining = true
    return status
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
    busyRows = RowSet()
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
    busyRows = RowSet()
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
    if isDraining || resync.isPaused, resync.isUnsettled {
      try await resync.settle(writesMap: true)
      hasWorked = true
    }
    if !isDraining, wantsUpkeep, upkeepRestNanoseconds == nil {
      try await upkeepStep()
      hasWorked = true
    }
    return hasWorked
  }

  private func sleep() async {
    // Blocks wait a while for company; then the clock is what wakes.
    if !parts.index.isEmpty || hasUnsettled {
      let end = pendingSinceNanoseconds &+ parts.options.destageDelayNanoseconds
      let now = parts.machine.nowNanoseconds
      let wait = end > now ? end - now : 1_000_000
      let rest = max(1_000_000, min(wait, parts.options.destageDelayNanoseconds))
      await self.rest(forNanoseconds: min(rest, upkeepRestNanoseconds ?? rest))
    } else {
      await rest(forNanoseconds: upkeepRestNanoseconds)
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

  var isPressed: Bool {
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
    busyRows = RowSet(rows)
    let outcome = try await round.run(rows)
    busyRows = RowSet()
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

  /// Something was done that the table does not have durably.
  private var hasUnsettled: Bool { !settlingPins.isEmpty || !settlingRows.isEmpty }

  var wantsCheckpoint: Bool {
    guard
      hasUnsettled || parts.log.checkpointCandidate > parts.log.checkpointSequence
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
    for slot in parts.members.unusableSlots where parts.members.isUnusable(slot) {
      try await parts.keeper.expel(slot, .timedOut)
    }
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

  // MARK: Heal

  /// Sectors that cannot be read take a disk seconds each, and destages wait meanwhile.
  private static var healedRowCountMax: Int { 16 }

  private func heal() async throws(ArrayError) {
    for _ in 0..<Self.healedRowCountMax {
      guard let row = parts.healQueue.takeFirst() else { break }
      _ = try await heal(row)
    }
    parts.forgetTouched()
  }

  /// Heals a row now.
  ///
  /// - Returns: the positions that were bad, and are as they should be now.
  func heal(_ row: UInt64) async throws(ArrayError) -> [Int] {
    try await hold(row)
    defer { letGo() }
    return try await healer.heal(row)
  }

  /// Takes a row that is about to be written outside of a destage.
  func hold(_ row: UInt64) async throws(ArrayError) {
    // One that awaits its table page is not touched before (rule D1).
    if settlingRows.contains(row) { try await checkpoint() }
    parts.touch(parts.placement.page(ofRow: row))
    busyRows = RowSet([row])
  }

  /// Gives the held row back; with `isSettling` it awaits its table page now.
  func letGo(isSettling: Bool = false) {
    if isSettling { settlingRows.formUnion(busyRows) }
    busyRows = RowSet()
    signalAll(\.roundWaiters)
  }

  // MARK: Upkeep

  private var wantsUpkeep: Bool { resync.isNeeded || scrub.isNeeded }

  /// How long upkeep leaves the members to the clients; nil when it may go on.
  private var upkeepRestNanoseconds: UInt64? {
    guard wantsUpkeep else { return nil }
    return governor.restNanoseconds(parts.machine.nowNanoseconds)
  }

  /// Without clients a step may take so long, unless something comes up.
  private static var longStepNanoseconds: UInt64 { 100_000_000 }
  private static var longStepPageCount: Int { 32 }

  /// One step of the work that nobody waits for: short while clients are there.
  private func upkeepStep() async throws(ArrayError) {
    let began = parts.machine.nowNanoseconds
    governor.judge(began)
    let isShort = governor.hasClients(began) || parts.index.pendingBlockCount > 0
    let pageCountMax = isShort ? 1 : Self.longStepPageCount
    let end = began &+ Self.longStepNanoseconds
    let mayGoOn = {
      !self.isWoken && !self.isStopping && self.parts.machine.nowNanoseconds < end
    }
    // Redundancy first.
    if resync.isNeeded {
      try await resyncStep(pageCountMax, isShort, mayGoOn)
    } else {
      try await scrub.step(of: self, pageCountMax: pageCountMax, isGentle: isShort)
    }
    governor.noteStep(began: began, ended: parts.machine.nowNanoseconds)
  }

  private func resyncStep(
    _ pageCountMax: Int, _ isGentle: Bool, _ mayGoOn: () -> Bool
  ) async throws(ArrayError) {
    joiningTargets = try await resync.step(
      pageCountMax: pageCountMax, isGentle: isGentle, mayGoOn: mayGoOn)
    if !joiningTargets.isEmpty { try await join() }
  }

  /// All blocks of the targets are there.
  ///
  /// A member's log must be, too, before it has a say (rule T4); a replacement changes places with
  /// its target.
  private func join() async throws(ArrayError) {
    let members = joiningTargets.filter { !$0.isReplacement }
    let replacements = joiningTargets.filter(\.isReplacement)
    defer {
      for target in members { parts.log.endJoining(target.slot) }
      joiningTargets = []
      onResyncEnd()
    }
    var sequence: UInt64 = 0
    for target in members { sequence = max(sequence, parts.log.join(target.slot)) }
    if !parts.options.plants(.resyncForgetsLog) { try await bringHome(through: sequence) }
    // Others may have taken their places meanwhile.
    for target in members where resync.isValid(target) { try await becomeCurrent(target.slot) }
    for target in replacements where resync.isValid(target) { try await takeOver(target.seat) }
    for row in resync.takeMissedRows() { parts.requestHeal(row) }
  }

  /// Brings home what was logged up to a batch, and passes the checkpoint over it.
  ///
  /// Only for who is called by the loop.
  func bringHome(through sequence: UInt64) async throws(ArrayError) {
    while parts.log.checkpointSequence < sequence { try await bringHomeOnce(sequence) }
  }

  /// Brings everything home, so that the log is empty: for who holds the log.
  ///
  /// - Returns: false when something cannot be brought home now.
  func bringAllHome() async throws(ArrayError) -> Bool {
    var triesLeft = 64
    while !parts.index.isEmpty || !settlingPins.isEmpty
      || parts.log.checkpointSequence < parts.log.lastSequence
    {
      guard triesLeft > 0 else { return false }
      let before = parts.index.pendingBlockCount
      try await bringHomeOnce(parts.log.lastSequence)
      if parts.index.pendingBlockCount >= before { triesLeft -= 1 }
    }
    return true
  }

  private func bringHomeOnce(_ sequence: UInt64) async throws(ArrayError) {
    try await parts.log.waitUntilDurable(sequence)
    try await applyTrims()
    if parts.index.pendingBlockCount > 0 { _ = try await destage() }
    try await checkpoint()
  }

  /// Brings a member whose state is `syncing` up to date, in a slot or in a seat.
  func resync(_ place: Int) {
    resync.begin(slot: parts.members.homeSlot(of: place), seat: place)
    wake()
  }
}
