package import Control

/// Which options were given for a job, with their texts and where they stand.
///
/// Values are kept by the option's first name. What stands nearer to the job wins: its section
/// over `[global]`, a later `[global]` over an earlier, the command line over all.
package struct JobSettings: Sendable {
  struct Entry: Sendable {
    var option: JobOption
    var text: String
    /// How a message begins: `--bs`, or `FILE:12: bs`.
    var subject: String
    /// The higher, the nearer to the job.
    var rank: Int
    /// Defaults for several jobs, not all of which they need concern.
    var isShared: Bool
  }

  static let commandLineRank = Int.max

  private(set) var entries: [String: Entry] = [:]
  /// What was accepted and makes no difference, and why; one line each.
  package private(set) var notes: [String] = []

  package init() {}

  /// Takes what the command line gives, of a command whose table contains
  /// `JobOption.commandLineOptions`.
  package init(_ parsed: ParsedOptions) throws(UsageError) {
    for option in JobOption.all + JobOption.noted {
      guard let text = parsed.text(option.name) else { continue }
      try set(
        option.name, text, at: "--", rank: Self.commandLineRank, isShared: true)
    }
  }

  /// Takes one section's lines.
  mutating func add(
    _ section: JobFile.Section, of file: JobFile, rank: Int
  ) throws(UsageError) {
    for line in section.lines {
      try set(
        line.key, line.value, at: "\(file.name):\(line.number): ", rank: rank,
        isShared: section.name == "global")
    }
  }

  /// Adds what stands nearer to the job.
  mutating func merge(_ nearer: JobSettings) {
    entries.merge(nearer.entries) { $0.rank > $1.rank ? $0 : $1 }
    notes += nearer.notes
  }

  mutating func remove(_ name: String) { entries[name] = nil }

  /// Takes one option; a bare name has no text.
  private mutating func set(
    _ name: String, _ text: String?, at place: String, rank: Int, isShared: Bool
  ) throws(UsageError) {
    guard let option = JobOption.named(name) ?? JobOption.noted.first(where: { $0.name == name })
    else { throw Self.unknown(name, place) }
    let subject = place + name
    guard let text = text ?? (option.placeholder == nil ? "1" : nil) else {
      throw UsageError("\(subject) needs a value: \(name)=\(option.placeholder ?? "")")
    }
    if let earlier = entries[option.name], earlier.rank == rank {
      throw UsageError("\(subject) is given twice, first as \(earlier.subject)")
    }
    // Noted here, so that a bad value is found even where a nearer one replaces it.
    var scratch = JobOptions()
    try option.apply(text, subject, &scratch)
    if let note = option.note {
      notes.append("\(subject)=\(text) makes no difference: \(note)")
    } else {
      entries[option.name] = Entry(
        option: option, text: text, subject: subject, rank: rank, isShared: isShared)
    }
  }

  private static func unknown(_ name: String, _ place: String) -> UsageError {
    let names = (JobOption.all + JobOption.noted).flatMap { [$0.name] + $0.aliases }
    guard let nearest = nearestName(to: name, among: names) else {
      return UsageError("\(place)unknown option '\(name)'")
    }
    return UsageError("\(place)unknown option '\(name)': did you mean '\(nearest)'?")
  }
}

// MARK: From texts to options

extension JobSettings {
  /// The options that the texts stand for, before anything is checked against another.
  func applied(jobName: String?) throws(UsageError) -> JobOptions {
    var options = JobOptions()
    if let jobName { options.name = jobName }
    for option in JobOption.all {
      guard let entry = entries[option.name] else { continue }
      try option.apply(entry.text, entry.subject, &options)
    }
    return options
  }

