import Parity
import Testing

/// One word, two, odd numbers of them, a sector, a block, and lengths around vector widths.
private let byteCounts = [32, 64, 96, 160, 224, 512, 544, 4096]

@Suite("Parity: the field")
struct GaloisFieldTests {
  @Test("all products are those of polynomials modulo 0x11D")
  func products() {
    var wrong = 0
    for one in UInt8.min...UInt8.max {
      for other in UInt8.min...UInt8.max {
        let expected = NaiveParity.product(one, other)
        if GaloisField.multiply(one, other) != expected { wrong += 1 }
      }
    }
    #expect(wrong == 0)
  }

  @Test("powers of 2 are all different up to 255 and then repeat")
  func powers() {
    #expect(Set((0..<255).map(GaloisField.power)).count == 255)
    for exponent in 0..<600 {
      #expect(GaloisField.power(exponent) == NaiveParity.power(exponent % 255))
    }
    #expect(GaloisField.power(8) == 0x1D)
  }

  @Test("an element times its inverse is 1")
  func inverses() {
    for element in UInt8(1)...UInt8.max {
      #expect(NaiveParity.product(element, GaloisField.inverse(element)) == 1)
    }
  }

  @Test("the inverse of 0 traps")
  func noInverseOfZero() async {
    await #expect(processExitsWith: .failure) { _ = GaloisField.inverse(0) }
  }
}

@Suite("Parity: arithmetic on buffers")
struct ParityMathTests {
  private func pair(_ byteCount: Int) -> ([UInt8], [UInt8]) {
    let blocks = Content.random.blocks(2, byteCount: byteCount)
    return (blocks[0], blocks[1])
  }

  @Test("xor adds one buffer to another, at any length and alignment", arguments: byteCounts)
  func xor(byteCount: Int) {
    let (one, other) = pair(byteCount)
    for shift in [0, 32] {
      let source = Memory(one, shift: shift)
      let target = Memory(other)
      ParityMath.xor(source.parity, into: target.parity)
      #expect(target.bytes == NaiveParity.sum(one, other))
      #expect(source.bytes == one)
      #expect(source.guardsAreIntact && target.guardsAreIntact)
    }
  }

  @Test("xor of a buffer into itself leaves zeros")
  func xorIntoItself() {
    let memory = Memory(pair(512).0)
    ParityMath.xor(memory.parity, into: memory.parity)
    #expect(memory.bytes.allSatisfy { $0 == 0 })
  }

  @Test("addScaled adds g^i times the source, for every i", arguments: byteCounts)
  func addScaled(byteCount: Int) {
    let (one, other) = pair(byteCount)
    for index in 0..<ParityMath.indexCount {
      let source = Memory(one, shift: index % 2 * 32)
      let target = Memory(other)
      ParityMath.addScaled(source.parity, index: index, into: target.parity)
      let scaled = NaiveParity.scaled(one, by: NaiveParity.power(index))
      #expect(target.bytes == NaiveParity.sum(other, scaled), "index \(index)")
      #expect(source.bytes == one)
      #expect(source.guardsAreIntact && target.guardsAreIntact)
    }
  }

  @Test("scale multiplies in place by every coefficient", arguments: byteCounts)
  func scale(byteCount: Int) {
    let (bytes, _) = pair(byteCount)
    let memory = Memory(bytes, shift: 32)
    for coefficient in UInt8.min...UInt8.max {
      memory.fill(bytes)
      ParityMath.scale(memory.parity, by: coefficient)
      #expect(memory.bytes == NaiveParity.scaled(bytes, by: coefficient), "\(coefficient)")
    }
    #expect(memory.guardsAreIntact)
  }

  @Test(
    "an update of one block leaves the parities of the new row", arguments: [32, 96, 512, 4096])
  func update(byteCount: Int) {
    for k in [2, 3, 8, 30] where byteCount < 4096 || k <= 3 {
      let old = Content.counting.blocks(k, byteCount: byteCount)
      let replacement = Content.random.blocks(k, byteCount: byteCount)
      for index in 0..<k {
        var new = old
        new[index] = replacement[index]
        let p = Memory(NaiveParity.p(old, byteCount: byteCount))
        let q = Memory(NaiveParity.q(old, byteCount: byteCount), shift: 32)
        let delta = Memory(old[index])
        let newBlock = Memory(new[index])
        ParityMath.xor(newBlock.parity, into: delta.parity)
        ParityMath.update(p: p.parity, q: q.parity, index: index, delta: delta.parity)
        #expect(p.bytes == NaiveParity.p(new, byteCount: byteCount), "k \(k), index \(index)")
        #expect(q.bytes == NaiveParity.q(new, byteCount: byteCount), "k \(k), index \(index)")
        #expect(delta.bytes == NaiveParity.sum(old[index], new[index]))
        #expect(p.guardsAreIntact && q.guardsAreIntact && delta.guardsAreIntact)
      }
    }
  }

