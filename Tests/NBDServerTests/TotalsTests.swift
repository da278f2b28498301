import Testing

@testable import NBDServer

@Suite("Server: totals")
struct TotalsTests {
  @Test("S1: refused requests of 4 GiB, again and again, do not overflow the sum of bytes")
  func sumOfBytes() {
    var totals = RequestTotals()
    totals.byteCount = .max - 5
    totals.record(UInt64(UInt32.max), 1, isError: true)
    #expect(totals.count == 1)
    #expect(totals.errorCount == 1)
  }
}
