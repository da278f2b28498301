import DiskFormat
import Geometry
import IO

/// Where the content of a block lies that is not home yet.
enum PendingContent: Equatable {
  /// In the payload pool.
  case memory(slot: Int32)
  /// In the log only, after a recovery.
  case log(batchSequence: UInt64, payloadIndex: Int)
  /// Nowhere: the block was trimmed.
  case zeros
}

/// The newest published version of a block, and what older ones still need.
struct PendingBlock {
  var content: PendingContent
  /// Checksum of the content, without a mask; 0 for zeros.
  var checksum: UInt32
  /// The batch that logged it.
  var batchSequence: UInt64
  /// The first batch with a version that home does not cover durably; pinned in the ledger.
  var oldestPin: UInt64
  /// Of the version that a destage is taking home; 0 when none is.
  var destagedSequence: UInt64 = 0
  /// The first version published since that destage began; pinned; 0 when there is none.
  var laterPin: UInt64 = 0
}

/// What pins batches: the log's ledger.
protocol BatchLedger: AnyObject {
  func pin(_ batchSequence: UInt64)
  func unpin(_ batchSequence: UInt64)
}

/// What is in the log and not yet home, by block: what reads ask first and destage empties.
///
/// See docs/array.md, "The log". A version that was replaced leaves its pin behind, because being
/// superseded is not being durable (rule L4): `oldestPin` moves on only when a destage has settled
/// everything up to the version that it took.
final class BlockIndex {
  private let geometry: StripeGeometry
  private let placement: TablePlacement
  private let payloads: PayloadPool
  private var blocks: [UInt64: PendingBlock] = [:]
  /// How many blocks of a row are pending.
  private var rowCounts: [UInt64: Int] = [:]
  private var queue = RowQueue()
  /// Pages that a trim covered as a whole, until that is durable in table and map.
  private(set) var trimmedPages: [UInt64: PageTrim] = [:]
  let plantsSupersededUnpins: Bool

  /// A trim of all rows of a page.
  struct PageTrim {
    var batchSequence: UInt64
    /// The first batch with content of the page that the trim has to cover durably; pinned.
    var oldestPin: UInt64
  }

  init(
    _ placement: TablePlacement, payloads: PayloadPool, plantsSupersededUnpins: Bool = false
  ) {
    geometry = placement.geometry
    self.placement = placement
    self.payloads = payloads
    self.plantsSupersededUnpins = plantsSupersededUnpins
  }

  var pendingBlockCount: Int { blocks.count }
  var isEmpty: Bool { blocks.isEmpty && trimmedPages.isEmpty }

  subscript(block: UInt64) -> PendingBlock? { blocks[block] }

  // MARK: Publishing

  /// Makes a version the newest.
  func publish(
    _ block: UInt64, _ content: PendingContent, checksum: UInt32, batchSequence: UInt64,
    ledger: some BatchLedger
  ) {
    if var pending = blocks[block] {
      releaseMemory(pending)
      pending.content = content
      pending.checksum = checksum
      pending.batchSequence = batchSequence
      if pending.destagedSequence != 0, pending.laterPin == 0 {
        pending.laterPin = batchSequence
        ledger.pin(batchSequence)
      }
      if plantsSupersededUnpins, pending.destagedSequence == 0 {
        ledger.pin(batchSequence)
        ledger.unpin(pending.oldestPin)
        pending.oldestPin = batchSequence
      }
      blocks[block] = pending
      return
    }
    ledger.pin(batchSequence)
    blocks[block] = PendingBlock(
      content: content, checksum: checksum, batchSequence: batchSequence,
      oldestPin: batchSequence)
    let row = geometry.rowPosition(ofBlock: block).row
    let count = rowCounts[row, default: 0]
    rowCounts[row] = count + 1
    if count == 0 { queue.append(row) }
  }

  /// Drops what a page has pending, because a trim covers all its rows.
  ///
  /// `isPresent` says whether the table has the page.
  func publishTrim(
    page: UInt64, isPresent: Bool, batchSequence: UInt64, ledger: some BatchLedger
  ) {
    var oldest = batchSequence
    var isNeeded = isPresent
    ledger.pin(batchSequence)
    func take(_ pin: UInt64) {
      isNeeded = true
      guard pin < oldest else { return ledger.unpin(pin) }
      ledger.unpin(oldest)
      oldest = pin
    }
    if let former = trimmedPages[page] { take(former.oldestPin) }
    for row in placement.rows(ofPage: page) {
      guard rowCounts[row] != nil else { continue }
      for position in 0..<geometry.dataCount {
        let block = geometry.block(ofRow: row, position: position)
        guard let pending = blocks[block] else { continue }
        take(pending.oldestPin)
        if pending.laterPin != 0 { ledger.unpin(pending.laterPin) }
        remove(block, pending, row: row)
      }
    }
    if isNeeded {
      trimmedPages[page] = PageTrim(batchSequence: batchSequence, oldestPin: oldest)
    } else {
      ledger.unpin(oldest)
    }
  }

