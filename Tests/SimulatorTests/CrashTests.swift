import Glibc
import IO
import Simulator
import Testing
import Units

@Suite("Simulator: what survives a crash")
struct CrashTests {
  /// Writes 1, flushes, writes 2, then loses power; what the eight sectors hold then.
  private func survivors(seed: UInt64, _ fate: UnflushedFate = .drawn) throws -> [UInt8] {
    let machine = SimulatedMachine(seed: seed)
    let medium = SimulatedMedium(byteCount: 4096)
    let disk = SimulatedDisk(machine, medium)
    let first = filled(4096, with: 1)
    let second = filled(4096, with: 2)
    medium.unflushedFate = fate
    try machine.run {
      try await disk.write(at: 0, from: first.buffer)
      try await disk.synchronize()
      try await disk.write(at: 0, from: second.buffer)
      #expect(medium.unflushedWrites.count == 1)
      machine.crash(.powerLoss)
    }
    #expect(medium.unflushedWrites.isEmpty)
    #expect(medium.live.checksum == medium.durable.checksum)
    return medium.live.sectorValues(0..<8)
  }

  @Test("flushed sectors survive power loss, unflushed ones may tear, over seeds in all ways")
  func powerLoss() throws {
    var outcomes: Set<[UInt8]> = []
    for seed: UInt64 in 0..<300 { outcomes.insert(try survivors(seed: seed)) }
    #expect(outcomes.allSatisfy { $0.allSatisfy { $0 == 1 || $0 == 2 } })
    #expect(outcomes.contains([UInt8](repeating: 1, count: 8)))
    #expect(outcomes.contains([UInt8](repeating: 2, count: 8)))
    #expect(outcomes.count > 20)
  }

  @Test("the fate of unflushed sectors can be chosen")
  func chosenFate() throws {
    #expect(try survivors(seed: 1, .keepAll) == [UInt8](repeating: 2, count: 8))
    #expect(try survivors(seed: 1, .loseAll) == [UInt8](repeating: 1, count: 8))
    let odd = try survivors(seed: 1, .chosen { sector, writes in Int(sector % 2) * writes.count })
    #expect(odd == [1, 2, 1, 2, 1, 2, 1, 2])
  }

  @Test("a sector may hold any of several unflushed writes, in order")
  func anyVersionSurvives() throws {
    var seen: Set<UInt8> = []
    for seed: UInt64 in 0..<100 {
      let machine = SimulatedMachine(seed: seed)
      let medium = SimulatedMedium(byteCount: 512)
      let disk = SimulatedDisk(machine, medium, alignmentBytes: 512)
      try machine.run {
        for value in 1...4 as ClosedRange<UInt8> {
          let memory = filled(512, with: value)
          try await disk.write(at: 0, from: memory.buffer.prefix(512))
        }
        machine.crash(.powerLoss)
      }
      seen.insert(medium.durable.bytes(range(0, 1))[0])
    }
    #expect(seen == [0, 1, 2, 3, 4])
  }

  @Test("what a killed process had in flight is durable once the next has flushed")
  func flushAfterKill() throws {
    var survivorCount = 0
    for seed: UInt64 in 0..<20 {
      let simulation = Simulation(seed: seed)
      let machine = SimulatedMachine(simulation)
      let medium = SimulatedMedium(byteCount: 4096)
      let disk = SimulatedDisk(machine, medium)
      let memory = filled(4096, with: 1)
      machine.faultPlan.fail(operation: 1, with: .crash(.kill))
      try machine.run { try await disk.write(at: 0, from: memory.buffer) }
      let left = medium.live.sectorValues(0..<8)
      if left.contains(1) { survivorCount += 1 }
      let next = SimulatedMachine(simulation)
      let reopened = SimulatedDisk(next, medium)
      medium.unflushedFate = .loseAll
      try next.run {
        try await reopened.synchronize()
        next.crash(.powerLoss)
      }
      #expect(medium.live.sectorValues(0..<8) == left, "seed \(seed)")
    }
    #expect(survivorCount > 0)
  }

