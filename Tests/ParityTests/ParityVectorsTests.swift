import Parity
import Testing

/// Every number of data blocks up to 16, and the largest that 32 members can have.
private let dataCounts = Array(2...16) + [24, 30, 31]

/// A row as the code under test sees it, with the parities that the naive model gives it.
private struct Row {
  let byteCount: Int
  let data: [[UInt8]]
  let p: [UInt8]
  let q: [UInt8]
  /// Data blocks, then P and Q.
  let memories: [Memory]
  let vectors: ParityVectors

  init(_ content: Content, dataCount: Int, byteCount: Int) {
    self.byteCount = byteCount
    data = content.blocks(dataCount, byteCount: byteCount)
    p = NaiveParity.p(data, byteCount: byteCount)
    q = NaiveParity.q(data, byteCount: byteCount)
    memories = (data + [p, q]).enumerated().map { Memory($1, shift: $0 % 2 * 32) }
    vectors = ParityVectors()
    for memory in memories.prefix(dataCount) { vectors.append(memory.parity) }
  }

  var pMemory: Memory { memories[data.count] }
  var qMemory: Memory { memories[data.count + 1] }
  var expected: [[UInt8]] { data + [p, q] }

  func lose(_ positions: Int...) {
    for position in positions {
      memories[position].fill([UInt8](repeating: 0x5C, count: byteCount))
    }
  }

  /// The positions that do not hold what they should, and those whose surroundings were written.
  var damagedPositions: [Int] {
    let expected = expected
    return memories.indices.filter {
      memories[$0].bytes != expected[$0] || !memories[$0].guardsAreIntact
    }
  }
}

@Suite("Parity: rows")
struct ParityVectorsTests {
  @Test("P and Q are those of the definition, in every way to compute them", arguments: dataCounts)
  func generation(dataCount: Int) {
    for byteCount in [32, 64, 96, 512, 4096] {
      for content in Content.allCases {
        let row = Row(content, dataCount: dataCount, byteCount: byteCount)
        row.lose(dataCount, dataCount + 1)
        row.vectors.generatePQ(p: row.pMemory.parity, q: row.qMemory.parity)
        #expect(row.damagedPositions.isEmpty, "P and Q, \(byteCount) bytes, \(content)")
        row.lose(dataCount)
        row.vectors.generateP(into: row.pMemory.parity)
        #expect(row.damagedPositions.isEmpty, "P, \(byteCount) bytes, \(content)")
        row.lose(dataCount + 1)
        row.vectors.generateQ(into: row.qMemory.parity)
        #expect(row.damagedPositions.isEmpty, "Q, \(byteCount) bytes, \(content)")
      }
    }
  }

  @Test("any one lost block comes back, P and Q too", arguments: dataCounts)
  func oneLost(dataCount: Int) {
    for byteCount in [32, 512, 4096] {
      for content in Content.allCases {
        let row = Row(content, dataCount: dataCount, byteCount: byteCount)
        for position in 0..<dataCount + 2 {
          row.lose(position)
          row.vectors.recover(position: position, p: row.pMemory.parity, q: row.qMemory.parity)
          #expect(row.damagedPositions.isEmpty, "\(position), \(byteCount) bytes, \(content)")
        }
      }
    }
  }

  @Test("any one lost block comes back with P alone", arguments: dataCounts)
  func oneLostWithoutQ(dataCount: Int) {
    for byteCount in [32, 512, 4096] {
      let row = Row(.random, dataCount: dataCount, byteCount: byteCount)
      for position in 0...dataCount {
        row.lose(position)
        row.vectors.recover(position: position, p: row.pMemory.parity, q: nil)
        #expect(row.damagedPositions.isEmpty, "\(position), \(byteCount) bytes")
      }
    }
  }

  @Test("any two lost blocks come back, P and Q too, in either order", arguments: dataCounts)
  func twoLost(dataCount: Int) {
    for byteCount in [32, 512, 4096] where byteCount < 4096 || dataCount <= 16 {
      for content in byteCount == 32 ? [Content.random, .counting, .oneBit] : [.random] {
        let row = Row(content, dataCount: dataCount, byteCount: byteCount)
        for first in 0..<dataCount + 2 {
          for second in 0..<dataCount + 2 where first != second {
            // Either order at the smallest size only: it decides nothing but who is x.
            guard first < second || byteCount == 32 else { continue }
            row.lose(first, second)
            row.vectors.recover(
              position: first, and: second, p: row.pMemory.parity, q: row.qMemory.parity)
            let pair = "\(first) and \(second), \(byteCount) bytes, \(content)"
            #expect(row.damagedPositions.isEmpty, "\(pair)")
          }
        }
      }
    }
  }

