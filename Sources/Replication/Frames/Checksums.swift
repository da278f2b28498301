package import DiskFormat
package import IO
package import RAID

/// The question what the other node holds in a run of blocks.
package struct ChecksumsWanted: Equatable, Sendable {
  /// The answer repeats it.
  package var requestNumber: UInt64
  package var firstBlock: UInt64
  /// 1 to `Checksums.blockCountMax`.
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
  package static func decode(_ body: IOBuffer) throws(FormatError) -> ChecksumsWanted {
    let reader = try BodyReader<Field>(body, fixed: byteCount)
    try reader.expectEnd()
    try reader.expectZeros(.reserved)
    let wanted = ChecksumsWanted(
      requestNumber: reader.word(.requestNumber), firstBlock: reader.word(.firstBlock),
      blockCount: reader.count(.blockCount))
    try wanted.validate()
    return wanted
  }

  private func validate() throws(FormatError) {
    guard blockCount >= 1, blockCount <= Checksums.blockCountMax else {
      throw .field(Field.blockCount, UInt64(truncatingIfNeeded: blockCount))
    }
    guard BlockRun(firstBlock: firstBlock, blockCount: UInt64(blockCount)).isPossible else {
      throw .field(Field.firstBlock, firstBlock)
    }
  }
}

/// What a node holds in a run of blocks: a hash of each block that was written.
package struct Checksums: Equatable, Sendable {
  package static let blockCountMax = 16384

  /// That of the question.
  package var requestNumber: UInt64
  package var firstBlock: UInt64
  /// The record as of which this is so.
  package var number: UInt64
  /// 1 to 16384.
  package var blocks: [BlockContent]

  package init(requestNumber: UInt64, firstBlock: UInt64, number: UInt64, blocks: [BlockContent]) {
    self.requestNumber = requestNumber
    self.firstBlock = firstBlock
    self.number = number
    self.blocks = blocks
  }

  /// The parts that have a fixed place; the list of blocks follows.
  package enum Field: String, FormatField {
    case requestNumber, firstBlock, number, blockCount, reserved

    package var byteRange: Range<Int> {
      switch self {
      case .requestNumber: 0..<8
      case .firstBlock: 8..<16
      case .number: 16..<24
      case .blockCount: 24..<28
      case .reserved: 28..<32
      }
    }
  }

  package static let fixedByteCount = 32

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
    fixed.store(number, Field.number)
    fixed.store(UInt64(blocks.count), Field.blockCount)
    let list = body.slice(Self.fixedByteCount, BlockContent.byteCount(blocks.count))
    list.store(blocks)
    return Self.fixedByteCount + list.byteCount
  }

  /// Reads the body.
  package static func decode(_ body: IOBuffer) throws(FormatError) -> Checksums {
    var reader = try BodyReader<Field>(body, fixed: fixedByteCount)
    try reader.expectZeros(.reserved)
    let checksums = Checksums(
      requestNumber: reader.word(.requestNumber), firstBlock: reader.word(.firstBlock),
      number: reader.word(.number),
      blocks: try reader.contents(.blockCount, countMax: blockCountMax))
    try reader.expectEnd()
    try checksums.validate()
    return checksums
  }

  private func validate() throws(FormatError) {
    guard BlockRun(firstBlock: firstBlock, blockCount: UInt64(blocks.count)).isPossible else {
      throw .field(Field.firstBlock, firstBlock)
    }
  }
}

extension BlockContent {
  /// The byte that stands for it.
  fileprivate var state: BlockEntry.State {
    switch self {
    case .neverWritten: .neverWritten
    case .written: .written
    case .lost: .lost
    }
  }

  fileprivate var storedHash: UInt64 {
    if case .written(let hash) = self { hash } else { 0 }
  }

  /// The bytes of a list: states, zeros up to a multiple of 8, hashes.
  fileprivate static func byteCount(_ count: Int) -> Int { paddedToWord(count) + count * 8 }
}

extension IOBuffer {
  /// Writes a list of contents, which fills the view.
  fileprivate func store(_ contents: [BlockContent]) {
    fill(with: 0)
    let hashes = dropFirst(paddedToWord(contents.count))
    for (index, content) in contents.enumerated() {
      storeUInt8(content.state.rawValue, at: index)
      hashes.storeUInt64(content.storedHash, at: index * 8)
    }
  }
}

extension BodyReader {
  /// The list of contents that follows, as many as `field` says.
  fileprivate mutating func contents(
    _ field: Field, countMax: Int
  ) throws(FormatError) -> [BlockContent] {
    let count = count(field)
    guard count >= 1, count <= countMax else { throw .field(field, UInt64(count)) }
    let states = try take(paddedToWord(count), field)
    let hashes = try take(count * 8, field)
    try states.dropFirst(count).expectZeros()
    var contents: [BlockContent] = []
    contents.reserveCapacity(count)
    for index in 0..<count {
      let raw = states.loadUInt8(at: index)
      let hash = hashes.loadUInt64(at: index * 8)
      switch BlockEntry.State(rawValue: raw) {
      case .written: contents.append(.written(hash: hash))
      case .neverWritten where hash == 0: contents.append(.neverWritten)
      case .lost where hash == 0: contents.append(.lost)
      case .neverWritten, .lost: throw .field(name: "hashes", value: hash)
      case nil: throw .field(name: "states", value: UInt64(raw))
      }
    }
    return contents
  }
}
