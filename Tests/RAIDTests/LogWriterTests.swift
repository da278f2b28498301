import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing

/// Runs clients that append, at the same time, `count` records each.
func appendFromClients(
  _ host: LogHost, clients: Int, count: Int, flushEvery: Int = 0, blockCountMax: Int = 1
) async {
  await withTaskGroup(of: Void.self) { group in
    for _ in 0..<clients {
      group.addTask(executorPreference: host.machine) {
        for index in 0..<count {
          let blockCount = 1 + Int(host.machine.randomNumber() % UInt64(blockCountMax))
          do throws(ArrayError) {
            try await host.append(blockCount: blockCount)
            if flushEvery > 0, index % flushEvery == flushEvery - 1 { try await host.flush() }
          } catch {
            return
          }
        }
      }
    }
  }
}

@Suite("Log: writing")
struct LogWriterTests {
  @Test(
    "records are acknowledged in the order of their calls, and found after a kill",
    arguments: [RAIDLevel.raid0, .raid1, .raid5, .raid6, .raid10])
  func orderAndKill(level: RAIDLevel) throws {
    let world = try LogWorld(seed: 1, level: level, memberCount: 4)
    let host = world.openHost()
    try host.machine.run {
      _ = try await host.open()
      await appendFromClients(host, clients: 8, count: 5, blockCountMax: 3)
      let published = await host.published
      #expect(published == world.begun)
      #expect(Set(world.acknowledged) == Set(world.begun))
      let batches = await host.publishedBatches
      #expect(batches == batches.sorted())
      // Group commit: eight clients share batches.
      #expect(Set(batches).count < world.begun.count)
      host.machine.crash(.kill)
    }
    let next = world.openHost()
    let found = try #require(try next.machine.run { try await next.open() })
    #expect(found.error == nil)
    #expect(world.firstWrong(found, after: .kill) == nil)
    #expect(found.numbers == world.begun)
    #expect(found.clientSequence == 40)
    world.simulation.end()
  }

  @Test(
    "a full log waits for space, in order, and never for ever",
    arguments: [RAIDLevel.raid5, .raid6, .raid1, .raid10, .raid0], [3, 1000])
  func backPressure(level: RAIDLevel, entryCountMax: Int) throws {
    var options = ArrayOptions()
    options.destageRowCountMax = entryCountMax
    let world = try LogWorld(seed: 3, level: level, memberCount: 4, options: options)
    let host = world.openHost()
    try host.machine.run {
      _ = try await host.open()
      let destager = host.machine.start {
        await host.destageOnDemand(entryCountMax: entryCountMax)
      }
      await appendFromClients(host, clients: 16, count: 75, blockCountMax: 3)
      await host.endDestaging()
      await destager.value
      let published = await host.published
      #expect(published == world.begun && published.count == 1200)
      #expect(world.acknowledged.count == 1200)
      let wanted = await host.spaceWantedCount
      #expect(wanted > 0)
      let checkpoint = await host.checkpointSequence
      #expect(checkpoint > 0)
      host.machine.crash(.kill)
    }
    let next = world.openHost()
    let found = try #require(try next.machine.run { try await next.open() })
    #expect(world.firstWrong(found, after: .kill) == nil)
    #expect(!found.records.isEmpty)
    world.simulation.end()
  }

  @Test(
    "a full log of large batches goes on when a member is lost, also where a ring begins again (L5)",
    arguments: UInt64(7)...9)
  func largeBatches(seed: UInt64) throws {
    let world = try LogWorld(
      seed: seed, level: .raid5, memberCount: 3, logByteCount: 2_797_568 + seed * 4096)
    let host = world.openHost()
    try host.machine.run(within: Simulation.Limits(virtualNanoseconds: 60_000_000_000)) {
      _ = try await host.open()
      let destager = host.machine.start { await host.destageOnDemand(entryCountMax: 64) }
      await appendFromClients(host, clients: 32, count: 4, blockCountMax: 32)
      try await host.expel(1)
      await appendFromClients(host, clients: 32, count: 60, blockCountMax: 32)
      await host.endDestaging()
      await destager.value
      host.machine.crash(.kill)
    }
    #expect(world.acknowledged.count == 32 * 64)
    world.simulation.end()
  }

