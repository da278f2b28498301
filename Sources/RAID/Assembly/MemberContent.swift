package import DiskFormat
package import IO

/// What of ours lies on a device that is to become a member.
package enum MemberContent: Equatable, Sendable {
  /// A member of an array.
  case member(Superblock)
  /// A member of an array whose `create` was interrupted: it never held anything.
  case unfinished(Superblock)
  /// A member of an array that a newer version wrote.
  case newerVersion(found: UInt32)
  /// A superblock of ours, of which no copy is whole.
  case damaged

  /// The bytes that `detect` needs.
  package static let probeBytes = 2 * Superblock.byteCount

  /// Looks at the start of a device.
  ///
  /// - Parameter start: at least `probeBytes`, aligned to 4096.
  /// - Returns: nil when nothing of ours is there.
  package static func detect(_ start: IOBuffer) -> MemberContent? {
    precondition(start.byteCount >= probeBytes)
    let (a, b) = (start.prefix(Superblock.byteCount), start.dropFirst(Superblock.byteCount))
    return detect(
      MemberReport(
        name: "", byteCount: 0, copyA: MemberReport.reading(a, copy: 0),
        copyB: MemberReport.reading(b, copy: 1)))
  }

  /// The same from a report.
  package static func detect(_ report: MemberReport) -> MemberContent? {
    if let version = report.newerVersion { return .newerVersion(found: version.found) }
    if let newest = report.newest {
      return newest.eventCount == 0 ? .unfinished(newest) : .member(newest)
    }
    let isOurs = report.copies.contains { copy in
      if case .damaged(let error) = copy { error != .noMagic } else { false }
    }
    return isOurs ? .damaged : nil
  }

  /// Whether overwriting it loses anything.
  package var isWorthKeeping: Bool {
    if case .unfinished = self { false } else { true }
  }
}

extension MemberContent: CustomStringConvertible {
  package var description: String {
    switch self {
    case .member(let superblock):
      "an ashlar member of array '\(superblock.name)' (\(superblock.arrayID)), slot "
        + "\(superblock.slot)"
    case .unfinished(let superblock):
      "an ashlar member of array '\(superblock.name)' (\(superblock.arrayID)), slot "
        + "\(superblock.slot), whose creation was interrupted"
    case .newerVersion(let found):
      "an ashlar member of a newer format (version \(found))"
    case .damaged: "a damaged ashlar superblock"
    }
  }
}
