import DiskFormat
import Geometry
import IO
import TestSupport
import Testing

/// What the fixtures hold.
///
/// They were written by a program that knows the pages of `docs/formats` and nothing of this code;
/// every later version has to open them.
enum Golden {
  static let arrayID = Identifier(high: 0xa54f_1c0e_7d3b_4e6f, low: 0x9081_a2b3_c4d5_e6f7)

  static func superblock() throws -> Superblock {
    let geometry = try StripeGeometry(
      level: .raid5, memberCount: 4, chunkBytes: 65536, memberBlockCount: 262_144)
    let members = (0..<4).map { index in
      Identifier(
        high: 0xb000_1122_3344_5566 | UInt64(index) << 56,
        low: 0x7788_99aa_bbcc_dde0 + UInt64(index))
    }
    return Superblock(
      arrayID: arrayID, memberID: members[2], slot: 2, name: "orders", level: .raid5,
      memberCount: 4, chunkBytes: 65536, memberBlockCount: 262_144,
      layout: MemberLayout(geometry: geometry, logByteCount: 64 << 20),
      createdSeconds: 1_790_000_000, eventCount: 3,
      configurationID: Identifier(high: 0xc0ff_ee00_c0ff_ee11, low: 0xc0ff_ee22_c0ff_ee33),
      memberIDs: members, memberStates: [.current, .out, .current, .current],
      timelines: [
        Timeline(
          timelineID: Identifier(high: 0xd1d2_d3d4_d5d6_d7d8, low: 0xd9da_dbdc_ddde_dfd0),
          start: StreamPosition(number: 0, chain: 0))
      ],
      superblockSequence: 41, isClean: false, logEpoch: 7, epochFirstSequence: 1200,
      checkpointSequence: 1234, checkpointChain: 0x89ab_cdef, checkpointClientSequence: 5678,
      logTailOffset: 0x12_0000, horizon: 1250, pageSequence: 4096,
      ownerNonce: Identifier(high: 0x0e0d_0c0b_0a09_0807, low: 0x0605_0403_0201_00ff),
      heartbeat: 99,
      configurationHistory: [2, 1].map {
        Identifier(high: 0xc1c1_c1c1_c1c1_c1c1, low: 0xc1c1_c1c1_c1c1_c100 | $0)
      })
  }

  /// The same with the member that is out failed by an operator.
  static func failedSuperblock() throws -> Superblock {
    var superblock = try superblock()
    superblock.memberStates[1] = .failed
    return superblock
  }

  /// Of a reserve of the same array, beside another one.
  static func reserveSuperblock() throws -> Superblock {
    var superblock = try superblock()
    superblock.reserves = [
      Reserve(
        seat: 5, memberID: Identifier(high: 0xb800_1122_3344_5566, low: 0x7788_99aa_bbcc_dde8)),
      Reserve(
        seat: 11, memberID: Identifier(high: 0xb900_1122_3344_5566, low: 0x7788_99aa_bbcc_dde9),
        targetSlot: 3),
    ]
    (superblock.slot, superblock.memberID) = (5, superblock.reserves[0].memberID)
    return superblock
  }

  static let tableHeader = TablePageHeader(
    arrayID: arrayID, pageNumber: 7, sequence: 4100, trimSequence: 1100)

  static let batchHeader = LogBatchHeader(
    arrayID: arrayID, epoch: 7, sequence: 1251, previousChain: 0x89ab_cdef, horizon: 1250,
    checkpointSequence: 1234, clientSequence: 5703,
    copies: [
      BatchCopy(slot: 1, offsetBytes: 0x12_0000), BatchCopy(slot: 2, offsetBytes: 0x13_f000),
    ],
    previousRuns: [
      BlockRun(firstBlock: 100, blockCount: 8), BlockRun(firstBlock: 5000, blockCount: 1),
    ])

