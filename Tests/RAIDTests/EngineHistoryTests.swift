import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units
import Volumes

/// Histories that once lost data, or hung.
@Suite("RAID: histories of the engine")
struct EngineHistoryTests {
  private static func bytes(_ number: Int, _ count: Int) -> [UInt8] {
    Patterns.small.bytes(number, at: 0, count)
  }

  private static func copy(_ lab: ArrayLab) -> ArrayLab {
    ArrayLab(lab.level, memberCount: lab.media.count, copying: lab)
  }

  @Test("a read of RAID-0 from a slow member is not asked for twice")
  func slowReadWithoutRedundancy() throws {
    let lab = ArrayLab(.raid0, memberCount: 2)
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let client = try await lab.start(machine)
      try await client.write(0, Self.bytes(1, 8192))
      try await client.close()
    }
    let second = SimulatedMachine(seed: 3)
    try second.run {
      let handles = lab.handles(second)
      let client = try await lab.start(second, handles)
      // The page of the table, and a first latency.
      _ = try await client.read(ByteRange(from: 0, to: 4096))
      let before = await client.status().members.reduce(0) { $0 + $1.readCount }
      for handle in handles {
        handle.disk.latency = DiskLatency(
          shortestNanoseconds: 30_000_000, longestNanoseconds: 40_000_000, slowPerMillion: 0)
      }
      #expect(try await client.read(ByteRange(from: 0, to: 8192)) == Self.bytes(1, 8192))
      let after = await client.status().members.reduce(0) { $0 + $1.readCount }
      #expect(after - before == 1)
      try await client.close()
    }
  }

  @Test("what a slow member brings after it was given up does not replace what was verified")
  func lateReadOfRot() throws {
    let lab = ArrayLab(.raid5, memberCount: 3)
    let content = Self.bytes(1, 8192)
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let client = try await lab.start(machine)
      try await client.write(0, content)
      try await client.write(16384, Self.bytes(2, 8192))
      try await client.close()
    }
    // Home comes behind the log, which has a copy as well.
    var place: (slot: Int, offsetBytes: UInt64)?
    for slot in lab.media.indices {
      for offset in stride(from: 0, to: lab.media[slot].live.byteCount, by: 4096) {
        let found = lab.media[slot].live.bytes(ByteRange(from: offset, to: offset + 4096))
        if found == Array(content[..<4096]), offset > place?.offsetBytes ?? 0 {
          place = (slot, offset)
        }
      }
    }
    let (slot, offset) = try #require(place)
    lab.media[slot].flipBits(at: offset)
    lab.media[slot].flipBits(at: offset + 4096)
    lab.options.hedgeNanosecondsMin = 1_000_000
    for step in 0..<150 {
      let copy = Self.copy(lab)
      let machine = SimulatedMachine(seed: 3 + UInt64(step))
      try machine.run {
        let handles = copy.handles(machine)
        let client = try await copy.start(machine, handles)
        for start in stride(from: UInt64(16384), to: 65536, by: 8192) {
          _ = try await client.read(ByteRange(from: start, to: start + 8192))
        }
        let latency = 1_000_000 + UInt64(step) * 10_000
        handles[slot].disk.latency = DiskLatency(
          shortestNanoseconds: latency, longestNanoseconds: latency, slowPerMillion: 0)
        let found = try await client.read(ByteRange(from: 0, to: 8192))
        #expect(found == content, "after \(latency) ns")
        try await client.close()
      }
    }
  }

  @Test("trims of what is never-written do not fill the log for ever")
  func uselessTrims() throws {
    let lab = ArrayLab(.raid1, memberCount: 2)
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let client = try await lab.start(machine)
      try await client.write(0, Self.bytes(1, 4096))
      for _ in 0..<600 { try await client.trim(ByteRange(from: 4096, to: 8192)) }
      #expect(try await client.read(ByteRange(from: 0, to: 4096)) == Self.bytes(1, 4096))
      try await client.close()
    }
  }

  @Test("rows of more pages than the cache holds are settled after a crash")
  func settlingManyPages() throws {
    let lab = ArrayLab(.raid5, memberCount: 3, memberByteCount: 16 << 20)
    lab.options.tableCacheBytes = 4096
    lab.options.destageDelayNanoseconds = 1_000_000
    try lab.create(seed: 1)
    let offsets = (0..<12).map { UInt64($0) * 1 << 21 }
    let settled = Box(0)
    for step in 0..<40 {
      let copy = Self.copy(lab)
      let machine = SimulatedMachine(seed: 2 + UInt64(step))
      try machine.run {
        let client = try await copy.start(machine)
        for offset in offsets {
          try await client.write(offset, Self.bytes(Int(offset >> 21), 4096))
        }
        try await client.flush()
        await machine.sleep(nanoseconds: UInt64(step) * 500_000)
        machine.crash(.kill)
        await machine.sleep(nanoseconds: 1)
      }
      let second = SimulatedMachine(seed: 100 + UInt64(step))
      try second.run {
        let client = try await copy.start(second)
        settled.value = max(settled.value, await client.settledRowCount())
        for offset in offsets {
          let found = try await client.read(ByteRange(from: offset, to: offset + 4096))
          #expect(found == Self.bytes(Int(offset >> 21), 4096))
        }
        try await client.close()
      }
    }
    #expect(settled.value > 8)
  }

  @Test("a member that hangs in a degraded recovery costs no block once it answers again")
  func hungInRecovery() throws {
    let lab = ArrayLab(.raid5, memberCount: 3)
    lab.options.destageDelayNanoseconds = 1_000_000
    lab.options.memberDeadlineNanoseconds = 50_000_000
    lab.options.resyncsAutomatically = false
    lab.options.isForced = true
    let lost = SlotSet([0])
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let client = try await lab.start(machine)
      try await client.write(0, Self.bytes(1, 32768))
      try await client.close()
    }
    let degraded = SimulatedMachine(seed: 3)
    try degraded.run {
      let client = try await lab.start(degraded, without: lost)
      try await client.close()
    }
    for step in stride(from: 0, to: 10, by: 2) {
      let torn = Self.copy(lab)
      let machine = SimulatedMachine(seed: 4 + UInt64(step))
      try machine.run {
        let client = try await torn.start(machine, without: lost)
        for block in 0..<4 {
          try await client.write(UInt64(block) * 8192, Self.bytes(9, 4096))
        }
        try await client.flush()
        await machine.sleep(nanoseconds: 1_000_000 + UInt64(step) * 400_000)
        machine.crash(.kill)
        await machine.sleep(nanoseconds: 1)
      }
      for stick in stride(from: 0, to: 24, by: 2) {
        let copy = Self.copy(torn)
        try Self.recoverAndHang(copy, lost, seed: UInt64(step * 100 + stick), after: stick)
        // Slow is not hung: the short deadline was for the start before.
        copy.options.memberDeadlineNanoseconds = 10_000_000_000
        let machine = SimulatedMachine(seed: 5000 + UInt64(step * 100 + stick))
        try machine.run {
          let client = try await copy.start(machine, without: lost)
          let found = try await client.read(ByteRange(from: 0, to: 32768))
          var expected = Self.bytes(1, 32768)
          for block in 0..<4 {
            expected.replaceSubrange(block * 8192..<block * 8192 + 4096, with: Self.bytes(9, 4096))
          }
          #expect(found == expected)
          try await client.close()
        }
      }
    }
  }

  /// A start in which a member hangs, until the power goes.
  private static func recoverAndHang(
    _ lab: ArrayLab, _ lost: SlotSet, seed: UInt64, after step: Int
  ) throws {
    let machine = SimulatedMachine(seed: 1000 + seed)
    let handles = lab.handles(machine, without: lost)
    machine.start {
      await machine.sleep(nanoseconds: UInt64(step) * 500_000)
      handles[Int(seed % 2)].disk.isStuck = true
      await machine.sleep(nanoseconds: 500_000_000)
      machine.crash(.powerLoss)
    }
    try machine.run {
      _ = try? await lab.start(machine, handles)
      await machine.sleep(nanoseconds: 1_000_000_000)
    }
  }

  @Test("a member that hangs while it becomes current is put out, and the array goes on")
  func hungWhileBecomingCurrent() throws {
    let lab = ArrayLab(.raid1, memberCount: 3)
    lab.options.memberDeadlineNanoseconds = 50_000_000
    lab.options.isForced = true
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let client = try await lab.start(machine, without: SlotSet([2]))
      try await client.write(0, Self.bytes(1, 4096))
      try await client.close()
    }
    for step in 0..<200 {
      let copy = Self.copy(lab)
      let machine = SimulatedMachine(seed: 3 + UInt64(step))
      let hasEnded = Box(false)
      try machine.run {
        let handles = copy.handles(machine)
        let client = try await copy.start(machine, handles)
        await machine.sleep(nanoseconds: UInt64(step) * 200_000)
        handles[2].disk.isStuck = true
        await machine.sleep(nanoseconds: 1_000_000_000)
        try await client.write(4096, Self.bytes(2, 4096), durably: true)
        machine.start {
          try? await client.close()
          hasEnded.value = true
        }
        await machine.sleep(nanoseconds: 60_000_000_000)
      }
      #expect(hasEnded.value, "stuck after \(step)")
    }
  }

  @Test("a logged block whose copies all rot becomes lost, and holds up nobody")
  func rottenLog() throws {
    let lab = ArrayLab(.raid1, memberCount: 2)
    lab.options.destageDelayNanoseconds = 20_000_000
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let client = try await lab.start(machine)
      try await client.write(8192, Self.bytes(1, 4096), durably: true)
      machine.crash(.kill)
      await machine.sleep(nanoseconds: 1)
    }
    let second = SimulatedMachine(seed: 3)
    try second.run {
      let client = try await lab.start(second)
      for medium in lab.media {
        for offset in stride(from: 0, to: medium.live.byteCount, by: 4096) {
          let range = ByteRange(from: offset, to: offset + 4096)
          if medium.live.bytes(range) == Self.bytes(1, 4096) { medium.flipBits(at: offset) }
        }
      }
      for round in 0..<80 {
        try await client.write(65536, Self.bytes(round, 32768), durably: true)
      }
      await #expect(throws: VolumeError.self) {
        try await client.read(ByteRange(from: 8192, to: 12288))
      }
      try await client.write(8192, Self.bytes(3, 4096))
      #expect(
        try await client.read(ByteRange(from: 8192, to: 12288)) == Self.bytes(3, 4096))
      try await client.close()
    }
  }

  @Test("a member that was used alone and answers late is not overwritten")
  func lateDivergedMember() throws {
    let lab = ArrayLab(.raid1, memberCount: 2)
    lab.options.isForced = true
    lab.options.memberDeadlineNanoseconds = 100_000_000
    try lab.create(seed: 1)
    for (slot, seed) in [(0, UInt64(2)), (1, 3)] {
      let machine = SimulatedMachine(seed: seed)
      try machine.run {
        let client = try await lab.start(machine, without: SlotSet([1 - slot]))
        try await client.write(0, Self.bytes(10 + slot, 4096))
        try await client.close()
      }
    }
    let machine = SimulatedMachine(seed: 4)
    try machine.run {
      let handles = lab.handles(machine)
      handles[1].disk.isStuck = true
      let client = try await lab.start(machine, handles)
      #expect(try await client.read(ByteRange(from: 0, to: 4096)) == Self.bytes(10, 4096))
      handles[1].disk.release()
      await machine.sleep(nanoseconds: 20_000_000_000)
      try await client.close()
    }
    let alone = SimulatedMachine(seed: 5)
    try alone.run {
      let client = try await lab.start(alone, without: SlotSet([0]))
      #expect(try await client.read(ByteRange(from: 0, to: 4096)) == Self.bytes(11, 4096))
      try await client.close()
    }
  }
}
