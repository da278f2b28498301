import NBDWire
import Testing

@testable import NBDServer

@Suite("NBDServer: pacing of batches")
struct BatchPacingTests {
  private func pacing(requests count: Int, ofBytes byteCount: UInt32 = 4096) -> BatchPacing {
    var pacing = BatchPacing()
    for _ in 0..<count {
      pacing.count(
        Request(flags: [], commandNumber: 0, cookie: 0, offsetBytes: 0, byteCount: byteCount))
    }
    return pacing
  }

  @Test("a client that may be waiting for its replies is looked at again at once", arguments: 1...4)
  func fewInFlight(count: Int) {
    var pacing = pacing(requests: count)
    #expect(pacing.pauseBeforeReceiving(queuedReplyCount: count, untakenByteCount: 0) == 0)
  }

  @Test("a client with many replies to deal with gets time, less than it needs for them")
  func manyInFlight() {
    for count in 5...128 {
      var pacing = pacing(requests: count)
      let pause = pacing.pauseBeforeReceiving(queuedReplyCount: count, untakenByteCount: 0)
      #expect(pause > 0)
      #expect(pause < UInt64(count * BatchPacing.replyNanoseconds))
      #expect(pause <= UInt64(BatchPacing.pauseNanosecondsMax))
    }
  }

  @Test("replies that the client has not taken yet count, as many as the kernel still holds")
  func untakenReplies() {
    var pacing = pacing(requests: 1)
    for _ in 0..<4 { pacing.noteSent(replyCount: 3, byteCount: 3 * 4112) }
    let messageByteCount = 3 * 4112 + 1024
    #expect(pacing.untakenReplyCount(untakenByteCount: 0) == 0)
    #expect(pacing.untakenReplyCount(untakenByteCount: messageByteCount) == 3)
    #expect(pacing.untakenReplyCount(untakenByteCount: 3 * messageByteCount) == 9)
    #expect(
      pacing.pauseBeforeReceiving(queuedReplyCount: 1, untakenByteCount: 2 * messageByteCount) > 0)
  }

  @Test("more than was ever sent is no more than what is remembered")
  func untakenBeyondHistory() {
    var pacing = BatchPacing()
    #expect(pacing.untakenReplyCount(untakenByteCount: .max) == 0)
    for _ in 0..<100 { pacing.noteSent(replyCount: 1, byteCount: 16) }
    #expect(pacing.untakenReplyCount(untakenByteCount: .max) == 8)
  }

  @Test("after a receive without a request, and after large payloads, nobody waits")
  func nothingToCollect() {
    var empty = BatchPacing()
    #expect(empty.pauseBeforeReceiving(queuedReplyCount: 64, untakenByteCount: 0) == 0)
    var large = pacing(requests: 8, ofBytes: 128 << 10)
    #expect(large.pauseBeforeReceiving(queuedReplyCount: 8, untakenByteCount: 0) == 0)
    // Each receive is judged by itself.
    var twice = pacing(requests: 8)
    #expect(twice.pauseBeforeReceiving(queuedReplyCount: 8, untakenByteCount: 0) > 0)
    #expect(twice.pauseBeforeReceiving(queuedReplyCount: 8, untakenByteCount: 0) == 0)
  }

  @Test("a client that has long sent one request at a time is seldom asked about, others always")
  func asking() {
    var pacing = BatchPacing()
    func receiveOne(queued: Int) {
      pacing.count(
        Request(flags: [], commandNumber: 0, cookie: 0, offsetBytes: 0, byteCount: 4096))
      _ = pacing.pauseBeforeReceiving(queuedReplyCount: queued, untakenByteCount: 0)
    }
    for _ in 0..<8 {
      #expect(pacing.shouldAskForUntaken)
      receiveOne(queued: 1)
    }
    var askedCount = 0
    for _ in 0..<80 {
      if pacing.shouldAskForUntaken { askedCount += 1 }
      receiveOne(queued: 1)
    }
    #expect(askedCount == 10)
    receiveOne(queued: 2)
    #expect(pacing.shouldAskForUntaken)
  }
}
