import DiskFormat
import Geometry
import IO
import Parity

/// The blocks of all rows of one table page in memory, and what is known of each.
///
/// A page's rows follow one another, so each member's blocks of them lie together on it; here they
/// lie as they do there, and long runs are read and written in one operation. Solving is that of
/// `RowImage`, on a view of one row at a time.
final class PageImage {
  let memory: OwnedBuffer
  let geometry: StripeGeometry
  private(set) var page: UInt64 = 0
  private(set) var rows: Range<UInt64> = 0..<0
  // By row and position: see `index`.
  private(set) var places: [BlockPlace] = []
  private(set) var offsets: [Int] = []
  var entries: [BlockEntry] = []
  var parts: [RowImage.Part] = []
  /// Whether the block is to be read, or has been.
  var isWanted: [Bool] = []
  /// Reads or writes under way.
  var group: OperationGroup?
  /// What each operation of the group is about, by its tag.
  var runs: [PageRun] = []
  /// While clients are there, members get one short operation at a time.
  var isGentle = false
  /// Runs that were given to their members.
  var submittedRuns: Set<Int> = []
  /// What is being written of it, to all who get something.
  var writtenBytes: UInt64 = 0
  private let view: RowImage

  init?(_ placement: TablePlacement) {
    let width = placement.geometry.width
    guard let memory = OwnedBuffer(byteCount: Int(placement.rowsPerPage) * width * 4096) else {
      return nil
    }
    self.memory = memory
    geometry = placement.geometry
    view = RowImage(width: width, in: memory)
  }

  /// Where a block is found in the arrays.
  func index(_ row: UInt64, _ position: Int) -> Int {
    Int(row - rows.lowerBound) * geometry.width + position
  }

  /// Makes it the image of another page, of which nothing is known yet.
  func restart(page: UInt64, rows: Range<UInt64>) {
    self.page = page
    self.rows = rows
    places.removeAll(keepingCapacity: true)
    offsets.removeAll(keepingCapacity: true)
    var first = [UInt64?](repeating: nil, count: geometry.memberCount)
    var end = [UInt64](repeating: 0, count: geometry.memberCount)
    for row in rows {
      for position in 0..<geometry.width {
        let place = geometry.place(ofRow: row, position: position)
        places.append(place)
        // In one member's order, because its blocks rise with the rows.
        if first[place.slot] == nil { first[place.slot] = place.memberBlock }
        end[place.slot] = place.memberBlock + 1
      }
    }
    var starts = [Int](repeating: 0, count: geometry.memberCount)
    var next = 0
    for slot in 0..<geometry.memberCount {
      starts[slot] = next
      if let first = first[slot] { next += Int(end[slot] - first) * 4096 }
    }
    precondition(next == places.count * 4096, "a page's blocks do not lie together on a member")
    for place in places {
      offsets.append(starts[place.slot] + Int(place.memberBlock - (first[place.slot] ?? 0)) * 4096)
    }
    entries = Array(repeating: .neverWritten, count: places.count)
    parts = Array(repeating: .zeros, count: places.count)
    isWanted = Array(repeating: false, count: places.count)
    forgetRuns()
  }

  /// Other operations come next.
  func forgetRuns() {
    runs.removeAll(keepingCapacity: true)
    submittedRuns.removeAll(keepingCapacity: true)
  }

  /// The runs that are next: all that are left, or the first of each member.
  func takeRuns() -> [Int] {
    var seats: Set<Int> = []
    let taken = runs.indices.filter { index in
      !submittedRuns.contains(index) && (!isGentle || seats.insert(runs[index].seat).inserted)
    }
    submittedRuns.formUnion(taken)
    return taken
  }

  func buffer(_ index: Int) -> IOBuffer {
    let all = memory.buffer
    return all.slice(offsets[index], 4096)
  }

  /// Whether something in a row was read and is not what its entry says.
  func hasBad(_ row: UInt64) -> Bool {
    let first = index(row, 0)
    return (first..<first + geometry.width).contains { parts[$0] == .bad && isWanted[$0] }
  }

  /// The row's image, in this memory: what is solved there is solved here, once `adopt` has told.
  func rowView(_ row: UInt64) -> RowImage {
    let first = index(row, 0)
    for position in 0..<geometry.width {
      view.offsets[position] = offsets[first + position]
      view.parts[position] = parts[first + position]
      view.entries[position] = entries[first + position]
    }
    view.solvedBad.removeAll(keepingCapacity: true)
    return view
  }

  /// Takes over what the view of a row has found out.
  func adoptView(_ row: UInt64) {
    let first = index(row, 0)
    for position in 0..<geometry.width { parts[first + position] = view.parts[position] }
  }
}

/// Blocks of one page that lie one behind the other, on their member and in memory.
struct PageRun: Equatable {
  /// Whom it is read from or written to.
  var seat: Int
  var firstMemberBlock: UInt64
  var offset: Int
  var blockCount: Int

  /// Whether a block continues the run behind a gap of at most so many blocks.
  func continues(at memberBlock: UInt64, offset: Int, gapMax: UInt64) -> Bool {
    let end = firstMemberBlock + UInt64(blockCount)
    guard memberBlock >= end, memberBlock - end <= gapMax else { return false }
    return offset == self.offset + Int(memberBlock - firstMemberBlock) * 4096
  }

  mutating func extend(to memberBlock: UInt64) {
    blockCount = Int(memberBlock - firstMemberBlock) + 1
  }
}