  @Test("one and no data blocks: P and Q are the block's, and zeros")
  func fewerThanTwo() {
    let bytes = Content.random.blocks(1, byteCount: 512)[0]
    let data = Memory(bytes)
    let p = Memory(byteCount: 512)
    let q = Memory(byteCount: 512)
    let vectors = ParityVectors()
    let others = Memory(byteCount: 512)
    /// Leaves other addresses behind, which must not count.
    func restart() {
      vectors.removeAll()
      for _ in 0..<3 { vectors.append(others.parity) }
      vectors.removeAll()
    }
    restart()
    vectors.generatePQ(p: p.parity, q: q.parity)
    #expect(p.bytes.allSatisfy { $0 == 0 } && q.bytes.allSatisfy { $0 == 0 })
    restart()
    vectors.append(data.parity)
    p.fill([UInt8](repeating: 7, count: 512))
    vectors.generateP(into: p.parity)
    #expect(p.bytes == bytes)
    vectors.generateQ(into: q.parity)
    #expect(q.bytes == bytes)
    vectors.generatePQ(p: p.parity, q: q.parity)
    #expect(p.bytes == bytes && q.bytes == bytes)
    // The block at position 0 alone, from either.
    data.fill([UInt8](repeating: 9, count: 512))
    vectors.recover(0, fromQ: q.parity)
    #expect(data.bytes == bytes)
    data.fill([UInt8](repeating: 9, count: 512))
    vectors.recover(0, fromP: p.parity)
    #expect(data.bytes == bytes)
  }

  @Test("blocks that are given as zeros count as zeros at their position")
  func zeroBlocks() {
    for dataCount in 2...8 {
      for mask in 0..<1 << dataCount {
        var data = Content.random.blocks(dataCount, byteCount: 512)
        let vectors = ParityVectors()
        var memories: [Memory] = []
        for index in 0..<dataCount {
          if mask & 1 << index != 0 {
            data[index] = [UInt8](repeating: 0, count: 512)
            vectors.appendZeros()
          } else {
            let memory = Memory(data[index])
            memories.append(memory)
            vectors.append(memory.parity)
          }
        }
        let p = Memory(byteCount: 512)
        let q = Memory(byteCount: 512)
        vectors.generatePQ(p: p.parity, q: q.parity)
        #expect(p.bytes == NaiveParity.p(data, byteCount: 512), "\(dataCount), \(mask)")
        #expect(q.bytes == NaiveParity.q(data, byteCount: 512), "\(dataCount), \(mask)")
        withExtendedLifetime(memories) {}
      }
    }
  }

  @Test("a table that was emptied takes rows of another width and length")
  func reuse() {
    let vectors = ParityVectors()
    for (dataCount, byteCount) in [(16, 4096), (2, 32), (30, 512), (3, 4096)] {
      let data = Content.random.blocks(dataCount, byteCount: byteCount)
      let memories = data.map { Memory($0) }
      let p = Memory(byteCount: byteCount)
      let q = Memory(byteCount: byteCount)
      vectors.removeAll()
      for memory in memories { vectors.append(memory.parity) }
      #expect(vectors.count == dataCount)
      vectors.generatePQ(p: p.parity, q: q.parity)
      #expect(p.bytes == NaiveParity.p(data, byteCount: byteCount))
      #expect(q.bytes == NaiveParity.q(data, byteCount: byteCount))
    }
  }

  @Test("a row of 64 KiB blocks in a table made for them")
  func longBlocks() {
    let byteCount = 65536
    let data = Content.random.blocks(4, byteCount: byteCount)
    let vectors = ParityVectors(byteCountMax: byteCount)
    let memories = data.map { Memory($0) }
    for memory in memories { vectors.append(memory.parity) }
    let p = Memory(byteCount: byteCount)
    let q = Memory(byteCount: byteCount)
    vectors.generatePQ(p: p.parity, q: q.parity)
    #expect(p.bytes == NaiveParity.p(data, byteCount: byteCount))
    #expect(q.bytes == NaiveParity.q(data, byteCount: byteCount))
  }

  @Test("blocks of different lengths, and more than there is room for, trap")
  func wrongBlocksTrap() async {
    await #expect(processExitsWith: .failure) {
      let vectors = ParityVectors()
      vectors.append(Memory(byteCount: 64).parity)
      vectors.append(Memory(byteCount: 32).parity)
    }
    await #expect(processExitsWith: .failure) {
      let vectors = ParityVectors()
      let memory = Memory(byteCount: 64)
      vectors.append(memory.parity)
      vectors.generateP(into: Memory(byteCount: 32).parity)
    }
    await #expect(processExitsWith: .failure) {
      ParityVectors(byteCountMax: 64).append(Memory(byteCount: 96).parity)
    }
    await #expect(processExitsWith: .failure) {
      let vectors = ParityVectors()
      for _ in 0...ParityVectors.capacity { vectors.appendZeros() }
    }
  }

  @Test("recovering into a block that was given as zeros, and two blocks without Q, trap")
  func wrongRecoveriesTrap() async {
    await #expect(processExitsWith: .failure) {
      let vectors = ParityVectors()
      let memory = Memory(byteCount: 64)
      vectors.append(memory.parity)
      vectors.appendZeros()
      vectors.recover(1, fromP: memory.parity)
    }
    await #expect(processExitsWith: .failure) {
      let row = Row(.random, dataCount: 3, byteCount: 64)
      row.vectors.recover(position: 0, and: 1, p: row.pMemory.parity, q: nil)
    }
  }
}
