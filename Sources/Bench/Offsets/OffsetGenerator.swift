package import Units

/// Decides where each operation of a job falls, pass by pass, as fio does.
///
/// A pass is what fio calls a loop: as many bytes as the region has. Blocks start at multiples of
/// the smallest block size from the region's beginning, sizes are multiples of it, and a rest at
/// the region's end that is shorter than that is never touched. Everything follows from the seed.
///
/// | job | order | memory |
/// |---|---|---|
/// | sequential | from the beginning on; a mixed job has a position for each kind | none |
/// | random | every block once a pass, another order each pass: `Permutation` | none |
/// | random, `bsrange` | the first free block behind a random one; the size is cut off where a block was used before: `BlockMap` | 1 bit a smallest block |
/// | `norandommap` | each block equally likely | none |
/// | zipf | `ZipfRanks`, the ranks scattered over the region by one `Permutation` for all passes | none |
package struct OffsetGenerator: Sendable {
  private enum Order: Sendable {
    case sequential, permuted, mapped, uniform
    case zipf(ZipfRanks, places: Permutation)
  }

  private let offsetBytes: UInt64
  private let blockByteCount: UInt64
  /// How many smallest blocks an operation has at most.
  private let lengthMax: UInt64
  /// How many smallest blocks the region has.
  package let blockCount: UInt64
  private let seed: UInt64
  private var order: Order

  private var random: RandomSequence
  private var permutation: Permutation
  private var map: BlockMap?
  /// The next block of a sequential job, for each kind of operation.
  private var positions: (read: UInt64, write: UInt64, trim: UInt64) = (0, 0, 0)
  /// Smallest blocks handed out in this pass.
  private var usedCount: UInt64 = 0
  /// How many passes were begun before this one.
  package private(set) var passIndex: UInt64 = 0

  /// For any region and blocks.
  ///
  /// `blockByteCounts` are the smallest and the largest block, the largest a multiple of the
  /// smallest. With `usesMap` every block comes once a pass; for zipf that has no meaning.
  ///
  /// - Precondition: the region holds a smallest block; for random blocks of different sizes with
  ///   a map, at most `mappedBlockCountMax`.
  package init(
    region: ByteRange, blockByteCounts: ClosedRange<UInt64>, isRandom: Bool, usesMap: Bool = true,
    distribution: RandomDistribution = .random, seed: UInt64
  ) {
    precondition(blockByteCounts.lowerBound > 0)
    precondition(blockByteCounts.upperBound % blockByteCounts.lowerBound == 0)
    precondition(region.byteCount >= blockByteCounts.lowerBound)
    offsetBytes = region.offsetBytes
    blockByteCount = blockByteCounts.lowerBound
    blockCount = region.byteCount / blockByteCount
    lengthMax = min(blockByteCounts.upperBound / blockByteCount, blockCount)
    self.seed = seed
    random = RandomSequence(seed: RandomSequence.derivedSeed(seed, 0))
    permutation = Permutation(count: blockCount, key: RandomSequence.derivedSeed(seed, 1))
    order =
      switch (isRandom, distribution) {
      case (false, _): .sequential
      case (true, .zipf(let theta)):
        .zipf(
          ZipfRanks(count: blockCount, theta: theta),
          places: Permutation(
            count: blockCount, key: RandomSequence.derivedSeed(seed, 0x7a69_7066)))
      case (true, .random): !usesMap ? .uniform : lengthMax > 1 ? .mapped : .permuted
      }
    if case .mapped = order { map = BlockMap(count: blockCount) }
  }

  /// The most blocks that a job with `bsrange` and a random map can have.
  package static var mappedBlockCountMax: UInt64 { BlockMap.countMax }

  /// For a clone of a job, with a seed of its own.
  ///
  /// - Precondition: the options are what `JobOptions.resolved` returned.
  package init(_ options: JobOptions, seed: UInt64) {
    guard
      let byteCount = options.regionByteCount,
      let region = ByteRange(offsetBytes: options.offsetBytes, byteCount: byteCount)
    else { preconditionFailure("the job's region is not resolved") }
    self.init(
      region: region,
      blockByteCounts: options.blockByteCountMin...options.blockByteCountMax,
      isRandom: options.workload.isRandom, usesMap: options.usesRandomMap,
      distribution: options.distribution, seed: seed)
  }

  /// Where the next operation falls.
  ///
  /// - Returns: nil when the pass is over; then `startPass` begins another.
  package mutating func next(for kind: OperationKind) -> ByteRange? {
    guard usedCount < blockCount else { return nil }
    let block: UInt64
    let length: UInt64
    switch order {
    case .sequential: (block, length) = nextSequential(kind)
    case .permuted: (block, length) = (permutation[usedCount], 1)
    case .mapped:
      guard let found = nextMapped() else { return nil }
      (block, length) = found
    case .uniform:
      block = random.next(below: blockCount)
      length = nextLength(from: block)
    case .zipf(let ranks, let places):
      block = places[ranks.next(&random)]
      length = nextLength(from: block)
    }
    usedCount += length
    let start = offsetBytes + block * blockByteCount
    return ByteRange(from: start, to: start + length * blockByteCount)
  }

  /// Begins another pass over the region.
  package mutating func startPass() {
    passIndex += 1
    usedCount = 0
    positions = (0, 0, 0)
    map?.removeAll()
    permutation = Permutation(
      count: blockCount, key: RandomSequence.derivedSeed(seed, passIndex &* 2 &+ 1))
  }

  /// A length in smallest blocks that fits between `block` and the region's end.
  private mutating func nextLength(from block: UInt64) -> UInt64 {
    let fitting = min(lengthMax, blockCount - block)
    return fitting == 1 ? 1 : 1 + random.next(below: fitting)
  }

  private mutating func nextSequential(_ kind: OperationKind) -> (UInt64, UInt64) {
    let position =
      switch kind {
      case .read: positions.read
      case .write: positions.write
      case .trim: positions.trim
      }
    // A kind alone never gets to the end before its pass does.
    let block = position == blockCount ? 0 : position
    let length = nextLength(from: block)
    switch kind {
    case .read: positions.read = block + length
    case .write: positions.write = block + length
    case .trim: positions.trim = block + length
    }
    return (block, length)
  }

  private mutating func nextMapped() -> (UInt64, UInt64)? {
    guard let block = map?.nextFree(from: random.next(below: blockCount)) else { return nil }
    let wanted = nextLength(from: block)
    var length: UInt64 = 0
    while length < wanted, map?.isUsed(block + length) == false {
      map?.use(block + length)
      length += 1
    }
    return (block, length)
  }
}
