import IO

extension Peer {
  /// The parts of a peer in a superblock.
  package enum Field: String, FormatField {
    case nodeID, mode, counts, addressByteCount, reserved, chain, number, sinceSeconds, address
    case reserved2

    package var byteRange: Range<Int> {
      switch self {
      case .nodeID: 0..<16
      case .mode: 16..<17
      case .counts: 17..<18
      case .addressByteCount: 18..<19
      case .reserved: 19..<20
      case .chain: 20..<24
      case .number: 24..<32
      case .sinceSeconds: 32..<40
      case .address: 40..<188
      case .reserved2: 188..<192
      }
    }
  }

  static let byteCount = 192

  func encode(into bytes: IOBuffer) {
    bytes.storeIdentifier(nodeID, at: Field.nodeID.offset)
    bytes.storeUInt8(mode.rawValue, at: Field.mode.offset)
    bytes.storeUInt8(counts ? 1 : 0, at: Field.counts.offset)
    bytes.storeUInt8(
      UInt8(truncatingIfNeeded: address.utf8.count), at: Field.addressByteCount.offset)
    bytes.storeUInt32(position.chain, at: Field.chain.offset)
    bytes.storeUInt64(position.number, at: Field.number.offset)
    bytes.storeUInt64(sinceSeconds, at: Field.sinceSeconds.offset)
    for (index, byte) in address.utf8.enumerated() {
      bytes.storeUInt8(byte, at: Field.address.offset + index)
    }
  }

  static func decode(_ bytes: IOBuffer) throws(FormatError) -> Peer {
    let rawMode = bytes.loadUInt8(at: Field.mode.offset)
    guard let mode = ReplicaMode(rawValue: rawMode) else {
      throw .field(name: "mode", value: UInt64(rawMode))
    }
    let counts = bytes.loadUInt8(at: Field.counts.offset)
    guard counts <= 1 else { throw .field(name: "counts", value: UInt64(counts)) }
    let count = Int(bytes.loadUInt8(at: Field.addressByteCount.offset))
    guard count <= addressBytesMax else {
      throw .field(name: "addressByteCount", value: UInt64(count))
    }
    let letters = (0..<count).map { bytes.loadUInt8(at: Field.address.offset + $0) }
    guard let address = String(validating: letters, as: UTF8.self) else {
      throw .field(name: "address", value: UInt64(letters.first { $0 >= 0x80 } ?? 0))
    }
    for unused in [
      Field.reserved.byteRange, Field.address.offset + count..<Field.address.byteRange.upperBound,
      Field.reserved2.byteRange,
    ] where !bytes.slice(unused).isZero {
      throw .field(name: "reserved", value: UInt64(unused.lowerBound))
    }
    let peer = Peer(
      nodeID: bytes.loadIdentifier(at: Field.nodeID.offset), mode: mode, counts: counts == 1,
      position: StreamPosition(
        number: bytes.loadUInt64(at: Field.number.offset),
        chain: bytes.loadUInt32(at: Field.chain.offset)),
      sinceSeconds: bytes.loadUInt64(at: Field.sinceSeconds.offset), address: address)
    return peer
  }
}

extension ReplicationState {
  /// The bits of `replicationFlags` in a superblock.
  private enum Flag {
    static let inconsistent: UInt8 = 1
    static let handedOver: UInt8 = 2
  }

  func encode(into bytes: IOBuffer) {
    typealias Field = Superblock.Field
    bytes.storeUInt8(role.rawValue, at: Field.role.offset)
    bytes.storeUInt8(lossPolicy.rawValue, at: Field.lossPolicy.offset)
    bytes.storeUInt8(
      (isConsistent ? 0 : Flag.inconsistent) | (isHandedOver ? Flag.handedOver : 0),
      at: Field.replicationFlags.offset)
    bytes.storeUInt8(UInt8(truncatingIfNeeded: peers.count), at: Field.peerCount.offset)
    bytes.storeIdentifier(undoID, at: Field.undoID.offset)
    // An array that is alone is written as before there was replication.
    if self != .alone {
      bytes.storeUInt32(peerTimeoutMilliseconds, at: Field.peerTimeoutMilliseconds.offset)
    }
    for (index, peer) in peers.enumerated() {
      peer.encode(
        into: bytes.slice(Field.peers.offset + index * Peer.byteCount, Peer.byteCount))
    }
  }

  static func decode(_ bytes: IOBuffer) throws(FormatError) -> ReplicationState {
    typealias Field = Superblock.Field
    func byte(_ field: Field) -> UInt8 { bytes.loadUInt8(at: field.offset) }
    var state = ReplicationState()
    guard let role = NodeRole(rawValue: byte(.role)) else {
      throw .field(name: "role", value: UInt64(byte(.role)))
    }
    guard let policy = LossPolicy(rawValue: byte(.lossPolicy)) else {
      throw .field(name: "lossPolicy", value: UInt64(byte(.lossPolicy)))
    }
    let flags = byte(.replicationFlags)
    guard flags <= Flag.inconsistent | Flag.handedOver else {
      throw .field(name: "replicationFlags", value: UInt64(flags))
    }
    let count = Int(byte(.peerCount))
    guard count <= peerCountMax else { throw .field(name: "peerCount", value: UInt64(count)) }
    state.role = role
    state.lossPolicy = policy
    state.isConsistent = flags & Flag.inconsistent == 0
    state.isHandedOver = flags & Flag.handedOver != 0
    state.undoID = bytes.loadIdentifier(at: Field.undoID.offset)
    let timeout = bytes.loadUInt32(at: Field.peerTimeoutMilliseconds.offset)
    if timeout != 0 { state.peerTimeoutMilliseconds = timeout }
    for index in 0..<count {
      state.peers.append(
        try Peer.decode(
          bytes.slice(Field.peers.offset + index * Peer.byteCount, Peer.byteCount)))
    }
    let unused = Field.peers.offset + count * Peer.byteCount..<Field.peers.byteRange.upperBound
    guard bytes.slice(unused).isZero else {
      throw .field(name: "peers", value: UInt64(count))
    }
    return state
  }

  /// Whether every field makes sense, alone and beside the others.
  func validate() throws(FormatError) {
    guard peers.count <= Self.peerCountMax else {
      throw .field(name: "peerCount", value: UInt64(peers.count))
    }
    guard role != .alone || self == .alone else { throw .field(name: "role", value: 0) }
    guard peerTimeoutMilliseconds > 0 else {
      throw .field(name: "peerTimeoutMilliseconds", value: 0)
    }
    for (index, peer) in peers.enumerated() {
      guard peer.nodeID != .none, !peers[..<index].contains(where: { $0.nodeID == peer.nodeID })
      else { throw .field(name: "nodeID", value: UInt64(index)) }
      guard peer.address.utf8.count <= Peer.addressBytesMax else {
        throw .field(name: "addressByteCount", value: UInt64(peer.address.utf8.count))
      }
      // It is shown on terminals and in logs.
      for scalar in peer.address.unicodeScalars
      where scalar.properties.generalCategory == .control {
        throw .field(name: "address", value: UInt64(scalar.value))
      }
    }
  }
}
