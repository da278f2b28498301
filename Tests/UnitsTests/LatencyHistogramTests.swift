import Testing

@testable import Units

@Suite("Units: latency histogram")
struct LatencyHistogramTests {
  private static let bucketCount = 2241

  @Test("every value up to 2^18 lies between the ends of its bucket and of the one before")
  func bucketsAndTheirEndsAgree() {
    for value: UInt64 in 0..<(1 << 18) {
      let bucket = LatencyHistogram.bucket(of: value)
      #expect(value <= LatencyHistogram.lastValue(of: bucket))
      if bucket > 0 { #expect(value > LatencyHistogram.lastValue(of: bucket - 1)) }
    }
  }

  @Test("each bucket ends where the next begins, and is at most 1/64 wide")
  func bucketsTile() {
    for bucket in 0..<Self.bucketCount - 1 {
      let last = LatencyHistogram.lastValue(of: bucket)
      #expect(LatencyHistogram.bucket(of: last) == bucket)
      #expect(LatencyHistogram.bucket(of: last + 1) == bucket + 1)
      guard bucket >= 64 else { continue }
      let first = LatencyHistogram.lastValue(of: bucket - 1) + 1
      #expect((last - first + 1) * 64 <= first)
    }
    #expect(LatencyHistogram.lastValue(of: Self.bucketCount - 1) == .max)
    #expect(LatencyHistogram.bucket(of: .max) == Self.bucketCount - 1)
  }

  @Test("the last bucket begins above 18 minutes")
  func reach() {
    let first = LatencyHistogram.lastValue(of: Self.bucketCount - 2) + 1
    #expect(first > 18 * 60 * 1_000_000_000)
  }

  @Test("one slow operation in a thousand is beyond the 99.9th percentile, not on it")
  func percentileRank() {
    for thousands in [1, 2, 10, 1000] {
      var histogram = LatencyHistogram()
      for _ in 0..<thousands {
        for _ in 0..<999 { histogram.record(nanoseconds: 10) }
        histogram.record(nanoseconds: 1_000_000)
      }
      // 99.9 / 100 is a little more than 0.999.
      #expect(histogram.percentile(99.9 / 100) == 10)
      #expect(histogram.percentile(99.91 / 100) == 1_000_000)
    }
  }

  @Test("an empty histogram tells zeros")
  func empty() {
    let histogram = LatencyHistogram()
    #expect(histogram.count == 0)
    #expect(histogram.meanNanoseconds == 0)
    #expect(histogram.maximumNanoseconds == 0)
    #expect(histogram.percentile(0.5) == 0)
    #expect(histogram.minimumNanoseconds == 0)
    #expect(histogram.standardDeviationNanoseconds == 0)
    #expect(histogram.bins.isEmpty)
  }

  /// Values spread over all magnitudes, the same every time.
  private func samples(_ count: Int, _ salt: UInt64) -> [UInt64] {
    var state = salt
    return (0..<count).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (state >> 24) >> (state >> 58 & 31)
    }
  }

  @Test(
    "percentiles are those of the sorted list, rounded up to the bucket's end", arguments: 1...40)
  func percentilesAgainstSortedList(count: Int) {
    let values = samples(count, UInt64(count))
    let sorted = values.sorted()
    var histogram = LatencyHistogram()
    for value in values { histogram.record(nanoseconds: value) }
    #expect(histogram.count == UInt64(count))
    #expect(histogram.maximumNanoseconds == sorted[count - 1])
    #expect(histogram.minimumNanoseconds == sorted[0])
    #expect(histogram.meanNanoseconds == values.reduce(0, +) / UInt64(count))
    for step in 0...count {
      // Halves keep away from products that rounding could push over a whole number.
      let fraction = (Double(step) - 0.5) / Double(count)
      let exact = sorted[max(step, 1) - 1]
      let end = LatencyHistogram.lastValue(of: LatencyHistogram.bucket(of: exact))
      #expect(histogram.percentile(fraction) == min(end, sorted[count - 1]))
    }
    #expect(histogram.percentile(1) == sorted[count - 1])
    #expect(histogram.percentile(7) == sorted[count - 1])
  }

