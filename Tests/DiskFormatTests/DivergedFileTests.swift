import DiskFormat
import IO
import TestSupport
import Testing

@Suite("DiskFormat: the head of a file of diverged data")
struct DivergedFileTests {
  private let golden = DivergedFileHead(
    arrayID: Golden.arrayID,
    timelineID: Identifier(high: 0xd1d2_d3d4_d5d6_d7d8, low: 0xd9da_dbdc_ddde_dfd0),
    forkNumber: 5000, end: StreamPosition(number: 5703, chain: 0x89ab_cdef), recordCount: 703,
    rangeCount: 2, blockCount: 34, createdSeconds: 1_790_000_000, contentChecksum: 0x1357_9bdf)

  private func bytes() -> AlignedMemory {
    let memory = AlignedMemory.ofTest(4096)
    memory.buffer.fill(with: 0xa5)
    golden.encode(into: memory.buffer)
    return memory
  }

  @Test("a head of version 1 opens, and is written the same")
  func goldenFile() throws {
    let fixture = try Documents.fixture("diverged-head-v1.hex")
    #expect(try DivergedFileHead.decode(fixture.bytes) == golden)
    let memory = bytes()
    #expect(memory.buffer.array == fixture.bytes.array)
  }

  @Test("the places of ranges, states and blocks are whole pages")
  func sizes() {
    #expect(golden.rangesByteCount == 4096)
    #expect(golden.statesByteCount == 4096)
    #expect(golden.fileByteCount == (3 + 34) * 4096)
    var large = golden
    (large.rangeCount, large.blockCount) = (257, 4097)
    #expect(large.rangesByteCount == 8192)
    #expect(large.statesByteCount == 8192)
    (large.rangeCount, large.blockCount) = (0, 0)
    #expect(large.fileByteCount == 4096)
  }

  @Test("every single bit flip is refused")
  func everyBit() {
    let memory = bytes()
    let page = memory.buffer
    page.expectEveryBitRefused { () throws(FormatError) in _ = try DivergedFileHead.decode(page) }
  }

  @Test("fewer bytes, zeros and counts that cannot be are refused by name")
  func fields() {
    let memory = bytes()
    let page = memory.buffer
    let short = page.prefix(4095)
    #expect(refusal { () throws(FormatError) in try DivergedFileHead.decode(short) } != nil)
    for (offset, word, name) in [
      (72, DivergedFileHead.rangeCountMax + 1, "rangeCount"), (72, .max, "rangeCount"),
      (80, DivergedFileHead.blockCountMax + 1, "blockCount"), (80, 1, "blockCount"),
      (48, 5704, "forkNumber"), (4088, 1, "reserved"),
    ] as [(Int, UInt64, String)] {
      let memory = bytes()
      let page = memory.buffer
      page.storeUInt64(word, at: offset)
      page.reseal()
      #expect(
        refusal { () throws(FormatError) in try DivergedFileHead.decode(page) }?.fieldName == name)
    }
    page.fill(with: 0)
    #expect(refusal { () throws(FormatError) in try DivergedFileHead.decode(page) } == .noMagic)
  }
}
