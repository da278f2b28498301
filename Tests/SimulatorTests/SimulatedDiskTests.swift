import Glibc
import IO
import Simulator
import Testing
import Units

@Suite("Simulator: disk")
struct SimulatedDiskTests {
  private let machine = SimulatedMachine(seed: 1)

  private func disk(_ medium: SimulatedMedium, alignmentBytes: Int = 4096) -> SimulatedDisk {
    SimulatedDisk(machine, medium, alignmentBytes: alignmentBytes)
  }

  @Test("what is misaligned is refused, as with O_DIRECT")
  func misalignment() throws {
    let medium = SimulatedMedium(byteCount: 65536)
    let disk = disk(medium, alignmentBytes: 512)
    let memory = filled(8192, with: 1)
    try machine.run {
      #expect(await disk.writeSome(at: 512, from: memory.buffer.slice(512, 1024)) == 1024)
      #expect(await disk.writeSome(at: 100, from: memory.buffer.slice(512, 1024)) == -EINVAL)
      #expect(await disk.writeSome(at: 512, from: memory.buffer.slice(8, 1024)) == -EINVAL)
      #expect(await disk.writeSome(at: 512, from: memory.buffer.slice(512, 1000)) == -EINVAL)
      #expect(await disk.readSome(at: 1, into: memory.buffer.slice(512, 1024)) == -EINVAL)
      #expect(await disk.readSome(at: .max - 511, into: memory.buffer.slice(0, 1024)) == -EINVAL)
      #expect(await disk.readSome(at: 512, into: memory.buffer.slice(512, 1024)) == 1024)
    }
    #expect(medium.live.sectorValues(0..<5) == [0, 1, 1, 0, 0])
  }

  @Test("files grow to their capacity, block devices do not grow")
  func growth() throws {
    let file = SimulatedMedium(byteCount: 4096, capacityBytes: 16384)
    let device = SimulatedMedium(byteCount: 8192, isBlockDevice: true)
    let memory = filled(16384, with: 1)
    let fileDisk = disk(file)
    let deviceDisk = disk(device)
    try machine.run {
      #expect(await fileDisk.readSome(at: 4096, into: memory.buffer.prefix(4096)) == 0)
      #expect(await fileDisk.writeSome(at: 8192, from: memory.buffer) == 8192)
      #expect(fileDisk.currentByteCount() == .success(16384))
      #expect(await fileDisk.writeSome(at: 16384, from: memory.buffer) == -EFBIG)
      #expect(await deviceDisk.writeSome(at: 4096, from: memory.buffer) == 4096)
      #expect(await deviceDisk.writeSome(at: 8192, from: memory.buffer) == -ENOSPC)
      #expect(await deviceDisk.readSome(at: 4096, into: memory.buffer) == 4096)
      #expect(await deviceDisk.readSome(at: 8192, into: memory.buffer) == 0)
    }
  }

  @Test("holes, clearing and extents agree, by blocks of 4 KiB")
  func extents() throws {
    let medium = SimulatedMedium(byteCount: 40960)
    let disk = disk(medium, alignmentBytes: 1)
    let memory = filled(40960, with: 1)
    try machine.run {
      func extents() async throws -> [DiskExtent] {
        var list: [DiskExtent] = []
        while list.last?.endBytes != 40960 {
          list.append(try await disk.extent(at: list.last?.endBytes ?? 0))
        }
        return list
      }
      #expect(try await extents() == [DiskExtent(endBytes: 40960, isHole: true)])
      try await disk.write(at: 4096, from: memory.buffer.prefix(20480))
      let written = try await extents()
      #expect(written.map(\.endBytes) == [4096, 24576, 40960])
      #expect(written.map(\.isHole) == [true, false, true])
      // Only whole blocks are given back; the rest is zeroed.
      try await disk.clear(range(5000, 13000), mode: .punchHole)
      #expect(try await extents().map(\.endBytes) == [4096, 8192, 12288, 24576, 40960])
      try await disk.clear(range(0, 4096), mode: .zeroRange)
      #expect(try await extents().map(\.endBytes) == [8192, 12288, 24576, 40960])
      #expect(await disk.extentOnce(at: 40960) == .failure(SystemError(ENXIO)))
      #expect(await disk.clearOnce(at: 0, byteCount: 0, mode: .punchHole) == -EINVAL)
    }
    #expect(medium.live.bytes(range(4999, 5000)) == [1])
    #expect(medium.live.bytes(range(5000, 13000)).allSatisfy { $0 == 0 })
    #expect(medium.live.bytes(range(13000, 13001)) == [1])
  }

