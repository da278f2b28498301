package import Geometry

/// Where the regions of a member lie, in bytes from its start; all are multiples of 4096.
///
/// `superblock A | superblock B | log | checksum table | page map | data`.
package struct MemberLayout: Equatable, Sendable {
  package static let superblockBytes: UInt64 = 4096

  package var logOffset: UInt64
  package var logByteCount: UInt64
  package var tableOffset: UInt64
  package var tableByteCount: UInt64
  package var mapOffset: UInt64
  package var mapByteCount: UInt64
  package var dataOffset: UInt64

  /// The layout for a geometry; `logByteCount` is each member's share of the log.
  ///
  /// - Precondition: `logByteCount` is a multiple of 4096.
  package init(geometry: StripeGeometry, logByteCount: UInt64) {
    precondition(logByteCount % 4096 == 0)
    let placement = TablePlacement(geometry)
    logOffset = 2 * Self.superblockBytes
    self.logByteCount = logByteCount
    tableOffset = logOffset + logByteCount
    tableByteCount = placement.regionBytes
    mapOffset = tableOffset + tableByteCount
    mapByteCount = PageMap.pageCount(tablePageCount: placement.pageCount) * 2 * 4096
    dataOffset = mapOffset + mapByteCount
  }

  /// Bytes from the start of the member to the end of its data region.
  package func endBytes(geometry: StripeGeometry) -> UInt64 {
    dataOffset + geometry.memberBlockCount * StripeGeometry.blockBytes
  }

  /// The largest geometry that fits, with its layout.
  ///
  /// - Parameters:
  ///   - level: how blocks are protected.
  ///   - memberCount: how many members there are.
  ///   - chunkBytes: bytes of a chunk.
  ///   - memberByteCount: the size of the smallest member.
  ///   - logByteCount: each member's share of the log.
  /// - Returns: geometry and layout; all of it lies within `memberByteCount`.
  /// - Throws: why no geometry is possible, `memberTooSmall` among them.
  package static func largest(
    level: RAIDLevel, memberCount: Int, chunkBytes: UInt64, memberByteCount: UInt64,
    logByteCount: UInt64
  ) throws(GeometryError) -> (StripeGeometry, MemberLayout) {
    func fitting(_ blocks: UInt64) throws(GeometryError) -> (StripeGeometry, MemberLayout)? {
      let geometry = try StripeGeometry(
        level: level, memberCount: memberCount, chunkBytes: chunkBytes, memberBlockCount: blocks)
      let layout = MemberLayout(geometry: geometry, logByteCount: logByteCount)
      return layout.endBytes(geometry: geometry) <= memberByteCount ? (geometry, layout) : nil
    }
    var low: UInt64 = max(chunkBytes / 4096, 1)
    var high = memberByteCount / 4096 + 1
    guard var best = try fitting(low) else { throw .memberTooSmall }
    // The end grows with the blocks: the largest that fits is found by halving.
    while low + 1 < high {
      let middle = low + (high - low) / 2
      if let candidate = try fitting(middle) {
        best = candidate
        low = middle
      } else {
        high = middle
      }
    }
    return best
  }
}
