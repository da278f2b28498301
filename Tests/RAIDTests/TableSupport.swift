import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

extension MemberHost {
  private func rows(_ page: UInt64) -> [UInt64] {
    let rows = TablePlacement(geometry).rows(ofPage: page)
    return [rows.lowerBound, rows.upperBound - 1]
  }

  /// Gives the first and the last row of a page entries that tell page and version.
  func set(_ page: UInt64, _ version: UInt32) {
    for row in rows(page) {
      for position in 0..<geometry.width {
        table.setEntry(
          .written(version << 16 | UInt32(page)), row: row, position: position)
      }
    }
  }

  /// Creates the page where it is absent, and gives it a version.
  func change(_ page: UInt64, _ version: UInt32) async throws(TableError) {
    if table.isPresent(page) {
      try await table.load(page)
    } else {
      try table.create(page)
    }
    set(page, version)
  }

  /// The version that all of a page's entries tell; nil when it is absent, 0 when it is blank.
  func version(_ page: UInt64) async throws(TableError) -> UInt32? {
    guard table.isPresent(page) else { return nil }
    try await table.load(page)
    var versions: Set<UInt32> = []
    for row in rows(page) {
      for position in 0..<geometry.width {
        guard let entry = table.entry(row: row, position: position) else {
          Issue.record("page \(page) is not in memory after it was loaded")
          return nil
        }
        if entry.state == .written {
          #expect(entry.checksum & 0xffff == UInt32(page))
        }
        versions.insert(entry.state == .written ? entry.checksum >> 16 : 0)
      }
    }
    #expect(versions.count == 1, "page \(page) is of several versions")
    return versions.first
  }

  /// A new table on new members, with all pages below `count` at a version, durably.
  func format(_ count: UInt64, _ version: UInt32) async throws {
    table.initializeMap()
    for page in 0..<count { try await change(page, version) }
    try await table.writeDirty()
    try await table.writeMap()
  }
}

extension MemberSite {
  var geometry: StripeGeometry { host.geometry }
  var layout: MemberLayout { MemberLayout(geometry: geometry, logByteCount: 8192) }

  /// A new process on the same media.
  func reopened(
    options: ArrayOptions = ArrayOptions(), absent: SlotSet = SlotSet()
  ) -> MemberSite {
    MemberSite(simulation, media, geometry, options: options, absent: absent)
  }

  /// Where a slot of a page's copy lies: the member, and the range.
  func place(_ page: UInt64, copy: Int, slot: Int) -> (member: Int, range: ByteRange) {
    let placement = TablePlacement(geometry)
    let start =
      layout.tableOffset + placement.offsetBytes(ofPage: page, copy: copy, slot: slot)
    return (placement.slot(ofPage: page, copy: copy), ByteRange(from: start, to: start + 4096))
  }

  /// The sequence in a slot of a page's copy; nil when it is not valid.
  func sequence(_ page: UInt64, copy: Int, slot: Int) -> UInt64? {
    let (member, range) = place(page, copy: copy, slot: slot)
    let memory = AlignedMemory.holding(media[member].durable.bytes(range))
    do throws(FormatError) {
      let buffer = memory.buffer
      return try TablePage.verify(
        buffer, arrayID: Identifier(high: 1, low: 2), pageNumber: page
      ).sequence
    } catch {
      return nil
    }
  }

  /// The slot that holds the newest version of a page's copy.
  func newestSlot(_ page: UInt64, copy: Int) -> Int {
    (sequence(page, copy: copy, slot: 0) ?? 0) >= (sequence(page, copy: copy, slot: 1) ?? 0)
      ? 0 : 1
  }
}
