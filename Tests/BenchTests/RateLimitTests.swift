import Testing

@testable import Bench

@Suite("Bench: rate limit")
struct RateLimitTests {
  @Test("operations that are in time are due evenly, exactly, for hours")
  func evenly() {
    var limit = RateLimit(perSecond: 3, startNanoseconds: 1000)
    var due: UInt64 = 0
    for index in 0..<30_001 as Range<UInt64> {
      due = limit.reserve(now: due)
      #expect(due == 1000 + index * 1_000_000_000 / 3)
    }
    #expect(due == 1000 + 10_000_000_000_000)
  }

  @Test("a job that was held up catches up for 10 ms at most")
  func catchesUpBounded() {
    var limit = RateLimit(perSecond: 1000, startNanoseconds: 0)
    #expect(limit.reserve(now: 0) == 0)
    // Five seconds lost: 5000 operations. Only ten of them are made up for.
    let now: UInt64 = 5_000_000_000
    var late = 0
    var next = limit.reserve(now: now)
    while next < now {
      late += 1
      next = limit.reserve(now: now)
    }
    #expect(late == 10)
    #expect(next == now)
    #expect(limit.reserve(now: now) == now + 1_000_000)
  }

  @Test("a slow rate may be late by one whole interval before it starts anew")
  func slowRate() {
    var limit = RateLimit(perSecond: 1, startNanoseconds: 0)
    #expect(limit.reserve(now: 0) == 0)
    #expect(limit.reserve(now: 1_900_000_000) == 1_000_000_000)
    #expect(limit.reserve(now: 1_900_000_000) == 2_000_000_000)
  }
}
