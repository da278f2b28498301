import Geometry
import Testing

@Suite("Geometry: pages of the checksum table")
struct TablePlacementTests {
  /// Several numbers of pages: none is special for any circle of members.
  private func placements() throws(GeometryError) -> [TablePlacement] {
    var placements: [TablePlacement] = []
    for (level, memberCount) in Shape.levelsAndMembers {
      for memberBlockCount in [1, 40, 600, 3001] as [UInt64] {
        placements.append(
          TablePlacement(
            try StripeGeometry(
              level: level, memberCount: memberCount, chunkBytes: 4096,
              memberBlockCount: memberBlockCount)))
      }
    }
    return placements
  }

  private func name(_ placement: TablePlacement) -> String {
    let geometry = placement.geometry
    return "\(geometry.level.name) of \(geometry.memberCount), \(placement.pageCount) pages"
  }

  @Test("pages hold whole rows, each row one page, each entry a place of its own")
  func entries() throws {
    for placement in try placements() {
      let geometry = placement.geometry
      var next: UInt64 = 0
      for page in 0..<placement.pageCount {
        let rows = placement.rows(ofPage: page)
        #expect(rows.lowerBound == next && !rows.isEmpty, "\(name(placement)), page \(page)")
        next = rows.upperBound
        var used = Set<Int>()
        for row in rows {
          #expect(placement.page(ofRow: row) == page)
          for position in 0..<geometry.width {
            used.insert(placement.entryIndex(row: row, position: position))
          }
        }
        #expect(used.count == rows.count * geometry.width)
        #expect(used.allSatisfy { $0 >= 0 && $0 < TablePlacement.entriesPerPage })
      }
      #expect(next == geometry.rowCount, "\(name(placement))")
    }
  }

  @Test("the copies of a page are on different members")
  func copiesAreSpread() throws {
    for placement in try placements() {
      let geometry = placement.geometry
      for page in 0..<placement.pageCount {
        let slots = (0..<placement.copyCount).map { placement.slot(ofPage: page, copy: $0) }
        #expect(Set(slots).count == placement.copyCount, "\(name(placement)), page \(page)")
        #expect(slots.allSatisfy { $0 >= 0 && $0 < geometry.memberCount })
      }
      #expect(placement.copyCount >= 2)
      #expect(placement.copyCount >= geometry.redundancy + 1)
    }
  }

  @Test("whatever members an array survives without, a copy of each page is left")
  func aCopySurvives() throws {
    for placement in try placements() {
      let geometry = placement.geometry
      let pages = Set(
        (0..<placement.pageCount).map { page in
          SlotSet((0..<placement.copyCount).map { placement.slot(ofPage: page, copy: $0) })
        })
      for lost in subsets(ofFirst: geometry.memberCount) where geometry.canServe(without: lost) {
        let isLost = pages.contains { $0.isSubset(of: lost) }
        #expect(!isLost, "\(name(placement)), lost \(Array(lost))")
      }
    }
  }

  @Test("each copy has a place of its own on its member, inside the region, without waste")
  func placesAreUnique() throws {
    for placement in try placements() {
      let members = placement.geometry.memberCount
      var seen = [Set<UInt64>](repeating: [], count: members)
      var offsets = [Set<UInt64>](repeating: [], count: members)
      for page in 0..<placement.pageCount {
        for copy in 0..<placement.copyCount {
          let slot = placement.slot(ofPage: page, copy: copy)
          let index = placement.index(ofPage: page, copy: copy)
          #expect(index < placement.copiesPerMember, "\(name(placement)), page \(page)")
          #expect(seen[slot].insert(index).inserted, "\(name(placement)), page \(page)")
          for half in 0..<2 {
            let offset = placement.offsetBytes(ofPage: page, copy: copy, slot: half)
            #expect(offset % 4096 == 0 && offset + 4096 <= placement.regionBytes)
            #expect(offsets[slot].insert(offset).inserted)
          }
        }
      }
      // No member reserves more than one round of the circle beyond its share.
      let copies = placement.pageCount * UInt64(placement.copyCount)
      let share = (copies + UInt64(members) - 1) / UInt64(members)
      #expect(placement.copiesPerMember <= share + UInt64(placement.copyCount))
      #expect(placement.regionBytes == placement.copiesPerMember * 8192)
    }
  }
}
