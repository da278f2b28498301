import Testing

@testable import Simulator

@Suite("Simulator: randomness")
struct RandomSourceTests {
  @Test("seed 0 gives the published outputs of xoshiro256**")
  func publishedOutputs() {
    var random = RandomSource(seed: 0)
    #expect(random.next() == 0x99EC_5F36_CB75_F2B4)
    #expect(random.next() == 0xBF6E_1F78_4956_452A)
    #expect(random.next() == 0x1A5F_849D_4933_E6E0)
    #expect(random.next() == 0x6AA5_94F1_262D_2D2C)
  }

  @Test("draws stay below their bound and reach every value", arguments: 1...20)
  func boundedDraws(bound: Int) {
    var random = RandomSource(seed: UInt64(bound))
    var seen = [Int](repeating: 0, count: bound)
    for _ in 0..<bound * 200 { seen[random.index(below: bound)] += 1 }
    #expect(seen.allSatisfy { $0 > 100 && $0 < 400 } || bound == 1)
  }

  @Test("closed ranges include both ends, also the widest")
  func closedRanges() {
    var random = RandomSource(seed: 7)
    var seen: Set<UInt64> = []
    for _ in 0..<200 { seen.insert(random.next(from: 10, through: 13)) }
    #expect(seen == [10, 11, 12, 13])
    #expect(random.next(from: 5, through: 5) == 5)
    #expect(Set((0..<10).map { _ in random.next(from: 0, through: .max) }).count == 10)
  }

  @Test("rates happen about as often as they say")
  func rates() {
    var random = RandomSource(seed: 3)
    for rate in [0, 1000, 100_000, 500_000, 1_000_000] {
      let hits = (0..<20_000).count { _ in random.happens(perMillion: rate) }
      let expected = 20_000 * rate / 1_000_000
      #expect(abs(hits - expected) <= expected / 4)
    }
  }

  @Test("a part's source does not depend on what another part draws")
  func splitSourcesAreIndependent() {
    var root = RandomSource(seed: 11)
    var first = root.split()
    var second = root.split()
    let expected = second.next()
    var otherRoot = RandomSource(seed: 11)
    first = otherRoot.split()
    for _ in 0..<100 { _ = first.next() }
    second = otherRoot.split()
    #expect(second.next() == expected)
  }
}

@Suite("Simulator: event queue")
struct EventQueueTests {
  @Test("events come by time, and in the order of scheduling at one time", arguments: 1...60)
  func order(count: Int) {
    var random = RandomSource(seed: UInt64(count))
    var queue = EventQueue()
    var expected: [(time: UInt64, sequence: UInt64)] = []
    for sequence in 0..<UInt64(count) {
      let time = random.next(below: 10)
      expected.append((time, sequence))
      queue.insert(
        EventQueue.Event(atNanoseconds: time, sequence: sequence, machine: nil, action: {}))
    }
    expected.sort { ($0.time, $0.sequence) < ($1.time, $1.sequence) }
    for item in expected {
      #expect(queue.firstNanoseconds == item.time)
      let event = queue.popFirst()
      #expect(event?.sequence == item.sequence)
    }
    #expect(queue.isEmpty)
    #expect(queue.popFirst() == nil)
  }
}
