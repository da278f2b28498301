import DiskFormat
import Geometry
import IO
import Parity
import RAID
import Simulator
import TestSupport
import Testing
import Units
import Volumes

/// What a scrub finds, what it does about it, and what it leaves alone.
@Suite("RAID: scrub")
struct ScrubTests {
  private static let shapes: [(RAIDLevel, Int)] = [
    (.raid1, 2), (.raid1, 3), (.raid5, 3), (.raid6, 4), (.raid10, 4),
  ]

  private func filled(
    _ shape: (level: RAIDLevel, memberCount: Int), blockCount: UInt64 = 32,
    _ bug: PlantedBug? = nil
  ) throws -> ArrayLab {
    let lab = try ArrayLab.filled(
      shape.level, memberCount: shape.memberCount, bug, blocks: Array(0..<blockCount))
    lab.options.destageDelayNanoseconds = 1_000_000
    return lab
  }

  /// Runs one scrub to its end.
  private func scrub(_ lab: ArrayLab, _ kind: ScrubKind, seed: UInt64 = 9) throws -> ScrubReport {
    let report = Box<ScrubReport?>(nil)
    try lab.play(seed: seed) { stage in
      report.value = try await stage.scrub(kind)
      try await stage.client.close()
    }
    return try #require(report.value)
  }

  private func images(_ lab: ArrayLab) -> [UInt32] { lab.media.map(\.live.checksum) }

  /// Everything that a client could read, and the same without each member in turn.
  private func isWhole(_ lab: ArrayLab, blockCount: UInt64 = 32) throws -> Bool {
    let blocks = Array(0..<blockCount)
    for lost in [[]] + lab.media.indices.map({ [$0] }) {
      guard try lab.found(blocks, without: lost).allSatisfy({ $0 == .version(1) }) else {
        return false
      }
    }
    return true
  }

  @Test(
    "an array without damage has nothing to be found, and is read as a whole", arguments: shapes)
  func clean(shape: (level: RAIDLevel, memberCount: Int)) throws {
    let lab = try filled(shape)
    for kind in ScrubKind.allCases {
      let report = try scrub(lab, kind)
      #expect(report.record.counts.total == 0, "\(report.ranges)")
      #expect(report.record.ending == .completed && report.record.kind == kind)
      let geometry = try lab.geometry()
      // Data and all that protects it.
      let rows = (0..<32 as Range<UInt64>).map { geometry.rowPosition(ofBlock: $0).row }
      let parity = Set(rows).count * (geometry.width - geometry.dataCount)
      #expect(report.record.doneBytes == UInt64(32 + parity) * 4096)
    }
  }

