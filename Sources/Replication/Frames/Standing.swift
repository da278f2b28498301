package import DiskFormat
package import IO

/// What the primary holds of its replica, from now on.
package struct Standing: Equatable, Sendable {
  /// The last record when this was said.
  package var number: UInt64
  /// Whether acknowledgements to clients wait for the replica.
  package var counts: Bool
  package var lossPolicy: LossPolicy
  package var mode: ReplicaMode

  package init(number: UInt64, counts: Bool, lossPolicy: LossPolicy, mode: ReplicaMode) {
    self.number = number
    self.counts = counts
    self.lossPolicy = lossPolicy
    self.mode = mode
  }

  /// The parts of the body.
  package enum Field: String, FormatField {
    case number, counts, lossPolicy, mode, reserved

    package var byteRange: Range<Int> {
      switch self {
      case .number: 0..<8
      case .counts: 8..<9
      case .lossPolicy: 9..<10
      case .mode: 10..<11
      case .reserved: 11..<16
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
    bytes.store(counts ? 1 : 0, Field.counts)
    bytes.store(UInt64(lossPolicy.rawValue), Field.lossPolicy)
    bytes.store(UInt64(mode.rawValue), Field.mode)
    return Self.byteCount
  }

  /// Reads the body.
  package static func decode(_ body: IOBuffer) throws(FormatError) -> Standing {
    let reader = try BodyReader<Field>(body, fixed: byteCount)
    try reader.expectEnd()
    try reader.expectZeros(.reserved)
    return Standing(
      number: reader.word(.number), counts: try reader.isSet(.counts),
      lossPolicy: try reader.choice(.lossPolicy, LossPolicy.self),
      mode: try reader.choice(.mode, ReplicaMode.self))
  }
}

/// The replica's answer: its standing is durable there.
package struct StandingNoted: Equatable, Sendable {
  /// That of the `Standing`.
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
  package static func decode(_ body: IOBuffer) throws(FormatError) -> StandingNoted {
    let reader = try BodyReader<Field>(body, fixed: byteCount)
    try reader.expectEnd()
    return StandingNoted(number: reader.word(.number))
  }
}
