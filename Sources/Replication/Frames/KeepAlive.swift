package import DiskFormat
package import IO

/// A sign of life, with how far the primary is.
package struct KeepAlive: Equatable, Sendable {
  /// The last record that was sent.
  package var number: UInt64
  /// Everything up to here is durable at the sender: its peer need not keep it for him.
  package var durable: UInt64

  package init(number: UInt64, durable: UInt64) {
    self.number = number
    self.durable = durable
  }

  /// The parts of the body.
  package enum Field: String, FormatField {
    case number, durable

    package var byteRange: Range<Int> {
      switch self {
      case .number: 0..<8
      case .durable: 8..<16
      }
    }
  }

  package static let byteCount = 16

  /// Writes the body.
  ///
  /// - Returns: its bytes.
  package func encode(into body: IOBuffer) -> Int {
    body.store(number, Field.number)
    body.store(durable, Field.durable)
    return Self.byteCount
  }

  /// Reads the body.
  package static func decode(_ body: IOBuffer) throws(FormatError) -> KeepAlive {
    let reader = try BodyReader<Field>(body, fixed: byteCount)
    try reader.expectEnd()
    return KeepAlive(number: reader.word(.number), durable: reader.word(.durable))
  }
}