  @Test("kill keeps what was written, and a later power loss may still take it")
  func killKeepsThePageCache() throws {
    let simulation = Simulation(seed: 4)
    let machine = SimulatedMachine(simulation)
    let medium = SimulatedMedium(byteCount: 4096)
    let disk = SimulatedDisk(machine, medium)
    let memory = filled(4096, with: 1)
    medium.unflushedFate = .loseAll
    try machine.run {
      try await disk.write(at: 0, from: memory.buffer)
      machine.crash(.kill)
    }
    #expect(medium.live.sectorValues(0..<8) == [UInt8](repeating: 1, count: 8))
    let next = SimulatedMachine(simulation)
    let reopened = SimulatedDisk(next, medium)
    let seen = filled(4096, with: 9)
    try next.run {
      try await reopened.read(at: 0, into: seen.buffer)
      next.crash(.powerLoss)
    }
    #expect(seen.buffer.distinctBytes == [1])
    #expect(medium.live.sectorValues(0..<8) == [UInt8](repeating: 0, count: 8))
  }

  @Test("a failed fdatasync leaves the data unsafe, though the next one succeeds")
  func failedSynchronize() throws {
    var lostCount = 0
    var shownOldCount = 0
    for seed: UInt64 in 0..<50 {
      let machine = SimulatedMachine(seed: seed)
      let medium = SimulatedMedium(byteCount: 4096)
      let disk = SimulatedDisk(machine, medium)
      let memory = filled(4096, with: 1)
      machine.faultPlan.fail(operation: 1, of: .synchronize, with: .failure(EIO))
      try machine.run {
        try await disk.write(at: 0, from: memory.buffer)
        #expect(await disk.synchronizeOnce() == -EIO)
        #expect(await disk.synchronizeOnce() == 0)
        #expect(medium.unflushedWrites.isEmpty)
      }
      if medium.live.sectorValues(0..<8).contains(0) { shownOldCount += 1 }
      try machine.run { machine.crash(.powerLoss) }
      if medium.live.sectorValues(0..<8).contains(0) { lostCount += 1 }
    }
    #expect(lostCount > 40)
    #expect(shownOldCount > 20)
  }

  @Test("a write that comes while fdatasync runs is not covered by it")
  func writeDuringSynchronize() throws {
    let machine = SimulatedMachine(seed: 6)
    let medium = SimulatedMedium(byteCount: 8192)
    let disk = SimulatedDisk(machine, medium)
    disk.latency = DiskLatency(synchronizeFactor: 1000, slowPerMillion: 0)
    let first = filled(8192, with: 1)
    let second = filled(4096, with: 2)
    medium.unflushedFate = .loseAll
    try machine.run {
      try await disk.write(at: 0, from: first.buffer)
      async let synchronized: Void = disk.synchronize()
      while disk.inFlightCount == 0 { await Task.yield() }
      try await disk.write(at: 4096, from: second.buffer)
      #expect(disk.inFlightCount == 1)
      try await synchronized
      machine.crash(.powerLoss)
    }
    #expect(medium.durable.sectorValues(0..<16) == [UInt8](repeating: 1, count: 16))
  }

