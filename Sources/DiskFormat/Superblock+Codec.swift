internal import Geometry
package import IO

extension Superblock {
  static let magic = Preamble.magic("ASHLARSB")

  /// Fills 4096 bytes.
  ///
  /// - Precondition: `validate` accepts it. What this would write otherwise, no reader would open.
  package func encode(into buffer: IOBuffer) {
    do throws(FormatError) {
      try validate()
    } catch {
      preconditionFailure("a superblock that no reader would accept: \(error)")
    }
    let bytes = buffer.prefix(Self.byteCount)
    bytes.fill(with: 0)
    storeIdentity(in: bytes)
    storeLayout(in: bytes)
    storeConfiguration(in: bytes)
    storeLogState(in: bytes)
    Preamble.seal(bytes, magic: Self.magic, version: Self.version, arrayID: arrayID)
  }

  /// Reads 4096 bytes.
  package static func decode(_ buffer: IOBuffer) throws(FormatError) -> Superblock {
    let bytes = try Preamble.whole(buffer, byteCount)
    try Preamble.verifyKind(bytes, magic: magic, version: version)
    try Preamble.verifyChecksum(bytes)
    let superblock = try SuperblockReader(bytes: bytes).superblock()
    try superblock.validate()
    return superblock
  }

  /// Whether the bytes are those that were sealed, whatever the version.
  ///
  /// Tells a superblock of a later version, if that is checked like this one, from one of this
  /// version whose version number is damaged.
  package static func isIntact(_ buffer: IOBuffer) -> Bool {
    guard buffer.byteCount >= byteCount else { return false }
    let bytes = buffer.prefix(byteCount)
    return bytes.loadUInt64(at: Field.magic.offset) == magic
      && bytes.loadUInt32(at: Field.checksum.offset) == Preamble.checksum(of: bytes)
  }

  // MARK: Writing

  private func storeIdentity(in bytes: IOBuffer) {
    bytes.store(memberID, .memberID)
    // `validate` has seen that all counts are small.
    bytes.storeUInt8(UInt8(truncatingIfNeeded: slot), at: Field.slot.offset)
    bytes.storeUInt8(UInt8(truncatingIfNeeded: memberCount), at: Field.memberCount.offset)
    bytes.storeUInt8(level.rawValue, at: Field.level.offset)
    bytes.storeUInt8(isClean ? 1 : 0, at: Field.isClean.offset)
    bytes.storeUInt8(UInt8(truncatingIfNeeded: name.utf8.count), at: Field.nameByteCount.offset)
    var end = Field.name.offset
    for byte in name.utf8 {
      bytes.storeUInt8(byte, at: end)
      end += 1
    }
    bytes.storeUInt8(logPolicy.rawValue, at: Field.logPolicy.offset)
    bytes.store(createdSeconds, .createdSeconds)
  }

  private func storeLayout(in bytes: IOBuffer) {
    bytes.store(chunkBytes, .chunkBytes)
    bytes.store(memberBlockCount, .memberBlockCount)
    bytes.store(layout.logOffset, .logOffset)
    bytes.store(layout.logByteCount, .logByteCount)
    bytes.store(layout.tableOffset, .tableOffset)
    bytes.store(layout.tableByteCount, .tableByteCount)
    bytes.store(layout.mapOffset, .mapOffset)
    bytes.store(layout.mapByteCount, .mapByteCount)
    bytes.store(layout.dataOffset, .dataOffset)
  }

  private func storeConfiguration(in bytes: IOBuffer) {
    bytes.store(eventCount, .eventCount)
    bytes.store(configurationID, .configurationID)
    for (index, state) in memberStates.enumerated() {
      bytes.storeUInt8(state.rawValue, at: Field.memberStates.offset + index)
    }
    for (index, identifier) in memberIDs.enumerated() {
      bytes.storeIdentifier(identifier, at: Field.memberIDs.offset + index * 16)
    }
    bytes.storeUInt8(
      UInt8(truncatingIfNeeded: timelines.count), at: Field.timelineCount.offset)
    for (index, timeline) in timelines.enumerated() {
      let offset = Field.timelines.offset + index * Self.timelineBytes
      bytes.storeIdentifier(timeline.timelineID, at: offset)
      bytes.storeUInt64(timeline.start.number, at: offset + 16)
      bytes.storeUInt32(timeline.start.chain, at: Field.timelineChains.offset + index * 4)
    }
    bytes.storeUInt8(
      UInt8(truncatingIfNeeded: configurationHistory.count),
      at: Field.configurationHistoryCount.offset)
    for (index, identifier) in configurationHistory.enumerated() {
      bytes.storeIdentifier(identifier, at: Field.configurationHistory.offset + index * 16)
    }
    for reserve in reserves {
      let index = reserve.seat - memberCount
      bytes.storeIdentifier(reserve.memberID, at: Field.reserveIDs.offset + index * 16)
      bytes.storeUInt8(
        UInt8(truncatingIfNeeded: reserve.targetSlot.map { $0 + 1 } ?? 0),
        at: Field.reserveTargets.offset + index)
    }
    replication.encode(into: bytes)
    bytes.store(ownerNonce, .ownerNonce)
    bytes.store(heartbeat, .heartbeat)
  }

