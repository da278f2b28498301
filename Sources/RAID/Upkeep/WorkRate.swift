/// How fast a long work goes lately, and when it will end: as a range, because that is all that can
/// be known.
package struct WorkRate {
  private struct Sample {
    var atNanoseconds: UInt64
    var byteCount: UInt64
  }

  private static let intervalNanoseconds: UInt64 = 1_000_000_000
  private static let countMax = 11
  private var samples: [Sample] = []

  package init() {}

  /// Takes note of how much is done by now.
  package mutating func note(_ byteCount: UInt64, at now: UInt64) {
    if let last = samples.last {
      guard now >= last.atNanoseconds &+ Self.intervalNanoseconds else { return }
    }
    if samples.count == Self.countMax { samples.removeFirst() }
    samples.append(Sample(atNanoseconds: now, byteCount: byteCount))
  }

  /// Forgets the past: the work has begun, or rested.
  package mutating func restart() { samples.removeAll(keepingCapacity: true) }

  /// Over the last seconds; 0 while nobody knows.
  package var bytesPerSecond: UInt64 {
    guard let first = samples.first, let last = samples.last else { return 0 }
    return Self.rate(first, last)
  }

  private static func rate(_ first: Sample, _ last: Sample) -> UInt64 {
    let nanoseconds = last.atNanoseconds &- first.atNanoseconds
    guard nanoseconds > 0, last.byteCount >= first.byteCount else { return 0 }
    let perSecond = Double(last.byteCount - first.byteCount) * 1e9 / Double(nanoseconds)
    return perSecond < 0x1p62 ? UInt64(perSecond) : 1 << 62
  }

  /// How long the rest takes, at the fastest and at the slowest of the last seconds.
  ///
  /// - Returns: nil while nobody knows.
  package func secondsLeft(forBytes byteCount: UInt64) -> ClosedRange<UInt64>? {
    guard samples.count > 1 else { return nil }
    var (slowest, fastest) = (UInt64.max, UInt64(0))
    for index in 1..<samples.count {
      let rate = Self.rate(samples[index - 1], samples[index])
      slowest = min(slowest, rate)
      fastest = max(fastest, rate)
    }
    guard fastest > 0 else { return nil }
    // A second in which nothing went on says little about the next hour.
    slowest = max(slowest, bytesPerSecond / 4, 1)
    return byteCount / fastest...max(byteCount / slowest, byteCount / fastest)
  }
}
