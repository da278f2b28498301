/// A pseudo-random order of the numbers 0 ..< count, computed and not stored.
///
/// A Feistel network over the smallest power of two that holds `count`; what falls outside is
/// sent through again until it falls inside (cycle walking, fewer than two rounds on average).
/// Each round is invertible whatever its function does, so the whole is a permutation.
///
/// Why not fio's ways: its bitmap takes a bit a block and a search that prefers blocks behind
/// used ones; its LFSR takes no memory either, but its order is the same cycle on every pass, and
/// neighbouring results are related by a shift. Here another key is another order.
///
/// - Source: M. Luby, C. Rackoff, "How to construct pseudorandom permutations from pseudorandom
///   functions" (1988); J. Black, P. Rogaway, "Ciphers with arbitrary finite domains" (2002).
package struct Permutation: Sendable {
  package let count: UInt64
  private let key: UInt64
  private let lowBits: UInt64
  private let lowMask: UInt64
  private let highMask: UInt64

  private static let rounds = 6

  /// The order that `key` decides.
  ///
  /// - Precondition: `count` is from 1 to 2^63.
  package init(count: UInt64, key: UInt64) {
    precondition(count > 0 && count <= 1 << 63)
    self.count = count
    self.key = key
    let bits = UInt64(64 - (count - 1).leadingZeroBitCount)
    lowBits = bits - bits / 2
    lowMask = (1 << lowBits) - 1
    highMask = (1 << (bits / 2)) - 1
  }

  /// The number at `index`.
  ///
  /// - Precondition: `index < count`.
  package subscript(index: UInt64) -> UInt64 {
    precondition(index < count)
    var value = index
    repeat { value = network(value) } while value >= count
    return value
  }

  private func network(_ value: UInt64) -> UInt64 {
    var low = value & lowMask
    var high = value >> lowBits
    var roundKey = key
    for _ in 0..<Self.rounds / 2 {
      high ^= Self.mix(low, roundKey) & highMask
      roundKey &+= 0x9E37_79B9_7F4A_7C15
      low ^= Self.mix(high, roundKey) & lowMask
      roundKey &+= 0x9E37_79B9_7F4A_7C15
    }
    return high << lowBits | low
  }

  /// The finaliser of SplitMix64: every bit of the result depends on every bit of the operands.
  private static func mix(_ half: UInt64, _ key: UInt64) -> UInt64 {
    var mixed = half &+ key
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}
