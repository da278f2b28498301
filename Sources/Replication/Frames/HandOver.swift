package import DiskFormat
package import IO

/// The primary has given up its role: everything up to the position is durable on both nodes.
package struct HandOver: Equatable, Sendable {
  package var position: StreamPosition

  package init(position: StreamPosition) {
    self.position = position
  }

  /// The parts of the body.
  package enum Field: String, FormatField {
    case number, chain, reserved

    package var byteRange: Range<Int> {
      switch self {
      case .number: 0..<8
      case .chain: 8..<12
      case .reserved: 12..<16
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
    bytes.store(position.number, Field.number)
    bytes.store(UInt64(position.chain), Field.chain)
    return Self.byteCount
  }

  /// Reads the body.
  package static func decode(_ body: IOBuffer) throws(FormatError) -> HandOver {
    let reader = try BodyReader<Field>(body, fixed: byteCount)
    try reader.expectEnd()
    try reader.expectZeros(.reserved)
    return HandOver(
      position: StreamPosition(number: reader.word(.number), chain: reader.halfWord(.chain)))
  }
}
