import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units
import Volumes

/// The histories of the log's rules, L1 to L8 and R1 (docs/array.md, section 8).
///
/// Each is played by the array as it is, and by one with the bug that the rule forbids.
@Suite("Rules: the log")
struct LogHistoryTests {
  @Test("L1: FUA on a batch on C and D also covers the one before it on A and B")
  func horizon() throws {
    for bug in [nil, PlantedBug.flushForgetsEarlierBatches] {
      let lab = try ArrayLab.filled(.raid5, memberCount: 4, bug, blocks: [0, 1])
      try lab.play(seed: 3) { stage in
        try await stage.write(0, 2)
        try await stage.write(1, 2, durably: true)
        let slots = try [lab.logSlots(0, 2), lab.logSlots(1, 2)]
        #expect(slots.map(\.count) == [2, 2] && Set(slots.flatMap(\.self)).count == 4)
        await stage.losePower()
      }
      let found = try lab.found([0, 1])
      #expect(found == (bug == nil ? [.version(2), .version(2)] : [.version(1), .version(1)]))
    }
  }

  @Test("L2: a power loss that keeps batch k+1 and takes k, both unflushed, is no damage")
  func holeAboveHorizon() throws {
    for bug in [nil, PlantedBug.holeAboveHorizonIsDamage] {
      let lab = try ArrayLab.filled(.raid5, memberCount: 4, bug, blocks: [0, 1])
      try lab.play(seed: 3) { stage in
        try await stage.write(0, 2)
        try await stage.write(1, 2)
        let kept = try lab.logSlots(1, 2)
        await stage.losePower(Dictionary(uniqueKeysWithValues: kept.map { ($0, .keepAll) }))
      }
      let found = try lab.found([0, 1], isForced: false)
      if bug == nil {
        #expect(found == [.version(1), .version(1)])
      } else {
        #expect(found.allSatisfy { $0.isRefused })
      }
    }
  }

