package import IO
import Simulator

// What reads return, held against the history.
extension DeviceModel {
  /// A read begins; what it returns goes to `endRead`.
  package func beginRead() -> Int { advance() }

  /// A read of these sectors has ended with success: judges what it brought.
  ///
  /// - Returns: the violation, if one was seen; it is kept as well.
  @discardableResult
  package func endRead(_ range: Range<Int>, _ buffer: IOBuffer, begin: Int) -> Violation? {
    let end = advance()
    noteReadable(range)
    for sector in range {
      let offset = (sector - range.lowerBound) * SectorStamp.byteCount
      let content = SectorStamp.read(buffer, at: offset, salt: salt)
      guard !isBeyondJudgement(sector, range, buffer) else {
        if case .garbage = content { adoptedCount += 1 }
        continue
      }
      if let found = judge(sector, content, begin, end) {
        report(found)
        return found
      }
    }
    return nil
  }

  /// Whether a sector is beyond judgement.
  ///
  /// It was on its way home when a crash came, other sectors of its block got there, and the medium
  /// lied: then it is taken for what was there before (ADR 0022). `range` is what was read.
  private func isBeyondJudgement(
    _ sector: Int, _ range: Range<Int>, _ buffer: IOBuffer
  ) -> Bool {
    guard let homeHasLied, tornSectors.contains(sector), homeHasLied(sector) else { return false }
    let block = sector / 8 * 8..<sector / 8 * 8 + 8
    // Who reads less than the block does not see the others.
    guard block.clamped(to: range) == block else { return true }
    return block.contains { other in
      let offset = (other - range.lowerBound) * SectorStamp.byteCount
      guard case .stamp(let piece, other) = SectorStamp.read(buffer, at: offset, salt: salt) else {
        return false
      }
      return tornSectors.pieces.contains(piece)
    }
  }

  private func judge(
    _ sector: Int, _ content: SectorStamp.Content, _ begin: Int, _ end: Int
  ) -> Violation? {
    switch content {
    case .garbage(let text):
      return Violation(.rightOrError, sector: sector, "\(text); \(expected(sector, begin))")
    case .stamp(let piece, let meant):
      guard piece > 0, piece < pieces.count, !pieces[piece].isZero,
        pieces[piece].sectors.contains(meant)
      else {
        return Violation(.rightOrError, sector: sector, "a stamp that nobody wrote")
      }
      guard meant == sector else {
        return Violation(
          .rightOrError, sector: sector,
          "what belongs to sector \(meant), of \(describe(piece)); \(expected(sector, begin))")
      }
      if let refused = refusal(piece, sector, begin) {
        return Violation(
          refused.rule, sector: sector,
          "found \(describe(piece)), \(refused.text); \(expected(sector, begin))")
      }
      return see([piece], sector, begin, end)
    case .zeros:
      let zeros = sectors[sector].writers.filter { pieces[$0].isZero }
      let legal = zeros.filter { refusal($0, sector, begin) == nil }
      guard !legal.isEmpty else {
        let rule = refusal(zeros.last ?? 0, sector, begin)?.rule ?? .rightOrError
        return Violation(rule, sector: sector, "found zeros; \(expected(sector, begin))")
      }
      return see(legal, sector, begin, end)
    }
  }

  /// Why a read that began then cannot have seen the piece.
  private func refusal(
    _ number: Int, _ sector: Int, _ begin: Int
  ) -> (rule: Violation.Rule, text: String)? {
    let piece = pieces[number]
    if piece.fate == .absent {
      return (.atomic, "of which another sector was seen without it after the same crash")
    }
    for claim in sectors[sector].live where claim.end < begin && !claim.allows(number, pieces) {
      guard claim.piece >= 0 else {
        return (rule(for: claim), "which a read at \(claim.end) saw overwritten by zeros")
      }
      return (rule(for: claim), "which \(describe(claim.piece)) overwrote")
    }
    return nil
  }

  /// The promise that a claim stands for.
  private func rule(for claim: Claim) -> Violation.Rule {
    guard claim.piece >= 0, let lastCrash, pieces[claim.piece].life < life else {
      return .rightOrError
    }
    if pieces[claim.piece].outcome != .acknowledged { return .seenStays }
    return lastCrash == .kill ? .survivesKill : .survivesPowerLoss
  }

