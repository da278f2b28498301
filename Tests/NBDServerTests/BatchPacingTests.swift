import Testing

@testable import NBDServer

@Suite("NBDServer: pacing of batches")
struct BatchPacingTests {
  @Test("a client with one request in flight is never kept waiting")
  func oneByOne() {
    var pacing = BatchPacing()
    for _ in 0..<100 { #expect(pacing.rest(afterReplies: 1, byteCount: 4112) == 0) }
  }

  @Test("a client that keeps many in flight gets time to send more, but not much")
  func manyInFlight() {
    var pacing = BatchPacing()
    var rest: UInt64 = 0
    for _ in 0..<10 { rest = pacing.rest(afterReplies: 8, byteCount: 8 * 4112) }
    #expect(rest == 8 * BatchPacing.replyNanoseconds)
    #expect(
      pacing.rest(afterReplies: 128, byteCount: 128 * 16) == BatchPacing.restNanosecondsMax)
  }

  @Test("a batch of one between larger ones still lets the next collect")
  func oneAmongMany() {
    var pacing = BatchPacing()
    for _ in 0..<10 { _ = pacing.rest(afterReplies: 8, byteCount: 8 * 16) }
    #expect(pacing.rest(afterReplies: 1, byteCount: 16) > 0)
  }

  @Test("a client that changes to one request at a time is soon served without delay")
  func changeToOneByOne() {
    var pacing = BatchPacing()
    for _ in 0..<10 { _ = pacing.rest(afterReplies: 128, byteCount: 128 * 16) }
    let rests = (0..<40).map { _ in pacing.rest(afterReplies: 1, byteCount: 16) }
    #expect(rests.contains(0))
    #expect(rests.drop { $0 > 0 }.allSatisfy { $0 == 0 })
  }

  @Test("large replies are not waited for")
  func largeReplies() {
    var pacing = BatchPacing()
    for _ in 0..<10 { #expect(pacing.rest(afterReplies: 8, byteCount: 8 << 17) == 0) }
  }
}
