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
