import Glibc
import IO
import Simulator
import Testing
import Units

/// A machine with one disk of 64 KiB whose every byte is 1, without faults of its own.
private struct Bench {
  static let byteCount: UInt64 = 65536
  let machine: SimulatedMachine
  let medium: SimulatedMedium
  let disk: SimulatedDisk

  init(seed: UInt64 = 1, alignmentBytes: Int = 4096) {
    machine = SimulatedMachine(seed: seed)
    medium = SimulatedMedium(byteCount: Self.byteCount)
    medium.overwrite(at: 0, with: [UInt8](repeating: 1, count: Int(Self.byteCount)))
    disk = SimulatedDisk(machine, medium, alignmentBytes: alignmentBytes)
  }

  var plan: FaultPlan { machine.faultPlan }

  /// Runs a step of the policy; the error it ends with, or nil.
  func outcome(_ step: @escaping @Sendable (SimulatedDisk) async throws(DiskError) -> Void) throws
    -> DiskError?
  {
    let disk = disk
    let result = try machine.run { () -> Result<Void, DiskError> in
      do throws(DiskError) {
        try await step(disk)
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    guard case .failure(let error) = try #require(result) else { return nil }
    return error
  }
}

private func filled(_ byteCount: Int, with byte: UInt8) throws -> AlignedMemory {
  let memory = try #require(AlignedMemory(byteCount: byteCount))
  memory.buffer.fill(with: byte)
  return memory
}

@Suite("IO: the errno policy of disks")
struct DiskWholeTests {
  @Test(
    "a transfer that is interrupted, asked again or short goes on where it stopped",
    arguments: [.failure(EINTR), .failure(EAGAIN), .short, .count(4096)] as [InjectedResult])
  func transfersGoOn(fault: InjectedResult) throws {
    for number in 1...4 {
      let bench = Bench(seed: UInt64(number))
      let source = try filled(8 * 4096, with: 2)
      let target = try filled(8 * 4096, with: 3)
      bench.plan.fail(operation: 1, of: .write, with: fault)
      bench.plan.fail(operation: number, of: .read, with: fault)
      bench.plan.fail(operation: number + 1, of: .read, with: fault)
      let error = try bench.outcome { disk throws(DiskError) in
        try await disk.write(at: 8192, from: source.buffer)
        try await disk.read(at: 8192, into: target.buffer)
      }
      #expect(error == nil)
      #expect(bench.plan.count(of: .write) == 2)
      #expect(bench.medium.live.bytes(ByteRange(from: 8192, to: 40960)).allSatisfy { $0 == 2 })
      #expect(bench.medium.live.bytes(ByteRange(from: 40960, to: 65536)).allSatisfy { $0 == 1 })
      #expect(target.buffer.bytes.byteCount == 8 * 4096)
      #expect((0..<8 * 4096).allSatisfy { target.buffer.bytes.unsafeByte($0) == 2 })
    }
  }

  @Test("a disk that moves one unit at a time is driven to the end")
  func oneUnitAtATime() throws {
    let bench = Bench()
    let source = try filled(8 * 4096, with: 2)
    bench.plan.fail(operation: 1, with: .count(4096), persistently: true)
    let error = try bench.outcome { disk throws(DiskError) in
      try await disk.write(at: 0, from: source.buffer)
    }
    #expect(error == nil)
    #expect(bench.plan.count(of: .write) == 8)
    #expect(bench.medium.live.bytes(ByteRange(from: 0, to: 32768)).allSatisfy { $0 == 2 })
  }

  @Test(
    "a disk that never gets further is given up after a hundred tries",
    arguments: [.failure(EINTR), .failure(EAGAIN), .count(0)] as [InjectedResult])
  func noProgressEnds(fault: InjectedResult) throws {
    let bench = Bench()
    let source = try filled(4096, with: 2)
    bench.plan.fail(operation: 1, of: .write, with: fault, persistently: true)
    let error = try bench.outcome { disk throws(DiskError) in
      try await disk.write(at: 0, from: source.buffer)
    }
    #expect(error == .noProgress)
    #expect(bench.plan.count(of: .write) == SimulatedDisk.fruitlessRoundsMax)
  }

  @Test(
    "a failed write or read is never tried again",
    arguments: [EIO, ENOSPC, ECANCELED, EROFS, EDQUOT] as [Int32])
  func failuresAreFinal(number: Int32) throws {
    for kind in [OperationKind.write, .read, .clear, .extent] {
      let bench = Bench()
      let memory = try filled(4096, with: 2)
      bench.plan.fail(operation: 1, of: kind, with: .failure(number))
      let error = try bench.outcome { disk throws(DiskError) in
        switch kind {
        case .write: try await disk.write(at: 0, from: memory.buffer)
        case .read: try await disk.read(at: 0, into: memory.buffer)
        case .clear: try await disk.clear(ByteRange(from: 0, to: 4096), mode: .punchHole)
        default: _ = try await disk.extent(at: 0)
        }
      }
      #expect(error == .refused(SystemError(number)))
      #expect(bench.plan.operationCount == 1)
    }
  }

  @Test(
    "a failed fdatasync is never tried again, not even an interrupted one (P8)",
    arguments: [EIO, ENOSPC, EINTR, EAGAIN, ECANCELED] as [Int32])
  func synchronizeIsTriedOnce(number: Int32) throws {
    let bench = Bench()
    bench.plan.fail(operation: 1, of: .synchronize, with: .failure(number))
    let error = try bench.outcome { disk throws(DiskError) in try await disk.synchronize() }
    #expect(error == .refused(SystemError(number)))
    #expect(bench.plan.count(of: .synchronize) == 1)
  }

  @Test("a fdatasync that answers with a count is an error, not a success")
  func oddSynchronizeAnswer() throws {
    let bench = Bench()
    bench.plan.fail(operation: 1, of: .synchronize, with: .count(7))
    let error = try bench.outcome { disk throws(DiskError) in try await disk.synchronize() }
    #expect(error == .refused(SystemError(EIO)))
  }

  @Test("a read past a cut tells where the file ends, whether between blocks or inside one")
  func truncatedFile() throws {
    for (size, alignment, end) in [(8192, 4096, 8192), (9000, 4096, 9000), (9000, 1, 9000)] {
      let bench = Bench(alignmentBytes: alignment)
      let memory = try filled(16384, with: 0)
      bench.medium.truncate(to: UInt64(size))
      let error = try bench.outcome { disk throws(DiskError) in
        try await disk.read(at: 4096, into: memory.buffer)
      }
      #expect(error == .endedEarly(atBytes: UInt64(end)))
      #expect(bench.disk.currentByteCount() == .success(UInt64(size)))
    }
  }

  @Test("a read that begins behind the end tells its own start")
  func readBehindTheEnd() throws {
    let bench = Bench()
    let memory = try filled(4096, with: 0)
    bench.medium.truncate(to: 4096)
    let error = try bench.outcome { disk throws(DiskError) in
      try await disk.read(at: 8192, into: memory.buffer)
    }
    #expect(error == .endedEarly(atBytes: 8192))
  }

  @Test("a direct write that stops between blocks is an error")
  func unalignedShortWrite() throws {
    let bench = Bench()
    let memory = try filled(8192, with: 2)
    bench.plan.fail(operation: 1, of: .write, with: .count(5000))
    let error = try bench.outcome { disk throws(DiskError) in
      try await disk.write(at: 0, from: memory.buffer)
    }
    #expect(error == .refused(SystemError(EIO)))
    #expect(bench.plan.count(of: .write) == 1)
  }

  @Test("a full file system gives what fits, then ENOSPC")
  func fullFileSystem() throws {
    let machine = SimulatedMachine(seed: 3)
    let medium = SimulatedMedium(byteCount: 65536)
    medium.spaceBlockCountMax = 2
    let disk = SimulatedDisk(machine, medium)
    let memory = try filled(4 * 4096, with: 2)
    let error = try machine.run { () -> DiskError? in
      do throws(DiskError) {
        try await disk.write(at: 0, from: memory.buffer)
        return nil
      } catch { return error }
    }
    #expect(error == .some(.refused(SystemError(ENOSPC))))
    #expect(machine.faultPlan.count(of: .write) == 2)
    #expect(medium.live.bytes(ByteRange(from: 0, to: 8192)).allSatisfy { $0 == 2 })
    #expect(medium.live.bytes(ByteRange(from: 8192, to: 65536)).allSatisfy { $0 == 0 })
  }

  @Test("prefetch never fails, and empty ranges ask nothing")
  func prefetchAndEmptyRanges() throws {
    let bench = Bench()
    bench.plan.fail(operation: 1, of: .prefetch, with: .failure(EIO))
    let error = try bench.outcome { disk throws(DiskError) in
      await disk.prefetch(ByteRange(from: 0, to: 4096))
      await disk.prefetch(ByteRange(from: 0, to: 0))
      try await disk.clear(ByteRange(from: 4096, to: 4096), mode: .zeroRange)
    }
    #expect(error == nil)
    #expect(bench.plan.operationCount == 1)
  }

  @Test("a file system without holes says so, and nothing changes")
  func clearNotSupported() throws {
    let bench = Bench()
    bench.medium.canPunchHoles = false
    let error = try bench.outcome { disk throws(DiskError) in
      try await disk.clear(ByteRange(from: 0, to: 4096), mode: .punchHole)
    }
    #expect(error == .refused(SystemError(EOPNOTSUPP)))
    #expect(bench.medium.live.bytes(ByteRange(from: 0, to: 4096)).allSatisfy { $0 == 1 })
  }
}

@Suite("IO: failing the n-th disk operation")
struct DiskFaultLoopTests {
  private static let faults: [InjectedResult] = [
    .failure(EIO), .failure(ENOSPC), .failure(EINTR), .failure(EAGAIN), .failure(ECANCELED),
    .failure(ENOMEM), .short, .count(0),
  ]

  /// Two writes, a flush, a clear, a flush, then everything is read back: the error, if any.
  private func workload(_ bench: Bench) throws -> DiskError? {
    let source = try filled(4 * 4096, with: 2)
    let target = try filled(4 * 4096, with: 3)
    return try bench.outcome { disk throws(DiskError) in
      try await disk.write(at: 0, from: source.buffer)
      try await disk.write(at: 16384, from: source.buffer)
      try await disk.synchronize()
      try await disk.clear(ByteRange(from: 0, to: 8192), mode: .zeroRange)
      try await disk.synchronize()
      await disk.prefetch(ByteRange(from: 0, to: 65536))
      _ = try await disk.extent(at: 0)
      try await disk.read(at: 16384, into: target.buffer)
      guard (0..<16384).allSatisfy({ target.buffer.bytes.unsafeByte($0) == 2 }) else {
        throw .refused(SystemError(EILSEQ))
      }
    }
  }

  private func isTransient(_ fault: InjectedResult) -> Bool {
    [.failure(EINTR), .failure(EAGAIN), .short, .count(0)].contains(fault)
  }

  @Test("once: the workload succeeds or tells that error, and stops there", arguments: faults)
  func failingOnce(fault: InjectedResult) throws {
    var number = 1
    while true {
      let bench = Bench(seed: UInt64(number))
      bench.plan.fail(operation: number, with: fault)
      let error = try workload(bench)
      guard bench.plan.hitCount > 0 else { break }
      if let error {
        try check(error, fault, number, bench)
      } else {
        #expect(isTransient(fault) || number == 6, "operation \(number) failed unnoticed")
      }
      checkContents(bench.medium)
      number += 1
    }
    // Eight operations without a fault, so the ninth is not met.
    #expect(number == 9)
  }

  @Test("from then on: the workload ends with an error or done, never hangs", arguments: faults)
  func failingPersistently(fault: InjectedResult) throws {
    var number = 1
    while true {
      let bench = Bench(seed: UInt64(number))
      bench.plan.fail(operation: number, with: fault, persistently: true)
      let error = try workload(bench)
      guard bench.plan.hitCount > 0 else { break }
      switch fault {
      case .failure(EINTR), .failure(EAGAIN):
        #expect(error != nil)
        #expect(bench.plan.hitCount <= SimulatedDisk.fruitlessRoundsMax + 1)
      case .short: #expect(error == nil)
      case .failure(let number): #expect(error == .refused(SystemError(number)))
      default: #expect(error != nil)
      }
      checkContents(bench.medium)
      number += 1
      guard number < 40 else { break }
    }
    #expect(number == 9)
  }

  private func check(
    _ error: DiskError, _ fault: InjectedResult, _ number: Int, _ bench: Bench
  ) throws {
    switch fault {
    case .failure(let errorNumber):
      #expect(error == .refused(SystemError(errorNumber)))
      // Only fdatasync may fail for an interruption.
      if isTransient(fault) { #expect(number == 3 || number == 5) }
    case .count(0): #expect(error == .endedEarly(atBytes: 16384))
    default: Issue.record("\(fault) at \(number) gave \(error)")
    }
    #expect(bench.plan.operationCount == number, "something was tried after a failure")
    #expect(bench.plan.hitCount == 1)
  }

  /// Each sector holds what was there, what was written, or zeros where they were asked for.
  private func checkContents(_ medium: SimulatedMedium) {
    for sector in 0..<Bench.byteCount / 512 {
      let bytes = medium.live.bytes(ByteRange(from: sector * 512, to: (sector + 1) * 512))
      let legal: [UInt8] = sector < 16 ? [0, 1, 2] : sector < 64 ? [1, 2] : [1]
      #expect(bytes.allSatisfy { $0 == bytes[0] })
      #expect(legal.contains(bytes[0]))
    }
  }
}
