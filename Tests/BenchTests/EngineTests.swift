import Bench
import IO
import Simulator
import TestSupport
import Testing
import Units

@Suite("Bench: engine")
struct EngineTests {
  @Test("a sequential job touches every block once, in order, and ends by itself")
  func sequential() throws {
    let site = BenchSite(byteCount: 256 * kib)
    let result = try site.run(site.job(.read))
    #expect(site.target.calls.map(\.offsetBytes) == (0..<64).map { UInt64($0) * 4096 })
    #expect(result.jobs[0].read.operationCount == 64)
    #expect(result.jobs[0].read.byteCount == 256 * kib)
    #expect(result.jobs[0].write.operationCount == 0)
    #expect(result.isGood)
  }

  @Test("a random job touches every block once a pass", arguments: [1, 7, 32])
  func randomOnce(depth: Int) throws {
    let site = BenchSite(byteCount: 512 * kib)
    _ = try site.run(site.job(.randwrite) { $0.ioDepth = depth })
    let offsets = site.target.calls.map(\.offsetBytes)
    #expect(offsets.sorted() == (0..<128).map { UInt64($0) * 4096 })
    #expect(offsets != offsets.sorted())
  }

  @Test("the depth is reached and never exceeded", arguments: [1, 2, 16, 64])
  func depth(depth: Int) throws {
    let site = BenchSite()
    _ = try site.run(site.job(.randread) { $0.ioDepth = depth })
    #expect(site.target.inFlightMax == depth)
  }

  @Test("clones each have their depth and do their own whole size")
  func clones() throws {
    let site = BenchSite(byteCount: 128 * kib)
    let job = site.job(.randread) {
      $0.jobCount = 3
      $0.ioDepth = 4
    }
    let result = try site.run(job)
    #expect(site.target.inFlightMax == 12)
    #expect(result.jobs.count == 3)
    #expect(result.jobs.allSatisfy { $0.read.operationCount == 32 })
    // Each in an order of its own.
    #expect(site.target.calls.count == 96)
  }

  @Test("with group_reporting clones are one entry, which adds them up")
  func groups() throws {
    let site = BenchSite(byteCount: 128 * kib)
    let job = site.job(.randread) {
      $0.jobCount = 3
      $0.isGroupReporting = true
    }
    let result = try site.run(job)
    #expect(result.jobs.count == 1)
    #expect(result.jobs[0].cloneCount == 3)
    #expect(result.jobs[0].read.operationCount == 96)
    #expect(result.jobs[0].read.latency.count == 96)
  }

  @Test("so are the sections of a file that have it and run at once, as in fio; a stonewall parts")
  func groupOfSections() throws {
    let site = BenchSite(byteCount: 128 * kib)
    func section(_ name: String, _ workload: Workload, waits: Bool = false) -> JobOptions {
      site.job(workload) {
        $0.name = name
        $0.isGroupReporting = true
        $0.waitsForPrevious = waits
      }
    }
    let alone = site.job(.read) { $0.name = "alone" }
    let result = try site.run(
      alone, section("a", .read), section("b", .write), section("c", .read, waits: true))
    #expect(result.jobs.map(\.options.name) == ["alone", "a", "c"])
    #expect(result.jobs.map(\.cloneCount) == [1, 2, 1])
    #expect(result.jobs.map(\.read.operationCount) == [32, 32, 32])
    #expect(result.jobs.map(\.write.operationCount) == [0, 32, 0])
    let text = NormalReport.text(result)
    #expect(text.contains("\na, b: 2 jobs together, on test\n"))
    #expect(text.contains("\nc: read, bs 4k, depth 1, on test\n"))
  }

  @Test("rate_iops is exact over ten seconds, and evenly spaced", arguments: [1, 8])
  func rate(depth: Int) throws {
    let site = BenchSite()
    let job = site.job(.randread) {
      $0.rateIOPS = 200
      $0.ioDepth = depth
      $0.isTimeBased = true
      $0.runtimeNanoseconds = 10 * second
    }
    let result = try site.run(job)
    #expect(result.jobs[0].read.operationCount == 2000)
    let starts = site.target.calls.map(\.startNanoseconds)
    let gaps = zip(starts.dropFirst(), starts).map { $0 - $1 }
    // 5 ms apart, but for the lateness of timers and jobs.
    #expect(gaps.allSatisfy { $0 > 4_900_000 && $0 < 5_100_000 })
  }

  @Test("a low rate is not told as a higher one: the wait for the next turn is part of the runtime")
  func lowRate() throws {
    let site = BenchSite()
    let job = site.job(.randread) {
      $0.rateIOPS = 2
      $0.ioDepth = 4
      $0.isTimeBased = true
      $0.runtimeNanoseconds = 3 * second
    }
    let result = try site.run(job)
    #expect(result.jobs[0].read.operationCount == 6)
    #expect(result.jobs[0].read.iops == 2)
  }

