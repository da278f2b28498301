internal import DiskFormat
internal import IO

/// How a timeline lies in a frame's body.
package enum StreamTimeline {
  /// The parts of a timeline in a frame's body.
  package enum Field: String, FormatField {
    case timelineID, startNumber, startChain, reserved

    package var byteRange: Range<Int> {
      switch self {
      case .timelineID: 0..<16
      case .startNumber: 16..<24
      case .startChain: 24..<28
      case .reserved: 28..<32
      }
    }
  }

  package static let byteCount = 32
  /// The most timelines that a frame lists: as many as a superblock.
  package static let countMax = 16

  /// Whether some node can have this history.
  static func validate(
    _ timelines: [Timeline], _ position: StreamPosition
  ) throws(FormatError) {
    let count = UInt64(timelines.count)
    guard count >= 1, count <= countMax else { throw .field(name: "timelineCount", value: count) }
    guard TimelineHistory(timelines: timelines, position: position) != nil else {
      throw .field(name: "timelines", value: position.number)
    }
  }
}

extension BodyReader {
  /// The timelines that follow, as many as `field` says.
  mutating func timelines(_ field: Field) throws(FormatError) -> [Timeline] {
    let count = count(field)
    guard count >= 1, count <= StreamTimeline.countMax else { throw .field(field, UInt64(count)) }
    var timelines: [Timeline] = []
    timelines.reserveCapacity(count)
    for _ in 0..<count {
      let bytes = try take(StreamTimeline.byteCount, field)
      try bytes.expectZeros(StreamTimeline.Field.reserved)
      timelines.append(
        Timeline(
          timelineID: bytes.loadIdentifier(at: StreamTimeline.Field.timelineID.offset),
          start: StreamPosition(
            number: bytes.load(StreamTimeline.Field.startNumber),
            chain: bytes.loadUInt32(at: StreamTimeline.Field.startChain.offset))))
    }
    return timelines
  }
}

extension IOBuffer {
  /// Writes timelines one behind the other.
  func store(_ timelines: [Timeline]) {
    for (index, timeline) in timelines.enumerated() {
      let bytes = slice(index * StreamTimeline.byteCount, StreamTimeline.byteCount)
      bytes.fill(with: 0)
      bytes.storeIdentifier(timeline.timelineID, at: StreamTimeline.Field.timelineID.offset)
      bytes.store(timeline.start.number, StreamTimeline.Field.startNumber)
      bytes.store(UInt64(timeline.start.chain), StreamTimeline.Field.startChain)
    }
  }
}