  /// Leaves of two options that say the same thing the one nearer to the job, and refuses them
  /// when they stand side by side and contradict each other.
  mutating func settleRivals() throws(UsageError) {
    for (one, other) in [("bs", "bsrange"), ("rwmixread", "rwmixwrite"), ("filename", "uri")] {
      guard let first = entries[one], let second = entries[other] else { continue }
      guard first.rank == second.rank else {
        remove(first.rank < second.rank ? one : other)
        continue
      }
      switch one {
      case "bs":
        let size = try Conversion.blockSize.convert(first.text, for: first.subject)
        let range = try Conversion.blockSizes.convert(second.text, for: second.subject)
        guard range.contains(size) else {
          throw UsageError("\(first.subject)=\(first.text) lies outside \(second.pair)")
        }
      case "rwmixread":
        let reads = try Conversion.integer(in: 0...100).convert(first.text, for: first.subject)
        let writes = try Conversion.integer(in: 0...100).convert(
          second.text, for: second.subject)
        guard reads + writes == 100 else {
          throw UsageError(
            "\(first.subject)=\(first.text) and \(second.pair) do not add up to 100")
        }
      default:
        guard first.text == second.text else {
          throw UsageError("\(first.subject)=\(first.text) and \(second.pair) exclude each other")
        }
      }
    }
  }

  /// Options that would make no difference to the job, with the reason.
  func idle(in options: JobOptions) -> [(entry: Entry, reason: String)] {
    let work = "rw=\(options.workload.rawValue)"
    var reasons: [String: String] = [:]
    if !options.workload.isMixed {
      for name in ["rwmixread", "rwmixwrite"] {
        reasons[name] = "goes with rw=rw or rw=randrw, not with \(work)"
      }
    }
    if !options.workload.writes {
      if options.fsyncInterval != nil { reasons["fsync"] = "counts writes, and \(work) makes none" }
      if options.fdatasyncInterval != nil {
        reasons["fdatasync"] = "counts writes, and \(work) makes none"
      }
      if options.flushesAtEnd, !options.workload.trims {
        reasons["end_fsync"] = "has nothing to flush after \(work)"
      }
      reasons["do_verify"] = "reads back what was written, and \(work) writes nothing"
    }
    if options.verify == .none {
      reasons["do_verify"] = "goes with verify=crc32c"
      if options.stopsAtFirstBadBlock { reasons["verify_fatal"] = "goes with verify=crc32c" }
    }
    if !options.workload.isRandom {
      if !options.usesRandomMap { reasons["norandommap"] = "goes with random work, not \(work)" }
      if options.distribution != .random {
        reasons["random_distribution"] = "goes with random work, not \(work)"
      }
    }
    return JobOption.all.compactMap { option in
      guard let entry = entries[option.name], let reason = reasons[option.name] else { return nil }
      return (entry, reason)
    }
  }

  /// Refuses options that contradict each other.
  func check(_ options: JobOptions) throws(UsageError) {
    let subject = { (name: String) in entries[name]?.subject ?? name }
    let pair = { (name: String, value: String) in entries[name]?.pair ?? "\(name)=\(value)" }
    let bs = entries["bsrange"] == nil ? "bs" : "bsrange"
    if options.isTimeBased, options.runtimeNanoseconds == nil {
      throw UsageError("\(subject("time_based")) needs runtime=TIME: it says when to end")
    }
    for (name, byteCount) in [("size", options.regionByteCount), ("io_size", options.ioByteCount)] {
      guard let byteCount, byteCount < options.blockByteCountMin else { continue }
      throw UsageError(
        "\(pair(name, "\(byteCount)")) is smaller than a block: \(pair(bs, "4k"))")
    }
    guard options.verify != .none else { return }
    if options.workload.trims {
      throw UsageError(
        "\(subject("verify"))=crc32c and \(pair("rw", "trim")) exclude each other: what was "
          + "trimmed has no content to check")
    }
    if options.workload.writes, options.jobCount > 1 {
      throw UsageError(
        "\(subject("verify"))=crc32c and \(pair("numjobs", "1")) exclude each other: the clones "
          + "would overwrite each other's blocks; make sections with an offset and size each")
    }
    if options.blockByteCountMin % 512 != 0 {
      throw UsageError(
        "\(subject("verify"))=crc32c needs blocks that are multiples of 512 bytes: "
          + pair(bs, "4k"))
    }
    if options.offsetBytes % 512 != 0 {
      throw UsageError(
        "\(subject("verify"))=crc32c needs an offset that is a multiple of 512 bytes: "
          + pair("offset", "0"))
    }
  }
}

extension JobSettings.Entry {
  /// `bs=4k`, with its line unless it is the command line's.
  var pair: String { "\(subject)=\(text)" }
}
