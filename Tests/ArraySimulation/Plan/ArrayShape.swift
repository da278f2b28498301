package import DiskFormat
package import Geometry

/// How an array of a history is laid out: small, so that rows, chunks and log positions meet often.
package struct ArrayShape: Equatable, Sendable {
  package let geometry: StripeGeometry
  package let layout: MemberLayout

  package var level: RAIDLevel { geometry.level }
  package var memberCount: Int { geometry.memberCount }
  package var chunkBytes: UInt64 { geometry.chunkBlockCount * StripeGeometry.blockBytes }
  package var logBytes: UInt64 { layout.logByteCount }
  /// What clients see.
  package var deviceBytes: UInt64 { geometry.byteCount }
  /// What each member needs.
  package var memberBytes: UInt64 { layout.endBytes(geometry: geometry) }
  package var sectorCount: Int { Int(deviceBytes / 512) }
  package var isMirrored: Bool { geometry.isMirrored }
  /// The data of a row of chunks across all members.
  package var stripeBytes: UInt64 {
    switch level {
    case .raid0: chunkBytes * UInt64(memberCount)
    case .raid1: chunkBytes
    case .raid10: chunkBytes * UInt64(max(1, memberCount / 2))
    case .raid5, .raid6: chunkBytes * UInt64(geometry.dataCount)
    }
  }

  /// Where on its member, or on each that has a copy, a sector of the device lies, in sectors.
  package func homeSector(of sector: Int) -> UInt64 {
    let at = geometry.rowPosition(ofBlock: UInt64(sector / 8))
    let place = geometry.place(ofRow: at.row, position: at.position)
    return layout.dataOffset / 512 + place.memberBlock * 8 + UInt64(sector % 8)
  }

  /// A shape whose members hold so many blocks of data.
  package init(
    level: RAIDLevel, memberCount: Int, chunkBytes: UInt64, memberBlockCount: UInt64,
    logBytes: UInt64
  ) throws(GeometryError) {
    geometry = try StripeGeometry(
      level: level, memberCount: memberCount, chunkBytes: chunkBytes,
      memberBlockCount: memberBlockCount)
    layout = MemberLayout(geometry: geometry, logByteCount: logBytes)
  }
}

extension ArrayShape: CustomStringConvertible {
  package var description: String {
    "\(level.name) of \(memberCount) members, chunk \(chunkBytes >> 10) KiB, "
      + "device \(deviceBytes >> 10) KiB, log \(logBytes >> 10) KiB a member"
  }
}
