import Geometry
import Testing

@Suite("Geometry: addresses")
struct StripeGeometryTests {
  @Test("block, row and place lead to one another, and no two blocks share a place")
  func bijection() throws {
    for shape in Shape.all {
      let geometry = try shape.geometry()
      var problems = 0
      var seen = Set<BlockPlace>()
      var positions = Set<RowPosition>()
      for block in 0..<geometry.blockCount {
        let position = geometry.rowPosition(ofBlock: block)
        if position.row >= geometry.rowCount || position.position >= geometry.dataCount {
          problems += 1
          continue
        }
        positions.insert(position)
        if geometry.block(ofRow: position.row, position: position.position) != block {
          problems += 1
        }
      }
      for row in 0..<geometry.rowCount {
        for position in 0..<geometry.width {
          let place = geometry.place(ofRow: row, position: position)
          if place.slot >= geometry.memberCount || place.memberBlock >= geometry.memberBlockCount {
            problems += 1
            continue
          }
          seen.insert(place)
          if geometry.rowPosition(of: place) != RowPosition(row: row, position: position) {
            problems += 1
          }
        }
      }
      #expect(problems == 0, "\(shape)")
      #expect(UInt64(positions.count) == geometry.blockCount, "\(shape)")
      #expect(UInt64(seen.count) == geometry.rowCount * UInt64(geometry.width), "\(shape)")
      // Every other block of a member belongs to no row.
      var unused: UInt64 = 0
      for slot in 0..<geometry.memberCount {
        for memberBlock in 0..<geometry.memberBlockCount {
          let place = BlockPlace(slot: slot, memberBlock: memberBlock)
          if !seen.contains(place) {
            unused += 1
            #expect(geometry.rowPosition(of: place) == nil, "\(shape), \(place)")
          }
        }
      }
      let isOddCircle = shape.level == .raid10 && shape.memberCount * Int(shape.chunkCount) % 2 == 1
      #expect(unused == (isOddCircle ? geometry.chunkBlockCount : 0), "\(shape)")
    }
  }

  @Test("the blocks of a row lie on different members")
  func rowsAreSpread() throws {
    for shape in Shape.all {
      let geometry = try shape.geometry()
      #expect(slotsOfRows(geometry).allSatisfy { $0.count == geometry.width }, "\(shape)")
    }
  }

  @Test("all blocks of a row's members are at one offset, but for the copies of RAID-10")
  func rowsAreAtOneOffset() throws {
    for shape in Shape.all where shape.level != .raid10 {
      let geometry = try shape.geometry()
      for row in 0..<geometry.rowCount {
        let offsets = (0..<geometry.width).map {
          geometry.place(ofRow: row, position: $0).memberBlock
        }
        #expect(Set(offsets).count == 1, "\(shape), row \(row)")
      }
    }
  }

  @Test("chunks that follow one another rotate over the members; a chunk stays on one member")
  func chunksRotate() throws {
    for shape in Shape.all where shape.level != .raid1 {
      let geometry = try shape.geometry()
      let chunks = (0..<geometry.blockCount / geometry.chunkBlockCount).map { chunk in
        (0..<geometry.chunkBlockCount).map { offset in
          let block = geometry.rowPosition(ofBlock: chunk * geometry.chunkBlockCount + offset)
          return geometry.place(ofRow: block.row, position: block.position)
        }
      }
      for (index, places) in chunks.enumerated() {
        let first = places[0]
        #expect(first.memberBlock % geometry.chunkBlockCount == 0, "\(shape), chunk \(index)")
        let expected = (0..<geometry.chunkBlockCount).map {
          BlockPlace(slot: first.slot, memberBlock: first.memberBlock + $0)
        }
        #expect(places == expected, "\(shape), chunk \(index)")
        if index > 0 {
          // Copies take a member each; RAID-6 steps over P between two stripes.
          let step =
            switch shape.level {
            case .raid10: 2
            case .raid6 where index % geometry.dataCount == 0: 2
            default: 1
            }
          let expected = (chunks[index - 1][0].slot + step) % geometry.memberCount
          #expect(first.slot == expected, "\(shape), chunk \(index)")
        }
      }
    }
  }

  @Test("P and Q are spread evenly over the members")
  func paritiesRotate() throws {
    for (level, memberCount) in Shape.levelsAndMembers where level == .raid5 || level == .raid6 {
      let geometry = try StripeGeometry(
        level: level, memberCount: memberCount, chunkBytes: 8192,
        memberBlockCount: UInt64(2 * memberCount))
      for position in geometry.dataCount..<geometry.width {
        var counts = [Int](repeating: 0, count: memberCount)
        for row in 0..<geometry.rowCount {
          counts[geometry.place(ofRow: row, position: position).slot] += 1
        }
        #expect(counts.allSatisfy { $0 == 2 }, "\(level.name) of \(memberCount)")
      }
    }
  }

  @Test("what the array offers is what the level leaves of its members")
  func capacities() throws {
    for shape in Shape.all {
      let geometry = try shape.geometry()
      let members = UInt64(shape.memberCount)
      let each = shape.chunkCount * shape.chunkBlockCount
      let expected =
        switch shape.level {
        case .raid0: members * each
        case .raid1: each
        case .raid5: (members - 1) * each
        case .raid6: (members - 2) * each
        case .raid10: members * shape.chunkCount / 2 * shape.chunkBlockCount
        }
      #expect(geometry.blockCount == expected, "\(shape)")
      #expect(geometry.byteCount == expected * 4096, "\(shape)")
      #expect(geometry.memberBlockCount == each, "\(shape)")
      #expect(geometry.allSlots.count == shape.memberCount, "\(shape)")
      #expect(geometry.width <= geometry.memberCount, "\(shape)")
    }
  }

