package import DiskFormat
package import IO

/// The chain at the number that both hellos have in common, as the sender knows it.
package struct ChainAnswer: Equatable, Sendable {
  package var number: UInt64
  /// Nil when the sender's log and timelines do not reach back so far.
  package var chain: UInt32?

  package init(number: UInt64, chain: UInt32?) {
    self.number = number
    self.chain = chain
  }

  /// The parts of the body.
  package enum Field: String, FormatField {
    case number, chain, isKnown, reserved

    package var byteRange: Range<Int> {
      switch self {
      case .number: 0..<8
      case .chain: 8..<12
      case .isKnown: 12..<13
      case .reserved: 13..<16
      }
    }
  }

  package static let byteCount = 16

  /// Writes the body.
  ///
  /// - Returns: its bytes.
  package func encode(into body: IOBuffer) -> Int {
    let bytes = body.prefix(Self.byteCount)
    bytes.fill(with: 0)
    bytes.store(number, Field.number)
    bytes.store(UInt64(chain ?? 0), Field.chain)
    bytes.store(chain == nil ? 0 : 1, Field.isKnown)
    return Self.byteCount
  }

  /// Reads the body.
  package static func decode(_ body: IOBuffer) throws(FormatError) -> ChainAnswer {
    let reader = try BodyReader<Field>(body, fixed: byteCount)
    try reader.expectEnd()
    try reader.expectZeros(.reserved)
    let chain = reader.halfWord(.chain)
    guard try reader.isSet(.isKnown) else {
      guard chain == 0 else { throw .field(Field.chain, UInt64(chain)) }
      return ChainAnswer(number: reader.word(.number), chain: nil)
    }
    return ChainAnswer(number: reader.word(.number), chain: chain)
  }
}
