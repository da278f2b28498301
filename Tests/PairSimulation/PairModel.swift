/// What blocks may hold: each has one writer at a time, so its writes have an order.
struct PairModel {
  struct Write {
    var stamp: UInt64
    /// A client was told that it is done.
    var isAcknowledged = false
    /// A flush that began behind that was acknowledged.
    var isFlushed = false
  }

  /// By block, in order; stamp 0 is what was never written.
  private(set) var writes: [[Write]]
  private var nextStamp: UInt64 = 1

  init(blockCount: Int) {
    writes = Array(
      repeating: [Write(stamp: 0, isAcknowledged: true, isFlushed: true)], count: blockCount)
  }

  mutating func begin(_ block: Int) -> UInt64 {
    let stamp = nextStamp
    nextStamp += 1
    writes[block].append(Write(stamp: stamp))
    return stamp
  }

  mutating func begin(_ block: Int, stamp: UInt64) {
    writes[block].append(Write(stamp: stamp))
  }

  mutating func acknowledge(_ block: Int, _ stamp: UInt64) {
    guard let index = writes[block].lastIndex(where: { $0.stamp == stamp }) else { return }
    writes[block][index].isAcknowledged = true
  }

  /// The newest acknowledged write of each block, for a flush that begins now.
  var acknowledged: [Int] {
    writes.map { list in list.lastIndex { $0.isAcknowledged } ?? 0 }
  }

  mutating func noteFlushed(_ stamps: [UInt64]) {
    for (block, stamp) in stamps.enumerated() {
      guard let index = writes[block].firstIndex(where: { $0.stamp == stamp }) else { continue }
      writes[block][index].isFlushed = true
    }
  }

  /// What was acknowledged and not flushed may be there or not.
  mutating func loseUnflushed() {
    for block in writes.indices {
      for index in writes[block].indices where !writes[block][index].isFlushed {
        writes[block][index].isAcknowledged = false
      }
    }
  }

  var acknowledgedStamps: [UInt64] {
    writes.map { list in list.last { $0.isAcknowledged }?.stamp ?? 0 }
  }

  /// Whether a block may hold this; `nil` is a block that cannot be read.
  ///
  /// `bound`: `.acknowledged`: nothing older than the newest acknowledged write; `.flushed`:
  ///   nothing older than the newest flushed one; `.any`: any that there ever was; `.none`: whatever it
  ///   is, as long as it is whole.
  func complaint(_ block: Int, _ stamp: UInt64?, _ bound: Bound) -> String? {
    guard let stamp else { return "block \(block) cannot be read" }
    guard stamp != .max else { return "block \(block) is torn" }
    if bound == .none { return nil }
    let list = writes[block]
    guard let index = list.firstIndex(where: { $0.stamp == stamp }) else {
      return "block \(block) holds \(stamp), which is no write of it that may still be there: "
        + "\(list.map(\.stamp))"
    }
    let oldest: Int =
      switch bound {
      case .acknowledged: list.lastIndex { $0.isAcknowledged } ?? 0
      case .flushed: list.lastIndex { $0.isFlushed } ?? 0
      case .any, .none: 0
      }
    guard index >= oldest else {
      return "block \(block) holds \(stamp), and \(list[oldest].stamp) was \(bound)"
    }
    return nil
  }

  enum Bound { case acknowledged, flushed, any, none }

  /// What was read is what there is from now on: nothing else can come back.
  mutating func settle(_ block: Int, _ stamp: UInt64) {
    writes[block] = [Write(stamp: stamp, isAcknowledged: true, isFlushed: true)]
  }
}
