import DiskFormat
import Geometry
import IO
import Parity

/// What a direct write that a crash cut off has left of one row, and what becomes of it.
///
/// The rules are in docs/upkeep.md, section 6. Pure: no I/O, nothing but the bytes that were found.
/// The bytes lie in `image`; settling changes them to what the row holds from now on.
struct DirectRow {
  /// What was found of a data block, or of one copy of a mirrored block.
  enum Found: Equatable {
    /// Every sector is new.
    case new
    /// It is what home held before.
    case old
    /// Some sectors are new: the crash tore it.
    case torn
    /// No sector is new, and it is not the old one either.
    case damaged
    /// Its member does not answer, or not with it.
    case missing
  }

  /// What a data block holds from now on.
  enum Outcome: Equatable {
    /// What the image has for it.
    case written
    case neverWritten
    case lost
  }

  let geometry: StripeGeometry
  let image: RowImage
  /// One for each data block.
  let old: [DirectOldBlock]
  /// 8 for each data block.
  let newSectors: ArraySlice<UInt32>
  /// By position: its bytes were read.
  var isPresent: [Bool]
  /// What the table says of each parity, without the mask; nil where it is not written.
  let oldParity: [UInt32?]
  var plantsRotAdopted = false

  var found: [Found] = []
  var outcomes: [Outcome] = []
  /// Nothing of the direct write has reached the row, and nothing has to be written.
  var isUntouched = false

  /// New sectors of data blocks that were solved.
  private struct NewSectors {
    let image: RowImage
    /// By data block, a bit for each sector.
    var masks: [UInt8]
  }

  init(
    geometry: StripeGeometry, image: RowImage, old: [DirectOldBlock],
    newSectors: ArraySlice<UInt32>, isPresent: [Bool], oldParity: [UInt32?]
  ) {
    self.geometry = geometry
    self.image = image
    self.old = old
    self.newSectors = newSectors
    self.isPresent = isPresent
    self.oldParity = oldParity
  }

  /// The checksum of the block's new content.
  func newChecksum(_ data: Int) -> UInt32 {
    let start = newSectors.startIndex + data * 8
    return BlockChecksum.ofSectors(newSectors[start..<start + 8])
  }

  /// Decides what the row holds, and brings the image to that, parity included.
  mutating func settle() {
    if geometry.parityCount > 0 { settleParityRow() } else { settleCopies() }
  }

  // MARK: Looking

  static func bytes(ofSector sector: Int) -> Range<Int> { sector * 512..<sector * 512 + 512 }

  private func newSector(_ data: Int, _ sector: Int) -> UInt32 {
    newSectors[newSectors.startIndex + data * 8 + sector]
  }

  /// Whether a sector, of a whole block or by itself, is the new one.
  func isNew(_ data: Int, _ sector: Int, _ content: IOBuffer) -> Bool {
    let bytes = content.byteCount == 512 ? content : content.slice(Self.bytes(ofSector: sector))
    return BlockChecksum.ofSector(bytes.bytes) == newSector(data, sector)
  }

  /// Whether all of a block is.
  func isNew(_ data: Int, _ content: IOBuffer) -> Bool {
    (0..<8).allSatisfy { isNew(data, $0, content) }
  }

  func isOld(_ data: Int, _ content: IOBuffer) -> Bool {
    switch old[data] {
    case .written(let checksum): BlockChecksum.of(content.bytes) == checksum
    case .neverWritten: content.isZero
    case .lost: false
    }
  }

  /// What the block at a position is; `data` is whose content it should be.
  func look(_ position: Int, _ data: Int) -> Found {
    guard isPresent[position] else { return .missing }
    let content = image.buffer(position)
    let newCount = (0..<8).reduce(0) { $0 + (isNew(data, $1, content) ? 1 : 0) }
    if newCount == 8 { return .new }
    switch old[data] {
    case .written(let checksum):
      if BlockChecksum.of(content.bytes) == checksum { return .old }
      return newCount > 0 || plantsRotAdopted ? .torn : .damaged
    // What lies there says nothing, as long as nothing of it is new.
    case .neverWritten, .lost: return newCount > 0 ? .torn : .old
    }
  }

