import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing

@Suite("Log: replicas")
struct LogReplicaTests {
  /// What comes between a flush that asks replicas and one that waits for them.
  enum Meanwhile: CaseIterable {
    case beginsToCount
    case isServedAnew
  }

  @Test(
    "a flush asks a replica that counts since, or whose session is a new one, and so it ends",
    arguments: Meanwhile.allCases)
  func flushAsks(meanwhile: Meanwhile) throws {
    let world = try LogWorld(seed: 21, level: .raid1, memberCount: 2)
    let host = world.openHost()
    try host.machine.run {
      _ = try await host.open()
      try await host.append()
      let number = await host.beginReplica(counts: meanwhile == .isServedAnew)
      #expect(await host.requestReplicaFlush() == number)
      switch meanwhile {
      case .beginsToCount: await host.count()
      case .isServedAnew: await host.connect()
      }
      let flush = host.machine.start {
        #expect(await host.waitForReplicas(durable: number) == nil)
      }
      await host.machine.sleep(nanoseconds: 1_000_000)
      try #require(await host.flushWanted == number)
      #expect(await host.isWaited)
      await host.noteDurable(number)
      await flush.value
    }
    world.simulation.end()
  }

  @Test("who waits for records to be shown goes on when the gate opens, not with the next write")
  func gateWakes() throws {
    let world = try LogWorld(seed: 23, level: .raid1, memberCount: 2)
    let host = world.openHost()
    try host.machine.run {
      _ = try await host.open()
      _ = await host.beginReplica(counts: true)
      let append = host.machine.start { _ = try? await host.append() }
      await host.machine.sleep(nanoseconds: 10_000_000)
      let ended = Flag()
      let waiter = host.machine.start {
        try? await host.waitUntilAllPublished()
        await ended.set(host)
      }
      await host.machine.sleep(nanoseconds: 10_000_000)
      #expect(await !ended.isSet(host))
      await host.confirm()
      await append.value
      await host.machine.sleep(nanoseconds: 10_000_000)
      try #require(await ended.isSet(host))
      await waiter.value
    }
    world.simulation.end()
  }

  // Safe: read and set on the host's machine.
  private final class Flag: @unchecked Sendable {
    private var value = false
    func set(_ host: isolated LogHost) { value = true }
    func isSet(_ host: isolated LogHost) -> Bool { value }
  }

  @Test(
    "who flushes after each write has replicas asked with the record, and who does not has not",
    arguments: [1, 3])
  func flushIsExpected(batchCount: Int) throws {
    let world = try LogWorld(seed: 22, level: .raid1, memberCount: 2)
    let host = world.openHost()
    try host.machine.run {
      _ = try await host.open()
      _ = await host.beginReplica(counts: true)
      for _ in 0..<batchCount { await host.appendConfirmed() }
      let flushed = await host.requestReplicaFlush()
      await host.noteDurable(flushed)
      let append = host.machine.start { _ = try? await host.append() }
      await host.machine.sleep(nanoseconds: 10_000_000)
      let isExpected = batchCount == 1
      #expect(await host.flushWanted == (isExpected ? flushed + 1 : flushed))
      // Here as well, while the replica is waited for.
      #expect(await host.isDurable(flushed + 1) == isExpected)
      await host.confirm()
      await append.value
    }
    world.simulation.end()
  }
}

extension LogHost {
  static let nodeID = Identifier(high: 1, low: 2)

  private var replica: ReplicaProgress? { log.replica(Self.nodeID) }

  /// A replica that has everything in its log, and nothing durably; returns up to what.
  func beginReplica(counts: Bool) -> UInt64 {
    _ = log.addReplica(Self.nodeID, mode: .c, counts: counts, durable: 0)
    connect()
    return log.published.number
  }

  /// A session serves it, and has sent and been acknowledged all.
  func connect() {
    guard let replica else { return }
    let number = log.published.number
    log.connect(replica, at: 0, sentThrough: number)
    log.note(replica, received: number, logged: number, durable: 0)
  }

  func waitUntilAllPublished() async throws { try await log.waitUntilPublished(log.enqueuedCount) }

  /// Appends a batch, which the replica confirms.
  func appendConfirmed() async {
    let append = machine.start { _ = try? await self.append() }
    await machine.sleep(nanoseconds: 10_000_000)
    confirm()
    await append.value
  }

  /// The replica has everything in its log.
  func confirm() {
    guard let replica else { return }
    let number = log.position.number
    replica.sent = number
    log.note(replica, received: number, logged: number, durable: 0)
  }

  func isDurable(_ number: UInt64) -> Bool { log.durablePosition.number >= number }

  func count() {
    if let replica { log.setCounts(replica, true) }
  }

  func requestReplicaFlush() -> UInt64 { log.requestReplicaFlush() }

  /// The error that it ends with.
  func waitForReplicas(durable number: UInt64) async -> ArrayError? {
    do throws(ArrayError) {
      try await log.waitForReplicas(durable: number)
      return nil
    } catch {
      return error
    }
  }

  var flushWanted: UInt64? { replica?.flushWanted }
  /// Whether it is held to its deadline.
  var isWaited: Bool { replica.flatMap { log.waitsSince($0) } != nil }

  func noteDurable(_ number: UInt64) {
    if let replica { log.note(replica, received: number, logged: number, durable: number) }
  }
}
