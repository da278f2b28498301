package import DiskFormat
package import IO

/// The first frame of each side: who it is, what it has, and how it is set up.
package struct Hello: Equatable, Sendable {
  /// What is true of the node.
  package struct Flags: OptionSet, Sendable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) {
      self.rawValue = rawValue
    }

    /// Its data is what some moment of the history left, not amid a copy.
    package static let isConsistent = Flags(rawValue: 1)
    /// It accepts writes.
    package static let isOpen = Flags(rawValue: 2)
    /// It has never held a record.
    package static let isEmpty = Flags(rawValue: 4)
    /// It has given up its role in favour of the other.
    package static let isHandedOver = Flags(rawValue: 8)

    static let known: UInt8 = 15
  }

  /// As many as a superblock keeps.
  package static let addressBytesMax = Peer.addressBytesMax
  /// A device ends below 2^63 bytes.
  package static let blockCountMax = UInt64(Int64.max) / 4096

  /// The array of the sender.
  package var nodeID: Identifier
  /// The array that it believes to talk to; `.none` when it does not know.
  package var peerID: Identifier
  /// The size of its device.
  package var blockCount: UInt64
  package var role: NodeRole
  package var flags: Flags
  package var lossPolicy: LossPolicy
  package var mode: ReplicaMode
  package var peerTimeoutMilliseconds: UInt32
  package var position: StreamPosition
  /// 1 to 16, the oldest first.
  package var timelines: [Timeline]
  /// Where the sender can be reached; empty when it does not say.
  package var address: String

  package init(
    nodeID: Identifier, peerID: Identifier, blockCount: UInt64, role: NodeRole,
    flags: Flags, lossPolicy: LossPolicy, mode: ReplicaMode,
    peerTimeoutMilliseconds: UInt32, position: StreamPosition, timelines: [Timeline],
    address: String
  ) {
    self.nodeID = nodeID
    self.peerID = peerID
    self.blockCount = blockCount
    self.role = role
    self.flags = flags
    self.lossPolicy = lossPolicy
    self.mode = mode
    self.peerTimeoutMilliseconds = peerTimeoutMilliseconds
    self.position = position
    self.timelines = timelines
    self.address = address
  }

  /// The parts that have a fixed place; the timelines follow, then the address.
  package enum Field: String, FormatField {
    case nodeID, peerID, blockCount, positionNumber, positionChain, peerTimeoutMilliseconds
    case role, flags, lossPolicy, mode, timelineCount, addressByteCount, reserved

    package var byteRange: Range<Int> {
      switch self {
      case .nodeID: 0..<16
      case .peerID: 16..<32
      case .blockCount: 32..<40
      case .positionNumber: 40..<48
      case .positionChain: 48..<52
      case .peerTimeoutMilliseconds: 52..<56
      case .role: 56..<57
      case .flags: 57..<58
      case .lossPolicy: 58..<59
      case .mode: 59..<60
      case .timelineCount: 60..<61
      case .addressByteCount: 61..<62
      case .reserved: 62..<64
      }
    }
  }

  package static let fixedByteCount = 64

  /// Writes the body.
  ///
  /// - Precondition: `decode` accepts it, and there is room.
  /// - Returns: its bytes.
  package func encode(into body: IOBuffer) -> Int {
    requireValid { () throws(FormatError) in try validate() }
    let fixed = body.prefix(Self.fixedByteCount)
    fixed.fill(with: 0)
    fixed.storeIdentifier(nodeID, at: Field.nodeID.offset)
    fixed.storeIdentifier(peerID, at: Field.peerID.offset)
    fixed.store(blockCount, Field.blockCount)
    fixed.store(position.number, Field.positionNumber)
    fixed.store(UInt64(position.chain), Field.positionChain)
    fixed.store(UInt64(peerTimeoutMilliseconds), Field.peerTimeoutMilliseconds)
    fixed.store(UInt64(role.rawValue), Field.role)
    fixed.store(UInt64(flags.rawValue), Field.flags)
    fixed.store(UInt64(lossPolicy.rawValue), Field.lossPolicy)
    fixed.store(UInt64(mode.rawValue), Field.mode)
    fixed.store(UInt64(timelines.count), Field.timelineCount)
    fixed.store(UInt64(address.utf8.count), Field.addressByteCount)
    let end = Self.fixedByteCount + timelines.count * StreamTimeline.byteCount
    body.slice(Self.fixedByteCount..<end).store(timelines)
    let words = body.slice(end, paddedToWord(address.utf8.count))
    words.store(text: address)
    return end + words.byteCount
  }

  /// Reads the body.
  package static func decode(_ body: IOBuffer) throws(FormatError) -> Hello {
    var reader = try BodyReader<Field>(body, fixed: fixedByteCount)
    let hello = Hello(
      nodeID: reader.identifier(.nodeID), peerID: reader.identifier(.peerID),
      blockCount: reader.word(.blockCount),
      role: try reader.choice(.role, NodeRole.self),
      flags: Flags(rawValue: body.loadUInt8(at: Field.flags.offset)),
      lossPolicy: try reader.choice(.lossPolicy, LossPolicy.self),
      mode: try reader.choice(.mode, ReplicaMode.self),
      peerTimeoutMilliseconds: reader.halfWord(.peerTimeoutMilliseconds),
      position: StreamPosition(
        number: reader.word(.positionNumber), chain: reader.halfWord(.positionChain)),
      timelines: try reader.timelines(.timelineCount), address: try reader.address())
    try reader.expectZeros(.reserved)
    try reader.expectEnd()
    try hello.validate()
    return hello
  }

  private func validate() throws(FormatError) {
    guard nodeID != .none else { throw .field(Field.nodeID, 0) }
    guard blockCount > 0, blockCount <= Self.blockCountMax else {
      throw .field(Field.blockCount, blockCount)
    }
    guard flags.rawValue & ~Flags.known == 0 else {
      throw .field(Field.flags, UInt64(flags.rawValue))
    }
    guard peerTimeoutMilliseconds > 0 else { throw .field(Field.peerTimeoutMilliseconds, 0) }
    try StreamTimeline.validate(timelines, position)
    guard address.utf8.count <= Self.addressBytesMax else {
      throw .field(Field.addressByteCount, UInt64(address.utf8.count))
    }
    try address.expectNoControls(named: "address")
  }
}

extension BodyReader<Hello.Field> {
  fileprivate mutating func address() throws(FormatError) -> String {
    let byteCount = count(.addressByteCount)
    guard byteCount <= Hello.addressBytesMax else {
      throw .field(Field.addressByteCount, UInt64(byteCount))
    }
    return try text(byteCount, .addressByteCount, named: "address")
  }
}
