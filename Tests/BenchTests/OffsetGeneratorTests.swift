import Testing
import Units

@testable import Bench

private func region(_ offset: UInt64, _ byteCount: UInt64) -> ByteRange {
  ByteRange(from: offset, to: offset + byteCount)
}

/// Everything that one pass hands out, of one kind.
private func pass(
  _ generator: inout OffsetGenerator, _ kind: OperationKind = .read
) -> [ByteRange] {
  var ranges: [ByteRange] = []
  while let range = generator.next(for: kind) { ranges.append(range) }
  return ranges
}

/// How often each block of `size` bytes is covered.
private func coverage(_ ranges: [ByteRange], _ region: ByteRange, _ size: UInt64) -> [Int] {
  var counts = [Int](repeating: 0, count: Int(region.byteCount / size))
  for range in ranges {
    let first = (range.offsetBytes - region.offsetBytes) / size
    for block in first..<first + range.byteCount / size { counts[Int(block)] += 1 }
  }
  return counts
}

private func isInside(_ range: ByteRange, _ region: ByteRange) -> Bool {
  range.offsetBytes >= region.offsetBytes && range.endBytes <= region.endBytes
}

@Suite("Bench: random numbers")
struct RandomSequenceTests {
  @Test("SplitMix64 gives the published sequence of seed 1234567")
  func splitMix() {
    var counter: UInt64 = 1_234_567
    let numbers = (0..<5).map { _ in RandomSequence.splitMix(&counter) }
    #expect(
      numbers == [
        6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
        4_593_380_528_125_082_431, 16_408_922_859_458_223_821,
      ])
  }

  @Test("xoshiro256** gives the published sequence of the state 1, 2, 3, 4")
  func xoshiro() {
    var random = RandomSequence(state: (1, 2, 3, 4))
    let numbers = (0..<10).map { _ in random.next() }
    #expect(
      numbers == [
        11520, 0, 1_509_978_240, 1_215_971_899_390_074_240, 1_216_172_134_540_287_360,
        607_988_272_756_665_600, 16_172_922_978_634_559_625, 8_476_171_486_693_032_832,
        10_595_114_339_597_558_777, 2_904_607_092_377_533_576,
      ])
  }

  @Test("numbers below a bound are below it and equally frequent", arguments: [1, 2, 3, 7, 100])
  func bounded(bound: UInt64) {
    var random = RandomSequence(seed: bound)
    var counts = [Int](repeating: 0, count: Int(bound))
    for _ in 0..<Int(bound) * 1000 { counts[Int(random.next(below: bound))] += 1 }
    // Five standard deviations of about 32.
    #expect(counts.allSatisfy { abs($0 - 1000) < 160 })
  }

  @Test("fractions lie from 0 to below 1, half of them below a half")
  func fractions() {
    var random = RandomSequence(seed: 9)
    let numbers = (0..<10_000).map { _ in random.nextFraction() }
    #expect(numbers.allSatisfy { $0 >= 0 && $0 < 1 })
    #expect(abs(numbers.filter { $0 < 0.5 }.count - 5000) < 250)
  }

  @Test("derived seeds differ for neighbouring seeds and neighbouring parts")
  func derivedSeeds() {
    var seen: Set<UInt64> = []
    for seed: UInt64 in 0..<100 {
      for part: UInt64 in 0..<100 { seen.insert(RandomSequence.derivedSeed(seed, part)) }
    }
    #expect(seen.count == 10_000)
  }
}

@Suite("Bench: orders of blocks")
struct PermutationTests {
  @Test("every count up to 300 is permuted, whatever the key")
  func permutes() {
    for count: UInt64 in 1...300 {
      for key: UInt64 in 0..<8 {
        let permutation = Permutation(count: count, key: key)
        let images = Set((0..<count).map { permutation[$0] })
        #expect(images.count == Int(count))
        #expect(images.allSatisfy { $0 < count })
      }
    }
  }

  @Test("huge counts stay inside", arguments: [1 << 40, (1 << 40) + 1, (1 << 63) - 1, 1 << 63])
  func huge(count: UInt64) {
    let permutation = Permutation(count: count, key: 5)
    for index: UInt64 in 0..<1000 {
      #expect(permutation[index] < count)
      #expect(permutation[count - 1 - index] < count)
    }
  }

  @Test("the first tenth of an order falls evenly over the whole")
  func spreads() {
    for key: UInt64 in 0..<20 {
      let permutation = Permutation(count: 100_000, key: key)
      var counts = [Int](repeating: 0, count: 16)
      for index: UInt64 in 0..<10_000 { counts[Int(permutation[index] * 16 / 100_000)] += 1 }
      // 625 expected; six standard deviations of about 24.
      #expect(counts.allSatisfy { abs($0 - 625) < 144 }, "\(counts)")
    }
  }

