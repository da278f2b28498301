import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units
import Volumes

/// Members that leave and come back, more than once and at bad moments.
@Suite("RAID: histories of members that return")
struct EngineReturnTests {
  private static let second: UInt64 = 1_000_000_000

  private static func bytes(_ number: Int, _ count: Int = 4096) -> [UInt8] {
    Patterns.small.bytes(number, at: 0, count)
  }

  private static func slow(_ nanoseconds: UInt64) -> DiskLatency {
    DiskLatency(
      shortestNanoseconds: nanoseconds, longestNanoseconds: nanoseconds, slowPerMillion: 0)
  }

  @Test("a member that is cut off while it is resynced comes back when its server does")
  func cutWhileSyncing() throws {
    let lab = ArrayLab(.raid1, memberCount: 2, memberByteCount: 16 << 20)
    lab.options.destageDelayNanoseconds = 1_000_000
    lab.options.readmissionDelayNanoseconds = 100_000_000
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let handles = lab.cables(machine)
      let client = try await lab.start(machine, cables: handles)
      let cable = handles[1].disk
      cable.cut()
      for index in 0..<64 {
        try await client.write(UInt64(index) * 65536, Self.bytes(index, 65536))
      }
      try await client.flush()
      await machine.sleep(nanoseconds: Self.second)
      cable.disk.latency = Self.slow(2_000_000)
      cable.mend()
      #expect(await client.wait(1, .syncing, nanoseconds: 10 * Self.second))
      for _ in 0..<1000 where await client.status().state != .resyncing {
        await machine.sleep(nanoseconds: 1_000_000)
      }
      await machine.sleep(nanoseconds: 50_000_000)
      #expect(await client.status().state == .resyncing)
      cable.cut()
      #expect(await client.wait(1, .out, nanoseconds: 10 * Self.second))
      await machine.sleep(nanoseconds: Self.second)
      cable.mend()
      #expect(await client.wait(1, .current, nanoseconds: 120 * Self.second))
      try await client.close()
    }
  }

  @Test("a connection that is lost before the member was taken back is made anew")
  func cutBeforeReadmission() throws {
    let lab = ArrayLab(.raid1, memberCount: 2)
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let handles = lab.cables(machine)
      let client = try await lab.start(machine, cables: handles)
      let cable = handles[1].disk
      cable.cut()
      cable.mend()
      try await client.write(0, Self.bytes(1), durably: true)
      #expect(await client.state(1) == .out)
      while cable.connectionCount == 1 { await machine.sleep(nanoseconds: 10_000_000) }
      // The server is restarted once more, and then stays.
      cable.cut()
      cable.mend()
      #expect(await client.wait(1, .current, nanoseconds: 120 * Self.second))
      try await client.close()
    }
  }

  @Test("a member that leaves and returns while its log is awaited is resynced again")
  func awayWhileJoining() throws {
    let lab = ArrayLab(.raid1, memberCount: 2, memberByteCount: 128 << 20, logShareBytes: 64 << 20)
    lab.options.dirtyBytesMax = 64 << 20
    lab.options.destageDelayNanoseconds = 20 * Self.second
    lab.options.readmissionDelayNanoseconds = 50_000_000
    lab.options.isForced = true
    let count = 3000
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let handles = lab.cables(machine)
      let client = try await lab.start(machine, cables: handles)
      let cable = handles[1].disk
      cable.cut()
      for index in 0..<count {
        try await client.write(UInt64(index) * 8192, Self.bytes(index))
      }
      try await client.flush()
      #expect(await client.state(1) == .out)
      // A slow disk: what the log holds takes seconds to be brought home.
      handles[0].disk.disk.latency = Self.slow(10_000_000)
      cable.mend()
      #expect(await client.wait(1, .syncing, nanoseconds: 10 * Self.second))
      // All its blocks are there; now what the log holds is being brought home.
      while await client.status().dirtyBytes > UInt64(count) * 3600 {
        await machine.sleep(nanoseconds: 1_000_000)
      }
      #expect(await client.state(1) == .syncing)
      cable.cut()
      #expect(await client.wait(1, .out, nanoseconds: 60 * Self.second))
      await machine.sleep(nanoseconds: Self.second)
      cable.mend()
      #expect(await client.wait(1, .current, nanoseconds: 100 * Self.second))
      await machine.sleep(nanoseconds: 30 * Self.second)
      try await client.flush()
      #expect(await client.status().state == .optimal)
      handles[0].disk.disk.latency = DiskLatency()
      try await client.close()
    }
    // Redundancy is complete, so the other one may go.
    let alone = SimulatedMachine(seed: 3)
    try alone.run {
      let client = try await lab.start(alone, without: SlotSet([0]))
      var wrong: [Int] = []
      for index in 0..<count {
        let start = UInt64(index) * 8192
        let found = try? await client.read(ByteRange(from: start, to: start + 4096))
        if found != Self.bytes(index) { wrong.append(index) }
      }
      #expect(wrong.isEmpty, "\(wrong.count) of \(count) flushed blocks are gone")
      try await client.close()
    }
  }

  @Test("no member has a configuration that is not on record yet")
  func recordComesFirst() throws {
    let lab = ArrayLab(.raid1, memberCount: 2)
    // Heartbeats are superblocks, too.
    lab.options.watchesOwners = true
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    let early = Box<[UInt64]>([])
    try machine.run {
      let handles = lab.cables(machine)
      let client = try await lab.start(machine, cables: handles) { superblock in
        await machine.sleep(nanoseconds: 2_000_000_000)
        for medium in lab.media {
          let report = await MemberReport.read(
            MemberHandle(
              name: "look", disk: SimulatedDisk(machine, medium),
              byteCount: medium.live.byteCount))
          if report.newest?.configurationID == superblock.configurationID,
            superblock.memberStates.contains(.out)
          {
            early.value.append(superblock.eventCount)
          }
        }
      }
      for index in 0..<8 { try await client.write(UInt64(index) * 8192, Self.bytes(index)) }
      handles[1].disk.cut()
      try await client.write(0, Self.bytes(9), durably: true)
      try await client.close()
    }
    #expect(early.value.isEmpty, "a member had configuration \(early.value) before the record")
  }

  @Test("a member with a copy of some time before is brought up to date as a whole, then believed")
  func olderCopy() throws {
    let lab = ArrayLab(.raid1, memberCount: 2)
    lab.options.isForced = true
    try lab.create(seed: 1)
    func serve(_ seed: UInt64, _ media: [SimulatedMedium], _ content: [UInt8]?) throws {
      let machine = SimulatedMachine(seed: seed)
      try machine.run {
        let handles = media.enumerated().map {
          ArrayLab.Handle(
            name: "member\($0.offset)", disk: SimulatedDisk(machine, $0.element),
            byteCount: $0.element.live.byteCount)
        }
        let client = try await lab.start(machine, handles)
        if let content { try await client.write(0, content, durably: true) }
        // Time enough for a resync.
        await machine.sleep(nanoseconds: 20 * Self.second)
        try await client.close()
      }
    }
    try serve(2, lab.media, Self.bytes(1))
    let old = SimulatedMedium(copyOf: lab.media[0].live)
    try serve(3, lab.media, Self.bytes(2))
    try serve(4, lab.media, nil)
    // The first member's file is put back as it was two starts ago.
    try serve(5, [old, lab.media[1]], nil)
    // Then the other one is lost.
    let machine = SimulatedMachine(seed: 6)
    try machine.run {
      let handle = ArrayLab.Handle(
        name: "old", disk: SimulatedDisk(machine, old), byteCount: old.live.byteCount)
      let client = try await lab.start(machine, [handle])
      let found = try? await client.read(ByteRange(from: 0, to: 4096))
      #expect(found == Self.bytes(2), "a flushed write is undone")
      try await client.close()
    }
  }

  @Test(
    "an older copy that takes its place in mid-life lacks everything, also behind a crash amid that (T4)"
  )
  func olderCopyAmidCrash() throws {
    let lab = ArrayLab(.raid1, memberCount: 2)
    lab.options.isForced = true
    try lab.create(seed: 1)
    func serve(
      _ seed: UInt64, _ media: [SimulatedMedium],
      _ body: @escaping @Sendable (ArrayClient, SimulatedMachine) async throws -> Void
    ) throws {
      let machine = SimulatedMachine(seed: seed)
      try machine.run {
        let handles = media.enumerated().map {
          ArrayLab.Handle(
            name: "member\($0.offset)", disk: SimulatedDisk(machine, $0.element),
            byteCount: $0.element.live.byteCount)
        }
        try await body(try await lab.start(machine, handles), machine)
      }
    }
    @Sendable func isReached(
      _ state: MemberStatus.State, _ client: ArrayClient, _ machine: SimulatedMachine
    ) async -> Bool {
      for _ in 0..<60_000 where await client.status().members[0].state != state {
        await machine.sleep(nanoseconds: 1_000_000)
      }
      return await client.status().members[0].state == state
    }
    func write(_ seed: UInt64, _ content: [UInt8]) throws {
      try serve(seed, lab.media) { client, machine in
        try await client.write(0, content, durably: true)
        await machine.sleep(nanoseconds: 20 * Self.second)
        try await client.close()
      }
    }
    try write(2, Self.bytes(1))
    let old = SimulatedMedium(copyOf: lab.media[0].live)
    try write(3, Self.bytes(2))
    try serve(4, lab.media) { client, machine in
      await client.pauseRebuild()
      await client.lose(client.status().members[0].memberID)
      let handle = ArrayLab.Handle(
        name: "old", disk: SimulatedDisk(machine, old), byteCount: old.live.byteCount)
      while await client.offer(handle) == .busy { await machine.sleep(nanoseconds: 1_000_000) }
      #expect(await isReached(.syncing, client, machine))
      await machine.sleep(nanoseconds: 10_000_000)
      machine.crash(.powerLoss)
    }
    try serve(5, [old, lab.media[1]]) { client, machine in
      #expect(await isReached(.current, client, machine))
      try await client.close()
    }
    try serve(6, [old]) { client, _ in
      let found = try? await client.read(ByteRange(from: 0, to: 4096))
      #expect(found == Self.bytes(2), "a flushed write is undone")
      try await client.close()
    }
  }

  @Test("a page that only a returning member still has, as it was before, is not believed")
  func olderPage() throws {
    let lab = ArrayLab(.raid1, memberCount: 2)
    lab.options.destageDelayNanoseconds = 1_000_000
    lab.options.isForced = true
    try lab.create(seed: 1)
    for (seed, lost) in [(UInt64(2), SlotSet()), (3, SlotSet([1]))] {
      let machine = SimulatedMachine(seed: seed)
      try machine.run {
        let client = try await lab.start(machine, without: lost)
        try await client.write(0, Self.bytes(Int(seed)), durably: true)
        try await client.close()
      }
    }
    // Both slots of the only copy that knows of the second write.
    let look = SimulatedMachine(seed: 4)
    try look.run {
      let report = await MemberReport.read(lab.handles(look)[0])
      let superblock = try #require(report.newest)
      let placement = TablePlacement(try #require(superblock.geometry))
      let copy = try #require((0..<2).first { placement.slot(ofPage: 0, copy: $0) == 0 })
      for slot in 0...1 {
        lab.media[0].flipBits(
          at: superblock.layout.tableOffset
            + placement.offsetBytes(ofPage: 0, copy: copy, slot: slot) + 100)
      }
    }
    let machine = SimulatedMachine(seed: 5)
    try machine.run {
      let client = try await lab.start(machine)
      await machine.sleep(nanoseconds: 20 * Self.second)
      let found = try? await client.read(ByteRange(from: 0, to: 4096))
      #expect(found != Self.bytes(2), "a flushed write is undone")
      try await client.close()
    }
  }
}
