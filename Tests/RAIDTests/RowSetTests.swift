import Testing

@testable import RAID

@Suite("RowSet")
struct RowSetTests {
  @Test("has single rows and runs, and tells of runs that it shares rows with")
  func contains() {
    var rows = RowSet([3, 100])
    rows.insert(16..<32)
    rows.insert(32..<48)
    rows.insert(8..<10)
    #expect((0..<128).filter { rows.contains($0) } == [3, 8, 9] + Array(16..<48) + [100])
    #expect(rows.count == 36)
    #expect(rows.overlaps(0..<4) && rows.overlaps(47..<50) && rows.overlaps(99..<1000))
    #expect(!rows.overlaps(0..<3) && !rows.overlaps(48..<100) && !rows.overlaps(10..<16))
  }

  @Test("gives back what was in it before, and keeps what came since")
  func subtract() {
    var rows = RowSet([3])
    rows.insert(16..<32)
    let before = rows
    var all = rows
    all.subtract(before)
    #expect(all.isEmpty && all.count == 0)
    rows.formUnion(RowSet(runs: [64..<80, 80..<96]))
    rows.formUnion([4])
    rows.subtract(before)
    #expect((0..<128).filter { rows.contains($0) } == [4] + Array(64..<96))
    #expect(rows.count == 33)
  }

  @Test("a run that has grown since stays")
  func grown() {
    let before = RowSet(runs: [16..<32])
    var rows = before
    rows.insert(32..<48)
    rows.subtract(before)
    #expect((0..<128).filter { rows.contains($0) } == Array(16..<48))
  }
}
