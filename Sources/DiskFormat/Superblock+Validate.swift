internal import Geometry

extension Superblock {
  /// The log of one member is shorter than this; so no sum of offsets overflows.
  package static let logBytesBound: UInt64 = 1 << 60

  /// Whether every field makes sense, alone and beside the others.
  ///
  /// Asked before each write and after each read.
  package func validate() throws(FormatError) {
    guard arrayID != .none else { throw .field(name: "arrayID", value: 0) }
    guard memberID != .none else { throw .field(name: "memberID", value: 0) }
    let expected = try Self.expectedLayout(
      level: level, memberCount: memberCount, chunkBytes: chunkBytes,
      memberBlockCount: memberBlockCount, logByteCount: layout.logByteCount)
    for (found, wanted) in zip(layout.fields, expected.fields) where found.1 != wanted.1 {
      throw .field(name: found.0.rawValue, value: found.1)
    }
    guard slot >= 0, slot < memberCount || reserves.contains(where: { $0.seat == slot }) else {
      throw .field(name: "slot", value: UInt64(truncatingIfNeeded: slot))
    }
    guard logTailOffset % 4096 == 0, logTailOffset <= layout.logByteCount else {
      throw .field(name: "logTailOffset", value: logTailOffset)
    }
    try validateName()
    try validateMembers()
    try validateReserves()
    guard timelines.count <= Self.timelineCountMax else {
      throw .field(name: "timelineCount", value: UInt64(timelines.count))
    }
    try validateHistory()
    for (index, timeline) in timelines.enumerated() where timeline.timelineID == .none {
      throw .field(name: "timelines", value: UInt64(index))
    }
    try replication.validate()
  }

  private func validateHistory() throws(FormatError) {
    let count = configurationHistory.count
    // Each counts one event less, and the first counts none.
    guard count <= Self.configurationHistoryCountMax, UInt64(count) <= eventCount else {
      throw .field(name: "configurationHistoryCount", value: UInt64(count))
    }
    for (index, identifier) in configurationHistory.enumerated() where identifier == .none {
      throw .field(name: "configurationHistory", value: UInt64(index))
    }
  }

  private func validateName() throws(FormatError) {
    guard name.utf8.count <= Self.nameBytesMax else {
      throw .field(name: "nameByteCount", value: UInt64(name.utf8.count))
    }
    // It is shown on terminals and in logs.
    for scalar in name.unicodeScalars where scalar.properties.generalCategory == .control {
      throw .field(name: "name", value: UInt64(scalar.value))
    }
  }

  private func validateMembers() throws(FormatError) {
    guard memberIDs.count == memberCount else {
      throw .field(name: "memberIDs", value: UInt64(memberIDs.count))
    }
    guard memberStates.count == memberCount else {
      throw .field(name: "memberStates", value: UInt64(memberStates.count))
    }
    guard slot >= memberCount || memberIDs[slot] == memberID else {
      throw .field(name: "memberIDs", value: UInt64(slot))
    }
    for (index, identifier) in memberIDs.enumerated() {
      // Nobody may be in a slot, and nobody is out.
      let isGood =
        identifier == .none
        ? memberStates[index] == .out : !memberIDs[..<index].contains(identifier)
      guard isGood else { throw .field(name: "memberIDs", value: UInt64(index)) }
    }
  }

  private func validateReserves() throws(FormatError) {
    var seats = memberCount..<memberCount + Self.reserveCountMax
    var seen = memberIDs
    var targets: [Int] = []
    for reserve in reserves {
      let index = UInt64(truncatingIfNeeded: reserve.seat - memberCount)
      guard seats.contains(reserve.seat), reserve.memberID != .none,
        !seen.contains(reserve.memberID), reserve.seat != slot || reserve.memberID == memberID
      else { throw .field(name: "reserveIDs", value: index) }
      seats = reserve.seat + 1..<seats.upperBound
      seen.append(reserve.memberID)
      guard let target = reserve.targetSlot else { continue }
      // A copy of nobody is none, and one copy at a time is enough.
      guard target >= 0, target < memberCount, memberIDs[target] != .none,
        !targets.contains(target)
      else { throw .field(name: "reserveTargets", value: index) }
      targets.append(target)
    }
  }

  /// The one layout that belongs to these fields, if they make sense at all.
  static func expectedLayout(
    level: RAIDLevel, memberCount: Int, chunkBytes: UInt64, memberBlockCount: UInt64,
    logByteCount: UInt64
  ) throws(FormatError) -> MemberLayout {
    let geometry: StripeGeometry
    do {
      geometry = try StripeGeometry(
        level: level, memberCount: memberCount, chunkBytes: chunkBytes,
        memberBlockCount: memberBlockCount)
    } catch {
      switch error {
      case .memberCount(let count, _):
        throw .field(name: "memberCount", value: UInt64(truncatingIfNeeded: count))
      case .chunkSize(let bytes): throw .field(name: "chunkBytes", value: bytes)
      case .memberTooSmall: throw .field(name: "memberBlockCount", value: memberBlockCount)
      }
    }
    guard geometry.memberBlockCount == memberBlockCount else {
      throw .field(name: "memberBlockCount", value: memberBlockCount)
    }
    guard logByteCount > 0, logByteCount < logBytesBound, logByteCount % 4096 == 0 else {
      throw .field(name: "logByteCount", value: logByteCount)
    }
    return MemberLayout(geometry: geometry, logByteCount: logByteCount)
  }
}

extension MemberLayout {
  /// Each number with the field that holds it.
  var fields: [(Superblock.Field, UInt64)] {
    [
      (.logOffset, logOffset), (.logByteCount, logByteCount), (.tableOffset, tableOffset),
      (.tableByteCount, tableByteCount), (.mapOffset, mapOffset), (.mapByteCount, mapByteCount),
      (.dataOffset, dataOffset),
    ]
  }
}
