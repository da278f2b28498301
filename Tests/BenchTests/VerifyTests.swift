import Bench
import IO
import Simulator
import TestSupport
import Testing
import Units

@Suite("Bench: verification in a run")
struct VerifyTests {
  private func kinds(_ result: RunResult) -> [String: UInt64] {
    var kinds: [String: UInt64] = [:]
    for job in result.jobs {
      for (kind, count) in job.verification?.faultCounts ?? [] { kinds[kind, default: 0] += count }
    }
    return kinds
  }

  @Test("what was written is read back, each block once, and found good", arguments: [1, 16])
  func readsBack(depth: Int) throws {
    let site = BenchSite(byteCount: 512 * kib)
    let job = site.job(.randwrite) {
      $0.verify = .crc32c
      $0.ioDepth = depth
      $0.ioByteCount = 1024 * kib
    }
    let result = try site.run(job)
    #expect(result.jobs[0].verification?.blocksChecked == 128)
    #expect(result.jobs[0].verification?.faultCount == 0)
    #expect(result.jobs[0].read.operationCount == 0)
    #expect(site.target.calls(of: .read).count == 128)
    #expect(result.isGood)
  }

  @Test("do_verify=0 reads nothing back")
  func doVerifyOff() throws {
    let site = BenchSite(byteCount: 64 * kib)
    let job = site.job(.write) {
      $0.verify = .crc32c
      $0.verifiesAtEnd = false
    }
    _ = try site.run(job)
    #expect(site.target.calls(of: .read).isEmpty)
  }

  @Test("two operations on one block are never in flight together")
  func noOverlaps() throws {
    let site = BenchSite(byteCount: 32 * kib)
    let job = site.job(.randrw) {
      $0.verify = .crc32c
      $0.usesRandomMap = false
      $0.ioDepth = 32
      $0.isTimeBased = true
      $0.runtimeNanoseconds = second / 8
    }
    let result = try site.run(job)
    #expect(site.target.conflictCount == 0)
    #expect(site.target.inFlightMax > 2)
    #expect(result.jobs[0].read.operationCount > 500)
    #expect((result.jobs[0].verification?.blocksChecked ?? 0) > 500)
    #expect(result.isGood)
  }

  @Test("without verify such operations do meet: the control of the test above")
  func overlapsWithoutVerify() throws {
    let site = BenchSite(byteCount: 32 * kib)
    let job = site.job(.randwrite) {
      $0.usesRandomMap = false
      $0.ioDepth = 32
      $0.isTimeBased = true
      $0.runtimeNanoseconds = second / 8
    }
    _ = try site.run(job)
    #expect(site.target.conflictCount > 0)
  }

  @Test("a flipped bit is named corrupt, with its place, and only it")
  func flippedBit() throws {
    let site = BenchSite(byteCount: 256 * kib)
    site.target.alterRead = { offset, buffer in
      if offset == 40960 { buffer.slice(1000, 1).fill(with: buffer[1000] ^ 4) }
    }
    let result = try site.run(site.job(.write) { $0.verify = .crc32c })
    #expect(kinds(result) == ["corrupt": 1])
    #expect(result.jobs[0].errorNumber == 84)
    let sentence = result.jobs[0].verification?.sentences.first ?? ""
    #expect(sentence.contains("offset 40960") && sentence.contains("byte 1000"))
    #expect(!result.isGood)
  }

  @Test("a lost write of a block that was written before is named stale")
  func lostWrite() throws {
    let site = BenchSite(byteCount: 64 * kib)
    let seen = Box<[UInt64: Int]>([:])
    site.target.keepsWrite = { offset in
      seen.value[offset, default: 0] += 1
      return !(offset == 8192 && seen.value[offset] == 2)
    }
    let job = site.job(.randwrite) {
      $0.verify = .crc32c
      $0.ioByteCount = 128 * kib
    }
    let result = try site.run(job)
    #expect(kinds(result) == ["stale": 1])
  }

  @Test("a write that went elsewhere: the one place misplaced, the other not what it was")
  func misplaced() throws {
    let site = BenchSite(byteCount: 64 * kib)
    site.target.alterRead = { [target = site.target] offset, buffer in
      let memory = target.memory.buffer
      if offset == 4096 { buffer.copy(from: memory.slice(12288, 4096)) }
    }
    let result = try site.run(site.job(.write) { $0.verify = .crc32c })
    #expect(kinds(result) == ["misplaced": 1])
    #expect(result.jobs[0].verification?.sentences.first?.contains("12288") == true)
  }