  @Test("another program may cut and extend the file")
  func truncation() throws {
    let medium = SimulatedMedium(byteCount: 16384)
    let disk = disk(medium)
    let memory = filled(16384, with: 1)
    try machine.run {
      try await disk.write(at: 0, from: memory.buffer)
      medium.truncate(to: 6000)
      #expect(disk.currentByteCount() == .success(6000))
      #expect(await disk.readSome(at: 4096, into: memory.buffer) == 6000 - 4096)
      medium.truncate(to: 16384)
      #expect(await disk.readSome(at: 4096, into: memory.buffer) == 12288)
    }
    #expect(memory.buffer[6000 - 4096 - 1] == 1)
    #expect(memory.buffer.slice(6000 - 4096, 16384 - 6000).isZero)
    medium.sizeError = SystemError(EIO)
    #expect(disk.currentByteCount() == .failure(SystemError(EIO)))
  }

  @Test("overlapping operations in flight interleave by sector, but never inside one")
  func interleaving() throws {
    var tornCount = 0
    for seed: UInt64 in 0..<300 {
      let machine = SimulatedMachine(seed: seed)
      let disk = SimulatedDisk(machine, SimulatedMedium(byteCount: 4096))
      let old = filled(4096, with: 1)
      let new = filled(4096, with: 2)
      let seen = filled(4096, with: 9)
      try machine.run {
        try await disk.write(at: 0, from: old.buffer)
        await withTaskGroup(of: Void.self) { group in
          group.addTask { #expect(await disk.writeSome(at: 0, from: new.buffer) == 4096) }
          group.addTask { #expect(await disk.readSome(at: 0, into: seen.buffer) == 4096) }
        }
      }
      for sector in 0..<8 {
        let values = seen.buffer.slice(sector * 512, 512).distinctBytes
        #expect(values == [1] || values == [2])
      }
      if seen.buffer.distinctBytes.count > 1 { tornCount += 1 }
    }
    #expect(tornCount > 10)
    #expect(tornCount < 290)
  }

  @Test("a stuck disk answers when it is released, and other disks do not mind")
  func stuckDisk() throws {
    let disk = disk(SimulatedMedium(byteCount: 4096))
    let other = self.disk(SimulatedMedium(byteCount: 4096))
    let memory = filled(4096, with: 1)
    let otherMemory = filled(4096, with: 1)
    let done = Box(false)
    disk.isStuck = true
    try machine.run {
      machine.start {
        #expect(await disk.writeSome(at: 0, from: memory.buffer) == 4096)
        done.value = true
      }
      #expect(await other.writeSome(at: 0, from: otherMemory.buffer) == 4096)
      await machine.sleep(nanoseconds: 60_000_000_000)
      #expect(!done.value)
      #expect(disk.inFlightCount == 1)
      disk.release()
      await machine.sleep(nanoseconds: 60_000_000_000)
      #expect(done.value)
      #expect(disk.inFlightCount == 0)
    }
  }

  @Test("one stuck operation holds up no other")
  func stuckOperation() throws {
    let disk = disk(SimulatedMedium(byteCount: 4096))
    let memory = filled(4096, with: 1)
    let otherMemory = filled(4096, with: 1)
    machine.faultPlan.fail(operation: 1, of: .write, with: .stuck)
    let failure = #expect(throws: SimulationFailure.self) {
      try machine.run {
        async let first = disk.writeSome(at: 0, from: memory.buffer)
        #expect(await disk.readSome(at: 0, into: otherMemory.buffer) == 4096)
        _ = await first
      }
    }
    #expect(failure?.reason == .hung)
    #expect(disk.medium.injected.stuckOperations == 1)
  }

  @Test("slow operations take their factor in virtual time")
  func latency() throws {
    let disk = disk(SimulatedMedium(byteCount: 4096))
    let memory = filled(4096, with: 1)
    disk.latency = DiskLatency(
      shortestNanoseconds: 1000, longestNanoseconds: 1000, synchronizeFactor: 5,
      slowPerMillion: 1_000_000, slowFactor: 1000)
    machine.simulation.jobNanosecondsMax = 0
    try machine.run {
      let start = machine.nowNanoseconds
      _ = await disk.readSome(at: 0, into: memory.buffer)
      #expect(machine.nowNanoseconds == start + 1_000_000)
      _ = await disk.synchronizeOnce()
      #expect(machine.nowNanoseconds == start + 6_000_000)
    }
  }

  @Test("closing with an operation in flight, closing twice and use after closing trap")
  func misuseTraps() async {
    await #expect(processExitsWith: .failure) {
      let machine = SimulatedMachine(seed: 1)
      let disk = SimulatedDisk(machine, SimulatedMedium(byteCount: 4096))
      _ = try machine.run {
        async let synchronized = disk.synchronizeOnce()
        while disk.inFlightCount == 0 { await Task.yield() }
        await disk.close()
        _ = await synchronized
      }
    }
    await #expect(processExitsWith: .failure) {
      let machine = SimulatedMachine(seed: 1)
      let disk = SimulatedDisk(machine, SimulatedMedium(byteCount: 4096))
      _ = try machine.run {
        await disk.close()
        await disk.close()
      }
    }
    await #expect(processExitsWith: .failure) {
      let machine = SimulatedMachine(seed: 1)
      let disk = SimulatedDisk(machine, SimulatedMedium(byteCount: 4096))
      _ = try machine.run {
        await disk.close()
        _ = await disk.synchronizeOnce()
      }
    }
  }
}