  private func storeLogState(in bytes: IOBuffer) {
    bytes.store(superblockSequence, .superblockSequence)
    bytes.store(logEpoch, .logEpoch)
    bytes.store(epochFirstSequence, .epochFirstSequence)
    bytes.store(checkpointSequence, .checkpointSequence)
    bytes.storeUInt32(checkpointChain, at: Field.checkpointChain.offset)
    bytes.store(checkpointClientSequence, .checkpointClientSequence)
    bytes.storeUInt32(checkpointClientChain, at: Field.checkpointClientChain.offset)
    bytes.store(logTailOffset, .logTailOffset)
    bytes.store(horizon, .horizon)
    bytes.store(pageSequence, .pageSequence)
  }
}

/// Reads the fields of a superblock whose checksum is right.
private struct SuperblockReader {
  typealias Field = Superblock.Field

  let bytes: IOBuffer

  func superblock() throws(FormatError) -> Superblock {
    let memberCount = Int(byte(.memberCount))
    guard memberCount <= StripeGeometry.memberCountMax else {
      throw .field(name: "memberCount", value: UInt64(memberCount))
    }
    try expectZeros(memberCount: memberCount)
    return Superblock(
      arrayID: identifier(.arrayID), memberID: identifier(.memberID), slot: Int(byte(.slot)),
      name: try name(), level: try level(), memberCount: memberCount,
      chunkBytes: word(.chunkBytes), memberBlockCount: word(.memberBlockCount),
      layout: try layout(memberCount: memberCount), createdSeconds: word(.createdSeconds),
      eventCount: word(.eventCount), configurationID: identifier(.configurationID),
      memberIDs: (0..<memberCount).map {
        bytes.loadIdentifier(at: Field.memberIDs.offset + $0 * 16)
      },
      memberStates: try states(memberCount), timelines: try timelines(),
      superblockSequence: word(.superblockSequence), isClean: try isClean(),
      logEpoch: word(.logEpoch), epochFirstSequence: word(.epochFirstSequence),
      checkpointSequence: word(.checkpointSequence),
      checkpointChain: bytes.loadUInt32(at: Field.checkpointChain.offset),
      checkpointClientSequence: word(.checkpointClientSequence),
      logTailOffset: word(.logTailOffset), horizon: word(.horizon),
      pageSequence: word(.pageSequence), ownerNonce: identifier(.ownerNonce),
      heartbeat: word(.heartbeat), configurationHistory: try configurationHistory(),
      reserves: try reserves(memberCount), logPolicy: try logPolicy(),
      checkpointClientChain: bytes.loadUInt32(at: Field.checkpointClientChain.offset),
      replication: try ReplicationState.decode(bytes))
  }

  private func byte(_ field: Field) -> UInt8 { bytes.loadUInt8(at: field.offset) }
  private func word(_ field: Field) -> UInt64 { bytes.loadUInt64(at: field.offset) }
  private func identifier(_ field: Field) -> Identifier {
    bytes.loadIdentifier(at: field.offset)
  }

  private func level() throws(FormatError) -> RAIDLevel {
    guard let level = RAIDLevel(rawValue: byte(.level)) else {
      throw .field(name: "level", value: UInt64(byte(.level)))
    }
    return level
  }

  private func logPolicy() throws(FormatError) -> LogPolicy {
    guard let policy = LogPolicy(rawValue: byte(.logPolicy)) else {
      throw .field(name: "logPolicy", value: UInt64(byte(.logPolicy)))
    }
    return policy
  }

  private func isClean() throws(FormatError) -> Bool {
    guard byte(.isClean) <= 1 else {
      throw .field(name: "isClean", value: UInt64(byte(.isClean)))
    }
    return byte(.isClean) == 1
  }

