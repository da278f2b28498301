import Geometry
import Testing

/// What each member holds in each row of chunks, as Linux md lays it out.
///
/// Written by hand: a number is a chunk of data, P and Q are parities.
private struct PublishedLayout: CustomStringConvertible, Sendable {
  let level: RAIDLevel
  let rows: [[String]]

  var memberCount: Int { rows[0].count }
  var description: String { "\(level.name) of \(memberCount)" }

  static let all = [raid5of3, raid5of4, raid6of4, raid6of5, raid10of3, raid10of4, raid0of3]

  static let raid5of3 = PublishedLayout(
    level: .raid5,
    rows: [
      ["0", "1", "P"],
      ["3", "P", "2"],
      ["P", "4", "5"],
      ["6", "7", "P"],
    ])
  static let raid5of4 = PublishedLayout(
    level: .raid5,
    rows: [
      ["0", "1", "2", "P"],
      ["4", "5", "P", "3"],
      ["8", "P", "6", "7"],
      ["P", "9", "10", "11"],
      ["12", "13", "14", "P"],
    ])
  static let raid6of4 = PublishedLayout(
    level: .raid6,
    rows: [
      ["Q", "0", "1", "P"],
      ["2", "3", "P", "Q"],
      ["5", "P", "Q", "4"],
      ["P", "Q", "6", "7"],
      ["Q", "8", "9", "P"],
    ])
  static let raid6of5 = PublishedLayout(
    level: .raid6,
    rows: [
      ["Q", "0", "1", "2", "P"],
      ["3", "4", "5", "P", "Q"],
      ["7", "8", "P", "Q", "6"],
      ["11", "P", "Q", "9", "10"],
      ["P", "Q", "12", "13", "14"],
      ["Q", "15", "16", "17", "P"],
    ])
  static let raid10of3 = PublishedLayout(
    level: .raid10,
    rows: [
      ["0", "0", "1"],
      ["1", "2", "2"],
      ["3", "3", "4"],
      ["4", "5", "5"],
    ])
  static let raid10of4 = PublishedLayout(
    level: .raid10,
    rows: [
      ["0", "0", "1", "1"],
      ["2", "2", "3", "3"],
      ["4", "4", "5", "5"],
    ])
  static let raid0of3 = PublishedLayout(
    level: .raid0,
    rows: [
      ["0", "1", "2"],
      ["3", "4", "5"],
    ])
}

@Suite("Geometry: the layout that md publishes")
struct PublishedLayoutTests {
  @Test("every chunk lies where md puts it", arguments: PublishedLayout.all, [1, 2, 4])
  fileprivate func chunks(layout: PublishedLayout, chunkBlockCount: UInt64) throws {
    let geometry = try StripeGeometry(
      level: layout.level, memberCount: layout.memberCount,
      chunkBytes: chunkBlockCount * StripeGeometry.blockBytes,
      memberBlockCount: UInt64(layout.rows.count) * chunkBlockCount)
    for (line, members) in layout.rows.enumerated() {
      for (slot, expected) in members.enumerated() {
        for offset in 0..<chunkBlockCount {
          let place = BlockPlace(
            slot: slot, memberBlock: UInt64(line) * chunkBlockCount + offset)
          let position = try #require(geometry.rowPosition(of: place))
          let name: String
          switch position.position {
          case geometry.dataCount where geometry.parityCount > 0: name = "P"
          case geometry.dataCount + 1 where geometry.parityCount > 0: name = "Q"
          default:
            let data = geometry.parityCount > 0 ? position.position : 0
            let block = geometry.block(ofRow: position.row, position: data)
            #expect(block % chunkBlockCount == offset)
            name = String(block / chunkBlockCount)
          }
          #expect(name == expected, "chunk row \(line), member \(slot), block \(offset)")
          #expect(geometry.place(ofRow: position.row, position: position.position) == place)
        }
      }
    }
  }

  @Test("three members of an odd RAID-10 with one row of chunks leave the last chunk unused")
  func unusedChunk() throws {
    let geometry = try StripeGeometry(
      level: .raid10, memberCount: 3, chunkBytes: 8192, memberBlockCount: 2)
    #expect(geometry.blockCount == 2)
    #expect(geometry.rowPosition(of: BlockPlace(slot: 1, memberBlock: 1))?.position == 1)
    #expect(geometry.rowPosition(of: BlockPlace(slot: 2, memberBlock: 0)) == nil)
    #expect(geometry.rowPosition(of: BlockPlace(slot: 2, memberBlock: 1)) == nil)
  }
}
