/// Seeded randomness: xoshiro256** by Blackman and Vigna, its state filled by SplitMix64.
///
/// Every part of a simulation (scheduler, each disk, the network) owns one, split off a common
/// root, so that a change of what one part draws leaves the others as they were.
package struct RandomSource: Sendable {
  private var state: (UInt64, UInt64, UInt64, UInt64)

  package init(seed: UInt64) {
    var mixer = seed
    state = (
      Self.splitMix(&mixer), Self.splitMix(&mixer), Self.splitMix(&mixer), Self.splitMix(&mixer)
    )
  }

  private static func splitMix(_ state: inout UInt64) -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  private static func rotate(_ value: UInt64, _ count: UInt64) -> UInt64 {
    (value << count) | (value >> (64 - count))
  }

  package mutating func next() -> UInt64 {
    let result = Self.rotate(state.1 &* 5, 7) &* 9
    let shifted = state.1 << 17
    state.2 ^= state.0
    state.3 ^= state.1
    state.1 ^= state.2
    state.0 ^= state.3
    state.2 ^= shifted
    state.3 = Self.rotate(state.3, 45)
    return result
  }

  /// A number from 0 up to, not including, `bound`.
  ///
  /// - Precondition: `bound > 0`.
  package mutating func next(below bound: UInt64) -> UInt64 {
    precondition(bound > 0)
    // The high half of the product; its bias of at most bound / 2^64 does not matter here.
    return next().multipliedFullWidth(by: bound).high
  }

  /// An index from 0 up to, not including, `count`.
  package mutating func index(below count: Int) -> Int {
    precondition(count > 0)
    return Int(next(below: UInt64(count)))
  }

  /// A number of the closed range.
  package mutating func next(from lowest: UInt64, through highest: UInt64) -> UInt64 {
    precondition(lowest <= highest)
    let width = highest - lowest
    return width == .max ? next() : lowest + next(below: width + 1)
  }

  /// Whether something that happens so often in a million happens now.
  ///
  /// Draws nothing for 0.
  package mutating func happens(perMillion rate: Int) -> Bool {
    rate > 0 && next(below: 1_000_000) < UInt64(rate)
  }

  /// Heads or tails.
  package mutating func coin() -> Bool { next() >> 63 == 1 }

  /// A source of its own, decided by this one's state.
  package mutating func split() -> RandomSource { RandomSource(seed: next()) }
}
