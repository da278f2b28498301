import DiskFormat
import Geometry
import IO
import Parity

/// How far a member has been brought up to date.
package struct ResyncProgress: Equatable, Sendable {
  package var slot: Int
  package var donePageCount: Int
  package var pageCount: Int
}

/// Brings members that were out up to date: table pages first, then every row of every page that
/// changed while they were out (rules T4, T5, T8).
///
/// Destage writes to such a member as well, so a page that was done stays right.
final class Resync<M: Machine, D: Disk> {
  private let parts: ArrayParts<M, D>
  private var slot: Int?
  private var pages: [UInt64] = []
  private var next = 0
  /// The pages before this one are on the member.
  private var nextTablePage = 0
  private var hasMap = false
  /// What could not be read from the others, up to a limit.
  private var missedRows: [UInt64] = []
  private static var missedRowCountMax: Int { 16384 }

  init(_ parts: ArrayParts<M, D>) {
    self.parts = parts
  }

  var isNeeded: Bool { slot != nil }

  var progress: ResyncProgress? {
    slot.map { ResyncProgress(slot: $0, donePageCount: next, pageCount: pages.count) }
  }

  /// Starts with a member whose state is `syncing`.
  func begin(_ member: Int) {
    guard slot == nil else { return }
    slot = member
    pages = parts.changedPages
    next = 0
    nextTablePage = 0
    hasMap = false
    missedRows = []
  }

  /// Rows whose blocks the member does not have, because the others could not be read then.
  ///
  /// To be looked at again when it is current: a read that failed once may succeed the next time.
  func takeMissedRows() -> [UInt64] {
    defer { missedRows = [] }
    return missedRows
  }

  /// Does a bounded part of the work.
  ///
  /// - Returns: the member, when all its blocks are there, durably.
  func step() async throws(ArrayError) -> Int? {
    guard let slot else { return nil }
    guard parts.members[slot].state == .syncing else {
      end()
      return nil
    }
    if !hasMap {
      if !parts.options.plants(.resyncForgetsTable) {
        guard try await writeTable(to: slot) else {
          end()
          return nil
        }
      } else {
        hasMap = true
      }
    } else if next < pages.count {
      let page = pages[next]
      if parts.table.isPresent(page) {
        try await copy(parts.placement.rows(ofPage: page), to: slot)
      }
      next += 1
    } else {
      try await parts.synchronize(SlotSet([slot]))
      end()
      return parts.members[slot].state == .syncing ? slot : nil
    }
    if parts.members[slot].state != .syncing { end() }
    return nil
  }

  private static var tablePageCount: Int { 32 }

  /// Gives the member its copies of some of the pages that changed, and at last the map.
  ///
  /// Destages wait meanwhile, so it is not all done at once.
  private func writeTable(to slot: Int) async throws(ArrayError) -> Bool {
    guard nextTablePage < pages.count else {
      hasMap = true
      return try await parts.table.writeMapCopies(to: slot)
    }
    let part = pages[nextTablePage...].prefix(Self.tablePageCount)
    nextTablePage = part.endIndex
    if let isThere = try await writeCopies(of: part, to: slot) { return isThere }
    // One that is lost does not keep the others from the member.
    for page in part {
      if let isThere = try await writeCopies(of: [page], to: slot) {
        guard isThere else { return false }
      } else {
        // Nobody has it: its blocks are lost, whatever this member's copy says of before.
        guard try await parts.table.voidCopy(of: page, on: slot) else { return false }
      }
    }
    return true
  }

  /// - Returns: whether the member is still there; nil when one of the pages is lost.
  private func writeCopies(
    of numbers: ArraySlice<UInt64>, to slot: Int
  ) async throws(ArrayError) -> Bool? {
    do throws(TableError) {
      return try await parts.table.writeCopies(of: numbers, to: slot)
    } catch {
      switch error {
      case .pageLost: return nil
      case .outOfMemory: throw .outOfMemory
      case .stopped(let error): throw error
      }
    }
  }

  private func end() {
    slot = nil
    pages = []
  }

  /// Writes the member's blocks of some rows, from what the others have.
  private func copy(_ rows: Range<UInt64>, to slot: Int) async throws(ArrayError) {
    for row in rows {
      let position = (0..<parts.geometry.width).first {
        parts.geometry.place(ofRow: row, position: $0).slot == slot
      }
      guard let position else { continue }
      let image: RowImage
      do throws(ArrayError) {
        image = try await parts.loadRow(row, excluding: SlotSet([slot]))
      } catch {
        if case .unreadable = error { continue }
        throw error
      }
      defer { parts.rowImages.giveBack(image) }
      guard image.parts[position] == .good else {
        let isMissed = image.entries[position].state == .written
        if isMissed, missedRows.count < Self.missedRowCountMax { missedRows.append(row) }
        continue
      }
      let group = parts.members.makeGroup()
      parts.members.writeData(
        parts.geometry.place(ofRow: row, position: position), from: image.buffer(position),
        keeping: image.memory, group)
      await group.wait()
      try await parts.expelFailed(group)
      guard parts.members[slot].state == .syncing else { return }
    }
  }
}
