import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// The histories of members that are just leaving, or that somebody else has meanwhile: T5, T6 and T7
/// (docs/array.md, section 8).
@Suite("Rules: members that leave")
struct LeavingHistoryTests {
  @Test("T6: a table page does not tell of a destage without a member before the list is durable")
  func checkpointWaitsForList() throws {
    let lab = try ArrayLab.filled(.raid5, memberCount: 3, row: 2, positionCount: 2)
    lab.options.destageDelayNanoseconds = 5_000_000
    let row = try lab.blocks(ofRow: 2, count: 2)
    let leaving = try lab.home(row: 2, position: 0)
    let parity = try lab.home(row: 2, position: 2)
    let machine = SimulatedMachine(seed: 3)
    defer { machine.crash(.kill) }
    let wasSkipped = Box(false)
    try machine.run {
      let isHolding = Box(false)
      let handles = lab.handles(machine)
      let volume = try await ArrayEngine.start(
        members: handles, machine: machine, options: lab.options, log: { _, _ in },
        record: { _ in
          // The registry takes its time: until then no member has the list.
          if isHolding.value { await machine.sleep(nanoseconds: 10_000_000_000) }
        })
      let stage = ArrayStage(
        lab: lab, machine: machine, disks: handles.map(\.disk),
        client: ArrayClient(machine, volume))
      stage.setLatency(microseconds: 50)
      stage.setLatency(microseconds: 50, synchronizeFactor: 200, of: [parity.slot])
      try await stage.write(row[0], 2, durably: true)
      let old = lab.media[parity.slot].durable.bytes(parity.range)
      // Its parity is written, and not yet durable.
      #expect(await stage.wait { lab.media[parity.slot].live.bytes(parity.range) != old })
      isHolding.value = true
      let memberID = await stage.client.status().members[leaving.slot].memberID
      machine.start { try? await stage.client.fail(memberID) }
      await stage.pass(milliseconds: 1000)
      #expect(lab.media[parity.slot].durable.bytes(parity.range) != old)
      wasSkipped.value = lab.media[leaving.slot].live.bytes(leaving.range) == lab.block(1, row[0])
      await stage.losePower()
    }
    #expect(wasSkipped.value)
    // The list still has the one that was leaving, and another one is lost with the power.
    let other = try lab.home(row: 2, position: 1).slot
    #expect(try lab.found(row[0], without: [other]) == .version(2))
    #expect(try lab.found(row) == [.version(2), .version(1)])
  }

  @Test("P7, T7: a member that another host has used alone meanwhile is not taken back")
  func usedByAnotherHost() throws {
    let lab = try ArrayLab.filled(.raid1, memberCount: 2, blocks: [0, 1])
    lab.options.destageDelayNanoseconds = 1_000_000
    lab.options.readmissionDelayNanoseconds = 100_000_000
    let second: UInt64 = 1_000_000_000
    let world = Simulation(seed: 7)
    let first = SimulatedMachine(world, name: "first")
    defer { first.crash(.kill) }
    let handles = lab.cables(first)
    let client = try #require(
      try first.run {
        let client = try await lab.start(first, cables: handles)
        handles[1].disk.cut()
        try await client.write(0, lab.block(2, 0), durably: true)
        #expect(await client.wait(1, .out, nanoseconds: 10 * second))
        return client
      })
    let other = SimulatedMachine(world, name: "second")
    defer { other.crash(.kill) }
    lab.options.isForced = true
    try other.run {
      let client = try await lab.start(other, [lab.handle(1, other)])
      try await client.write(4096, lab.block(3, 1), durably: true)
      try await client.close()
    }
    lab.options.isForced = false
    try first.run {
      handles[1].disk.mend()
      await first.sleep(nanoseconds: 20 * second)
      #expect(await client.state(1) == .out)
      let events = await client.status().events
      #expect(events.contains { $0.text.contains("has been used without the others") })
      try await client.close()
    }
    // Each has what was written to it alone.
    #expect(try lab.found([0, 1], without: [0]) == [.version(1), .version(3)])
    #expect(try lab.found([0, 1], without: [1]) == [.version(2), .version(1)])
  }
}
