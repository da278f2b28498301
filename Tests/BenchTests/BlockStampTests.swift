import IO
import TestSupport
import Testing
import Units

@testable import Bench

private let place: UInt64 = 40_960
private let run: UInt64 = 0x1234_5678_9abc_def0

private func stamp(_ byteCount: Int, seed: UInt64 = 0x89, run: UInt64 = run) -> BlockStamp {
  BlockStamp(seed: seed, run: run, blockByteCount: byteCount)
}

/// Memory that holds one filled block.
private func block(
  _ stamp: BlockStamp, at offset: UInt64 = place, generation: UInt32 = 5
) -> AlignedMemory {
  let memory = zeroed(stamp.blockByteCount)
  stamp.fill(memory.buffer.prefix(stamp.blockByteCount), at: offset, generation: generation)
  return memory
}

extension IOBuffer {
  /// Copies all of `source` to the start of this view.
  fileprivate func put(_ source: [UInt8]) {
    let bytes = AlignedMemory.holding(source)
    withExtendedLifetime(bytes) { copy(from: bytes.buffer.prefix(source.count)) }
  }
}

/// The expectations that a good block of generation 5 meets.
private let expectations: [BlockExpectation] = [.exactly(5), .anyGeneration, .between(4...6)]

@Suite("Bench: stamped blocks")
struct BlockStampTests {
  @Test("what was filled is good, at every size", arguments: [512, 1024, 1536, 4096, 65536])
  func good(byteCount: Int) {
    let stamp = stamp(byteCount)
    let memory = block(stamp)
    for expectation in expectations + [.anything] {
      #expect(stamp.verify(memory.view(byteCount), at: place, expecting: expectation) == nil)
    }
    // The next process draws another run, and knows the seed.
    let later = Bench.BlockStamp(seed: 0x89, run: 1, blockByteCount: byteCount)
    #expect(later.verify(memory.view(byteCount), at: place, expecting: .anyGeneration) == nil)
  }

  @Test("sectors of different seeds, offsets, runs, generations and indexes share no content")
  func contentsDiffer() {
    let blocks = [
      block(stamp(1024)).view(1024).array, block(stamp(1024), generation: 6).view(1024).array,
      block(stamp(1024), at: place + 1024).view(1024).array,
      block(stamp(1024, seed: 0x8a)).view(1024).array,
      block(stamp(1024, run: run + 1)).view(1024).array,
    ]
    let sectors = blocks.flatMap { [Array($0[52..<508]), Array($0[564..<1020])] }
    for (index, sector) in sectors.enumerated() {
      for other in sectors[..<index] {
        let equal = zip(sector, other).filter { $0 == $1 }.count
        #expect(equal < 20)
      }
    }
  }

  @Test("the layout is the documented one")
  func layout() {
    let bytes = block(stamp(1024)).view(1024).array
    #expect(String(decoding: bytes[512..<520], as: UTF8.self) == "ashlarBS")
    #expect(Array(bytes[520..<528]) == [0x89, 0, 0, 0, 0, 0, 0, 0])
    #expect(Array(bytes[528..<536]) == [0, 0xA0, 0, 0, 0, 0, 0, 0])
    #expect(Array(bytes[536..<544]) == [0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12])
    #expect(Array(bytes[544..<560]) == [0, 4, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0])
  }

  @Test("every single bit that flips is found, called corrupt, and named", arguments: [512, 4096])
  func everyBitFlip(byteCount: Int) {
    let stamp = stamp(byteCount)
    let memory = block(stamp)
    let view = memory.view(byteCount)
    let bytes = view.array
    for bit in 0..<byteCount * 8 {
      view.slice(bit / 8, 1).put([bytes[bit / 8] ^ (1 << UInt8(bit % 8))])
      let wanted = BlockFault.Kind.corrupt(
        BlockDamage(firstBytes: bit / 8..<bit / 8 + 1, bitCount: 1, bits: [bit], sectorCount: 1))
      let expectation = expectations[bit % 3]
      let fault = stamp.verify(view, at: place, expecting: expectation)
      #expect(fault?.kind == wanted, "bit \(bit), \(expectation)")
      view.slice(bit / 8, 1).put([bytes[bit / 8]])
    }
    #expect(stamp.verify(view, at: place, expecting: .exactly(5)) == nil)
  }

