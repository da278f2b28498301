package import IO

/// What an undo region says of itself: to which position its blocks lead back.
///
/// Two lie at the beginning of the region, and are written in turn; the valid one with the higher
/// sequence counts.
package struct UndoHeader: Equatable, Sendable {
  package static let version: UInt32 = 1
  package static let byteCount = 4096
  static let magic = Preamble.magic("ASHLARUN")

  package var arrayID: Identifier
  /// Rises with each header.
  package var sequence: UInt64
  /// Drawn anew whenever a copy begins: groups of another one are old.
  package var undoID: Identifier
  /// The node is amid a copy, and can be taken back.
  package var isOpen: Bool
  /// Groups that are known to be durable: one of them that cannot be read is damage, not the end.
  package var durableGroupCount: UInt64
  /// The last position at which the node was consistent.
  package var position: StreamPosition
  /// The history up to there.
  package var timelines: [Timeline]

  package init(
    arrayID: Identifier, sequence: UInt64, undoID: Identifier, isOpen: Bool,
    durableGroupCount: UInt64, position: StreamPosition, timelines: [Timeline]
  ) {
    self.arrayID = arrayID
    self.sequence = sequence
    self.undoID = undoID
    self.isOpen = isOpen
    self.durableGroupCount = durableGroupCount
    self.position = position
    self.timelines = timelines
  }

  /// The parts of a header.
  package enum Field: String, FormatField {
    case magic, version, checksum, arrayID, sequence, undoID, isOpen, timelineCount, reserved
    case durableGroupCount, number, chain, reserved2, timelines, reserved3

    package var byteRange: Range<Int> {
      switch self {
      case .magic: 0..<8
      case .version: 8..<12
      case .checksum: 12..<16
      case .arrayID: 16..<32
      case .sequence: 32..<40
      case .undoID: 40..<56
      case .isOpen: 56..<57
      case .timelineCount: 57..<58
      case .reserved: 58..<64
      case .durableGroupCount: 64..<72
      case .number: 72..<80
      case .chain: 80..<84
      case .reserved2: 84..<96
      case .timelines: 96..<608
      case .reserved3: 608..<4096
      }
    }
  }

  private static let timelineBytes = 32

  /// Writes it with its checksum.
  ///
  /// - Precondition: there are no more timelines than a superblock holds.
  package func encode(into bytes: IOBuffer) {
    let bytes = bytes.prefix(Self.byteCount)
    precondition(timelines.count <= Superblock.timelineCountMax)
    bytes.fill(with: 0)
    bytes.storeUInt64(sequence, at: Field.sequence.offset)
    bytes.storeIdentifier(undoID, at: Field.undoID.offset)
    bytes.storeUInt8(isOpen ? 1 : 0, at: Field.isOpen.offset)
    bytes.storeUInt8(UInt8(truncatingIfNeeded: timelines.count), at: Field.timelineCount.offset)
    bytes.storeUInt64(durableGroupCount, at: Field.durableGroupCount.offset)
    bytes.storeUInt64(position.number, at: Field.number.offset)
    bytes.storeUInt32(position.chain, at: Field.chain.offset)
    for (index, timeline) in timelines.enumerated() {
      let offset = Field.timelines.offset + index * Self.timelineBytes
      bytes.storeIdentifier(timeline.timelineID, at: offset)
      bytes.storeUInt64(timeline.start.number, at: offset + 16)
      bytes.storeUInt32(timeline.start.chain, at: offset + 24)
    }
    Preamble.seal(bytes, magic: Self.magic, version: Self.version, arrayID: arrayID)
  }

  /// Reads what was sealed, for whatever array.
  package static func decode(_ bytes: IOBuffer) throws(FormatError) -> UndoHeader {
    let bytes = try Preamble.whole(bytes, byteCount)
    try Preamble.verifyKind(bytes, magic: magic, version: version)
    try Preamble.verifyChecksum(bytes)
    let isOpen = bytes.loadUInt8(at: Field.isOpen.offset)
    guard isOpen <= 1 else { throw .field(name: "isOpen", value: UInt64(isOpen)) }
    let count = Int(bytes.loadUInt8(at: Field.timelineCount.offset))
    guard count <= Superblock.timelineCountMax else {
      throw .field(name: "timelineCount", value: UInt64(count))
    }
    let timelines = (0..<count).map { index in
      let offset = Field.timelines.offset + index * timelineBytes
      return Timeline(
        timelineID: bytes.loadIdentifier(at: offset),
        start: StreamPosition(
          number: bytes.loadUInt64(at: offset + 16), chain: bytes.loadUInt32(at: offset + 24)))
    }
    let header = UndoHeader(
      arrayID: bytes.loadIdentifier(at: Field.arrayID.offset),
      sequence: bytes.loadUInt64(at: Field.sequence.offset),
      undoID: bytes.loadIdentifier(at: Field.undoID.offset), isOpen: isOpen == 1,
      durableGroupCount: bytes.loadUInt64(at: Field.durableGroupCount.offset),
      position: StreamPosition(
        number: bytes.loadUInt64(at: Field.number.offset),
        chain: bytes.loadUInt32(at: Field.chain.offset)),
      timelines: timelines)
    return header
  }
}

