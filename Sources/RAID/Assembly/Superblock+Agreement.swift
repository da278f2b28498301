package import DiskFormat
package import Geometry

extension Superblock {
  /// The geometry that it tells; nil when there is none such, or the layout is another one's.
  package var geometry: StripeGeometry? {
    guard slot >= 0, slot < memberCount + Self.reserveCountMax, layout.logByteCount % 4096 == 0
    else { return nil }
    let geometry: StripeGeometry
    do throws(GeometryError) {
      geometry = try StripeGeometry(
        level: level, memberCount: memberCount, chunkBytes: chunkBytes,
        memberBlockCount: memberBlockCount)
    } catch {
      return nil
    }
    guard geometry.memberBlockCount == memberBlockCount,
      layout == MemberLayout(geometry: geometry, logByteCount: layout.logByteCount)
    else { return nil }
    return geometry
  }

  /// What differs between two members of one array that never may, with both values.
  func disagreement(with other: Superblock) -> (field: String, values: [String])? {
    func differ(_ field: String, _ values: [String]) -> (field: String, values: [String])? {
      values[0] == values[1] ? nil : (field, values)
    }
    return differ("the name", ["'\(name)'", "'\(other.name)'"])
      ?? differ("the level", [level.name, other.level.name])
      ?? differ("the number of members", ["\(memberCount)", "\(other.memberCount)"])
      ?? differ("the chunk size", ["\(chunkBytes)", "\(other.chunkBytes)"])
      ?? differ("the blocks of a member", ["\(memberBlockCount)", "\(other.memberBlockCount)"])
      ?? differ(
        "the size of the log", ["\(layout.logByteCount)", "\(other.layout.logByteCount)"])
      ?? differ("the time of creation", ["\(createdSeconds)", "\(other.createdSeconds)"])
      ?? differ("the log policy", [logPolicy.name, other.logPolicy.name])
  }

  /// What differs between two superblocks with one configuration that it should decide.
  func configurationDisagreement(
    with other: Superblock
  ) -> (field: String, values: [String])? {
    guard eventCount == other.eventCount else {
      return (
        "the event count of configuration \(configurationID)",
        ["\(eventCount)", "\(other.eventCount)"]
      )
    }
    guard memberIDs == other.memberIDs, memberStates == other.memberStates else {
      return ("the members of configuration \(configurationID)", [listWords, other.listWords])
    }
    guard reserves == other.reserves else {
      return (
        "the reserves of configuration \(configurationID)",
        [reserveWords, other.reserveWords]
      )
    }
    guard configurationHistory == other.configurationHistory else {
      return (
        "where configuration \(configurationID) comes from",
        [historyWords, other.historyWords]
      )
    }
    return nil
  }

  private var listWords: String {
    zip(memberIDs, memberStates).map { "\($0) \($1)" }.joined(separator: ", ")
  }

  private var reserveWords: String {
    let all = reserves.map { reserve in
      "\(reserve.memberID) \(reserve.targetSlot.map { "for slot \($0)" } ?? "spare")"
    }
    return all.isEmpty ? "none" : all.joined(separator: ", ")
  }

  private var historyWords: String {
    configurationHistory.first.map { "from \($0)" } ?? "from nothing"
  }

  /// The last configuration that both come from.
  func lastCommonConfiguration(with other: Superblock) -> (eventCount: UInt64, id: Identifier)? {
    func line(_ superblock: Superblock) -> [(eventCount: UInt64, id: Identifier)] {
      let ids = [superblock.configurationID] + superblock.configurationHistory
      return ids.enumerated().map { (superblock.eventCount &- UInt64($0.offset), $0.element) }
    }
    let others = line(other)
    return line(self).first { own in
      others.contains { $0.id == own.id && $0.eventCount == own.eventCount }
    }
  }
}
