import Bench
import Control
import Glibc
import IO
import Ring

/// `ashlar bench TARGET [JOBFILE]`.
enum BenchCommand {
  static let command = Command(
    name: "bench",
    summary: "measure a device, a file or an NBD export, with fio's options",
    usage: ["TARGET --rw KIND [options]", "[TARGET] JOBFILE.ini [options]"],
    discussion: [
      "TARGET is an NBD URI (nbd://HOST/EXPORT, nbd+unix:///EXPORT?socket=PATH), the NAME of a "
        + "served device, or the path of a file or block device. NBD is spoken by Ashlar's own "
        + "client, files and devices are worked on by io_uring. All jobs share one thread.",
      "A job that writes or trims DESTROYS what the target holds. Where the first and last MiB "
        + "hold anything but zeros and what an earlier bench wrote, nothing is written unless "
        + "--overwrite is given; a device that is mounted or otherwise used is always refused.",
      "JOBFILE describes several jobs in fio's ini format; options on the command line win over "
        + "it. SIGINT ends a run early and reports what was measured so far.",
      "Exit codes: 0 done and nothing wrong, 1 an error or a bad block, 64 wrong options, 130 and "
        + "143 interrupted by SIGINT and SIGTERM. docs/bench.md has examples, the JSON fields and "
        + "what differs from fio.",
    ],
    operands: [
      Operand("TARGET", isRequired: false, help: "what to measure: see above"),
      Operand(
        "JOBFILE", isRequired: false,
        help: "jobs in fio's ini format; its name ends with .ini or "
          + ".fio"),
    ],
    options: JobOption.commandLineOptions + ownOptions,
    headings: [
      "name": "the job and its target", "rw": "what it does", "size": "how much of it",
      "rate_iops": "how fast", "fsync": "flushes", "randseed": "where random operations fall",
      "verify": "checking", "group_reporting": "several jobs",
      "ioengine": "of fio's, without effect here", "overwrite": "the whole run",
    ],
    run: run)

  /// What is asked of the run as a whole, rather than of a job.
  private static let ownOptions: [Option] = [
    .flag("overwrite", help: "write and trim although the target holds something"),
    Option(
      "timeout", "DURATION", default: "30s",
      help: "for one operation to be answered, then its job ends with an error; fio's timeout is "
        + "runtime here"),
    Option(
      "output-format", "FORMAT", help: "normal, json or terse (fio's version 3); default normal"),
    .flag("json", help: "the same as --output-format=json"),
    Option("output", "FILE", help: "write the report there instead of to standard output"),
    Option("plot", "FILE.svg", help: "draw throughput and latency over time"),
    Option(
      "eta", "WHEN", default: "auto",
      help: "progress on standard error: auto (each half second on a terminal, else each 10 s), "
        + "always, never"),
    Option(
      "verify_state_save", "FILE",
      help: "keep which generation of each block was written, for verify_state_load"),
    Option(
      "verify_state_load", "FILE",
      help: "what a reading job with verify is to find: only so are stale blocks noticed later"),
  ]

  @Sendable private static func run(_ options: ParsedOptions) throws(UsageError) -> Int32 {
    let settings = try settings(options)
    let machine: RingMachine
    do throws(RingError) {
      machine = try RingMachine()
    } catch {
      Complaint.print(command: "bench", error.explanation)
      return ExitCode.failure
    }
    let signals: SignalStream
    do throws(SystemError) {
      signals = try SignalStream([SIGTERM, SIGINT], machine: machine)
    } catch {
      Complaint.print(command: "bench", "signals cannot be received: \(error)")
      return ExitCode.failure
    }
    return machine.run {
      await BenchSession(machine: machine, settings: settings, signals: signals).run()
    }
  }

