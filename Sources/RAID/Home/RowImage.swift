import DiskFormat
import Geometry
import IO
import Parity

/// The blocks of one row in memory, and what is known of each.
final class RowImage {
  /// What is known of a block of the row.
  enum Part: Equatable {
    /// Never written or lost: zeros for the parity.
    case zeros
    /// Read or solved, and verified.
    case good
    /// Its member is not there to be asked.
    case absent
    /// Its member answered with an error or with something else.
    case bad
  }

  let width: Int
  let memory: OwnedBuffer
  /// Where each position's block begins in the memory.
  var offsets: [Int]
  var parts: [Part]
  var entries: [BlockEntry]
  /// Positions that were bad and have been solved since: to be rewritten.
  var solvedBad: [Int] = []
  /// Positions, as bits, whose members answered with an error.
  var failedReads: UInt32 = 0

  convenience init?(width: Int) {
    guard let memory = OwnedBuffer(byteCount: width * 4096) else { return nil }
    self.init(width: width, in: memory)
    for position in 0..<width { offsets[position] = position * 4096 }
  }

  /// A view of memory that has blocks of many rows: `offsets` say which.
  init(width: Int, in memory: OwnedBuffer) {
    self.width = width
    self.memory = memory
    offsets = Array(repeating: 0, count: width)
    parts = Array(repeating: .zeros, count: width)
    entries = Array(repeating: .neverWritten, count: width)
  }

  /// The same in other memory.
  convenience init?(copying other: RowImage) {
    self.init(width: other.width)
    memory.buffer.copy(from: other.memory.buffer)
    parts = other.parts
    entries = other.entries
    solvedBad = other.solvedBad
    failedReads = other.failedReads
  }

  func buffer(_ position: Int) -> IOBuffer {
    let buffer = memory.buffer
    return buffer.slice(offsets[position], 4096)
  }

  /// Whether the content of this position is known.
  func isKnown(_ position: Int) -> Bool { parts[position] == .good || parts[position] == .zeros }

  var unknownPositions: [Int] { (0..<width).filter { !isKnown($0) } }

  /// Computes what is unknown from what is known, and verifies it.
  ///
  /// Mirrors: any good copy. RAID-5: P. RAID-6: P, Q or both, for any one or two.
  ///
  /// `checksum` tells what a block at a position must have, without the mask; nil when that is not
  /// known. Returns whether everything is known now.
  func solve(_ geometry: StripeGeometry, checksum: (Int) -> UInt32?) -> Bool {
    let unknown = unknownPositions
    guard !unknown.isEmpty else { return true }
    if geometry.parityCount == 0 { return solveMirror(unknown, checksum) }
    let data = unknown.filter { $0 < geometry.dataCount }
    let p = geometry.dataCount
    let q = geometry.parityCount == 2 ? p + 1 : nil
    let isPKnown = isKnown(p)
    let isQKnown = q.map { isKnown($0) } ?? false
    switch data.count {
    case 0: break
    case 1 where isPKnown:
      sumData(geometry, into: data[0], leavingOut: data)
      RowMath.xor(buffer(p), into: buffer(data[0]))
    case 1:
      guard let q, isQKnown else { return false }
      sumScaledData(geometry, into: data[0], leavingOut: data)
      RowMath.xor(buffer(q), into: buffer(data[0]))
      RowMath.solveOneFromQ(index: data[0], buffer(data[0]))
    case 2:
      guard let q, isPKnown, isQKnown else { return false }
      sumData(geometry, into: data[0], leavingOut: data)
      RowMath.xor(buffer(p), into: buffer(data[0]))
      sumScaledData(geometry, into: data[1], leavingOut: data)
      RowMath.xor(buffer(q), into: buffer(data[1]))
      RowMath.solveTwo(x: data[0], y: data[1], p: buffer(data[0]), q: buffer(data[1]))
    default: return false
    }
    for position in data where !accept(position, checksum) { return false }
    // Parity last: all data is known.
    if !isPKnown {
      sumData(geometry, into: p, leavingOut: [])
      if !accept(p, checksum) { return false }
    }
    if let q, !isQKnown {
      sumScaledData(geometry, into: q, leavingOut: [])
      if !accept(q, checksum) { return false }
    }
    return true
  }

  private func solveMirror(_ unknown: [Int], _ checksum: (Int) -> UInt32?) -> Bool {
    guard let source = (0..<width).first(where: { parts[$0] == .good }) else { return false }
    for position in unknown {
      buffer(position).copy(from: buffer(source))
      if !accept(position, checksum) { return false }
    }
    return true
  }

  private func accept(_ position: Int, _ checksum: (Int) -> UInt32?) -> Bool {
    guard let expected = checksum(position) else { return false }
    guard BlockChecksum.of(buffer(position).bytes) == expected else { return false }
    if parts[position] == .bad { solvedBad.append(position) }
    parts[position] = .good
    return true
  }

  /// P of the data known: the sum of all data blocks but some.
  func sumData(_ geometry: StripeGeometry, into target: Int, leavingOut: [Int]) {
    let sum = buffer(target)
    sum.fill(with: 0)
    for position in 0..<geometry.dataCount
    where parts[position] == .good && !leavingOut.contains(position) {
      RowMath.xor(buffer(position), into: sum)
    }
  }

  /// Q of the data known.
  func sumScaledData(_ geometry: StripeGeometry, into target: Int, leavingOut: [Int]) {
    let sum = buffer(target)
    sum.fill(with: 0)
    for position in 0..<geometry.dataCount
    where parts[position] == .good && !leavingOut.contains(position) {
      RowMath.addScaled(buffer(position), index: position, into: sum)
    }
  }
}

/// Images that lie idle, for the next who needs one.
final class RowImagePool {
  private let width: Int
  /// What a group of rows needs; no more is kept.
  let idleCountMax: Int
  private var idle: [RowImage] = []

  init(width: Int) {
    self.width = width
    idleCountMax = max(32, min(256, (8 << 20) / (width * 4096)))
  }

  func take() throws(ArrayError) -> RowImage {
    if let image = idle.popLast() { return image }
    guard let image = RowImage(width: width) else { throw .outOfMemory }
    return image
  }

  /// One whose memory an abandoned operation still holds is let go instead.
  func giveBack(_ image: RowImage) {
    guard image.memory.isIdle, idle.count < idleCountMax else { return }
    image.solvedBad.removeAll(keepingCapacity: true)
    image.failedReads = 0
    idle.append(image)
  }
}
