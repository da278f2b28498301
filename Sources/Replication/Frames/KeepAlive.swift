package import DiskFormat
package import IO

/// A sign of life, with how far the primary is.
package struct KeepAlive: Equatable, Sendable {
  /// The last record that was sent.
  package var number: UInt64
  /// The last record that was acknowledged to clients. In mode A it may lie beyond what was sent.
  package var published: UInt64

  package init(number: UInt64, published: UInt64) {
    self.number = number
    self.published = published
  }

  /// The parts of the body.
  package enum Field: String, FormatField {
    case number, published

    package var byteRange: Range<Int> {
      switch self {
      case .number: 0..<8
      case .published: 8..<16
      }
    }
  }

  package static let byteCount = 16

  /// Writes the body.
  ///
  /// - Returns: its bytes.
  package func encode(into body: IOBuffer) -> Int {
    body.store(number, Field.number)
    body.store(published, Field.published)
    return Self.byteCount
  }

  /// Reads the body.
  package static func decode(_ body: IOBuffer) throws(FormatError) -> KeepAlive {
    let reader = try BodyReader<Field>(body, fixed: byteCount)
    try reader.expectEnd()
    return KeepAlive(number: reader.word(.number), published: reader.word(.published))
  }
}
