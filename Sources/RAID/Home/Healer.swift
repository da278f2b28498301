import DiskFormat
import Geometry
import IO

/// Writes blocks again that were found bad, as they should be.
///
/// Runs in the loop that owns home, so nothing changes the row meanwhile. What it writes is what the
/// table says: whatever a crash leaves of it verifies or is healed again.
final class Healer<M: Machine, D: Disk> {
  private let parts: ArrayParts<M, D>

  init(_ parts: ArrayParts<M, D>) {
    self.parts = parts
  }

  /// Heals what can be healed of a row.
  ///
  /// - Returns: the positions that were bad, and are as they should be now.
  @discardableResult
  func heal(_ row: UInt64) async throws(ArrayError) -> [Int] {
    // The block may have been trimmed or written since it was found.
    let page = parts.placement.page(ofRow: row)
    guard parts.index.trimmedPages[page] == nil, parts.table.isPresent(page) else { return [] }
    let image: RowImage
    do throws(ArrayError) {
      image = try await parts.loadRow(row, isAgain: true)
    } catch {
      // The page's copies are gone; readers are told.
      if case .unreadable = error { return [] }
      throw error
    }
    defer { parts.rowImages.giveBack(image) }
    parts.noteReadable(image, row: row)
    guard !image.solvedBad.isEmpty else { return [] }
    let group = parts.members.makeGroup()
    var written = SlotSet()
    for position in image.solvedBad {
      let place = parts.geometry.place(ofRow: row, position: position)
      guard parts.members.writableSlots.contains(place.slot) else { continue }
      written.insert(place.slot)
      parts.members.writeData(
        place, from: image.buffer(position), keeping: image.memory, group, tag: position)
    }
    await group.wait()
    let failed = Set(group.failures.map(\.tag))
    try await parts.expelFailed(group)
    try await parts.synchronize(written)
    let healed = image.solvedBad.filter { position in
      let slot = parts.geometry.place(ofRow: row, position: position).slot
      return !failed.contains(position) && written.contains(slot)
        && parts.members.writableSlots.contains(slot)
    }
    for position in healed { parts.noteHealed(row, position) }
    return healed
  }
}