  @Test("half of a block from an earlier write is named torn; zeros are named zeros")
  func tornAndZeros() throws {
    let site = BenchSite(byteCount: 64 * kib)
    let older = Box<[UInt8]>([])
    site.target.keepsWrite = { [target = site.target] offset in
      let memory = target.memory.buffer
      let block = memory.slice(4096, 2048)
      if offset == 4096, older.value.isEmpty, !block.isZero { older.value = block.array }
      return true
    }
    site.target.alterRead = { offset, buffer in
      if offset == 4096 { put(older.value, into: buffer) }
      if offset == 20480 { buffer.fill(with: 0) }
    }
    let job = site.job(.write) {
      $0.verify = .crc32c
      $0.ioByteCount = 128 * kib
    }
    let result = try site.run(job)
    #expect(kinds(result) == ["torn": 1, "zeros": 1])
  }

  @Test("a job that only reads finds what was never stamped, and takes an earlier run's blocks")
  func readOnly() throws {
    let site = BenchSite(byteCount: 64 * kib)
    let writer = site.job(.write) {
      $0.verify = .crc32c
      $0.ioByteCount = 32 * kib
    }
    _ = try site.run(writer)
    let result = try site.run(site.job(.randread) { $0.verify = .crc32c })
    #expect(kinds(result) == ["zeros": 8])
    #expect(result.jobs[0].verification?.blocksChecked == 16)
    #expect(result.jobs[0].read.operationCount == 16)
    let otherSeed = site.job(.read) {
      $0.verify = .crc32c
      $0.randomSeed = 5
      $0.regionByteCount = 32 * kib
    }
    let foreign = try site.run(otherSeed)
    #expect(kinds(foreign) == ["foreign": 8])
    let sentence = foreign.jobs[0].verification?.sentences.first ?? ""
    #expect(sentence.contains("--randseed=0x89: verify with the seed of the writer"))
  }

