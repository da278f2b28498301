/// Where the pages of the checksum table lie.
///
/// A page holds the entries of `rowsPerPage` whole rows, so that what must agree is written in one
/// page. Each page has copies on members of which one survives whatever the array survives (and two
/// even for RAID-0, whose single damaged page would else cost hundreds of blocks). On a member, the
/// pages that it keeps lie one behind the other, each with two slots of 4 KiB that are written in
/// turn.
package struct TablePlacement: Equatable, Sendable {
  package static let entriesPerPage = 504
  package static let slotBytes: UInt64 = 4096

  package let geometry: StripeGeometry
  package let rowsPerPage: UInt64
  package let pageCount: UInt64
  package let copyCount: Int

  package init(_ geometry: StripeGeometry) {
    self.geometry = geometry
    rowsPerPage = UInt64(Self.entriesPerPage / geometry.width)
    pageCount = (geometry.rowCount + rowsPerPage - 1) / rowsPerPage
    copyCount = max(geometry.redundancy + 1, 2)
  }

  /// The page that holds a row's entries.
  @inlinable
  package func page(ofRow row: UInt64) -> UInt64 { row / rowsPerPage }

  /// The rows whose entries a page holds.
  package func rows(ofPage page: UInt64) -> Range<UInt64> {
    precondition(page < pageCount)
    let first = page * rowsPerPage
    return first..<min(first + rowsPerPage, geometry.rowCount)
  }

  /// The index of an entry in its page.
  @inlinable
  package func entryIndex(row: UInt64, position: Int) -> Int {
    Int(row % rowsPerPage) * geometry.width + position
  }

  /// The member that keeps a copy of a page.
  ///
  /// - Precondition: `copy < copyCount`.
  package func slot(ofPage page: UInt64, copy: Int) -> Int {
    precondition(copy >= 0 && copy < copyCount)
    let members = UInt64(geometry.memberCount)
    if geometry.level == .raid1 { return copy }
    if geometry.level == .raid10 && geometry.memberCount % 2 == 0 {
      return 2 * Int(page % (members / 2)) + copy
    }
    return (Int(page % members) + copy) % geometry.memberCount
  }

  /// The place of a page's copy among those that its member keeps.
  package func index(ofPage page: UInt64, copy: Int) -> UInt64 {
    precondition(copy >= 0 && copy < copyCount)
    let members = UInt64(geometry.memberCount)
    if geometry.level == .raid1 { return page }
    if geometry.level == .raid10 && geometry.memberCount % 2 == 0 { return page / (members / 2) }
    return page / members * UInt64(copyCount) + UInt64(copy)
  }

  /// The copies that one member keeps at most.
  package var copiesPerMember: UInt64 {
    guard pageCount > 0 else { return 0 }
    let members = UInt64(geometry.memberCount)
    if geometry.level == .raid1 { return pageCount }
    if geometry.level == .raid10 && geometry.memberCount % 2 == 0 {
      return (pageCount + members / 2 - 1) / (members / 2)
    }
    return (pageCount + members - 1) / members * UInt64(copyCount)
  }

  /// Bytes of each member's table region.
  package var regionBytes: UInt64 { copiesPerMember * 2 * Self.slotBytes }

  /// Where a slot of a page's copy starts, from the start of its member's table region.
  package func offsetBytes(ofPage page: UInt64, copy: Int, slot: Int) -> UInt64 {
    precondition(slot == 0 || slot == 1)
    return (index(ofPage: page, copy: copy) * 2 + UInt64(slot)) * Self.slotBytes
  }
}
