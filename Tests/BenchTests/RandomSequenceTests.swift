import Testing

@testable import Bench

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