  /// What the old content counts as where it has none.
  private func blankOld(_ data: Int, _ position: Int) {
    if case .written = old[data] { return }
    image.buffer(position).fill(with: 0)
  }

  /// The outcome of a block that stays as it was.
  func oldOutcome(_ data: Int) -> Outcome {
    switch old[data] {
    case .written: .written
    case .neverWritten: .neverWritten
    case .lost: .lost
    }
  }

  /// Takes over a block that the crash tore: its sectors that are not new are old.
  func adoptTorn(_ data: Int, _ position: Int) -> Outcome {
    let content = image.buffer(position)
    switch old[data] {
    case .written: return .written
    case .neverWritten:
      for sector in 0..<8 where !isNew(data, sector, content) {
        content.slice(sector * 512, 512).fill(with: 0)
      }
      return .written
    // Its old sectors cannot be had: all of it is as it was.
    case .lost: return .lost
    }
  }

  // MARK: Rows with parity

  private mutating func settleParityRow() {
    found = (0..<geometry.dataCount).map { look($0, $0) }
    for data in 0..<geometry.dataCount where found[data] == .old { blankOld(data, data) }
    if found.allSatisfy({ $0 == .old }), parityIsOld() {
      outcomes = found.indices.map(oldOutcome)
      isUntouched = true
      return
    }
    if found.contains(where: { $0 != .new }) {
      let solved = solveNewSectors()
      if !takeAllNew(solved) {
        // Torn blocks as well, if that can be; else only those that would be lost.
        solveOld { $0 != .old }
        solveOld { $0 == .missing || $0 == .damaged }
        takeBlankOld()
        takeNew(solved)
      }
    }
    outcomes = found.indices.map { data in
      switch found[data] {
      case .new: .written
      case .old: oldOutcome(data)
      case .torn: adoptTorn(data, data)
      case .damaged, .missing: .lost
      }
    }
    for data in found.indices {
      if outcomes[data] != .written { image.buffer(data).fill(with: 0) }
      image.parts[data] = outcomes[data] == .written ? .good : .zeros
    }
    image.sumData(geometry, into: geometry.dataCount, leavingOut: [])
    if geometry.parityCount == 2 {
      image.sumScaledData(geometry, into: geometry.dataCount + 1, leavingOut: [])
    }
  }

  /// Whether no parity that can be looked at has changed.
  private func parityIsOld() -> Bool {
    (0..<geometry.parityCount).allSatisfy { parity in
      !isPresent[geometry.dataCount + parity] || oldParity[parity] == nil
        || isOldParity(parity)
    }
  }

  private func isOldParity(_ parity: Int) -> Bool {
    let position = geometry.dataCount + parity
    guard isPresent[position], let expected = oldParity[parity] else { return false }
    return BlockChecksum.of(image.buffer(position).bytes) == expected
  }

  /// Solves sectors that are not new from those of the same column of the row.
  ///
  /// The new checksums show whether it went right, so parity need not be known to be new.
  private func solveNewSectors() -> NewSectors? {
    guard let image = RowImage(width: geometry.dataCount) else { return nil }
    var sectors = NewSectors(image: image, masks: [UInt8](repeating: 0, count: found.count))
    let usable = (0..<geometry.parityCount).filter { isPresent[geometry.dataCount + $0] }
    for sector in 0..<8 {
      let unknown = found.indices.filter { data in
        found[data] == .missing || !isNew(data, sector, self.image.buffer(data))
      }
      let part = DirectRow.bytes(ofSector: sector)
      guard let solved = solved(unknown, usable, part, accepts: { isNew($0, sector, $1) })
      else { continue }
      for (index, data) in unknown.enumerated() {
        image.buffer(data).slice(part).copy(from: solved.buffer(index).slice(part))
        sectors.masks[data] |= 1 << UInt8(sector)
      }
    }
    return sectors
  }

  /// Takes the new content of the whole row, where all of it is there or solved.
  private mutating func takeAllNew(_ solved: NewSectors?) -> Bool {
    guard let solved,
      found.indices.allSatisfy({ found[$0] == .new || isWhole($0, solved) })
    else { return false }
    for data in found.indices where found[data] != .new { take(data, solved) }
    return true
  }

