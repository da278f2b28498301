/// What happened, as a running digest and, when asked for, as lines to read.
///
/// Two runs are the same run when their digests are equal: every scheduling decision, every disk
/// and network operation with its data's checksum, and the virtual time of each go into it.
package struct Trace: Sendable {
  /// The kinds of things that are folded in.
  enum Kind: UInt64 {
    case job = 1
    case time
    case random
    case crash
    case diskSubmit
    case diskEffect
    case diskComplete
    case mediumChange
    case streamSend
    case streamArrive
    case streamReceive
    case streamState
    case accept
    case connect
  }

  package private(set) var digest: UInt64
  /// How many things were folded in.
  package private(set) var entryCount = 0
  /// The seed first, then one line an entry; only the seed unless lines are recorded.
  package private(set) var lines: [String]
  private let recordsLines: Bool

  init(seed: UInt64, recordsLines: Bool) {
    digest = seed
    self.recordsLines = recordsLines
    lines = ["seed 0x" + String(seed, radix: 16)]
  }

  mutating func note(
    _ kind: Kind, at nowNanoseconds: UInt64, _ first: UInt64, _ second: UInt64, _ third: UInt64,
    _ line: @autoclosure () -> String
  ) {
    entryCount += 1
    fold(kind.rawValue)
    fold(nowNanoseconds)
    fold(first)
    fold(second)
    fold(third)
    if recordsLines { lines.append("\(nowNanoseconds) \(kind) \(line())") }
  }

  /// One round of multiply and xor-shift: every bit of the word reaches the upper half at once,
  /// and the lower half with the next word.
  private mutating func fold(_ word: UInt64) {
    digest = (digest ^ word) &* 0x9E37_79B9_7F4A_7C15
    digest ^= digest >> 29
  }
}
