package import Units

/// Latencies of one direction of one job: the histogram, and what it does not keep exactly.
package struct LatencyRecord: Sendable {
  package private(set) var histogram = LatencyHistogram()
  private var smallest = UInt64.max
  private var sum = 0.0
  private var sumOfSquares = 0.0

  /// Nothing recorded yet.
  package init() {}

  package var count: UInt64 { histogram.count }
  package var minimumNanoseconds: UInt64 { count == 0 ? 0 : smallest }
  package var maximumNanoseconds: UInt64 { histogram.maximumNanoseconds }
  package var meanNanoseconds: Double { count == 0 ? 0 : sum / Double(count) }

  /// Of the sample, as fio's: 0 for fewer than two.
  package var deviationNanoseconds: Double {
    guard count > 1 else { return 0 }
    let variance = (sumOfSquares - sum * sum / Double(count)) / Double(count - 1)
    return max(0, variance).squareRoot()
  }

  /// Counts one latency.
  package mutating func record(nanoseconds: UInt64) {
    histogram.record(nanoseconds: nanoseconds)
    smallest = min(smallest, nanoseconds)
    let value = Double(nanoseconds)
    sum += value
    sumOfSquares += value * value
  }

  /// Adds what `other` has counted.
  package mutating func merge(_ other: LatencyRecord) {
    histogram.merge(other.histogram)
    smallest = min(smallest, other.smallest)
    sum += other.sum
    sumOfSquares += other.sumOfSquares
  }

  /// The latency that so many of 100 do not exceed.
  package func percentile(_ percent: Double) -> UInt64 { histogram.percentile(percent / 100) }

  /// The percentiles that reports show: fio's.
  package static let reportedPercents: [Double] = [
    1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 99.5, 99.9, 99.95, 99.99,
  ]
}

/// Smallest, largest, mean and deviation of a series of figures.
package struct SampleSummary: Equatable, Sendable {
  package private(set) var count: UInt64 = 0
  private var smallest = Double.infinity
  private var largest = 0.0
  private var sum = 0.0
  private var sumOfSquares = 0.0

  /// No samples yet.
  package init() {}

  package mutating func add(_ value: Double) {
    count += 1
    smallest = min(smallest, value)
    largest = max(largest, value)
    sum += value
    sumOfSquares += value * value
  }

  package var minimum: Double { count == 0 ? 0 : smallest }
  package var maximum: Double { largest }
  package var mean: Double { count == 0 ? 0 : sum / Double(count) }

  package var deviation: Double {
    guard count > 1 else { return 0 }
    let variance = (sumOfSquares - sum * sum / Double(count)) / Double(count - 1)
    return max(0, variance).squareRoot()
  }
}