  @Test("places that wait for their turn end with the last operation of the job")
  func rateEnds() throws {
    let site = BenchSite()
    let job = site.job(.randread) {
      $0.rateIOPS = 1
      $0.ioDepth = 32
      $0.operationCountMax = 4
    }
    let result = try site.run(job)
    #expect(result.jobs[0].read.operationCount == 4)
    #expect(result.elapsedNanoseconds < 4 * second)
    // Nothing is waited for behind the last.
    #expect(result.jobs[0].runtimeNanoseconds < 3_010_000_000)
  }

  @Test("a rate that the target cannot keep is not made up for in a burst")
  func rateBeyondTarget() throws {
    let site = BenchSite()
    site.target.latencyNanoseconds = 20_000_000
    let job = site.job(.randread) {
      $0.rateIOPS = 1000
      $0.isTimeBased = true
      $0.runtimeNanoseconds = second
    }
    let result = try site.run(job)
    #expect((49...50).contains(result.jobs[0].read.operationCount))
  }

  @Test("what the ramp does is not counted, and the runtime starts behind it")
  func ramp() throws {
    let site = BenchSite()
    let job = site.job(.randread) {
      $0.rateIOPS = 100
      $0.rampNanoseconds = 2 * second
      $0.isTimeBased = true
      $0.runtimeNanoseconds = 3 * second
    }
    let result = try site.run(job)
    #expect((499...501).contains(site.target.calls.count))
    #expect((299...301).contains(result.jobs[0].read.operationCount))
    let runtime = result.jobs[0].runtimeNanoseconds
    #expect(runtime > 2_980_000_000 && runtime < 3_020_000_000)
    #expect((99...101).contains(result.jobs[0].read.iops.rounded()))
  }

  @Test("size is counted anew behind the ramp")
  func rampThenSize() throws {
    let site = BenchSite(byteCount: 64 * kib)
    let job = site.job(.read) {
      $0.rateIOPS = 100
      $0.rampNanoseconds = second
    }
    let result = try site.run(job)
    #expect((16...17).contains(result.jobs[0].read.operationCount))
    #expect(site.target.calls.count >= 115)
  }

  @Test("what is in flight when the ramp ends counts towards number_ios and size")
  func rampThenLimits() throws {
    let site = BenchSite(byteCount: 64 * kib)
    let ramped = { (options: inout JobOptions) in
      options.ioDepth = 8
      options.rampNanoseconds = 1_050_000
    }
    let byNumber = site.job(.randread) {
      ramped(&$0)
      $0.operationCountMax = 13
    }
    #expect(try site.run(byNumber).jobs[0].read.operationCount == 13)
    let bySize = site.job(.randread) { ramped(&$0) }
    #expect(try site.run(bySize).jobs[0].read.byteCount == 64 * kib)
    let checked = site.job(.randwrite) {
      ramped(&$0)
      $0.verify = .crc32c
      $0.distribution = .zipf(theta: 1.2)
    }
    #expect(try site.run(checked).jobs[0].write.byteCount == 64 * kib)
  }

  @Test("without time_based a job that has done its size ends before its runtime")
  func runtimeEndsEarly() throws {
    let site = BenchSite(byteCount: 64 * kib)
    let result = try site.run(site.job(.read) { $0.runtimeNanoseconds = 100 * second })
    #expect(result.jobs[0].read.operationCount == 16)
    #expect(result.elapsedNanoseconds < second)
  }

  @Test("runtime ends a job that has not done its size")
  func runtimeEnds() throws {
    let site = BenchSite()
    site.target.latencyNanoseconds = 100_000_000
    let result = try site.run(site.job(.read) { $0.runtimeNanoseconds = second })
    #expect((10...11).contains(result.jobs[0].read.operationCount))
  }

  @Test("with time_based a job starts over, random ones in another order")
  func timeBased() throws {
    let site = BenchSite(byteCount: 64 * kib)
    let job = site.job(.randread) {
      $0.isTimeBased = true
      $0.runtimeNanoseconds = 20_000_000
    }
    _ = try site.run(job)
    let offsets = site.target.calls.map(\.offsetBytes)
    #expect(offsets.count > 100)
    let first = Array(offsets[0..<16])
    let second = Array(offsets[16..<32])
    #expect(first.sorted() == second.sorted())
    #expect(first != second)
  }

  @Test("io_size beyond size goes round; below it ends early")
  func ioSize() throws {
    for (bytes, count) in [(32 * kib, 8), (160 * kib, 40)] {
      let site = BenchSite(byteCount: 64 * kib)
      let result = try site.run(site.job(.read) { $0.ioByteCount = bytes })
      #expect(result.jobs[0].read.operationCount == UInt64(count))
    }
  }

  @Test("number_ios stops before size and before time")
  func numberOfOperations() throws {
    let site = BenchSite()
    let job = site.job(.randwrite) {
      $0.operationCountMax = 37
      $0.ioDepth = 8
      $0.isTimeBased = true
      $0.runtimeNanoseconds = 100 * second
    }
    let result = try site.run(job)
    #expect(result.jobs[0].write.operationCount == 37)
    #expect(site.target.calls.count == 37)
  }

