import Testing

@testable import Bench

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