  @Test("merging equals recording everything in one")
  func mergeEqualsRecordingAll() {
    var first = LatencyHistogram()
    var second = LatencyHistogram()
    var all = LatencyHistogram()
    for value in samples(500, 1) {
      first.record(nanoseconds: value)
      all.record(nanoseconds: value)
    }
    for value in samples(300, 2) {
      second.record(nanoseconds: value)
      all.record(nanoseconds: value)
    }
    first.merge(second)
    #expect(first.count == all.count)
    #expect(first.meanNanoseconds == all.meanNanoseconds)
    #expect(first.maximumNanoseconds == all.maximumNanoseconds)
    #expect(first.minimumNanoseconds == all.minimumNanoseconds)
    #expect(first.standardDeviationNanoseconds == all.standardDeviationNanoseconds)
    #expect(first.bins == all.bins)
    for percent in 0...100 {
      let fraction = Double(percent) / 100
      #expect(first.percentile(fraction) == all.percentile(fraction))
    }
  }

  @Test("the standard deviation is the sample's, by its definition", arguments: 2...40)
  func deviationByDefinition(count: Int) {
    let values = samples(count, UInt64(count) + 100)
    var histogram = LatencyHistogram()
    for value in values { histogram.record(nanoseconds: value) }
    let mean = values.map { Double($0) }.reduce(0, +) / Double(count)
    let squares = values.map { (Double($0) - mean) * (Double($0) - mean) }.reduce(0, +)
    let expected = (squares / Double(count - 1)).squareRoot()
    #expect(abs(histogram.standardDeviationNanoseconds - expected) <= expected * 1e-12)
  }

  @Test("a deviation of 1 ns around a mean of 17 minutes is not lost")
  func tinyDeviation() {
    var histogram = LatencyHistogram()
    for _ in 0..<50_000 {
      histogram.record(nanoseconds: 1_020_000_000_001)
      histogram.record(nanoseconds: 1_020_000_000_003)
    }
    #expect(histogram.meanNanoseconds == 1_020_000_000_002)
    #expect(abs(histogram.standardDeviationNanoseconds - 1.000005) < 1e-6)
  }

  @Test("equal durations deviate by nothing, one alone as well; the squares may overflow")
  func noDeviation() {
    for value: UInt64 in [0, 1, 12_345, 1 << 40, 1 << 61] {
      var histogram = LatencyHistogram()
      histogram.record(nanoseconds: value)
      #expect(histogram.standardDeviationNanoseconds == 0)
      for _ in 0..<6 { histogram.record(nanoseconds: value) }
      #expect(histogram.standardDeviationNanoseconds == 0)
    }
  }

  @Test("bins hold every value below their end and above that of the bin before")
  func binsCountAll() {
    let values = samples(1000, 3) + [1 << 41, 1 << 42]
    var histogram = LatencyHistogram()
    for value in values { histogram.record(nanoseconds: value) }
    var lowest: UInt64 = 0
    for bin in histogram.bins {
      let inside = values.filter { $0 >= lowest && $0 <= bin.lastNanoseconds }
      #expect(UInt64(inside.count) == bin.count)
      #expect(bin.count > 0)
      lowest = bin.lastNanoseconds + 1
    }
    #expect(histogram.bins.map(\.count).reduce(0, +) == UInt64(values.count))
    #expect(histogram.bins.last?.lastNanoseconds == 1 << 42)
  }

  @Test("after a reset it is as if nothing had been recorded")
  func reset() {
    var histogram = LatencyHistogram()
    for value in [3, 1_000_000, 77_000] as [UInt64] { histogram.record(nanoseconds: value) }
    histogram.reset()
    #expect(histogram.count == 0 && histogram.bins.isEmpty && histogram.percentile(0.99) == 0)
    histogram.record(nanoseconds: 5)
    #expect(histogram.minimumNanoseconds == 5 && histogram.maximumNanoseconds == 5)
    #expect(histogram.meanNanoseconds == 5 && histogram.bins.count == 1)
  }
}