  @Test("one unknown is solved from the syndrome of Q, for every index", arguments: byteCounts)
  func solveOne(byteCount: Int) {
    let (x, _) = pair(byteCount)
    for index in 0..<ParityMath.indexCount {
      let syndrome = Memory(NaiveParity.scaled(x, by: NaiveParity.power(index)))
      ParityMath.solveOne(index: index, qSyndrome: syndrome.parity)
      #expect(syndrome.bytes == x, "index \(index)")
      #expect(syndrome.guardsAreIntact)
    }
  }

  @Test(
    "two unknowns are solved for every pair of indices, either way round", arguments: [32, 512])
  func solveTwo(byteCount: Int) {
    let (x, y) = pair(byteCount)
    let p = Memory(byteCount: byteCount)
    let q = Memory(byteCount: byteCount)
    for xIndex in 0..<ParityMath.indexCount {
      let scaledX = NaiveParity.scaled(x, by: NaiveParity.power(xIndex))
      for yIndex in 0..<ParityMath.indexCount where yIndex != xIndex {
        p.fill(NaiveParity.sum(x, y))
        q.fill(NaiveParity.sum(scaledX, NaiveParity.scaled(y, by: NaiveParity.power(yIndex))))
        ParityMath.solveTwo(
          xIndex: xIndex, yIndex: yIndex, pSyndrome: p.parity, qSyndrome: q.parity)
        #expect(q.bytes == x, "x \(xIndex), y \(yIndex)")
        #expect(p.bytes == y, "x \(xIndex), y \(yIndex)")
      }
    }
    #expect(p.guardsAreIntact && q.guardsAreIntact)
  }

  @Test("a block is solved sector by sector where the parities are of different generations")
  func sectorsOfDifferentGenerations() {
    // Data blocks 1 and 3 of five have gone; even sectors of P and Q are old, odd ones new.
    let byteCount = 4096
    let old = Content.counting.blocks(5, byteCount: byteCount)
    var new = old
    let fresh = Content.random.blocks(5, byteCount: byteCount)
    new[0] = fresh[0]
    new[4] = fresh[4]
    let oldP = Memory(NaiveParity.p(old, byteCount: byteCount))
    let oldQ = Memory(NaiveParity.q(old, byteCount: byteCount))
    let p = Memory(NaiveParity.p(new, byteCount: byteCount))
    let q = Memory(NaiveParity.q(new, byteCount: byteCount))
    for sector in 0..<8 {
      let isOld = sector % 2 == 0
      let sp = isOld ? oldP.slice(sector * 512, 512) : p.slice(sector * 512, 512)
      let sq = isOld ? oldQ.slice(sector * 512, 512) : q.slice(sector * 512, 512)
      for index in [0, 2, 4] {
        let known = Memory((isOld ? old : new)[index])
        ParityMath.xor(known.slice(sector * 512, 512), into: sp)
        ParityMath.addScaled(known.slice(sector * 512, 512), index: index, into: sq)
      }
      ParityMath.solveTwo(xIndex: 1, yIndex: 3, pSyndrome: sp, qSyndrome: sq)
      let range = sector * 512..<sector * 512 + 512
      #expect((isOld ? oldQ : q).bytes[range] == old[1][range], "sector \(sector)")
      #expect((isOld ? oldP : p).bytes[range] == old[3][range], "sector \(sector)")
    }
  }

  @Test("buffers of different lengths trap")
  func differentLengthsTrap() async {
    await #expect(processExitsWith: .failure) {
      ParityMath.xor(Memory(byteCount: 64).parity, into: Memory(byteCount: 32).parity)
    }
    await #expect(processExitsWith: .failure) {
      ParityMath.addScaled(
        Memory(byteCount: 64).parity, index: 1, into: Memory(byteCount: 32).parity)
    }
  }

  @Test("equal indices, and those behind the last, trap")
  func wrongIndicesTrap() async {
    await #expect(processExitsWith: .failure) {
      let p = Memory(byteCount: 64)
      let q = Memory(byteCount: 64)
      ParityMath.solveTwo(xIndex: 3, yIndex: 3, pSyndrome: p.parity, qSyndrome: q.parity)
    }
    await #expect(processExitsWith: .failure) {
      let one = Memory(byteCount: 64)
      let other = Memory(byteCount: 64)
      ParityMath.addScaled(one.parity, index: 32, into: other.parity)
    }
  }

  @Test("memory that is not aligned, and ragged lengths, trap")
  func raggedMemoryTraps() async {
    await #expect(processExitsWith: .failure) { _ = Memory(byteCount: 96).slice(16, 32) }
    await #expect(processExitsWith: .failure) { _ = Memory(byteCount: 96).slice(0, 48) }
    await #expect(processExitsWith: .failure) { _ = Memory(byteCount: 96).slice(0, 0) }
  }
}
