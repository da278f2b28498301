import DiskFormat
import Geometry
import IO

/// One row of a destage round: what becomes of each of its blocks.
struct RoundRow {
  /// A block that the index has for this row.
  struct Change: Equatable {
    var position: Int
    var block: UInt64
    var batchSequence: UInt64
    /// Checksum without a mask; 0 for zeros.
    var checksum: UInt32
    /// It becomes never-written.
    var isTrim: Bool
    /// Its content is beyond repair: it becomes lost, and counts as a trim for the rest.
    var isLost = false
  }

  /// How the new parity is found.
  enum Method: Equatable {
    /// From all data, new and read.
    case reconstructWrite
    /// From the old parity and the blocks that change.
    case readModifyWrite
    /// Mirrors, RAID-0, and rows that become never-written as a whole: there is none.
    case noParity
  }

  let row: UInt64
  /// Its place in the round's memory.
  let index: Int
  let page: UInt64
  var changes: [Change] = []
  var method = Method.noParity
  /// Old entries, by position.
  var entries: [BlockEntry] = []
  /// A read failed or did not verify: the slow way.
  var needsWholeRow = false
  /// Positions beyond repair, which become lost.
  var lost: [Int] = []
  /// Parities that cannot be known now: nothing is on their member, or it is bad.
  var lostParity: [Int] = []
  /// Positions that were bad and are written again as they should be.
  var healed: [Int] = []
  /// Nothing can be done now; the row stays pending.
  var isAbandoned = false

  func change(at position: Int) -> Change? { changes.first { $0.position == position } }

  /// Whether all data of the row is never-written afterwards.
  func becomesUnwritten(_ geometry: StripeGeometry) -> Bool {
    (0..<geometry.dataCount).allSatisfy { position in
      if let change = change(at: position) { return change.isTrim && !change.isLost }
      return !lost.contains(position) && entries[position].state == .neverWritten
    }
  }
}

/// The memory of a destage round: for each position of a row and each row a block of new content,
/// and one for what is read only to be subtracted.
///
/// Blocks of one position lie together in the order of rows, so that neighbours in a chunk are
/// written in one operation.
final class RoundMemory {
  let memory: OwnedBuffer
  let rowCountMax: Int
  private let width: Int

  init?(width: Int, rowCountMax: Int, usesHugePages: Bool) {
    guard
      let memory = OwnedBuffer(
        byteCount: 2 * width * rowCountMax * 4096, prefersHugePages: usesHugePages)
    else { return nil }
    self.memory = memory
    self.width = width
    self.rowCountMax = rowCountMax
  }

  /// New content of a block.
  func new(_ position: Int, _ index: Int) -> IOBuffer {
    let buffer = memory.buffer
    return buffer.slice((position * rowCountMax + index) * 4096, 4096)
  }

  /// New content of a run of rows at one position.
  func new(_ position: Int, _ indices: Range<Int>) -> IOBuffer {
    let buffer = memory.buffer
    return buffer.slice(
      (position * rowCountMax + indices.lowerBound) * 4096, indices.count * 4096)
  }

  /// Old content of a block that changes.
  func old(_ position: Int, _ index: Int) -> IOBuffer {
    let buffer = memory.buffer
    return buffer.slice(((width + position) * rowCountMax + index) * 4096, 4096)
  }
}
