import IO
import Units

/// The report for people: compact, in fio's spirit.
package enum NormalReport {
  /// The whole run as text, each line ended.
  package static func text(_ run: RunResult) -> String {
    var text = ""
    if let note = run.interruptionNote { text += note + "\n\n" }
    for job in run.jobs { text += jobText(job) + "\n" }
    text += summary(run)
    for note in run.notes { text += "note: \(note)\n" }
    return text
  }

  private static func jobText(_ job: JobResult) -> String {
    let options = job.options
    var text = ([options.name] + job.otherNames).joined(separator: ", ") + ": "
    if job.otherNames.isEmpty {
      text += "\(options.workload.rawValue), bs \(blockSizes(options)), depth \(options.ioDepth)"
      text += job.cloneCount > 1 ? ", " : ""
    }
    if job.cloneCount > 1 { text += "\(job.cloneCount) jobs together" }
    text += ", on \(job.targets)\n"
    for direction in OperationKind.allCases where job[direction].operationCount > 0 {
      text += directionText(direction.name, job[direction])
    }
    if job.sync.operationCount > 0 { text += syncText(job.sync) }
    if OperationKind.allCases.allSatisfy({ job[$0].operationCount == 0 }) {
      text += "  nothing was counted\n"
    }
    if job.wholeNanoseconds > 0 {
      let time = Double(job.wholeNanoseconds)
      let user = Double(job.processor.userNanoseconds) / time * 100
      let system = Double(job.processor.systemNanoseconds) / time * 100
      text += "  cpu    : user \(Figure.fixed(user, 1)) %, system \(Figure.fixed(system, 1)) %"
      text += " of one processor\n"
    }
    if let verification = job.verification { text += verificationText(verification) }
    if let error = job.firstError {
      let count = job.errorCount
      text += "  error  : \(error)"
      if count > 1 { text += " (the first of \(count))" }
      text += "\n"
    }
    return text
  }

  private static func blockSizes(_ options: JobOptions) -> String {
    let smallest = ByteSize.formatExactly(options.blockByteCountMin)
    guard options.blockByteCountMin != options.blockByteCountMax else { return smallest }
    return "\(smallest)-\(ByteSize.formatExactly(options.blockByteCountMax))"
  }

  private static func directionText(_ name: String, _ result: DirectionResult) -> String {
    var text = "  \(name.padded(right: 7)): \(Figure.short(result.iops)) IOPS, "
    text += "\(Figure.bandwidth(result.bytesPerSecond)), "
    text += "\(Figure.binary(Double(result.byteCount))) in "
    text += "\(Figure.time(Double(result.runtimeNanoseconds)))\n"
    text += latencyText(result.latency)
    if result.iopsSamples.count > 1 {
      text += "    iops   : \(spread(result.iopsSamples) { Figure.short($0) })\n"
      text += "    bw     : \(spread(result.bandwidthSamples) { Figure.binary($0) + "/s" })\n"
    }
    return text
  }

  private static func syncText(_ result: DirectionResult) -> String {
    "  sync   : \(result.operationCount) (fsync and fdatasync)\n" + latencyText(result.latency)
  }

  private static func latencyText(_ latency: LatencyHistogram) -> String {
    var text = "    latency: min \(Figure.time(Double(latency.minimumNanoseconds))), "
    text += "mean \(Figure.time(Double(latency.meanNanoseconds))), "
    text += "stdev \(Figure.time(latency.standardDeviationNanoseconds)), "
    text += "max \(Figure.time(Double(latency.maximumNanoseconds)))\n"
    let percents = LatencyHistogram.reportedPercents
    for start in stride(from: 0, to: percents.count, by: 6) {
      let cells = percents[start..<min(start + 6, percents.count)].map { percent in
        let value = Figure.time(Double(latency.latency(atPercent: percent)))
        return "\(("p" + Figure.percent(percent)).padded(left: 7)) \(value.padded(left: 7))"
      }
      text += "    " + cells.joined() + "\n"
    }
    return text
  }

  private static func spread(_ samples: SampleSummary, _ format: (Double) -> String) -> String {
    "min \(format(samples.minimum)), mean \(format(samples.mean)), "
      + "stdev \(format(samples.deviation)), max \(format(samples.maximum)), "
      + "\(samples.count) samples"
  }

  private static func verificationText(_ result: VerificationResult) -> String {
    var text = "  verify : \(result.blocksChecked) blocks checked "
    text += "(\(Figure.binary(Double(result.byteCount))))"
    if result.passNanoseconds > 0 {
      text += ", read back in \(Figure.time(Double(result.passNanoseconds)))"
    }
    if result.unreadable > 0 { text += ", \(result.unreadable) could not be read" }
    if result.faultCount == 0 { return text + (result.blocksChecked > 0 ? ", none bad\n" : "\n") }
    let kinds = result.faultCounts.map { "\($0.count) \($0.kind)" }.joined(separator: ", ")
    text += ", \(result.faultCount) BAD: \(kinds)\n"
    for sentence in result.sentences { text += "    \(sentence)\n" }
    let left =
      result.faultCount - UInt64(min(result.sentences.count, Int(clamping: result.faultCount)))
    if left > 0 { text += "    and \(left) more\n" }
    return text
  }

  /// What jobs that ran at once have reached together.
  private static func sums(of jobs: [JobResult], _ name: String) -> String {
    guard jobs.count > 1 else { return "" }
    var text = ""
    for direction in OperationKind.allCases {
      let jobs = jobs.filter { $0[direction].operationCount > 0 }
      guard !jobs.isEmpty else { continue }
      let iops = jobs.reduce(0) { $0 + $1[direction].iops }
      let rate = jobs.reduce(0) { $0 + $1[direction].bytesPerSecond }
      let bytes = jobs.reduce(0) { $0 + $1[direction].byteCount }
      text += "\(name) \(direction.name.padded(right: 5)): \(Figure.short(iops)) IOPS, "
      text += "\(Figure.bandwidth(rate)), \(Figure.binary(Double(bytes)))\n"
    }
    return text
  }

  private static func summary(_ run: RunResult) -> String {
    // Rates add up only where they were reached at the same time.
    let groups = Set(run.jobs.map(\.groupNumber)).sorted()
    var text = ""
    for group in groups {
      let name = groups.count > 1 ? "group \(group + 1)" : "all"
      text += sums(of: run.jobs.filter { $0.groupNumber == group }, name)
    }
    text += "run: \(Figure.time(Double(run.elapsedNanoseconds)))"
    let operations = run.performedOperationCount
    if operations > 0 {
      let processor = run.processor.userNanoseconds + run.processor.systemNanoseconds
      text += ", client cpu \(Figure.time(Double(processor) / Double(operations))) and "
      text += Figure.fixed(Double(run.loop.enterCount) / Double(operations), 3)
      text += " calls into the kernel per operation"
    }
    if run.abandonedOperationCount > 0 {
      text += "; \(run.abandonedOperationCount) operations were never answered"
    }
    return text + "\n"
  }
}