  @Test("without a reserve for intents a full log stays full (L5)")
  func unreserved() throws {
    for bug in [nil, PlantedBug.intentsUnreserved] {
      var options = ArrayOptions()
      options.plantedBug = bug
      options.destageRowCountMax = 4
      let world = try LogWorld(seed: 3, level: .raid5, memberCount: 3, options: options)
      let host = world.openHost()
      // Batches of 8 KiB, one after the other, fill every ring to its last byte.
      let outcome = Result {
        try host.machine.run(within: Simulation.Limits(virtualNanoseconds: 60_000_000_000)) {
          _ = try await host.open()
          host.machine.start { await host.destageOnDemand(entryCountMax: 4) }
          await appendFromClients(host, clients: 1, count: 300)
        }
      }
      switch outcome {
      case .success: #expect(bug == nil)
      case .failure: #expect(bug != nil)
      }
      #expect((world.acknowledged.count == 300) == (bug == nil))
      world.simulation.end()
    }
  }

  @Test("intents are behind the horizon, pinned, and no client records (L8)")
  func intents() throws {
    for bug in [nil, PlantedBug.intentsCountAsClientRecords] {
      var options = ArrayOptions()
      options.plantedBug = bug
      let world = try LogWorld(seed: 9, level: .raid5, memberCount: 5, options: options)
      let host = world.openHost()
      try host.machine.run {
        _ = try await host.open()
        try await host.append()
        let batch = try await host.appendIntents(500)
        let horizon = await host.horizon
        #expect(horizon >= batch)
        try await host.append()
        try await host.flush()
        let candidate = await host.checkpointCandidate
        #expect(candidate == 0)
        host.machine.crash(.powerLoss)
      }
      let next = world.openHost()
      let found = try #require(try next.machine.run { try await next.open() })
      #expect(found.intentCount == 500)
      #expect((found.clientSequence == 2) == (bug == nil))
      world.simulation.end()
    }
  }

  @Test("a member whose write or fdatasync fails is put out before the acknowledgement")
  func failures() throws {
    for kind in [OperationKind.write, .synchronize] {
      for number in 1...6 {
        let world = try LogWorld(seed: UInt64(number), level: .raid6, memberCount: 4)
        let host = world.openHost()
        try host.machine.run {
          _ = try await host.open()
          host.machine.faultPlan.fail(
            operation: host.machine.faultPlan.count(of: kind) + number, of: kind,
            with: .failure(5))
          await appendFromClients(host, clients: 3, count: 4, flushEvery: 2)
          #expect(host.machine.faultPlan.hitCount == 1)
          #expect(world.out.count == 1)
          #expect(world.acknowledged.count == 12)
          host.machine.crash(.powerLoss)
        }
        let next = world.openHost()
        let found = try #require(try next.machine.run { try await next.open() })
        #expect(world.firstWrong(found, after: .powerLoss) == nil)
        world.simulation.end()
      }
    }
  }

