import DiskFormat
import Geometry
import Glibc
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

@Suite("RAID: operations on members")
struct MembersTests {
  private func block(_ byte: UInt8) -> OwnedBuffer {
    .holding([UInt8](repeating: byte, count: 4096))
  }

  @Test("many operations on all members are awaited once and counted")
  func manyOperations() throws {
    for seed in Seeds.of(10) {
      let site = try MemberSite(seed: seed, memberCount: 3)
      try site.run { host in
        let members = host.members
        let group = members.makeGroup()
        for index in 0..<90 {
          let buffer = self.block(UInt8(index))
          let place = BlockPlace(slot: index % 3, memberBlock: UInt64(index / 3))
          members.writeData(place, from: buffer.buffer, keeping: buffer, group, tag: index)
        }
        await group.wait()
        #expect(group.failures.isEmpty)
        #expect(group.completedCount == 90)
        #expect(members.unsyncedSlots == SlotSet(firstCount: 3))
        for slot in 0..<3 { members.synchronize(slot, group) }
        await group.wait()
        #expect(members.unsyncedSlots.isEmpty)
        members.release(group)

        let reads = members.makeGroup()
        #expect(reads === group)
        let buffers = (0..<90).map { _ in OwnedBuffer.ofTest(4096) }
        for (index, buffer) in buffers.enumerated() {
          let place = BlockPlace(slot: index % 3, memberBlock: UInt64(index / 3))
          members.readData(place, into: buffer.buffer, keeping: buffer, reads)
          #expect(!buffer.isIdle)
        }
        await reads.wait()
        for (index, buffer) in buffers.enumerated() {
          #expect(buffer.isIdle)
          #expect(buffer.buffer[0] == UInt8(index) && buffer.buffer[4095] == UInt8(index))
        }
        #expect(members.totals.readCount == 90)
        #expect(members.totals.writtenBytes == 90 * 4096)
        #expect(members[1].counters.synchronizeCount == 1)
        #expect(members[2].latencyNanoseconds > 0)
        await members.endLanes()
        #expect(members[0].laneCount == 0)
      }
    }
  }

  @Test("lanes are bounded, and what waits is begun in order")
  func lanesAreBounded() throws {
    for (seed, laneCountMax) in zip(Seeds.of(8), [1, 1, 2, 4, 1, 3, 64, 5]) {
      let site = try MemberSite(seed: seed, laneCountMax: laneCountMax)
      let disk = site.disks[0]
      try site.run { host in
        let members = host.members
        let group = members.makeGroup()
        for index in 0..<50 {
          let buffer = self.block(UInt8(index))
          members.writeData(
            BlockPlace(slot: 0, memberBlock: laneCountMax == 1 ? 0 : UInt64(index)),
            from: buffer.buffer, keeping: buffer, group)
        }
        while group.pendingCount > 0 {
          #expect(disk.inFlightCount <= laneCountMax)
          await group.wait(forMoreThan: group.completedCount)
        }
        #expect(members[0].laneCount <= laneCountMax)
        guard laneCountMax == 1 else { return }
        let buffer = OwnedBuffer.ofTest(4096)
        members.readData(
          BlockPlace(slot: 0, memberBlock: 0), into: buffer.buffer, keeping: buffer, group)
        await group.wait()
        #expect(buffer.buffer[0] == 49)
      }
    }
  }

  @Test("a group tells each failure with its member, kind and tag")
  func failures() throws {
    let site = try MemberSite(seed: 1, memberCount: 3)
    site.media[1].faultRates.writeError = 1_000_000
    site.media[2].canPunchHoles = false
    try site.run { host in
      let members = host.members
      let group = OperationGroup()
      let buffer = self.block(1)
      for slot in 0..<3 {
        members.write(slot, atBytes: 0, from: buffer.buffer, keeping: buffer, group, tag: slot)
      }
      members.punch(2, ByteRange(from: 0, to: 4096), group, tag: 77)
      await group.wait()
      #expect(Set(group.failures.map(\.tag)) == [1, 77])
      for failure in group.failures where failure.tag == 1 {
        #expect(failure.slot == 1 && failure.kind == .write)
        #expect(failure.error == .disk(.refused(SystemError(EIO))))
        #expect(failure.expulsionReason == .writeFailed(.refused(SystemError(EIO))))
      }
      #expect(group.hasSucceeded(0) && !group.hasSucceeded(1) && group.hasSucceeded(2))
      #expect(members[1].counters.writeErrors == 1)
      group.reset()
      #expect(group.failures.isEmpty && group.succeededTagCount == 0)
    }
  }

  @Test("a failed fdatasync is final: it is not tried again, and nothing counts as durable (P8)")
  func failedSynchronizeIsFinal() throws {
    for bug in [nil, PlantedBug.failedFlushRetried] {
      var options = ArrayOptions()
      options.plantedBug = bug
      let site = try MemberSite(seed: 3, options: options)
      site.machine.faultPlan.fail(operation: 1, of: .synchronize, with: .failure(EIO))
      try site.run { host in
        let member = host.members[0]
        let group = OperationGroup()
        let buffer = self.block(1)
        host.members.write(0, atBytes: 0, from: buffer.buffer, keeping: buffer, group)
        await group.wait()
        host.members.synchronize(0, group)
        await group.wait()
        #expect(group.failures.count == 1)
        #expect(member.synchronizeFailure != nil)
        host.members.synchronize(0, group)
        await group.wait()
        // The second one would succeed without what the first one lost.
        #expect(group.failures.count == (bug == nil ? 2 : 1))
        #expect(member.hasUnsynced == (bug == nil))
      }
      #expect(site.machine.faultPlan.count(of: .synchronize) == (bug == nil ? 1 : 2))
    }
  }

  @Test("fdatasync covers what had completed before it began, and no more")
  func durableGeneration() throws {
    for seed in Seeds.of(20) {
      let site = try MemberSite(seed: seed)
      try site.run { host in
        let member = host.members[0]
        let (writes, syncs) = (OperationGroup(), OperationGroup())
        let buffer = self.block(1)
        host.members.write(0, atBytes: 0, from: buffer.buffer, keeping: buffer, writes)
        await writes.wait()
        let first = member.writtenGeneration
        #expect(member.durableGeneration < first)
        host.members.synchronize(0, syncs)
        host.members.write(0, atBytes: 4096, from: buffer.buffer, keeping: buffer, writes)
        await writes.wait()
        let second = member.writtenGeneration
        await syncs.wait()
        #expect(member.durableGeneration >= first)
        #expect(member.durableGeneration < second)
        #expect(member.hasUnsynced)
      }
    }
  }
}