  @Test(
    "each block of a row is looked at, also those that no client ever reads; repair makes it whole",
    arguments: shapes, [false, true])
  func everyPosition(shape: (level: RAIDLevel, memberCount: Int), isUnreadable: Bool) throws {
    let base = try filled(shape)
    for position in 0..<(try base.geometry().width) {
      let lab = base.copy()
      let home = try lab.home(row: 1, position: position)
      func damage() {
        if isUnreadable {
          lab.media[home.slot].makeUnreadable(
            ByteRange(from: home.range.offsetBytes, to: home.range.offsetBytes + 512))
        } else {
          lab.media[home.slot].flipBits(at: home.range.offsetBytes + 7)
        }
      }
      damage()
      let before = images(lab).enumerated().filter { $0.offset == home.slot }
      let trouble: ScrubTrouble = isUnreadable ? .unreadable : .checksum
      let block = try lab.geometry().block(
        ofRow: 1, position: position < lab.geometry().dataCount ? position : 0)
      var expected = ScrubRange(
        range: lab.range(block), slot: home.slot, trouble: trouble, outcome: .notRepaired)
      var report = try scrub(lab, .check)
      #expect(report.ranges == [expected])
      #expect(report.record.counts.notRepaired == 1 && report.record.counts.total == 1)
      #expect(before.count == 1)
      #expect(
        lab.media[home.slot].live.bytes(home.range) != base.media[home.slot].live.bytes(home.range)
          || isUnreadable)
      report = try scrub(lab, .repair)
      expected.outcome = .repaired
      #expect(report.ranges == [expected])
      #expect(try scrub(lab, .check).ranges.isEmpty)
      #expect(try isWhole(lab))
    }
  }

  @Test("copies of table pages are looked at, and written again", arguments: shapes)
  func tableCopies(shape: (level: RAIDLevel, memberCount: Int)) throws {
    let base = try filled(shape)
    let placement = TablePlacement(try base.geometry())
    for copy in 0..<placement.copyCount {
      let lab = base.copy()
      let slot = placement.slot(ofPage: 0, copy: copy)
      try lab.damagePage(0, of: slot) { $0.flipBits(at: $1.offsetBytes + 100) }
      let damaged = images(lab)
      let tableRange = try lab.tableRange()
      let before = lab.media[slot].live.bytes(tableRange)
      var report = try scrub(lab, .check)
      #expect(report.ranges.map(\.trouble) == [.table] && report.ranges.first?.slot == slot)
      #expect(report.ranges.first?.outcome == .notRepaired)
      #expect(lab.media[slot].live.bytes(tableRange) == before, "a check has written")
      #expect(damaged.count == shape.memberCount)
      report = try scrub(lab, .repair)
      #expect(report.ranges.map(\.outcome) == [.repaired])
      #expect(try scrub(lab, .check).ranges.isEmpty)
      #expect(try isWhole(lab))
    }
  }

  @Test("a check writes nothing to data, parity and table, whatever it finds", arguments: shapes)
  func checkWritesNothing(shape: (level: RAIDLevel, memberCount: Int)) throws {
    let lab = try filled(shape)
    for position in 0..<2 {
      let home = try lab.home(row: UInt64(position) * 3, position: position)
      lab.media[home.slot].flipBits(at: home.range.offsetBytes + 99)
    }
    try lab.damagePage(0, of: TablePlacement(try lab.geometry()).slot(ofPage: 0, copy: 0)) {
      $0.flipBits(at: $1.offsetBytes + 300)
    }
    let layout = try lab.layout()
    let range = ByteRange(from: layout.tableOffset, to: lab.media[0].live.byteCount)
    let before = lab.media.map { $0.live.bytes(range) }
    let report = try scrub(lab, .check)
    #expect(report.record.counts.total == 3)
    for slot in lab.media.indices { #expect(lab.media[slot].live.bytes(range) == before[slot]) }
  }

  @Test("what is beyond redundancy is lost, and stays as it is", arguments: shapes)
  func beyond(shape: (level: RAIDLevel, memberCount: Int)) throws {
    let lab = try filled(shape)
    let geometry = try lab.geometry()
    for position in 0...geometry.redundancy {
      let home = try lab.home(row: 1, position: position)
      lab.media[home.slot].flipBits(at: home.range.offsetBytes + 99)
    }
    let lost = try lab.blocks(ofRow: 1, count: min(geometry.dataCount, geometry.redundancy + 1))
    let report = try scrub(lab, .repair)
    #expect(report.record.counts.beyondRepair >= UInt64(lost.count))
    #expect(report.record.counts.repaired == 0)
    #expect(report.status.lostBlockCount == UInt64(lost.count))
    #expect(report.ranges.allSatisfy { $0.outcome == .lost })
    for block in 0..<32 as Range<UInt64> {
      #expect(try lab.found(block) == (lost.contains(block) ? .unreadable : .version(1)))
    }
  }

  @Test(
    "parity that verifies and does not fit the data is computed anew", arguments: [3, 4])
  func parityMismatch(memberCount: Int) throws {
    let lab = try filled((memberCount == 3 ? .raid5 : .raid6, memberCount))
    let geometry = try lab.geometry()
    for parity in geometry.dataCount..<geometry.width {
      try lab.forge(row: 1, position: parity)
      var report = try scrub(lab, .check)
      #expect(report.ranges.map(\.trouble) == [.parity], "\(report.ranges)")
      #expect(report.ranges.first?.outcome == .notRepaired)
      report = try scrub(lab, .repair)
      #expect(report.ranges.map(\.outcome) == [.repaired])
      #expect(try scrub(lab, .check).ranges.isEmpty)
      #expect(try isWhole(lab))
    }
  }

  @Test("copies of a mirror that verify and differ are told, and become the first")
  func differingCopies() throws {
    let lab = try filled((.raid1, 3))
    try lab.forge(row: 1, position: 2)
    var report = try scrub(lab, .check)
    #expect(report.ranges.map(\.trouble) == [.mirror] && report.ranges.first?.slot == 2)
    report = try scrub(lab, .repair)
    #expect(report.ranges.map(\.outcome) == [.repaired])
    #expect(try scrub(lab, .check).ranges.isEmpty)
    #expect(try isWhole(lab))
  }

  @Test(
    "a page of the table without a good copy is told with all that it described, and the rest goes on"
  )
  func lostPage() throws {
    let lab = try ArrayLab.filled(.raid1, memberCount: 2, blocks: [0, 1, 300, 301])
    try lab.damagePage(0) { $0.flipBits(at: $1.offsetBytes + 100) }
    let report = try scrub(lab, .repair)
    #expect(report.ranges.map(\.trouble) == [.table])
    #expect(report.ranges.first?.range == ByteRange(from: 0, to: 252 * 4096))
    #expect(report.record.counts.beyondRepair == 252)
    #expect(report.record.doneBytes == 4 * 4096)
    #expect(try lab.found([0, 300, 301]) == [.unreadable, .version(1), .version(1)])
  }

  @Test("with a member out what is there is verified, and what is absent is no trouble")
  func degraded() throws {
    for shape in Self.shapes {
      let lab = try filled(shape)
      lab.options.isForced = true
      let home = try lab.home(row: 1, position: 0)
      lab.media[home.slot].flipBits(at: home.range.offsetBytes + 99)
      let lost = (home.slot + 1) % shape.1
      for kind in ScrubKind.allCases {
        let counts = Box<ScrubCounts?>(nil)
        try lab.play(seed: 9, without: [lost]) { stage in
          counts.value = try await stage.scrub(kind).record.counts
          try await stage.client.close()
        }
        #expect(counts.value?.checksum == 1 && counts.value?.total == 1, "\(shape) \(kind)")
      }
    }
  }

  @Test("a scrub never makes parity and table fit a block that does not verify")
  func towardsBadData() throws {
    for bug in [nil, PlantedBug.scrubRepairsTowardsBadData] {
      let lab = try filled((.raid5, 3), bug)
      let home = try lab.home(row: 1, position: 0)
      lab.media[home.slot].flipBits(at: home.range.offsetBytes + 99)
      _ = try scrub(lab, .repair)
      let found = try lab.found(Array(0..<32))
      #expect(found.allSatisfy { $0 == .version(1) } == (bug == nil), "\(found)")
    }
  }

  @Test("while clients write, a scrub finds nothing that is not there, and loses nothing")
  func underWrites() throws {
    for kind in ScrubKind.allCases {
      let lab = try filled((.raid5, 3))
      let counts = Box<ScrubCounts?>(nil)
      try lab.play(seed: 4) { stage in
        stage.setLatency(microseconds: 300, synchronizeFactor: 3)
        for round in 2...6 as ClosedRange<UInt8> {
          try await stage.client.beginScrub(kind)
          for block in 0..<32 as Range<UInt64> { try await stage.write(block, round) }
          while await stage.client.status().scrub != nil { await stage.pass(milliseconds: 1) }
          counts.value = await stage.client.status().scrubHistory.last?.counts
          #expect(counts.value?.total == 0)
        }
        await stage.kill()
      }
      for lost in [[], [0], [1], [2]] {
        #expect(try lab.found(Array(0..<32), without: lost).allSatisfy { $0 == .version(6) })
      }
    }
  }

  @Test("a crash at every operation of a repair leaves everything as it was, or better")
  func crashes() throws {
    let base = try filled((.raid5, 3))
    try base.forge(row: 1, position: 2)
    let home = try base.home(row: 4, position: 0)
    base.media[home.slot].flipBits(at: home.range.offsetBytes + 99)
    try base.damagePage(0, of: TablePlacement(try base.geometry()).slot(ofPage: 0, copy: 1)) {
      $0.flipBits(at: $1.offsetBytes + 300)
    }
    for kind in [CrashKind.kill, .powerLoss] {
      for operation in 1..<60 {
        let lab = base.copy()
        try lab.play(seed: UInt64(operation)) { stage in
          let plan = stage.machine.faultPlan
          plan.fail(operation: plan.operationCount + operation, with: .crash(kind))
          _ = try await stage.scrub(.repair)
        }
        #expect(try lab.found(Array(0..<32)).allSatisfy { $0 == .version(1) })
        _ = try scrub(lab, .repair)
        #expect(try scrub(lab, .check).ranges.isEmpty, "crash at \(operation)")
        #expect(try isWhole(lab))
      }
    }
  }

  @Test("a scrub is paused, goes on after a restart where it was, and is cancelled")
  func pauses() throws {
    let lab = ArrayLab(.raid1, memberCount: 2, memberByteCount: 64 << 20)
    try lab.create(seed: 1)
    let placement = TablePlacement(try lab.geometry())
    let pageCount: UInt64 = 40
    let blocks = (0..<pageCount).map { placement.rows(ofPage: $0).lowerBound }
    let state = Box<ScrubState?>(nil)
    try lab.play(seed: 2) { stage in
      for block in blocks { try await stage.write(block, 1) }
      try await stage.client.close()
    }
    lab.options.unixSeconds = { 77 }
    lab.keepScrub = { state.value = $0 }
    try lab.play(seed: 3) { stage in
      stage.setLatency(microseconds: 1000)
      try await stage.client.beginScrub(.check)
      await #expect(throws: ScrubCommandError.alreadyRunning(.check)) {
        try await stage.client.beginScrub(.repair)
      }
      while await stage.client.status().scrub?.donePages ?? 0 < 10 {
        await stage.pass(milliseconds: 1)
      }
      try await stage.client.pauseScrub()
      await stage.pass(milliseconds: 200)
      let done = await stage.client.status().scrub?.donePages
      await stage.pass(milliseconds: 2000)
      #expect(await stage.client.status().scrub?.donePages == done)
      try await stage.client.close()
    }
    let run = try #require(state.value?.run)
    var impossible = ScrubState(run: run)
    impossible.run?.doneBytes = .max
    lab.options.scrubState = impossible
    try lab.play(seed: 4) { stage in
      #expect(await stage.client.status().scrub == nil)
      try await stage.client.close()
    }
    #expect(run.isPaused && run.donePages >= 10 && run.donePages < pageCount)
    #expect(run.beganSeconds == 77)
    lab.options.scrubState = state.value
    try lab.play(seed: 4) { stage in
      await stage.pass(milliseconds: 500)
      #expect(await stage.client.status().scrub?.donePages == run.donePages)
      try await stage.client.resumeScrub()
      while await stage.client.status().scrub != nil { await stage.pass(milliseconds: 1) }
      let record = try #require(await stage.client.status().scrubHistory.last)
      #expect(record.ending == .completed && record.doneBytes == pageCount * 2 * 4096)
      try await stage.client.beginScrub(.repair)
      try await stage.client.cancelScrub()
      #expect(await stage.client.status().scrub == nil)
      await #expect(throws: ScrubCommandError.notRunning) {
        try await stage.client.cancelScrub()
      }
      #expect(await stage.client.status().scrubHistory.map(\.ending) == [.completed, .cancelled])
      try await stage.client.close()
    }
    #expect(state.value?.run == nil && state.value?.history.count == 2)
  }
}

