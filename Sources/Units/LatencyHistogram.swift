/// Counts durations in buckets of about 6 % width, from 1 ns to 18 minutes and beyond.
///
/// Log-linear, as in Gil Tene's HdrHistogram: 16 equal steps within each power of two. Recording
/// is two shifts and an increment; 592 buckets take 4.7 KiB.
package struct LatencyHistogram: Sendable {
  private var counts: [UInt64]
  package private(set) var count: UInt64 = 0
  package private(set) var maximumNanoseconds: UInt64 = 0
  private var sumNanoseconds: UInt64 = 0

  private static let stepBits = 4
  private static let bucketCount = 592

  package init() {
    counts = [UInt64](repeating: 0, count: Self.bucketCount)
  }

  /// Counts one duration.
  package mutating func record(nanoseconds: UInt64) {
    counts[Self.bucket(of: nanoseconds)] += 1
    count += 1
    sumNanoseconds &+= nanoseconds
    maximumNanoseconds = max(maximumNanoseconds, nanoseconds)
  }

  /// Adds everything that `other` has counted.
  package mutating func merge(_ other: LatencyHistogram) {
    for index in 0..<Self.bucketCount { counts[index] += other.counts[index] }
    count += other.count
    sumNanoseconds &+= other.sumNanoseconds
    maximumNanoseconds = max(maximumNanoseconds, other.maximumNanoseconds)
  }

  package var meanNanoseconds: UInt64 { count == 0 ? 0 : sumNanoseconds / count }

  /// The duration that `fraction` of the recorded ones do not exceed, rounded up to its bucket's
  /// end and never beyond the maximum.
  ///
  /// - Parameter fraction: from 0 to 1, for example 0.99.
  /// - Returns: nanoseconds; 0 when nothing was recorded.
  package func percentile(_ fraction: Double) -> UInt64 {
    guard count > 0 else { return 0 }
    let rank = max(1, (Double(count) * min(max(fraction, 0), 1)).rounded(.up))
    var seen: UInt64 = 0
    for index in 0..<Self.bucketCount {
      seen += counts[index]
      if Double(seen) >= rank { return min(Self.lastValue(of: index), maximumNanoseconds) }
    }
    return maximumNanoseconds
  }

  /// Values below 16 have a bucket each; the octave of 2^k, k >= 4, starts at (k - 3) * 16.
  static func bucket(of value: UInt64) -> Int {
    guard value >= 16 else { return Int(value) }
    let exponent = 63 - value.leadingZeroBitCount
    let step = Int((value >> UInt64(exponent - stepBits)) & 15)
    return min((exponent - 3) * 16 + step, bucketCount - 1)
  }

  /// The largest value that falls into the bucket.
  static func lastValue(of bucket: Int) -> UInt64 {
    guard bucket >= 16 else { return UInt64(bucket) }
    guard bucket < bucketCount - 1 else { return .max }
    let exponent = UInt64(bucket / 16 + 3)
    let width = UInt64(1) << (exponent - UInt64(stepBits))
    return (UInt64(1) << exponent) + UInt64(bucket % 16 + 1) * width - 1
  }
}