  static let batchRecords: [LogRecord] = [
    .write(
      run: BlockRun(firstBlock: 100, blockCount: 2), clientSequence: 5701, payloadIndex: 0,
      checksums: [0x1bff_16cd, 0x795a_9e22]),
    .write(
      run: BlockRun(firstBlock: 7777, blockCount: 1), clientSequence: 5702, payloadIndex: 2,
      checksums: [0x96fd_7e37]),
    .trim(run: BlockRun(firstBlock: 1 << 20, blockCount: 4096), clientSequence: 5703),
    .intent(
      RowIntent(
        row: 882,
        blocks: [
          .written(batchSequence: 1249, checksum: 0x1122_3344), .unchanged,
          .written(batchSequence: 1250, checksum: 0x5566_7788),
        ],
        paritySectorChecksums: (0..<8).map { 0xa000_0001 + 0x0100_0000 * $0 })),
    .direct(
      DirectIntent(
        run: BlockRun(firstBlock: 384, blockCount: 3),
        old: [.written(checksum: 0x99aa_bbcc), .neverWritten, .lost],
        sectorChecksums: (0..<24).map { 0xb000_0002 + 0x0100_0000 * $0 })),
  ]
}

@Suite("DiskFormat: golden files")
struct GoldenTests {
  @Test(
    "a superblock of version 2 opens, and is written the same; those of a reserve and of a failed member, too"
  )
  func superblock() throws {
    try check("superblock-v2.hex", try Golden.superblock())
    try check("superblock-reserves-v2.hex", try Golden.reserveSuperblock())
    try check("superblock-failed-v2.hex", try Golden.failedSuperblock())
  }

  private func check(_ name: String, _ expected: Superblock) throws {
    let fixture = try Documents.fixture(name)
    #expect(try Superblock.decode(fixture.bytes) == expected)
    let memory = AlignedMemory.ofTest(4096)
    expected.encode(into: memory.buffer)
    #expect(memory.buffer.array == fixture.bytes.array)
  }

  @Test("a table page of version 2 opens, and is written the same")
  func tablePage() throws {
    let fixture = try Documents.fixture("table-page-v2.hex")
    let header = try TablePage.verify(fixture.bytes, arrayID: Golden.arrayID, pageNumber: 7)
    #expect(header == Golden.tableHeader)
    // Row 882 is the first of page 7: its data block 0 lies on slot 1 and holds 4096 times 0x11.
    let superblock = try Golden.superblock()
    let geometry = try StripeGeometry(
      level: superblock.level, memberCount: superblock.memberCount,
      chunkBytes: superblock.chunkBytes, memberBlockCount: superblock.memberBlockCount)
    let place = geometry.place(ofRow: 882, position: 0)
    #expect(TablePlacement(geometry).rows(ofPage: 7).lowerBound == 882)
    let checksum =
      0x1bff_16cd ^ ChecksumMask.of(arrayID: Golden.arrayID, place: place)
    var entries = Array(repeating: BlockEntry.neverWritten, count: 504)
    entries[0] = .written(checksum)
    entries[2] = .lost
    entries[3] = .written(0x5c3a_9e17)
    entries[503] = .written(0)
    #expect((0..<504).map { TablePage.entry(in: fixture.bytes, at: $0) } == entries)

    let memory = AlignedMemory.ofTest(4096)
    for (index, entry) in entries.enumerated() {
      TablePage.setEntry(entry, in: memory.buffer, at: index)
    }
    TablePage.seal(memory.buffer, header: Golden.tableHeader)
    #expect(memory.buffer.array == fixture.bytes.array)
  }

  @Test("a map page of version 2 opens, and is written the same")
  func mapPage() throws {
    let fixture = try Documents.fixture("map-page-v2.hex")
    #expect(try PageMap.verify(fixture.bytes, arrayID: Golden.arrayID, number: 0) == 4101)
    let flags: [Int: PageMap.Flags] = [
      0: .present, 1: .present, 2: [.present, .changed], 3: .changed, 7: .present,
      4031: .present,
    ]
    let memory = AlignedMemory.ofTest(4096)
    for index in 0..<4032 {
      #expect(PageMap.flags(in: fixture.bytes, at: index) == flags[index] ?? [])
      PageMap.setFlags(flags[index] ?? [], in: memory.buffer, at: index)
    }
    PageMap.seal(memory.buffer, arrayID: Golden.arrayID, number: 0, sequence: 4101)
    #expect(memory.buffer.array == fixture.bytes.array)
  }

