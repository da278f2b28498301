import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// Clients beside upkeep, on disks with one arm.
@Suite("RAID: upkeep beside clients")
struct UpkeepLatencyTests {
  private struct Outcome {
    var p99Nanoseconds: UInt64
    var verifiedBytes: UInt64
    var status: LatencyBudgetStatus
  }

  private static let second: UInt64 = 1_000_000_000
  private static let fillBytes: UInt64 = 8 << 20

  /// Scrubs over and over, beside a client that reads a block now and then.
  private func scrub(
    budgetNanoseconds: UInt64, seconds: UInt64, isScrubbing: Bool = true
  ) throws -> Outcome {
    let lab = ArrayLab(.raid1, memberCount: 2, memberByteCount: 16 << 20)
    lab.options.tableCacheBytes = 1 << 20
    lab.options.latencyBudgetNanoseconds = budgetNanoseconds
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    let outcome = Box<Outcome?>(nil)
    try machine.run {
      let handles = lab.cables(machine)
      let client = try await lab.start(machine, cables: handles)
      let piece = [UInt8](repeating: 7, count: 1 << 20)
      for offset in stride(from: 0, to: Self.fillBytes, by: 1 << 20) {
        try await client.write(offset, piece)
      }
      try await client.flush()
      await machine.sleep(nanoseconds: 5 * Self.second)
      // 10 MB/s, and 2 ms to find something.
      for handle in handles {
        handle.disk.spindle = (2_000_000, 100)
        handle.disk.disk.latency = DiskLatency(slowPerMillion: 0)
      }
      if isScrubbing {
        machine.start {
          while true {
            await client.scrubOnce()
            await machine.sleep(nanoseconds: 1_000_000)
          }
        }
      }
      var latencies: [UInt64] = []
      var next: UInt64 = 1
      let end = machine.nowNanoseconds + seconds * Self.second
      let half = machine.nowNanoseconds + seconds / 3 * Self.second
      while machine.nowNanoseconds < end {
        next = next &* 6_364_136_223_846_793_005 &+ 1
        let block = (next >> 33) % (Self.fillBytes / 4096)
        let began = machine.nowNanoseconds
        _ = try await client.read(ByteRange(from: block * 4096, to: (block + 1) * 4096))
        if began > half { latencies.append(machine.nowNanoseconds - began) }
        await machine.sleep(nanoseconds: 3_000_000)
      }
      let status = await client.status()
      let bytes =
        status.scrubHistory.reduce(0) { $0 + $1.doneBytes } + (status.scrub?.doneBytes ?? 0)
      latencies.sort()
      outcome.value = Outcome(
        p99Nanoseconds: latencies[latencies.count * 99 / 100], verifiedBytes: bytes,
        status: status.latencyBudget)
    }
    machine.crash(.kill)
    return try #require(outcome.value)
  }

  @Test("within the default budget a scrub goes on at full speed, a little at a time")
  func withinBudget() throws {
    let outcome = try scrub(budgetNanoseconds: 20_000_000, seconds: 12)
    #expect(outcome.p99Nanoseconds < 20_000_000, "\(outcome)")
    #expect(outcome.status.upkeepPercent == 100)
    #expect(outcome.status.achievedP99Nanoseconds ?? .max < 20_000_000)
    #expect(outcome.verifiedBytes > 6 * Self.fillBytes)
  }

  @Test("a small budget makes a scrub slow, and clients quick; it never stands still")
  func smallBudget() throws {
    let alone = try scrub(budgetNanoseconds: 8_000_000, seconds: 6, isScrubbing: false)
    let asked = try scrub(budgetNanoseconds: 8_000_000, seconds: 150)
    let free = try scrub(budgetNanoseconds: 60 * Self.second, seconds: 12)
    #expect(alone.p99Nanoseconds < 4_000_000, "\(alone)")
    #expect(free.p99Nanoseconds > 12_000_000, "\(free)")
    #expect(asked.p99Nanoseconds < 8_000_000, "\(asked)")
    #expect(asked.verifiedBytes > Self.fillBytes / 2)
  }
}

extension CableClient {
  /// Begins a check if none is under way.
  func scrubOnce() {
    volume.engine.assumeIsolated { engine in
      do throws(ScrubCommandError) { try engine.beginScrub(.check) } catch {}
    }
  }
}
