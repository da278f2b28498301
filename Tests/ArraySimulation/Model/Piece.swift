/// One indivisible part of a request that changes the device.
///
/// A request of up to 64 KiB is one piece, longer ones are several; so are trims, which promise
/// nothing as a whole. Times count the beginnings and ends of requests, so no two are equal.
struct Piece {
  /// How its request ended, as the client was told.
  enum Outcome: Equatable {
    case open
    case acknowledged
    case failed
    /// A crash came first.
    case interrupted
  }

  /// What the reads so far say.
  enum Fate: Equatable {
    case undecided
    /// It took effect: acknowledged, or seen.
    case applied
    /// It can have had no effect any more.
    case absent
  }

  /// The request it belongs to, for reports.
  let request: Int
  let sectors: Range<Int>
  /// Zeros rather than stamps.
  let isZero: Bool
  /// May go home without its payload in the log: each sector is for itself.
  let isDirect: Bool
  /// Even when acknowledged it need not have had an effect.
  let isOptional: Bool
  let begin: Int
  /// The run of the device in which it began; a recovery begins the next.
  let life: Int
  var end: Int?
  var outcome = Outcome.open
  var fate = Fate.undecided
  /// Survives power loss.
  var isDurable = false
  /// A read saw it before a crash had decided it.
  var wasSeenLive = false

  /// Whether this one was over before the other began.
  func isBefore(_ other: Piece) -> Bool {
    guard let end else { return false }
    return end < other.begin
  }
}

/// What is known of a sector: that a piece was in effect on it at some time between two.
///
/// The acknowledgement of a write claims that for the time of the write; a read that saw it, for
/// the time of the read. Whatever was over before `begin` has then been overwritten for good, and
/// everyone who begins after `end` must see that.
struct Claim: Equatable {
  /// A read saw zeros, and more than one piece would explain them.
  static let anyZeros = -1

  let piece: Int
  let begin: Int
  let end: Int
  /// When the piece itself began, if a read makes the claim; else `begin`.
  let pieceBegin: Int
  /// The life in which it was made.
  let life: Int

  /// Whether a reader who began after `end` may still see the piece.
  func allows(_ number: Int, _ pieces: [Piece]) -> Bool {
    if number == piece { return true }
    let candidate = pieces[number]
    if piece == Self.anyZeros, candidate.isZero { return true }
    guard let candidateEnd = candidate.end else { return true }
    // A request that failed may have its effect late, at the latest in the recovery: reads of that
    // life do not settle it. But it never lies over a request that began after it had failed.
    let isUnsettled = candidate.outcome == .failed && candidate.life == life
    return candidateEnd >= (isUnsettled ? pieceBegin : begin)
  }
}

/// The history of one sector.
struct SectorHistory {
  /// Pieces that may have changed it and may still be seen, in the order in which they began.
  var writers: [Int] = [0]
  /// What holds while the device runs, and after `kill -9`.
  var live: [Claim] = []
  /// What holds also after power loss.
  var durable: [Claim] = []

  private static let claimCountMax = 8

  /// Adds a claim; of a long list, drops those that rule out no more than it, once known.
  static func add(_ claim: Claim, to claims: inout [Claim], _ pieces: [Piece]) {
    if claims.count >= claimCountMax {
      claims.removeAll { old in
        guard old.begin <= claim.begin else { return false }
        return claim.piece == Claim.anyZeros
          ? old.piece == Claim.anyZeros : old.allows(claim.piece, pieces)
      }
    }
    claims.append(claim)
  }
}
