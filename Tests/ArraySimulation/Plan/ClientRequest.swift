package import Simulator

/// What a client asks of the device; ranges are sectors of 512 bytes.
package enum ClientRequest: Equatable, Sendable {
  case read(Range<Int>)
  case write(Range<Int>, durably: Bool)
  case zero(Range<Int>, keepAllocated: Bool, durably: Bool)
  case trim(Range<Int>, durably: Bool)
  case flush
  /// Nothing for so long.
  case pause(nanoseconds: UInt64)

  /// No request is longer.
  package static let sectorCountMax = 512
}

/// Draws requests that meet: hot spots, whole and partial stripes, unaligned ranges, all lengths.
package struct RequestSource: Sendable {
  /// How often what is asked for, relative to each other.
  package struct Weights: Equatable, Sendable {
    package var read: Int
    package var write: Int
    package var zero: Int
    package var trim: Int
    package var flush: Int
    package var pause: Int

    static func drawn(_ random: inout RandomSource) -> Weights {
      Weights(
        read: 1 + random.index(below: 6), write: 4 + random.index(below: 8),
        zero: random.index(below: 3), trim: random.index(below: 3),
        flush: random.index(below: 5), pause: random.index(below: 3))
    }
  }

  private static let blockSectors = 8
  private static let longSectorCount = 320
  /// No multiple of a stripe: each seam lies inside one.
  private static let streamSectorCount = 136
  private let sectorCount: Int
  private let chunkSectors: Int
  private let stripeSectors: Int
  private let weights: Weights
  private let durablyPerMillion: Int
  private let hotBlock: Int
  private var random: RandomSource

  /// Clients with one `spot` meet at the same blocks.
  package init(_ shape: ArrayShape, spot: UInt64, _ random: RandomSource) {
    self.random = random
    sectorCount = shape.sectorCount
    chunkSectors = Int(shape.chunkBytes / 512)
    stripeSectors = Int(shape.stripeBytes / 512)
    var common = RandomSource(seed: spot)
    weights = Weights.drawn(&common)
    durablyPerMillion = [0, 50_000, 300_000][common.index(below: 3)]
    hotBlock = common.index(below: max(1, sectorCount / Self.blockSectors))
  }

  /// The next request.
  package mutating func next() -> ClientRequest {
    let total =
      weights.read + weights.write + weights.zero + weights.trim + weights.flush + weights.pause
    var left = random.index(below: total)
    func falls(_ weight: Int) -> Bool {
      left -= weight
      return left < 0
    }
    if falls(weights.read) { return .read(drawRange()) }
    let durably = random.happens(perMillion: durablyPerMillion)
    if falls(weights.write) { return .write(drawRange(), durably: durably) }
    if falls(weights.zero) {
      return .zero(drawRange(), keepAllocated: random.coin(), durably: durably)
    }
    if falls(weights.trim) { return .trim(drawRange(), durably: durably) }
    if falls(weights.flush) { return .flush }
    return .pause(nanoseconds: random.next(below: 1 << (10 + random.next(below: 16))))
  }

  private mutating func drawRange() -> Range<Int> {
    let block = Self.blockSectors
    switch random.index(below: 10) {
    case 0...2:
      // Near the hot block, in sectors.
      let start = hotBlock * block + random.index(below: 3 * block) - block
      return clamped(start, 1 + random.index(below: 2 * block))
    case 3...5:
      // Whole blocks, near or far.
      let near = hotBlock + random.index(below: 5) - 2
      let first = random.coin() ? near : random.index(below: max(1, sectorCount / block))
      return clamped(first * block, (1 + random.index(below: 4)) * block)
    case 6:
      let first = random.index(below: max(1, sectorCount / chunkSectors))
      return clamped(first * chunkSectors, chunkSectors * (1 + random.index(below: 2)))
    case 7:
      let first = random.index(below: max(1, sectorCount / stripeSectors))
      return clamped(first * stripeSectors, min(stripeSectors, 128))
    case 8: return clamped(random.index(below: sectorCount), 1 + random.index(below: 128))
    case 9 where random.coin():
      // Longer than what is atomic, with whole rows in the middle, near the hot block or anywhere.
      let near = max(0, hotBlock - random.index(below: 24)) * block
      let start = random.coin() ? near : random.index(below: sectorCount)
      // Now and then one of a stream: another client may write the one before or behind meanwhile.
      guard random.index(below: 3) > 0 else {
        return clamped(
          start / Self.streamSectorCount * Self.streamSectorCount, Self.streamSectorCount)
      }
      return clamped(start, 129 + random.index(below: Self.longSectorCount))
    default:
      // Now and then longer than what is atomic.
      let most = random.index(below: 4) == 0 ? ClientRequest.sectorCountMax : 64
      return clamped(random.index(below: sectorCount), 1 + random.index(below: most))
    }
  }

  private func clamped(_ start: Int, _ count: Int) -> Range<Int> {
    let first = min(max(0, start), sectorCount - 1)
    return first..<min(sectorCount, first + max(1, count))
  }
}