  @Test("neighbours are not kept: steps between them take both signs and many sizes")
  func scatters() {
    let permutation = Permutation(count: 4096, key: 1)
    var steps: Set<UInt64> = []
    for index: UInt64 in 0..<4095 { steps.insert(permutation[index + 1] &- permutation[index]) }
    #expect(steps.count > 2500)
  }
}

@Suite("Bench: map of used blocks")
struct BlockMapTests {
  @Test(
    "the next free block is that of a plain list, until none is left",
    arguments: [1, 2, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097, 5000])
  func againstList(count: Int) {
    var random = RandomSequence(seed: UInt64(count))
    var map = BlockMap(count: UInt64(count))
    for _ in 0..<2 {
      var isUsed = [Bool](repeating: false, count: count)
      for used in 0..<count {
        #expect(map.freeCount == UInt64(count - used))
        let start = Int(random.next(below: UInt64(count)))
        let expected = (start..<start + count).first { !isUsed[$0 % count] }.map { $0 % count }
        let found = map.nextFree(from: UInt64(start))
        #expect(found == expected.map { UInt64($0) })
        guard let found else { return }
        map.use(found)
        isUsed[Int(found)] = true
        #expect(map.isUsed(found))
      }
      #expect(map.nextFree(from: 0) == nil)
      map.removeAll()
    }
  }
}

@Suite("Bench: offsets")
struct OffsetGeneratorTests {
  private static let seeds: [UInt64] = [0, 1, 0x89, .max]

  @Test("random: each block exactly once a pass, in every region of 1 to 64 blocks")
  func onceEach() {
    for seed in Self.seeds {
      for count: UInt64 in 1...64 {
        let all = region(12_288, count * 4096)
        var generator = OffsetGenerator(
          region: all, blockByteCounts: 4096...4096, isRandom: true, seed: seed)
        for _ in 0..<3 {
          let ranges = pass(&generator)
          #expect(coverage(ranges, all, 4096).allSatisfy { $0 == 1 })
          #expect(ranges.allSatisfy { $0.byteCount == 4096 && isInside($0, all) })
          #expect(generator.next(for: .read) == nil)
          generator.startPass()
        }
      }
    }
  }

  @Test("random: passes have orders of their own, and the seed decides them")
  func ordersDiffer() {
    let make = { (seed: UInt64) in
      OffsetGenerator(
        region: region(0, 1 << 20), blockByteCounts: 4096...4096, isRandom: true, seed: seed)
    }
    var (first, same, other) = (make(1), make(1), make(2))
    let order = pass(&first)
    #expect(pass(&same) == order)
    #expect(pass(&other) != order)
    first.startPass()
    same.startPass()
    #expect(first.passIndex == 1)
    let second = pass(&first)
    #expect(second != order)
    #expect(pass(&same) == second)
  }

  @Test("bsrange, random: each smallest block once a pass, sizes and places are multiples of it")
  func mappedOnceEach() {
    for seed in Self.seeds {
      for count: UInt64 in 1...64 {
        for longest: UInt64 in [2, 3, 8, 16] {
          let all = region(8192, count * 512 + 100)
          var generator = OffsetGenerator(
            region: all, blockByteCounts: 512...longest * 512, isRandom: true, seed: seed)
          for _ in 0..<2 {
            let ranges = pass(&generator)
            #expect(coverage(ranges, all, 512).allSatisfy { $0 == 1 })
            for range in ranges {
              #expect(isInside(range, all))
              #expect((range.offsetBytes - 8192) % 512 == 0)
              #expect(range.byteCount % 512 == 0 && range.byteCount <= longest * 512)
            }
            generator.startPass()
          }
        }
      }
    }
  }

  @Test("sequential: from the beginning to the end, again in the next pass; a rest is left out")
  func sequential() {
    for count: UInt64 in 1...64 {
      let all = region(4096, count * 1024 + 1023)
      var generator = OffsetGenerator(
        region: all, blockByteCounts: 1024...1024, isRandom: false, seed: 1)
      for _ in 0..<2 {
        let expected = (0..<count).map { region(4096 + $0 * 1024, 1024) }
        #expect(pass(&generator) == expected)
        generator.startPass()
      }
    }
  }

