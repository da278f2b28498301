import DiskFormat
import IO
import PairSimulation
import RAID
import Replication
import Simulator
import TestSupport
import Testing

@Suite("Replication: contents side by side")
struct ContentComparisonTests {
  @Test("each difference is told by its kind, joined where it is the same one")
  func kinds() {
    let mine: [BlockContent] = [
      .written(hash: 1), .neverWritten, .lost, .lost, .written(hash: 5), .written(hash: 6), .lost,
      .neverWritten, .written(hash: 7), .neverWritten, .written(hash: 9),
    ]
    let theirs: [BlockContent] = [
      .written(hash: 1), .neverWritten, .written(hash: 3), .neverWritten, .lost, .written(hash: 7),
      .lost, .written(hash: 7), .neverWritten, .written(hash: 8), .neverWritten,
    ]
    let findings = ContentComparison.findings(
      from: 100, mine: mine, theirs: theirs, zeroHash: 7)
    #expect(
      findings == [
        .init(.unreadableHere, BlockRun(firstBlock: 102, blockCount: 2)),
        .init(.unreadableThere, BlockRun(firstBlock: 104, blockCount: 1)),
        .init(.fork, BlockRun(firstBlock: 105, blockCount: 1)),
        .init(.unreadableBoth, BlockRun(firstBlock: 106, blockCount: 1)),
        // Zeros that were written and what was never written read the same.
        .init(.fork, BlockRun(firstBlock: 109, blockCount: 2)),
      ])
  }

  @Test("a run of one kind is never longer than a frame has room for")
  func bounded() {
    let count = 1000
    let findings = ContentComparison.findings(
      from: 0, mine: Array(repeating: .lost, count: count),
      theirs: Array(repeating: .written(hash: 1), count: count), zeroHash: 0)
    #expect(findings.map(\.run.blockCount) == [256, 256, 256, 232])
    #expect(findings.map(\.run.firstBlock) == [0, 256, 512, 768])
  }

  @Test("the hash of zeros is that of a block of zeros", arguments: [0, 1, 0x1234_5678_9abc_def0])
  func zeros(salt: UInt64) {
    let memory = AlignedMemory.ofTest(4096)
    #expect(
      ContentHash.ofZeros(salt: salt) == ContentHash.hash(memory.buffer.prefix(4096), salt: salt))
  }

  @Test("versions of a block that ends with its own CRC32C have different hashes")
  func linear() {
    var hashes: Set<UInt64> = []
    let memory = AlignedMemory.ofTest(4096)
    let block = memory.buffer.prefix(4096)
    for version: UInt64 in 0..<64 {
      block.storeUInt64(version, at: 8)
      hashes.insert(ContentHash.hash(block, salt: 3))
    }
    #expect(hashes.count == 64)
  }
}

@Suite("Replication: verify")
struct VerifyTests {
  private static let blocks: [UInt64] = [3, 4, 5, 70, 200]

