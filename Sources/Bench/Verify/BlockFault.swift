/// A block that is not what was written to it.
package struct BlockFault: Error, Equatable, Sendable {
  /// The block, not only its bad part.
  package let offsetBytes: UInt64
  package let byteCount: Int
  package let expectation: BlockExpectation
  package let kind: Kind

  /// How it is wrong.
  ///
  /// Where several apply, the first of this list is named: bits that changed are explained by no
  /// order of writes, a block of elsewhere by no lost write, and sectors of different origin say
  /// more than each of them.
  package enum Kind: Equatable, Sendable {
    /// A sector bears our stamp, or nearly, but its checksum is wrong.
    case corrupt(BlockDamage)
    /// A whole and valid block, or part of one, that belongs elsewhere.
    case misplaced(foundOffset: UInt64)
    /// Sectors of two or more origins: a write was interrupted, or lost in part.
    case torn([TornPiece])
    /// Valid, but of another generation: a write was lost, or came out of order.
    case stale(foundGeneration: UInt32)
    /// Valid, but written with another seed, or by another run.
    case foreign(foundSeed: UInt64)
    /// Valid and in its place, but written in blocks of another size.
    case otherBlockSize(foundByteCount: UInt32)
    /// Nothing but zeros: never written, or discarded.
    case zeros
    /// Neither zeros nor anything of ours.
    case noStamp

    /// One word for reports, JSON and counters.
    package var name: String {
      switch self {
      case .corrupt: "corrupt"
      case .misplaced: "misplaced"
      case .torn: "torn"
      case .stale: "stale"
      case .foreign: "foreign"
      case .otherBlockSize: "other-block-size"
      case .zeros: "zeros"
      case .noStamp: "no-stamp"
      }
    }
  }
}

/// Which bytes of a block are damaged.
package struct BlockDamage: Equatable, Sendable {
  /// The first run of wrong bytes, from the block's beginning; the whole sector when its content
  /// cannot be computed.
  package var firstBytes: Range<Int>
  /// How many bits of that sector differ; nil when its content cannot be computed.
  package var bitCount: Int?
  /// Where, from the block's beginning (8 times the byte, plus the bit), when they are few.
  package var bits: [Int]
  /// How many sectors of the block are damaged.
  package var sectorCount: Int

  /// From how many differing bits on they are not listed.
  package static let bitsListedMax = 8
}

/// Neighbouring sectors of one origin in a torn block.
package struct TornPiece: Equatable, Sendable {
  package var sectors: ClosedRange<Int>
  package var content: SectorContent
}

/// What a sector of a torn block holds.
package enum SectorContent: Equatable, Sendable {
  case generation(UInt32)
  case zeros
  case foreign(seed: UInt64)
  case otherBlockSize(byteCount: UInt32)
  case noStamp
}

extension BlockFault: CustomStringConvertible {
  /// For an operator: where, what was found, what was expected, and what that means.
  package var description: String {
    "block at offset \(offsetBytes) (\(byteCount) bytes): \(kind.name): \(found); \(expected)"
  }

  private var found: String {
    switch kind {
    case .corrupt(let damage): Self.text(damage, at: offsetBytes)
    case .misplaced(let foundOffset):
      "it holds the block that belongs at offset \(foundOffset): a write or read went astray"
    case .torn(let pieces): Self.text(pieces)
    case .stale(let generation): staleText(generation)
    case .foreign(let seed):
      expectation == .anyGeneration
        ? "it was written with --randseed=\(Self.hex(seed)): verify with the seed of the writer"
        : "it was written by another run, with seed \(Self.hex(seed)): "
          + "a write was lost, or never made"
    case .otherBlockSize(let byteCount):
      "it was written in blocks of \(byteCount) bytes: verify with the block size of the writer"
    case .zeros: "it is all zeros: never written, or discarded"
    case .noStamp: "nothing of a stamped block is in it: overwritten by something else, or garbage"
    }
  }

  private var expected: String {
    switch expectation {
    case .exactly(let generation): "expected generation \(generation) of this run"
    case .between(let range):
      "expected generation \(range.lowerBound) to \(range.upperBound) of this run"
    case .anyGeneration: "expected a whole block of this seed"
    case .anything: "expected nothing"
    }
  }

  private func staleText(_ found: UInt32) -> String {
    let isLater =
      switch expectation {
      case .exactly(let generation): found > generation
      case .between(let range): found > range.upperBound
      case .anyGeneration, .anything: false
      }
    return isLater
      ? "it holds generation \(found), which is later than what was acknowledged"
      : "it holds generation \(found): a later write that was acknowledged is lost"
  }

  private static func text(_ damage: BlockDamage, at offsetBytes: UInt64) -> String {
    let (first, last) = (damage.firstBytes.lowerBound, damage.firstBytes.upperBound - 1)
    let place =
      first == last
      ? "byte \(first) (at \(offsetBytes + UInt64(first)))"
      : "bytes \(first) to \(last) (from \(offsetBytes + UInt64(first)))"
    let more = damage.sectorCount > 1 ? "; \(damage.sectorCount) sectors are damaged" : ""
    guard let bitCount = damage.bitCount else {
      return "a checksum is wrong in \(place), little of what was written is left\(more)"
    }
    let bits = damage.bits.map { "\($0 % 8) of byte \($0 / 8)" }.joined(separator: ", ")
    let list = bits.isEmpty ? "" : ": bit \(bits)"
    return "\(bitCount) \(bitCount == 1 ? "bit has" : "bits have") changed, first in \(place)"
      + list + more
  }

  private static func text(_ pieces: [TornPiece]) -> String {
    let shown = pieces.prefix(6).map { piece in
      let (first, last) = (piece.sectors.lowerBound, piece.sectors.upperBound)
      let sectors = first == last ? "sector \(first)" : "sectors \(first)-\(last)"
      switch piece.content {
      case .generation(let generation): return "\(sectors) of generation \(generation)"
      case .zeros: return "\(sectors) zeros"
      case .foreign(let seed): return "\(sectors) of another run with seed \(hex(seed))"
      case .otherBlockSize(let byteCount):
        return "\(sectors) written in blocks of \(byteCount) bytes"
      case .noStamp: return "\(sectors) without a stamp"
      }
    }
    let more = pieces.count > shown.count ? ", and \(pieces.count - shown.count) more" : ""
    return shown.joined(separator: ", ") + more
  }

  private static func hex(_ seed: UInt64) -> String { "0x" + String(seed, radix: 16) }
}