  @Test("sequential with bsrange: gapless, all sizes occur, nothing passes the end")
  func sequentialSizes() {
    for seed in Self.seeds {
      let all = region(0, 1000 * 512)
      var generator = OffsetGenerator(
        region: all, blockByteCounts: 512...4096, isRandom: false, seed: seed)
      var end: UInt64 = 0
      let ranges = pass(&generator)
      for range in ranges {
        #expect(range.offsetBytes == end)
        end = range.endBytes
      }
      #expect(end == all.endBytes)
      #expect(Set(ranges.map(\.byteCount)).count == 8)
    }
  }

  @Test("mixed sequential: reads and writes go forward each on their own, as many as blocks")
  func mixedSequential() {
    var generator = OffsetGenerator(
      region: region(0, 100 * 512), blockByteCounts: 512...512, isRandom: false, seed: 1)
    var mix = OperationMix(.rw, readPercent: 50, seed: 1)
    var ends: [OperationKind: UInt64] = [:]
    var count = 0
    while true {
      let kind = mix.next()
      guard let range = generator.next(for: kind) else { break }
      #expect(range.offsetBytes == ends[kind, default: 0])
      ends[kind] = range.endBytes
      count += 1
    }
    #expect(count == 100)
    #expect(ends.count == 2)
  }

  @Test("norandommap: all blocks equally likely, always inside and aligned, sizes evenly drawn")
  func uniform() {
    let all = region(1 << 40, 64 * 4096 + 4095)
    var generator = OffsetGenerator(
      region: all, blockByteCounts: 4096...4096, isRandom: true, usesMap: false, seed: 3)
    var counts = [Int](repeating: 0, count: 64)
    for _ in 0..<1000 {
      let ranges = pass(&generator)
      #expect(ranges.count == 64)
      for range in ranges {
        #expect(isInside(range, all) && range.byteCount == 4096)
        #expect((range.offsetBytes - all.offsetBytes) % 4096 == 0)
        counts[Int((range.offsetBytes - all.offsetBytes) / 4096)] += 1
      }
      generator.startPass()
    }
    // 1000 expected; the statistic has 63 degrees of freedom: above 126 once in a million.
    let statistic = counts.map { Double(($0 - 1000) * ($0 - 1000)) / 1000 }.reduce(0, +)
    #expect(statistic < 126)
  }

  @Test("a block as large as the region, and one larger than it by bsrange, fit")
  func largest() {
    var whole = OffsetGenerator(
      region: region(512, 4096), blockByteCounts: 4096...4096, isRandom: true, seed: 1)
    #expect(pass(&whole) == [region(512, 4096)])
    var ranged = OffsetGenerator(
      region: region(512, 4096), blockByteCounts: 512...(1 << 20), isRandom: true, seed: 1)
    #expect(coverage(pass(&ranged), region(512, 4096), 512).allSatisfy { $0 == 1 })
  }
}

@Suite("Bench: zipf")
struct ZipfTests {
  @Test(
    "the sum of the series agrees with adding up every term",
    arguments: [0.1, 0.5, 0.99, 1.01, 1.2, 2, 5])
  func zetaAgainstSum(theta: Double) {
    for count: UInt64 in [1, 2, 1023, 1024, 1025, 5000, 300_000] {
      var sum = 0.0
      for term in (1...count).reversed() { sum += zipfWeight(term, theta) }
      #expect(abs(ZipfRanks.zeta(count, theta) - sum) < sum * 1e-9)
    }
  }

  private func zipfWeight(_ rank: UInt64, _ theta: Double) -> Double {
    1 / power(Double(rank), theta)
  }

  /// `base^exponent` for base >= 1, by halving, so as not to test a function with itself.
  private func power(_ base: Double, _ exponent: Double) -> Double {
    var (result, rest, root) = (1.0, exponent, base)
    while rest >= 1 {
      result *= base
      rest -= 1
    }
    for _ in 0..<52 {
      root = root.squareRoot()
      rest *= 2
      if rest >= 1 {
        result *= root
        rest -= 1
      }
    }
    return result
  }

