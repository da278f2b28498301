import DiskFormat
import IO
import Parity
import TestSupport
import Testing

/// The error that a decoder throws; nil when it accepts.
func refusal<Value>(_ decode: () throws(FormatError) -> Value) -> FormatError? {
  do throws(FormatError) {
    _ = try decode()
    return nil
  } catch {
    return error
  }
}

extension FormatError {
  /// The field that it names.
  var fieldName: String? {
    if case .field(let name, _) = self { name } else { nil }
  }
}

extension IOBuffer {
  /// Makes the checksum right again after a change, by the rule of the pages: over all bytes, with
  /// the four of the checksum as zeros.
  func reseal() {
    storeUInt32(0, at: 12)
    storeUInt32(CRC32C.checksum(bytes), at: 12)
  }

  func flipBit(_ bit: Int) {
    storeUInt8(loadUInt8(at: bit / 8) ^ 1 << UInt8(bit % 8), at: bit / 8)
  }

  /// Changes each bit in turn, and expects each to be refused with an error that fits.
  func expectEveryBitRefused(_ decode: () throws(FormatError) -> Void) {
    var accepted: [Int] = []
    var misnamed: [Int] = []
    for bit in 0..<byteCount * 8 {
      flipBit(bit)
      switch refusal(decode) {
      case nil: accepted.append(bit)
      case .noMagic: if bit >= 64 { misnamed.append(bit) }
      case .version: if !(64..<96).contains(bit) { misnamed.append(bit) }
      case .checksum: if bit < 96 { misnamed.append(bit) }
      // Only sizes are looked at before the checksum.
      case .field, .misplaced: if !(256..<320).contains(bit) { misnamed.append(bit) }
      }
      flipBit(bit)
    }
    #expect(accepted.isEmpty)
    #expect(misnamed.isEmpty)
    #expect(refusal(decode) == nil)
  }
}

@Suite("DiskFormat: what is refused")
struct RefusalTests {
  private func superblockBytes() throws -> AlignedMemory {
    let memory = AlignedMemory.ofTest(4096)
    try Golden.superblock().encode(into: memory.buffer)
    return memory
  }

  private func tablePage() -> AlignedMemory {
    let memory = AlignedMemory.ofTest(4096)
    for index in stride(from: 0, to: 504, by: 3) {
      TablePage.setEntry(.written(UInt32(index)), in: memory.buffer, at: index)
    }
    TablePage.seal(memory.buffer, header: Golden.tableHeader)
    return memory
  }

  private func mapPage() -> AlignedMemory {
    let memory = AlignedMemory.ofTest(4096)
    PageMap.setFlags([.present, .changed], in: memory.buffer, at: 77)
    PageMap.seal(memory.buffer, arrayID: Golden.arrayID, number: 5, sequence: 9)
    return memory
  }

  private func verifyTable(_ page: IOBuffer) throws(FormatError) {
    _ = try TablePage.verify(page, arrayID: Golden.arrayID, pageNumber: 7)
  }

  private func verifyMap(_ page: IOBuffer) throws(FormatError) {
    _ = try PageMap.verify(page, arrayID: Golden.arrayID, number: 5)
  }

  // MARK: Damage

  @Test("every single bit flip of a superblock is refused")
  func superblockBits() throws {
    let memory = try superblockBytes()
    let bytes = memory.buffer
    bytes.expectEveryBitRefused { () throws(FormatError) in _ = try Superblock.decode(bytes) }
  }

  @Test("every single bit flip of a table page is refused")
  func tableBits() {
    let memory = tablePage()
    let bytes = memory.buffer
    bytes.expectEveryBitRefused { () throws(FormatError) in try verifyTable(bytes) }
  }

  @Test("every single bit flip of a map page is refused")
  func mapBits() {
    let memory = mapPage()
    let bytes = memory.buffer
    bytes.expectEveryBitRefused { () throws(FormatError) in try verifyMap(bytes) }
  }

  @Test("every single bit flip of a batch's header area is refused")
  func batchBits() {
    let sealed = SealedBatch(Golden.batchHeader, Golden.batchRecords)
    let bytes = sealed.area
    bytes.expectEveryBitRefused { () throws(FormatError) in
      _ = try LogBatch.decode(bytes, arrayID: Golden.arrayID)
    }
  }