  @Test("fsync comes after every N writes, fdatasync likewise; both are counted apart")
  func syncs() throws {
    let site = BenchSite(byteCount: 400 * kib)
    let job = site.job(.randwrite) {
      $0.fsyncInterval = 10
      $0.fdatasyncInterval = 4
    }
    let result = try site.run(job)
    #expect(site.target.calls(of: .flush).count == 10)
    #expect(site.target.calls(of: .flushData).count == 25)
    #expect(result.jobs[0].sync.operationCount == 35)
    #expect(result.jobs[0].sync.latency.count == 35)
    #expect(result.jobs[0].write.operationCount == 100)
    let firstSyncs = site.target.calls.prefix(14).map(\.kind)
    #expect(firstSyncs[4] == .flushData && firstSyncs[9] == .flushData)
    #expect(firstSyncs[12] == .flush)
  }

  @Test("reads do not count towards fsync")
  func syncsCountWritesOnly() throws {
    let site = BenchSite()
    let job = site.job(.randrw) {
      $0.fsyncInterval = 1
      $0.readPercent = 70
    }
    let result = try site.run(job)
    #expect(result.jobs[0].sync.operationCount == result.jobs[0].write.operationCount)
    #expect(result.jobs[0].read.operationCount > result.jobs[0].write.operationCount)
  }

  @Test("end_fsync flushes once, at the end")
  func endFsync() throws {
    let site = BenchSite(byteCount: 64 * kib)
    _ = try site.run(site.job(.write) { $0.flushesAtEnd = true })
    #expect(site.target.calls(of: .flush).count == 1)
    #expect(site.target.calls.last?.kind == .flush)
  }

  @Test("jobs run together, and a stonewall waits for all before it")
  func stonewall() throws {
    let site = BenchSite(byteCount: 64 * kib)
    let result = try site.run(
      site.job(.read), site.job(.write),
      site.job(.trim) { $0.waitsForPrevious = true })
    let kinds = site.target.calls.map(\.kind)
    let firstTrim = try #require(kinds.firstIndex(of: .trim))
    #expect(firstTrim == 32)
    #expect(kinds[32...].allSatisfy { $0 == .trim })
    #expect(site.target.inFlightMax == 2)
    #expect(result.jobs.map(\.groupNumber) == [0, 0, 1])
    #expect(result.jobs[2].trim.operationCount == 16)
    #expect(result.notes.contains { $0.contains("share one thread") })
  }

  @Test("what is written is neither zero nor twice the same, and every sector bears the mark")
  func contents() throws {
    let site = BenchSite(byteCount: 64 * kib)
    _ = try site.run(
      site.job(.write) {
        $0.blockByteCountMin = 8192; $0.blockByteCountMax = 8192
      })
    let memory = site.target.memory.buffer
    var seen: Set<[UInt8]> = []
    for start in stride(from: 0, to: Int(64 * kib), by: 512) {
      let sector = memory.slice(start, 512)
      #expect(BenchMark.isMarked(sector))
      #expect(seen.insert(sector.array).inserted)
    }
  }

  @Test("a run shorter than an interval is one sample")
  func oneSample() throws {
    let site = BenchSite()
    var environment = RunEnvironment()
    environment.keepsSamples = true
    environment.sampleNanoseconds = second
    let result = try site.run(site.job(.randread), environment: environment)
    #expect(result.elapsedNanoseconds < second / 2)
    #expect(result.samples.map { $0.operationCounts[0] } == [256])
    #expect(result.samples.map(\.endNanoseconds) == [result.elapsedNanoseconds])
  }

  @Test("what a job did last before a stonewall is in the samples, too")
  func samplesAtStonewall() throws {
    let site = BenchSite()
    var environment = RunEnvironment()
    environment.keepsSamples = true
    environment.sampleNanoseconds = second
    let paced = { (options: inout JobOptions) in
      options.rateIOPS = 100
      options.isTimeBased = true
      options.runtimeNanoseconds = 2_500_000_000
    }
    let first = site.job(.randread) { paced(&$0) }
    let second = site.job(.randwrite) {
      paced(&$0)
      $0.waitsForPrevious = true
    }
    let result = try site.run(first, second, environment: environment)
    #expect(result.jobs[0].read.operationCount == 250)
    #expect(result.samples.reduce(0) { $0 + $1.operationCounts[0] } == 250)
  }

  @Test("samples cover the run, and their operations are all that were counted")
  func samples() throws {
    let site = BenchSite()
    var environment = RunEnvironment()
    environment.keepsSamples = true
    environment.sampleNanoseconds = second
    let job = site.job(.randread) {
      $0.rateIOPS = 100
      $0.isTimeBased = true
      $0.runtimeNanoseconds = 10 * second
    }
    let result = try site.run(job, environment: environment)
    #expect((9...10).contains(result.samples.count))
    #expect(result.samples.dropLast().allSatisfy { (95...106).contains($0.operationCounts[0]) })
    let total = result.samples.reduce(0) { $0 + $1.operationCounts[0] }
    #expect(total >= 890 && total <= 1000)
    #expect(result.samples.allSatisfy { $0.medianNanoseconds >= 100_000 })
    #expect(result.jobs[0].read.iopsSamples.count >= 8)
    #expect(abs(result.jobs[0].read.iopsSamples.mean - 100) < 3)
  }
}
