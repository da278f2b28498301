import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units
import Volumes

/// Histories of the rules that no crash is needed for; each tells its planted bug from the array.
@Suite("RAID: histories of the rules")
struct RuleHistoryTests {
  @Test("D4: two bad blocks of a RAID-5 row are lost, and a write to a third goes home")
  func lostBlocks() throws {
    do {
      let lab = ArrayLab(.raid5, memberCount: 4)
      try lab.create(seed: 11)
      let maker = SimulatedMachine(seed: 12)
      let geometry = try lab.geometry()
      let blocks = (0..<3).map { geometry.block(ofRow: 0, position: $0) }
      try maker.run {
        let client = try await lab.start(maker)
        for block in blocks { try await client.write(block * 4096, lab.block(1, block)) }
        try await client.close()
      }
      for position in 0..<2 {
        let slot = geometry.place(ofRow: 0, position: position).slot
        lab.media[slot].flipBits(at: try lab.layout().dataOffset + 5)
      }
      let machine = SimulatedMachine(seed: 13)
      let outcome = Result {
        try machine.run(within: Simulation.Limits(virtualNanoseconds: 30_000_000_000)) {
          let client = try await lab.start(machine)
          try await client.write(blocks[2] * 4096, lab.block(2, blocks[2]), durably: true)
          // More than the log holds: it goes on only if the row's record does not stay in it.
          let far = geometry.block(ofRow: 16, position: 0) * 4096
          for round in 0..<64 {
            try await client.write(far, [UInt8](repeating: UInt8(round), count: 65536))
          }
          #expect(
            try await client.read(lab.range(blocks[2]))
              == lab.block(2, blocks[2]))
          for block in blocks[..<2] {
            await #expect(throws: VolumeError.self) {
              try await client.read(lab.range(block))
            }
            try await client.write(block * 4096, lab.block(3, block))
          }
          try await client.close()
        }
      }
      try outcome.get()
      // What was written is whole again, without any one member.
      for lost in 0..<4 {
        let copy = ArrayLab(.raid5, memberCount: 4, copying: lab)
        copy.options.isForced = true
        let reader = SimulatedMachine(seed: 14)
        try reader.run {
          let client = try await copy.start(reader, without: SlotSet([lost]))
          for (position, block) in blocks.enumerated() {
            let found = try await client.read(
              lab.range(block))
            #expect(found == lab.block(position == 2 ? 2 : 3, block))
          }
          try await client.close()
        }
      }
    }
  }

  @Test("D7: a trim of a device that was never written costs nothing, however large it is")
  func wholeTrim() throws {
    for bug in [nil, PlantedBug.trimPinsForever] {
      let lab = ArrayLab(.raid5, memberCount: 3, memberByteCount: 16 << 20)
      lab.options.plantedBug = bug
      try lab.create(seed: 21)
      let machine = SimulatedMachine(seed: 22)
      let costs = Box(0)
      try machine.run {
        let client = try await lab.start(machine)
        let whole = ByteRange(from: 0, to: await client.byteCount)
        let before = machine.faultPlan.operationCount
        try await client.trim(whole)
        costs.value = machine.faultPlan.operationCount - before
        if bug == nil { try await client.close() }
      }
      machine.crash(.kill)
      #expect((costs.value == 0) == (bug == nil))
    }
  }
}

extension ArrayLab {
  /// What a member's superblock says.
  func superblock() throws -> Superblock {
    let memory = AlignedMemory.holding(media[0].live.bytes(ByteRange(from: 0, to: 4096)))
    defer { withExtendedLifetime(memory) {} }
    let buffer = memory.buffer
    return try Superblock.decode(buffer)
  }

  func layout() throws -> MemberLayout { try superblock().layout }

  func geometry() throws -> StripeGeometry { try #require(try superblock().geometry) }

  func range(_ block: UInt64) -> ByteRange { ByteRange(from: block * 4096, to: (block + 1) * 4096) }

  /// The content of a block in a version.
  func block(_ version: UInt8, _ number: UInt64) -> [UInt8] {
    (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ Int(number) &* 7) ^ (version &* 37) }
  }
}
