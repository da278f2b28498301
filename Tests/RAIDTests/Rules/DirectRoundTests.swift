import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// What else goes on while a round of direct writes is under way (docs/upkeep.md, section 6).
@Suite("Rules: beside direct writes")
struct DirectRoundTests {
  private static let blocks: Range<UInt64> = 0..<24

  private func content(_ lab: ArrayLab, _ version: UInt8) -> [UInt8] {
    Self.blocks.flatMap { lab.block(version, $0) }
  }

  /// How a change that a client waits for may be acknowledged.
  enum Change: CaseIterable {
    case write
    case durableWrite
    case flush
    case trim
  }

  @Test(
    "D3: a member fails beside a half written direct round: nothing is acknowledged before all of it is durable",
    arguments: Change.allCases)
  func changesWaitForRound(change: Change) throws {
    let other: UInt64 = 200
    let lab = try ArrayLab.filled(.raid5, memberCount: 4, blocks: Array(Self.blocks) + [other])
    let wasSeen = Box(false)
    try lab.play(seed: 3) { stage in
      let home = try lab.home(row: 0, position: 0)
      let slow = home.slot
      let failing = (slow + 1) % 4
      // One member takes long for its part of the round, which begins when the intent is durable.
      stage.setLatency(microseconds: 50, synchronizeFactor: 10)
      let before = stage.synchronizeCount
      stage.machine.start { try? await stage.client.write(0, self.content(lab, 2)) }
      #expect(await stage.wait { stage.synchronizeCount >= before + 2 })
      stage.setLatency(microseconds: 100_000, of: [slow])
      let quick = try lab.home(row: 0, position: 1)
      #expect(await stage.wait { lab.isUnsynced(quick.slot, quick.range) })
      // Whatever comes now overtakes it.
      stage.setLatency(microseconds: 50)
      #expect(lab.media[slow].live.bytes(home.range) == lab.block(1, 0))
      let memberID = await stage.client.status().members[failing].memberID
      stage.machine.start { try? await stage.client.fail(memberID) }
      #expect(
        await stage.wait(milliseconds: 50) {
          lab.newestEventCount() > 1
            && lab.superblocks(ofMember: (failing + 1) % 4).contains {
              $0.memberStates[failing] == .failed
            }
        })
      #expect(lab.media[slow].live.bytes(home.range) == lab.block(1, 0))
      switch change {
      case .write: try await stage.write(other, 2)
      case .durableWrite: try await stage.write(other, 2, durably: true)
      case .flush: try await stage.client.flush()
      case .trim: try await stage.client.trim(lab.range(other))
      }
      #expect(lab.media[slow].durable.bytes(home.range) == lab.block(2, 0))
      wasSeen.value = true
      await stage.kill()
    }
    #expect(wasSeen.value)
  }

  @Test("direct writes, one after the other, do not keep what was logged before from going home")
  func clockOfLogged() throws {
    let logged: UInt64 = 200
    let lab = try ArrayLab.filled(.raid5, memberCount: 4, blocks: Array(Self.blocks) + [logged])
    lab.options.destageDelayNanoseconds = 50_000_000
    let place = try lab.geometry().rowPosition(ofBlock: logged)
    let home = try lab.home(row: place.row, position: place.position)
    try lab.play(seed: 3) { stage in
      stage.setLatency(microseconds: 50, synchronizeFactor: 2)
      try await stage.write(logged, 2)
      for round in 0..<20 as Range<UInt8> {
        try await stage.client.write(0, self.content(lab, 1 + round % 3))
        await stage.pass(milliseconds: 10)
      }
      #expect(lab.media[home.slot].live.bytes(home.range) == lab.block(2, logged))
      await stage.kill()
    }
  }
}