@Suite("Simulator: disk faults")
struct DiskFaultTests {
  private let machine = SimulatedMachine(seed: 2)

  @Test("an unreadable sector fails reads until it is written")
  func latentErrors() throws {
    let medium = SimulatedMedium(byteCount: 16384)
    let disk = SimulatedDisk(machine, medium)
    let memory = filled(8192, with: 1)
    medium.makeUnreadable(range(5000, 5001))
    try machine.run {
      #expect(await disk.readSome(at: 0, into: memory.buffer.prefix(4096)) == 4096)
      #expect(await disk.readSome(at: 4096, into: memory.buffer.prefix(4096)) == -EIO)
      #expect(await disk.readSome(at: 0, into: memory.buffer) == -EIO)
      #expect(await disk.writeSome(at: 4096, from: memory.buffer.prefix(4096)) == 4096)
      #expect(await disk.readSome(at: 0, into: memory.buffer) == 8192)
    }
    #expect(medium.injected.readErrors == 2)
  }

  @Test("a lost write is acknowledged and flushed, and the old data is still there")
  func lostWrite() throws {
    let medium = SimulatedMedium(byteCount: 4096)
    let disk = SimulatedDisk(machine, medium)
    let memory = filled(4096, with: 1)
    medium.faultRates.lostWrite = 1_000_000
    try machine.run {
      try await disk.write(at: 0, from: memory.buffer)
      try await disk.synchronize()
      try await disk.read(at: 0, into: memory.buffer)
    }
    #expect(memory.buffer.isZero)
    #expect(medium.injected.lostWrites == 1)
  }

  @Test("a misdirected write leaves its place as it was and hits another, aligned")
  func misdirectedWrite() throws {
    let medium = SimulatedMedium(byteCount: 65536)
    let disk = SimulatedDisk(machine, medium)
    let memory = filled(4096, with: 1)
    medium.faultRates.misdirectedWrite = 1_000_000
    try machine.run { try await disk.write(at: 8192, from: memory.buffer) }
    let blocks = (0..<16 as Range<UInt64>).filter {
      medium.live.bytes(range($0 * 4096, ($0 + 1) * 4096)).allSatisfy { $0 == 1 }
    }
    #expect(blocks.count == 1)
    #expect(medium.injected.misdirectedWrites == (blocks == [2] ? 0 : 1))
  }

