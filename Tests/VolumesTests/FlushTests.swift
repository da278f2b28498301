import Glibc
import IO
import Simulator
import TestSupport
import Testing
import Units
import Volumes

/// Joins rounds as a volume's actor does.
private actor FlushHost {
  private let machine: SimulatedMachine
  private let group = FlushGroup()
  private(set) var roundCount = 0
  private(set) var runningCount = 0
  private(set) var wrongCount = 0

  init(_ machine: SimulatedMachine) { self.machine = machine }

  nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: the actor keeps the machine.
    unsafe machine.unownedExecutor
  }

  func join() async {
    let before = roundCount
    let endedBefore = endedRounds
    await group.join {
      roundCount += 1
      runningCount += 1
      if runningCount > 1 { wrongCount += 1 }
      await machine.sleep(nanoseconds: 100_000)
      runningCount -= 1
      endedRounds += 1
    }
    // A round that began after the call has ended.
    if endedRounds <= before || endedRounds == endedBefore { wrongCount += 1 }
  }

  private var endedRounds = 0
}

@Suite("Volumes: flushing")
struct FlushTests {
  @Test("whoever joins is served by a round that began after the call, one round at a time")
  func joinsLaterRound() throws {
    for seed in Seeds.of(40) {
      let machine = SimulatedMachine(seed: seed)
      let host = FlushHost(machine)
      try machine.run {
        await withTaskGroup(of: Void.self) { group in
          for _ in 0..<8 {
            group.addTask(executorPreference: machine) {
              for _ in 0..<5 {
                await machine.sleep(nanoseconds: machine.randomNumber() % 300_000)
                await host.join()
              }
            }
          }
        }
        #expect(await host.wrongCount == 0, "seed \(seed)")
        // Shared: fewer rounds than callers.
        #expect(await host.roundCount < 36)
      }
    }
  }

  @Test("NBD 54: at the return of a flush all writes that had returned before it are durable")
  func covers() throws {
    for seed in Seeds.of(60) {
      let site = FileSite(seed: seed)
      try site.machine.run {
        await withTaskGroup(of: Void.self) { group in
          for number in 0..<5 as Range<UInt64> {
            group.addTask(executorPreference: site.machine) {
              for round in 1...4 as ClosedRange<UInt8> {
                let part = range(number * 8192, number * 8192 + 4096)
                try? await site.host.write(part, [UInt8](repeating: round, count: 4096))
                try? await site.host.flush()
                let isDurable = site.medium.durable.bytes(part).allSatisfy { $0 == round }
                #expect(isDurable, "seed \(seed)")
              }
            }
          }
        }
      }
      #expect(site.machine.faultPlan.count(of: .synchronize) < 20)
    }
  }

  @Test(
    "P8: after a failed fdatasync nothing is flushed or written again, whatever the errno",
    arguments: [EIO, ENOSPC, EINTR, EAGAIN, EDQUOT, ECANCELED])
  func failedSynchronize(number: Int32) throws {
    for flushCount in [1, 4] {
      let site = FileSite(seed: 1)
      site.machine.faultPlan.fail(operation: 2, of: .synchronize, with: .failure(number))
      try site.machine.run {
        try await site.host.write(range(0, 4096), [UInt8](repeating: 1, count: 4096))
        try await site.host.flush()
        try await site.host.write(range(0, 4096), [UInt8](repeating: 2, count: 4096))
        let failed = Box(0)
        await withTaskGroup(of: Void.self) { group in
          for _ in 0..<flushCount {
            group.addTask(executorPreference: site.machine) {
              let error = await outcome { () async throws(VolumeError) in
                try await site.host.flush()
              }.failure
              if error == .stopped { failed.value += 1 }
            }
          }
        }
        // All who shared it, and those who came while it ran.
        #expect(failed.value == flushCount)
        #expect(site.machine.faultPlan.count(of: .synchronize) == 2)
        for _ in 0..<3 {
          let flush = await outcome { () async throws(VolumeError) in try await site.host.flush() }
          #expect(flush.failure == .stopped)
          let write = await outcome { () async throws(VolumeError) in
            try await site.host.write(range(0, 1), [1], durably: true)
          }
          #expect(write.failure == .stopped)
          let trim = await outcome { () async throws(VolumeError) in
            try await site.host.trim(range(0, 8192))
          }
          #expect(trim.failure == .stopped)
          let zero = await outcome { () async throws(VolumeError) in
            try await site.host.writeZeroes(range(0, 8192))
          }
          #expect(zero.failure == .stopped)
        }
        #expect(site.machine.faultPlan.count(of: .synchronize) == 2)
        #expect(site.machine.faultPlan.count(of: .write) == 2)
        guard case .failed(let cause, let action) = await site.host.health else {
          Issue.record("the device is not failed")
          return
        }
        #expect(cause.hasPrefix("flushing file /srv/a.img failed: "))
        #expect(action.contains("stop the server"))
        let close = await outcome { () async throws(VolumeError) in try await site.host.close() }
        #expect(close.failure == .stopped)
      }
    }
  }

  @Test("a write under way when fdatasync fails is not acknowledged")
  func writeDuringFailedFlush() throws {
    let site = FileSite(seed: 5)
    site.disk.latency = DiskLatency(
      shortestNanoseconds: 100_000, longestNanoseconds: 100_000, synchronizeFactor: 3,
      slowPerMillion: 0)
    site.machine.faultPlan.fail(operation: 1, of: .synchronize, with: .failure(EIO))
    try site.machine.run {
      let flushing = Task(executorPreference: site.machine) {
        await outcome { () async throws(VolumeError) in try await site.host.flush() }.failure
      }
      await site.machine.sleep(nanoseconds: 220_000)
      let write = await outcome { () async throws(VolumeError) in
        try await site.host.write(range(0, 4096), [UInt8](repeating: 1, count: 4096))
      }
      #expect(await flushing.value == .stopped)
      #expect(write.failure == .stopped)
    }
  }
}