/// What came of a scrub.
struct ScrubReport: Sendable {
  var record: ScrubRecord
  var ranges: [ScrubRange] { record.ranges }
  var status: ArrayStatus
}

extension ArrayStage {
  /// Runs a scrub to its end.
  func scrub(_ kind: ScrubKind) async throws -> ScrubReport {
    try await client.beginScrub(kind)
    while await client.status().scrub != nil { await machine.sleep(nanoseconds: 100_000) }
    let status = await client.status()
    let record = try #require(status.scrubHistory.last)
    return ScrubReport(record: record, status: status)
  }
}

extension ArrayClient {
  func beginScrub(_ kind: ScrubKind) throws {
    try volume.engine.assumeIsolated { try $0.beginScrub(kind) }
  }

  func pauseScrub() throws { try volume.engine.assumeIsolated { try $0.pauseScrub() } }
  func resumeScrub() throws { try volume.engine.assumeIsolated { try $0.resumeScrub() } }
  func cancelScrub() throws { try volume.engine.assumeIsolated { try $0.cancelScrub() } }
}

extension ArrayLab {
  /// Where the checksum table lies on a member.
  func tableRange() throws -> ByteRange {
    let layout = try layout()
    return ByteRange(from: layout.tableOffset, to: layout.mapOffset)
  }

