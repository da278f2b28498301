package import IO
package import Simulator

/// What a device may hold, told by the history of its clients alone: a register for each sector,
/// bound together by requests that are whole or absent.
///
/// It knows nothing of members, logs or parity. It is told when each request begins and ends, when
/// the machine crashes and how, and when the device serves again; and it judges what reads return.
/// It never blames a device that keeps its promises; it may let a broken one pass, as where two
/// writes explain the same zeros.
package final class DeviceModel: @unchecked Sendable {
  package let sectorCount: Int
  package let promises: Promises
  /// Makes the stamps of one history unlike those of another.
  package let salt: UInt64
  /// The first promise that was seen broken.
  package private(set) var violation: Violation?
  /// Requests that have begun and have not ended.
  package private(set) var openRequestCount = 0

  var pieces: [Piece]
  var sectors: [SectorHistory]
  /// Rises with every beginning and end.
  private(set) var now = 0
  /// How often a device has been opened on the media.
  private(set) var life = 0
  /// How the life before this one ended; nil when it was closed.
  private(set) var lastCrash: CrashKind?
  private var requestCount = 0
  /// How many records of a log the requests so far can have become.
  private(set) var recordCountMax: UInt64 = 0
  /// Acknowledged, but not yet by a flush.
  private var unflushed: [Int] = []
  /// Blocks of 4 KiB that may fail to be read (the exception of P5): now, and after a power loss.
  private var excused: Set<Int> = []
  private var durablyExcused: Set<Int> = []
  /// Sectors of long requests that a crash cut off, not overwritten since.
  private(set) var tornSectors = TornSectors()
  /// Garbage that was read and excused.
  var adoptedCount = 0
  /// Whether the medium of a sector's home was made to lie; nil where no such lie is excused.
  package var homeHasLied: (@Sendable (_ sector: Int) -> Bool)?
  private var sectorsWithNews: Set<Int> = []
  private var over: Set<Pair> = []

  /// Of two requests at the same time, which lies over the other.
  private struct Pair: Hashable {
    let upper: Int
    let lower: Int
  }

  /// A device of zeros.
  package init(sectorCount: Int, promises: Promises, salt: UInt64) {
    self.sectorCount = sectorCount
    self.promises = promises
    self.salt = salt
    var zeros = Piece(
      request: 0, sectors: 0..<sectorCount, isZero: true, isDirect: false,
      isOptional: false, begin: 0, life: -1)
    zeros.end = 0
    zeros.outcome = .acknowledged
    zeros.fate = .applied
    zeros.isDurable = true
    pieces = [zeros]
    sectors = [SectorHistory](repeating: SectorHistory(), count: sectorCount)
  }

  /// Keeps the first violation.
  package func report(_ found: Violation) {
    if violation == nil { violation = found }
  }

  func advance() -> Int {
    now += 1
    return now
  }

  // MARK: Requests that change

  /// A request on its way; its pieces have consecutive numbers.
  package struct Change: Sendable {
    let pieces: Range<Int>
    package let sectors: Range<Int>
  }

  /// A write begins: from now on it may take effect.
  package func beginWrite(_ range: Range<Int>) -> Change {
    let parts = cutAtAtomicBytes(range)
    // What goes home directly is cut out of the middle.
    recordCountMax += UInt64(parts.count) + 2
    guard promises.longRequestsGoDirect, range.count * SectorStamp.byteCount > promises.atomicBytes
    else { return begin(range, parts, isZero: false, isOptional: false) }
    return begin(range, range.map { $0..<$0 + 1 }, isZero: false, isDirect: true, isOptional: false)
  }

  /// A request to zero begins.
  package func beginZeroes(_ range: Range<Int>) -> Change {
    let parts =
      promises.zeroingIsAtomic ? cutAtAtomicBytes(range) : range.map { $0..<$0 + 1 }
    // What is not whole blocks, at either end, may be apart.
    recordCountMax += UInt64(parts.count) + 2
    return begin(range, parts, isZero: true, isOptional: false)
  }

  /// A trim begins: its whole blocks, or each sector, by what is promised.
  package func beginTrim(_ range: Range<Int>) -> Change {
    recordCountMax += UInt64(range.count / 128) + 2
    guard promises.trimZeroesBlocks else {
      return begin(range, range.map { $0..<$0 + 1 }, isZero: true, isOptional: true)
    }
    let blocks =
      ((range.lowerBound + 7) / 8)..<max((range.lowerBound + 7) / 8, range.upperBound / 8)
    return begin(range, blocks.map { $0 * 8..<$0 * 8 + 8 }, isZero: true, isOptional: false)
  }

  private func begin(
    _ range: Range<Int>, _ parts: [Range<Int>], isZero: Bool, isDirect: Bool = false,
    isOptional: Bool
  ) -> Change {
    precondition(range.lowerBound >= 0 && range.upperBound <= sectorCount)
    let begin = advance()
    requestCount += 1
    openRequestCount += 1
    let first = pieces.count
    for part in parts {
      for sector in part { sectors[sector].writers.append(pieces.count) }
      pieces.append(
        Piece(
          request: requestCount, sectors: part, isZero: isZero, isDirect: isDirect,
          isOptional: isOptional, begin: begin, life: life))
    }
    return Change(pieces: first..<pieces.count, sectors: range)
  }

  /// Requests beyond the limit are cut at its multiples, counted from the device's start and from
  /// the request's: what is left is indivisible by either reading of the promise.
  private func cutAtAtomicBytes(_ range: Range<Int>) -> [Range<Int>] {
    let limit = max(1, Int(promises.atomicBytes) / SectorStamp.byteCount)
    guard range.count > limit else { return range.isEmpty ? [] : [range] }
    var parts: [Range<Int>] = []
    var start = range.lowerBound
    while start < range.upperBound {
      let byDevice = (start / limit + 1) * limit
      let byRequest = range.lowerBound + ((start - range.lowerBound) / limit + 1) * limit
      let end = min(byDevice, byRequest, range.upperBound)
      parts.append(start..<end)
      start = end
    }
    return parts
  }

  /// Fills a buffer with what the write is to write.
  package func fill(_ buffer: IOBuffer, for change: Change) {
    for number in change.pieces {
      for sector in pieces[number].sectors {
        SectorStamp.fill(
          buffer, at: (sector - change.sectors.lowerBound) * SectorStamp.byteCount,
          piece: number, sector: sector, salt: salt)
      }
    }
  }

  /// It was acknowledged, as one that survives power loss if it asked for that.
  package func acknowledge(_ change: Change, durably: Bool) {
    let end = finish(change, .acknowledged)
    for number in change.pieces where !pieces[number].isOptional {
      forgive(pieces[number].sectors, durably: durably)
      tornSectors.overwrite(pieces[number].sectors, durably: durably)
    }
    for number in change.pieces where !pieces[number].isOptional {
      pieces[number].fate = .applied
      pieces[number].isDurable = durably
      if !durably { unflushed.append(number) }
      let begin = pieces[number].begin
      let claim = Claim(piece: number, begin: begin, end: end, pieceBegin: begin, life: life)
      for sector in pieces[number].sectors {
        SectorHistory.add(claim, to: &sectors[sector].live, pieces)
        if durably { SectorHistory.add(claim, to: &sectors[sector].durable, pieces) }
        if !durably { sectorsWithNews.insert(sector) }
      }
    }
  }

  /// It was answered with an error: it may have had its effect, or not, as a whole.
  package func fail(_ change: Change) { _ = finish(change, .failed) }

  private func finish(_ change: Change, _ outcome: Piece.Outcome) -> Int {
    let end = advance()
    openRequestCount -= 1
    for number in change.pieces {
      precondition(pieces[number].outcome == .open, "a request ends once")
      pieces[number].end = end
      pieces[number].outcome = outcome
    }
    return end
  }

  // MARK: Flushes

  /// A flush begins; what it returns goes to `endFlush`.
  package func beginFlush() -> Int {
    openRequestCount += 1
    return advance()
  }

  /// It has ended: with success, all that had been acknowledged before it began is durable.
  package func endFlush(_ begin: Int, succeeded: Bool) {
    openRequestCount -= 1
    _ = advance()
    guard succeeded else { return }
    unflushed.removeAll { number in
      guard let end = pieces[number].end, end < begin else { return false }
      pieces[number].isDurable = true
      forgive(pieces[number].sectors, durably: true)
      tornSectors.overwrite(pieces[number].sectors, durably: true)
      return true
    }
    for sector in sectorsWithNews {
      var isAllDurable = true
      for claim in sectors[sector].live where !sectors[sector].durable.contains(claim) {
        if claim.end < begin, claim.piece >= 0, pieces[claim.piece].isDurable {
          SectorHistory.add(claim, to: &sectors[sector].durable, pieces)
        } else {
          isAllDurable = false
        }
      }
      if isAllDurable { sectorsWithNews.remove(sector) }
    }
  }

  // MARK: Crashes

  /// The machine crashed: what was open has happened or has not, and nobody was told.
  package func crash(_ kind: CrashKind) {
    let end = advance()
    openRequestCount = 0
    lastCrash = kind
    if kind == .powerLoss { excused = durablyExcused }
    for (number, piece) in pieces.enumerated() where piece.isDirect && piece.life == life {
      let isTorn = isTorn(piece, by: kind)
      // Beyond redundancy what is finished cannot be told from that until a checkpoint has passed it.
      if isTorn || promises.toleratesLoss {
        tornSectors.add(piece.sectors, piece: number)
      }
      if isTorn, promises.excusesTornWrites {
        excused.formUnion(Self.blocks(of: piece.sectors))
      }
    }
    if kind == .powerLoss { tornSectors.losePower() }
    for number in pieces.indices where pieces[number].outcome == .open {
      pieces[number].end = end
      pieces[number].outcome = .interrupted
    }
    guard kind == .powerLoss else { return }
    for number in pieces.indices where !pieces[number].isDurable {
      if pieces[number].fate == .applied { pieces[number].fate = .undecided }
    }
    unflushed = []
    sectorsWithNews = []
    for index in sectors.indices { sectors[index].live = sectors[index].durable }
  }

  /// A long request that was not durable when a crash came together with the loss of a member may
  /// leave its own blocks unreadable; nothing else may.
  private func isTorn(_ piece: Piece, by kind: CrashKind) -> Bool {
    piece.outcome == .open || (kind == .powerLoss && !piece.isDurable)
  }

  private static func blocks(of sectors: Range<Int>) -> ClosedRange<Int> {
    sectors.lowerBound / 8...(sectors.upperBound - 1) / 8
  }

  /// What was written can be read, at least until the power goes.
  private func forgive(_ sectors: Range<Int>, durably: Bool) {
    guard !excused.isEmpty || !durablyExcused.isEmpty, !sectors.isEmpty else { return }
    excused.subtract(Self.blocks(of: sectors))
    if durably { durablyExcused.subtract(Self.blocks(of: sectors)) }
  }

  /// What could be read can be read from now on, at least until the power goes.
  func noteReadable(_ sectors: Range<Int>) { forgive(sectors, durably: false) }

  /// Whether a request may fail because of a block that it has to read.
  package func excuses(_ sectors: Range<Int>) -> Bool {
    !excused.isEmpty && !sectors.isEmpty
      && Self.blocks(of: sectors).contains { excused.contains($0) }
  }

  /// Whether all of the blocks may be unreadable.
  package func excusesAll(_ sectors: Range<Int>) -> Bool {
    sectors.isEmpty || Self.blocks(of: sectors).allSatisfy { excused.contains($0) }
  }

  /// The device was closed, which flushes.
  package func close() {
    lastCrash = nil
    endFlush(beginFlush(), succeeded: true)
  }

  /// The device serves: what it holds now is decided and durable (L3), whatever it is.
  package func serve() {
    _ = advance()
    life += 1
    durablyExcused = excused
    tornSectors.settle()
    unflushed = []
    sectorsWithNews = []
    for number in pieces.indices where pieces[number].fate == .applied {
      pieces[number].isDurable = true
    }
    for index in sectors.indices {
      sectors[index].durable = sectors[index].live
      prune(index)
    }
  }

  /// Forgets writers that can never be seen again.
  private func prune(_ index: Int) {
    let claims = sectors[index].durable
    sectors[index].writers.removeAll { number in
      pieces[number].fate == .absent || !claims.allSatisfy { $0.allows(number, pieces) }
    }
  }

  func noteSeen(_ sector: Int) { sectorsWithNews.insert(sector) }

  // MARK: The order of overlapping requests

  func noteOver(_ upper: Int, _ lower: Int) { over.insert(Pair(upper: upper, lower: lower)) }

  func liesOver(_ upper: Int, _ lower: Int) -> Bool {
    over.contains(Pair(upper: upper, lower: lower))
  }
}
