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
}
