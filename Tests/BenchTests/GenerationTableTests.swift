import IO
import Testing
import Units

@testable import Bench

@Suite("Bench: table of generations")
struct GenerationTableTests {
  private func table(_ byteCount: UInt64 = 8 * 512) throws -> GenerationTable {
    try #require(
      GenerationTable(
        region: ByteRange(from: 4096, to: 4096 + byteCount), blockByteCount: 512))
  }

  private func range(_ first: UInt64, _ count: UInt64) -> ByteRange {
    ByteRange(from: 4096 + first * 512, to: 4096 + (first + count) * 512)
  }

  @Test("writes are counted for each block; what was not written is not known")
  func counts() throws {
    let table = try table()
    #expect(table.expectation(at: 4096) == nil)
    table.begin(range(0, 4))
    table.commit(range(0, 4))
    table.begin(range(2, 4))
    table.commit(range(2, 4))
    let counts = (0..<8).map { table.generation(at: 4096 + UInt64($0) * 512) }
    #expect(counts == [1, 1, 2, 2, 1, 1, 0, 0])
    #expect(table.expectation(at: 4096 + 2 * 512) == .exactly(2))
    #expect(table.expectation(at: 4096 + 7 * 512) == nil)
  }

  @Test("after a failed write old and new are right, until one succeeds")
  func failedWrites() throws {
    let table = try table()
    let block = range(1, 1)
    table.begin(block)
    table.commit(block)
    for failed: UInt32 in 1...3 {
      table.begin(block)
      table.abandon(block)
      #expect(table.expectation(at: block.offsetBytes) == .between(1...1 + failed))
    }
    table.begin(block)
    table.commit(block)
    #expect(table.expectation(at: block.offsetBytes) == .exactly(5))
  }

  @Test("after a failed first write anything may be there")
  func failedFirstWrite() throws {
    let table = try table()
    table.begin(range(0, 2))
    table.abandon(range(0, 2))
    #expect(table.expectation(at: 4096) == .anything)
    table.begin(range(0, 1))
    table.commit(range(0, 1))
    #expect(table.expectation(at: 4096) == .exactly(2))
    #expect(table.expectation(at: 4096 + 512) == .anything)
  }

  @Test("blocks of an operation are filled and checked each with its own generation")
  func mixedSizes() throws {
    let table = try table()
    let stamp = BlockStamp(seed: 1, run: 2, blockByteCount: 512)
    let memory = zeroed(8 * 512)
    let writes: [(UInt64, UInt64)] = [(0, 8), (2, 3), (4, 1), (0, 1)]
    for (first, count) in writes {
      table.begin(range(first, count))
      stamp.fill(
        memory.buffer.slice(Int(first) * 512, Int(count) * 512),
        at: range(first, count).offsetBytes, from: table)
      table.commit(range(first, count))
    }
    let view = memory.view(8 * 512)
    #expect(stamp.verify(view, at: 4096, against: table) == nil)
    // One of the writes gets lost for one of its blocks.
    stamp.fill(view.slice(3 * 512, 512), at: 4096 + 3 * 512, generation: 1)
    let fault = stamp.verify(view, at: 4096, against: table)
    #expect(fault?.offsetBytes == 4096 + 3 * 512)
    #expect(fault?.kind == .stale(foundGeneration: 1))
  }

  @Test("what this run has not written is checked as the caller says")
  func unwritten() throws {
    let table = try table()
    let stamp = BlockStamp(seed: 1, run: 2, blockByteCount: 512)
    let memory = zeroed(512)
    #expect(stamp.verify(memory.view(512), at: 4096, against: table) == nil)
    let fault = stamp.verify(
      memory.view(512), at: 4096, against: table, unwritten: .anyGeneration)
    #expect(fault?.kind == .zeros)
  }

  @Test("a table for 8 TiB in blocks of 4 KiB takes memory only where it is used")
  func huge() throws {
    let table = try #require(
      GenerationTable(region: ByteRange(from: 0, to: 8 << 40), blockByteCount: 4096))
    let last = ByteRange(from: (8 << 40) - 4096, to: 8 << 40)
    table.begin(last)
    #expect(table.generation(at: last.offsetBytes) == 1)
    #expect(table.generation(at: 0) == 0)
  }
}
