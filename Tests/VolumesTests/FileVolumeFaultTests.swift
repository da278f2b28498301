import Glibc
import IO
import Simulator
import TestSupport
import Testing
import Units
import Volumes

@Suite("Volumes: faults of the file below")
struct FileVolumeFaultTests {
  @Test(
    "any operation fails, once or for good: right contents or an error, and the health says so",
    arguments: [
      .failure(EIO), .failure(ENOSPC), .failure(EINTR), .failure(EAGAIN), .failure(ECANCELED),
      .short,
    ] as [InjectedResult])
  func failNth(result: InjectedResult) throws {
    for alignment in [512, 4096] {
      for isPersistent in [false, true] {
        var number = 1
        while try failOne(number, result, alignment, isPersistent) {
          number += number < 25 ? 1 : 8
        }
        #expect(number > (isPersistent ? 4 : 20))
      }
    }
  }

  /// - Returns: whether the operation of this number came.
  private func failOne(
    _ number: Int, _ result: InjectedResult, _ alignment: Int, _ isPersistent: Bool
  ) throws -> Bool {
    let site = FileSite(seed: UInt64(number), alignment: alignment)
    site.machine.faultPlan.fail(operation: number, with: result, persistently: isPersistent)
    let model = SectorModel(byteCount: 64 << 10)
    let workload = Workload(site.machine, site.host, model, lengthMax: 6000)
    workload.allowsErrors = true
    let hasFailed = Box(false)
    workload.isOver = { hasFailed.value }
    try site.machine.run {
      do {
        try await workload.run(clientCount: 2, requestsPerClient: 15)
      } catch {
        guard case .failed = await site.host.health else { throw error }
      }
      site.machine.faultPlan.removeAll()
      switch await site.host.health {
      case .optimal:
        // Nobody was told of anything.
        #expect(workload.errors.isEmpty, "operation \(number): \(workload.errors)")
      case .impaired(let cause, let action):
        #expect(!workload.errors.isEmpty && !cause.isEmpty && !action.isEmpty)
      case .failed(let cause, _):
        #expect(cause.contains("flushing") || cause.contains("truncated"), "\(cause)")
        let write = await outcome { () async throws(VolumeError) in
          try await site.host.write(range(0, 1), [1])
        }
        #expect(write.failure == .stopped)
        return
      }
      #expect(model.firstWrongSector(in: site.image) == nil, "operation \(number)")
      // It goes on: what failed before works now.
      let last = Workload(site.machine, site.host, model, lengthMax: 6000)
      try await last.run(clientCount: 2, requestsPerClient: 5)
    }
    return site.machine.faultPlan.hitCount > 0
  }

  @Test("disk full: ENOSPC and impaired, contents old or new; with space it goes on")
  func diskFull() throws {
    for seed in Seeds.of(10) {
      let site = FileSite(seed: seed)
      site.medium.spaceBlockCountMax = 5
      let model = SectorModel(byteCount: 64 << 10)
      let workload = Workload(site.machine, site.host, model)
      workload.allowsErrors = true
      try site.machine.run {
        try await workload.run(clientCount: 3, requestsPerClient: 15)
        #expect(workload.errors.contains(.noSpace))
        #expect(workload.errors.allSatisfy { $0 == .noSpace }, "seed \(seed)")
        guard case .impaired(let cause, _) = await site.host.health else {
          Issue.record("not impaired")
          return
        }
        #expect(cause.contains("no space left"))
        #expect(model.firstWrongSector(in: site.image) == nil, "seed \(seed)")
        site.medium.spaceBlockCountMax = nil
        let last = Workload(site.machine, site.host, model)
        try await last.run(clientCount: 2, requestsPerClient: 5)
        await site.machine.sleep(nanoseconds: 61_000_000_000)
        #expect(await site.host.health == .optimal)
      }
    }
  }

