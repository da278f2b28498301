package import Units

extension LatencyHistogram {
  /// The percentiles that reports show: fio's.
  package static let reportedPercents: [Double] = [
    1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 99.5, 99.9, 99.95, 99.99,
  ]

  /// The latency that so many of 100 do not exceed.
  func latency(atPercent percent: Double) -> UInt64 { percentile(percent / 100) }

  /// Which part of the latencies lies at or below `nanoseconds`, to the width of a bucket.
  func share(upTo nanoseconds: UInt64) -> Double {
    guard count > 0 else { return 0 }
    let below = bins.filter { $0.lastNanoseconds <= nanoseconds }.reduce(0) { $0 + $1.count }
    return Double(below) / Double(count)
  }
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

  /// Counts one figure.
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
