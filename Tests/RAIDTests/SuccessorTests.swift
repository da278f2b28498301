import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// Who takes a slot answers for itself, not for whoever was there before.
@Suite("RAID: members that take the slot of another")
struct SuccessorTests {
  /// Reads a block over and over, until it is to end.
  private static func readOn(
    _ client: CableClient, _ range: ByteRange, _ expected: [UInt8], _ isEnding: Box<Bool>
  ) async throws {
    while !isEnding.value { #expect(try await client.read(range) == expected) }
  }

  @Test("a read of a member that was replaced meanwhile fails: its successor is not put out for it")
  func readOfPredecessor() throws {
    let lab = ArrayLab(.raid0, memberCount: 2, extraCount: 1)
    lab.options.destageDelayNanoseconds = 1_000_000
    lab.options.logPolicy = .full
    try lab.create(seed: 1)
    let geometry = try lab.geometry()
    let row = try #require(
      (0..<64 as Range<UInt64>).first { geometry.place(ofRow: $0, position: 0).slot == 1 })
    let block = geometry.block(ofRow: row, position: 0)
    let machine = SimulatedMachine(seed: 2)
    try machine.run {
      let handles = lab.cables(machine)
      let client = try await lab.start(machine, cables: Array(handles.prefix(2)))
      let content = lab.block(1, block)
      try await client.write(lab.range(block).offsetBytes, content, durably: true)
      // Until it is home.
      await machine.sleep(nanoseconds: 1_000_000_000)
      let old = await client.status().members[1].memberID
      // A read of the old one is always under way.
      handles[1].disk.disk.latency = DiskLatency(
        shortestNanoseconds: 20_000_000, longestNanoseconds: 20_000_000, synchronizeFactor: 1,
        slowPerMillion: 0)
      let isEnding = Box(false)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<4 {
          group.addTask(executorPreference: machine) {
            try await Self.readOn(client, lab.range(block), content, isEnding)
          }
        }
        try await client.replace(old, handles[2])
        while await client.status().members[1].memberID == old {
          await machine.sleep(nanoseconds: 100_000)
        }
        // Its connection goes, and with it what was being read.
        handles[1].disk.cut()
        await machine.sleep(nanoseconds: 1_000_000_000)
        let status = await client.status()
        #expect(status.state == .optimal, "\(status.cause)")
        #expect(status.members[1].state == .current && status.members[1].memberID != old)
        isEnding.value = true
        try await group.waitForAll()
      }
      try await client.close()
    }
  }
}
