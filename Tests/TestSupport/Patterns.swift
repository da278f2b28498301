import Simulator

/// Bytes that tell what wrote them and where they belong.
///
/// Two patterns, or one pattern at two places, differ almost everywhere.
package struct Patterns: Sendable {
  private let table: [UInt8]

  /// For devices of up to `byteCount` bytes.
  package init(byteCount: Int) {
    var source = RandomSource(seed: 0x5eed)
    let wordCount = (byteCount + Self.strideBytes * 256) / 8 + 1
    var bytes: [UInt8] = []
    bytes.reserveCapacity(wordCount * 8)
    for _ in 0..<wordCount {
      var word = source.next()
      for _ in 0..<8 {
        bytes.append(UInt8(truncatingIfNeeded: word))
        word >>= 8
      }
    }
    table = bytes
  }

  /// For devices of up to 64 KiB; made once.
  package static let small = Patterns(byteCount: 64 << 10)

  private static let strideBytes = 1009

  /// The bytes that writer `number` puts at `offset`.
  package func bytes(_ number: Int, at offset: UInt64, _ byteCount: Int) -> [UInt8] {
    let first = Int(offset) + number % 256 * Self.strideBytes
    return Array(table[first..<first + byteCount])
  }
}
