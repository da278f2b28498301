/// Spaces a job's operations evenly: `rate_iops`.
///
/// Each operation gets a time of its own, so that slots which wait side by side do not start
/// together. A job that has fallen behind catches up for at most `lagNanosecondsMax`; what it
/// missed beyond that is not made up for by a burst.
struct RateLimit {
  static let lagNanosecondsMax: UInt64 = 10_000_000

  private let perSecond: UInt64
  private var base: UInt64
  private var count: UInt64 = 0

  /// - Precondition: `perSecond > 0`.
  init(perSecond: UInt64, startNanoseconds: UInt64) {
    precondition(perSecond > 0)
    self.perSecond = perSecond
    base = startNanoseconds
  }

  /// When the next operation may start; each call is another operation.
  mutating func reserve(now: UInt64) -> UInt64 {
    let due = base + offset(count)
    let lag = max(Self.lagNanosecondsMax, offset(1))
    if now > due, now - due > lag {
      base = now - lag
      count = 1
      return base
    }
    count += 1
    return due
  }

  /// Exact, so that nothing adds up over hours: count / perSecond in nanoseconds.
  private func offset(_ count: UInt64) -> UInt64 {
    let product = count.multipliedFullWidth(by: 1_000_000_000)
    guard product.high < perSecond else { return .max / 2 }
    return perSecond.dividingFullWidth(product).quotient
  }
}
