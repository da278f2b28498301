package import DiskFormat
package import IO

/// Blocks as they are at the primary, sent between records: what lies beyond its log.
///
/// The payload has the written ones, in order.
package struct CopyBlocks: Equatable, Sendable {
  package static let blockCountMax = 256

  /// Counts these frames of one copy, from 1 on.
  package var copyNumber: UInt64
  package var firstBlock: UInt64
  /// 1 to 256.
  package var blocks: [StreamBlock]

  package init(copyNumber: UInt64, firstBlock: UInt64, blocks: [StreamBlock]) {
    self.copyNumber = copyNumber
    self.firstBlock = firstBlock
    self.blocks = blocks
  }

  package var run: BlockRun {
    BlockRun(firstBlock: firstBlock, blockCount: UInt64(blocks.count))
  }

  /// The written ones.
  package var payloadBlockCount: Int { blocks.writtenCount }

  /// The parts that have a fixed place; the list of blocks follows.
  package enum Field: String, FormatField {
    case copyNumber, firstBlock, blockCount, reserved

    package var byteRange: Range<Int> {
      switch self {
      case .copyNumber: 0..<8
      case .firstBlock: 8..<16
      case .blockCount: 16..<20
      case .reserved: 20..<24
      }
    }
  }

  package static let fixedByteCount = 24

  /// Writes the body.
  ///
  /// - Precondition: `decode` accepts it, and there is room.
  /// - Returns: its bytes.
  package func encode(into body: IOBuffer) -> Int {
    requireValid { () throws(FormatError) in try validate() }
    precondition(blocks.count <= Self.blockCountMax)
    let fixed = body.prefix(Self.fixedByteCount)
    fixed.fill(with: 0)
    fixed.store(copyNumber, Field.copyNumber)
    fixed.store(firstBlock, Field.firstBlock)
    fixed.store(UInt64(blocks.count), Field.blockCount)
    let list = body.slice(Self.fixedByteCount, StreamBlock.byteCount(blocks.count))
    list.store(blocks)
    return Self.fixedByteCount + list.byteCount
  }

  /// Reads the body of a frame whose head says so much payload.
  package static func decode(
    _ body: IOBuffer, payloadBlockCount: Int
  ) throws(FormatError) -> CopyBlocks {
    var reader = try BodyReader<Field>(body, fixed: fixedByteCount)
    try reader.expectZeros(.reserved)
    let copy = CopyBlocks(
      copyNumber: reader.word(.copyNumber), firstBlock: reader.word(.firstBlock),
      blocks: try reader.blocks(.blockCount, countMax: blockCountMax))
    try reader.expectEnd()
    try copy.validate()
    guard copy.payloadBlockCount == payloadBlockCount else {
      throw .field(name: "payloadBlockCount", value: UInt64(truncatingIfNeeded: payloadBlockCount))
    }
    return copy
  }

  private func validate() throws(FormatError) {
    guard copyNumber > 0 else { throw .field(Field.copyNumber, copyNumber) }
    guard run.isPossible else { throw .field(Field.firstBlock, firstBlock) }
  }

  /// The first block of the device whose payload has not the checksum that is told; nil when all
  /// have.
  ///
  /// One without payload counts as wrong.
  package func firstBadBlock(_ payload: IOBuffer) -> UInt64? {
    blocks.firstBadIndex(payload).map { firstBlock &+ UInt64($0) }
  }
}