  @Test("addresses near the end of the largest members are exact")
  func largeAddresses() throws {
    for (level, memberCount) in Shape.levelsAndMembers {
      let geometry = try StripeGeometry(
        level: level, memberCount: memberCount, chunkBytes: 1 << 20, memberBlockCount: 1 << 48 - 1)
      for back in UInt64(1)...520 {
        let block = geometry.blockCount - back
        let position = geometry.rowPosition(ofBlock: block)
        #expect(geometry.block(ofRow: position.row, position: position.position) == block)
        let place = geometry.place(ofRow: position.row, position: position.position)
        #expect(place.memberBlock < geometry.memberBlockCount)
        #expect(geometry.rowPosition(of: place) == position)
      }
    }
  }

  @Test("what cannot be an array is refused with its reason")
  func refusals() throws {
    func error(
      _ level: RAIDLevel, _ memberCount: Int, chunkBytes: UInt64 = 65536, blocks: UInt64 = 1 << 20
    ) -> GeometryError? {
      do throws(GeometryError) {
        _ = try StripeGeometry(
          level: level, memberCount: memberCount, chunkBytes: chunkBytes, memberBlockCount: blocks)
        return nil
      } catch {
        return error
      }
    }
    for level in RAIDLevel.allCases {
      let allowed = level.memberCountMin...32
      for memberCount in [-1, 0, 1, level.memberCountMin - 1, 33, 1000] {
        #expect(error(level, memberCount) == .memberCount(memberCount, allowed: allowed))
      }
      #expect(error(level, level.memberCountMin) == nil)
      #expect(error(level, 32) == nil)
      for chunkBytes in [0, 1, 512, 2048, 4095, 4097, 12288, 1 << 21, UInt64.max] {
        #expect(error(level, 4, chunkBytes: chunkBytes) == .chunkSize(bytes: chunkBytes))
      }
      #expect(error(level, 4, chunkBytes: 65536, blocks: 15) == .memberTooSmall)
      #expect(error(level, 4, blocks: 0) == .memberTooSmall)
      #expect(error(level, 4, chunkBytes: 4096, blocks: 1) == nil)
      #expect(error(level, 4, chunkBytes: 1 << 20, blocks: 256) == nil)
      #expect(error(level, 4, blocks: 1 << 48) != nil)
      #expect(error(level, 4, blocks: .max) != nil)
    }
  }

  @Test("addresses outside the array trap")
  func outsideTraps() async {
    await #expect(processExitsWith: .failure) {
      let geometry = try StripeGeometry(
        level: .raid5, memberCount: 3, chunkBytes: 4096, memberBlockCount: 4)
      _ = geometry.rowPosition(ofBlock: 8)
    }
    await #expect(processExitsWith: .failure) {
      let geometry = try StripeGeometry(
        level: .raid5, memberCount: 3, chunkBytes: 4096, memberBlockCount: 4)
      _ = geometry.place(ofRow: 0, position: 3)
    }
  }
}

@Suite("Geometry: what may be lost")
struct RedundancyTests {
  /// Shapes with more than one row of chunks: every pair of neighbours is in use.
  private var geometries: [StripeGeometry] {
    get throws {
      try Shape.levelsAndMembers.map { level, memberCount in
        try StripeGeometry(
          level: level, memberCount: memberCount, chunkBytes: 4096,
          memberBlockCount: UInt64(memberCount) + 1)
      }
    }
  }

  @Test("canServe is true for exactly the sets of members that leave every row readable")
  func canServe() throws {
    for geometry in try geometries {
      let rows = Array(Set(slotsOfRows(geometry)))
      let wrong = subsets(ofFirst: geometry.memberCount).filter {
        geometry.canServe(without: $0) != survives($0, rows: rows, geometry: geometry)
      }
      #expect(wrong.isEmpty, "\(geometry.level.name) of \(geometry.memberCount)")
    }
  }

  @Test("redundancyLeft is the number of members that may go, whichever they are")
  func redundancyLeft() throws {
    for geometry in try geometries {
      let rows = Array(Set(slotsOfRows(geometry)))
      let members = geometry.memberCount
      let all = subsets(ofFirst: members)
      let surviving = Set(all.filter { survives($0, rows: rows, geometry: geometry) })
      /// How many may go, by trying them all one after the other.
      var known: [SlotSet: Int] = [:]
      func left(_ lost: SlotSet) -> Int {
        if let answer = known[lost] { return answer }
        var least = Int.max
        for slot in 0..<members where !lost.contains(slot) {
          var more = lost
          more.insert(slot)
          least = min(least, surviving.contains(more) ? left(more) + 1 : 0)
          if least == 0 { break }
        }
        known[lost] = least
        return least
      }
      // Of 32 members the model knows the sets of up to three only: enough but for RAID-1.
      let isKnown = members <= 12 || geometry.level != .raid1
      for lost in all where isKnown && (members <= 12 || lost.count <= 2) {
        let expected = surviving.contains(lost) ? left(lost) : nil
        #expect(
          geometry.redundancyLeft(without: lost) == expected,
          "\(geometry.level.name) of \(members), lost \(Array(lost))")
      }
      #expect(geometry.redundancyLeft(without: SlotSet()) == geometry.redundancy)
    }
  }

  @Test("mirror pairs are the pairs of members that some row lies on")
  func mirrorPairs() throws {
    for geometry in try geometries {
      let expected = geometry.level == .raid10 ? Set(slotsOfRows(geometry)) : []
      #expect(Set(geometry.mirrorPairs) == expected)
      #expect(geometry.mirrorPairs.count == expected.count)
      #expect(geometry.isMirrored == (geometry.level == .raid1 || geometry.level == .raid10))
    }
  }
}