  @Test("any mix of old and new sectors of a superblock is refused, unless they are alike")
  func tornSuperblock() throws {
    let old = try superblockBytes()
    var newer = try Golden.superblock()
    newer.superblockSequence += 2
    newer.memberIDs[1] = Identifier(high: 1, low: 2)
    newer.memberStates[1] = .syncing
    let new = AlignedMemory.ofTest(4096)
    newer.encode(into: new.buffer)
    let torn = AlignedMemory.ofTest(4096)
    for mix in 0..<256 {
      for sector in 0..<8 {
        let source = mix & 1 << sector != 0 ? new.buffer : old.buffer
        torn.buffer.slice(sector * 512, 512).copy(from: source.slice(sector * 512, 512))
      }
      let isWhole = torn.buffer.array == old.buffer.array || torn.buffer.array == new.buffer.array
      #expect(
        (refusal { () throws(FormatError) in try Superblock.decode(torn.buffer) } == nil) == isWhole
      )
    }
  }

  @Test("zeros, and all ones, are nothing of ours")
  func nothing() {
    let memory = AlignedMemory.ofTest(4096)
    for byte: UInt8 in [0, 255] {
      memory.buffer.fill(with: byte)
      let page = memory.buffer
      #expect(refusal { () throws(FormatError) in try Superblock.decode(page) } == .noMagic)
      #expect(refusal { () throws(FormatError) in try verifyTable(page) } == .noMagic)
      #expect(refusal { () throws(FormatError) in try verifyMap(page) } == .noMagic)
      #expect(
        refusal { () throws(FormatError) in try LogBatch.decode(page, arrayID: .none) } == .noMagic)
    }
  }

  @Test("one kind of structure is never taken for another")
  func otherKind() throws {
    let table = tablePage()
    let superblock = try superblockBytes()
    #expect(refusal { () throws(FormatError) in try Superblock.decode(table.buffer) } == .noMagic)
    #expect(refusal { () throws(FormatError) in try verifyMap(table.buffer) } == .noMagic)
    #expect(refusal { () throws(FormatError) in try verifyTable(superblock.buffer) } == .noMagic)
  }

  @Test("fewer bytes than a structure has are refused", arguments: [0, 1, 11, 32, 64, 4095])
  func truncated(byteCount: Int) throws {
    let error = FormatError.field(name: "byteCount", value: UInt64(byteCount))
    let (superblock, table, map) = (try superblockBytes(), tablePage(), mapPage())
    let sealed = SealedBatch(Golden.batchHeader, Golden.batchRecords)
    let short = superblock.buffer.prefix(byteCount)
    #expect(refusal { () throws(FormatError) in try Superblock.decode(short) } == error)
    let shortTable = table.buffer.prefix(byteCount)
    #expect(refusal { () throws(FormatError) in try verifyTable(shortTable) } == error)
    let shortMap = map.buffer.prefix(byteCount)
    #expect(refusal { () throws(FormatError) in try verifyMap(shortMap) } == error)
    let shortBatch = sealed.area.prefix(byteCount)
    #expect(
      refusal { () throws(FormatError) in
        try LogBatch.decode(shortBatch, arrayID: Golden.arrayID)
      } == error)
    #expect(
      refusal { () throws(FormatError) in
        try LogBatch.sizes(shortBatch, arrayID: Golden.arrayID)
      } == error)
  }

  @Test("a header area without its last block is refused")
  func truncatedBatch() {
    var samples = Samples(seed: 3)
    let sealed = samples.batch(recordCount: 500)
    #expect(sealed.batch.headerByteCount > 4096)
    let short = sealed.area.prefix(sealed.batch.headerByteCount - 4096)
    let arrayID = sealed.batch.header.arrayID
    #expect(
      refusal { () throws(FormatError) in try LogBatch.decode(short, arrayID: arrayID) }
        == .field(name: "headerByteCount", value: UInt64(sealed.batch.headerByteCount)))
  }

  // MARK: Version and place

  @Test("a later version is refused by its number, whatever its checksum is")
  func versions() throws {
    let (superblock, table, map) = (try superblockBytes(), tablePage(), mapPage())
    let sealed = SealedBatch(Golden.batchHeader, Golden.batchRecords)
    let area = sealed.area
    for found: UInt32 in [0, 1, 3, .max] {
      for resealed in [false, true] {
        let error = FormatError.version(found: found, supported: 2)
        for bytes in [superblock.buffer, table.buffer, map.buffer, area] {
          bytes.storeUInt32(found, at: 8)
          if resealed { bytes.reseal() }
        }
        let (block, page, mapped) = (superblock.buffer, table.buffer, map.buffer)
        #expect(refusal { () throws(FormatError) in try Superblock.decode(block) } == error)
        #expect(refusal { () throws(FormatError) in try verifyTable(page) } == error)
        #expect(refusal { () throws(FormatError) in try verifyMap(mapped) } == error)
        #expect(
          refusal { () throws(FormatError) in
            try LogBatch.decode(area, arrayID: Golden.arrayID)
          } == error)
        #expect(
          refusal { () throws(FormatError) in
            try LogBatch.sizes(area, arrayID: Golden.arrayID)
          } == error)
      }
    }
  }

  @Test("what belongs to another array is refused with both identities")
  func otherArray() {
    let other = Identifier(high: 1, low: 2)
    let error = FormatError.misplaced(
      what: "array", expected: "00000000-0000-0001-0000-000000000002",
      found: "a54f1c0e-7d3b-4e6f-9081-a2b3c4d5e6f7")
    let (table, map) = (tablePage(), mapPage())
    let sealed = SealedBatch(Golden.batchHeader, Golden.batchRecords)
    #expect(
      refusal { () throws(FormatError) in
        try TablePage.verify(table.buffer, arrayID: other, pageNumber: 7)
      } == error)
    #expect(
      refusal { () throws(FormatError) in
        try PageMap.verify(map.buffer, arrayID: other, number: 5)
      } == error)
    #expect(
      refusal { () throws(FormatError) in try LogBatch.decode(sealed.area, arrayID: other) }
        == error)
    #expect(
      refusal { () throws(FormatError) in try LogBatch.sizes(sealed.area, arrayID: other) }
        == error)
  }

  @Test("a page of another place is refused with both numbers")
  func otherPage() {
    let (table, map) = (tablePage(), mapPage())
    #expect(
      refusal { () throws(FormatError) in
        try TablePage.verify(table.buffer, arrayID: Golden.arrayID, pageNumber: 8)
      } == .misplaced(what: "table page", expected: "8", found: "7"))
    #expect(
      refusal { () throws(FormatError) in
        try PageMap.verify(map.buffer, arrayID: Golden.arrayID, number: 0)
      } == .misplaced(what: "map page", expected: "0", found: "5"))
  }

  // MARK: Entries and flags with a right checksum

  @Test("a table page with an entry of no state is refused")
  func badEntries() {
    // State 3; a never-written or lost block with a checksum; something in the reserved bytes.
    for word: UInt64 in [3 << 32, 255 << 32, 5, 2 << 32 | 5, 1 << 40, 1 << 63 | 1 << 32] {
      for index in [0, 503] {
        let memory = tablePage()
        memory.buffer.storeUInt64(word, at: 64 + index * 8)
        memory.buffer.reseal()
        #expect(
          refusal { () throws(FormatError) in try verifyTable(memory.buffer) }
            == .field(name: "entries", value: word))
      }
    }
    let memory = tablePage()
    memory.buffer.storeUInt8(1, at: 63)
    memory.buffer.reseal()
    #expect(
      refusal { () throws(FormatError) in try verifyTable(memory.buffer) }?.fieldName
        == "reserved")
  }

  @Test("a map page with an unknown flag is refused")
  func badFlags() {
    for index in [0, 7, 4031] {
      let memory = mapPage()
      memory.buffer.storeUInt8(5, at: 64 + index)
      memory.buffer.reseal()
      #expect(
        refusal { () throws(FormatError) in try verifyMap(memory.buffer) }
          == .field(name: "flags", value: 5))
    }
    let memory = mapPage()
    memory.buffer.storeUInt8(1, at: 63)
    memory.buffer.reseal()
    #expect(
      refusal { () throws(FormatError) in try verifyMap(memory.buffer) }?.fieldName == "reserved")
  }
}
