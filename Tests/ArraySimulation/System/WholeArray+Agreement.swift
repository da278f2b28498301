import DiskFormat
import Geometry
import IO
import Parity
package import Simulator
import Units

// After a stop in good order with all members up to date nothing may disagree: recomputed here from
// the bytes on the media, with none of the engine's code but the codecs.
extension WholeArray {
  package func disagreement(
    between media: [SimulatedMedium], _ shape: ArrayShape
  ) -> String? {
    guard let memory = AlignedMemory(byteCount: (shape.geometry.width + 4) * 4096) else {
      return nil
    }
    defer { withExtendedLifetime(memory) {} }
    guard let members = members(on: media, shape) else {
      return "the newest list names members that are not there"
    }
    let audit = Audit(media: members, shape: shape, memory: memory)
    return audit.run()
  }

  /// The media of the members of the newest list, by slot.
  private func members(on media: [SimulatedMedium], _ shape: ArrayShape) -> [SimulatedMedium]? {
    let superblocks = media.map(newestSuperblock)
    let newest = superblocks.compactMap(\.self).max { $0.eventCount < $1.eventCount }
    guard let newest else { return nil }
    let found = newest.memberIDs.compactMap { memberID in
      zip(media, superblocks).first { $0.1?.memberID == memberID }?.0
    }
    return found.count == shape.memberCount ? found : nil
  }

  private func newestSuperblock(_ medium: SimulatedMedium) -> Superblock? {
    guard let memory = AlignedMemory(byteCount: 4096) else { return nil }
    defer { withExtendedLifetime(memory) {} }
    let buffer = memory.buffer
    var newest: Superblock?
    for copy in 0..<UInt64(2) {
      medium.copyBytes(ByteRange(from: copy * 4096, to: (copy + 1) * 4096), into: buffer)
      guard let found = try? Superblock.decode(buffer) else { continue }
      if found.superblockSequence > newest?.superblockSequence ?? 0 { newest = found }
    }
    return newest
  }

  package func clientRecordCount(on media: [SimulatedMedium]) -> UInt64? {
    guard let memory = AlignedMemory(byteCount: 4096) else { return nil }
    defer { withExtendedLifetime(memory) {} }
    let buffer = memory.buffer
    var newest: Superblock?
    for medium in media {
      for copy in 0..<UInt64(2) {
        medium.copyBytes(ByteRange(from: copy * 4096, to: (copy + 1) * 4096), into: buffer)
        guard let found = try? Superblock.decode(buffer) else { continue }
        if found.checkpointSequence >= newest?.checkpointSequence ?? 0 { newest = found }
      }
    }
    return newest?.checkpointClientSequence
  }
}

/// One look at all members' bytes.
private final class Audit {
  private let media: [SimulatedMedium]
  private let geometry: StripeGeometry
  private let layout: MemberLayout
  private let placement: TablePlacement
  private let memory: AlignedMemory
  private var arrayID = Identifier.none

  init(media: [SimulatedMedium], shape: ArrayShape, memory: AlignedMemory) {
    self.media = media
    geometry = shape.geometry
    layout = shape.layout
    placement = TablePlacement(shape.geometry)
    self.memory = memory
  }

  private func buffer(_ index: Int) -> IOBuffer {
    let buffer = memory.buffer
    return buffer.slice(index * 4096, 4096)
  }

  private func read(_ slot: Int, _ offset: UInt64, into index: Int) -> IOBuffer {
    let target = buffer(index)
    media[slot].copyBytes(ByteRange(from: offset, to: offset + 4096), into: target)
    return target
  }

  func run() -> String? {
    for slot in media.indices {
      guard let superblock = newestSuperblock(slot) else { return "member \(slot) has none" }
      guard superblock.isClean else { return "member \(slot) is not marked clean" }
      guard superblock.memberStates.allSatisfy({ $0 == .current }) else {
        return "member \(slot) does not call all members current"
      }
      arrayID = superblock.arrayID
    }
    for page in 0..<placement.pageCount {
      guard isPresent(page) else { continue }
      guard let entries = agreedEntries(page) else { return "the copies of page \(page) differ" }
      for row in placement.rows(ofPage: page) {
        if let text = check(row, entries) { return text }
      }
    }
    return nil
  }

