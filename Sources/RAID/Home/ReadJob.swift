import DiskFormat
import Geometry

/// A block to be read from home.
struct HomeBlock {
  /// Its place in the request.
  let index: Int
  let block: UInt64
  let row: UInt64
  let position: Int
  /// The copy that is read, and its entry when the read began.
  var copy: Int
  var copyEntry: BlockEntry
  /// The run that brings it, if it is to be read at once.
  var tag: Int?
  /// Its member is too slow to be waited for.
  var isSlow = false

  init(index: Int, block: UInt64, row: UInt64, position: Int, entry: BlockEntry) {
    self.index = index
    self.block = block
    self.row = row
    self.position = position
    copy = position
    copyEntry = entry
  }
}

/// Blocks of a request that lie together on one member: one operation, whose tag is its number.
struct ReadRun {
  let first: BlockPlace
  /// The first of them in the list, and how many there are.
  let start: Int
  let count: Int
  /// The first's place in the request.
  let index: Int
  var isSlow = false
  var hasFailed = false
}

/// A request's list of blocks, used again and again.
final class ReadJob {
  var blocks: [HomeBlock] = []
  var runs: [ReadRun] = []

  func removeAll() {
    blocks.removeAll(keepingCapacity: true)
    runs.removeAll(keepingCapacity: true)
  }
}
