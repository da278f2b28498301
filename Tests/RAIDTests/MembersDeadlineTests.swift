import DiskFormat
import Geometry
import Glibc
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

@Suite("RAID: members that do not answer")
struct MembersDeadlineTests {
  private static let deadline: UInt64 = 1_000_000_000

  private func options() -> ArrayOptions {
    var options = ArrayOptions()
    options.memberDeadlineNanoseconds = Self.deadline
    return options
  }

  @Test("an overdue operation fails everything on its member, and keeps its buffer")
  func overdue() throws {
    for seed in Seeds.of(10) {
      let site = try MemberSite(seed: seed, options: options(), laneCountMax: 4)
      let disk = site.disks[0]
      disk.isStuck = true
      try site.run { host in
        let members = host.members
        let seen = Box<[SlotSet]>([])
        members.stalledHandler = { seen.value.append($0) }
        let pool = OwnedBufferPool(byteCount: 4096, idleCountMax: 100)
        let buffers = (0..<10).compactMap { _ in pool.take() }
        let group = members.makeGroup()
        let start = host.members.machine.nowNanoseconds
        for buffer in buffers {
          members.write(0, atBytes: 0, from: buffer.buffer, keeping: buffer, group)
        }
        await group.wait()
        let took = members.machine.nowNanoseconds - start
        #expect(took >= Self.deadline && took < Self.deadline + 150_000_000)
        #expect(group.failures.map(\.error) == [MemberError](repeating: .timedOut, count: 10))
        #expect(seen.value == [SlotSet([0])])
        #expect(members[0].counters.timeouts == 4)
        #expect(members[0].isStalled && !members[0].isUsable && !members[0].isDrained)
        // The kernel has four of them, and they must not be used for anything else.
        for buffer in buffers { pool.give(buffer) }
        #expect(buffers.map(\.isIdle) == (0..<10).map { $0 >= 4 })
        let again = (0..<10).compactMap { _ in pool.take() }
        for buffer in again { #expect(!buffers.prefix(4).contains { $0 === buffer }) }

        members.write(0, atBytes: 0, from: again[0].buffer, keeping: again[0], group)
        #expect(group.failures.last?.error == .timedOut)
        members[0].putOut(.timedOut)
        members.synchronize(0, group)
        #expect(group.failures.last?.error == .absent)
        #expect(members.currentSlots == SlotSet([1]))

        disk.release()
        await members[0].waitUntilDrained()
        #expect(buffers.allSatisfy { $0.isIdle })
        members[0].attach(disk, state: .syncing)
        #expect(members.currentSlots == SlotSet([1]))
        #expect(members.writableSlots == SlotSet([0, 1]))
        group.reset()
        members.write(0, atBytes: 0, from: again[0].buffer, keeping: again[0], group)
        members.synchronize(0, group)
        await group.wait()
        #expect(group.failures.isEmpty)
        await members.endLanes()
      }
    }
  }

  @Test("a member that is put out fails what it has as absent, at once")
  func putOut() throws {
    for seed in Seeds.of(10) {
      let site = try MemberSite(seed: seed, options: options(), laneCountMax: 2)
      try site.run { host in
        let members = host.members
        let group = members.makeGroup()
        let buffer = OwnedBuffer.ofTest(4096)
        for _ in 0..<6 {
          members.read(0, atBytes: 0, into: buffer.buffer, keeping: buffer, group)
        }
        // Some are with the disk, some with a lane, some in the queue.
        await members.machine.sleep(nanoseconds: members.machine.randomNumber() % 20_000)
        members[0].putOut(.commanded)
        #expect(group.pendingCount == 0)
        #expect(group.failures.allSatisfy { $0.error == .absent })
        #expect(members[0].outReason == .commanded)
        await members[0].waitUntilDrained()
        #expect(buffer.isIdle)
        await members.endLanes()
        #expect(members[0].laneCount == 0)
        #expect(members[0].detach() != nil)
      }
    }
  }

  @Test("a limited wait ends in time, while its operations go on")
  func limitedWait() throws {
    for seed in Seeds.of(10) {
      let site = try MemberSite(seed: seed)
      let disk = site.disks[0]
      disk.isStuck = true
      try site.run { host in
        let members = host.members
        let group = members.makeGroup()
        let buffer = OwnedBuffer.ofTest(4096)
        members.read(0, atBytes: 0, into: buffer.buffer, keeping: buffer, group)
        let start = members.machine.nowNanoseconds
        #expect(await !group.wait(forNanoseconds: 30_000_000))
        let took = members.machine.nowNanoseconds - start
        #expect(took >= 30_000_000 && took < 45_000_000)
        // Let go while it is pending: it is not used again before it is done.
        members.release(group)
        let other = members.makeGroup()
        #expect(other !== group)
        members.read(1, atBytes: 0, into: buffer.buffer, keeping: buffer, other)
        #expect(await other.wait(forNanoseconds: 1_000_000_000))
        #expect(other.failures.isEmpty)
        disk.release()
        await members[0].waitUntilDrained()
        #expect(members.makeGroup() === group)
        #expect(group.submittedCount == 0)
      }
    }
  }

  @Test("nothing ticks when nothing is under way")
  func quiet() throws {
    let site = try MemberSite(seed: 5)
    try site.run { host in
      let group = host.members.makeGroup()
      let buffer = OwnedBuffer.ofTest(4096)
      host.members.read(0, atBytes: 0, into: buffer.buffer, keeping: buffer, group)
      await group.wait()
    }
    let before = site.simulation.nowNanoseconds
    // Would never return if the ticker went on.
    try site.simulation.runUntilQuiet()
    #expect(site.simulation.nowNanoseconds - before < 200_000_000)
  }

  @Test("under faults of all kinds each operation ends once, and all buffers come back")
  func soak() throws {
    for seed in Seeds.of(15) {
      let site = try MemberSite(seed: seed, memberCount: 3, options: options(), laneCountMax: 5)
      for medium in site.media {
        medium.faultRates.readError = 20_000
        medium.faultRates.writeError = 20_000
        medium.faultRates.interrupted = 50_000
        medium.faultRates.shortTransfer = 50_000
      }
      site.media[2].faultRates.stuck = 3_000
      let disks = site.disks
      try site.run { host in
        let members = host.members
        var buffers: [OwnedBuffer] = []
        for _ in 0..<60 {
          let group = members.makeGroup()
          let count = Int(members.machine.randomNumber() % 12)
          for tag in 0..<count {
            let draw = members.machine.randomNumber()
            let buffer = OwnedBuffer.ofTest(8192)
            buffers.append(buffer)
            let slot = Int(draw % 3)
            let place = BlockPlace(slot: slot, memberBlock: draw >> 8 % 64)
            switch draw >> 4 % 4 {
            case 0: members.synchronize(slot, group, tag: tag)
            case 1: members.writeData(place, from: buffer.buffer, keeping: buffer, group, tag: tag)
            default: members.readData(place, into: buffer.buffer, keeping: buffer, group, tag: tag)
            }
          }
          if members.machine.randomNumber() % 4 == 0 {
            _ = count > 0 ? await group.wait(forNanoseconds: 1_000_000) : true
          } else {
            await group.wait()
            let done = group.succeededTagCount
            #expect(done + group.failures.count == count)
          }
          members.release(group)
        }
        for disk in disks { disk.release() }
        for slot in 0..<3 {
          await members[slot].waitUntilDrained()
          #expect(members[slot].pendingCount == 0)
        }
        #expect(buffers.allSatisfy { $0.isIdle })
        await members.endLanes()
      }
    }
  }
}
