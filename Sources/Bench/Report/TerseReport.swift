import Control
import Units

/// fio's terse format, version 3: one line a job, fields between semicolons.
///
/// The fields that Ashlar has no figure for (submission latency, distribution of depths, disk
/// utilisation) are 0. Latencies are in microseconds, as the format has it.
package enum TerseReport {
  /// One line for each job.
  package static func text(_ run: RunResult) -> String {
    run.jobs.map { line($0, run) + "\n" }.joined()
  }

  private static func line(_ job: JobResult, _ run: RunResult) -> String {
    var fields = ["3", "ashlar-\(ashlarVersion)", clean(job.options.name)]
    fields += ["\(job.groupNumber)", "\(job.errorNumber)"]
    for result in [job.read, job.write] { fields += direction(result, run) }
    let time = Double(max(1, job.wholeNanoseconds))
    fields.append(Figure.fixed(Double(job.processor.userNanoseconds) / time * 100, 6) + "%")
    fields.append(Figure.fixed(Double(job.processor.systemNanoseconds) / time * 100, 6) + "%")
    fields += ["\(job.processor.contextSwitches)", "\(job.processor.majorFaults)"]
    fields.append("\(job.processor.minorFaults)")
    fields += depths(job.options.ioDepth)
    fields += latencyShares(job)
    return fields.joined(separator: ";")
  }

  /// A name must not look like two fields or two lines.
  private static func clean(_ name: String) -> String {
    String(name.map { $0 == ";" || $0.isNewline ? "_" : $0 })
  }

  private static func direction(_ result: DirectionResult, _ run: RunResult) -> [String] {
    let milliseconds = (result.runtimeNanoseconds + 500_000) / 1_000_000
    var fields = ["\(result.byteCount / 1024)", Figure.fixed(result.bytesPerSecond / 1024, 0)]
    fields += [Figure.fixed(result.iops, 0), "\(milliseconds)"]
    fields += ["0", "0", "0.000000", "0.000000"]
    fields += latency(result.latency)
    for percent in LatencyHistogram.reportedPercents {
      fields.append(
        "\(Figure.fixed(percent, 6))%=\(result.latency.latency(atPercent: percent) / 1000)")
    }
    fields += ["0%=0", "0%=0", "0%=0"]
    fields += latency(result.latency)
    let rates = result.bandwidthSamples
    fields += [Figure.fixed(rates.minimum / 1024, 0), Figure.fixed(rates.maximum / 1024, 0)]
    fields.append(result.operationCount > 0 ? "100.000000%" : "0.000000%")
    fields += [Figure.fixed(rates.mean / 1024, 6), Figure.fixed(rates.deviation / 1024, 6)]
    return fields
  }

  private static func latency(_ record: LatencyHistogram) -> [String] {
    [
      "\(record.minimumNanoseconds / 1000)", "\(record.maximumNanoseconds / 1000)",
      Figure.fixed(Double(record.meanNanoseconds) / 1000, 6),
      Figure.fixed(record.standardDeviationNanoseconds / 1000, 6),
    ]
  }

  /// The whole run at the job's depth: it is held there.
  private static func depths(_ depth: Int) -> [String] {
    var level = 0
    while level < 6, 1 << (level + 1) <= depth { level += 1 }
    return (0...6).map { $0 == level ? "100.0%" : "0.0%" }
  }

  /// In microseconds: how the latencies fall between these bounds.
  private static let bounds: [UInt64] = [
    2, 4, 10, 20, 50, 100, 250, 500, 750, 1000, 2000, 4000, 10_000, 20_000, 50_000, 100_000,
    250_000, 500_000, 750_000, 1_000_000, 2_000_000,
  ]

  private static func latencyShares(_ job: JobResult) -> [String] {
    var all = LatencyHistogram()
    for direction in OperationKind.allCases { all.merge(job[direction].latency) }
    var fields: [String] = []
    var before = 0.0
    for bound in bounds + [.max] {
      let share = bound == .max ? 1 : all.share(upTo: bound * 1000)
      fields.append(Figure.fixed(max(0, share - before) * 100, 2) + "%")
      before = share
    }
    return fields
  }
}