  /// One of the pieces was seen; they are one, unless all are zeros.
  private func see(_ seen: [Int], _ sector: Int, _ begin: Int, _ end: Int) -> Violation? {
    let isOld = seen.allSatisfy { pieces[$0].life < life }
    // What a crash left is decided: whatever would lie over what was seen never happened.
    for other in sectors[sector].writers where pieces[other].life < life {
      guard !pieces[other].isOptional, pieces[other].fate != .absent,
        seen.allSatisfy({ $0 != other && pieces[$0].isBefore(pieces[other]) })
      else { continue }
      if pieces[other].fate == .applied {
        let isVanished = pieces[other].wasSeenLive && pieces[other].outcome != .acknowledged
        return Violation(
          isVanished ? .seenStays : .atomic, sector: sector,
          "found \(describe(seen[0])) where \(describe(other)) should lie over it: other sectors "
            + "of that show it; \(expected(sector, begin))")
      }
      pieces[other].fate = .absent
    }
    if seen.count == 1 {
      if pieces[seen[0]].fate == .undecided { pieces[seen[0]].fate = .applied }
      if !isOld { pieces[seen[0]].wasSeenLive = true }
      if let found = order(seen[0], sector, begin) { return found }
    }
    let claim = Claim(
      piece: seen.count == 1 ? seen[0] : Claim.anyZeros,
      begin: seen.reduce(Int.max) { min($0, max(pieces[$1].begin, begin)) }, end: end,
      pieceBegin: seen.reduce(Int.max) { min($0, pieces[$1].begin) }, life: life)
    SectorHistory.add(claim, to: &sectors[sector].live, pieces)
    if isOld {
      for number in seen where seen.count == 1 { pieces[number].isDurable = true }
      SectorHistory.add(claim, to: &sectors[sector].durable, pieces)
    } else {
      noteSeen(sector)
    }
    return nil
  }

  /// Two overlapping requests are in one order on all the sectors that they share.
  private func order(_ upper: Int, _ sector: Int, _ begin: Int) -> Violation? {
    guard isSettled(upper, before: begin) else { return nil }
    for lower in sectors[sector].writers where lower != upper && lower > 0 {
      guard pieces[lower].fate == .applied, isSettled(lower, before: begin),
        !pieces[lower].isBefore(pieces[upper]), !pieces[upper].isBefore(pieces[lower])
      else { continue }
      if liesOver(lower, upper) {
        return Violation(
          .atomic, sector: sector,
          "\(describe(upper)) lies over \(describe(lower)) here, and below it elsewhere")
      }
      noteOver(upper, lower)
    }
    return nil
  }

  /// Whether no effect of the piece can come any more for a read that begins then.
  private func isSettled(_ number: Int, before begin: Int) -> Bool {
    let piece = pieces[number]
    guard let end = piece.end, end < begin else { return false }
    return piece.outcome == .acknowledged || piece.life < life
  }

  // MARK: Words

  /// A request for reports.
  func describe(_ number: Int) -> String {
    let piece = pieces[number]
    guard number > 0 else { return "the zeros of a new device" }
    let kind = piece.isZero ? (piece.isOptional ? "trim" : "zeroing") : "write"
    let outcome =
      switch piece.outcome {
      case .open: "still open"
      case .acknowledged: piece.isDurable ? "acknowledged, durable" : "acknowledged"
      case .failed: "failed"
      case .interrupted: "cut off by a crash"
      }
    let span = "sectors \(piece.sectors.lowerBound)..<\(piece.sectors.upperBound)"
    let times = "\(piece.begin)-\(piece.end.map(String.init) ?? "")"
    return "\(kind) #\(number) of \(span) (\(outcome), time \(times), life \(piece.life))"
  }

  /// The legal contents of a sector for a read that began then.
  func expected(_ sector: Int, _ begin: Int) -> String {
    let legal = sectors[sector].writers.filter { refusal($0, sector, begin) == nil }
    return "expected one of: " + legal.map(describe).joined(separator: "; ")
  }
}