  @Test("a stale block is found by a later run that has the saved state, and not without it")
  func savedState() throws {
    let site = BenchSite(byteCount: 64 * kib)
    let older = Box<[UInt8]>([])
    let job = site.job(.write) {
      $0.verify = .crc32c
      $0.ioByteCount = 128 * kib
    }
    site.target.keepsWrite = { [target = site.target] offset in
      let memory = target.memory.buffer
      let block = memory.slice(12288, 4096)
      if older.value.isEmpty, !block.isZero { older.value = block.array }
      return true
    }
    let (first, state) = try site.run([site.planned(job)])
    #expect(first.isGood)
    let saved = try VerifyState(decoding: try #require(state).encoded)
    #expect(saved == state)
    site.target.keepsWrite = { _ in true }
    let reader = site.job(.read) { $0.verify = .crc32c }
    #expect(try site.run([site.planned(reader, saved: saved)]).result.isGood)

    let memory = site.target.memory.buffer
    put(older.value, into: memory.slice(12288, 4096))
    #expect(try site.run(reader).isGood)
    let result = try site.run([site.planned(reader, saved: saved)]).result
    #expect(kinds(result) == ["stale": 1])
    #expect(result.jobs[0].verification?.sentences.first?.contains("12288") == true)
  }

  @Test("ten faults are told in full, the others counted")
  func manyFaults() throws {
    let site = BenchSite(byteCount: 256 * kib)
    site.target.alterRead = { _, buffer in buffer.fill(with: 0) }
    let result = try site.run(site.job(.write) { $0.verify = .crc32c })
    #expect(result.jobs[0].verification?.sentences.count == 10)
    #expect(kinds(result) == ["zeros": 64])
    #expect(NormalReport.text(result).contains("64 BAD: 64 zeros"))
    #expect(NormalReport.text(result).contains("and 54 more"))
  }

  @Test("verify_fatal stops at the first bad block")
  func fatal() throws {
    let site = BenchSite(byteCount: 256 * kib)
    site.target.alterRead = { _, buffer in buffer.fill(with: 0) }
    let job = site.job(.write) {
      $0.verify = .crc32c
      $0.stopsAtFirstBadBlock = true
    }
    let result = try site.run(job)
    #expect(kinds(result) == ["zeros": 1])
    #expect(site.target.calls(of: .read).count == 1)
  }

  @Test("a block that cannot be read back is counted, and the others are checked")
  func unreadable() throws {
    let site = BenchSite(byteCount: 64 * kib)
    site.target.failure = { $0 == 20 ? .refused(reason: "EIO") : nil }
    let result = try site.run(site.job(.write) { $0.verify = .crc32c })
    #expect(result.jobs[0].verification?.unreadable == 1)
    #expect(result.jobs[0].verification?.blocksChecked == 15)
    #expect(!result.isGood)
    // fio's `error`: a script that looks at nothing else must see it, too.
    #expect(result.jobs[0].errorNumber == 5)
  }

  @Test("a pass that is cut short is not taken for one that read everything back")
  func passCutShort() throws {
    let site = BenchSite(byteCount: 256 * kib)
    site.target.latencyNanoseconds = 50_000_000
    let machine = site.machine
    let (result, _) = try site.run([site.planned(site.job(.write) { $0.verify = .crc32c })]) {
      // 64 writes take 3.2 s.
      await machine.sleep(nanoseconds: 4 * second)
      await $0.interrupt()
    }
    let checked = try #require(result.jobs[0].verification?.blocksChecked)
    #expect(checked > 0 && checked < 64)
    let text = NormalReport.text(result)
    #expect(!text.contains("read back in"))
    #expect(text.contains("note: bench: not all that it has written was read back"))
  }

  @Test("a target that hangs while it is read back takes nothing from what was written")
  func stateAfterHang() throws {
    let site = BenchSite(byteCount: 64 * kib)
    site.target.hangsFrom = 20
    var environment = RunEnvironment()
    environment.timeoutNanoseconds = second
    let job = site.job(.write) {
      $0.verify = .crc32c
      $0.ioDepth = 4
    }
    let (result, state) = try site.run([site.planned(job)], environment: environment)
    #expect(result.abandonedOperationCount > 0)
    #expect(state?.generations == [UInt32](repeating: 1, count: 16))
  }

  @Test("a job that had nothing to check fails, instead of saying that nothing is bad")
  func nothingChecked() throws {
    let site = BenchSite(byteCount: 64 * kib)
    let writer = site.job(.write) {
      $0.verify = .crc32c
      $0.regionByteCount = 16 * kib
    }
    let (_, state) = try site.run([site.planned(writer)])
    let reader = site.job(.read) {
      $0.verify = .crc32c
      $0.offsetBytes = 32 * kib
      $0.regionByteCount = 16 * kib
    }
    let (result, _) = try site.run([site.planned(reader, saved: state)])
    #expect(result.jobs[0].verification?.blocksChecked == 0)
    let text = NormalReport.text(result)
    #expect(!text.contains("none bad"))
    #expect(text.contains("error  : nothing was checked"))
    // A check that has checked nothing must not pass.
    #expect(!result.isGood)
    #expect(result.jobs[0].errorNumber == 61)
  }

  @Test("nor does a job pass that was to write and to check, and wrote nothing")
  func nothingWritten() throws {
    let site = BenchSite(byteCount: 64 * kib)
    let job = site.job(.rw) {
      $0.verify = .crc32c
      $0.readPercent = 100
    }
    let result = try site.run(job)
    #expect(result.jobs[0].firstError?.hasPrefix("nothing was checked") == true)
    #expect(!result.isGood)
  }

  @Test("a write that failed may be there or not: neither is a fault")
  func failedWrite() throws {
    let site = BenchSite(byteCount: 64 * kib)
    site.target.failure = { $0 == 24 ? .refused(reason: "EIO") : nil }
    let job = site.job(.randrw) {
      $0.verify = .crc32c
      $0.usesRandomMap = false
      $0.isTimeBased = true
      $0.runtimeNanoseconds = second
    }
    let result = try site.run(job)
    #expect(result.jobs[0].verification?.faultCount == 0)
    #expect(result.jobs[0].firstError == "EIO")
  }

  @Test(
    "a saved state is refused for a job that reaches beyond it, and taken for any part of it",
    arguments: [
      (0, 8192, 4096, false), (4096, 8192, 4096, true), (8192, 4096, 4096, true),
      (8192, 8192, 4096, false), (4608, 4096, 4096, false), (4096, 8192, 8192, false),
      (4096, 9000, 4096, true), (1 << 40, 4096, 4096, false),
    ] as [(UInt64, UInt64, UInt64, Bool)])
  func coverage(offset: UInt64, size: UInt64, blockByteCount: UInt64, isCovered: Bool) {
    let state = VerifyState(
      seed: 1, run: 2, blockByteCount: 4096, offsetBytes: 4096, generations: [1, 1])
    var job = JobOptions()
    (job.offsetBytes, job.regionByteCount) = (offset, size)
    (job.blockByteCountMin, job.blockByteCountMax) = (blockByteCount, blockByteCount)
    #expect((state.objection(to: job) == nil) == isCovered)
  }

  @Test("a damaged saved state is refused")
  func damagedState() throws {
    let state = VerifyState(
      seed: 1, run: 2, blockByteCount: 4096, offsetBytes: 0, generations: [1, 0, 3])
    let good = state.encoded
    #expect(try VerifyState(decoding: good) == state)
    for index in good.indices {
      var bad = good
      bad[index] ^= 1
      #expect(throws: VerifyStateError.self) { try VerifyState(decoding: bad) }
    }
    for count in 0..<good.count {
      #expect(throws: VerifyStateError.self) { try VerifyState(decoding: Array(good[..<count])) }
    }
  }
}
