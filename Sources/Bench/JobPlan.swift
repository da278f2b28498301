package import Control
import Units

/// What a run is to do: the jobs of a command line, or of an ini file and a command line.
///
/// The command line wins over the file, for all its jobs: `--runtime 10` shortens each. (fio
/// takes options before the file's name as defaults instead, which its sections override.)
package struct JobPlan: Sendable {
  /// One job.
  package struct Job: Equatable, Sendable {
    package var options: JobOptions
    /// The names of the options that were given, as in `JobOption.name`: to refuse, for example,
    /// `connections` for a file, where only the target tells that it has no meaning.
    package var given: Set<String>
  }

  package let jobs: [Job]
  /// What was accepted and makes no difference; to be printed.
  package let notes: [String]

  /// The job of a command line alone.
  package init(_ commandLine: JobSettings) throws(UsageError) {
    try self.init(
      [(name: nil, settings: commandLine)], notes: commandLine.notes)
  }

  /// The jobs of a file, with what the command line changes.
  package init(_ file: JobFile, _ commandLine: JobSettings = JobSettings()) throws(UsageError) {
    var global = JobSettings()
    var notes: [String] = []
    var jobs: [(name: String?, settings: JobSettings)] = []
    for (rank, section) in file.sections.enumerated() {
      var settings = JobSettings()
      try settings.add(section, of: file, rank: rank)
      notes += settings.notes
      guard section.name != "global" else {
        global.merge(settings)
        continue
      }
      var all = global
      all.merge(settings)
      all.merge(commandLine)
      jobs.append((section.name, all))
    }
    try self.init(jobs, notes: notes + commandLine.notes)
  }

  private init(
    _ candidates: [(name: String?, settings: JobSettings)], notes: [String]
  ) throws(UsageError) {
    var jobs: [Job] = []
    var usedSubjects: Set<String> = []
    var idleReasons: [(subject: String, reason: String)] = []
    for candidate in candidates {
      var settings = candidate.settings
      try settings.settleRivals()
      // A default that does not concern this job may concern another of the same file.
      for (entry, reason) in settings.idle(in: try settings.applied(jobName: candidate.name)) {
        guard entry.isShared else { throw UsageError("\(entry.subject) \(reason)") }
        idleReasons.append((entry.subject, reason))
        settings.remove(entry.option.name)
      }
      let options = try settings.applied(jobName: candidate.name)
      try settings.check(options)
      usedSubjects.formUnion(settings.entries.values.map(\.subject))
      jobs.append(Job(options: options, given: Set(settings.entries.keys)))
    }
    if let idle = idleReasons.first(where: { !usedSubjects.contains($0.subject) }) {
      throw UsageError("\(idle.subject) \(idle.reason)")
    }
    self.jobs = jobs
    self.notes = notes
  }

  /// Refuses jobs whose buffers take more than half of the memory that is available.
  ///
  /// Each operation in flight has a buffer, which is filled before the job begins: a slip in
  /// `iodepth` would otherwise have the kernel end this process, or the database beside it.
  package static func checkMemory(
    _ resolved: [JobOptions], availableByteCount: UInt64
  ) throws(UsageError) {
    var needed: UInt64 = 0
    var together: UInt64 = 0
    for job in resolved {
      if job.waitsForPrevious { together = 0 }
      // At most 2^16 times 2^10 times 2^30.
      let own = UInt64(job.ioDepth) * UInt64(job.jobCount) * job.blockByteCountMax
      together = together.addingSaturating(own)
      needed = max(needed, together)
    }
    guard needed > availableByteCount / 2 else { return }
    throw UsageError(
      "the buffers of all operations in flight (bs x iodepth x numjobs) take "
        + "\(ByteSize.format(needed)), more than half of the memory that is available "
        + "(\(ByteSize.format(availableByteCount))): choose fewer or smaller ones")
  }

  /// Refuses jobs that run at the same time and would spoil each other's verified blocks.
  ///
  /// Takes the options of all jobs in their order, resolved; equal `target`s are one target.
  package static func checkOverlaps(_ resolved: [JobOptions]) throws(UsageError) {
    for (index, job) in resolved.enumerated() where job.verify != .none {
      for (otherIndex, other) in resolved.enumerated()
      where otherIndex != index && other.target == job.target {
        let (first, last) = (min(index, otherIndex), max(index, otherIndex))
        let areApart = resolved[first + 1...last].contains { $0.waitsForPrevious }
        guard !areApart, other.workload.writes || other.workload.trims, job.overlaps(other) else {
          continue
        }
        throw UsageError(
          "the jobs '\(job.name)' (verify=crc32c) and '\(other.name)' run at the same time, and "
            + "the second would overwrite what the first checks: give them regions of their own "
            + "by offset and size, or let one wait by stonewall")
      }
    }
  }
}
