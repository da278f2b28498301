package import Control

/// One option of a job, by fio's name: the one description for command line, ini file and help.
package struct JobOption: Sendable {
  package let name: String
  package let aliases: [String]
  /// What stands for the value in the help; nil for a boolean.
  package let placeholder: String?
  /// Shown in the help; what holds without the option is `JobOptions`' own.
  package let defaultText: String?
  package let help: String
  /// For options of fio's that make no difference here: why.
  package let note: String?
  /// Converts the text and stores the value; errors begin with the subject, the second argument.
  let apply: @Sendable (String, String, inout JobOptions) throws(UsageError) -> Void

  /// An option with a value.
  private static func value<Value>(
    _ name: String, _ placeholder: String, aliases: [String] = [], default text: String? = nil,
    note: String? = nil, as conversion: Conversion<Value>, help: String,
    set: @escaping @Sendable (inout JobOptions, Value) -> Void
  ) -> JobOption {
    JobOption(
      name: name, aliases: aliases, placeholder: placeholder, defaultText: text, help: help,
      note: note,
      apply: { text, subject, options throws(UsageError) in
        set(&options, try conversion.convert(text, for: subject))
      })
  }

  /// A boolean: named alone it is on.
  private static func toggle(
    _ name: String, aliases: [String] = [], isOnByDefault: Bool = false, note: String? = nil,
    help: String, set: @escaping @Sendable (inout JobOptions, Bool) -> Void
  ) -> JobOption {
    JobOption(
      name: name, aliases: aliases, placeholder: nil, defaultText: isOnByDefault ? "1" : nil,
      help: help, note: note,
      apply: { text, subject, options throws(UsageError) in
        set(&options, try Conversion.toggle.convert(text, for: subject))
      })
  }

  /// The option of that name or alias.
  package static func named(_ name: String) -> JobOption? {
    all.first { $0.name == name || $0.aliases.contains(name) }
  }

  /// All of them, in the order in which they are applied and shown.
  package static let all = target + work + amount + pace + durability + offsets + checks + grouping

  private static let target: [JobOption] = [
    .value(
      "name", "NAME", default: "bench", as: .text,
      help: "what to call the job; in a file the [section] does",
      set: { $0.name = $1 }),
    .value(
      "filename", "PATH", as: .path, help: "the target, where the command line names none",
      set: { $0.target = $1 }),
    .value(
      "uri", "URI", as: .text, help: "the same, for an NBD URI",
      set: { $0.target = $1 }),
    .toggle(
      "direct", isOnByDefault: true, help: "pass the page cache by; for files and block devices",
      set: { $0.isDirect = $1 }),
    .value(
      "connections", "N", default: "1", as: .integer(in: 1...1024),
      help: "connections of each job to an NBD target; its iodepth is spread over them",
      set: { $0.connectionCount = $1 }),
  ]

  private static let work: [JobOption] = [
    .value(
      "rw", "KIND", aliases: ["readwrite"], as: .workload,
      help: "read, write, randread, randwrite, rw (mixed), randrw, trim or randtrim",
      set: { $0.workload = $1 }),
    .value(
      "rwmixread", "PERCENT", default: "50", as: .integer(in: 0...100),
      help: "how many of 100 operations of a mixed job are reads",
      set: { $0.readPercent = $1 }),
    .value(
      "rwmixwrite", "PERCENT", default: "50", as: .integer(in: 0...100),
      help: "the same, counting writes",
      set: { $0.readPercent = 100 - $1 }),
    .value(
      "bs", "SIZE", aliases: ["blocksize"], default: "4k", as: .blockSize,
      help: "bytes of an operation",
      set: { ($0.blockByteCountMin, $0.blockByteCountMax) = ($1, $1) }),
    .value(
      "bsrange", "MIN-MAX", aliases: ["blocksize_range"], as: .blockSizes,
      help: "random sizes instead, multiples of the smallest",
      set: { ($0.blockByteCountMin, $0.blockByteCountMax) = ($1.lowerBound, $1.upperBound) }),
    .value(
      "iodepth", "N", default: "1", as: .integer(in: 1...65_536),
      help: "operations in flight, each job",
      set: { $0.ioDepth = $1 }),
    .value(
      "numjobs", "N", default: "1", as: .integer(in: 1...1024),
      help: "clones of the job, each with a seed of its own",
      set: { $0.jobCount = $1 }),
  ]

  private static let amount: [JobOption] = [
    .value(
      "size", "SIZE|N%", as: .extent(percentMin: 1),
      help: "the region's length; default: all of the target behind offset",
      set: { options, extent in
        (options.regionByteCount, options.regionPercent) = extent.parts
      }),
    .value(
      "offset", "SIZE|N%", default: "0", as: .extent(percentMin: 0),
      help: "where the region begins",
      set: { options, extent in
        let (byteCount, percent) = extent.parts
        (options.offsetBytes, options.offsetPercent) = (byteCount ?? 0, percent)
      }),
    .value(
      "io_size", "SIZE|N%", aliases: ["io_limit"], as: .extent(percentMin: 1),
      help: "bytes to transfer, also more or less than size; default: size",
      set: { options, extent in
        (options.ioByteCount, options.ioPercent) = extent.parts
        // fio's 0 is "not given".
        if options.ioByteCount == 0 { options.ioByteCount = nil }
      }),
    .value(
      "number_ios", "N", as: .count(in: 0...UInt64.max), help: "operations at most; 0 for any",
      set: { $0.operationCountMax = $1 == 0 ? nil : $1 }),
    .value(
      "runtime", "TIME", as: .fioTime,
      help: "at most so long: 30 (seconds), 500ms, 2m; 0 for any",
      set: { $0.runtimeNanoseconds = $1 == 0 ? nil : $1 }),
    .toggle(
      "time_based", help: "start over until runtime has passed", set: { $0.isTimeBased = $1 }),
    .value(
      "ramp_time", "TIME", default: "0", as: .fioTime,
      help: "run so long before anything is counted",
      set: { $0.rampNanoseconds = $1 }),
  ]

  private static let pace: [JobOption] = [
    .value(
      "rate_iops", "N", as: .count(in: 0...1_000_000_000),
      help: "operations a second at most, each job, reads and writes together; 0 for any",
      set: { $0.rateIOPS = $1 == 0 ? nil : $1 })
  ]

  private static let durability: [JobOption] = [
    .value(
      "fsync", "N", default: "0", as: .count(in: 0...UInt64.max),
      help: "flush after every so many writes; 0 for never",
      set: { $0.fsyncInterval = $1 == 0 ? nil : $1 }),
    .value(
      "fdatasync", "N", default: "0", as: .count(in: 0...UInt64.max),
      help: "the same, for data without a file's attributes",
      set: { $0.fdatasyncInterval = $1 == 0 ? nil : $1 }),
    .toggle("end_fsync", help: "flush when the job has written", set: { $0.flushesAtEnd = $1 }),
  ]

  private static let offsets: [JobOption] = [
    .value(
      "randseed", "N", default: "0x89", as: .seed,
      help: "what all randomness follows from; for verify, the seed of the job that wrote",
      set: { $0.randomSeed = $1 }),
    .toggle(
      "norandommap", help: "do not see to it that a random pass covers each block once",
      set: { $0.usesRandomMap = !$1 }),
    .value(
      "random_distribution", "HOW", default: "random", as: .distribution,
      help: "random, or zipf:THETA: few blocks take most operations",
      set: { $0.distribution = $1 }),
  ]

  private static let checks: [JobOption] = [
    .value(
      "verify", "HOW", default: "none", as: .verifyMode,
      help: "crc32c: write blocks that can be told apart, and check what is read; also with "
        + "norandommap and zipf, because the generation of every block is kept",
      set: { $0.verify = $1 }),
    .toggle(
      "do_verify", isOnByDefault: true, help: "read everything back when the job has written",
      set: { $0.verifiesAtEnd = $1 }),
    .toggle(
      "verify_fatal", help: "stop at the first bad block",
      set: { $0.stopsAtFirstBadBlock = $1 }),
  ]

  private static let grouping: [JobOption] = [
    .toggle(
      "group_reporting", help: "report clones, and sections that have this and run at once, as one",
      set: { $0.isGroupReporting = $1 }),
    .toggle(
      "stonewall", aliases: ["wait_for_previous"],
      help: "start when every job before it in the file has ended",
      set: { $0.waitsForPrevious = $1 }),
  ]

  // MARK: What fio knows, and makes no difference here

  /// Options that many job files have: accepted, with a note that is printed.
  ///
  /// Every other option of fio's is refused by name.
  package static let noted: [JobOption] = [
    .value(
      "ioengine", "NAME",
      note: "the target decides: NBD by a client of its own, files and devices by io_uring",
      as: .choice([
        "nbd", "io_uring", "libaio", "posixaio", "psync", "sync", "vsync", "pvsync", "pvsync2",
      ]), help: "accepted: the target decides", set: { _, _ in }),
    .toggle(
      "thread", note: "jobs are tasks of one loop, neither threads nor processes",
      help: "accepted: jobs are tasks of one loop", set: { _, _ in }),
    .toggle(
      "invalidate", note: "caches are left as they are; direct=1 passes them by",
      help: "accepted: caches are left as they are", set: { _, _ in }),
    .value(
      "randrepeat", "1", note: "the same randseed always gives the same offsets",
      as: Conversion { text in
        text == "1"
          ? .success(text)
          : .failure(UsageError("is not supported: choose another randseed for each run"))
      }, help: "accepted: offsets follow from randseed", set: { _, _ in }),
    .value(
      "random_generator", "NAME", note: "the order of offsets is computed in another way",
      as: .choice(["tausworthe", "tausworthe64", "lfsr"]),
      help: "accepted: offsets are computed in another way", set: { _, _ in }),
    .value(
      "clocksource", "NAME", note: "the monotonic clock is used",
      as: .choice(["clock_gettime", "gettimeofday", "cpu"]),
      help: "accepted: the monotonic clock is used", set: { _, _ in }),
  ]

  // MARK: The command line

  /// The table for a command: every option of a job, and those accepted with a note.
  package static var commandLineOptions: [Option] {
    (all + noted).map { option in
      guard let placeholder = option.placeholder else {
        return .toggle(
          option.name, aliases: option.aliases, isOnByDefault: option.defaultText == "1",
          help: option.help)
      }
      return Option(
        option.name, placeholder, default: option.defaultText, aliases: option.aliases,
        help: option.help)
    }
  }
}

extension Extent {
  /// The bytes or the percentage, the other nil.
  fileprivate var parts: (UInt64?, UInt64?) {
    switch self {
    case .bytes(let byteCount): (byteCount, nil)
    case .percent(let percent): (nil, percent)
    }
  }
}
