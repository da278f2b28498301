/// One line of history: what clients of a device asked for, in order, and what they were told.
///
/// Blocks have one writer at a time, so the requests of a block have an order. A promotion that
/// may leave writes behind begins another line, with what is there.
final class PairLine {
  struct Request {
    /// What its blocks hold then; 0 for a trim.
    let stamp: UInt64
    let run: Range<Int>
    let begunNanoseconds: UInt64
    /// When its client was told that it is done, whatever was lost later.
    var toldNanoseconds: UInt64?
    /// It has to be there.
    var isAcknowledged = false
    /// A flush that began behind that was acknowledged.
    var isFlushed = false
    /// When it may have been lost with the power: what began later says nothing of it.
    var doubtedNanoseconds = UInt64.max
  }

  /// What an image of the device has to show: every acknowledged request, every flushed one, or any
  /// beginning of the line.
  enum Bound { case acknowledged, flushed, prefix }

  let blockCount: Int
  private var requests: [Request]
  /// By block, the requests that name it, in order.
  private var ofBlock: [[Int]]
  /// Blocks that somebody writes just now.
  private var busyBlocks: Set<Int> = []

  /// A line that begins with what was found.
  init(image: [UInt64]) {
    blockCount = image.count
    requests = image.enumerated().map { block, stamp in
      Request(
        stamp: stamp, run: block..<block + 1, begunNanoseconds: 0, toldNanoseconds: 0,
        isAcknowledged: true, isFlushed: true)
    }
    ofBlock = image.indices.map { [$0] }
  }

  convenience init(blockCount: Int) {
    self.init(image: Array(repeating: 0, count: blockCount))
  }

  // MARK: What clients do

  func begin(_ run: Range<Int>, stamp: UInt64, at nanoseconds: UInt64) -> Int {
    requests.append(Request(stamp: stamp, run: run, begunNanoseconds: nanoseconds))
    for block in run { ofBlock[block].append(requests.count - 1) }
    return requests.count - 1
  }

  /// Keeps others from writing there; false when somebody does.
  func reserve(_ run: Range<Int>) -> Bool {
    guard busyBlocks.isDisjoint(with: run) else { return false }
    busyBlocks.formUnion(run)
    return true
  }

  func release(_ run: Range<Int>) { busyBlocks.subtract(run) }

  func acknowledge(_ request: Int, at nanoseconds: UInt64, isFlushed: Bool) {
    requests[request].toldNanoseconds = nanoseconds
    requests[request].isAcknowledged = true
    if isFlushed { requests[request].isFlushed = true }
  }

  /// What a flush that begins now covers.
  var unflushed: [Int] {
    requests.indices.filter { requests[$0].isAcknowledged && !requests[$0].isFlushed }
  }

  func noteFlushed(_ covered: [Int]) {
    for request in covered where requests[request].isAcknowledged {
      requests[request].isFlushed = true
    }
  }

  /// The power has failed wherever it was: what was not flushed may be there or not.
  func loseUnflushed(at nanoseconds: UInt64) {
    for request in requests.indices where !requests[request].isFlushed {
      requests[request].isAcknowledged = false
      requests[request].doubtedNanoseconds = min(requests[request].doubtedNanoseconds, nanoseconds)
    }
  }

  // MARK: What they see

  /// The place, among the requests of a block, before which no reader that begins now may look.
  func oldestVisible(_ block: Int) -> Int { oldest(block, .acknowledged) }

  /// A client has read a stamp: it must not vanish again (rule R1).
  ///
  /// - Returns: what is wrong with it.
  func noteRead(_ block: Int, _ stamp: UInt64, notBefore oldest: Int) -> String? {
    guard stamp != .max else { return "block \(block) is torn" }
    guard let shown = shown(block, stamp), shown.upperBound - 1 >= oldest else {
      return "a client reads \(stamp) in block \(block), and \(tail(block, from: oldest)) is what "
        + "it may hold"
    }
    let seen = ofBlock[block][max(shown.lowerBound, oldest)]
    requests[seen].isAcknowledged = true
    return nil
  }

  /// What is wrong with what a device shows while nobody writes; nil when nothing is.
  ///
  /// Whatever the bound, it has to be what there was at one moment: not a request without those that
  /// were done before it began, and none in part.
  func complaint(_ image: [UInt64], _ bound: Bound) -> String? {
    for (block, stamp) in image.enumerated() {
      guard stamp != .max else { return "block \(block) is torn" }
      let oldest = oldest(block, bound)
      guard let shown = shown(block, stamp), shown.upperBound > oldest else {
        return "block \(block) holds \(stamp), and \(tail(block, from: oldest)) is what it may "
          + "hold (\(bound))"
      }
    }
    return orderComplaint(image)
  }

  private func orderComplaint(_ image: [UInt64]) -> String? {
    let places = image.enumerated().map { shown($0, $1) ?? 0..<1 }
    for (block, place) in places.enumerated() where place.count == 1 {
      let request = ofBlock[block][place.lowerBound]
      for other in requests[request].run {
        let own = ofBlock[other].firstIndex(of: request) ?? 0
        guard places[other].upperBound > own else {
          return
            "block \(block) holds \(requests[request].stamp), block \(other) of the same write "
            + "does not: it holds \(image[other]) of \(tail(other, from: max(0, own - 3)))"
        }
      }
    }
    let begins = places.enumerated()
      .map { requests[ofBlock[$0][$1.lowerBound]].begunNanoseconds }.sorted()
    for (block, place) in places.enumerated() {
      for request in ofBlock[block].dropFirst(place.upperBound).map({ requests[$0] }) {
        guard let told = request.toldNanoseconds,
          let later = begins.last(where: { $0 < request.doubtedNanoseconds }), told < later
        else { continue }
        return "block \(block) lacks \(request.stamp), which was done \(later - told) ns before "
          + "another began that is there"
      }
    }
    return nil
  }

  private func oldest(_ block: Int, _ bound: Bound) -> Int {
    let list = ofBlock[block]
    return switch bound {
    case .acknowledged: list.lastIndex { requests[$0].isAcknowledged } ?? 0
    case .flushed: list.lastIndex { requests[$0].isFlushed } ?? 0
    case .prefix: 0
    }
  }

  /// Which requests of a block a stamp may be of, from the first to behind the last.
  private func shown(_ block: Int, _ stamp: UInt64) -> Range<Int>? {
    let list = ofBlock[block]
    guard let first = list.firstIndex(where: { requests[$0].stamp == stamp }),
      let last = list.lastIndex(where: { requests[$0].stamp == stamp })
    else { return nil }
    return first..<last + 1
  }

  private func tail(_ block: Int, from oldest: Int) -> String {
    "\(ofBlock[block].dropFirst(oldest).map { requests[$0].stamp })"
  }

  // MARK: Forks

  /// The blocks that only this line has written since another began with an image: those that it
  /// has for certain, and those that it may have.
  ///
  /// Nil when the image is not of this line.
  func diverged(from image: [UInt64]) -> (certain: Set<Int>, possible: Set<Int>)? {
    var (certain, possible) = (Set<Int>(), Set<Int>())
    for (block, stamp) in image.enumerated() {
      guard let shown = shown(block, stamp) else { return nil }
      if ofBlock[block].count > shown.lowerBound + 1 { possible.insert(block) }
      if ofBlock[block].dropFirst(shown.upperBound).contains(where: { requests[$0].isAcknowledged })
      {
        certain.insert(block)
      }
    }
    return (certain, possible)
  }
}
