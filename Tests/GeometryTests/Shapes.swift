import Geometry

/// A small array of each kind, to go through whole.
struct Shape: CustomStringConvertible, Sendable {
  let level: RAIDLevel
  let memberCount: Int
  /// Blocks of a chunk.
  let chunkBlockCount: UInt64
  /// Chunks of a member.
  let chunkCount: UInt64

  var description: String {
    "\(level.name), \(memberCount) members, \(chunkCount) chunks of \(chunkBlockCount) blocks"
  }

  func geometry() throws(GeometryError) -> StripeGeometry {
    // A block more than whole chunks, where that makes a difference: it must not be used.
    try StripeGeometry(
      level: level, memberCount: memberCount,
      chunkBytes: chunkBlockCount * StripeGeometry.blockBytes,
      memberBlockCount: chunkCount * chunkBlockCount + (chunkBlockCount > 1 ? 1 : 0))
  }

  /// Every level with the members that it can have among 2 to 12 and 32.
  static let levelsAndMembers: [(RAIDLevel, Int)] = RAIDLevel.allCases.flatMap { level in
    (Array(2...12) + [32]).filter { $0 >= level.memberCountMin }.map { (level, $0) }
  }

  /// These with several chunks: each layout runs through its whole circle and a bit more.
  static let all: [Shape] = levelsAndMembers.flatMap { level, memberCount in
    [(1, UInt64(memberCount) + 2), (2, UInt64(memberCount) + 1), (4, 3), (16, 1), (1, 1)].map {
      Shape(
        level: level, memberCount: memberCount, chunkBlockCount: $0.0, chunkCount: $0.1)
    }
  }
}

/// The members that hold each row's blocks: the model that what may be lost is held to.
func slotsOfRows(_ geometry: StripeGeometry) -> [SlotSet] {
  (0..<geometry.rowCount).map { row in
    SlotSet((0..<geometry.width).map { geometry.place(ofRow: row, position: $0).slot })
  }
}

/// Whether every row can be read without these members: one copy, or no more lost than parities.
func survives(_ lost: SlotSet, rows: [SlotSet], geometry: StripeGeometry) -> Bool {
  rows.allSatisfy { row in
    let lostCount = row.intersection(lost).count
    return geometry.parityCount > 0
      ? lostCount <= geometry.parityCount : lostCount < geometry.width
  }
}

/// Every subset of the members up to 12, and those of up to three of more.
func subsets(ofFirst count: Int) -> [SlotSet] {
  guard count > 12 else { return (0..<UInt64(1) << UInt64(count)).map { SlotSet(bits: $0) } }
  var sets = [SlotSet()]
  for one in 0..<count {
    for other in one..<count {
      for third in other..<count { sets.append(SlotSet([one, other, third])) }
    }
  }
  sets.append(SlotSet(firstCount: count))
  for slot in 0..<count { sets.append(SlotSet(firstCount: count).subtracting(SlotSet([slot]))) }
  return sets
}
