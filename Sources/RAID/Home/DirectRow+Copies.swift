import DiskFormat
import Geometry
import IO
import Parity

// Mirrors, and blocks without redundancy.
extension DirectRow {
  /// Every copy becomes the best that is there: new, else old, else what the crash tore.
  mutating func settleCopies() {
    let copies = 0..<geometry.width
    found = copies.map { look($0, 0) }
    if found.allSatisfy({ $0 == .old || $0 == .missing }), found.contains(.old) {
      outcomes = [oldOutcome(0)]
      isUntouched = true
      return
    }
    if let source = found.firstIndex(of: .new) {
      outcomes = [.written]
      copyToAll(from: source)
    } else if let source = found.firstIndex(of: .old) {
      outcomes = [oldOutcome(0)]
      copyToAll(from: source)
    } else {
      outcomes = [mergeTorn()]
    }
  }

  private func copyToAll(from source: Int) {
    for copy in 0..<geometry.width where copy != source {
      image.buffer(copy).copy(from: image.buffer(source))
    }
  }

  /// No copy is of one generation: each sector is new where any copy has it so, else old, if the
  /// copies agree on that, or the checksum of the old block says who is right.
  ///
  /// So a sector that the power loss damaged in one copy is never taken for an old one.
  private mutating func mergeTorn() -> Outcome {
    let present = found.indices.filter { found[$0] != .missing }
    // A copy alone of which nothing is new has nothing to go by.
    guard found.contains(.torn), let merged = RowImage(width: 1) else { return .lost }
    let target = merged.buffer(0)
    var isDisputed = false
    for sector in 0..<8 {
      let part = Self.bytes(ofSector: sector)
      let new = present.first { isNew(0, sector, image.buffer($0)) }
      let source = image.buffer(new ?? present[0]).slice(part)
      target.slice(part).copy(from: source)
      guard new == nil, case .written = old[0] else { continue }
      isDisputed =
        isDisputed || present.contains { !image.buffer($0).slice(part).isEqual(to: source) }
    }
    guard !isDisputed || assembleOld(target, present) else { return .lost }
    image.buffer(0).copy(from: target)
    let isSettled = isDisputed || isNew(0, target)
    let outcome = isSettled ? Outcome.written : adoptTorn(0, 0)
    copyToAll(from: 0)
    return outcome
  }

  /// Puts the old block together from the sectors of one copy, and where these are new already,
  /// from those of others.
  ///
  /// - Returns: whether it has its checksum.
  private func assembleOld(_ target: IOBuffer, _ present: [Int]) -> Bool {
    for trusted in present {
      for sector in 0..<8 {
        let part = Self.bytes(ofSector: sector)
        let order = [trusted] + present
        let source = order.first { !isNew(0, sector, image.buffer($0)) } ?? trusted
        target.slice(part).copy(from: image.buffer(source).slice(part))
      }
      if isOld(0, target) { return true }
    }
    return false
  }
}
