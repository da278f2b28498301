import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// Who was failed by an operator stays out, whatever comes, until an operator says otherwise.
@Suite("RAID: members that an operator failed")
struct FailedMemberTests {
  private static let blocks: [UInt64] = [0, 1, 2, 7, 30, 31, 100]
  /// Longer than any member that may come back needs for it.
  private static let longMilliseconds = 20_000.0

  private static let shapes: [(RAIDLevel, Int)] = [
    (.raid1, 2), (.raid5, 3), (.raid6, 4), (.raid10, 4),
  ]

  private func lab(
    _ level: RAIDLevel, _ memberCount: Int, extraCount: Int = 0
  ) throws -> ArrayLab {
    let lab = try ArrayLab.filled(
      level, memberCount: memberCount, blocks: Self.blocks, extraCount: extraCount)
    lab.options.destageDelayNanoseconds = 1_000_000
    return lab
  }

  private func expectAll(_ lab: ArrayLab, _ version: UInt8, without lost: [Int] = []) throws {
    let found = try lab.found(Self.blocks, without: lost)
    #expect(found == Self.blocks.map { _ in .version(version) }, "without \(lost): \(found)")
  }

  private static func expectFailed(_ stage: ArrayStage, _ state: MemberStatus.State = .out) async {
    await stage.pass(milliseconds: longMilliseconds)
    let status = await stage.client.status()
    #expect(status.members[1].isFailed && status.members[1].state == state)
    #expect(
      status.members[1].cause.contains("was failed by an operator: 'ashlar member add NAME PLACE'"))
    #expect(status.state == .degraded && status.rebuild == nil)
    #expect(status.action.contains("'ashlar member add NAME PLACE'"))
  }

  @Test("it stays out over restarts; taken again, all of it is written anew", arguments: shapes)
  func stays(level: RAIDLevel, memberCount: Int) throws {
    let lab = try lab(level, memberCount)
    try lab.play(seed: 3) { stage in
      try await stage.client.fail(await stage.client.status().members[1].memberID)
      await Self.expectFailed(stage)
      try await stage.write(0, 1)
      try await stage.client.close()
    }
    #expect(lab.superblocks(ofMember: 0).allSatisfy { $0.memberStates[1] == .failed })
    // Whoever took it out may have written to it.
    let layout = try lab.layout()
    lab.media[1].overwrite(
      at: layout.dataOffset, with: [UInt8](repeating: 0xa5, count: 256 * 4096))
    for seed in 4...5 as ClosedRange<UInt64> {
      try lab.play(seed: seed) { stage in
        await Self.expectFailed(stage)
        await stage.losePower()
      }
    }
    try lab.play(seed: 6) { stage in
      let member = await stage.client.status().members[1]
      #expect(try await stage.client.reinstate(member.memberID) == 1)
      try await stage.waitUntilOptimal()
      let after = await stage.client.status().members[1]
      #expect(after.memberID == member.memberID && !after.isFailed && after.cause.isEmpty)
      await #expect(throws: MemberCommandError.self) {
        _ = try await stage.client.reinstate(member.memberID)
      }
      try await stage.client.close()
    }
    #expect(try lab.superblock().memberStates.allSatisfy { $0 == .current })
    for slot in 0..<memberCount where slot != 1 { try expectAll(lab, 1, without: [slot]) }
  }

  @Test("taken again, it comes back after a crash, too, and all of it is written anew")
  func reinstatedBeforeCrash() throws {
    let lab = try lab(.raid1, 2)
    try lab.play(seed: 3) { stage in
      let member = await stage.client.status().members[1].memberID
      try await stage.client.fail(member)
      await stage.pass(milliseconds: 100)
      let layout = try lab.layout()
      lab.media[1].overwrite(
        at: layout.dataOffset, with: [UInt8](repeating: 0xa5, count: 256 * 4096))
      stage.setLatency(microseconds: 2000)
      _ = try await stage.client.reinstate(member)
      await stage.losePower()
    }
    try lab.play(seed: 4) { stage in
      try await stage.waitUntilOptimal()
      try await stage.client.close()
    }
    try expectAll(lab, 1, without: [0])
  }

  @Test("one that was out already is remembered as failed: it does not come back with its cable")
  func failedWhileOut() throws {
    let lab = ArrayLab(.raid1, memberCount: 2)
    lab.options.destageDelayNanoseconds = 1_000_000
    lab.options.readmissionDelayNanoseconds = 100_000_000
    try lab.create(seed: 1)
    // At each of these times after the cut the janitor is doing something else.
    for delay in [0, 90, 100, 101, 102, 250] as [UInt64] {
      let machine = SimulatedMachine(seed: 2 + delay)
      try machine.run {
        let handles = lab.cables(machine)
        let client = try await lab.start(machine, cables: handles)
        handles[1].disk.cut()
        try await client.write(0, lab.block(1, 0), durably: true)
        #expect(await client.state(1) == .out)
        handles[1].disk.mend()
        handles[1].disk.disk.latency = DiskLatency(
          shortestNanoseconds: 1_000_000, longestNanoseconds: 1_000_000, slowPerMillion: 0)
        await machine.sleep(nanoseconds: delay * 1_000_000)
        try await client.fail(client.status().members[1].memberID)
        await machine.sleep(nanoseconds: 10_000_000_000)
        let status = await client.status()
        #expect(status.members[1].isFailed && status.members[1].state == .out, "\(delay) ms")
        _ = try await client.reinstate(status.members[1].memberID)
        #expect(await client.wait(1, .current, nanoseconds: 60_000_000_000))
        try await client.close()
      }
    }
  }

  @Test("one that is not there is failed all the same, and stays out when it turns up")
  func failedWhileMissing() throws {
    let lab = try lab(.raid1, 2)
    lab.options.isForced = true
    try lab.play(seed: 3, without: [1]) { stage in
      let member = await stage.client.status().members[1].memberID
      try await stage.client.fail(member)
      await #expect(throws: MemberCommandError.notThere(slot: 1, name: "")) {
        _ = try await stage.client.reinstate(member)
      }
      // It is put in while the array serves.
      #expect(await stage.client.offer(lab.handle(1, stage.machine)) == .taken)
      await Self.expectFailed(stage)
      await stage.losePower()
    }
    // And once more, at a start and behind it.
    try lab.play(seed: 4, without: [1]) { stage in
      await Self.expectFailed(stage, .missing)
      #expect(await stage.client.offer(lab.handle(1, stage.machine)) == .taken)
      await Self.expectFailed(stage)
      let member = await stage.client.status().members[1].memberID
      #expect(try await stage.client.reinstate(member) == 1)
      try await stage.waitUntilOptimal()
      try await stage.client.close()
    }
    try expectAll(lab, 1, without: [0])
  }

  @Test("its slot goes to a spare, to a new member or to its replacement, and it is forgotten")
  func succeeded() throws {
    for way in 0..<3 {
      let lab = try lab(.raid1, 2, extraCount: 1)
      try lab.play(seed: 3) { stage in
        try await stage.client.fail(await stage.client.status().members[1].memberID)
        await stage.losePower()
      }
      try lab.play(seed: 4) { stage in
        await Self.expectFailed(stage)
        let old = await stage.client.status().members[1].memberID
        let handle = lab.handle(2, stage.machine)
        switch way {
        case 0: #expect(try await stage.client.add(handle) == .slot(1))
        case 1: try await stage.client.replace(old, handle)
        default:
          try await stage.client.remove(old)
          #expect(await stage.client.status().members[1].isFailed == false)
          #expect(try await stage.client.add(handle) == .slot(1))
        }
        try await stage.waitUntilOptimal()
        #expect(await stage.client.status().members[1].memberID != old)
        try await stage.client.close()
      }
      #expect(try lab.superblock().memberStates.allSatisfy { $0 == .current })
      try expectAll(lab, 1, without: [0])
    }
  }

  @Test(
    "a power loss at each operation of the command: answered, it is remembered by every survivor")
  func crashes() throws {
    let base = try lab(.raid1, 3)
    var answeredCount = 0
    for number in 1... {
      let lab = base.copy()
      let answered = Box(false)
      try lab.play(seed: 3) { stage in
        let member = await stage.client.status().members[1].memberID
        for medium in lab.media { medium.unflushedFate = number % 2 == 0 ? .loseAll : .keepAll }
        let plan = stage.machine.faultPlan
        plan.fail(operation: plan.operationCount + number, with: .crash(.powerLoss))
        try await stage.client.fail(member)
        answered.value = true
        await stage.losePower()
      }
      if answered.value { answeredCount += 1 }
      for missing in [[], [0], [2]] {
        let next = lab.copy()
        next.options.isForced = true
        let isFailed = Box(false)
        try next.play(seed: 4, without: missing) { stage in
          await stage.pass(milliseconds: Self.longMilliseconds)
          let status = await stage.client.status()
          isFailed.value = status.members[1].isFailed
          #expect(isFailed.value || status.members[1].state == .current)
          for block in Self.blocks { #expect(await stage.find(block) == .version(1)) }
          await stage.losePower()
        }
        #expect(isFailed.value || !answered.value, "at \(number), without \(missing)")
      }
      if answeredCount == 2 { break }
    }
  }
}
