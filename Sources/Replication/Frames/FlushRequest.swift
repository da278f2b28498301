package import DiskFormat
package import IO

/// The wish that everything up to a record becomes durable, and is acknowledged as that.
package struct FlushRequest: Equatable, Sendable {
  package var number: UInt64

  package init(number: UInt64) {
    self.number = number
  }

  /// The parts of the body.
  package enum Field: String, FormatField {
    case number

    package var byteRange: Range<Int> { 0..<8 }
  }

  package static let byteCount = 8

  /// Writes the body.
  ///
  /// - Returns: its bytes.
  package func encode(into body: IOBuffer) -> Int {
    body.store(number, Field.number)
    return Self.byteCount
  }

  /// Reads the body.
  package static func decode(_ body: IOBuffer) throws(FormatError) -> FlushRequest {
    let reader = try BodyReader<Field>(body, fixed: byteCount)
    try reader.expectEnd()
    return FlushRequest(number: reader.word(.number))
  }
}
