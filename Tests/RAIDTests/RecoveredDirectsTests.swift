import DiskFormat
import Geometry
import Testing

@testable import RAID

/// What recovery remembers of direct writes, and what trims cost it.
@Suite("RAID: direct writes that recovery meets")
struct RecoveredDirectsTests {
  private func placement() throws -> TablePlacement {
    TablePlacement(
      try StripeGeometry(
        level: .raid5, memberCount: 4, chunkBytes: 8192, memberBlockCount: 504 / 4 * 1000))
  }

  private func direct(_ sequence: UInt64) -> OpenDirect {
    OpenDirect(
      intent: DirectIntent(
        run: BlockRun(firstBlock: 0, blockCount: 0), old: [], sectorChecksums: []),
      batchSequence: sequence)
  }

  @Test("a trim looks at the pages that it touches, and at no more than are announced")
  func stepsOfTrims() throws {
    let placement = try placement()
    var directs = RecoveredDirects(placement)
    for page in 0..<500 as Range<UInt64> {
      directs.append(direct(page), placement.rows(ofPage: page))
    }
    var stepCount = 0
    // Small ones, which take nothing: each costs what it touches, however many rows are announced.
    for page in 0..<500 as Range<UInt64> {
      stepCount += directs.removeAll(ofPages: page...page + 1) { _ in false }
    }
    #expect(stepCount <= 1000)
    #expect(directs.lastOfRows.count == 500 * Int(placement.rowsPerPage))
    // Of everything, again and again: the first takes all, and nothing is left for the others.
    stepCount = 0
    for _ in 0..<100 {
      stepCount += directs.removeAll(ofPages: 0...placement.pageCount - 1) { _ in true }
    }
    #expect(stepCount <= 500)
    #expect(directs.lastOfRows.isEmpty)
  }

  @Test("what is left is the last of each row, in rising order")
  func lastOfRows() throws {
    let placement = try placement()
    let count = placement.rowsPerPage
    var directs = RecoveredDirects(placement)
    directs.append(direct(1), 2 * count - 3..<2 * count + 3)
    directs.append(direct(2), 0..<3)
    directs.append(direct(3), 2 * count + 1..<2 * count + 2)
    directs.remove(2 * count + 2)
    directs.removeAll(ofPages: 0...1) { $0 == 0 }
    let left = directs.lastOfRows
    #expect(
      left.map(\.row)
        == [2 * count - 3, 2 * count - 2, 2 * count - 1, 2 * count, 2 * count + 1])
    #expect(left.map(\.direct.batchSequence) == [1, 1, 1, 1, 3])
    #expect(directs.announces(2 * count) && !directs.announces(2 * count + 2))
    #expect(!directs.announces(1) && directs.all.count == 3)
  }
}