  private static func settings(_ options: ParsedOptions) throws(UsageError) -> BenchSettings {
    let (target, file) = try operands(options)
    let given = try JobSettings(options)
    let plan: JobPlan
    if let file { plan = try JobPlan(try jobFile(file), given) } else { plan = try JobPlan(given) }
    for note in plan.notes { Terminal.error.write("ashlar bench: note: \(note)\n") }
    var jobs: [JobOptions] = []
    for job in plan.jobs { jobs.append(try checked(job, target, isFromFile: file != nil)) }
    var settings = BenchSettings(jobs: jobs)
    settings.format = try format(options)
    settings.outputPath = try options.value("output", as: .path)
    settings.plotPath = try options.value("plot", as: .path)
    settings.timeoutNanoseconds = try options.required(
      "timeout", as: .duration(in: 100_000_000...86_400_000_000_000))
    settings.mayOverwrite = options.flag("overwrite")
    switch try options.required("eta", as: .choice(["auto", "always", "never"])) {
    case "always": settings.progress = .always
    case "never": settings.progress = .never
    default: settings.progress = .automatic
    }
    try readStatePaths(options, &settings)
    return settings
  }

  /// Tells the job file from the target by its name.
  private static func operands(
    _ options: ParsedOptions
  ) throws(UsageError) -> (target: String?, file: String?) {
    var target: String?
    var file: String?
    for operand in options.operands {
      if operand.hasSuffix(".ini") || operand.hasSuffix(".fio") {
        guard file == nil else {
          throw UsageError("'\(operand)': there is a job file already: \(file ?? "")")
        }
        file = operand
      } else {
        guard target == nil else {
          throw UsageError(
            "'\(operand)': the target is \(target ?? "") already, and a job file's name ends with "
              + ".ini or .fio")
        }
        target = operand
      }
    }
    return (target, file)
  }

  private static func jobFile(_ path: String) throws(UsageError) -> JobFile {
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try SmallFile.read(path)
    } catch {
      throw UsageError("cannot read the job file \(path): \(error)")
    }
    return try JobFile(String(decoding: bytes, as: UTF8.self), name: path)
  }

  /// A job with its target; what a command line must say is never guessed.
  private static func checked(
    _ job: JobPlan.Job, _ target: String?, isFromFile: Bool
  ) throws(UsageError) -> JobOptions {
    var options = job.options
    let subject = isFromFile ? "job '\(options.name)': " : ""
    if let target {
      if let own = options.target, own != target, !isFromFile {
        throw UsageError("'\(target)' and --filename or --uri '\(own)' name two targets: give one")
      }
      // Like every option of the command line it wins over the file.
      options.target = target
    }
    guard options.target != nil else {
      throw UsageError(
        "\(subject)TARGET is missing: an NBD URI, the NAME of a served device, a file or a block "
          + "device")
    }
    guard job.given.contains("rw") else {
      throw UsageError(
        "\(subject)--rw is missing: choose read, write, randread, randwrite, rw, randrw, trim or "
          + "randtrim (all but read and randread destroy what the target holds)")
    }
    return options
  }

  private static func format(_ options: ParsedOptions) throws(UsageError) -> BenchSettings.Format {
    let word = try options.value("output-format", as: .choice(["normal", "json", "terse"]))
    if options.flag("json") {
      guard word == nil || word == "json" else {
        throw UsageError("--json and --output-format=\(word ?? "") exclude each other")
      }
      return .json
    }
    switch word {
    case "json": return .json
    case "terse": return .terse
    default: return .normal
    }
  }

  private static func readStatePaths(
    _ options: ParsedOptions, _ settings: inout BenchSettings
  ) throws(UsageError) {
    settings.stateSavePath = try options.value("verify_state_save", as: .path)
    settings.stateLoadPath = try options.value("verify_state_load", as: .path)
    let writing = settings.jobs.filter { $0.verify != .none && $0.writes }
    let reading = settings.jobs.filter { $0.verify != .none && !$0.writes }
    if settings.stateSavePath != nil, writing.count != 1 {
      throw UsageError(
        "--verify_state_save keeps what one job with --verify=crc32c has written, and there are "
          + "\(writing.count)")
    }
    if settings.stateLoadPath != nil, reading.isEmpty {
      throw UsageError(
        "--verify_state_load is for a job with --rw=read or randread and --verify=crc32c")
    }
  }
}
