import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// The histories of who serves an array, and who went on without whom: T6, and T7 where it is about
/// owners (docs/array.md, section 8).
@Suite("Rules: configurations and owners")
struct MembershipHistoryTests {
  // MARK: T6, forks

  /// Two halves that were served alone, one after the other, and then both together.
  private func fork(_ level: RAIDLevel, _ memberCount: Int, _ halves: [[Int]]) throws {
    for bug in [nil, PlantedBug.listIgnored] {
      let lab = try ArrayLab.filled(level, memberCount: memberCount, bug, blocks: [0])
      lab.options.plantedBug = nil
      lab.options.isForced = true
      for (index, half) in halves.enumerated() {
        let others = Array(0..<memberCount).filter { !half.contains($0) }
        try lab.play(seed: 3 + UInt64(index), without: others) { stage in
          #expect(await stage.find(0) == .version(1))
          try await stage.write(0, 2 + UInt8(index))
          try await stage.client.close()
        }
      }
      lab.options.plantedBug = bug
      for isForced in [false, true] {
        let found = try lab.found(0, isForced: isForced)
        if case .refused(let words) = found {
          #expect(bug == nil && words.contains("two histories"), "\(words)")
        } else {
          #expect(bug != nil, "merged: \(found)")
        }
      }
      // Each half is what it was.
      for (index, half) in halves.enumerated() {
        let others = Array(0..<memberCount).filter { !half.contains($0) }
        #expect(try lab.found(0, without: others) == .version(2 + UInt8(index)))
      }
    }
  }

  @Test("T6: RAID-1 served as A alone, then B alone, then together: refused, not merged")
  func mirror() throws { try fork(.raid1, 2, [[0], [1]]) }

  @Test("T6: RAID-10, one member of each pair and then the others: refused, not merged")
  func mirroredHalves() throws { try fork(.raid10, 4, [[0, 2], [1, 3]]) }

  @Test("T6: RAID-6 of four, two and two: refused, not merged")
  func twoAndTwo() throws { try fork(.raid6, 4, [[0, 1], [2, 3]]) }

  // MARK: T6, changes

  @Test("T6: a crash between two survivors' updates makes no survivor look stale")
  func crashBetweenSurvivors() throws {
    let base = try ArrayLab.filled(.raid5, memberCount: 4, blocks: [0])
    base.options.resyncsAutomatically = false
    var (number, differing) = (1, 0)
    while true {
      let lab = base.copy()
      let (count, hasEnded) = (number, Box(false))
      try lab.play(seed: 3) { stage in
        // One survivor has its new list, the others lose theirs.
        for medium in lab.media { medium.unflushedFate = .loseAll }
        lab.media[1].unflushedFate = .keepAll
        lab.media[0].faultRates.writeError = 1_000_000
        let plan = stage.machine.faultPlan
        plan.fail(operation: plan.operationCount + count, with: .crash(.powerLoss))
        // Batches go round: soon one is for the member that fails.
        for block in 0..<4 as Range<UInt64> { try await stage.write(block, 2, durably: true) }
        hasEnded.value = true
      }
      if hasEnded.value { break }
      let counts = (1...3).map { lab.superblocks(ofMember: $0).map(\.eventCount).max() }
      if Set(counts).count > 1 { differing += 1 }
      lab.media[0].faultRates = DiskFaultRates()
      try lab.play(seed: 4) { stage in
        let states = await stage.client.status().members[1...].map(\.state)
        #expect(states == [.current, .current, .current], "operation \(count)")
        let found = await stage.find(0)
        #expect(found == .version(1) || found == .version(2))
      }
      number += 1
    }
    #expect(differing > 0)
  }

