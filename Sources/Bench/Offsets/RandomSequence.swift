/// The random numbers of a job: xoshiro256**, its state filled by SplitMix64.
///
/// The same seed gives the same sequence on every machine and in every version: a job can be
/// repeated, and a later run can know what an earlier one did.
///
/// - Source: D. Blackman, S. Vigna, "Scrambled linear pseudorandom number generators" (2018);
///   G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators" (2014).
package struct RandomSequence: Sendable {
  private var state: (UInt64, UInt64, UInt64, UInt64)

  package init(seed: UInt64) {
    var counter = seed
    state = (
      Self.splitMix(&counter), Self.splitMix(&counter), Self.splitMix(&counter),
      Self.splitMix(&counter)
    )
  }

  /// For tests against published sequences.
  init(state: (UInt64, UInt64, UInt64, UInt64)) {
    self.state = state
  }

  /// The next number of SplitMix64.
  static func splitMix(_ counter: inout UInt64) -> UInt64 {
    counter &+= 0x9E37_79B9_7F4A_7C15
    var mixed = counter
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// The seed of part `index` of what `seed` starts: a clone of a job, or one purpose in it.
  package static func derivedSeed(_ seed: UInt64, _ index: UInt64) -> UInt64 {
    var counter = seed
    // Twice, so that neither a neighbouring seed nor a neighbouring index leads to the same.
    var derived = splitMix(&counter) ^ (index &* 0xD1B5_4A32_D192_ED03)
    return splitMix(&derived)
  }

  /// 64 random bits.
  package mutating func next() -> UInt64 {
    let product = state.1 &* 5
    let result = (product << 7 | product >> 57) &* 9
    let shifted = state.1 << 17
    state.2 ^= state.0
    state.3 ^= state.1
    state.1 ^= state.2
    state.0 ^= state.3
    state.2 ^= shifted
    state.3 = state.3 << 45 | state.3 >> 19
    return result
  }

  /// A number from 0 up to, not including, `bound`, each equally likely.
  ///
  /// - Precondition: `bound > 0`.
  /// - Source: D. Lemire, "Fast random integer generation in an interval" (2019).
  package mutating func next(below bound: UInt64) -> UInt64 {
    precondition(bound > 0)
    var product = next().multipliedFullWidth(by: bound)
    if product.low < bound {
      // The first `2^64 mod bound` products are left out, so that each result has as many.
      let surplus = (0 &- bound) % bound
      while product.low < surplus { product = next().multipliedFullWidth(by: bound) }
    }
    return product.high
  }

  /// A number from 0 up to, not including, 1, in steps of 2^-53.
  package mutating func nextFraction() -> Double {
    Double(next() >> 11) * 0x1p-53
  }
}