  @Test("the first ranks have the formula's frequency, the others their share of it")
  func frequencies() {
    for theta in [0.6, 0.9, 1.2, 2] {
      let count: UInt64 = 1000
      let draws = 1_000_000
      let ranks = ZipfRanks(count: count, theta: theta)
      var random = RandomSequence(seed: 17)
      var counts = [Int](repeating: 0, count: Int(count))
      for _ in 0..<draws { counts[Int(ranks.next(&random))] += 1 }
      let expected = (1...count).map { zipfWeight($0, theta) / ranks.zeta * Double(draws) }
      for rank in 0..<2 {
        let deviation = expected[rank].squareRoot()
        #expect(abs(Double(counts[rank]) - expected[rank]) < 5 * deviation, "\(theta) \(rank)")
      }
      // The others by the integral over the rank, scaled to the mass that is left.
      let integral = { (first: Double, last: Double) in
        (first / power(first, theta) - last / power(last, theta)) / (theta - 1)
      }
      let scale = (ranks.zeta - 1 - zipfWeight(2, theta)) / integral(2, Double(count))
      var statistic = 0.0
      for rank in 2..<Int(count) {
        let weight = scale * integral(Double(rank), Double(rank + 1)) / ranks.zeta * Double(draws)
        statistic += (Double(counts[rank]) - weight) * (Double(counts[rank]) - weight) / weight
      }
      // 998 degrees of freedom: mean 998, standard deviation 45.
      #expect(abs(statistic - 998) < 230, "\(theta)")
      // And that is near the formula, as documented.
      if theta <= 1.2 {
        for rank in 9..<50 {
          let bound = 0.04 * expected[rank] + 5 * expected[rank].squareRoot()
          #expect(abs(Double(counts[rank]) - expected[rank]) < bound, "\(theta) \(rank)")
        }
      }
      for head in [10, 100, 500] {
        let seen = Double(counts[..<head].reduce(0, +))
        let share = expected[..<head].reduce(0, +)
        #expect(abs(seen - share) < 0.03 * Double(draws), "\(theta) \(head)")
      }
    }
  }

  @Test("never outside, for 1 to 64 blocks; every block of a small region occurs")
  func inside() {
    for theta in [0.2, 0.99, 1.2, 3] {
      for count: UInt64 in 1...64 {
        let all = region(4096, count * 512 + 17)
        var generator = OffsetGenerator(
          region: all, blockByteCounts: 512...512, isRandom: true,
          distribution: .zipf(theta: theta), seed: count)
        for _ in 0..<20 {
          let ranges = pass(&generator)
          #expect(ranges.count == Int(count))
          #expect(ranges.allSatisfy { isInside($0, all) && ($0.offsetBytes - 4096) % 512 == 0 })
          generator.startPass()
        }
      }
    }
  }

  @Test("the hot blocks are the same in every pass, scattered, and others for another seed")
  func hotBlocks() {
    let hottest = { (seed: UInt64) -> [[UInt64]] in
      var generator = OffsetGenerator(
        region: region(0, 10_000 * 4096), blockByteCounts: 4096...4096, isRandom: true,
        distribution: .zipf(theta: 1.2), seed: seed)
      return (0..<3).map { _ in
        var counts: [UInt64: Int] = [:]
        for range in pass(&generator) { counts[range.offsetBytes / 4096, default: 0] += 1 }
        generator.startPass()
        return counts.sorted { $0.value > $1.value }.prefix(2).map(\.key)
      }
    }
    let passes = hottest(1)
    #expect(passes[0] == passes[1] && passes[1] == passes[2])
    #expect(passes[0] != [0, 1])
    #expect(hottest(2)[0] != passes[0])
  }

  @Test("huge regions cost nothing to begin")
  func huge() {
    var generator = OffsetGenerator(
      region: region(0, 1 << 62), blockByteCounts: 512...512, isRandom: true,
      distribution: .zipf(theta: 0.99), seed: 1)
    for _ in 0..<1000 { #expect(generator.next(for: .write) != nil) }
  }
}

@Suite("Bench: mix of operations")
struct OperationMixTests {
  @Test("reads come in the wanted proportion", arguments: [0, 1, 30, 50, 70, 99, 100])
  func proportion(percent: Int) {
    var mix = OperationMix(.randrw, readPercent: percent, seed: UInt64(percent))
    let reads = (0..<100_000).filter { _ in mix.next() == .read }.count
    // Five standard deviations are at most 791; none for 0 and 100.
    #expect(abs(reads - percent * 1000) <= (percent % 100 == 0 ? 0 : 791))
  }

  @Test("what is not mixed has one kind, whatever rwmixread says")
  func unmixed() {
    let kinds: [(Workload, OperationKind)] = [
      (.read, .read), (.randread, .read), (.write, .write), (.randwrite, .write),
      (.trim, .trim), (.randtrim, .trim),
    ]
    for (workload, kind) in kinds {
      var mix = OperationMix(workload, readPercent: 50, seed: 1)
      #expect((0..<100).allSatisfy { _ in mix.next() == kind })
    }
  }

  @Test("the seed decides the order")
  func deterministic() {
    let order = { (seed: UInt64) in
      var mix = OperationMix(.rw, readPercent: 50, seed: seed)
      return (0..<64).map { _ in mix.next() }
    }
    #expect(order(1) == order(1))
    #expect(order(1) != order(2))
  }
}