  @Test("T6: a write is acknowledged after the survivors' lists leave out who lacks it")
  func listBeforeAcknowledgement() throws {
    for bug in [nil, PlantedBug.acknowledgesBeforeConfiguration] {
      let lab = try ArrayLab.filled(.raid5, memberCount: 3, bug, blocks: [0])
      let failed = Box(SlotSet())
      try lab.play(seed: 3) { stage in
        let plan = stage.machine.faultPlan
        // ENOSPC: nothing of it has happened.
        plan.fail(operation: plan.count(of: .write) + 1, of: .write, with: .failure(28))
        try await stage.write(0, 2)
        let members = await stage.client.status().members
        failed.value = SlotSet(members.filter { $0.state == .out }.map(\.slot))
        // Of what nobody synced, the power loss leaves the batch, and no new list.
        let layout = try lab.layout()
        let log = UnflushedFate.keepOnly(ByteRange(from: layout.logOffset, to: layout.tableOffset))
        await stage.losePower([0: log, 1: log, 2: log])
      }
      #expect(failed.value.count == 1)
      let holders = try lab.logSlots(0, 2)
      #expect(holders.count == 1)
      let found = try holders.map { try lab.found(0, without: [$0]) }
      // Without its only copy the array refuses: it must not start without what it had.
      #expect(found.contains(.version(1)) == (bug != nil), "\(found) without \(holders)")
    }
  }

  @Test("T6: a degraded start waits for members that could have gone on alone, or for proof")
  func degradedStart() throws {
    let lab = try ArrayLab.filled(.raid1, memberCount: 2, blocks: [0])
    #expect(try lab.found(0, without: [1], isForced: false).isRefused)
    #expect(try lab.found(0, without: [1], isForced: true) == .version(1))
    lab.options.knownConfiguration = "another"
    #expect(try lab.found(0, without: [1], isForced: false).isRefused)
    lab.options.knownConfiguration = try lab.superblock().configurationID.description
    #expect(try lab.found(0, without: [1], isForced: false) == .version(1))
  }

  // MARK: Owners and records

  @Test("T7: who serves members that others can reach is not taken for dead by a second server")
  func secondServer() throws {
    let lab = ArrayLab(.raid1, memberCount: 2)
    lab.options.watchesOwners = true
    try lab.create(seed: 1)
    let world = Simulation(seed: 2)
    let first = SimulatedMachine(world, name: "first")
    let client = try first.run { try await lab.start(first) }
    _ = try #require(client)
    let second = SimulatedMachine(world, name: "second")
    let isRefused = try second.run {
      do throws(ArrayStartError) {
        _ = try await ArrayEngine.start(
          members: lab.handles(second), machine: second, options: lab.options, log: { _, _ in })
        return false
      } catch {
        if case .inUse = error { return true }
        return false
      }
    }
    #expect(isRefused == true)
    first.crash(.kill)
    // One that is gone gives no sign of life: after a while the members are free.
    let third = SimulatedMachine(world, name: "third")
    try third.run {
      let client = try await lab.start(third)
      try await client.close()
    }
  }

  @Test("T6: a configuration is on record before any member has it")
  func recordComesFirst() throws {
    let lab = ArrayLab(.raid1, memberCount: 2)
    lab.options.resyncsAutomatically = false
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    let records = Box([UInt64]())
    let early = Box(0)
    try machine.run {
      let volume = try await ArrayEngine.start(
        members: lab.handles(machine), machine: machine, options: lab.options, log: { _, _ in },
        record: { configuration in
          // The members must not be ahead of the record while it is being made.
          await machine.sleep(nanoseconds: 1_000_000)
          records.value.append(configuration.eventCount)
          if lab.newestEventCount() > configuration.eventCount { early.value += 1 }
          if records.value.count > 1, lab.newestEventCount() == configuration.eventCount {
            early.value += 1
          }
        })
      let client = ArrayClient(machine, volume)
      lab.media[1].faultRates.writeError = 1_000_000
      try await client.write(0, [UInt8](repeating: 7, count: 4096), durably: true)
      #expect(records.value.count == 2)
      try await client.close()
    }
    #expect(records.value.last == lab.newestEventCount())
    #expect(early.value == 0)
  }
}

extension ArrayLab {
  /// What a member's superblocks say that can be read.
  func superblocks(ofMember slot: Int) -> [Superblock] {
    (0..<UInt64(2)).compactMap { copy in
      let range = ByteRange(from: copy * 4096, to: (copy + 1) * 4096)
      let memory = AlignedMemory.holding(media[slot].live.bytes(range))
      defer { withExtendedLifetime(memory) {} }
      let buffer = memory.buffer
      return try? Superblock.decode(buffer)
    }
  }

  /// The highest event count that any member's superblocks carry.
  func newestEventCount() -> UInt64 {
    let all = media.indices.flatMap { superblocks(ofMember: $0) }
    return all.map(\.eventCount).max() ?? 0
  }
}
