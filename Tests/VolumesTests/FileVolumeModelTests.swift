import IO
import Simulator
import TestSupport
import Testing
import Units
import Volumes

@Suite("Volumes: contents against a model")
struct FileVolumeModelTests {
  @Test(
    "random reads, writes, trims and clears, many at once, at each alignment: legal contents only",
    arguments: [1, 512, 4096])
  func randomRequests(alignment: Int) throws {
    for seed in Seeds.of(15) {
      let site = FileSite(seed: seed, alignment: alignment)
      let model = SectorModel(byteCount: 64 << 10)
      let workload = Workload(site.machine, site.host, model)
      do {
        try site.machine.run { try await workload.run(clientCount: 4, requestsPerClient: 20) }
        #expect(model.firstWrongSector(in: site.image) == nil)
        try site.machine.run {
          #expect(await site.host.health == .optimal)
          try await site.host.close()
        }
      } catch {
        Issue.record("\(error); \(Seeds.replay(seed, "FileVolumeModelTests"))")
      }
    }
  }

  @Test("short transfers, EINTR and EAGAIN at any time change nothing", arguments: [1, 512, 4096])
  func mildFaults(alignment: Int) throws {
    // Where a transfer may stop at any byte, two at once may meet inside a sector.
    let clientCount = alignment == 1 ? 1 : 3
    for seed in Seeds.of(10) {
      let site = FileSite(seed: seed, alignment: alignment)
      site.medium.faultRates.shortTransfer = 300_000
      site.medium.faultRates.interrupted = 200_000
      site.medium.faultRates.tryAgain = 200_000
      let model = SectorModel(byteCount: 64 << 10)
      let workload = Workload(site.machine, site.host, model)
      do {
        try site.machine.run {
          try await workload.run(clientCount: clientCount, requestsPerClient: 20)
        }
        #expect(model.firstWrongSector(in: site.image) == nil)
      } catch {
        Issue.record("\(error); \(Seeds.replay(seed, "FileVolumeModelTests"))")
      }
    }
  }

  @Test("a file system that cannot punch holes or zero ranges: contents are the same")
  func withoutClearing() throws {
    for seed in Seeds.of(8) {
      let site = FileSite(seed: seed, alignment: 512)
      site.medium.canPunchHoles = seed % 2 == 0
      site.medium.canZeroRanges = false
      let workload = Workload(
        site.machine, site.host, SectorModel(byteCount: 64 << 10))
      do {
        try site.machine.run { try await workload.run(clientCount: 3, requestsPerClient: 20) }
      } catch {
        Issue.record("\(error); \(Seeds.replay(seed, "FileVolumeModelTests"))")
      }
    }
  }

  @Test("a block device: contents are legal, unaligned clears included")
  func blockDevice() throws {
    for seed in Seeds.of(8) {
      let site = FileSite(seed: seed, alignment: seed % 2 == 0 ? 512 : 1, isBlockDevice: true)
      let workload = Workload(
        site.machine, site.host, SectorModel(byteCount: 64 << 10))
      do {
        try site.machine.run { try await workload.run(clientCount: 3, requestsPerClient: 20) }
      } catch {
        Issue.record("\(error); \(Seeds.replay(seed, "FileVolumeModelTests"))")
      }
    }
  }

  @Test("an unaligned write beside aligned ones loses none of them", arguments: [512, 4096])
  func lostUpdate(alignment: Int) throws {
    let block = UInt64(alignment)
    for seed in Seeds.of(25) {
      let site = FileSite(seed: seed, alignment: alignment)
      let image = try site.machine.run {
        await withTaskGroup(of: Void.self) { group in
          // One byte of block 1, while all of it is written; three writers share block 3.
          for (from, to, value) in [
            (2 * block - 1, 2 * block, UInt8(2)), (0, 3 * block, 1), (3 * block, 3 * block + 3, 3),
            (3 * block + 3, 3 * block + 4, 4), (4 * block - 5, 5 * block, 5),
          ] {
            group.addTask(executorPreference: site.machine) {
              let bytes = [UInt8](repeating: value, count: Int(to - from))
              try? await site.host.write(range(from, to), bytes)
            }
          }
        }
        return try await site.host.read(range(0, block * 5))
      }
      var expected = [UInt8](repeating: 1, count: alignment * 3)
      expected += [3, 3, 3, 4] + [UInt8](repeating: 0, count: alignment - 9)
      expected += [UInt8](repeating: 5, count: alignment + 5)
      var found = try #require(image)
      // The one byte that two wrote at once.
      #expect([1, 2].contains(found[alignment * 2 - 1]))
      found[alignment * 2 - 1] = 1
      #expect(found == expected, "seed \(seed)")
    }
  }

  @Test("extents tell holes and data as they are, and 'allocated' where nothing is known")
  func extents() throws {
    let site = FileSite(seed: 1, alignment: 512)
    try site.machine.run {
      try await site.host.write(range(8192, 8700), [UInt8](repeating: 1, count: 508))
      #expect(
        try await site.host.extents(of: range(0, 65536)) == [
          Extent(byteCount: 8192, isHole: true, isZero: true),
          Extent(byteCount: 4096, isHole: false, isZero: false),
          Extent(byteCount: 65536 - 12288, isHole: true, isZero: true),
        ])
      #expect(
        try await site.host.extents(of: range(8191, 8193)) == [
          Extent(byteCount: 1, isHole: true, isZero: true),
          Extent(byteCount: 1, isHole: false, isZero: false),
        ])
      #expect(
        try await site.host.extents(of: range(0, 65536), capacity: 1) == [
          Extent(byteCount: 8192, isHole: true, isZero: true)
        ])
      try await site.host.trim(range(8192, 12288))
      #expect(
        try await site.host.extents(of: range(0, 65536)) == [
          Extent(byteCount: 65536, isHole: true, isZero: true)
        ])
      try await site.host.writeZeroes(range(4096, 8192), keepAllocated: true)
      #expect(
        try await site.host.extents(of: range(0, 12288), capacity: 2) == [
          Extent(byteCount: 4096, isHole: true, isZero: true),
          Extent(byteCount: 4096, isHole: false, isZero: false),
        ])
      site.machine.faultPlan.fail(
        operation: site.machine.faultPlan.count(of: .extent) + 1, of: .extent,
        with: .failure(95))
      #expect(
        try await site.host.extents(of: range(0, 65536)) == [
          Extent(byteCount: 65536, isHole: false, isZero: false)
        ])
    }
  }
}
