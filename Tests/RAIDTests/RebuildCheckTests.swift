import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// What a rebuild has written is read back before it counts (docs/upkeep.md, section 3).
@Suite("RAID: a rebuild reads back what it has written")
struct RebuildCheckTests {
  /// Where a member has the first of its blocks that `stale` has written in a page.
  private func home(_ lab: ArrayLab, _ slot: Int, inPage page: UInt64) throws -> ByteRange {
    let geometry = try lab.geometry()
    let row = TablePlacement(geometry).rows(ofPage: page).lowerBound
    for position in 0..<geometry.width {
      let home = try lab.home(row: row, position: position)
      if home.slot == slot { return home.range }
    }
    Issue.record("member \(slot) has nothing of row \(row)")
    return ByteRange(from: 0, to: 0)
  }

  /// Where a member has its two copies of a page.
  private func copies(_ lab: ArrayLab, _ slot: Int, ofPage page: UInt64) throws -> [ByteRange] {
    let placement = TablePlacement(try lab.geometry())
    let table = try lab.layout().tableOffset
    let copy = try #require(
      (0..<placement.copyCount).first { placement.slot(ofPage: page, copy: $0) == slot })
    return (0...1).map { index in
      let start = table + placement.offsetBytes(ofPage: page, copy: copy, slot: index)
      return ByteRange(from: start, to: start + 4096)
    }
  }

  /// Brings member 1 up to date while its next writes to some places get lost, or go astray.
  private func rebuild(_ lab: ArrayLab, _ traps: [WriteTrap]) throws -> ArrayStatus {
    let status = Box<ArrayStatus?>(nil)
    try lab.play(seed: 4) { stage in
      // A member at a time: its writes are the rebuild's.
      lab.media[1].writeTraps = traps
      for _ in 0..<1000 {
        let now = await stage.client.status()
        status.value = now
        if now.state == .optimal || now.events.contains(where: { $0.text.contains("twice") }) {
          break
        }
        await stage.pass(milliseconds: 20)
      }
      await stage.kill()
    }
    #expect(lab.media[1].writeTraps.isEmpty, "nothing was lost")
    return try #require(status.value)
  }

  @Test(
    "T8: a write that a member acknowledged and lost is found, and made again",
    arguments: [(RAIDLevel.raid1, 2), (.raid5, 3), (.raid10, 4)])
  func lostWrite(shape: (level: RAIDLevel, memberCount: Int)) throws {
    for bug in [nil, PlantedBug.rebuildTrustsWrites] {
      let (lab, blocks) = try RebuildTests().stale(
        shape.level, memberCount: shape.memberCount, pageCount: 4, without: [1], bug)
      let status = try rebuild(lab, [WriteTrap(try home(lab, 1, inPage: 2))])
      #expect(status.state == .optimal)
      #expect(status.events.contains { $0.text.contains("copied again") } == (bug == nil))
      let found = try lab.found(blocks, without: [0])
      #expect(found.allSatisfy { $0 == .version(2) } == (bug == nil), "\(found)")
    }
  }

  @Test(
    "T8: a write that went astray is found, and so is what it has gone over", arguments: [0, 3])
  func strayWrite(victim: UInt64) throws {
    let (lab, blocks) = try RebuildTests().stale(
      .raid5, memberCount: 3, pageCount: 4, without: [1])
    let trap = WriteTrap(
      try home(lab, 1, inPage: 2), landsAtBytes: try home(lab, 1, inPage: victim).offsetBytes)
    #expect(try rebuild(lab, [trap]).state == .optimal)
    let found = try lab.found(blocks, without: [0])
    #expect(found.allSatisfy { $0 == .version(2) }, "\(found)")
  }

  @Test("T8: copies of a table page that a member acknowledged and lost are found")
  func lostTableCopies() throws {
    for bug in [nil, PlantedBug.rebuildTrustsWrites] {
      let (lab, blocks) = try RebuildTests().stale(
        .raid1, memberCount: 2, pageCount: 4, without: [1], bug)
      let traps = try copies(lab, 1, ofPage: 1).map { WriteTrap($0) }
      #expect(try rebuild(lab, traps).state == .optimal)
      let found = try lab.found(blocks, without: [0])
      #expect(found.allSatisfy { $0 == .version(2) } == (bug == nil), "\(found)")
    }
  }

  @Test("P8: a member that loses the same write twice is put out, and the others lose nothing")
  func lostTwice() throws {
    let (lab, blocks) = try RebuildTests().stale(
      .raid5, memberCount: 3, pageCount: 4, without: [1])
    let place = try home(lab, 1, inPage: 2)
    let status = try rebuild(lab, [WriteTrap(place), WriteTrap(place)])
    #expect(status.members[1].state == .out)
    #expect(status.events.contains { $0.text.contains("did not have what was written to it") })
    let found = try lab.found(blocks, without: [1])
    #expect(found.allSatisfy { $0 == .version(2) }, "\(found)")
  }

  @Test("a sector of the member that cannot be read is written again")
  func unreadable() throws {
    let (lab, blocks) = try RebuildTests().stale(
      .raid1, memberCount: 2, pageCount: 4, without: [1])
    let place = try home(lab, 1, inPage: 0)
    try lab.play(seed: 4) { stage in
      stage.setLatency(microseconds: 2000)
      #expect(await stage.waitForRebuild { $0.donePages >= 1 })
      lab.media[1].makeUnreadable(place)
      try await stage.waitUntilOptimal()
      await stage.kill()
    }
    let found = try lab.found(blocks, without: [0])
    #expect(found.allSatisfy { $0 == .version(2) }, "\(found)")
  }

  @Test("T8: a replacement's lost write is found before it changes places")
  func lostByReplacement() throws {
    for bug in [nil, PlantedBug.rebuildTrustsWrites] {
      let lab = try ArrayLab.filled(
        .raid1, memberCount: 2, bug, positionCount: 1, extraCount: 1)
      let block = try #require(try lab.blocks(ofRow: 0, count: 1).first)
      let place = try home(lab, 1, inPage: 0)
      try lab.play(seed: 3) { stage in
        let old = await stage.client.status().members[1].memberID
        lab.media[2].writeTraps = [WriteTrap(place)]
        try await stage.client.replace(old, lab.handle(2, stage.machine))
        try await stage.waitUntilOptimal()
        for _ in 0..<1000 where await stage.client.status().members[1].memberID == old {
          await stage.pass(milliseconds: 20)
        }
        #expect(await stage.client.status().members[1].memberID != old)
        await stage.kill()
      }
      #expect(lab.media[2].writeTraps.isEmpty)
      #expect(try lab.found(block, without: [0, 1]) == (bug == nil ? .version(1) : .unreadable))
    }
  }

  @Test("what is read back is what was written, and no more")
  func readsOnce() throws {
    let readBytes = Box([UInt64]())
    for bug in [PlantedBug.rebuildTrustsWrites, nil] {
      let (lab, _) = try RebuildTests().stale(
        .raid1, memberCount: 2, pageCount: 24, without: [1], bug)
      lab.options.tableCacheBytes = 1 << 20
      try lab.play(seed: 4) { stage in
        try await stage.waitUntilOptimal()
        readBytes.value.append(await stage.client.status().members[1].readBytes)
        await stage.kill()
      }
    }
    // A block and both slots of a table copy for each page.
    #expect(readBytes.value[1] - readBytes.value[0] == 24 * 3 * 4096, "\(readBytes.value)")
  }
}
