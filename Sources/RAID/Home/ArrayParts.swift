import DiskFormat
import Geometry
import IO

/// What the rooms of one array share; belongs to its engine.
final class ArrayParts<M: Machine, D: Disk> {
  let machine: M
  let geometry: StripeGeometry
  let placement: TablePlacement
  let layout: MemberLayout
  let arrayID: Identifier
  let options: ArrayOptions
  let members: MemberSet<M, D>
  let table: ChecksumTable<M, D>
  let payloads: PayloadPool
  let index: BlockIndex
  let keeper: any MembershipKeeper
  let events: EventLog
  let rowImages: RowImagePool
  /// Which writes take the log.
  let logPolicy: LogPolicy
  /// What went home directly and is not durable yet.
  let directSync = DirectSync()
  /// The last batch that the start found: nothing goes home directly before the checkpoint has
  /// passed it.
  var recoveredSequence: UInt64 = .max
  /// Made once recovery has read the log; everything that writes has it.
  private(set) var openLog: WriteLog<M, D>?
  /// Reads the payloads that recovery left in the log.
  var recovered: RecoveredLog<M, D>?
  /// Rows that a read found damaged, for the keeper of home to heal.
  var healQueue = HealQueue()
  /// What reads as EIO, as far as anybody has met it.
  var lostBlocks = LostBlocks()
  /// Tells the keeper of home that there is something to do.
  var wakeKeeper: () -> Void = {}
  /// The same, so many nanoseconds later.
  var wakeLater: (UInt64) -> Void = { _ in }
  /// Entries of parity that a planted bug leaves for the next checkpoint.
  var lateEntries: [(row: UInt64, position: Int, entry: BlockEntry)] = []
  /// Pages whose blocks or entries were written since the last fdatasync of all members.
  private(set) var touchedPages: Set<UInt64> = []

  init(
    machine: M, placement: TablePlacement, layout: MemberLayout, arrayID: Identifier,
    options: ArrayOptions, members: MemberSet<M, D>, table: ChecksumTable<M, D>,
    payloads: PayloadPool, keeper: any MembershipKeeper, events: EventLog, logPolicy: LogPolicy
  ) {
    self.machine = machine
    self.logPolicy = logPolicy
    geometry = placement.geometry
    self.placement = placement
    self.layout = layout
    self.arrayID = arrayID
    self.options = options
    self.members = members
    self.table = table
    self.payloads = payloads
    self.keeper = keeper
    self.events = events
    index = BlockIndex(
      placement, payloads: payloads,
      plantsSupersededUnpins: options.plants(.supersededUnpins))
    rowImages = RowImagePool(width: placement.geometry.width)
  }

  /// The log.
  ///
  /// - Precondition: recovery has read it.
  var log: WriteLog<M, D> {
    guard let openLog else { preconditionFailure("the log is used before it was recovered") }
    return openLog
  }

  func open(_ log: WriteLog<M, D>) { openLog = log }

  /// What the checksum of a block at a place is XORed with.
  func mask(_ place: BlockPlace) -> UInt32 {
    return ChecksumMask.of(arrayID: arrayID, place: place)
  }

  /// Members whose blocks are believed.
  var readableSlots: SlotSet {
    if options.plants(.syncingMemberIsRead) { return members.writableSlots }
    return members.currentSlots
  }

  /// Throws when the array has stopped, or is about to because too few members answer.
  ///
  /// Asked before something is given up for lost: what is absent may come back (rule D4).
  func checkServing() throws(ArrayError) {
    try openLog?.checkRunning()
    guard geometry.canServe(without: geometry.allSlots.subtracting(members.currentSlots)) else {
      throw .stopped("too few members answer")
    }
  }

  // MARK: What a member that leaves may lack (rule T5)

  /// Whether some member does not get, or may not have kept, what is written now: one in a slot, or
  /// a replacement, there or not.
  var hasIncompleteMembers: Bool {
    members.currentSlots.count < geometry.memberCount || members.hasReplacements
  }

  /// A page's blocks or entries are about to be written.
  func touch(_ page: UInt64) {
    touchedPages.insert(page)
    if hasIncompleteMembers { table.markChanged(page) }
  }

  /// Pages that changed while a member was out.
  var changedPages: [UInt64] {
    var pages: [UInt64] = []
    var next = table.nextChanged(from: 0)
    while let page = next {
      pages.append(page)
      next = table.nextChanged(from: page + 1)
    }
    return pages
  }

  /// All members are in sync.
  func clearChanged() { table.clearChanged(changedPages) }

  /// Everything written so far is durable on all members that got it, but for what went home
  /// directly; one that hangs and is about to be put out did not get it.
  func forgetTouched() {
    if hasIncompleteMembers { markTouchedChanged() }
    guard directSync.isDurable else { return }
    touchedPages.removeAll(keepingCapacity: true)
  }

  /// A member has just left.
  func markTouchedChanged() {
    if options.plants(.mapMissesUnsynced) { return }
    for page in touchedPages { table.markChanged(page) }
  }

  /// The same, durably: what comes to pages from now on marks them by itself.
  func markAllChangedDurably() async throws(ArrayError) {
    markAllChanged()
    repeat { try await table.writeMap() } while table.mapIsDirty
  }

  /// A member lacks more than what was written since it left.
  func markAllChanged() {
    var next = table.nextPresent(from: 0)
    while let page = next {
      table.markChanged(page)
      next = table.nextPresent(from: page + 1)
    }
  }

  /// Loads the page of a row's entries, if need be.
  ///
  /// - Throws: `unreadable` when no copy of the page is left.
  func loadPage(ofRow row: UInt64) async throws(ArrayError) {
    try await load(page: placement.page(ofRow: row))
  }

  func load(page: UInt64) async throws(ArrayError) {
    do throws(TableError) {
      try await table.load(page)
    } catch {
      switch error {
      case .pageLost:
        throw .unreadable(
          block: geometry.block(ofRow: placement.rows(ofPage: page).lowerBound, position: 0))
      case .outOfMemory: throw .outOfMemory
      case .stopped(let error): throw error
      }
    }
  }
}

/// Rows to be healed, each once.
struct HealQueue {
  private var rows: [UInt64] = []
  /// The first of them that has not been taken.
  private var next = 0
  private var queued: Set<UInt64> = []
  private static let countMax = 16384

  var isEmpty: Bool { rows.isEmpty }

  /// Beyond a limit the row is left to the next read or scrub that meets it.
  mutating func append(_ row: UInt64) {
    guard rows.count < Self.countMax, queued.insert(row).inserted else { return }
    rows.append(row)
  }

  mutating func takeFirst() -> UInt64? {
    guard next < rows.count else { return nil }
    let row = rows[next]
    next += 1
    queued.remove(row)
    if next == rows.count {
      rows.removeAll(keepingCapacity: true)
      next = 0
    }
    return row
  }
}

extension OperationFailure {
  /// Why the member is to be put out; nil where that is no reason.
  var reasonToExpel: ExpulsionReason? {
    switch error {
    // Whoever put it out may not have made that durable yet: then that is waited for.
    case .absent: kind == .write || kind == .synchronize ? .disconnected : nil
    case .timedOut: .timedOut
    case .disk(let cause):
      if cause.isDisconnection {
        .disconnected
      } else if case .endedEarly(let end) = cause {
        .lost(.cutShort(atBytes: end))
      } else {
        switch kind {
        case .write: .writeFailed(cause)
        case .synchronize: .synchronizeFailed(cause)
        case .read, .punch: nil
        }
      }
    }
  }
}
