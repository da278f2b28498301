import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// Histories of who serves an array, and who went on without whom (rules T6, T7; promise P7).
@Suite("RAID: owners and configurations")
struct OwnershipHistoryTests {
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
          members: lab.handles(second), machine: second, options: lab.options, log: { _ in })
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
        members: lab.handles(machine), machine: machine, options: lab.options, log: { _ in },
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
  /// The highest event count that any member's superblocks carry.
  func newestEventCount() -> UInt64 {
    let memory = AlignedMemory.ofTest(Superblock.byteCount)
    defer { withExtendedLifetime(memory) {} }
    let buffer = memory.buffer
    var newest: UInt64 = 0
    for medium in media {
      for copy in 0..<UInt64(2) {
        medium.copyBytes(ByteRange(from: copy * 4096, to: (copy + 1) * 4096), into: buffer)
        if let found = try? Superblock.decode(buffer) { newest = max(newest, found.eventCount) }
      }
    }
    return newest
  }
}
