import DiskFormat
import Geometry
import IO
import TestSupport
import Testing

@Suite("DiskFormat: batch fields")
struct LogBatchFieldTests {
  private typealias Field = LogBatchHeader.Field

  // Where things lie in the golden batch: `docs/formats/log.md` shows it.
  private static let copies = 0x60
  private static let runs = 0x80
  private static let firstWrite = 0xa0
  private static let secondWrite = 0xc0
  private static let trim = 0xe0
  private static let intent = 0x100
  private static let direct = 0x150
  private static let used = 0x1d8

  /// What a reader says to the golden batch with some bytes changed and a right checksum.
  private func refusal(_ change: (IOBuffer) -> Void) -> FormatError? {
    let sealed = SealedBatch(Golden.batchHeader, Golden.batchRecords)
    let area = sealed.area
    change(area)
    area.reseal()
    return DiskFormatTests.refusal { () throws(FormatError) in
      try LogBatch.decode(area, arrayID: Golden.arrayID)
    }
  }

  private func expect(
    _ name: String, word: UInt64, at offset: Int, _ location: SourceLocation = #_sourceLocation
  ) {
    #expect(
      refusal { $0.storeUInt64(word, at: offset) }?.fieldName == name, "\(word) at \(offset)",
      sourceLocation: location)
  }

  private func expect(
    _ name: String, byte: UInt8, at offset: Int, _ location: SourceLocation = #_sourceLocation
  ) {
    #expect(
      refusal { $0.storeUInt8(byte, at: offset) }?.fieldName == name, "\(byte) at \(offset)",
      sourceLocation: location)
  }

  @Test("resealed without a change it is accepted")
  func unchanged() {
    #expect(refusal { _ in } == nil)
  }

  @Test("sizes that cannot be are refused before anything is read")
  func sizes() {
    let sealed = SealedBatch(Golden.batchHeader, Golden.batchRecords)
    let area = sealed.area
    for byteCount: UInt32 in [0, 1, 4095, 4097, 256 << 10 + 4096, 1 << 31, .max] {
      area.storeUInt32(byteCount, at: Field.headerByteCount.offset)
      let error = FormatError.field(name: "headerByteCount", value: UInt64(byteCount))
      #expect(
        DiskFormatTests.refusal { () throws(FormatError) in
          try LogBatch.sizes(area, arrayID: Golden.arrayID)
        } == error)
      #expect(refusal { $0.storeUInt32(byteCount, at: 32) } == error)
    }
    area.storeUInt32(4096, at: Field.headerByteCount.offset)
    for count: UInt32 in [4097, .max] {
      area.storeUInt32(count, at: Field.payloadBlockCount.offset)
      let error = FormatError.field(name: "payloadBlockCount", value: UInt64(count))
      #expect(
        DiskFormatTests.refusal { () throws(FormatError) in
          try LogBatch.sizes(area, arrayID: Golden.arrayID)
        } == error)
      #expect(refusal { $0.storeUInt32(count, at: 36) } == error)
    }
  }

  @Test("counts that disagree with what follows are refused")
  func counts() {
    for count: UInt8 in [0, 2, 4] { expect("payloadBlockCount", byte: count, at: 36) }
    // Too few records leave used bytes over; too many find none, or zeros.
    for count: UInt8 in [0, 1, 4] { expect("usedByteCount", byte: count, at: 44) }
    expect("recordCount", byte: 6, at: 44)
    expect("recordCount", byte: 255, at: 47)
    for used: UInt64 in [0, 95, 4097, 0xffff_ffff] {
      #expect(
        refusal { $0.storeUInt32(UInt32(used), at: 40) }
          == .field(name: "usedByteCount", value: used))
    }
    // Zeros behind the last record, but inside what is used.
    #expect(refusal { $0.storeUInt32(UInt32(Self.used + 8), at: 40) }?.fieldName == "usedByteCount")
    // Cut inside the direct intent.
    #expect(refusal { $0.storeUInt32(UInt32(Self.used - 8), at: 40) }?.fieldName == "usedByteCount")
    expect("usedByteCount", byte: 1, at: 4095)
    expect("copyCount", byte: 0, at: 48)
    expect("copyCount", byte: 33, at: 48)
    expect("copyCount", byte: 255, at: 49)
    expect("previousRunCount", byte: 65, at: 50)
    expect("previousRunCount", byte: 255, at: 51)
  }

  @Test("a batch that tells of itself as past is refused")
  func sequences() {
    expect("sequence", word: 0, at: Field.sequence.offset)
    for past: UInt64 in [1251, 1252, .max] {
      expect("horizon", word: past, at: Field.horizon.offset)
      expect("checkpointSequence", word: past, at: Field.checkpointSequence.offset)
    }
  }

  @Test("copies in slots that cannot be, twice in one, or off the blocks are refused")
  func copies() {
    for slot: UInt64 in [32, 255, 1 << 32, .max] { expect("slot", word: slot, at: Self.copies) }
    expect("slot", word: 2, at: Self.copies)
    for offset: UInt64 in [1, 4095, 1 << 60, .max] {
      expect("offsetBytes", word: offset, at: Self.copies + 8)
    }
  }

  @Test("runs without blocks, or beyond the end of numbers, are refused")
  func runs() {
    expect("previousRuns", word: 0, at: Self.runs + 8)
    expect("previousRuns", word: .max, at: Self.runs)
    expect("previousRuns", word: .max - 8, at: Self.runs + 8 + 16)
    expect("firstBlock", word: .max, at: Self.firstWrite + 8)
    expect("firstBlock", word: .max - 1, at: Self.firstWrite + 8)
    expect("blockCount", word: 0, at: Self.trim + 16)
    expect("blockCount", word: .max, at: Self.trim + 16)
    expect("blockCount", word: .max, at: Self.trim + 8)
  }

  @Test("records of no kind, or with counts that cannot be, are refused")
  func records() {
    for kind: UInt8 in [0, 5, 255] { expect("kind", byte: kind, at: Self.firstWrite) }
    #expect(
      refusal { $0.storeUInt32(0, at: Self.firstWrite + 4) } == .field(name: "blockCount", value: 0)
    )
    for count: UInt32 in [1000, 4096, 4097, .max] {
      #expect(
        refusal { $0.storeUInt32(count, at: Self.firstWrite + 4) }
          == .field(
            name: "blockCount",
            value: count > 4096
              ? UInt64(count) : UInt64(LogBatchEncoder.writeRecordBytes(blockCount: Int(count)))))
    }
    for count: UInt8 in [0, 33, 255] { expect("dataCount", byte: count, at: Self.intent + 1) }
    for count: UInt8 in [3, 255] { expect("parityCount", byte: count, at: Self.intent + 2) }
    for kind: UInt8 in [4, 255] { expect("blocks", byte: kind, at: Self.intent + 17) }
    for kind: UInt8 in [3, 255] { expect("blocks", byte: kind, at: Self.direct + 17) }
    // Where there was nothing before, there is no checksum of it.
    expect("checksum", byte: 1, at: Self.direct + 24 + 36)
    expect("checksum", byte: 1, at: Self.direct + 24 + 72)
    for count: UInt32 in [0, 4097, .max] {
      #expect(
        refusal { $0.storeUInt32(count, at: Self.direct + 4) }
          == .field(name: "blockCount", value: UInt64(count)))
    }
    // More than is there.
    expect("blockCount", byte: 40, at: Self.direct + 4)
    expect("firstBlock", word: .max - 2, at: Self.direct + 8)
  }

  @Test("bytes that this version leaves unused are refused when they are not zero")
  func unused() {
    expect("reserved", byte: 1, at: Self.firstWrite + 1)
    expect("reserved", byte: 1, at: Self.firstWrite + 3)
    expect("reserved", byte: 1, at: Self.secondWrite + 28)
    expect("reserved", byte: 1, at: Self.trim + 1)
    expect("reserved", byte: 1, at: Self.trim + 7)
    expect("reserved", byte: 1, at: Self.intent + 3)
    expect("reserved", byte: 1, at: Self.intent + 7)
    expect("reserved", byte: 1, at: Self.intent + 19)
    expect("reserved", byte: 1, at: Self.direct + 1)
    expect("reserved", byte: 1, at: Self.direct + 3)
    expect("reserved", byte: 1, at: Self.direct + 19)
    expect("reserved", byte: 1, at: Self.used - 1)
    // A written block less leaves a word of the record unread, which no other record explains.
    #expect(refusal { $0.storeUInt8(0, at: Self.intent + 16) } != nil)
  }

  @Test("a payload is intact only if each block is what its record says")
  func payload() {
    let sealed = SealedBatch(Golden.batchHeader, Golden.batchRecords)
    let memory = AlignedMemory.ofTest(4 * 4096)
    let payload = memory.buffer.prefix(3 * 4096)
    for index in 0..<3 { payload.slice(index * 4096, 4096).fill(with: UInt8(0x11 * (index + 1))) }
    #expect(sealed.batch.isPayloadIntact(payload))
    // More than the payload does not disturb; less is not enough.
    #expect(sealed.batch.isPayloadIntact(memory.buffer))
    #expect(!sealed.batch.isPayloadIntact(payload.prefix(3 * 4096 - 1)))
    #expect(!sealed.batch.isPayloadIntact(payload.prefix(0)))
    for bit in stride(from: 0, to: 3 * 4096 * 8, by: 97) {
      payload.flipBit(bit)
      #expect(!sealed.batch.isPayloadIntact(payload), "bit \(bit)")
      payload.flipBit(bit)
    }
    let (first, second) = (payload.prefix(4096).array, payload.slice(4096, 4096).array)
    let swapped = AlignedMemory.holding(second + first)
    payload.copy(from: swapped.buffer)
    #expect(!sealed.batch.isPayloadIntact(payload), "swapped blocks")
  }

  @Test("what no reader would accept is not written")
  func notWritten() async {
    await #expect(processExitsWith: .failure) {
      var header = Golden.batchHeader
      header.horizon = header.sequence
      _ = SealedBatch(header, [])
    }
    await #expect(processExitsWith: .failure) {
      let run = BlockRun(firstBlock: .max, blockCount: 1)
      _ = SealedBatch(Golden.batchHeader, [.trim(run: run, clientSequence: 1)])
    }
    await #expect(processExitsWith: .failure) {
      // More than the header area holds.
      let memory = AlignedMemory.ofTest(4096)
      defer { withExtendedLifetime(memory) {} }
      var encoder = LogBatchEncoder(memory.buffer, copyCount: 1, previousRunCount: 0)
      for index in 0..<200 {
        encoder.appendTrim(BlockRun(firstBlock: UInt64(index), blockCount: 1), clientSequence: 1)
      }
    }
  }
}