  @Test("a batch of version 2 opens with its payload, and is written the same")
  func batch() throws {
    let fixture = try Documents.fixture("log-batch-v2.hex")
    let batch = try LogBatch.decode(fixture.bytes, arrayID: Golden.arrayID)
    let sealed = SealedBatch(Golden.batchHeader, Golden.batchRecords)
    #expect(batch == sealed.batch)
    #expect(sealed.area.array == fixture.bytes.array)
    let payload = AlignedMemory.ofTest(3 * 4096)
    for index in 0..<3 {
      payload.buffer.slice(index * 4096, 4096).fill(with: UInt8(0x11 * (index + 1)))
    }
    #expect(batch.isPayloadIntact(payload.buffer))
  }
}

@Suite("DiskFormat: the pages of docs/formats")
struct PagesTests {
  private func check<Field: FormatField>(
    _ page: String, _ heading: String, _ field: Field.Type, byteCount: Int
  ) throws {
    let fields = Field.allCases.map {
      FieldRow(name: $0.rawValue, offset: $0.offset, byteCount: $0.byteRange.count)
    }
    #expect(FieldRow.tile(fields, byteCount: byteCount), "\(Field.self)")
    #expect(try Documents.fieldRows(page, heading) == fields, "\(page), \(heading)")
  }

  @Test("the fields of a superblock tile its 4096 bytes, and the page has each in its place")
  func superblock() throws {
    try check("superblock.md", "## Fields", Superblock.Field.self, byteCount: 4096)
    try check("superblock.md", "### Peer", Peer.Field.self, byteCount: 192)
  }

  @Test("the fields of a table page tile its 4096 bytes, and those of an entry its 8")
  func tablePage() throws {
    #expect(TablePage.entryCount == TablePlacement.entriesPerPage)
    try check("checksum-table.md", "## Fields", TablePage.Field.self, byteCount: 4096)
    try check("checksum-table.md", "### Entry", TablePage.EntryField.self, byteCount: 8)
  }

  @Test("the fields of a map page tile its 4096 bytes")
  func mapPage() throws {
    try check("page-map.md", "## Fields", PageMap.Field.self, byteCount: 4096)
  }

  @Test("the fields of the head of a file of diverged data tile its 4096 bytes")
  func divergedHead() throws {
    try check("diverged-file.md", "## Fields", DivergedFileHead.Field.self, byteCount: 4096)
  }

  @Test("the fields of a batch's fixed part, of copies, runs and records tile them")
  func batch() throws {
    try check("log.md", "### Fixed part", LogBatchHeader.Field.self, byteCount: 96)
    try check("log.md", "### Copy", LogBatchHeader.CopyField.self, byteCount: 16)
    try check("log.md", "### Run", LogBatchHeader.RunField.self, byteCount: 16)
    try check("log.md", "### Write", LogRecord.WriteField.self, byteCount: 24)
    try check("log.md", "### Trim", LogRecord.TrimField.self, byteCount: 32)
    try check("log.md", "### Intent", LogRecord.IntentField.self, byteCount: 16)
    try check("log.md", "### Direct intent", LogRecord.DirectField.self, byteCount: 16)
    try check("log.md", "### Position", LogRecord.PositionField.self, byteCount: 16)
  }

  @Test(
    "the dump in each page is the golden file",
    arguments: [
      ("superblock.md", "superblock-v2.hex"), ("checksum-table.md", "table-page-v2.hex"),
      ("page-map.md", "map-page-v2.hex"), ("log.md", "log-batch-v2.hex"),
      ("diverged-file.md", "diverged-head-v1.hex"),
    ])
  func dump(page: String, fixture: String) throws {
    let shown = try Documents.shownDump(page)
    #expect(try shown == Documents.fixture(fixture).lines.filter { !$0.hasPrefix("#") })
  }
}