  @Test("a flipped bit of a stale block is damage of what it was")
  func flippedAndStale() {
    let stamp = stamp(512)
    let memory = block(stamp, generation: 3)
    let view = memory.view(512)
    view.slice(300, 1).put([view[300] ^ 0x10])
    let fault = stamp.verify(view, at: place, expecting: .exactly(5))
    #expect(
      fault?.kind
        == .corrupt(
          BlockDamage(firstBytes: 300..<301, bitCount: 1, bits: [2404], sectorCount: 1)))
  }

  @Test("overwritten bytes are a damaged range, wherever they begin")
  func overwrittenRange() {
    let stamp = stamp(4096)
    for first in stride(from: 0, to: 4096 - 100, by: 37) {
      let memory = block(stamp)
      let view = memory.view(4096)
      let expected = view.array
      view.slice(first, 100).put(expected[first..<first + 100].map { ~$0 })
      guard
        case .corrupt(let damage) = stamp.verify(view, at: place, expecting: .exactly(5))?.kind
      else {
        Issue.record("not corrupt at \(first)")
        continue
      }
      let end = min(first + 100, first / 512 * 512 + 512)
      #expect(damage.firstBytes == first..<end)
      #expect(damage.bitCount == (end - first) * 8)
      #expect(damage.bits.isEmpty == (end - first > 1))
      #expect(damage.sectorCount == (end < first + 100 ? 2 : 1))
    }
  }

  @Test("a sector that keeps its header alone is corrupt as a whole")
  func headerOnly() {
    let stamp = stamp(1024)
    let memory = block(stamp)
    var random = RandomSequence(seed: 1)
    let garbage = (0..<460).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    memory.view(1024).slice(512 + 52, 460).put(garbage)
    let fault = stamp.verify(memory.view(1024), at: place, expecting: .exactly(5))
    #expect(
      fault?.kind
        == .corrupt(BlockDamage(firstBytes: 512..<1024, bitCount: nil, bits: [], sectorCount: 1)))
  }

  @Test("a block torn at any sector, either way, names both parts", arguments: [1024, 4096])
  func everyTear(byteCount: Int) {
    let stamp = stamp(byteCount)
    let last = byteCount / 512 - 1
    for (first, second) in [(UInt32(5), UInt32(4)), (4, 5)] {
      for split in 1...last {
        let memory = block(stamp, generation: first)
        let other = block(stamp, generation: second)
        memory.buffer.slice(split * 512, byteCount - split * 512)
          .copy(from: other.buffer.slice(split * 512, byteCount - split * 512))
        let wanted = BlockFault.Kind.torn([
          TornPiece(sectors: 0...split - 1, content: .generation(first)),
          TornPiece(sectors: split...last, content: .generation(second)),
        ])
        for expectation in [BlockExpectation.exactly(5), .exactly(4), .anyGeneration] {
          let fault = stamp.verify(memory.view(byteCount), at: place, expecting: expectation)
          #expect(fault?.kind == wanted, "\(split)")
        }
        // After a write that failed, both are legal.
        let between = BlockExpectation.between(4...5)
        #expect(stamp.verify(memory.view(byteCount), at: place, expecting: between) == nil)
        let later = BlockExpectation.between(5...6)
        let fault = stamp.verify(memory.view(byteCount), at: place, expecting: later)
        #expect(fault?.kind == wanted)
      }
    }
  }

  @Test("every subset of old sectors is torn, or stale, or good")
  func everySubset() {
    let stamp = stamp(2048)
    for subset in 0..<16 {
      let memory = block(stamp, generation: 5)
      let old = block(stamp, generation: 4)
      for sector in 0..<4 where subset >> sector & 1 == 1 {
        memory.buffer.slice(sector * 512, 512).copy(from: old.buffer.slice(sector * 512, 512))
      }
      let fault = stamp.verify(memory.view(2048), at: place, expecting: .exactly(5))
      switch (subset, fault?.kind) {
      case (0, nil), (15, .stale(foundGeneration: 4)): break
      case (1...14, .torn): break
      default: Issue.record("subset \(subset): \(String(describing: fault))")
      }
    }
  }

  @Test("stale: an older and a later generation, by the right number")
  func stale() {
    for byteCount in [512, 4096] {
      let stamp = stamp(byteCount)
      for found: UInt32 in [1, 4, 6, .max] {
        let memory = block(stamp, generation: found)
        let fault = stamp.verify(memory.view(byteCount), at: place, expecting: .exactly(5))
        #expect(fault?.kind == .stale(foundGeneration: found))
        let range = stamp.verify(memory.view(byteCount), at: place, expecting: .between(2...3))
        #expect(range?.kind == .stale(foundGeneration: found))
      }
    }
  }

  @Test("misplaced: whole blocks, by sectors shifted ones, and one sector of elsewhere")
  func misplaced() {
    let stamp = stamp(4096)
    for found: UInt64 in [0, 4096, place + 4096, 1 << 40] {
      let memory = block(stamp, at: found)
      for expectation in expectations {
        let fault = stamp.verify(memory.view(4096), at: place, expecting: expectation)
        #expect(fault?.kind == .misplaced(foundOffset: found))
      }
    }
    let shifted = zeroed(8192)
    stamp.fill(shifted.buffer.prefix(4096), at: place, generation: 5)
    stamp.fill(shifted.buffer.slice(4096, 4096), at: place + 4096, generation: 5)
    let fault = stamp.verify(shifted.buffer.slice(512, 4096), at: place, expecting: .exactly(5))
    #expect(fault?.kind == .misplaced(foundOffset: place + 512))

    let memory = block(stamp)
    let other = block(stamp, at: 0)
    memory.buffer.slice(1024, 512).copy(from: other.buffer.slice(1024, 512))
    for expectation in expectations {
      let fault = stamp.verify(memory.view(4096), at: place, expecting: expectation)
      #expect(fault?.kind == .misplaced(foundOffset: 0))
    }
  }

  @Test("zeros, foreign, another block size and garbage are told apart")
  func wholesale() {
    for byteCount in [1024, 4096] {
      let stamp = stamp(byteCount)
      for expectation in expectations {
        let check = { (memory: AlignedMemory) in
          stamp.verify(memory.view(byteCount), at: place, expecting: expectation)?.kind
        }
        #expect(check(zeroed(byteCount)) == .zeros)
        let foreign = block(Bench.BlockStamp(seed: 7, run: run, blockByteCount: byteCount))
        #expect(check(foreign) == .foreign(foundSeed: 7))

        let smaller = zeroed(byteCount)
        let half = Bench.BlockStamp(seed: 0x89, run: run, blockByteCount: byteCount / 2)
        for index in 0..<2 {
          half.fill(
            smaller.buffer.slice(index * byteCount / 2, byteCount / 2),
            at: place + UInt64(index * byteCount / 2), generation: 5)
        }
        #expect(check(smaller) == .otherBlockSize(foundByteCount: UInt32(byteCount / 2)))

        let garbage = zeroed(byteCount)
        var random = RandomSequence(seed: 1)
        garbage.buffer.put(
          (0..<byteCount).map { _ in UInt8(truncatingIfNeeded: random.next()) })
        #expect(check(garbage) == .noStamp)
        garbage.buffer.fill(with: 0xff)
        #expect(check(garbage) == .noStamp)
      }
    }
  }

  @Test("what an earlier run with the same seed and generation left is foreign to this one")
  func earlierRun() {
    let memory = block(stamp(4096, run: 1))
    let now = stamp(4096, run: 2)
    let fault = now.verify(memory.view(4096), at: place, expecting: .exactly(5))
    #expect(fault?.kind == .foreign(foundSeed: 0x89))
    #expect(now.verify(memory.view(4096), at: place, expecting: .anyGeneration) == nil)
    // Half of each is torn, for a process that only reads as well.
    now.fill(memory.view(4096), at: place, generation: 5)
    let old = block(stamp(4096, run: 1))
    memory.buffer.slice(2048, 2048).copy(from: old.buffer.slice(2048, 2048))
    for expectation in [BlockExpectation.exactly(5), .anyGeneration] {
      let torn = stamp(4096, run: 2).verify(memory.view(4096), at: place, expecting: expectation)
      #expect(
        torn?.kind
          == .torn([
            TornPiece(sectors: 0...3, content: .generation(5)),
            TornPiece(sectors: 4...7, content: .foreign(seed: 0x89)),
          ]))
    }
  }

  @Test("a tear over zeros, garbage and a foreign block names each piece")
  func tornOverOthers() {
    let stamp = stamp(4096)
    let memory = block(stamp)
    memory.buffer.slice(512, 1024).fill(with: 0)
    memory.buffer.slice(2048, 512).fill(with: 0xee)
    let foreign = block(Bench.BlockStamp(seed: 7, run: run, blockByteCount: 4096))
    memory.buffer.slice(3072, 1024).copy(from: foreign.buffer.slice(3072, 1024))
    let fault = stamp.verify(memory.view(4096), at: place, expecting: .exactly(5))
    #expect(
      fault?.kind
        == .torn([
          TornPiece(sectors: 0...0, content: .generation(5)),
          TornPiece(sectors: 1...2, content: .zeros),
          TornPiece(sectors: 3...3, content: .generation(5)),
          TornPiece(sectors: 4...4, content: .noStamp),
          TornPiece(sectors: 5...5, content: .generation(5)),
          TornPiece(sectors: 6...7, content: .foreign(seed: 7)),
        ]))
  }

  @Test("damage is named before misplacement, that before a tear")
  func precedence() {
    let stamp = stamp(2048)
    let memory = block(stamp, generation: 4)
    let new = block(stamp, generation: 5)
    memory.buffer.prefix(512).copy(from: new.buffer.prefix(512))
    #expect(
      stamp.verify(memory.view(2048), at: place, expecting: .exactly(5))?.kind.name == "torn")
    let other = block(stamp, at: 0)
    memory.buffer.slice(512, 512).copy(from: other.buffer.slice(512, 512))
    #expect(
      stamp.verify(memory.view(2048), at: place, expecting: .exactly(5))?.kind.name == "misplaced")
    memory.buffer.slice(1030, 1).put([0])
    #expect(
      stamp.verify(memory.view(2048), at: place, expecting: .exactly(5))?.kind.name == "corrupt")
  }

  @Test(
    "an operator reads where, what was found and what was expected",
    arguments: [
      (
        .corrupt(BlockDamage(firstBytes: 7..<8, bitCount: 1, bits: [59], sectorCount: 1)),
        .exactly(5),
        "block at offset 40960 (4096 bytes): corrupt: 1 bit has changed, first in byte 7 "
          + "(at 40967): bit 3 of byte 7; expected generation 5 of this run"
      ),
      (
        .corrupt(BlockDamage(firstBytes: 0..<512, bitCount: nil, bits: [], sectorCount: 2)),
        .anyGeneration,
        "block at offset 40960 (4096 bytes): corrupt: a checksum is wrong in bytes 0 to 511 "
          + "(from 40960), little of what was written is left; 2 sectors are damaged; "
          + "expected a whole block of this seed"
      ),
      (
        .torn([
          TornPiece(sectors: 0...3, content: .generation(5)),
          TornPiece(sectors: 4...7, content: .generation(4)),
        ]), .exactly(5),
        "block at offset 40960 (4096 bytes): torn: sectors 0-3 of generation 5, "
          + "sectors 4-7 of generation 4; expected generation 5 of this run"
      ),
      (
        .stale(foundGeneration: 4), .exactly(5),
        "block at offset 40960 (4096 bytes): stale: it holds generation 4: a later write that "
          + "was acknowledged is lost; expected generation 5 of this run"
      ),
      (
        .misplaced(foundOffset: 0), .between(1...2),
        "block at offset 40960 (4096 bytes): misplaced: it holds the block that belongs at "
          + "offset 0: a write or read went astray; expected generation 1 to 2 of this run"
      ),
    ] as [(BlockFault.Kind, BlockExpectation, String)])
  func sentences(kind: BlockFault.Kind, expectation: BlockExpectation, text: String) {
    let fault = BlockFault(
      offsetBytes: place, byteCount: 4096, expectation: expectation, kind: kind)
    #expect(fault.description == text)
  }
}
