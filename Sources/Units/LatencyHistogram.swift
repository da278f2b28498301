/// Counts durations in buckets of at most 1.6 % width, from 1 ns to 18 minutes and beyond.
///
/// Log-linear, as in Gil Tene's HdrHistogram: 64 equal steps within each power of two, which is
/// fio's resolution, too. Recording is two shifts, an increment and one multiplication; 2241
/// buckets take 18 KiB.
///
/// Mean and standard deviation come from exact sums of the durations, not from the buckets.
package struct LatencyHistogram: Sendable {
  /// One bucket that is not empty.
  package struct Bin: Equatable, Sendable {
    /// The largest duration that falls into it; for the last bucket the largest recorded.
    package let lastNanoseconds: UInt64
    package let count: UInt64
  }

  private var counts: [UInt64]
  package private(set) var count: UInt64 = 0
  package private(set) var maximumNanoseconds: UInt64 = 0
  private var lowestNanoseconds: UInt64 = .max
  private var sumNanoseconds: UInt64 = 0
  /// The sum of the squares modulo 2^128: see `standardDeviationNanoseconds`.
  private var sumOfSquares: UInt128 = 0

  private static let stepBits = 6
  private static let steps = 1 << stepBits
  /// The octaves up to 2^40 ns, and one bucket for everything from there on.
  private static let bucketCount = (40 - stepBits + 1) * steps + 1

  package init() {
    counts = [UInt64](repeating: 0, count: Self.bucketCount)
  }

  /// Counts one duration.
  package mutating func record(nanoseconds: UInt64) {
    counts[Self.bucket(of: nanoseconds)] += 1
    count += 1
    sumNanoseconds &+= nanoseconds
    sumOfSquares &+= UInt128(nanoseconds) &* UInt128(nanoseconds)
    maximumNanoseconds = max(maximumNanoseconds, nanoseconds)
    lowestNanoseconds = min(lowestNanoseconds, nanoseconds)
  }

  /// Forgets everything; allocates nothing.
  package mutating func reset() {
    for index in 0..<Self.bucketCount { counts[index] = 0 }
    count = 0
    maximumNanoseconds = 0
    lowestNanoseconds = .max
    sumNanoseconds = 0
    sumOfSquares = 0
  }

  /// Adds everything that `other` has counted.
  package mutating func merge(_ other: LatencyHistogram) {
    for index in 0..<Self.bucketCount { counts[index] += other.counts[index] }
    count += other.count
    sumNanoseconds &+= other.sumNanoseconds
    sumOfSquares &+= other.sumOfSquares
    maximumNanoseconds = max(maximumNanoseconds, other.maximumNanoseconds)
    lowestNanoseconds = min(lowestNanoseconds, other.lowestNanoseconds)
  }

  /// The shortest duration; 0 when nothing was recorded.
  package var minimumNanoseconds: UInt64 { count == 0 ? 0 : lowestNanoseconds }

  package var meanNanoseconds: UInt64 { count == 0 ? 0 : sumNanoseconds / count }

  /// The sample's standard deviation, with `count - 1` below the root, as fio reports it.
  ///
  /// The squares are summed around the mean's whole part q, in integers:
  /// `sum (x - q)^2 = sum x^2 - 2 q sum x + n q^2`. Taken modulo 2^128 this is exact whatever
  /// the single terms overflow to, so nothing cancels, however small the deviation is against
  /// the mean. What is left of the mean, `r / n < 1`, is taken off in floating point.
  ///
  /// - Returns: nanoseconds; 0 below two durations.
  package var standardDeviationNanoseconds: Double {
    guard count > 1 else { return 0 }
    let (whole, rest) = sumNanoseconds.quotientAndRemainder(dividingBy: count)
    let mean = UInt128(whole)
    let around =
      sumOfSquares &- 2 &* mean &* UInt128(sumNanoseconds) &+ UInt128(count) &* mean &* mean
    let correction = Double(rest) * (Double(rest) / Double(count))
    return (max(0, Double(around) - correction) / Double(count - 1)).squareRoot()
  }

  /// The buckets that are not empty, shortest first.
  ///
  /// - Complexity: O(buckets); allocates: for reports.
  package var bins: [Bin] {
    var bins: [Bin] = []
    for index in 0..<Self.bucketCount where counts[index] > 0 {
      let isLast = index == Self.bucketCount - 1
      bins.append(
        Bin(
          lastNanoseconds: isLast ? maximumNanoseconds : Self.lastValue(of: index),
          count: counts[index]))
    }
    return bins
  }

  /// The duration that `fraction` of the recorded ones do not exceed, rounded up to its bucket's
  /// end and never beyond the maximum.
  ///
  /// - Parameter fraction: from 0 to 1, for example 0.99.
  /// - Returns: nanoseconds; 0 when nothing was recorded.
  package func percentile(_ fraction: Double) -> UInt64 {
    guard count > 0 else { return 0 }
    // A hair less: 99.9 / 100 is more than 0.999, and 999 of 1000 must not become all of them.
    let exact = Double(count) * min(max(fraction, 0), 1) * (1 - 0x1p-50)
    let rank = max(1, exact.rounded(.up))
    var seen: UInt64 = 0
    for index in 0..<Self.bucketCount {
      seen += counts[index]
      if Double(seen) >= rank { return min(Self.lastValue(of: index), maximumNanoseconds) }
    }
    return maximumNanoseconds
  }

  /// Values below 64 have a bucket each; the octave of 2^k, k >= 6, starts at (k - 5) * 64.
  static func bucket(of value: UInt64) -> Int {
    guard value >= UInt64(steps) else { return Int(value) }
    let exponent = 63 - value.leadingZeroBitCount
    let step = Int((value >> UInt64(exponent - stepBits)) & UInt64(steps - 1))
    return min((exponent - stepBits + 1) * steps + step, bucketCount - 1)
  }

  /// The largest value that falls into the bucket.
  static func lastValue(of bucket: Int) -> UInt64 {
    guard bucket >= steps else { return UInt64(bucket) }
    guard bucket < bucketCount - 1 else { return .max }
    let exponent = UInt64(bucket / steps + stepBits - 1)
    let width = UInt64(1) << (exponent - UInt64(stepBits))
    return (UInt64(1) << exponent) + UInt64(bucket % steps + 1) * width - 1
  }
}
