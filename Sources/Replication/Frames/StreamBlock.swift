internal import DiskFormat
internal import IO

/// What a node says of one block of its device.
///
/// Unlike an entry of its checksum table, its checksum has no mask: the other node keeps the block
/// in another place.
package enum StreamBlock: Equatable, Sendable {
  case neverWritten
  /// Content with this checksum.
  case written(checksum: UInt32)
  /// Beyond repair: reads fail until it is written.
  case lost

  /// The byte that stands for it.
  var state: BlockEntry.State {
    switch self {
    case .neverWritten: .neverWritten
    case .written: .written
    case .lost: .lost
    }
  }

  /// What the frame says of its content; 0 where there is none.
  var storedChecksum: UInt32 {
    if case .written(let checksum) = self { checksum } else { 0 }
  }

  /// The bytes of a list: states, zeros up to a multiple of 8, checksums, zeros up to a multiple
  /// of 8.
  static func byteCount(_ count: Int) -> Int { paddedToWord(count) + paddedToWord(count * 4) }
}

extension [StreamBlock] {
  /// Those that have a payload.
  var writtenCount: Int { reduce(0) { $0 + ($1.state == .written ? 1 : 0) } }

  /// The first whose payload has not the checksum that is told; one without payload counts as wrong.
  func firstBadIndex(_ payload: IOBuffer) -> Int? {
    var payloadIndex = 0
    for (index, block) in enumerated() {
      guard case .written(let checksum) = block else { continue }
      guard payload.hasBlock(payloadIndex, checksum: checksum) else { return index }
      payloadIndex += 1
    }
    return nil
  }
}

extension IOBuffer {
  /// Writes a list of blocks, which fills the view.
  func store(_ blocks: [StreamBlock]) {
    fill(with: 0)
    let checksums = dropFirst(paddedToWord(blocks.count))
    for (index, block) in blocks.enumerated() {
      storeUInt8(block.state.rawValue, at: index)
      checksums.storeUInt32(block.storedChecksum, at: index * 4)
    }
  }
}

extension BodyReader {
  /// The list of blocks that follows, as many as `field` says.
  mutating func blocks(_ field: Field, countMax: Int) throws(FormatError) -> [StreamBlock] {
    let count = count(field)
    guard count >= 1, count <= countMax else { throw .field(field, UInt64(count)) }
    let states = try take(paddedToWord(count), field)
    let checksums = try take(paddedToWord(count * 4), field)
    try states.dropFirst(count).expectZeros()
    try checksums.dropFirst(count * 4).expectZeros()
    var blocks: [StreamBlock] = []
    blocks.reserveCapacity(count)
    for index in 0..<count {
      let raw = states.loadUInt8(at: index)
      let checksum = checksums.loadUInt32(at: index * 4)
      switch BlockEntry.State(rawValue: raw) {
      case .written: blocks.append(.written(checksum: checksum))
      case .neverWritten where checksum == 0: blocks.append(.neverWritten)
      case .lost where checksum == 0: blocks.append(.lost)
      case .neverWritten, .lost: throw .field(name: "checksums", value: UInt64(checksum))
      case nil: throw .field(name: "states", value: UInt64(raw))
      }
    }
    return blocks
  }
}
