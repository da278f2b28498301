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

  private(set) var found: [Found] = []
  private(set) var outcomes: [Outcome] = []
  /// Nothing of the direct write has reached the row, and nothing has to be written.
  private(set) var isUntouched = false

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
    return CRC32C.ofSectors(newSectors[start..<start + 8])
  }

  /// Decides what the row holds, and brings the image to that, parity included.
  mutating func settle() {
    if geometry.parityCount > 0 { settleParityRow() } else { settleCopies() }
  }

  // MARK: Looking

  private func newSector(_ data: Int, _ sector: Int) -> UInt32 {
    newSectors[newSectors.startIndex + data * 8 + sector]
  }

  private func isNew(_ data: Int, _ sector: Int, _ content: IOBuffer) -> Bool {
    CRC32C.checksum(content.slice(sector * 512, 512).bytes) == newSector(data, sector)
  }

  private func isNew(_ data: Int, _ content: IOBuffer) -> Bool {
    (0..<8).allSatisfy { isNew(data, $0, content) }
  }

  private func isOld(_ data: Int, _ content: IOBuffer) -> Bool {
    switch old[data] {
    case .written(let checksum): CRC32C.checksum(content.bytes) == checksum
    case .neverWritten: content.isZero
    case .lost: false
    }
  }

  /// What the block at a position is; `data` is whose content it should be.
  private func look(_ position: Int, _ data: Int) -> Found {
    guard isPresent[position] else { return .missing }
    let content = image.buffer(position)
    let newCount = (0..<8).reduce(0) { $0 + (isNew(data, $1, content) ? 1 : 0) }
    if newCount == 8 { return .new }
    switch old[data] {
    case .written(let checksum):
      if CRC32C.checksum(content.bytes) == checksum { return .old }
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
  private func oldOutcome(_ data: Int) -> Outcome {
    switch old[data] {
    case .written: .written
    case .neverWritten: .neverWritten
    case .lost: .lost
    }
  }

  /// Takes over a block that the crash tore: its sectors that are not new are old.
  private func adoptTorn(_ data: Int, _ position: Int) -> Outcome {
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
    solveNew()
    solveOld()
    takeBlankOld()
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
    return CRC32C.checksum(image.buffer(position).bytes) == expected
  }

  /// Brings all of the row to the new content, if what is not new follows from parity: that is seen
  /// by its checksums, so the parity need not be known to be new.
  private mutating func solveNew() {
    let unknown = found.indices.filter { found[$0] != .new }
    let usable = (0..<geometry.parityCount).filter { isPresent[geometry.dataCount + $0] }
    guard let solved = solved(unknown, usable, accepts: { isNew($0, $1) }) else { return }
    for (index, data) in unknown.enumerated() {
      image.buffer(data).copy(from: solved.buffer(index))
      found[data] = .new
    }
  }

  /// Finds the old content of blocks that are not there, if parity is still old.
  private mutating func solveOld() {
    let needed = found.indices.filter { found[$0] == .missing || found[$0] == .damaged }
    guard !needed.isEmpty else { return }
    let unknown = found.indices.filter { found[$0] != .old }
    let usable = (0..<geometry.parityCount).filter { isOldParity($0) }
    let solved = solved(unknown, usable) { data, content in
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

  /// Solves for one or two data blocks by whichever parities do, in memory of its own.
  ///
  /// - Returns: a row image that has the solved blocks at its first positions; nil when none can be
  ///   had that `accepts` takes.
  private func solved(
    _ unknown: [Int], _ usable: [Int], accepts: (Int, IOBuffer) -> Bool
  ) -> RowImage? {
    guard !unknown.isEmpty, unknown.count <= usable.count,
      let scratch = RowImage(width: 2)
    else { return nil }
    let ways = unknown.count == 2 ? [usable] : usable.map { [$0] }
    for way in ways {
      for (index, parity) in way.enumerated() {
        let target = scratch.buffer(index)
        target.copy(from: image.buffer(geometry.dataCount + parity))
        for data in found.indices where !unknown.contains(data) {
          if parity == 0 {
            RowMath.xor(image.buffer(data), into: target)
          } else {
            RowMath.addScaled(image.buffer(data), index: data, into: target)
          }
        }
      }
      if unknown.count == 2 {
        RowMath.solveTwo(
          x: unknown[0], y: unknown[1], p: scratch.buffer(0), q: scratch.buffer(1))
      } else if way[0] == 1 {
        RowMath.solveOneFromQ(index: unknown[0], scratch.buffer(0))
      }
      if unknown.indices.allSatisfy({ accepts(unknown[$0], scratch.buffer($0)) }) {
        return scratch
      }
    }
    return nil
  }

  // MARK: Mirrors, and blocks without redundancy

  /// Every copy becomes the best that is there: new, old, torn, in this order.
  private mutating func settleCopies() {
    let copies = 0..<geometry.width
    found = copies.map { look($0, 0) }
    if found.allSatisfy({ $0 == .old || $0 == .missing }), found.contains(.old) {
      outcomes = [oldOutcome(0)]
      isUntouched = true
      return
    }
    let source =
      found.firstIndex(of: .new) ?? found.firstIndex(of: .old) ?? found.firstIndex(of: .torn)
    guard let source else {
      outcomes = [.lost]
      return
    }
    switch found[source] {
    case .new: outcomes = [.written]
    case .old: outcomes = [oldOutcome(0)]
    default: outcomes = [adoptTorn(0, source)]
    }
    for copy in copies where copy != source {
      image.buffer(copy).copy(from: image.buffer(source))
    }
  }
}