  @Test("a misdirected read returns another block's bytes and changes nothing")
  func misdirectedRead() throws {
    let medium = SimulatedMedium(byteCount: 65536)
    for block in 0..<16 {
      medium.overwrite(
        at: UInt64(block) * 4096, with: [UInt8](repeating: UInt8(block), count: 4096))
    }
    let before = medium.live.checksum
    let disk = SimulatedDisk(machine, medium)
    let memory = filled(4096, with: 99)
    medium.faultRates.misdirectedRead = 1_000_000
    try machine.run {
      for _ in 0..<20 { try await disk.read(at: 8192, into: memory.buffer) }
    }
    #expect(medium.injected.misdirectedReads > 10)
    #expect(memory.buffer.distinctBytes.count == 1)
    #expect(medium.live.checksum == before)
  }

  @Test("rot turns one bit over, for good, in what is read and in what is durable")
  func bitRot() throws {
    let medium = SimulatedMedium(byteCount: 4096)
    let disk = SimulatedDisk(machine, medium)
    let memory = filled(4096, with: 1)
    medium.faultRates.bitRot = 1_000_000
    try machine.run { try await disk.read(at: 0, into: memory.buffer) }
    let flipped = medium.durable.bytes(range(0, 4096)).reduce(0) { $0 + $1.nonzeroBitCount }
    #expect(flipped == 1)
    #expect(medium.injected.flippedBits == 1)
    #expect(medium.live.checksum == medium.durable.checksum)
    #expect(!memory.buffer.isZero)
  }

  @Test("rates of errors, interruptions and short transfers show in the answers")
  func rates() throws {
    let medium = SimulatedMedium(byteCount: 65536)
    let disk = SimulatedDisk(machine, medium)
    let memory = filled(65536, with: 1)
    medium.faultRates.readError = 200_000
    medium.faultRates.interrupted = 200_000
    medium.faultRates.tryAgain = 200_000
    medium.faultRates.shortTransfer = 500_000
    medium.faultRates.writeError = 200_000
    medium.faultRates.noSpace = 200_000
    medium.faultRates.synchronizeError = 500_000
    let answers = try #require(
      try machine.run { () -> [Set<Int32>] in
        var answers: [Set<Int32>] = [[], [], []]
        for _ in 0..<300 {
          answers[0].insert(await disk.readSome(at: 0, into: memory.buffer))
          answers[1].insert(await disk.writeSome(at: 0, from: memory.buffer))
          answers[2].insert(await disk.synchronizeOnce())
        }
        return answers
      })
    let lengths = Set((1...16).map { Int32($0 * 4096) })
    let errors: Set<Int32> = [-EIO, -EINTR, -EAGAIN]
    #expect(answers[0].isSubset(of: lengths.union(errors)))
    #expect(answers[0].isSuperset(of: errors.union([65536])))
    #expect(answers[1].isSubset(of: lengths.union(errors).union([-ENOSPC])))
    #expect(answers[1].isSuperset(of: errors.union([65536, -ENOSPC])))
    #expect(answers[0].intersection(lengths).count > 8)
    #expect(answers[1].intersection(lengths).count > 8)
    #expect(answers[2] == [0, -EIO])
  }

  @Test("the plan counts operations, alone and by kind, and those it failed")
  func planCounts() throws {
    let disk = SimulatedDisk(machine, SimulatedMedium(byteCount: 4096))
    let memory = filled(4096, with: 1)
    let plan = machine.faultPlan
    plan.fail(operation: 2, of: .read, with: .failure(EIO))
    plan.fail(operation: 5, with: .failure(ENOSPC), persistently: true)
    try machine.run {
      #expect(await disk.readSome(at: 0, into: memory.buffer) == 4096)
      #expect(await disk.writeSome(at: 0, from: memory.buffer) == 4096)
      #expect(await disk.readSome(at: 0, into: memory.buffer) == -EIO)
      #expect(await disk.readSome(at: 0, into: memory.buffer) == 4096)
      #expect(await disk.readSome(at: 0, into: memory.buffer) == -ENOSPC)
      #expect(await disk.synchronizeOnce() == -ENOSPC)
      plan.removeAll()
      #expect(await disk.readSome(at: 0, into: memory.buffer) == 4096)
    }
    #expect(plan.operationCount == 7)
    #expect(plan.hitCount == 3)
    #expect(plan.count(of: .read) == 5)
    #expect(plan.count(of: .write) == 1)
  }
}
