package import DiskFormat
package import IO
import Volumes

/// What one of a member's two superblocks says.
package enum SuperblockReading: Equatable, Sendable {
  case valid(Superblock)
  /// It was read, and is not believed.
  case damaged(FormatError)
  /// It says that a later version wrote it; if it is not intact, that may be damage.
  case newer(found: UInt32, supported: UInt32, isIntact: Bool)
  /// It could not be read.
  case unreadable(DiskError)

  package var superblock: Superblock? {
    if case .valid(let superblock) = self { return superblock }
    return nil
  }

  /// For an operator: what is wrong with it.
  package var trouble: String? {
    switch self {
    case .valid: nil
    case .damaged(.noMagic): "no superblock of ashlar"
    case .damaged(.checksum): "damaged: its checksum does not match"
    case .damaged(.version(let found, _)): "damaged: its version is \(found)"
    case .newer(let found, let supported, _):
      "written by a newer ashlar (format \(found), this one reads \(supported))"
    case .damaged(.field(let name, let value)): "impossible: its field \(name) is \(value)"
    case .damaged(.misplaced(let what, let expected, let found)):
      "misplaced: its \(what) should be \(expected) and is \(found)"
    case .unreadable(let error): "cannot be read: \(error.words)"
    }
  }
}

/// What one member says of itself.
package struct MemberReport: Equatable, Sendable {
  package let name: String
  package let byteCount: UInt64
  package let copyA: SuperblockReading
  package let copyB: SuperblockReading

  package init(
    name: String, byteCount: UInt64, copyA: SuperblockReading, copyB: SuperblockReading
  ) {
    self.name = name
    self.byteCount = byteCount
    self.copyA = copyA
    self.copyB = copyB
  }

  /// The newest that is valid.
  ///
  /// When the newest of all is damaged this is the one before. That is safe for whoever decides
  /// about configurations because a configuration counts only when both copies of every survivor
  /// carry it: a single damaged copy never takes an acknowledged configuration with it.
  package var newest: Superblock? {
    guard let a = copyA.superblock else { return copyB.superblock }
    guard let b = copyB.superblock else { return a }
    return a.superblockSequence >= b.superblockSequence ? a : b
  }

  package var copies: [SuperblockReading] { [copyA, copyB] }

  /// Where its layout ends; nil without a superblock that makes sense.
  package var neededByteCount: UInt64? {
    guard let newest, let geometry = newest.geometry else { return nil }
    return newest.layout.endBytes(geometry: geometry)
  }

  /// Whether it is smaller than its layout: somebody has truncated it.
  package var isCutShort: Bool { neededByteCount.map { byteCount < $0 } ?? false }

  /// The version of the newer Ashlar that wrote to it, if one did.
  ///
  /// A copy of a later version may be the newest, so an older one beside it does not count. But a
  /// copy that is not intact says nothing as long as the other one does.
  package var newerVersion: (found: UInt32, supported: UInt32)? {
    for case .newer(let found, let supported, let isIntact) in copies
    where isIntact || newest == nil {
      return (found, supported)
    }
    return nil
  }

  /// Why it has no say: nil when one of its superblocks is valid.
  package var trouble: String? {
    guard newest == nil, let a = copyA.trouble, let b = copyB.trouble else { return nil }
    return a == b ? "both superblocks: \(a)" : "superblock A: \(a); superblock B: \(b)"
  }

  /// Asks a member.
  ///
  /// Each copy is read by itself: one that cannot be read does not hide the other.
  package static func read<D: Disk>(_ member: MemberHandle<D>) async -> MemberReport {
    let copyA = await read(member.disk, copy: 0)
    let copyB = await read(member.disk, copy: 1)
    return MemberReport(
      name: member.name, byteCount: member.byteCount, copyA: copyA, copyB: copyB)
  }

  /// Asks all members, one after the other.
  package static func readAll<D: Disk>(_ members: [MemberHandle<D>]) async -> [MemberReport] {
    var reports: [MemberReport] = []
    for member in members { reports.append(await read(member)) }
    return reports
  }

  private static func read<D: Disk>(_ disk: D, copy: UInt64) async -> SuperblockReading {
    guard let memory = AlignedMemory(byteCount: Superblock.byteCount) else {
      return .unreadable(.refused(.outOfMemory))
    }
    defer { withExtendedLifetime(memory) {} }
    let buffer = memory.buffer
    do throws(DiskError) {
      try await disk.read(at: copy * MemberLayout.superblockBytes, into: buffer)
    } catch {
      return .unreadable(error)
    }
    return reading(buffer, copy: copy)
  }

  /// Decodes what lies in the place of copy 0 (A) or 1 (B).
  static func reading(_ buffer: IOBuffer, copy: UInt64) -> SuperblockReading {
    do throws(FormatError) {
      let superblock = try Superblock.decode(buffer)
      guard superblock.superblockSequence % 2 == copy else {
        return .damaged(
          .misplaced(
            what: "place", expected: copy == 0 ? "B" : "A", found: copy == 0 ? "A" : "B"))
      }
      return .valid(superblock)
    } catch {
      guard case .version(let found, let supported) = error else { return .damaged(error) }
      return .newer(found: found, supported: supported, isIntact: Superblock.isIntact(buffer))
    }
  }
}
