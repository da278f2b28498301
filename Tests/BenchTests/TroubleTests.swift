import Bench
import Control
import Simulator
import TestSupport
import Testing
import Units

@Suite("Bench: errors, time limits and interrupts")
struct TroubleTests {
  @Test("a refused operation ends its job, is told, and leaves the others running")
  func refused() throws {
    let site = BenchSite()
    let other = BenchSite(byteCount: 64 * kib)
    site.target.failure = { $0 == 10 ? .refused(reason: "read at offset 1: EIO") : nil }
    let good = TestTarget(site.machine, byteCount: other.target.byteCount)
    let goodJob = site.job(.read) { $0.regionByteCount = 64 * kib }
    let (result, _) = try site.run([
      site.planned(site.job(.read)), PlannedJob(options: goodJob, targets: [good]),
    ])
    #expect(result.jobs[0].firstError == "read at offset 1: EIO")
    #expect(result.jobs[0].errorCount == 1)
    #expect(result.jobs[0].read.operationCount == 9)
    #expect(result.jobs[1].firstError == nil)
    #expect(result.jobs[1].read.operationCount == 16)
    #expect(!result.isGood)
  }

  @Test("a target that is lost ends the job; what was measured until then is told")
  func lost() throws {
    let site = BenchSite()
    site.target.failure = { $0 >= 100 ? .lost(reason: "the connection is closed") : nil }
    let result = try site.run(site.job(.randwrite) { $0.ioDepth = 8 })
    #expect(result.jobs[0].firstError == "the target is lost: the connection is closed")
    #expect((92...99).contains(result.jobs[0].write.operationCount))
    #expect(site.target.calls.count <= 115)
    let text = NormalReport.text(result)
    #expect(text.contains("the connection is closed") && text.contains("IOPS"))
  }

  @Test("a target that does not answer ends the run a second after the time limit")
  func hangs() throws {
    let site = BenchSite()
    site.target.hangsFrom = 50
    var environment = RunEnvironment()
    environment.timeoutNanoseconds = 3 * second
    let job = site.job(.randread) { $0.ioDepth = 4 }
    let (result, _) = try site.run([site.planned(job)], environment: environment)
    #expect(result.jobs[0].firstError == "no answer from test within 3 s")
    #expect(result.abandonedOperationCount == 4)
    #expect(result.elapsedNanoseconds > 4 * second && result.elapsedNanoseconds < 5 * second)
    #expect((46...49).contains(result.jobs[0].read.operationCount))
    #expect(!result.isGood)
  }

  @Test("a target that hangs is told of once, however long other jobs go on")
  func hangsBesideOthers() throws {
    let site = BenchSite()
    site.target.hangsFrom = 50
    var environment = RunEnvironment()
    environment.timeoutNanoseconds = second
    let good = TestTarget(site.machine, byteCount: 64 * kib)
    let goodJob = site.job(.read) {
      $0.regionByteCount = 64 * kib
      $0.rateIOPS = 100
      $0.isTimeBased = true
      $0.runtimeNanoseconds = 10 * second
    }
    let (result, _) = try site.run(
      [
        site.planned(site.job(.randread) { $0.ioDepth = 4 }),
        PlannedJob(options: goodJob, targets: [good]),
      ], environment: environment)
    #expect(result.jobs[0].errorCount == 1)
    #expect(result.abandonedOperationCount == 4)
    #expect(result.jobs[1].firstError == nil)
    #expect((999...1001).contains(result.jobs[1].read.operationCount))
  }

  @Test("a flush that does not answer is no different")
  func flushHangs() throws {
    let site = BenchSite()
    site.target.hangsFrom = 3
    var environment = RunEnvironment()
    environment.timeoutNanoseconds = second
    let job = site.job(.write) { $0.fsyncInterval = 2 }
    let (result, _) = try site.run([site.planned(job)], environment: environment)
    #expect(result.jobs[0].write.operationCount == 2)
    #expect(result.abandonedOperationCount == 1)
  }

  @Test("an interrupt stops issuing, waits for what is in flight, and counts it")
  func interrupt() throws {
    let site = BenchSite()
    site.target.latencyNanoseconds = 50_000_000
    let job = site.job(.randread) {
      $0.ioDepth = 4
      $0.isTimeBased = true
      $0.runtimeNanoseconds = 1000 * second
    }
    let machine = site.machine
    let (result, _) = try site.run([site.planned(job)]) { run in
      await machine.sleep(nanoseconds: 12_310_000_000)
      await run.interrupt()
    }
    #expect(result.interruptionNote?.hasPrefix("interrupted after 12.3 s") == true)
    #expect(result.jobs[0].read.operationCount == UInt64(site.target.calls.count))
    #expect(site.target.inFlight == 0)
    #expect(result.elapsedNanoseconds < 13 * second)
    #expect(result.isGood)
    #expect(NormalReport.text(result).hasPrefix("interrupted after 12.3 s"))
  }

