package import Control
import IO
import Units

/// The report for scripts: fio's names where the meaning is fio's, so that what reads fio's JSON
/// reads this.
///
/// docs/bench.md describes every field.
package enum JSONReport {
  /// The version of what is not fio's.
  package static let version: Int64 = 1

  /// The whole run as one document.
  package static func value(_ run: RunResult) -> JSONValue {
    var members: [JSONMember] = [
      JSONMember(name: "ashlar version", value: .string(ashlarVersion)),
      JSONMember(name: "version", value: .integer(version)),
      JSONMember(name: "timestamp", value: .count(run.startedMilliseconds / 1000)),
      JSONMember(name: "timestamp_ms", value: .count(run.startedMilliseconds)),
    ]
    members.append(JSONMember(name: "jobs", value: .array(run.jobs.map { job($0, run) })))
    members.append(
      JSONMember(name: "elapsed_ms", value: .count(milliseconds(run.elapsedNanoseconds))))
    members.append(
      JSONMember(name: "interrupted", value: .bool(run.interruptedAfterNanoseconds != nil)))
    if let after = run.interruptedAfterNanoseconds {
      members.append(JSONMember(name: "interrupted_after_ms", value: .count(milliseconds(after))))
    }
    members.append(JSONMember(name: "abandoned_ios", value: .count(run.abandonedOperationCount)))
    members.append(JSONMember(name: "client", value: client(run)))
    members.append(JSONMember(name: "samples", value: .array(run.samples.map(sample))))
    members.append(JSONMember(name: "notes", value: .array(run.notes.map { .string($0) })))
    return .object(members)
  }

  private static func milliseconds(_ nanoseconds: UInt64) -> UInt64 {
    (nanoseconds + 500_000) / 1_000_000
  }

  private static func client(_ run: RunResult) -> JSONValue {
    let operations = Double(max(1, run.performedOperationCount))
    let processor = run.processor
    let time = processor.userNanoseconds + processor.systemNanoseconds
    return [
      "usr_ns": .count(processor.userNanoseconds), "sys_ns": .count(processor.systemNanoseconds),
      "ctx": .count(processor.contextSwitches),
      "cpu_ns_per_io": .real(Double(time) / operations),
      "enter_calls": .count(run.loop.enterCount),
      "enter_calls_per_io": .real(Double(run.loop.enterCount) / operations),
      "loop_turns": .count(run.loop.turnCount), "loop_jobs": .count(run.loop.jobCount),
      "completions": .count(run.loop.completionCount),
    ]
  }

  private static func job(_ job: JobResult, _ run: RunResult) -> JSONValue {
    let whole = Double(max(1, job.wholeNanoseconds))
    var members: [JSONMember] = [
      JSONMember(name: "jobname", value: .string(job.options.name)),
      JSONMember(name: "groupid", value: .count(job.groupNumber)),
      JSONMember(name: "error", value: .integer(Int64(job.errorNumber))),
      JSONMember(name: "eta", value: .integer(0)),
      JSONMember(
        name: "elapsed", value: .count((job.runtimeNanoseconds + 999_999_999) / 1_000_000_000)),
      JSONMember(name: "target", value: .string(job.targets)),
      JSONMember(name: "clones", value: .count(job.cloneCount)),
      JSONMember(name: "job options", value: options(job.options)),
    ]
    for way in OperationKind.allCases {
      members.append(JSONMember(name: way.name, value: direction(job[way])))
    }
    members.append(
      JSONMember(
        name: "sync",
        value: [
          "total_ios": .count(job.sync.operationCount),
          "lat_ns": latency(job.sync.latency, hasPercentiles: true),
        ]))
    let usage = job.processor
    members += [
      JSONMember(name: "job_runtime", value: .count(milliseconds(job.wholeNanoseconds))),
      JSONMember(name: "usr_cpu", value: .real(Double(usage.userNanoseconds) / whole * 100)),
      JSONMember(name: "sys_cpu", value: .real(Double(usage.systemNanoseconds) / whole * 100)),
      JSONMember(name: "ctx", value: .count(usage.contextSwitches)),
      JSONMember(name: "majf", value: .count(usage.majorFaults)),
      JSONMember(name: "minf", value: .count(usage.minorFaults)),
      JSONMember(name: "total_err", value: .count(job.errorCount)),
    ]
    if let error = job.firstError {
      members.append(JSONMember(name: "first_error", value: .string(error)))
    }
    if let result = job.verification {
      members.append(JSONMember(name: "verify", value: verification(result)))
    }
    return .object(members)
  }

  private static func options(_ options: JobOptions) -> JSONValue {
    .object(
      options.asWritten.map { JSONMember(name: $0.name, value: .string($0.value)) })
  }

  private static func direction(_ result: DirectionResult) -> JSONValue {
    let rates = result.bandwidthSamples
    let iops = result.iopsSamples
    return [
      "io_bytes": .count(result.byteCount), "io_kbytes": .count(result.byteCount / 1024),
      "bw_bytes": whole(result.bytesPerSecond), "bw": whole(result.bytesPerSecond / 1024),
      "iops": .real(result.iops), "runtime": .count(milliseconds(result.runtimeNanoseconds)),
      "total_ios": .count(result.operationCount), "short_ios": .integer(0),
      "drop_ios": .integer(0),
      "slat_ns": latency(LatencyHistogram(), hasPercentiles: false),
      "clat_ns": latency(result.latency, hasPercentiles: true),
      "lat_ns": latency(result.latency, hasPercentiles: true),
      "bw_min": whole(rates.minimum / 1024), "bw_max": whole(rates.maximum / 1024),
      "bw_agg": .real(result.operationCount > 0 ? 100 : 0), "bw_mean": .real(rates.mean / 1024),
      "bw_dev": .real(rates.deviation / 1024), "bw_samples": .count(rates.count),
      "iops_min": whole(iops.minimum), "iops_max": whole(iops.maximum),
      "iops_mean": .real(iops.mean), "iops_stddev": .real(iops.deviation),
      "iops_samples": .count(iops.count),
    ]
  }

  private static func whole(_ value: Double) -> JSONValue {
    .integer(Int64(exactly: value.rounded()) ?? .max)
  }

  private static func latency(_ record: LatencyHistogram, hasPercentiles: Bool) -> JSONValue {
    var members: [JSONMember] = [
      JSONMember(name: "min", value: .count(record.minimumNanoseconds)),
      JSONMember(name: "max", value: .count(record.maximumNanoseconds)),
      JSONMember(name: "mean", value: .real(Double(record.meanNanoseconds))),
      JSONMember(name: "stddev", value: .real(record.standardDeviationNanoseconds)),
      JSONMember(name: "N", value: .count(record.count)),
    ]
    if hasPercentiles, record.count > 0 {
      let values = LatencyHistogram.reportedPercents.map { percent in
        JSONMember(
          name: Figure.fixed(percent, 6), value: .count(record.latency(atPercent: percent)))
      }
      members.append(JSONMember(name: "percentile", value: .object(values)))
    }
    return .object(members)
  }

  private static func verification(_ result: VerificationResult) -> JSONValue {
    [
      "blocks": .count(result.blocksChecked), "io_bytes": .count(result.byteCount),
      "runtime": .count(milliseconds(result.passNanoseconds)),
      "bad": .count(result.faultCount), "unreadable": .count(result.unreadable),
      "faults": .object(
        result.faultCounts.map { JSONMember(name: $0.kind, value: .count($0.count)) }),
      "first": .array(result.sentences.map { .string($0) }),
    ]
  }

  private static func sample(_ sample: IntervalSample) -> JSONValue {
    let seconds = Double(max(1, sample.lengthNanoseconds)) / 1e9
    return [
      "time_ms": .count(milliseconds(sample.endNanoseconds)),
      "read_iops": .real(Double(sample.operationCounts[0]) / seconds),
      "write_iops": .real(Double(sample.operationCounts[1]) / seconds),
      "trim_iops": .real(Double(sample.operationCounts[2]) / seconds),
      "read_bw_bytes": .real(Double(sample.byteCounts[0]) / seconds),
      "write_bw_bytes": .real(Double(sample.byteCounts[1]) / seconds),
      "trim_bw_bytes": .real(Double(sample.byteCounts[2]) / seconds),
      "p50_ns": .count(sample.medianNanoseconds), "p99_ns": .count(sample.percentile99Nanoseconds),
      "max_ns": .count(sample.maximumNanoseconds),
    ]
  }
}
