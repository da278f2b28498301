package import IO

/// The head of a file with what only one node has, written before it gives that up
/// (docs/formats/diverged-file.md).
///
/// A page of 4096 bytes. Behind it come the ranges, a byte for each block, and the blocks.
package struct DivergedFileHead: Equatable, Sendable {
  package static let version: UInt32 = 1
  package static let byteCount = 4096
  /// More ranges than a log has room for.
  package static let rangeCountMax: UInt64 = 1 << 24
  package static let blockCountMax: UInt64 = 1 << 40

  /// The node that had it.
  package var arrayID: Identifier
  /// Its newest timeline.
  package var timelineID: Identifier
  /// The last record in common with the other history.
  package var forkNumber: UInt64
  /// Where its own records ended.
  package var end: StreamPosition
  package var recordCount: UInt64
  package var rangeCount: UInt64
  package var blockCount: UInt64
  package var createdSeconds: UInt64
  /// CRC32C of all that follows the head.
  package var contentChecksum: UInt32

  package init(
    arrayID: Identifier, timelineID: Identifier, forkNumber: UInt64, end: StreamPosition,
    recordCount: UInt64, rangeCount: UInt64, blockCount: UInt64, createdSeconds: UInt64,
    contentChecksum: UInt32
  ) {
    self.arrayID = arrayID
    self.timelineID = timelineID
    self.forkNumber = forkNumber
    self.end = end
    self.recordCount = recordCount
    self.rangeCount = rangeCount
    self.blockCount = blockCount
    self.createdSeconds = createdSeconds
    self.contentChecksum = contentChecksum
  }

  /// The parts of the head.
  package enum Field: String, FormatField {
    case magic, version, checksum, arrayID, timelineID, forkNumber, endNumber, recordCount
    case rangeCount, blockCount, createdSeconds, endChain, contentChecksum, reserved

    package var byteRange: Range<Int> {
      switch self {
      case .magic: 0..<8
      case .version: 8..<12
      case .checksum: 12..<16
      case .arrayID: 16..<32
      case .timelineID: 32..<48
      case .forkNumber: 48..<56
      case .endNumber: 56..<64
      case .recordCount: 64..<72
      case .rangeCount: 72..<80
      case .blockCount: 80..<88
      case .createdSeconds: 88..<96
      case .endChain: 96..<100
      case .contentChecksum: 100..<104
      case .reserved: 104..<4096
      }
    }
  }

  private static let magic = Preamble.magic("ASHLARDV")

  /// The bytes of the ranges, 16 each, with zeros up to a multiple of 4096.
  package var rangesByteCount: UInt64 { (rangeCount * 16 + 4095) / 4096 * 4096 }
  /// The bytes of the states, one each, with zeros up to a multiple of 4096.
  package var statesByteCount: UInt64 { (blockCount + 4095) / 4096 * 4096 }
  /// The whole file.
  package var fileByteCount: UInt64 {
    UInt64(Self.byteCount) + rangesByteCount + statesByteCount + blockCount * 4096
  }

  /// Writes the head.
  ///
  /// - Precondition: `page` has 4096 bytes.
  package func encode(into page: IOBuffer) {
    let page = page.prefix(Self.byteCount)
    page.fill(with: 0)
    page.storeIdentifier(timelineID, at: Field.timelineID.offset)
    page.storeUInt64(forkNumber, at: Field.forkNumber.offset)
    page.storeUInt64(end.number, at: Field.endNumber.offset)
    page.storeUInt64(recordCount, at: Field.recordCount.offset)
    page.storeUInt64(rangeCount, at: Field.rangeCount.offset)
    page.storeUInt64(blockCount, at: Field.blockCount.offset)
    page.storeUInt64(createdSeconds, at: Field.createdSeconds.offset)
    page.storeUInt32(end.chain, at: Field.endChain.offset)
    page.storeUInt32(contentChecksum, at: Field.contentChecksum.offset)
    Preamble.seal(page, magic: Self.magic, version: Self.version, arrayID: arrayID)
  }

  /// Reads a head; whose it is, is for the caller to ask.
  package static func decode(_ page: IOBuffer) throws(FormatError) -> DivergedFileHead {
    let page = try Preamble.whole(page, byteCount)
    try Preamble.verifyKind(page, magic: magic, version: version)
    try Preamble.verifyChecksum(page)
    let reserved = page.slice(Field.reserved.byteRange)
    guard reserved.isZero else { throw .field(name: "reserved", value: 1) }
    let head = DivergedFileHead(
      arrayID: page.loadIdentifier(at: Field.arrayID.offset),
      timelineID: page.loadIdentifier(at: Field.timelineID.offset),
      forkNumber: page.loadUInt64(at: Field.forkNumber.offset),
      end: StreamPosition(
        number: page.loadUInt64(at: Field.endNumber.offset),
        chain: page.loadUInt32(at: Field.endChain.offset)),
      recordCount: page.loadUInt64(at: Field.recordCount.offset),
      rangeCount: page.loadUInt64(at: Field.rangeCount.offset),
      blockCount: page.loadUInt64(at: Field.blockCount.offset),
      createdSeconds: page.loadUInt64(at: Field.createdSeconds.offset),
      contentChecksum: page.loadUInt32(at: Field.contentChecksum.offset))
    guard head.rangeCount <= rangeCountMax else {
      throw .field(name: Field.rangeCount.rawValue, value: head.rangeCount)
    }
    guard head.blockCount <= blockCountMax, head.blockCount >= head.rangeCount else {
      throw .field(name: Field.blockCount.rawValue, value: head.blockCount)
    }
    guard head.forkNumber <= head.end.number else {
      throw .field(name: Field.forkNumber.rawValue, value: head.forkNumber)
    }
    return head
  }
}