  @Test("EOPNOTSUPP: zeros are written instead; with onlyIfFast it is told and nothing changes")
  func unsupportedClearing() throws {
    for (canPunch, canZero) in [(false, false), (true, false), (false, true)] {
      let site = FileSite(seed: 2)
      site.medium.canPunchHoles = canPunch
      site.medium.canZeroRanges = canZero
      try site.machine.run {
        let ones = [UInt8](repeating: 1, count: 32768)
        try await site.host.write(range(0, 32768), ones)
        try await site.host.trim(range(0, 100))
        try await site.host.trim(range(24576, 32768))
        for keepAllocated in [false, true] {
          let result = await outcome { () async throws(VolumeError) in
            try await site.host.writeZeroes(
              range(8192, 16384), keepAllocated: keepAllocated, onlyIfFast: true)
          }
          let isFast = canZero || (canPunch && !keepAllocated)
          #expect(result.failure == (isFast ? nil : .notSupported))
          let seen = try await site.host.read(range(8192, 16384))
          #expect(seen.allSatisfy { $0 == (isFast ? 0 : 1) })
          try await site.host.write(range(0, 24576), Array(ones.prefix(24576)))
          try await site.host.writeZeroes(range(5000, 20_000), keepAllocated: keepAllocated)
          let whole = try await site.host.read(range(0, 24576))
          let sum = whole.reduce(0) { $0 + Int($1) }
          #expect(sum == 24576 - 15000 && whole[4999] == 1 && whole[20_000] == 1)
          try await site.host.write(range(0, 24576), Array(ones.prefix(24576)))
        }
        #expect(await site.host.health == .optimal)
      }
    }
  }

  @Test("truncated by another program: no zeros for acknowledged data, and the health says so")
  func truncation() throws {
    for seed in Seeds.of(30) {
      for newSize in [0, 4096, 30_000, 65024] as [UInt64] {
        let site = FileSite(seed: seed, alignment: seed % 2 == 0 ? 4096 : 1)
        try site.machine.run {
          let ones = [UInt8](repeating: 1, count: 65536)
          try await site.host.write(range(0, 65536), ones)
          try await site.host.flush()
          let delay = site.machine.randomNumber() % 1_000_000
          site.simulation.schedule(afterNanoseconds: delay) {
            site.medium.truncate(to: newSize)
          }
          await withTaskGroup(of: Void.self) { group in
            for _ in 0..<3 {
              group.addTask(executorPreference: site.machine) {
                for _ in 0..<8 {
                  let start = site.machine.randomNumber() % 60_000
                  let part = range(start, start + 1 + site.machine.randomNumber() % 5000)
                  let seen = await outcome { () async throws(VolumeError) in
                    try await site.host.read(part)
                  }
                  if case .success(let bytes) = seen {
                    let isRight = bytes.allSatisfy { $0 == 1 }
                    #expect(isRight, "seed \(seed), cut to \(newSize)")
                  } else {
                    #expect(seen.failure == .stopped)
                  }
                  // Before the last block, so that no write restores the size.
                  let write = range(start % 50_000, start % 50_000 + 100)
                  _ = await outcome { () async throws(VolumeError) in
                    try await site.host.write(write, Array(ones.prefix(100)))
                  }
                }
              }
            }
          }
          await site.machine.sleep(nanoseconds: 1_000_000)
          _ = await outcome { () async throws(VolumeError) in try await site.host.flush() }
          guard case .failed(let cause, let action) = await site.host.health else {
            Issue.record("not failed, seed \(seed)")
            return
          }
          #expect(cause.contains("was truncated by another program"))
          #expect(action.contains("restore the file"))
          let read = await outcome { () async throws(VolumeError) in
            try await site.host.read(range(0, 10))
          }
          #expect(read.failure == .stopped)
          let extents = await outcome { () async throws(VolumeError) in
            try await site.host.extents(of: range(0, 65536))
          }
          #expect(extents.failure == .stopped)
        }
      }
    }
  }
}