  /// Whether a trim of the page would change anything that the index knows of.
  func hasContent(page: UInt64) -> Bool {
    if trimmedPages[page] != nil { return true }
    guard !rowCounts.isEmpty else { return false }
    return placement.rows(ofPage: page).contains { rowCounts[$0] != nil }
  }

  // MARK: Destage

  /// The row that has waited longest, and that `isWanted`; the others stay queued.
  func takeRows(max count: Int, where isWanted: (UInt64) -> Bool) -> [UInt64] {
    var rows: [UInt64] = []
    var skipped: [UInt64] = []
    // A row that was emptied by a trim and filled again is queued twice.
    var seen: Set<UInt64> = []
    while rows.count < count, let row = queue.popFirst() {
      guard rowCounts[row] != nil, seen.insert(row).inserted else { continue }
      if isWanted(row) { rows.append(row) } else { skipped.append(row) }
    }
    queue.prepend(skipped)
    return rows
  }

  /// Whether a row has something pending.
  func isPending(row: UInt64) -> Bool { rowCounts[row] != nil }

  /// Marks the block's newest version as being taken home.
  func beginDestage(_ block: UInt64) {
    guard var pending = blocks[block] else { return }
    pending.destagedSequence = pending.batchSequence
    blocks[block] = pending
  }

  /// The destage of a block did not come about: its versions stay pinned as one.
  func abandonDestage(_ block: UInt64, ledger: some BatchLedger) {
    guard var pending = blocks[block], pending.destagedSequence != 0 else { return }
    if pending.laterPin != 0 { ledger.unpin(pending.laterPin) }
    pending.laterPin = 0
    pending.destagedSequence = 0
    blocks[block] = pending
  }

  /// The version of `batchSequence` is home: what it covers needs its pins only until the table is
  /// durable.
  ///
  /// - Returns: the pin to release then; nil when a trim of the page has taken it over.
  func endDestage(_ block: UInt64, batchSequence: UInt64) -> UInt64? {
    guard var pending = blocks[block], pending.destagedSequence == batchSequence else { return nil }
    let pin = pending.oldestPin
    if pending.batchSequence == batchSequence {
      precondition(pending.laterPin == 0)
      remove(block, pending, row: geometry.rowPosition(ofBlock: block).row)
    } else {
      precondition(pending.laterPin != 0)
      pending.oldestPin = pending.laterPin
      pending.laterPin = 0
      pending.destagedSequence = 0
      blocks[block] = pending
    }
    return pin
  }

  /// Recovery found that home has what came after every version of the block in the log.
  ///
  /// - Returns: the pins to release when that is durable in the table.
  func dropSuperseded(_ block: UInt64) -> [UInt64] {
    guard let pending = blocks[block] else { return [] }
    remove(block, pending, row: geometry.rowPosition(ofBlock: block).row)
    return pending.laterPin == 0 ? [pending.oldestPin] : [pending.oldestPin, pending.laterPin]
  }

  /// Puts a row that still has something pending at the end of the queue.
  func requeue(_ row: UInt64) {
    if rowCounts[row] != nil { queue.append(row) }
  }

  /// A page's trim has been applied to the table.
  ///
  /// - Returns: the pin to release when that is durable; nil when a later trim came meanwhile.
  func endTrim(page: UInt64, batchSequence: UInt64) -> UInt64? {
    guard let trim = trimmedPages[page], trim.batchSequence == batchSequence else { return nil }
    trimmedPages[page] = nil
    return trim.oldestPin
  }

  private func remove(_ block: UInt64, _ pending: PendingBlock, row: UInt64) {
    releaseMemory(pending)
    blocks[block] = nil
    let count = rowCounts[row, default: 0] - 1
    rowCounts[row] = count > 0 ? count : nil
  }

  private func releaseMemory(_ pending: PendingBlock) {
    if case .memory(let slot) = pending.content { payloads.release(slot) }
  }
}

/// Rows in the order in which they became pending.
struct RowQueue {
  private var rows: [UInt64] = []
  private var head = 0

  mutating func append(_ row: UInt64) { rows.append(row) }

  mutating func popFirst() -> UInt64? {
    guard head < rows.count else { return nil }
    let row = rows[head]
    head += 1
    if head >= 1024, head * 2 >= rows.count {
      rows.removeFirst(head)
      head = 0
    }
    return row
  }

  mutating func prepend(_ skipped: [UInt64]) {
    guard !skipped.isEmpty else { return }
    rows.replaceSubrange(0..<head, with: skipped)
    head = 0
  }
}