  /// Takes what was solved of blocks that would be torn or lost otherwise.
  private mutating func takeNew(_ solved: NewSectors?) {
    guard let solved else { return }
    for data in found.indices {
      switch found[data] {
      case .new, .old: continue
      case .torn: take(data, solved)
      // What is not new there is nothing to go by.
      case .damaged, .missing: if isWhole(data, solved) { take(data, solved) }
      }
    }
  }

  /// Whether every sector of a block is new or solved.
  private func isWhole(_ data: Int, _ solved: NewSectors) -> Bool {
    (0..<8).allSatisfy { sector in
      solved.masks[data] >> UInt8(sector) & 1 != 0
        || (found[data] != .missing && isNew(data, sector, image.buffer(data)))
    }
  }

  private mutating func take(_ data: Int, _ solved: NewSectors) {
    for sector in 0..<8 where solved.masks[data] >> UInt8(sector) & 1 != 0 {
      let part = DirectRow.bytes(ofSector: sector)
      image.buffer(data).slice(part).copy(from: solved.image.buffer(data).slice(part))
    }
    if isNew(data, image.buffer(data)) { found[data] = .new }
  }

  /// Finds the old content of blocks, if parity is still old: their old checksum shows it.
  ///
  /// Of a torn block the sectors that are not new may be rotten, and where old and new content have
  /// a sector in common, it looks torn although nothing has reached it.
  private mutating func solveOld(_ isNeeded: (Found) -> Bool) {
    let needed = found.indices.filter { found[$0] != .new && isNeeded(found[$0]) }
    guard !needed.isEmpty, !plantsRotAdopted else { return }
    let unknown = found.indices.filter { found[$0] != .old }
    let usable = (0..<geometry.parityCount).filter { isOldParity($0) }
    let solved = solved(unknown, usable, 0..<4096) { data, content in
      !needed.contains(data) || isOld(data, content)
    }
    guard let solved else { return }
    for (index, data) in unknown.enumerated() where needed.contains(data) {
      image.buffer(data).copy(from: solved.buffer(index))
      found[data] = .old
    }
  }

  /// What is not there and had no content stays without, where another block shows that the write
  /// had not become durable.
  private mutating func takeBlankOld() {
    guard found.contains(.old) else { return }
    for data in found.indices where found[data] == .missing {
      if case .written = old[data] { continue }
      found[data] = .old
      blankOld(data, data)
    }
  }

  /// Solves a part of one or two data blocks by whichever parities do, in memory of its own.
  ///
  /// - Returns: a row image that has the solved parts in its first blocks; nil when none can be had
  ///   that `accepts` takes.
  private func solved(
    _ unknown: [Int], _ usable: [Int], _ part: Range<Int>, accepts: (Int, IOBuffer) -> Bool
  ) -> RowImage? {
    guard !unknown.isEmpty, unknown.count <= usable.count,
      let scratch = RowImage(width: 2)
    else { return nil }
    let ways = unknown.count == 2 ? [usable] : usable.map { [$0] }
    for way in ways {
      for (index, parity) in way.enumerated() {
        let target = scratch.buffer(index).slice(part)
        target.copy(from: image.buffer(geometry.dataCount + parity).slice(part))
        for data in found.indices where !unknown.contains(data) {
          let source = image.buffer(data).slice(part)
          if parity == 0 {
            RowMath.xor(source, into: target)
          } else {
            RowMath.addScaled(source, index: data, into: target)
          }
        }
      }
      let (first, second) = (scratch.buffer(0).slice(part), scratch.buffer(1).slice(part))
      if unknown.count == 2 {
        RowMath.solveTwo(x: unknown[0], y: unknown[1], p: first, q: second)
      } else if way[0] == 1 {
        RowMath.solveOneFromQ(index: unknown[0], first)
      }
      if unknown.indices.allSatisfy({ accepts(unknown[$0], $0 == 0 ? first : second) }) {
        return scratch
      }
    }
    return nil
  }
}