  @Test("a flush moves a sector's last covered content, not an older write that was late")
  func lateWriteDoesNotReturn() throws {
    // Two overlapping writes in flight: the one that took effect first is acknowledged last.
    // Whatever fdatasync covers, what it made durable is never older than what was read.
    for seed: UInt64 in 0..<200 {
      let machine = SimulatedMachine(seed: seed)
      let medium = SimulatedMedium(byteCount: 4096)
      let disk = SimulatedDisk(machine, medium)
      let first = filled(4096, with: 1)
      let second = filled(4096, with: 2)
      try machine.run {
        machine.start { _ = await disk.writeSome(at: 0, from: first.buffer) }
        #expect(await disk.writeSome(at: 0, from: second.buffer) == 4096)
        try await disk.synchronize()
        // The first write has long been acknowledged or is still out.
        if disk.inFlightCount == 0, medium.unflushedWrites.isEmpty {
          #expect(medium.durable.checksum == medium.live.checksum)
        }
        let kept = Box(medium.live.sectorValues(0..<8))
        if disk.inFlightCount == 0 {
          machine.crash(.powerLoss)
          for (sector, value) in medium.durable.sectorValues(0..<8).enumerated() {
            #expect(value == 1 || value == 2)
            if kept.value[sector] == 2 { #expect(value != 0) }
          }
        }
      }
    }
  }

  @Test("operations in flight at a crash take effect in part, by sector")
  func inFlightAtCrash() throws {
    var outcomes: Set<[UInt8]> = []
    for seed: UInt64 in 0..<200 {
      let machine = SimulatedMachine(seed: seed)
      let medium = SimulatedMedium(byteCount: 4096)
      let disk = SimulatedDisk(machine, medium)
      let memory = filled(4096, with: 1)
      machine.faultPlan.fail(operation: 1, of: .write, with: .crash(.kill))
      let value: Void? = try machine.run { try await disk.write(at: 0, from: memory.buffer) }
      #expect(value == nil)
      outcomes.insert(medium.live.sectorValues(0..<8))
    }
    #expect(outcomes.contains([UInt8](repeating: 0, count: 8)))
    #expect(outcomes.contains([UInt8](repeating: 1, count: 8)))
    #expect(outcomes.count > 5)
  }

  @Test("growth of a file that was not flushed may be lost, with the data in it")
  func growthMayBeLost() throws {
    var sizes: Set<UInt64> = []
    for seed: UInt64 in 0..<100 {
      let machine = SimulatedMachine(seed: seed)
      let medium = SimulatedMedium(byteCount: 4096, capacityBytes: 8192)
      let disk = SimulatedDisk(machine, medium)
      let memory = filled(4096, with: 1)
      try machine.run {
        try await disk.write(at: 4096, from: memory.buffer)
        machine.crash(.powerLoss)
      }
      sizes.insert(medium.live.byteCount)
    }
    #expect(sizes.contains(4096))
    #expect(sizes.contains(8192))
  }

  @Test("a damaged sector at power loss is one whose fate was open")
  func damagedSector() throws {
    let machine = SimulatedMachine(seed: 11)
    let medium = SimulatedMedium(byteCount: 8192)
    let disk = SimulatedDisk(machine, medium)
    let memory = filled(4096, with: 1)
    medium.faultRates.damagedSectorAtPowerLoss = 1_000_000
    medium.unflushedFate = .keepAll
    try machine.run {
      try await disk.write(at: 4096, from: memory.buffer)
      machine.crash(.powerLoss)
    }
    #expect(medium.injected.damagedSectors == 1)
    #expect(medium.durable.bytes(range(0, 4096)).allSatisfy { $0 == 0 })
    let damaged = (8..<16 as Range<UInt64>).filter {
      !medium.durable.bytes(range($0 * 512, ($0 + 1) * 512)).allSatisfy { $0 == 1 }
    }
    #expect(damaged.count == 1)
  }

  @Test("crashing at every operation of a workload keeps what each flush promised")
  func crashAtEveryOperation() throws {
    for kind in [CrashKind.kill, .powerLoss] {
      var number = 1
      while true {
        let machine = SimulatedMachine(seed: UInt64(number))
        let medium = SimulatedMedium(byteCount: 65536)
        let disk = SimulatedDisk(machine, medium)
        let promised = Box(UInt8(0))
        let started = Box(UInt8(0))
        machine.faultPlan.fail(operation: number, with: .crash(kind))
        let end = try machine.run { () -> Bool in
          for value in 1...4 as ClosedRange<UInt8> {
            let memory = filled(4096, with: value)
            started.value = value
            try await disk.write(at: 8192, from: memory.buffer)
            if kind == .kill { promised.value = value }
            try await disk.synchronize()
            promised.value = value
          }
          return true
        }
        guard end == nil else { break }
        let legal = promised.value...started.value
        #expect(medium.live.sectorValues(16..<24).allSatisfy { legal.contains($0) })
        number += 1
      }
      #expect(number == 9)
    }
  }
}