  /// In step, with content that is at home on both nodes.
  private func begin(_ lab: PairStage) async throws {
    try await lab.beginInStep(.goOn)
    for block in Self.blocks { #expect(try await lab.write(lab.a, block, 100 + block)) }
    #expect(try await lab.write(lab.a, 250, 0))
    // Destaged, and out of the logs' index.
    await lab.rest(milliseconds: 2000)
  }

  @Test("nodes that are the same are found so, while clients write")
  func same() throws {
    let lab = try PairStage(seed: 31)
    try lab.play { lab in
      try await begin(lab)
      lab.network.conditions.shortestNanoseconds = 40_000_000
      lab.network.conditions.longestNanoseconds = 60_000_000
      #expect(try await lab.beginVerify(lab.a) == nil)
      #expect(try await lab.beginVerify(lab.a) != nil)
      for block in 0..<100 { lab.beginWrite(lab.a, UInt64(block), 7) }
      try await lab.wait(for: "its end") {
        (try? await lab.verification(lab.a))??.state != .running
      }
      let status = try #require(try await lab.verification(lab.a))
      #expect(status.state == .complete)
      #expect(status.findings == [])
      #expect(status.doneBlockCount == status.blockCount)
      #expect(status.writtenBlockCount >= UInt64(Self.blocks.count + 1))
      #expect(await lab.isInStep(lab.a))
    }
  }

  @Test("what a node's own redundancy heals is no difference")
  func healed() throws {
    let lab = try PairStage(seed: 32)
    try lab.play { lab in
      try await begin(lab)
      #expect(lab.a.damage(4, memberCount: 1) == 1)
      #expect(lab.b.damage(5, memberCount: 1) == 1)
      let status = try #require(try await lab.verify(lab.a))
      #expect(status.state == .complete)
      #expect(status.findings == [])
    }
  }

  @Test("what the primary cannot read is fetched from the replica, and is read again")
  func mendedHere() throws {
    let lab = try PairStage(seed: 33)
    try lab.play { lab in
      try await begin(lab)
      #expect(lab.a.damage(4, memberCount: 2) == 2)
      #expect(try await lab.read(lab.a, 4) == nil)
      let status = try #require(try await lab.verify(lab.a))
      #expect(status.state == .complete)
      #expect(
        status.findings == [
          .init(outcome: .mendedHere, run: BlockRun(firstBlock: 4, blockCount: 1))
        ])
      #expect(try await lab.read(lab.a, 4) == 104)
      #expect(try await lab.verify(lab.a)?.findings == [])
      #expect(
        try await lab.events(lab.a).contains { $0.contains("block 4 could not be read here") })
    }
  }

  @Test("what the replica cannot read is sent to it, and is there after its power has failed")
  func mendedThere() throws {
    let lab = try PairStage(seed: 34)
    try lab.play { lab in
      try await begin(lab)
      #expect(lab.b.damage(70, memberCount: 2) == 2)
      let status = try #require(try await lab.verify(lab.a))
      #expect(
        status.findings == [
          .init(outcome: .mendedThere, run: BlockRun(firstBlock: 70, blockCount: 1))
        ])
      lab.b.crash(.powerLoss)
      lab.a.crash(.kill)
      try await lab.boot(lab.b)
      #expect(try await lab.promote(lab.b, isForced: true) == nil)
      for block in Self.blocks { #expect(try await lab.read(lab.b, block) == 100 + block) }
    }
  }

  @Test("what neither can read is reported, and everything else is compared")
  func unreadable() throws {
    let lab = try PairStage(seed: 35)
    try lab.play { lab in
      try await begin(lab)
      for node in [lab.a, lab.b] { #expect(node.damage(3, memberCount: 2) == 2) }
      let status = try #require(try await lab.verify(lab.a))
      #expect(status.state == .complete)
      #expect(
        status.findings == [
          .init(outcome: .unreadable, run: BlockRun(firstBlock: 3, blockCount: 1))
        ])
      #expect(try await lab.read(lab.a, 3) == nil)
    }
  }

  @Test("where both read and differ it is a fork: it is told, and neither is overwritten")
  func fork() throws {
    let lab = try PairStage(seed: 36)
    try lab.play { lab in
      try await begin(lab)
      try await lab.forge(lab.b, 200, 999)
      try await lab.forge(lab.b, 5, 0)
      let status = try #require(try await lab.verify(lab.a))
      #expect(status.state == .complete)
      #expect(status.forkCount == 2)
      #expect(status.findings.map(\.outcome) == [.fork, .fork])
      #expect(Set(status.findings.map(\.run.firstBlock)) == [5, 200])
      #expect(try await lab.read(lab.a, 200) == 300)
      #expect(try await lab.read(lab.b, 200) == 999)
      #expect(try await lab.read(lab.b, 5) == 0)
      #expect(try await lab.events(lab.a).contains { $0.contains("neither was overwritten") })
    }
  }

  @Test("a cut link, and an operator, end it where it is; a later one begins anew")
  func interrupted() throws {
    let lab = try PairStage(seed: 37)
    try lab.play { lab in
      try await begin(lab)
      lab.network.conditions.shortestNanoseconds = 40_000_000
      lab.network.conditions.longestNanoseconds = 60_000_000
      #expect(try await lab.beginVerify(lab.a) == nil)
      lab.cut()
      try await lab.wait(for: "its end") {
        (try? await lab.verification(lab.a))??.state == .interrupted
      }
      #expect(try await lab.beginVerify(lab.a) != nil)
      lab.network.heal()
      try await lab.wait(for: "in step again") { await lab.isInStep(lab.a) }
      #expect(try await lab.beginVerify(lab.a) == nil)
      #expect(try await lab.cancelVerify(lab.a))
      #expect(try await lab.verification(lab.a)?.state == .interrupted)
      #expect(try await lab.cancelVerify(lab.a) == false)
      #expect(try await lab.verify(lab.a)?.state == .complete)
    }
  }
}