  private func name() throws(FormatError) -> String {
    let byteCount = Int(byte(.nameByteCount))
    guard byteCount <= Superblock.nameBytesMax else {
      throw .field(name: "nameByteCount", value: UInt64(byteCount))
    }
    let letters = (0..<byteCount).map { bytes.loadUInt8(at: Field.name.offset + $0) }
    guard let name = String(validating: letters, as: UTF8.self) else {
      throw .field(name: "name", value: UInt64(letters.first { $0 >= 0x80 } ?? 0))
    }
    return name
  }

  private func states(_ memberCount: Int) throws(FormatError) -> [MemberState] {
    var states: [MemberState] = []
    for index in 0..<memberCount {
      let raw = bytes.loadUInt8(at: Field.memberStates.offset + index)
      guard let state = MemberState(rawValue: raw) else {
        throw .field(name: "memberStates", value: UInt64(raw))
      }
      states.append(state)
    }
    return states
  }

  private func timelines() throws(FormatError) -> [Timeline] {
    let count = Int(byte(.timelineCount))
    guard count <= Superblock.timelineCountMax else {
      throw .field(name: "timelineCount", value: UInt64(count))
    }
    return (0..<count).map {
      let offset = Field.timelines.offset + $0 * Superblock.timelineBytes
      return Timeline(
        timelineID: bytes.loadIdentifier(at: offset),
        start: StreamPosition(
          number: bytes.loadUInt64(at: offset + 16),
          chain: bytes.loadUInt32(at: Field.timelineChains.offset + $0 * 4)))
    }
  }

  private func configurationHistory() throws(FormatError) -> [Identifier] {
    let count = Int(byte(.configurationHistoryCount))
    guard count <= Superblock.configurationHistoryCountMax else {
      throw .field(name: "configurationHistoryCount", value: UInt64(count))
    }
    return (0..<count).map {
      bytes.loadIdentifier(at: Field.configurationHistory.offset + $0 * 16)
    }
  }

  private func reserves(_ memberCount: Int) throws(FormatError) -> [Reserve] {
    var reserves: [Reserve] = []
    for index in 0..<Superblock.reserveCountMax {
      let memberID = bytes.loadIdentifier(at: Field.reserveIDs.offset + index * 16)
      let target = Int(bytes.loadUInt8(at: Field.reserveTargets.offset + index))
      guard target <= memberCount, memberID != .none || target == 0 else {
        throw .field(name: "reserveTargets", value: UInt64(target))
      }
      guard memberID != .none else { continue }
      reserves.append(
        Reserve(
          seat: memberCount + index, memberID: memberID,
          targetSlot: target == 0 ? nil : target - 1))
    }
    return reserves
  }

  /// Builds the layout that the fields demand, and compares it with what they say.
  private func layout(memberCount: Int) throws(FormatError) -> MemberLayout {
    let layout = try Superblock.expectedLayout(
      level: try level(), memberCount: memberCount, chunkBytes: word(.chunkBytes),
      memberBlockCount: word(.memberBlockCount), logByteCount: word(.logByteCount))
    for (field, expected) in layout.fields {
      guard word(field) == expected else {
        throw .field(name: field.rawValue, value: word(field))
      }
    }
    return layout
  }

  /// What this version leaves unused is zero: another value was written by something unknown.
  private func expectZeros(memberCount: Int) throws(FormatError) {
    func expect(_ field: Field, from used: Int = 0) throws(FormatError) {
      for offset in field.byteRange.dropFirst(used) {
        let found = bytes.loadUInt8(at: offset)
        guard found == 0 else { throw .field(name: field.rawValue, value: UInt64(found)) }
      }
    }
    try expect(.reserved3)
    try expect(.name, from: Int(byte(.nameByteCount)))
    try expect(.memberStates, from: memberCount)
    try expect(.memberIDs, from: memberCount * 16)
    try expect(.timelines, from: Int(byte(.timelineCount)) * Superblock.timelineBytes)
    try expect(.timelineChains, from: Int(byte(.timelineCount)) * 4)
    try expect(.configurationHistory, from: Int(byte(.configurationHistoryCount)) * 16)
  }
}

extension IOBuffer {
  fileprivate func store(_ word: UInt64, _ field: Superblock.Field) {
    storeUInt64(word, at: field.offset)
  }

  fileprivate func store(_ identifier: Identifier, _ field: Superblock.Field) {
    storeIdentifier(identifier, at: field.offset)
  }
}