  @Test("an interrupt waits five seconds at most for a target that hangs")
  func interruptHung() throws {
    let site = BenchSite()
    site.target.hangsFrom = 10
    let job = site.job(.randread) { $0.ioDepth = 2 }
    let machine = site.machine
    let (result, _) = try site.run([site.planned(job)]) { run in
      await machine.sleep(nanoseconds: second)
      await run.interrupt()
    }
    #expect(result.abandonedOperationCount == 2)
    #expect(result.elapsedNanoseconds > 5 * second && result.elapsedNanoseconds < 7 * second)
    #expect(result.jobs[0].read.operationCount > 0)
  }

  @Test("an interrupt ends what waits for its rate, and jobs behind a stonewall never start")
  func interruptWaiting() throws {
    let site = BenchSite()
    let slow = site.job(.randread) {
      $0.rateIOPS = 1
      $0.ioDepth = 16
    }
    let later = site.job(.write) { $0.waitsForPrevious = true }
    let machine = site.machine
    let (result, _) = try site.run([site.planned(slow), site.planned(later)]) { run in
      await machine.sleep(nanoseconds: 3_500_000_000)
      await run.interrupt()
    }
    #expect(result.elapsedNanoseconds < 4 * second)
    #expect(site.target.calls(of: .write).isEmpty)
    #expect(result.jobs[0].read.operationCount == 4)
    #expect(result.jobs[1].write.operationCount == 0)
  }

  @Test("a ramp and a runtime of centuries each are no trouble, with progress shown")
  func centuries() throws {
    let site = BenchSite()
    let lines = Box<[RunProgress]>([])
    var environment = RunEnvironment()
    environment.progressNanoseconds = second
    environment.showProgress = { lines.value.append($0) }
    let job = site.job(.randread) {
      $0.rateIOPS = 10
      $0.isTimeBased = true
      $0.rampNanoseconds = .max - 1
      $0.runtimeNanoseconds = .max - 1
    }
    let machine = site.machine
    let (result, _) = try site.run([site.planned(job)], environment: environment) { run in
      await machine.sleep(nanoseconds: 5 * second)
      await run.interrupt()
    }
    #expect(lines.value.count >= 3)
    #expect(lines.value.allSatisfy { $0.isRamping && $0.fraction < 0.001 })
    #expect(result.jobs[0].read.operationCount == 0)
  }

  @Test("an interrupt before the run begins: nothing is started")
  func interruptedEarly() throws {
    let site = BenchSite()
    let (machine, job) = (site.machine, site.planned(site.job(.randwrite)))
    let result = try machine.run {
      let run = BenchRun(jobs: [job], environment: RunEnvironment(), machine: machine)
      await run.interrupt()
      await machine.sleep(nanoseconds: second)
      return await run.run()
    }
    #expect(result?.interruptedAfterNanoseconds == 0)
    #expect(site.target.calls.isEmpty)
  }

  @Test("what the client's processor did in the ramp is not charged to what was counted")
  func processorInRamp() throws {
    let site = BenchSite()
    var environment = RunEnvironment()
    let target = site.target
    environment.processorTime = {
      ProcessorTime(userNanoseconds: UInt64(target.calls.count) * 1000)
    }
    let job = site.job(.randwrite) {
      $0.isTimeBased = true
      $0.rampNanoseconds = 3 * second
      $0.runtimeNanoseconds = second
      $0.verify = .crc32c
      $0.fsyncInterval = 2
    }
    let result = try site.run(job, environment: environment)
    #expect(result.isGood && result.operationCount > 1000)
    let client = try #require(JSONReport.value(result)["client"])
    #expect(client["cpu_ns_per_io"] == .real(1000))
    #expect(NormalReport.text(result).contains("client cpu 1.00 us and"))
  }

  @Test("progress tells the share done, the rates and what is left")
  func progress() throws {
    let site = BenchSite()
    let lines = Box<[RunProgress]>([])
    var environment = RunEnvironment()
    environment.progressNanoseconds = second
    environment.showProgress = { lines.value.append($0) }
    let job = site.job(.randread) {
      $0.rateIOPS = 100
      $0.isTimeBased = true
      $0.runtimeNanoseconds = 10 * second
    }
    _ = try site.run(job, environment: environment)
    #expect((8...10).contains(lines.value.count))
    let middle = try #require(lines.value.dropFirst(4).first)
    #expect(middle.fraction > 0.45 && middle.fraction < 0.6)
    #expect(middle.iops[0] > 90 && middle.iops[0] < 110)
    let left = try #require(middle.remainingNanoseconds)
    #expect(left > 4 * second && left < 6 * second)
    #expect(middle.line.contains("read 10") || middle.line.contains("read 9"))
  }
}