  @Test("L2: a hole at or below the horizon is damage, not the end")
  func holeBelowHorizon() throws {
    for bug in [nil, PlantedBug.holeBelowHorizonIsEnd] {
      let lab = try ArrayLab.filled(.raid5, memberCount: 3, bug, blocks: [0, 1])
      lab.options.sealDelayNanoseconds = 1_000_000
      try lab.play(seed: 3) { stage in
        try await stage.write(0, 2)
        try await stage.write(1, 2, durably: true)
        await stage.pass(milliseconds: 20)
        await stage.kill()
      }
      // One copy costs nothing; when the last one goes, nobody may say that this was the end.
      for (index, slot) in try lab.logSlots(0, 2).enumerated() {
        #expect(try lab.found([0, 1]) == [.version(2), .version(2)], "\(index)")
        lab.media[slot].flipBits(at: try #require(try lab.logOffset(slot, of: lab.block(2, 0))))
      }
      let found = try lab.found([0, 1])
      if bug == nil {
        #expect(found.allSatisfy { $0.isRefused })
      } else {
        #expect(found == [.version(1), .version(1)])
      }
    }
  }

  @Test("L3: the last batch has one good copy; it is served, flushed, and then that member dies")
  func servedFromOneCopy() throws {
    for bug in [nil, PlantedBug.recoveryServesBeforeDurable] {
      let lab = try ArrayLab.filled(.raid1, memberCount: 2, bug, blocks: [0])
      try lab.play(seed: 3) { stage in
        try await stage.write(0, 2)
        await stage.losePower([0: .keepAll])
      }
      try lab.play(seed: 4) { stage in
        #expect(await stage.find(0) == .version(2))
        try await stage.client.flush()
        await stage.losePower()
      }
      let found = try lab.found(0, without: [0])
      #expect((found == .version(2)) == (bug == nil), "\(found)")
    }
  }

  @Test("L3: recovery without A discards k, goes on with another k, and A returns with the old one")
  func staleLog() throws {
    let lab = try ArrayLab.filled(.raid1, memberCount: 2, blocks: [0])
    try lab.play(seed: 3) { stage in
      try await stage.write(0, 2)
      await stage.losePower([0: .keepAll])
    }
    lab.options.isForced = true
    try lab.play(seed: 4, without: [0]) { stage in
      #expect(await stage.find(0) == .version(1))
      try await stage.write(0, 3, durably: true)
      await stage.kill()
    }
    let slots = try [lab.logSlots(0, 2), lab.logSlots(0, 3)]
    #expect(slots == [[0], [1]])
    lab.options.isForced = false
    try lab.play(seed: 5) { stage in
      #expect(await stage.find(0) == .version(3))
      try await stage.waitUntilOptimal()
      #expect(await stage.find(0) == .version(3))
      await stage.kill()
    }
    for lost in 0...1 { #expect(try lab.found(0, without: [lost]) == .version(3)) }
  }

  @Test("L3: batches of an older epoch beyond the cut are void, also on a member that is current")
  func voidEpoch() throws {
    for bug in [nil, PlantedBug.recoveryKeepsEpoch] {
      let lab = try ArrayLab.filled(.raid1, memberCount: 2, bug, blocks: [0])
      try lab.play(seed: 3) { stage in
        try await stage.write(0, 2)
        await stage.kill()
      }
      // Nobody can read k for now: it is above the horizon, so the log ends before it.
      let payload = try #require(try lab.logOffset(0, of: lab.block(2, 0)))
      let batch = ByteRange(from: payload - 4096, to: payload + 4096)
      let old = lab.media[0].live.bytes(batch)
      for medium in lab.media {
        medium.overwrite(at: batch.offsetBytes, with: [UInt8](repeating: 0, count: 8192))
      }
      try lab.play(seed: 4) { stage in
        #expect(await stage.find(0) == .version(1))
        try await stage.write(0, 3, durably: true)
        await stage.kill()
      }
      // A has the old k again, where the new one was to be; B has the new one.
      lab.media[0].overwrite(at: batch.offsetBytes, with: old)
      #expect(try lab.found(0) == .version(bug == nil ? 3 : 2))
    }
  }

  @Test("L3: an array that a failed fsync stopped reads the drive's cache at its next start (P8)")
  func failedFsyncAndRestart() throws {
    for bug in [nil, PlantedBug.recoveryServesBeforeDurable] {
      let lab = try ArrayLab.filled(.raid0, memberCount: 2, bug, blocks: [0])
      try lab.play(seed: 3) { stage in
        for medium in lab.media {
          medium.failedFlushFate = .onlyInCache
          medium.faultRates.synchronizeError = 1_000_000
        }
        await #expect(throws: VolumeError.self) { try await stage.write(0, 2, durably: true) }
        await stage.kill()
      }
      for medium in lab.media { medium.faultRates = DiskFaultRates() }
      try lab.play(seed: 4) { stage in
        #expect(await stage.find(0) == .version(2))
        // The next fdatasync succeeds, without what the first one failed to write.
        try await stage.client.flush()
        await stage.losePower()
      }
      let found = try lab.found(0)
      #expect((found == .version(2)) == (bug == nil), "\(found)")
    }
  }

  @Test("L4: a flushed version that an unflushed one supersedes holds the checkpoint")
  func superseded() throws {
    for bug in [nil, PlantedBug.supersededUnpins] {
      // One row a round; a checkpoint when four pages of the table are dirty.
      let others: [UInt64] = [0, 252, 504, 756]
      let lab = try ArrayLab.filled(
        .raid1, memberCount: 2, bug, blocks: others + [5], memberByteCount: 16 << 20)
      lab.options.destageRowCountMax = 1
      lab.options.tableCacheBytes = 4096
      lab.options.destageDelayNanoseconds = 20_000_000
      try lab.play(seed: 3) { stage in
        stage.setLatency(microseconds: 50)
        for block in others { try await stage.write(block, 2) }
        try await stage.write(5, 2, durably: true)
        let before = stage.synchronizeCount
        // The others go home, then their table pages; while these are synced, block 5 is superseded.
        #expect(await stage.wait { stage.synchronizeCount == before + 10 })
        try await stage.write(5, 3)
        #expect(stage.synchronizeCount == before + 10)
        // The superblocks with the checkpoint reach the media, block 5's newest version does not.
        #expect(await stage.wait { (0...1).allSatisfy { lab.hasUnsyncedSuperblock($0) } })
        let superblocks = UnflushedFate.keepOnly(ByteRange(from: 0, to: 8192))
        await stage.losePower([0: superblocks, 1: superblocks])
      }
      let found = try lab.found([0, 5])
      #expect(found == [.version(2), .version(bug == nil ? 2 : 1)], "\(found)")
    }
  }

  @Test("L4: the payload that an open intent names stays, although a newer version is logged")
  func intentPinsPayload() throws {
    let lab = try ArrayLab.filled(.raid5, memberCount: 3, positionCount: 2)
    let row = try lab.blocks(ofRow: 0, count: 2)
    let (b, c) = (row[0], row[1])
    let home = try lab.home(row: 0, position: 0)
    lab.options.destageDelayNanoseconds = 20_000_000
    try lab.play(seed: 4) { stage in
      stage.setLatency(microseconds: 50)
      try await stage.write(b, 2, durably: true)
      let before = stage.synchronizeCount
      // The intent on two members, then parity.
      #expect(await stage.wait { stage.synchronizeCount == before + 3 })
      try await stage.write(b, 3)
      #expect(await stage.wait { lab.isUnsynced(home.slot, home.range) })
      // Parity is new, home is old, and the newest version is in the log.
      let layout = try lab.layout()
      let log = UnflushedFate.keepOnly(ByteRange(from: layout.logOffset, to: layout.tableOffset))
      await stage.losePower([0: log, 1: log, 2: log])
    }
    let clean = try lab.home(row: 0, position: 1).slot
    for lost in [[], [clean], [home.slot]] {
      #expect(try lab.found([b, c], without: lost) == [.version(3), .version(1)], "\(lost)")
    }
  }

  @Test("L5: a log full of 4 KiB records has room for the intents that drain it")
  func fullLog() throws {
    for bug in [nil, PlantedBug.intentsUnreserved] {
      let lab = try ArrayLab.filled(.raid5, memberCount: 3, bug)
      lab.options.dirtyBytesMax = 8 << 20
      let geometry = try lab.geometry()
      let blocks = (0..<400 as Range<UInt64>).map { geometry.block(ofRow: $0, position: 0) }
      let written = Box(0)
      try lab.play(seed: 4) { stage in
        try await stage.client.write(0, [UInt8](repeating: 1, count: 800 * 4096))
        try await stage.client.close()
      }
      func fill() throws {
        try lab.play(seed: 3, milliseconds: 300_000) { stage in
          // Nothing can be destaged until the log has all it takes.
          stage.machine.faultPlan.fail(
            operation: stage.machine.faultPlan.count(of: .read) + 1, of: .read, with: .stuck,
            persistently: true)
          stage.machine.start {
            var last = -1
            while written.value > last {
              last = written.value
              await stage.pass(milliseconds: 20)
            }
            stage.machine.faultPlan.removeAll()
            for disk in stage.disks { disk?.release() }
          }
          // Each needs an intent of its own.
          for block in blocks {
            try await stage.write(block, 2)
            written.value += 1
          }
          try await stage.client.close()
        }
      }
      if bug == nil {
        try fill()
        #expect(written.value == 400)
        let found = try lab.found([blocks[0], blocks[399]])
        #expect(found == [.version(2), .version(2)])
      } else {
        let failure = #expect(throws: SimulationFailure.self) { try fill() }
        #expect(failure?.isHang == true)
        #expect(written.value < 400)
      }
    }
  }

  @Test("L6: a checkpoint that one member has durably frees no space: that member may die")
  func reuse() throws {
    for bug in [nil, PlantedBug.reuseBeforeCheckpoint] {
      let lab = try ArrayLab.filled(.raid1, memberCount: 2, bug, blocks: [0])
      lab.options.dirtyBytesMax = 8 << 20
      let layout = try lab.layout()
      let acknowledged = Box([UInt64]())
      try lab.play(seed: 3) { stage in
        stage.setLatency(microseconds: 50)
        try await stage.write(0, 2, durably: true)
        for client in 1...8 as ClosedRange<UInt64> {
          stage.machine.start {
            for round in 0..<100 as Range<UInt64> {
              try? await stage.write(client + round * 8 % 640, 2)
              acknowledged.value.append(client + round * 8 % 640)
            }
          }
        }
        // The log has filled up, and the first checkpoint is on its way.
        #expect(await stage.wait(milliseconds: 5000) { lab.hasUnsyncedSuperblock(1) })
        await stage.pass(milliseconds: 1.5)
        #expect(lab.hasUnsyncedSuperblock(1))
        let log = UnflushedFate.keepOnly(ByteRange(from: layout.logOffset, to: layout.tableOffset))
        await stage.losePower([0: .keepAll, 1: log])
      }
      let found = try lab.found(0, without: [0])
      #expect((found == .version(2)) == (bug == nil), "\(found), \(acknowledged.value.count)")
    }
  }

  @Test("L7: a flushed last batch that cannot be read is told from a torn one, with its blocks")
  func lastBatch() throws {
    for bug in [nil, PlantedBug.noSeal] {
      let lab = try ArrayLab.filled(.raid1, memberCount: 2, bug, blocks: [0])
      lab.options.sealDelayNanoseconds = 1_000_000
      try lab.play(seed: 3) { stage in
        try await stage.write(0, 2, durably: true)
        await stage.pass(milliseconds: 20)
        await stage.kill()
      }
      for slot in 0...1 {
        let payload = try #require(try lab.logOffset(slot, of: lab.block(2, 0)))
        lab.media[slot].overwrite(at: payload - 4096, with: [UInt8](repeating: 0, count: 8192))
      }
      let found = try lab.found(0)
      if bug == nil {
        guard case .refused(let words) = found else { return #expect(found.isRefused) }
        #expect(words.contains("firstBlock: 0, blockCount: 1"), "\(words)")
      } else {
        #expect(found == .version(1))
      }
    }
  }

  @Test("L7: with more than r members missing the array does not start, by force neither")
  func tooManyMissing() throws {
    let lab = try ArrayLab.filled(.raid6, memberCount: 4, blocks: [0])
    #expect(try lab.found(0, without: [1, 2]) == .version(1))
    #expect(try lab.found(0, without: [1, 2, 3]).isRefused)
  }

  @Test("L8: intents and seals take no client sequence numbers")
  func clientSequence() throws {
    for bug in [nil, PlantedBug.intentsCountAsClientRecords] {
      var sequences: [UInt64] = []
      for pause in [0.0, 30] {
        let lab = try ArrayLab.filled(.raid5, memberCount: 3, bug, blocks: [0])
        lab.options.destageDelayNanoseconds = 1_000_000
        lab.options.sealDelayNanoseconds = 1_000_000
        try lab.play(seed: 3) { stage in
          for block in 0..<5 as Range<UInt64> {
            try await stage.write(block, 2, durably: pause > 0)
            await stage.pass(milliseconds: pause)
          }
          try await stage.client.close()
        }
        sequences.append(try lab.superblock().checkpointClientSequence)
      }
      #expect((sequences == [6, 6]) == (bug == nil), "\(sequences)")
    }
  }

  @Test("R1: what is not acknowledged is not shown, for it may vanish")
  func visibility() throws {
    for bug in [nil, PlantedBug.visibleBeforeAcknowledged] {
      let lab = try ArrayLab.filled(.raid1, memberCount: 2, bug, blocks: [0])
      let seen = Box(Found.garbage)
      try lab.play(seed: 3) { stage in
        stage.machine.faultPlan.fail(
          operation: stage.machine.faultPlan.count(of: .write) + 1, of: .write, with: .stuck,
          persistently: true)
        stage.machine.start { try? await stage.write(0, 2) }
        await stage.pass(milliseconds: 5)
        seen.value = await stage.find(0)
        await stage.losePower()
      }
      let found = try lab.found(0)
      #expect((found == seen.value) == (bug == nil), "\(found)")
      #expect(try lab.found(0) == .version(1))
    }
  }
}