/// Blocks as they were before a copy, a descriptor of 4096 bytes and the contents behind it.
package struct UndoGroup: Equatable, Sendable {
  package static let version: UInt32 = 1
  package static let descriptorBytes = 4096
  package static let entryCountMax = 252
  static let magic = Preamble.magic("ASHLARUG")

  /// A block as it was.
  package struct Entry: Equatable, Sendable {
    package var block: UInt64
    /// Of its content; nil when it was never written, and has none in the group.
    package var checksum: UInt32?

    package init(block: UInt64, checksum: UInt32?) {
      self.block = block
      self.checksum = checksum
    }
  }

  package var arrayID: Identifier
  package var undoID: Identifier
  /// Counts from 0.
  package var number: UInt64
  package var entries: [Entry]

  package init(arrayID: Identifier, undoID: Identifier, number: UInt64, entries: [Entry]) {
    self.arrayID = arrayID
    self.undoID = undoID
    self.number = number
    self.entries = entries
  }

  /// The parts of a descriptor.
  package enum Field: String, FormatField {
    case magic, version, checksum, arrayID, undoID, number, entryCount, reserved, entries

    package var byteRange: Range<Int> {
      switch self {
      case .magic: 0..<8
      case .version: 8..<12
      case .checksum: 12..<16
      case .arrayID: 16..<32
      case .undoID: 32..<48
      case .number: 48..<56
      case .entryCount: 56..<60
      case .reserved: 60..<64
      case .entries: 64..<4096
      }
    }
  }

  private static let entryBytes = 16

  /// How many contents lie behind the descriptor.
  package var contentCount: Int { entries.reduce(0) { $0 + ($1.checksum == nil ? 0 : 1) } }
  /// With descriptor and contents.
  package var byteCount: Int { Self.descriptorBytes + contentCount * 4096 }

  /// Writes the descriptor with its checksum.
  ///
  /// - Precondition: there are at most `entryCountMax` entries.
  package func encode(into bytes: IOBuffer) {
    let bytes = bytes.prefix(Self.descriptorBytes)
    precondition(entries.count <= Self.entryCountMax)
    bytes.fill(with: 0)
    bytes.storeIdentifier(undoID, at: Field.undoID.offset)
    bytes.storeUInt64(number, at: Field.number.offset)
    bytes.storeUInt32(UInt32(entries.count), at: Field.entryCount.offset)
    for (index, entry) in entries.enumerated() {
      let offset = Field.entries.offset + index * Self.entryBytes
      bytes.storeUInt64(entry.block, at: offset)
      bytes.storeUInt32(entry.checksum ?? 0, at: offset + 8)
      bytes.storeUInt8(entry.checksum == nil ? 0 : 1, at: offset + 12)
    }
    Preamble.seal(bytes, magic: Self.magic, version: Self.version, arrayID: arrayID)
  }

  /// Reads the descriptor of a group that belongs to a header, at its place.
  package static func decode(
    _ bytes: IOBuffer, of header: UndoHeader, number: UInt64
  ) throws(FormatError) -> UndoGroup {
    let bytes = try Preamble.whole(bytes, descriptorBytes)
    try Preamble.verifyKind(bytes, magic: magic, version: version)
    try Preamble.verifyChecksum(bytes)
    try Preamble.verifyArray(bytes, header.arrayID)
    let undoID = bytes.loadIdentifier(at: Field.undoID.offset)
    let found = bytes.loadUInt64(at: Field.number.offset)
    guard undoID == header.undoID, found == number else {
      throw .misplaced(
        what: "undo group", expected: "\(number) of \(header.undoID)",
        found: "\(found) of \(undoID)")
    }
    let count = Int(bytes.loadUInt32(at: Field.entryCount.offset))
    guard count <= entryCountMax else {
      throw .field(name: "entryCount", value: UInt64(count))
    }
    var entries: [Entry] = []
    for index in 0..<count {
      let offset = Field.entries.offset + index * entryBytes
      let kind = bytes.loadUInt8(at: offset + 12)
      guard kind <= 1 else { throw .field(name: "entries", value: UInt64(kind)) }
      entries.append(
        Entry(
          block: bytes.loadUInt64(at: offset),
          checksum: kind == 1 ? bytes.loadUInt32(at: offset + 8) : nil))
    }
    return UndoGroup(arrayID: header.arrayID, undoID: undoID, number: number, entries: entries)
  }
}
