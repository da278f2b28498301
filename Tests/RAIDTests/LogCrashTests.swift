import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing

/// Lives and crashes of one log, drawn by seed.
private struct LogHistory {
  let world: LogWorld
  var draws: RandomSource

  init(seed: UInt64, bug: PlantedBug?) throws {
    draws = RandomSource(seed: seed ^ 0xa5a5)
    var options = ArrayOptions()
    options.plantedBug = bug
    options.batchPayloadBlockCountMax = 32
    let levels: [RAIDLevel] = [.raid5, .raid6, .raid1, .raid10, .raid0]
    let level = levels[draws.index(below: levels.count)]
    world = try LogWorld(
      seed: seed, level: level, memberCount: 4 + draws.index(below: 2), logByteCount: 3 << 20,
      options: options)
  }

  /// What went wrong, if something did.
  mutating func firstWrong() throws -> String? {
    var kind = CrashKind.kill
    for life in 0..<4 {
      let host = world.openHost()
      let isLast = life == 3
      if !isLast, draws.coin() {
        let number = 1 + draws.index(below: 150)
        host.machine.faultPlan.fail(
          operation: number, with: .crash(draws.coin() ? .kill : .powerLoss))
      }
      let world = world
      let found = try host.machine.run { try await host.open() }
      if let found {
        if let wrong = world.firstWrong(found, after: kind) { return "life \(life): \(wrong)" }
        world.goOn(with: found)
        kind = .kill
        try host.machine.run { await Self.live(host) }
        host.machine.crash(draws.coin() ? .kill : .powerLoss)
      }
      if host.machine.crashKind == .powerLoss { kind = .powerLoss }
      loseMember()
    }
    return nil
  }

  private static func live(_ host: LogHost) async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask(executorPreference: host.machine) {
        await appendFromClients(host, clients: 4, count: 5, flushEvery: 3, blockCountMax: 6)
      }
      group.addTask(executorPreference: host.machine) {
        for _ in 0..<2 {
          await host.machine.sleep(nanoseconds: 2_000_000)
          do throws(ArrayError) {
            try await host.destageRound(entryCountMax: 5)
            try await host.trim()
          } catch {
            return
          }
        }
      }
    }
  }

  private mutating func loseMember() {
    guard draws.index(below: 3) == 0 else { return }
    let slot = draws.index(below: world.geometry.memberCount)
    var out = world.out
    out.insert(slot)
    if out != world.out, world.geometry.canServe(without: out) { world.lose(slot) }
  }
}

@Suite("Log: crashes")
struct LogCrashTests {
  @Test("lives, crashes, lost members: what was promised is found, in order, and whole")
  func histories() throws {
    for seed in Seeds.of(40) {
      var history = try LogHistory(seed: seed, bug: nil)
      let wrong = try history.firstWrong()
      #expect(wrong == nil, "\(Seeds.replay(seed, "LogCrashTests"))")
      history.world.simulation.end()
    }
  }

  @Test(
    "a planted bug is found by the same histories",
    arguments: [
      PlantedBug.flushForgetsEarlierBatches, .holeAboveHorizonIsDamage,
      .recoveryServesBeforeDurable, .visibleBeforeAcknowledged, .acknowledgesEarly,
      .tornBatchAccepted,
    ])
  func bugs(bug: PlantedBug) throws {
    for seed in 0..<2000 as Range<UInt64> {
      var history = try LogHistory(seed: seed, bug: bug)
      let wrong = try? history.firstWrong()
      history.world.simulation.end()
      if wrong != nil { return }
    }
    Issue.record("\(bug) was not found")
  }

  @Test(
    "a crash at every operation, also of recovery: the acknowledged survives kill, the flushed power loss",
    arguments: [CrashKind.kill, .powerLoss], [RAIDLevel.raid5, .raid1])
  func everyOperation(kind: CrashKind, level: RAIDLevel) throws {
    var number = 1
    while true {
      let world = try LogWorld(seed: UInt64(number), level: level, memberCount: 3)
      let host = world.openHost()
      host.machine.faultPlan.fail(operation: number, with: .crash(kind))
      try host.machine.run {
        _ = try await host.open()
        await appendFromClients(host, clients: 3, count: 3, flushEvery: 2, blockCountMax: 3)
      }
      let isDone = host.machine.crashKind == nil
      if isDone { host.machine.crash(kind) }
      // Recovery is cut short as well, each time a little later; then it succeeds.
      for cut in [number % 13 + 1, number % 29 + 1] {
        let next = world.openHost()
        next.machine.faultPlan.fail(operation: cut, with: .crash(kind))
        _ = try next.machine.run { try await next.open(serves: false) }
      }
      let last = world.openHost()
      let found = try #require(try last.machine.run { try await last.open() })
      #expect(world.firstWrong(found, after: kind) == nil, "operation \(number)")
      world.simulation.end()
      if isDone { break }
      number += 1
    }
    #expect(number > 20)
  }
}
