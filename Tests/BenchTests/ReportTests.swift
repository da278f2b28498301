import Control
import IO
import Testing
import Units

@testable import Bench

@Suite("Bench: reports")
struct ReportTests {
  private func latency(_ values: [UInt64]) -> LatencyHistogram {
    var histogram = LatencyHistogram()
    for value in values { histogram.record(nanoseconds: value) }
    return histogram
  }

  /// 100 reads of 4 KiB in two seconds, half of them 50 us and half 60 us.
  private var run: RunResult {
    var options = JobOptions()
    options.name = "oltp"
    options.workload = .randread
    options.ioDepth = 4
    var job = JobResult(options: options, target: "file /a (direct)")
    job.read.operationCount = 100
    job.read.byteCount = 409_600
    job.read.runtimeNanoseconds = 2_000_000_000
    job.read.latency = latency(
      [UInt64](repeating: 50, count: 50) + [UInt64](repeating: 60, count: 50))
    job.sync.operationCount = 2
    job.sync.latency = latency([10, 20])
    job.runtimeNanoseconds = 2_000_000_000
    job.wholeNanoseconds = 2_000_000_000
    job.processor = ProcessorTime(
      userNanoseconds: 200_000_000, systemNanoseconds: 400_000_000, contextSwitches: 7)
    var run = RunResult()
    run.jobs = [job]
    run.elapsedNanoseconds = 2_010_000_000
    run.processor = job.processor
    run.loop.enterCount = 50
    run.performedOperationCount = 100
    run.startedMilliseconds = 1_700_000_000_123
    return run
  }

  @Test("the normal report, word for word")
  func normal() {
    let expected = """
      oltp: randread, bs 4k, depth 4, on file /a (direct)
        read   : 50 IOPS, 200 KiB/s (205 kB/s), 400 KiB in 2.00 s
          latency: min 50 ns, mean 55 ns, stdev 5 ns, max 60 ns
               p1   50 ns     p5   50 ns    p10   50 ns    p20   50 ns    p30   50 ns    p40   50 ns
              p50   50 ns    p60   60 ns    p70   60 ns    p80   60 ns    p90   60 ns    p95   60 ns
              p99   60 ns  p99.5   60 ns  p99.9   60 ns p99.95   60 ns p99.99   60 ns
        sync   : 2 (fsync and fdatasync)
          latency: min 10 ns, mean 15 ns, stdev 7 ns, max 20 ns
               p1   10 ns     p5   10 ns    p10   10 ns    p20   10 ns    p30   10 ns    p40   10 ns
              p50   10 ns    p60   20 ns    p70   20 ns    p80   20 ns    p90   20 ns    p95   20 ns
              p99   20 ns  p99.5   20 ns  p99.9   20 ns p99.95   20 ns p99.99   20 ns
        cpu    : user 10.0 %, system 20.0 % of one processor

      run: 2.01 s, client cpu 6.00 ms and 0.500 calls into the kernel per operation

      """
    #expect(NormalReport.text(run) == expected)
  }

  @Test("jobs that ran one after the other are not summed up as if they had run at once")
  func sumsByGroup() throws {
    var run = run
    run.jobs.append(run.jobs[0])
    #expect(NormalReport.text(run).contains("all read : 100 IOPS"))
    run.jobs[1].groupNumber = 1
    #expect(!NormalReport.text(run).contains("all read"))
    run.jobs.append(run.jobs[1])
    #expect(NormalReport.text(run).contains("group 2 read : 100 IOPS"))
    #expect(!NormalReport.text(run).contains("all read"))
  }

  @Test("the JSON report has fio's names with fio's units")
  func json() throws {
    let document = try JSONValue.decode(JSONReport.value(run).encode())
    let job = try #require(document["jobs"]?.array?.first)
    #expect(job["jobname"]?.string == "oltp")
    #expect(job["error"]?.integer == 0)
    #expect(job["job options"]?["rw"]?.string == "randread")
    #expect(job["job options"]?["iodepth"]?.string == "4")
    let read = try #require(job["read"])
    #expect(read["io_bytes"]?.integer == 409_600)
    #expect(read["io_kbytes"]?.integer == 400)
    #expect(read["bw_bytes"]?.integer == 204_800)
    #expect(read["bw"]?.integer == 200)
    #expect(read["iops"] == .real(50))
    #expect(read["runtime"]?.integer == 2000)
    #expect(read["total_ios"]?.integer == 100)
    for name in ["clat_ns", "lat_ns"] {
      let latency = try #require(read[name])
      #expect(latency["min"]?.integer == 50)
      #expect(latency["max"]?.integer == 60)
      #expect(latency["N"]?.integer == 100)
      #expect(latency["percentile"]?["50.000000"]?.integer == 50)
      #expect(latency["percentile"]?["99.990000"]?.integer == 60)
    }
    #expect(job["write"]?["total_ios"]?.integer == 0)
    #expect(job["sync"]?["total_ios"]?.integer == 2)
    #expect(job["sync"]?["lat_ns"]?["max"]?.integer == 20)
    #expect(job["usr_cpu"] == .real(10))
    #expect(document["interrupted"]?.bool == false)
    #expect(document["timestamp_ms"]?.integer == 1_700_000_000_123)
  }

  @Test("the terse report has fio's 121 fields of version 3, each in its place")
  func terse() {
    let lines = TerseReport.text(run).split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines.count == 2)
    let fields = lines[0].split(separator: ";", omittingEmptySubsequences: false).map(String.init)
    #expect(fields.count == 121)
    #expect(fields[0] == "3" && fields[1].hasPrefix("ashlar-") && fields[2] == "oltp")
    #expect(fields[5...8] == ["400", "200", "50", "2000"])
    #expect(fields[13...16] == ["0", "0", "0.055000", "0.005025"])
    #expect(fields[17] == "1.000000%=0" && fields[33] == "99.990000%=0" && fields[36] == "0%=0")
    #expect(fields[46] == "0", "writes begin here")
    #expect(fields[87] == "10.000000%" && fields[88] == "20.000000%" && fields[89] == "7")
    #expect(fields[92...98] == ["0.0%", "0.0%", "100.0%", "0.0%", "0.0%", "0.0%", "0.0%"])
    #expect(fields[99] == "100.00%", "all latencies below 2 us")
  }

  @Test("a name with semicolons and lines stays one field")
  func terseName() {
    var odd = run
    odd.jobs[0].options.name = "a;b\nc"
    let text = TerseReport.text(odd)
    #expect(text.contains(";a_b_c;"))
    #expect(text.split(separator: "\n").count == 1)
  }

  @Test(
    "figures have three digits and a unit",
    arguments: [
      (0, "0"), (7.5, "7.50"), (42, "42"), (999, "999"), (999.7, "1.00k"), (12_345, "12.3k"),
      (1_050_000, "1.05M"), (2.5e9, "2.50G"),
    ])
  func shortFigures(value: Double, text: String) {
    #expect(Figure.short(value) == text)
  }

  @Test(
    "times go from nanoseconds to seconds",
    arguments: [
      (0, "0 ns"), (999, "999 ns"), (1000, "1.00 us"), (12_340, "12.3 us"), (5e6, "5.00 ms"),
      (2e9, "2.00 s"), (3.6e12, "3600 s"),
    ])
  func times(value: Double, text: String) {
    #expect(Figure.time(value) == text)
  }
}
