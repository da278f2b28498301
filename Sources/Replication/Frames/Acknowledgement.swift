package import DiskFormat
package import IO

/// How far a replica is: each number says "everything up to there".
package struct Acknowledgement: Equatable, Sendable {
  /// Whole, checksums right, in memory.
  package var received: UInt64
  /// In the log.
  package var logged: UInt64
  /// Behind an fdatasync of the log.
  package var durable: UInt64
  /// The last frame of copied blocks that is applied durably; 0 before the first.
  package var copied: UInt64

  package init(received: UInt64, logged: UInt64, durable: UInt64, copied: UInt64) {
    self.received = received
    self.logged = logged
    self.durable = durable
    self.copied = copied
  }

  /// The parts of the body.
  package enum Field: String, FormatField {
    case received, logged, durable, copied

    package var byteRange: Range<Int> {
      switch self {
      case .received: 0..<8
      case .logged: 8..<16
      case .durable: 16..<24
      case .copied: 24..<32
      }
    }
  }

  package static let byteCount = 32

  /// Writes the body.
  ///
  /// - Precondition: `decode` accepts it.
  /// - Returns: its bytes.
  package func encode(into body: IOBuffer) -> Int {
    requireValid { () throws(FormatError) in try validate() }
    body.store(received, Field.received)
    body.store(logged, Field.logged)
    body.store(durable, Field.durable)
    body.store(copied, Field.copied)
    return Self.byteCount
  }

  /// Reads the body.
  package static func decode(_ body: IOBuffer) throws(FormatError) -> Acknowledgement {
    let reader = try BodyReader<Field>(body, fixed: byteCount)
    try reader.expectEnd()
    let acknowledgement = Acknowledgement(
      received: reader.word(.received), logged: reader.word(.logged),
      durable: reader.word(.durable), copied: reader.word(.copied))
    try acknowledgement.validate()
    return acknowledgement
  }

  private func validate() throws(FormatError) {
    guard logged <= received else { throw .field(Field.logged, logged) }
    guard durable <= logged else { throw .field(Field.durable, durable) }
  }
}
