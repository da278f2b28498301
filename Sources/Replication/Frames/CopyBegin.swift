package import DiskFormat
package import IO

/// Blocks beyond the log follow: until `CopyEnd` the replica is not consistent.
package struct CopyBegin: Equatable, Sendable {
  /// The position that the copy is based on.
  package var position: StreamPosition
  /// 1 to 16, the oldest first.
  package var timelines: [Timeline]
  /// Pages of the table to look at, for progress.
  package var pageCount: UInt64

  package init(position: StreamPosition, timelines: [Timeline], pageCount: UInt64) {
    self.position = position
    self.timelines = timelines
    self.pageCount = pageCount
  }

  /// The parts that have a fixed place; the timelines follow.
  package enum Field: String, FormatField {
    case positionNumber, pageCount, positionChain, timelineCount, reserved

    package var byteRange: Range<Int> {
      switch self {
      case .positionNumber: 0..<8
      case .pageCount: 8..<16
      case .positionChain: 16..<20
      case .timelineCount: 20..<21
      case .reserved: 21..<24
      }
    }
  }

  package static let fixedByteCount = 24

  /// Writes the body.
  ///
  /// - Precondition: `decode` accepts it, and there is room.
  /// - Returns: its bytes.
  package func encode(into body: IOBuffer) -> Int {
    requireValid { () throws(FormatError) in try StreamTimeline.validate(timelines, position) }
    let fixed = body.prefix(Self.fixedByteCount)
    fixed.fill(with: 0)
    fixed.store(position.number, Field.positionNumber)
    fixed.store(pageCount, Field.pageCount)
    fixed.store(UInt64(position.chain), Field.positionChain)
    fixed.store(UInt64(timelines.count), Field.timelineCount)
    let list = body.slice(Self.fixedByteCount, timelines.count * StreamTimeline.byteCount)
    list.store(timelines)
    return Self.fixedByteCount + list.byteCount
  }

  /// Reads the body.
  package static func decode(_ body: IOBuffer) throws(FormatError) -> CopyBegin {
    var reader = try BodyReader<Field>(body, fixed: fixedByteCount)
    try reader.expectZeros(.reserved)
    let begin = CopyBegin(
      position: StreamPosition(
        number: reader.word(.positionNumber), chain: reader.halfWord(.positionChain)),
      timelines: try reader.timelines(.timelineCount), pageCount: reader.word(.pageCount))
    try reader.expectEnd()
    try StreamTimeline.validate(begin.timelines, begin.position)
    return begin
  }
}

/// The copy is complete: with the records up to here, the replica is consistent.
package struct CopyEnd: Equatable, Sendable {
  /// That of the last `CopyBlocks`; 0 when there was none.
  package var copyNumber: UInt64
  /// The last record before this in the stream.
  package var number: UInt64

  package init(copyNumber: UInt64, number: UInt64) {
    self.copyNumber = copyNumber
    self.number = number
  }

  /// The parts of the body.
  package enum Field: String, FormatField {
    case copyNumber, number

    package var byteRange: Range<Int> {
      switch self {
      case .copyNumber: 0..<8
      case .number: 8..<16
      }
    }
  }

  package static let byteCount = 16

  /// Writes the body.
  ///
  /// - Returns: its bytes.
  package func encode(into body: IOBuffer) -> Int {
    body.store(copyNumber, Field.copyNumber)
    body.store(number, Field.number)
    return Self.byteCount
  }

  /// Reads the body.
  package static func decode(_ body: IOBuffer) throws(FormatError) -> CopyEnd {
    let reader = try BodyReader<Field>(body, fixed: byteCount)
    try reader.expectEnd()
    return CopyEnd(copyNumber: reader.word(.copyNumber), number: reader.word(.number))
  }
}
