package import DiskFormat
package import IO

/// The question for the content of a run of blocks, as the other node has it.
package struct BlocksWanted: Equatable, Sendable {
  /// The answer repeats it; not 0.
  package var requestNumber: UInt64
  package var firstBlock: UInt64
  /// 1 to `Blocks.blockCountMax`.
  package var blockCount: Int

  package init(requestNumber: UInt64, firstBlock: UInt64, blockCount: Int) {
    self.requestNumber = requestNumber
    self.firstBlock = firstBlock
    self.blockCount = blockCount
  }

  /// The parts of the body.
  package enum Field: String, FormatField {
    case requestNumber, firstBlock, blockCount, reserved

    package var byteRange: Range<Int> {
      switch self {
      case .requestNumber: 0..<8
      case .firstBlock: 8..<16
      case .blockCount: 16..<20
      case .reserved: 20..<24
      }
    }
  }

  package static let byteCount = 24

  /// Writes the body.
  ///
  /// - Precondition: `decode` accepts it.
  /// - Returns: its bytes.
  package func encode(into body: IOBuffer) -> Int {
    requireValid { () throws(FormatError) in try validate() }
    let bytes = body.prefix(Self.byteCount)
    bytes.fill(with: 0)
    bytes.store(requestNumber, Field.requestNumber)
    bytes.store(firstBlock, Field.firstBlock)
    bytes.store(UInt64(truncatingIfNeeded: blockCount), Field.blockCount)
    return Self.byteCount
  }

  /// Reads the body.
  package static func decode(_ body: IOBuffer) throws(FormatError) -> BlocksWanted {
    let reader = try BodyReader<Field>(body, fixed: byteCount)
    try reader.expectEnd()
    try reader.expectZeros(.reserved)
    let wanted = BlocksWanted(
      requestNumber: reader.word(.requestNumber), firstBlock: reader.word(.firstBlock),
      blockCount: reader.count(.blockCount))
    try wanted.validate()
    return wanted
  }

  private func validate() throws(FormatError) {
    guard requestNumber > 0 else { throw .field(Field.requestNumber, requestNumber) }
    guard blockCount >= 1, blockCount <= Blocks.blockCountMax else {
      throw .field(Field.blockCount, UInt64(truncatingIfNeeded: blockCount))
    }
    guard BlockRun(firstBlock: firstBlock, blockCount: UInt64(blockCount)).isPossible else {
      throw .field(Field.firstBlock, firstBlock)
    }
  }
}

/// Blocks with their content, for the node that cannot read its own.
///
/// The payload has the written ones, in order.
package struct Blocks: Equatable, Sendable {
  package static let blockCountMax = 256

  /// That of the question; 0 where nobody asked: the primary mends its replica.
  package var requestNumber: UInt64
  package var firstBlock: UInt64
  /// 1 to 256.
  package var blocks: [StreamBlock]

  package init(requestNumber: UInt64, firstBlock: UInt64, blocks: [StreamBlock]) {
    self.requestNumber = requestNumber
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
    case requestNumber, firstBlock, blockCount, reserved

    package var byteRange: Range<Int> {
      switch self {
      case .requestNumber: 0..<8
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
    fixed.store(requestNumber, Field.requestNumber)
    fixed.store(firstBlock, Field.firstBlock)
    fixed.store(UInt64(blocks.count), Field.blockCount)
    let list = body.slice(Self.fixedByteCount, StreamBlock.byteCount(blocks.count))
    list.store(blocks)
    return Self.fixedByteCount + list.byteCount
  }

  /// Reads the body of a frame whose head says so much payload.
  package static func decode(
    _ body: IOBuffer, payloadBlockCount: Int
  ) throws(FormatError) -> Blocks {
    var reader = try BodyReader<Field>(body, fixed: fixedByteCount)
    try reader.expectZeros(.reserved)
    let blocks = Blocks(
      requestNumber: reader.word(.requestNumber), firstBlock: reader.word(.firstBlock),
      blocks: try reader.blocks(.blockCount, countMax: blockCountMax))
    try reader.expectEnd()
    try blocks.validate()
    guard blocks.payloadBlockCount == payloadBlockCount else {
      throw .field(name: "payloadBlockCount", value: UInt64(truncatingIfNeeded: payloadBlockCount))
    }
    return blocks
  }

  private func validate() throws(FormatError) {
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
