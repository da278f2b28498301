import DiskFormat
import Geometry
import IO

/// Puts what the log has acknowledged into the index (rule R1).
final class IndexPublisher<M: Machine, D: Disk>: LogPublisher {
  private let parts: ArrayParts<M, D>
  private let notePublished: (_ wasEmpty: Bool) -> Void

  init(_ parts: ArrayParts<M, D>, notePublished: @escaping (Bool) -> Void) {
    self.parts = parts
    self.notePublished = notePublished
  }

  var unsettledBlockCount: Int { parts.index.pendingBlockCount }

  func publishWrite(
    _ run: BlockRun, batchSequence: UInt64, payload: IOBuffer, payloadIndex: Int,
    checksums: ArraySlice<UInt32>, token: UInt64
  ) {
    let wasEmpty = parts.index.isEmpty
    for offset in 0..<Int(run.blockCount) {
      let slot = parts.payloads.take(payload.slice(offset * 4096, 4096))
      parts.index.publish(
        run.firstBlock + UInt64(offset), .memory(slot: slot),
        checksum: checksums[checksums.startIndex + offset], batchSequence: batchSequence,
        ledger: parts.log)
    }
    notePublished(wasEmpty)
  }

  /// The same for what recovery found: the payload stays in the log.
  func publishRecovered(
    _ run: BlockRun, batchSequence: UInt64, payloadIndex: Int, checksums: [UInt32]
  ) {
    for offset in 0..<Int(run.blockCount) {
      parts.index.publish(
        run.firstBlock + UInt64(offset),
        .log(batchSequence: batchSequence, payloadIndex: payloadIndex + offset),
        checksum: checksums[offset], batchSequence: batchSequence, ledger: parts.log)
    }
  }

  func publishTrim(_ run: BlockRun, batchSequence: UInt64, token: UInt64) {
    publishTrim(run, batchSequence: batchSequence) { _ in false }
  }

  /// The same for what recovery found.
  ///
  /// `isAnnounced` tells rows that an earlier direct write announced: what the table says of their
  /// blocks may be older than that.
  func publishTrim(
    _ run: BlockRun, batchSequence: UInt64, isAnnounced: (UInt64) -> Bool
  ) {
    let wasEmpty = parts.index.isEmpty
    var page: UInt64?
    var isWhole = false
    var wholePages: Set<UInt64> = []
    for block in run.firstBlock..<run.firstBlock + run.blockCount {
      let place = parts.geometry.rowPosition(ofBlock: block)
      let number = parts.placement.page(ofRow: place.row)
      if page != number {
        page = number
        isWhole = covers(run, page: number)
      }
      if isWhole {
        guard wholePages.insert(number).inserted else { continue }
        parts.index.publishTrim(
          page: number, isPresent: parts.table.isPresent(number), batchSequence: batchSequence,
          ledger: parts.log)
        if parts.index.trimmedPages[number] == nil {
          parts.table.noteTrim(number, trimSequence: batchSequence)
        }
      } else if isWorthTrimming(block, place, number) || isAnnounced(place.row) {
        parts.index.publish(
          block, .zeros, checksum: 0, batchSequence: batchSequence, ledger: parts.log)
      }
    }
    notePublished(wasEmpty)
  }

  /// Whether a block is anything but never-written already.
  private func isWorthTrimming(_ block: UInt64, _ place: RowPosition, _ page: UInt64) -> Bool {
    if parts.options.plants(.trimPinsForever) { return true }
    if let pending = parts.index[block] { return pending.content != .zeros }
    if parts.index.trimmedPages[page] != nil { return false }
    return parts.table.entry(row: place.row, position: place.position) != .neverWritten
  }

  /// Whether a run has all data blocks of a page.
  ///
  /// Looks at whole stripes, so that a page that ends inside one counts as covered only together
  /// with what follows it there.
  func covers(_ run: BlockRun, page: UInt64) -> Bool {
    if parts.options.plants(.trimPinsForever) { return false }
    let rows = parts.placement.rows(ofPage: page)
    let geometry = parts.geometry
    guard geometry.parityCount > 0 else {
      return run.firstBlock <= rows.lowerBound
        && rows.upperBound <= run.firstBlock + run.blockCount
    }
    let stripeBlocks = geometry.chunkBlockCount * UInt64(geometry.dataCount)
    let first = rows.lowerBound / geometry.chunkBlockCount * stripeBlocks
    let end = ((rows.upperBound - 1) / geometry.chunkBlockCount + 1) * stripeBlocks
    return run.firstBlock <= first && end <= run.firstBlock + run.blockCount
  }
}
