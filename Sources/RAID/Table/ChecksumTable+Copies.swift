import DiskFormat
import Geometry
import IO

extension ChecksumTable {
  /// Whether a member that is brought up to date has the copy of a page that it should have.
  ///
  /// Of a page that is not dirty the newest slot is what is durable elsewhere, and it is where the
  /// table believes it to be: else the next write would go over it (rule T1). A dirty one is written
  /// to the member by the next `writeDirty`; until then its copy is no older than what is durable.
  ///
  /// - Parameters:
  ///   - buffer: both slots of the copy, as the member has them.
  ///   - number: the page, in memory.
  ///   - slot: whose copy it is.
  ///   - seat: where it was written: the slot itself, or the seat of who replaces it.
  /// - Returns: whether it holds what the table holds.
  func isCopy(_ buffer: IOBuffer, ofPage number: UInt64, ofSlot slot: Int, on seat: Int) -> Bool {
    // One that was made meanwhile is nowhere yet.
    guard isPresent(number), !flags[number].contains(.unwritten), let page = cache.find(number),
      let copy = copyIndex(ofPage: number, slot: slot)
    else { return true }
    let bytes = PageCache.pageBytes
    var sequences: [UInt64?] = []
    for index in 0...1 {
      do throws(FormatError) {
        let part = buffer.slice(index * bytes, bytes)
        sequences.append(
          try TablePage.verify(part, arrayID: arrayID, pageNumber: number).sequence)
      } catch {
        sequences.append(nil)
      }
    }
    let newest = sequences.compactMap(\.self).max()
    // What is known of the slots of a slot that has a member already is that member's.
    let believed =
      switch (seat == slot, page.copies[copy]) {
      case (true, .firstIsNewest): sequences[0]
      case (true, .secondIsNewest): sequences[1]
      default: newest
      }
    guard let newest, let believed else { return false }
    return page.isDirty
      ? believed >= page.sequence : newest == page.sequence && believed == page.sequence
  }
}