  @Test("a failed fdatasync is never repeated: the second would succeed without the data (P8)")
  func failedFlush() throws {
    var lostCount = 0
    for seed in 0..<12 as Range<UInt64> {
      for bug in [nil, PlantedBug.failedFlushRetried] {
        var options = ArrayOptions()
        options.plantedBug = bug
        let world = try LogWorld(seed: seed, level: .raid0, memberCount: 2, options: options)
        let host = world.openHost()
        try host.machine.run {
          _ = try await host.open()
          host.machine.faultPlan.fail(
            operation: host.machine.faultPlan.count(of: .synchronize) + 1, of: .synchronize,
            with: .failure(5))
          await appendFromClients(host, clients: 3, count: 2, flushEvery: 2)
          host.machine.crash(.powerLoss)
        }
        let next = world.openHost()
        let found = try #require(try next.machine.run { try await next.open() })
        let wrong = world.firstWrong(found, after: .powerLoss)
        if bug == nil { #expect(wrong == nil) } else if wrong != nil { lostCount += 1 }
        world.simulation.end()
      }
    }
    #expect(lostCount > 0)
  }

  @Test("without redundancy a failed write or fdatasync stops the log, and all who wait hear of it")
  func stops() throws {
    for kind in [OperationKind.write, .synchronize] {
      let world = try LogWorld(seed: 2, level: .raid0, memberCount: 2)
      let host = world.openHost()
      try host.machine.run {
        _ = try await host.open()
        host.machine.faultPlan.fail(
          operation: host.machine.faultPlan.count(of: kind) + 3, of: kind, with: .failure(5))
        await appendFromClients(host, clients: 8, count: 10, flushEvery: 1)
        let isStopped = await host.isStopped
        #expect(isStopped)
        #expect(world.acknowledged.count < 80)
        await #expect(throws: ArrayError.self) { try await host.append() }
        await #expect(throws: ArrayError.self) { try await host.flush() }
      }
      world.simulation.end()
    }
  }

  @Test("a flush with nothing behind it does no I/O, and one seal follows a flush (L7)")
  func seals() throws {
    let world = try LogWorld(seed: 4, level: .raid5, memberCount: 3)
    let host = world.openHost()
    try host.machine.run {
      _ = try await host.open()
      try await host.append()
      try await host.flush()
      let horizon = await host.horizon
      #expect(horizon == 1)
      await host.machine.sleep(nanoseconds: 50_000_000)
      let written = await host.writtenSequence
      #expect(written == 2)
      let count = host.machine.faultPlan.operationCount
      try await host.flush()
      await host.machine.sleep(nanoseconds: 50_000_000)
      #expect(host.machine.faultPlan.operationCount == count)
    }
    world.simulation.end()
  }

  @Test("a synchronous write costs a write and a flush for each copy, also behind a seal (L7)")
  func synchronousWrites() throws {
    let world = try LogWorld(seed: 5, level: .raid5, memberCount: 4)
    let host = world.openHost()
    let plan = host.machine.faultPlan
    try host.machine.run {
      _ = try await host.open()
      for isBehindSeal in [false, true, true] {
        let (writes, flushes) = (plan.count(of: .write), plan.count(of: .synchronize))
        let first = await host.writtenSequence
        // Longer than a seal waits, though never that long between two.
        for _ in 0..<10 {
          try await host.append()
          try await host.flush()
          await host.machine.sleep(nanoseconds: 2_000_000)
        }
        let last = await host.writtenSequence
        #expect(last == first + 10)
        #expect(plan.count(of: .write) == writes + 20)
        #expect(plan.count(of: .synchronize) == flushes + 20, "behind a seal: \(isBehindSeal)")
        await host.machine.sleep(nanoseconds: 50_000_000)
        let sealed = await host.writtenSequence
        #expect(sealed == last + 1)
      }
    }
    world.simulation.end()
  }

  @Test("space is free when the checkpoint is written, not before (L6)")
  func reuse() throws {
    for bug in [nil, PlantedBug.reuseBeforeCheckpoint] {
      var options = ArrayOptions()
      options.plantedBug = bug
      let world = try LogWorld(seed: 6, level: .raid1, memberCount: 2, options: options)
      let host = world.openHost()
      try host.machine.run {
        _ = try await host.open()
        for _ in 0..<3 { try await host.append() }
        try await host.flush()
        await host.settleAll()
        let candidate = await host.checkpointCandidate
        #expect(candidate == 3)
        let before = await host.fillFraction
        #expect((before > 0) == (bug == nil))
        await host.writeCheckpoint()
        let after = await host.fillFraction
        #expect(after < 0.01)
      }
      world.simulation.end()
    }
  }
}
