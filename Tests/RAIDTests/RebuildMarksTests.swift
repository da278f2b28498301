import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// Which marks a pass leaves: those of whoever still lacks something (rule T5, promise P2).
@Suite("RAID: the marks that a rebuild leaves")
struct RebuildMarksTests {
  @Test(
    "T5: a page with a block that could not be read keeps its mark, and is done again after a crash",
    arguments: [nil, PlantedBug.rebuildTrustsWrites])
  func missedBlock(bug: PlantedBug?) throws {
    // Also where nothing is read back, which would find that the block is not there.
    let (lab, blocks) = try RebuildTests().stale(
      .raid1, memberCount: 2, pageCount: 24, without: [1], bug)
    let row = TablePlacement(try lab.geometry()).rows(ofPage: 2).lowerBound
    let only = try lab.homes(row: row)[0]
    try lab.play(seed: 4) { stage in
      // For a while the only good copy cannot be read.
      lab.media[0].flipBits(at: only.offsetBytes)
      stage.setLatency(microseconds: 2000)
      #expect(await stage.waitForRebuild { $0.donePages >= 10 })
      await stage.client.pauseRebuild()
      await stage.pass(milliseconds: 1000)
      #expect(await stage.client.status().rebuild?.namedBlockCount == 1)
      lab.media[0].flipBits(at: only.offsetBytes)
      await stage.kill()
    }
    try lab.play(seed: 5) { stage in
      try await stage.waitUntilOptimal()
      await stage.kill()
    }
    let found = try lab.found(blocks, without: [0])
    #expect(found.allSatisfy { $0 == .version(2) }, "\(found)")
  }

  @Test(
    "T5: what a replacement that is away lacks stays marked while another member is brought up to date"
  )
  func replacementIsAway() throws {
    let blocks: [UInt64] = [3, 200, 400]
    let lab = try ArrayLab.filled(.raid1, memberCount: 3, blocks: blocks, extraCount: 1)
    lab.options.destageDelayNanoseconds = 1_000_000
    try lab.play(seed: 3) { stage in
      stage.setLatency(microseconds: 2000)
      let old = await stage.client.status().members[1].memberID
      try await stage.client.replace(old, lab.handle(3, stage.machine))
      await stage.client.pauseRebuild()
      await stage.pass(milliseconds: 500)
      #expect(await stage.client.status().rebuild?.isPaused == true)
      await stage.kill()
    }
    // The replacement goes away, and then another member misses something.
    lab.options.isForced = true
    try lab.play(seed: 4, without: [2, 3]) { stage in
      for block in blocks { try await stage.write(block, 2) }
      try await stage.client.close()
    }
    lab.options.isForced = false
    try lab.play(seed: 5, without: [3]) { stage in
      for _ in 0..<1000 where await stage.client.status().members[2].state != .current {
        await stage.pass(milliseconds: 20)
      }
      #expect(await stage.client.status().members[2].state == .current)
      // With it the marks become durable, or what is left of them.
      try await stage.client.close()
    }
    try lab.play(seed: 6) { stage in
      let old = await stage.client.status().members[1].memberID
      for _ in 0..<1000 where await stage.client.status().members[1].memberID == old {
        await stage.pass(milliseconds: 20)
      }
      #expect(await stage.client.status().members[1].memberID != old)
      await stage.kill()
    }
    let found = try lab.found(blocks, without: [0, 1, 2])
    #expect(found.allSatisfy { $0 == .version(2) }, "\(found)")
  }
}
