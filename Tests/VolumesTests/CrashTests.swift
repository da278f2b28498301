import IO
import Simulator
import TestSupport
import Testing
import Units
import Volumes

/// A workload in which each sector has one writer, so that its contents have an order.
///
/// They are versions 1, 2, 3 and so on; what may survive a crash is told by two numbers.
private final class VersionedSectors: @unchecked Sendable {
  /// The last version whose write was begun, was acknowledged, was covered by a flush.
  struct Sector {
    var begun: UInt8 = 0
    var acknowledged: UInt8 = 0
    var flushed: UInt8 = 0
  }

  var sectors = [Sector](repeating: Sector(), count: 64)

  func run(_ site: FileSite) async {
    await withTaskGroup(of: Void.self) { group in
      for client in 0..<3 {
        group.addTask(executorPreference: site.machine) { await self.live(client, site) }
      }
    }
  }

  private func live(_ client: Int, _ site: FileSite) async {
    for _ in 0..<4 {
      // Clients own every third group of sectors; with blocks of 4096 they meet in one block.
      let count = 1 + Int(site.machine.randomNumber() % 3)
      let first = Int(site.machine.randomNumber() % 6) * 9 + client * 3
      let own = first..<first + count
      let version = (own.map { sectors[$0].begun }.max() ?? 0) + 1
      for index in own { sectors[index].begun = version }
      let durably = site.machine.randomNumber() % 4 == 0
      let before = sectors.map(\.acknowledged)
      let bytes = [UInt8](repeating: version, count: count * 512)
      let start = UInt64(first) * 512
      let result = await outcome { () async throws(VolumeError) in
        try await site.host.write(
          range(start, start + UInt64(bytes.count)), bytes, durably: durably)
      }
      guard result.isSuccess else { return }
      for index in own {
        sectors[index].acknowledged = version
        if durably { sectors[index].flushed = version }
      }
      if durably { cover(before) }
      guard site.machine.randomNumber() % 3 == 0 else { continue }
      let covered = sectors.map(\.acknowledged)
      if await outcome({ () async throws(VolumeError) in try await site.host.flush() }).isSuccess {
        cover(covered)
      }
    }
  }

  private func cover(_ versions: [UInt8]) {
    for index in sectors.indices {
      sectors[index].flushed = max(sectors[index].flushed, versions[index])
    }
  }

  /// What is wrong with an image found after a crash.
  func firstWrong(_ image: [UInt8], after kind: CrashKind) -> String? {
    for (index, sector) in sectors.enumerated() {
      let bytes = image[index * 512..<(index + 1) * 512]
      guard let version = bytes.first, bytes.allSatisfy({ $0 == version }) else {
        return "sector \(index) is torn"
      }
      let lowest = kind == .kill ? sector.acknowledged : sector.flushed
      guard version >= lowest, version <= sector.begun else {
        return "sector \(index) has version \(version) of \(lowest)...\(sector.begun)"
      }
    }
    return nil
  }
}

@Suite("Volumes: crashes")
struct CrashTests {
  @Test(
    "a crash at any operation: the acknowledged survives kill (P1), the flushed power loss (P2)",
    arguments: [CrashKind.kill, .powerLoss], [512, 4096])
  func crashAtEachOperation(kind: CrashKind, alignment: Int) throws {
    for seed in Seeds.of(4) {
      var number = 1
      while true {
        let site = FileSite(seed: seed, byteCount: 32768, alignment: alignment)
        site.machine.faultPlan.fail(operation: number, with: .crash(kind))
        let workload = VersionedSectors()
        _ = try site.machine.run { await workload.run(site) }
        // A new process sees what is there, through a volume of its own.
        let next = FileSite(site.simulation, site.medium, alignment: alignment)
        let image = try next.machine.run { try await next.host.read(range(0, 32768)) }
        if site.machine.crashKind != nil {
          let wrong = workload.firstWrong(image ?? [], after: kind)
          #expect(wrong == nil, "operation \(number), \(Seeds.replay(seed, "CrashTests"))")
        } else {
          #expect(workload.firstWrong(image ?? [], after: .kill) == nil)
          break
        }
        number += 1
      }
      #expect(number > 10)
    }
  }
}
