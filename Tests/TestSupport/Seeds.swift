import Glibc

/// The seeds of a randomised test.
///
/// `ASHLAR_SEED=0x2a` runs that one alone, `ASHLAR_SEEDS=10000` so many instead of the usual
/// number; with `ASHLAR_FIRST_SEED` they start there.
package enum Seeds {
  package static func of(_ usualCount: UInt64) -> Range<UInt64> {
    if let seed = number("ASHLAR_SEED") { return seed..<seed &+ 1 }
    let first = number("ASHLAR_FIRST_SEED") ?? 0
    return first..<first + (number("ASHLAR_SEEDS") ?? usualCount)
  }

  /// How to see a failure again.
  package static func replay(_ seed: UInt64, _ test: StaticString) -> String {
    "seed 0x\(String(seed, radix: 16)); replay: ASHLAR_SEED=0x\(String(seed, radix: 16)) "
      + "swift test --disable-xctest --filter \(test)"
  }

  private static func number(_ name: String) -> UInt64? {
    // Safe: the text is copied at once, and no test changes the environment.
    guard let text = unsafe getenv(name).map({ unsafe String(cString: $0) }) else { return nil }
    return text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
  }
}
