import DiskFormat
import Geometry
import IO
import TestSupport
import Testing

@Suite("DiskFormat: round trips")
struct RoundTripTests {
  @Test("a superblock reads as it was written, whatever its fields hold")
  func superblock() throws {
    for seed in Seeds.of(300) {
      var samples = Samples(seed: seed)
      let superblock = try samples.superblock()
      let memory = AlignedMemory.ofTest(4096)
      memory.buffer.fill(with: 0xa5)
      superblock.encode(into: memory.buffer)
      let decoded = try Superblock.decode(memory.buffer)
      #expect(decoded == superblock, "\(Seeds.replay(seed, "RoundTripTests"))")
    }
  }

  @Test("a table page reads as it was written: header and each entry")
  func tablePage() throws {
    for seed in Seeds.of(50) {
      var samples = Samples(seed: seed)
      let memory = AlignedMemory.ofTest(4096)
      memory.buffer.fill(with: 0xa5)
      TablePage.clear(memory.buffer)
      let states: [BlockEntry.State] = [.neverWritten, .written, .lost]
      let entries = (0..<TablePlacement.entriesPerPage).map { _ in
        let state = states[samples.below(3)]
        return BlockEntry(state: state, checksum: state == .written ? samples.checksum() : 0)
      }
      for (index, entry) in entries.enumerated() {
        #expect(TablePage.entry(in: memory.buffer, at: index) == .neverWritten)
        TablePage.setEntry(entry, in: memory.buffer, at: index)
      }
      let header = TablePageHeader(
        arrayID: samples.identifier(), pageNumber: samples.number(), sequence: samples.number(),
        trimSequence: samples.number())
      TablePage.seal(memory.buffer, header: header)
      let found = try TablePage.verify(
        memory.buffer, arrayID: header.arrayID, pageNumber: header.pageNumber)
      #expect(found == header)
      let read = entries.indices.map { TablePage.entry(in: memory.buffer, at: $0) }
      #expect(read == entries, "\(Seeds.replay(seed, "RoundTripTests"))")
    }
  }

  @Test("an entry that is not written has no checksum, whatever it was given")
  func uncheckedEntry() {
    let memory = AlignedMemory.ofTest(4096)
    TablePage.setEntry(BlockEntry(state: .lost, checksum: 7), in: memory.buffer, at: 503)
    #expect(TablePage.entry(in: memory.buffer, at: 503) == .lost)
    TablePage.setEntry(BlockEntry(state: .neverWritten, checksum: 7), in: memory.buffer, at: 503)
    #expect(TablePage.entry(in: memory.buffer, at: 503) == .neverWritten)
    #expect(memory.buffer.isZero)
  }

  @Test("a map page reads as it was written: sequence and all flags")
  func mapPage() throws {
    for seed in Seeds.of(20) {
      var samples = Samples(seed: seed)
      let memory = AlignedMemory.ofTest(4096)
      memory.buffer.fill(with: 0xa5)
      let flags = (0..<Int(PageMap.entriesPerPage)).map { _ in
        PageMap.Flags(rawValue: UInt8(samples.below(4)))
      }
      for (index, flag) in flags.enumerated() {
        PageMap.setFlags(flag, in: memory.buffer, at: index)
      }
      let (arrayID, number, sequence) = (samples.identifier(), samples.number(), samples.number())
      PageMap.seal(memory.buffer, arrayID: arrayID, number: number, sequence: sequence)
      #expect(
        try PageMap.verify(memory.buffer, arrayID: arrayID, number: number) == sequence)
      #expect(flags.indices.map { PageMap.flags(in: memory.buffer, at: $0) } == flags)
    }
  }

  @Test("a batch reads as it was written, with any mix of records, copies and runs")
  func batch() throws {
    for seed in Seeds.of(300) {
      var samples = Samples(seed: seed)
      let sealed = samples.batch(recordCount: samples.below(4) == 0 ? 0 : samples.below(200))
      let decoded = try LogBatch.decode(sealed.area, arrayID: sealed.batch.header.arrayID)
      #expect(decoded == sealed.batch, "\(Seeds.replay(seed, "RoundTripTests"))")
      let sizes = try LogBatch.sizes(
        sealed.area.prefix(4096), arrayID: sealed.batch.header.arrayID)
      #expect(sizes.headerByteCount == sealed.batch.headerByteCount)
      #expect(sizes.payloadBlockCount == sealed.batch.payloadBlockCount)
    }
  }

  @Test("each record takes the bytes that were promised, an intent no more than its bound")
  func recordBytes() {
    for seed in Seeds.of(50) {
      var samples = Samples(seed: seed)
      let header = samples.header()
      let memory = AlignedMemory.ofTest(LogBatchHeader.headerBytesMax)
      var encoder = LogBatchEncoder(
        memory.buffer, copyCount: header.copies.count,
        previousRunCount: header.previousRuns.count)
      #expect(
        encoder.usedBytes
          == LogBatchEncoder.fixedBytes(
            copyCount: header.copies.count, previousRunCount: header.previousRuns.count))
      for record in samples.records(100) {
        let before = encoder.usedBytes
        encoder.append(record)
        let taken = encoder.usedBytes - before
        switch record {
        case .write(let run, _, _, _):
          #expect(taken == LogBatchEncoder.writeRecordBytes(blockCount: Int(run.blockCount)))
        case .trim: #expect(taken == LogBatchEncoder.trimRecordBytes)
        case .intent(let intent):
          #expect(taken == LogBatchEncoder.recordBytes(of: intent))
          #expect(
            taken
              <= LogBatchEncoder.intentRecordBytes(
                dataCount: intent.blocks.count,
                parityCount: intent.paritySectorChecksums.count / 8))
        case .direct(let intent):
          #expect(
            taken == LogBatchEncoder.directRecordBytes(blockCount: Int(intent.run.blockCount)))
        case .position: #expect(taken == LogBatchEncoder.positionRecordBytes)
        }
      }
    }
  }

  @Test("an intent that writes every block takes exactly its bound")
  func intentBound() {
    for dataCount in 1...32 {
      for parityCount in 0...2 {
        let intent = RowIntent(
          row: 1,
          blocks: Array(repeating: .written(batchSequence: 1, checksum: 2), count: dataCount),
          paritySectorChecksums: Array(repeating: 3, count: parityCount * 8))
        #expect(
          LogBatchEncoder.recordBytes(of: intent)
            == LogBatchEncoder.intentRecordBytes(dataCount: dataCount, parityCount: parityCount))
      }
    }
  }

  @Test("a batch of 4096 single blocks, the most there is, fits in the header area")
  func fullBatch() throws {
    var samples = Samples(seed: 1)
    let records = (0..<LogBatch.payloadBlocksMax).map { index -> LogRecord in
      .write(
        run: BlockRun(firstBlock: samples.number() / 2, blockCount: 1),
        clientSequence: UInt64(index), payloadIndex: index, checksums: [samples.checksum()])
    }
    let sealed = SealedBatch(samples.header(), records)
    let decoded = try LogBatch.decode(sealed.area, arrayID: sealed.batch.header.arrayID)
    #expect(decoded == sealed.batch)
  }
}