  /// Replaces a block of page 0 by something else, and gives it an entry that says so, in every
  /// copy of the table: it verifies, and fits nothing.
  func forge(row: UInt64, position: Int) throws {
    let (geometry, layout) = (try geometry(), try layout())
    let superblock = try superblock()
    let placement = TablePlacement(geometry)
    let home = try home(row: row, position: position)
    let content = block(9, row)
    media[home.slot].overwrite(at: home.range.offsetBytes, with: content)
    let memory = try #require(AlignedMemory(byteCount: 4096))
    defer { withExtendedLifetime(memory) {} }
    let buffer = memory.buffer
    media[home.slot].copyBytes(home.range, into: buffer)
    let mask = ChecksumMask.of(
      arrayID: superblock.arrayID, place: geometry.place(ofRow: row, position: position))
    let entry = BlockEntry.written(BlockChecksum.of(buffer.bytes) ^ mask)
    for copy in 0..<placement.copyCount {
      let slot = placement.slot(ofPage: 0, copy: copy)
      for version in 0...1 {
        let start =
          layout.tableOffset + placement.offsetBytes(ofPage: 0, copy: copy, slot: version)
        media[slot].copyBytes(ByteRange(from: start, to: start + 4096), into: buffer)
        guard
          let header = try? TablePage.verify(
            buffer, arrayID: superblock.arrayID, pageNumber: 0)
        else { continue }
        TablePage.setEntry(
          entry, in: buffer, at: placement.entryIndex(row: row, position: position))
        TablePage.seal(buffer, header: header)
        media[slot].overwrite(at: start, with: buffer.prefix(4096).array)
      }
    }
  }
}