  private func newestSuperblock(_ slot: Int) -> Superblock? {
    var newest: Superblock?
    for copy in 0..<UInt64(2) {
      guard let found = try? Superblock.decode(read(slot, copy * 4096, into: 0)) else { continue }
      if found.superblockSequence > newest?.superblockSequence ?? 0 { newest = found }
    }
    return newest
  }

  /// What the first member's map says; the maps of all must say the same.
  private func isPresent(_ page: UInt64) -> Bool {
    let number = page / PageMap.entriesPerPage
    var newest: (sequence: UInt64, flags: PageMap.Flags)?
    for slot in 0..<UInt64(2) {
      let map = read(0, layout.mapOffset + (number * 2 + slot) * 4096, into: 0)
      guard let sequence = try? PageMap.verify(map, arrayID: arrayID, number: number) else {
        continue
      }
      if sequence > newest?.sequence ?? 0 {
        newest = (
          sequence, PageMap.flags(in: map, at: Int(page % PageMap.entriesPerPage))
        )
      }
    }
    return newest?.flags.contains(.present) ?? false
  }

  /// The entries of a page; nil when its copies do not all have the same.
  private func agreedEntries(_ page: UInt64) -> [BlockEntry]? {
    var agreed: [BlockEntry]?
    for copy in 0..<placement.copyCount {
      let member = placement.slot(ofPage: page, copy: copy)
      var newest: (sequence: UInt64, entries: [BlockEntry])?
      for slot in 0...1 {
        let offset = placement.offsetBytes(ofPage: page, copy: copy, slot: slot)
        let bytes = read(member, layout.tableOffset + offset, into: 0)
        guard let header = try? TablePage.verify(bytes, arrayID: arrayID, pageNumber: page) else {
          continue
        }
        guard header.sequence > newest?.sequence ?? 0 else { continue }
        newest = (
          header.sequence,
          (0..<TablePlacement.entriesPerPage).map { TablePage.entry(in: bytes, at: $0) }
        )
      }
      guard let newest, agreed == nil || agreed == newest.entries else { return nil }
      agreed = newest.entries
    }
    return agreed
  }

  /// Every written block has its checksum, copies are equal, and parity fits.
  private func check(_ row: UInt64, _ entries: [BlockEntry]) -> String? {
    var sumP = [UInt8](repeating: 0, count: 4096)
    var sumQ = sumP
    var first: [UInt8]?
    for position in 0..<geometry.width {
      let entry = entries[placement.entryIndex(row: row, position: position)]
      guard entry.state == .written else { continue }
      let place = geometry.place(ofRow: row, position: position)
      let bytes = read(place.slot, layout.dataOffset + place.memberBlock * 4096, into: 1)
      let mask = ChecksumMask.of(arrayID: arrayID, place: place)
      guard BlockChecksum.of(bytes.bytes) ^ mask == entry.checksum else {
        return "row \(row), position \(position): the block does not have its checksum"
      }
      let content = (0..<4096).map { bytes[$0] }
      if geometry.isMirrored {
        guard first == nil || first == content else { return "row \(row): copies differ" }
        first = content
      } else if position < geometry.dataCount {
        for index in 0..<4096 {
          sumP[index] ^= content[index]
          sumQ[index] ^= Self.scaled(content[index], position)
        }
      } else if geometry.parityCount > 0 {
        let expected = position == geometry.dataCount ? sumP : sumQ
        guard content == expected else { return "row \(row): parity \(position) does not fit" }
      }
    }
    return nil
  }

  /// g^power times a byte in GF(2^8) modulo 0x11D, bit by bit.
  private static func scaled(_ byte: UInt8, _ power: Int) -> UInt8 {
    var result = UInt16(byte)
    for _ in 0..<power {
      result <<= 1
      if result & 0x100 != 0 { result ^= 0x11D }
    }
    return UInt8(truncatingIfNeeded: result)
  }
}
