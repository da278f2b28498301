import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// The histories of members that are new (docs/upkeep.md), each with the mistake that breaks it.
@Suite("Rules: new members and replacements")
struct ReserveHistoryTests {
  private static let blocks = Array(stride(from: UInt64(0), to: 64, by: 8))

  @Test("T3: a new member is named by a crash's survivors, and lacks what was not marked before")
  func marksBeforeConfiguration() throws {
    for bug in [nil, PlantedBug.configurationBeforeMarks] {
      let lab = try ArrayLab.filled(
        .raid1, memberCount: 2, bug, blocks: Self.blocks, extraCount: 1)
      try lab.play(seed: 3) { stage in
        let old = await stage.client.status().members[1].memberID
        try await stage.client.fail(old)
        // The list is durable when the command returns, and what came later is not.
        _ = try await stage.client.add(lab.handle(2, stage.machine))
        await stage.losePower()
      }
      lab.options.isForced = true
      try lab.play(seed: 4, without: [1]) { stage in
        _ = await stage.waitFor(milliseconds: 20_000) { $0.members[1].state == .current }
        #expect(await stage.client.status().members[1].state == .current)
        try await stage.client.close()
      }
      let found = try lab.found(Self.blocks, without: [0, 1])
      #expect(found.allSatisfy { $0 == .version(1) } == (bug == nil), "\(found)")
    }
  }

  @Test("T8: a replacement has what was written behind its position")
  func behindThePosition() throws {
    for bug in [nil, PlantedBug.replacementMissesWrites] {
      let lab = try ArrayLab.filled(
        .raid1, memberCount: 2, bug, blocks: Self.blocks,
        memberByteCount: 16 << 20, extraCount: 1)
      lab.options.destageDelayNanoseconds = 1_000_000
      try lab.play(seed: 3) { stage in
        let old = await stage.client.status().members[1].memberID
        let handle = lab.handle(2, stage.machine)
        handle.disk.latency = DiskLatency(
          shortestNanoseconds: 3_000_000, longestNanoseconds: 3_000_000, slowPerMillion: 0)
        try await stage.client.replace(old, handle)
        // Its first block is there: it is behind the position.
        let home = try lab.home(row: 0, position: 0).range
        #expect(
          await stage.wait(milliseconds: 5000) {
            lab.media[2].live.bytes(home) == lab.block(1, 0)
          })
        try await stage.write(0, 2, durably: true)
        #expect(await stage.waitFor(milliseconds: 20_000) { $0.reserves.isEmpty })
        #expect(await stage.client.status().members[1].memberID != old)
        try await stage.client.close()
      }
      let found = try lab.found(0, without: [0, 1])
      #expect((found == .version(2)) == (bug == nil), "\(found)")
    }
  }

  @Test("T4: what the log holds is home before a replacement takes the slot")
  func logBeforeExchange() throws {
    for bug in [nil, PlantedBug.exchangeBeforeLogIsHome] {
      // Nothing goes home by itself: see `filled`.
      let lab = try ArrayLab.filled(
        .raid1, memberCount: 2, bug, blocks: Self.blocks, extraCount: 1)
      try lab.play(seed: 3) { stage in
        let old = await stage.client.status().members[1].memberID
        for block in Self.blocks { try await stage.write(block, 2, durably: true) }
        try await stage.client.replace(old, lab.handle(2, stage.machine))
        #expect(await stage.waitFor(milliseconds: 20_000) { $0.reserves.isEmpty })
        #expect(await stage.client.status().members[1].memberID != old)
        await stage.losePower()
      }
      let found = try lab.found(Self.blocks, without: [0, 1])
      #expect(found.allSatisfy { $0 == .version(2) } == (bug == nil), "\(found)")
      #expect(try lab.found(Self.blocks, without: [2]).allSatisfy { $0 == .version(2) })
    }
  }

  @Test("T6: a member that was replaced is not taken back when its successor is away")
  func replacedReturns() throws {
    for bug in [nil, PlantedBug.replacedMemberTakenBack] {
      let lab = try ArrayLab.filled(
        .raid1, memberCount: 2, blocks: Self.blocks, extraCount: 1)
      try lab.play(seed: 3) { stage in
        let old = await stage.client.status().members[1].memberID
        try await stage.client.replace(old, lab.handle(2, stage.machine))
        #expect(await stage.waitFor(milliseconds: 20_000) { $0.reserves.isEmpty })
        for block in Self.blocks { try await stage.write(block, 2, durably: true) }
        try await stage.client.close()
      }
      lab.options.plantedBug = bug
      lab.options.isForced = true
      // Who was replaced is given again, its successor is not.
      try lab.play(seed: 4, without: [2]) { stage in
        #expect((await stage.client.status().members[1].state == .missing) == (bug == nil))
        #expect(await stage.find(0) == .version(2))
        try await stage.client.close()
      }
      let found = try lab.found(Self.blocks, without: [0, 2])
      // Alone it is what it was; by the list of the others it has nothing to say.
      if bug == nil {
        #expect(found.allSatisfy { $0 == .version(1) })
        lab.options.isForced = false
        lab.options.knownConfiguration = try lab.superblock().configurationID.description
        #expect(
          try lab.found(Self.blocks, without: [0, 2], isForced: false).allSatisfy(\.isRefused))
      } else {
        #expect(!found.allSatisfy { $0 == .version(2) }, "\(found)")
      }
    }
  }

  @Test("T6: clients' writes wait while the places change, and their reads do not")
  func gate() throws {
    let lab = try ArrayLab.filled(
      .raid5, memberCount: 3, blocks: Self.blocks, extraCount: 1)
    try lab.play(seed: 3) { stage in
      let old = await stage.client.status().members[1].memberID
      let (writes, reads) = (Box(0), Box(0))
      let isDone = Box(false)
      stage.setLatency(microseconds: 200)
      try await stage.client.replace(old, lab.handle(3, stage.machine))
      await withTaskGroup(of: Void.self) { group in
        group.addTask(executorPreference: stage.machine) {
          var version: UInt8 = 1
          while !isDone.value {
            version = version % 9 + 1
            do { try await stage.write(0, version) } catch { Issue.record("\(error)") }
            writes.value += 1
          }
        }
        group.addTask(executorPreference: stage.machine) {
          while !isDone.value {
            if await stage.find(8) != .version(1) { Issue.record("block 8 is not what it was") }
            reads.value += 1
          }
        }
        _ = await stage.waitFor(milliseconds: 30_000) { $0.reserves.isEmpty }
        isDone.value = true
      }
      #expect(await stage.client.status().members[1].memberID != old)
      #expect(writes.value > 10 && reads.value > 10)
      try await stage.client.close()
    }
    for lost in [0, 1, 2] {
      #expect(try lab.found([8, 16], without: [lost]) == [.version(1), .version(1)])
    }
  }
}
