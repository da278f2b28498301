import DiskFormat
import Geometry
import Glibc
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

@Suite("RAID: superblocks")
struct MembersSuperblockTests {
  private static func superblock(_ site: MemberSite, slot: Int) -> Superblock {
    let ids = (0..<2).map { Identifier(high: 7, low: UInt64($0) + 1) }
    return Superblock(
      arrayID: Identifier(high: 1, low: 2), memberID: ids[slot], slot: slot, name: "tank",
      level: .raid1, memberCount: 2, chunkBytes: 4096,
      memberBlockCount: site.geometry.memberBlockCount, layout: site.layout, createdSeconds: 1,
      eventCount: 1, configurationID: Identifier(high: 5, low: 5), memberIDs: ids,
      memberStates: [.current, .current], timelines: [], superblockSequence: 0, isClean: false,
      logEpoch: 1, epochFirstSequence: 1, checkpointSequence: 0, checkpointChain: 0,
      checkpointClientSequence: 0, logTailOffset: 0, horizon: 0, pageSequence: 0,
      ownerNonce: .none, heartbeat: 0)
  }

  /// The newest superblock of a member.
  private static func newest(_ medium: SimulatedMedium) -> Superblock? {
    var best: Superblock?
    for place: UInt64 in 0...1 {
      let range = ByteRange(from: place * 4096, to: place * 4096 + 4096)
      let memory = AlignedMemory.holding(medium.durable.bytes(range))
      let buffer = memory.buffer
      guard let found = try? Superblock.decode(buffer) else { continue }
      if let best, best.superblockSequence >= found.superblockSequence { continue }
      best = found
    }
    return best
  }

  /// Writes 5 generations, or until the crash; the last that was said to be durable.
  private static func run(_ site: MemberSite, crashAt operation: Int, _ bug: PlantedBug?) throws
    -> UInt64
  {
    let acknowledged = Box<UInt64>(0)
    site.machine.faultPlan.fail(operation: operation, with: .crash(.powerLoss))
    try site.run { host in
      let writer = SuperblockWriter(members: host.members, options: host.members.options)
      for slot in 0...1 { writer.adopt(superblock(site, slot: slot), slot: slot) }
      for heartbeat: UInt64 in 1...5 {
        let failures = await writer.writeAll(slots: SlotSet([0, 1])) { superblock, _ in
          superblock.heartbeat = heartbeat
          // So that what changes does not lie in one sector.
          superblock.timelines = (0..<16).map {
            Timeline(
              timelineID: Identifier(high: 3, low: $0),
              start: StreamPosition(number: heartbeat, chain: 0))
          }
        }
        #expect(failures.isEmpty)
        acknowledged.value = heartbeat
      }
      #expect(writer.superblock(slot: 1)?.superblockSequence == 5)
    }
    return acknowledged.value
  }

  @Test("a power loss at any write leaves the newest durable one, or the next (T1)")
  func crash() throws {
    for bug in [nil, PlantedBug.superblockSlotOverwritten] {
      var wrongCount = 0
      for seed in Seeds.of(4) {
        var operation = 1
        while true {
          var options = ArrayOptions()
          options.plantedBug = bug
          let site = try MemberSite(seed: seed, options: options)
          let acknowledged = try Self.run(site, crashAt: operation, bug)
          guard site.machine.crashKind != nil else { break }
          for medium in site.media {
            let heartbeat = Self.newest(medium)?.heartbeat ?? 0
            if heartbeat < acknowledged || heartbeat > acknowledged + 1 { wrongCount += 1 }
          }
          operation += 1
        }
        // Two writes and two fdatasyncs each time.
        #expect(operation == 23)
      }
      #expect((wrongCount > 0) == (bug != nil))
    }
  }

  @Test("after a failure the durable one is not overwritten")
  func failure() throws {
    let site = try MemberSite(seed: 9)
    site.machine.faultPlan.fail(operation: 3, of: .write, with: .failure(EIO))
    try site.run { host in
      let writer = SuperblockWriter(members: host.members, options: host.members.options)
      for slot in 0...1 { writer.adopt(Self.superblock(site, slot: slot), slot: slot) }
      let both = SlotSet([0, 1])
      #expect(
        await writer.writeAll(slots: both) { superblock, _ in superblock.heartbeat = 1 }.isEmpty)
      let failures = await writer.writeAll(slots: both) { superblock, _ in
        superblock.heartbeat = 2
      }
      #expect(failures.count == 1)
      guard let slot = failures.first?.slot else { return }
      #expect(
        await writer.writeAll(slots: SlotSet([slot])) { superblock, _ in superblock.heartbeat = 3 }
          .isEmpty)
      #expect(writer.superblock(slot: slot)?.superblockSequence == 4)
      let newest = Self.newest(site.media[slot])
      #expect(newest?.heartbeat == 3)
      // The first is still in the other place.
      let range = ByteRange(from: 4096, to: 8192)
      let memory = AlignedMemory.holding(site.media[slot].durable.bytes(range))
      let buffer = memory.buffer
      let old = try Superblock.decode(buffer)
      #expect(old.heartbeat == 1)
    }
  }
}
