import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

@Suite("Log: damage")
struct LogDamageTests {
  /// Batches of one record each on a RAID-1 of two: both members hold the same bytes.
  private func makeWorld(
    bug: PlantedBug? = nil, flushing: Bool = true, count: Int = 4, level: RAIDLevel = .raid1,
    memberCount: Int = 2
  ) throws -> LogWorld {
    var options = ArrayOptions()
    options.plantedBug = bug
    let world = try LogWorld(seed: 5, level: level, memberCount: memberCount, options: options)
    let host = world.openHost()
    try host.machine.run {
      _ = try await host.open()
      for _ in 0..<count { try await host.append() }
      if flushing {
        try await host.flush()
        // A seal follows.
        await host.machine.sleep(nanoseconds: 20_000_000)
      }
      await host.stop()
    }
    host.machine.crash(.kill)
    return world
  }

  private func recover(_ world: LogWorld, serves: Bool = false) throws -> FoundLog {
    let host = world.openHost()
    let found = try #require(try host.machine.run { try await host.open(serves: serves) })
    host.machine.crash(.kill)
    return found
  }

  private func zero(_ world: LogWorld, _ slot: Int, _ offset: UInt64, _ count: Int) {
    world.media[slot].overwrite(
      at: world.layout.logOffset + offset, with: [UInt8](repeating: 0, count: count))
  }

  /// 4 batches of 8192 bytes, and the seal.
  private var batchBytes: UInt64 { 8192 }

  @Test("damage to one copy, anywhere, costs nothing and is repaired")
  func oneCopy() throws {
    let world = try makeWorld()
    let end = 4 * batchBytes + 4096
    var offsets = (0..<end / 4096).map { $0 * 4096 + 17 }
    offsets += (0..<128).map { UInt64($0) }
    offsets += stride(from: 0, to: end, by: 509)
    for (index, offset) in offsets.enumerated() {
      let copy = LogWorld(copyOf: world, seed: UInt64(index))
      copy.media[index % 2].flipBits(
        at: world.layout.logOffset + offset, mask: UInt8(1 << (index % 8)))
      let found = try recover(copy)
      #expect(copy.firstWrong(found, after: .kill) == nil, "a bit at \(offset)")
      let again = try recover(copy)
      #expect(again.badCopyCount == 0 && again.numbers == found.numbers, "a bit at \(offset)")
      copy.simulation.end()
    }
  }

  @Test("a copy that ends at any block costs nothing")
  func cutCopy() throws {
    let world = try makeWorld()
    for block in 0..<9 as Range<UInt64> {
      let copy = LogWorld(copyOf: world, seed: block)
      zero(copy, 0, block * 4096, Int(9 - block) * 4096)
      let found = try recover(copy)
      #expect(copy.firstWrong(found, after: .kill) == nil)
      copy.simulation.end()
    }
  }

  @Test("both copies damaged: refused below the horizon, the end above it", arguments: 0..<4)
  func bothCopies(batch: Int) throws {
    for flushing in [true, false] {
      let world = try makeWorld(flushing: flushing)
      for slot in 0..<2 { zero(world, slot, UInt64(batch) * batchBytes + 4096, 4096) }
      let found = try recover(world)
      if flushing {
        let run = LogWorld.run(batch, blockCount: 1)
        #expect(
          found.error == .damaged(firstSequence: UInt64(batch + 1), runs: [run]))
      } else {
        #expect(found.error == nil)
        #expect(found.numbers == Array(0..<batch))
      }
      world.simulation.end()
    }
  }

  @Test("the header of both copies is gone: the next batch's header names the blocks (L7)")
  func headerGone() throws {
    let world = try makeWorld()
    for slot in 0..<2 { zero(world, slot, 3 * batchBytes, 8192) }
    let found = try recover(world)
    #expect(
      found.error == .damaged(firstSequence: 4, runs: [LogWorld.run(3, blockCount: 1)]))
  }

  @Test("without a seal the last flushed batch passes for a torn one, and damage for the end")
  func plantedBugs() throws {
    let unsealed = try makeWorld(bug: .noSeal)
    for slot in 0..<2 { zero(unsealed, slot, 3 * batchBytes, 8192) }
    let found = try recover(unsealed)
    #expect(found.error == nil)
    #expect(unsealed.firstWrong(found, after: .powerLoss) != nil)

    let ended = try makeWorld(bug: .holeBelowHorizonIsEnd)
    for slot in 0..<2 { zero(ended, slot, batchBytes, 8192) }
    #expect(ended.firstWrong(try recover(ended), after: .powerLoss) != nil)

    let torn = try makeWorld(bug: .tornBatchAccepted, flushing: false)
    for slot in 0..<2 { zero(torn, slot, 3 * batchBytes + 4096, 4096) }
    #expect(torn.firstWrong(try recover(torn), after: .kill) != nil)
  }

  @Test("batches removed, doubled or swapped on one member cost nothing")
  func misplaced() throws {
    let world = try makeWorld()
    func bytes(_ batch: UInt64) -> [UInt8] {
      let start = world.layout.logOffset + batch * batchBytes
      return world.media[0].live.bytes(ByteRange(from: start, to: start + batchBytes))
    }
    for first in 0..<4 as Range<UInt64> {
      for second in 0..<4 as Range<UInt64> where second != first {
        for swaps in [false, true] {
          let copy = LogWorld(copyOf: world, seed: first * 8 + second)
          let offset = world.layout.logOffset
          copy.media[0].overwrite(at: offset + first * batchBytes, with: bytes(second))
          if swaps {
            copy.media[0].overwrite(at: offset + second * batchBytes, with: bytes(first))
          }
          #expect(copy.firstWrong(try recover(copy), after: .kill) == nil)
          copy.simulation.end()
        }
      }
    }
  }

  @Test("a batch that recovery discarded never comes back in a later epoch (L3)")
  func discarded() throws {
    for bug in [nil, PlantedBug.recoveryKeepsEpoch] {
      let world = try makeWorld(bug: bug, flushing: false)
      let offset = world.layout.logOffset + 3 * batchBytes
      let range = ByteRange(from: offset, to: offset + batchBytes)
      let old = world.media[0].live.bytes(range)
      // Batch 4 cannot be read now.
      for slot in 0..<2 { zero(world, slot, 3 * batchBytes, 8192) }
      let host = world.openHost()
      try host.machine.run {
        let found = try await host.open()
        #expect(found.numbers == [0, 1, 2])
        world.goOn(with: found)
        try await host.append()
        try await host.flush()
      }
      host.machine.crash(.kill)
      // Now one member has the old batch 4 again, and both follow batch 3.
      world.media[0].overwrite(at: offset, with: old)
      let found = try recover(world)
      #expect((world.firstWrong(found, after: .powerLoss) == nil) == (bug == nil))
      world.simulation.end()
    }
  }

  @Test("sectors that cannot be read cost nothing while the other copy is good")
  func unreadable() throws {
    for block in 0..<9 as Range<UInt64> {
      let world = try makeWorld()
      let offset = world.layout.logOffset + block * 4096
      world.media[1].makeUnreadable(ByteRange(from: offset + 512, to: offset + 1024))
      #expect(world.firstWrong(try recover(world), after: .kill) == nil, "block \(block)")
      world.simulation.end()
    }
  }
}
