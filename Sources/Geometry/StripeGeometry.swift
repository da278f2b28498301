/// Where a member's block lies: which member, and which block of its data region.
package struct BlockPlace: Equatable, Hashable, Sendable {
  package var slot: Int
  package var memberBlock: UInt64

  @inlinable
  package init(slot: Int, memberBlock: UInt64) {
    self.slot = slot
    self.memberBlock = memberBlock
  }
}

/// A block's place in its row.
package struct RowPosition: Equatable, Hashable, Sendable {
  package var row: UInt64
  /// 0 ..< dataCount for data; then the parities, or the other copies.
  package var position: Int

  @inlinable
  package init(row: UInt64, position: Int) {
    self.row = row
    self.position = position
  }
}

/// Why a geometry cannot be.
package enum GeometryError: Error, Equatable, Sendable {
  case memberCount(Int, allowed: ClosedRange<Int>)
  case chunkSize(bytes: UInt64)
  /// Members have no room for a single chunk.
  case memberTooSmall
}

/// Pure address mathematics of one array: which blocks belong together, and where each lies.
///
/// The unit is a block of 4 KiB. A *row* is the smallest set of blocks that must agree with one
/// another, one block on each of its members: data and parity at one offset for RAID-5 and RAID-6;
/// the copies of one block for mirrors; a single block for RAID-0. Positions in a row count the
/// data blocks first (`dataCount`), then P and Q, or the further copies. Rows are what is made
/// consistent as a whole, and what the checksum table is ordered by.
///
/// RAID-5 and RAID-6 are left-symmetric as in Linux md: P starts on the last member and moves down
/// by one with each stripe of chunks, Q follows P, and data goes on behind them. RAID-10 is near-2:
/// the two copies of chunk c are the physical chunks 2c and 2c+1, counted across the members, so
/// that odd numbers of members work.
package struct StripeGeometry: Equatable, Sendable {
  package static let blockBytes: UInt64 = 4096
  package static let memberCountMax = 32
  package static let chunkBytesAllowed: ClosedRange<UInt64> = 4096...1 << 20

  package let level: RAIDLevel
  package let memberCount: Int
  /// Blocks of a chunk; a power of two.
  package let chunkBlockCount: UInt64
  /// Blocks of each member's data region; a multiple of `chunkBlockCount`.
  package let memberBlockCount: UInt64

  /// Data blocks of a row.
  package let dataCount: Int
  /// Parity blocks of a row: 1 for RAID-5, 2 for RAID-6, else 0.
  package let parityCount: Int
  /// All blocks of a row.
  package let width: Int
  package let rowCount: UInt64

  /// Rounds `memberBlockCount` down to whole chunks.
  ///
  /// - Parameters:
  ///   - level: how blocks are spread and protected.
  ///   - memberCount: from the level's least up to `memberCountMax`.
  ///   - chunkBytes: a power of two inside `chunkBytesAllowed`.
  ///   - memberBlockCount: what the smallest member has.
  /// - Throws: `GeometryError` for what cannot be an array.
  package init(
    level: RAIDLevel, memberCount: Int, chunkBytes: UInt64, memberBlockCount: UInt64
  ) throws(GeometryError) {
    let allowed = level.memberCountMin...Self.memberCountMax
    guard allowed.contains(memberCount) else {
      throw .memberCount(memberCount, allowed: allowed)
    }
    guard Self.chunkBytesAllowed.contains(chunkBytes), chunkBytes.nonzeroBitCount == 1 else {
      throw .chunkSize(bytes: chunkBytes)
    }
    self.level = level
    self.memberCount = memberCount
    chunkBlockCount = chunkBytes / Self.blockBytes
    self.memberBlockCount = memberBlockCount / chunkBlockCount * chunkBlockCount
    guard self.memberBlockCount > 0, self.memberBlockCount < 1 << 48 else { throw .memberTooSmall }
    switch level {
    case .raid0:
      (dataCount, parityCount, width) = (1, 0, 1)
      rowCount = self.memberBlockCount * UInt64(memberCount)
    case .raid1:
      (dataCount, parityCount, width) = (1, 0, memberCount)
      rowCount = self.memberBlockCount
    case .raid10:
      (dataCount, parityCount, width) = (1, 0, 2)
      let chunkCount = self.memberBlockCount / chunkBlockCount * UInt64(memberCount) / 2
      rowCount = chunkCount * chunkBlockCount
    case .raid5:
      (dataCount, parityCount, width) = (memberCount - 1, 1, memberCount)
      rowCount = self.memberBlockCount
    case .raid6:
      (dataCount, parityCount, width) = (memberCount - 2, 2, memberCount)
      rowCount = self.memberBlockCount
    }
  }

  /// Blocks that the array offers.
  @inlinable
  package var blockCount: UInt64 { rowCount * UInt64(dataCount) }
  @inlinable
  package var byteCount: UInt64 { blockCount * Self.blockBytes }
  package var allSlots: SlotSet { SlotSet(firstCount: memberCount) }

  /// How many members may be lost, whichever they are.
  package var redundancy: Int {
    switch level {
    case .raid0: 0
    case .raid1: memberCount - 1
    case .raid5, .raid10: 1
    case .raid6: 2
    }
  }

  /// Whether blocks have copies rather than parity.
  @inlinable
  package var isMirrored: Bool { parityCount == 0 && width > 1 }

  // MARK: Addresses

  /// The row and position of a block of the array.
  ///
  /// - Precondition: `block < blockCount`.
  @inlinable
  package func rowPosition(ofBlock block: UInt64) -> RowPosition {
    precondition(block < blockCount)
    guard parityCount > 0 else { return RowPosition(row: block, position: 0) }
    let (chunk, offset) = block.quotientAndRemainder(dividingBy: chunkBlockCount)
    let (stripe, index) = chunk.quotientAndRemainder(dividingBy: UInt64(dataCount))
    return RowPosition(row: stripe * chunkBlockCount + offset, position: Int(index))
  }

  /// The array's block at a data position of a row.
  ///
  /// - Precondition: `position < dataCount`, `row < rowCount`.
  @inlinable
  package func block(ofRow row: UInt64, position: Int) -> UInt64 {
    precondition(row < rowCount)
    precondition(position >= 0 && position < dataCount)
    guard parityCount > 0 else { return row }
    let (stripe, offset) = row.quotientAndRemainder(dividingBy: chunkBlockCount)
    return (stripe * UInt64(dataCount) + UInt64(position)) * chunkBlockCount + offset
  }

  /// Where a row's block lies.
  ///
  /// - Precondition: `position < width`, `row < rowCount`.
  @inlinable
  package func place(ofRow row: UInt64, position: Int) -> BlockPlace {
    precondition(row < rowCount)
    precondition(position >= 0 && position < width)
    let (chunk, offset) = row.quotientAndRemainder(dividingBy: chunkBlockCount)
    let members = UInt64(memberCount)
    switch level {
    case .raid1:
      return BlockPlace(slot: position, memberBlock: row)
    case .raid0:
      return BlockPlace(
        slot: Int(chunk % members), memberBlock: chunk / members * chunkBlockCount + offset)
    case .raid10:
      let physical = chunk * 2 + UInt64(position)
      return BlockPlace(
        slot: Int(physical % members), memberBlock: physical / members * chunkBlockCount + offset)
    case .raid5, .raid6:
      let parity = memberCount - 1 - Int(chunk % members)
      // P, then Q, then the data, around the circle.
      let step = position < dataCount ? parityCount + position : position - dataCount
      return BlockPlace(slot: (parity + step) % memberCount, memberBlock: row)
    }
  }

  /// The row and position of a member's block; nil for blocks that no row uses.
  package func rowPosition(of place: BlockPlace) -> RowPosition? {
    precondition(place.slot >= 0 && place.slot < memberCount)
    precondition(place.memberBlock < memberBlockCount)
    let (chunk, offset) = place.memberBlock.quotientAndRemainder(dividingBy: chunkBlockCount)
    let members = UInt64(memberCount)
    switch level {
    case .raid1:
      return RowPosition(row: place.memberBlock, position: place.slot)
    case .raid0:
      let row = (chunk * members + UInt64(place.slot)) * chunkBlockCount + offset
      return RowPosition(row: row, position: 0)
    case .raid10:
      let physical = chunk * members + UInt64(place.slot)
      let row = physical / 2 * chunkBlockCount + offset
      guard row < rowCount else { return nil }
      return RowPosition(row: row, position: Int(physical % 2))
    case .raid5, .raid6:
      let parity = memberCount - 1 - Int(chunk % members)
      let step = (place.slot - parity + memberCount) % memberCount
      let position = step < parityCount ? dataCount + step : step - parityCount
      return RowPosition(row: place.memberBlock, position: position)
    }
  }

  // MARK: What may be lost

  /// Whether every row can be read with these members gone.
  package func canServe(without lost: SlotSet) -> Bool {
    switch level {
    case .raid0: lost.isEmpty
    case .raid1: lost.count < memberCount
    case .raid5: lost.count <= 1
    case .raid6: lost.count <= 2
    case .raid10: mirrorPairs.allSatisfy { !$0.isSubset(of: lost) }
    }
  }

  /// How many further members may be lost, whichever they are; nil when it cannot serve now.
  package func redundancyLeft(without lost: SlotSet) -> Int? {
    guard canServe(without: lost) else { return nil }
    switch level {
    case .raid0: return 0
    case .raid1, .raid5, .raid6: return redundancy - lost.count
    case .raid10: return mirrorPairs.allSatisfy { $0.intersection(lost).isEmpty } ? 1 : 0
    }
  }

  /// RAID-10: the pairs of members that hold the two copies of some block.
  package var mirrorPairs: [SlotSet] {
    guard level == .raid10 else { return [] }
    if memberCount % 2 == 0 {
      return (0..<memberCount / 2).map { SlotSet([2 * $0, 2 * $0 + 1]) }
    }
    // With a single row of chunks the last pair of an odd circle is not in use; harmless.
    return (0..<memberCount).map { SlotSet([$0, ($0 + 1) % memberCount]) }
  }
}
