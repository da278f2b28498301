import Bench
import Control
import Testing

/// The single job of an ini file with these lines.
private func fromFile(_ lines: [String]) throws -> JobPlan.Job {
  let text = "[job]\n" + lines.joined(separator: "\n") + "\n"
  let plan = try JobPlan(JobFile(text, name: "f.ini"))
  return try #require(plan.jobs.first)
}

private let command = Command(
  name: "bench", summary: "measure", operands: [Operand("TARGET", isRequired: false, help: "what")],
  options: JobOption.commandLineOptions, run: { _ in 0 })

private func settings(_ arguments: [String]) throws(UsageError) -> JobSettings {
  try JobSettings(ParsedOptions(arguments, for: command))
}

private func fromCommandLine(_ lines: [String]) throws -> JobPlan.Job {
  let plan = try JobPlan(settings(lines.map { "--\($0)" }))
  return try #require(plan.jobs.first)
}

private func sized(_ change: (inout JobOptions) -> Void) -> JobOptions {
  var options = JobOptions()
  options.name = "job"
  change(&options)
  return options
}

@Suite("Bench: options from command line and ini file")
struct JobPlanTests {
  private struct Case: Sendable {
    var lines: [String]
    var change: @Sendable (inout JobOptions) -> Void

    init(_ lines: String..., change: @escaping @Sendable (inout JobOptions) -> Void) {
      self.lines = lines
      self.change = change
    }
  }

  private static let cases: [Case] = [
    Case("filename=/srv/a.img") { $0.target = "/srv/a.img" },
    Case("uri=nbd+unix:///db?socket=/run/a") { $0.target = "nbd+unix:///db?socket=/run/a" },
    Case("direct=0") { $0.isDirect = false },
    Case("direct") { $0.isDirect = true },
    Case("connections=4") { $0.connectionCount = 4 },
    Case("rw=randwrite") { $0.workload = .randwrite },
    Case("readwrite=trim") { $0.workload = .trim },
    Case("rw=readwrite") { $0.workload = .rw },
    Case("rw=randrw", "rwmixread=70") { ($0.workload, $0.readPercent) = (.randrw, 70) },
    Case("rw=rw", "rwmixwrite=70") { ($0.workload, $0.readPercent) = (.rw, 30) },
    Case("rw=rw", "rwmixread=20", "rwmixwrite=80") { ($0.workload, $0.readPercent) = (.rw, 20) },
    Case("bs=64k") { ($0.blockByteCountMin, $0.blockByteCountMax) = (65536, 65536) },
    Case("blocksize=1M") { ($0.blockByteCountMin, $0.blockByteCountMax) = (1 << 20, 1 << 20) },
    Case("bsrange=4k-64k") { ($0.blockByteCountMin, $0.blockByteCountMax) = (4096, 65536) },
    Case("blocksize_range=64k:512") {
      ($0.blockByteCountMin, $0.blockByteCountMax) = (512, 65536)
    },
    Case("bs=8k", "bsrange=4k-64k") {
      ($0.blockByteCountMin, $0.blockByteCountMax) = (4096, 65536)
    },
    Case("iodepth=32") { $0.ioDepth = 32 },
    Case("numjobs=4") { $0.jobCount = 4 },
    Case("size=10G") { $0.regionByteCount = 10 << 30 },
    Case("size=20%") { $0.regionPercent = 20 },
    Case("offset=1m") { $0.offsetBytes = 1 << 20 },
    Case("offset=50%") { $0.offsetPercent = 50 },
    Case("io_size=2G") { $0.ioByteCount = 2 << 30 },
    Case("io_size=200M", "size=100M") {
      ($0.ioByteCount, $0.regionByteCount) = (200 << 20, 100 << 20)
    },
    Case("io_limit=10%") { $0.ioPercent = 10 },
    Case("number_ios=1000") { $0.operationCountMax = 1000 },
    Case("number_ios=0") { $0.operationCountMax = nil },
    Case("runtime=30") { $0.runtimeNanoseconds = 30_000_000_000 },
    Case("runtime=2m", "time_based") {
      ($0.runtimeNanoseconds, $0.isTimeBased) = (120_000_000_000, true)
    },
    Case("runtime=500msec", "time_based=1") {
      ($0.runtimeNanoseconds, $0.isTimeBased) = (500_000_000, true)
    },
    Case("runtime=1H", "time_based=0") { $0.runtimeNanoseconds = 3_600_000_000_000 },
    Case("ramp_time=5") { $0.rampNanoseconds = 5_000_000_000 },
    Case("ramp_time=250us") { $0.rampNanoseconds = 250_000 },
    Case("rate_iops=2000") { $0.rateIOPS = 2000 },
    Case("rw=write", "fsync=32") { ($0.workload, $0.fsyncInterval) = (.write, 32) },
    Case("fsync=0") { $0.fsyncInterval = nil },
    Case("rw=write", "fdatasync=1") { ($0.workload, $0.fdatasyncInterval) = (.write, 1) },
    Case("rw=trim", "end_fsync=1") { ($0.workload, $0.flushesAtEnd) = (.trim, true) },
    Case("randseed=42") { $0.randomSeed = 42 },
    Case("randseed=0xffffffffffffffff") { $0.randomSeed = .max },
    Case("rw=randread", "norandommap") { ($0.workload, $0.usesRandomMap) = (.randread, false) },
    Case("rw=randread", "random_distribution=zipf:1.2") {
      ($0.workload, $0.distribution) = (.randread, .zipf(theta: 1.2))
    },
    Case("rw=randread", "random_distribution=zipf") {
      ($0.workload, $0.distribution) = (.randread, .zipf(theta: 1.1))
    },
    Case("random_distribution=random") { $0.distribution = .random },
    Case("verify=crc32c") { $0.verify = .crc32c },
    Case("verify=0") { $0.verify = .none },
    Case("rw=write", "verify=crc32c", "do_verify=0") {
      ($0.workload, $0.verify, $0.verifiesAtEnd) = (.write, .crc32c, false)
    },
    Case("verify=crc32c", "verify_fatal") {
      ($0.verify, $0.stopsAtFirstBadBlock) = (.crc32c, true)
    },
    Case("rw=randwrite", "verify=crc32c", "norandommap") {
      ($0.workload, $0.verify, $0.usesRandomMap) = (.randwrite, .crc32c, false)
    },
    Case("group_reporting") { $0.isGroupReporting = true },
    Case("stonewall") { $0.waitsForPrevious = true },
    Case("wait_for_previous=1") { $0.waitsForPrevious = true },
    Case("name=other") { $0.name = "other" },
  ]

  @Test("each option means the same from both sources", arguments: cases.indices)
  func eachOption(index: Int) throws {
    let one = Self.cases[index]
    let expected = sized(one.change)
    #expect(try fromFile(one.lines).options == expected)
    var fromLine = try fromCommandLine(one.lines)
    if fromLine.options.name == "bench" { fromLine.options.name = "job" }
    #expect(fromLine.options == expected)
    #expect(try fromFile(one.lines).given == fromLine.given)
  }

  @Test("every option of the table is tested above")
  func allTested() {
    let tested = Set(
      Self.cases.flatMap(\.lines).compactMap { line in
        line.split(separator: "=").first.flatMap { JobOption.named(String($0))?.name }
      })
    #expect(tested == Set(JobOption.all.map(\.name)))
  }

  @Test("the defaults that the help shows are those that hold")
  func defaults() throws {
    for option in JobOption.all {
      // A file's section names its job; what it does, and destroys, is never guessed.
      if option.name == "rw" { #expect(option.defaultText == nil) }
      guard let text = option.defaultText, option.name != "name" else { continue }
      // With these, each is allowed to be said.
      let allowing = ["rwmixread", "rwmixwrite"].contains(option.name) ? ["rw=randrw"] : []
      let verify = option.name == "do_verify" ? ["rw=write", "verify=crc32c"] : []
      let context = allowing + verify
      #expect(
        try fromFile(context + ["\(option.name)=\(text)"]).options == fromFile(context).options)
    }
  }

  @Test(
    "a wrong value names the option, the text and what would be right",
    arguments: [
      ("bs=4q", "bs: '4q' has the unknown unit 'q'"),
      ("bs=0", "bs: '0' is outside 1 to 1G"),
      ("bs=4k,8k", "bs: '4k,8k' gives reads, writes and trims values of their own"),
      ("bs=", "bs: '' does not start with a number"),
      ("bsrange=4k", "bsrange: '4k' is not a range of sizes such as 4k-64k"),
      ("bsrange=4k-6k", "bsrange: '4k-6k' does not end at a multiple of its beginning"),
      ("bsrange=0-4k", "bsrange: '0-4k' is not a range of sizes such as 4k-64k: '0' is outside"),
      ("bsrange=4k-8k,1k-2k", "bsrange: '4k-8k,1k-2k' gives reads, writes and trims"),
      ("rw=both", "rw: 'both' is not one of read, write, randread"),
      ("rw=randread:8", "rw: 'randread:8' has an offset modifier, which is not supported"),
      ("rwmixread=101", "rwmixread: '101' is outside 0 to 100"),
      ("iodepth=0", "iodepth: '0' is outside 1 to 65536"),
      ("iodepth=many", "iodepth: 'many' is not a whole number"),
      ("numjobs=0", "numjobs: '0' is outside 1 to 1024"),
      ("connections=0", "connections: '0' is outside 1 to 1024"),
      ("size=0%", "size: '0%' is not a whole percentage from 1% to 100%"),
      ("size=1.5%", "size: '1.5%' is not a whole percentage from 1% to 100%"),
      ("size=x", "size: 'x' does not start with a number"),
      ("offset=101%", "offset: '101%' is not a whole percentage from 0% to 100%"),
      ("number_ios=-1", "number_ios: '-1' is not a whole number"),
      ("runtime=5 weeks", "runtime: '5 weeks' has the unknown unit 'weeks'"),
      ("ramp_time=soon", "ramp_time: 'soon' does not start with a number"),
      ("rate_iops=1k", "rate_iops: '1k' is not a whole number"),
      ("rate_iops=10,20", "rate_iops: '10,20' gives reads, writes and trims"),
      ("fsync=-1", "fsync: '-1' is not a whole number"),
      ("randseed=0xg", "randseed: '0xg' is not a seed"),
      ("random_distribution=pareto:0.2", "random_distribution: 'pareto:0.2' is not supported"),
      ("random_distribution=zipf:1", "random_distribution: 'zipf:1' has no formula at 1"),
      ("random_distribution=zipf:0", "random_distribution: 'zipf:0' needs a number above 0"),
      ("random_distribution=zipf:inf", "random_distribution: 'zipf:inf' needs a number above 0"),
      ("verify=md5", "verify: 'md5' is not supported: say crc32c or none"),
      ("time_based=yes", "time_based: 'yes' is neither 0 nor 1"),
      ("ioengine=rados", "ioengine: 'rados' is not one of nbd"),
      ("randrepeat=0", "randrepeat: '0' is not supported: choose another randseed"),
    ])
  func wrongValues(line: String, message: String) throws {
    let file = #expect(throws: UsageError.self) { try fromFile(["", line]) }
    #expect(file?.message.hasPrefix("f.ini:3: \(message)") == true, "\(file?.message ?? "")")
    let typed = #expect(throws: UsageError.self) { try fromCommandLine([line]) }
    #expect(typed?.message.hasPrefix("--\(message)") == true, "\(typed?.message ?? "")")
  }

  @Test(
    "options that contradict each other are both named",
    arguments: [
      (["time_based"], "f.ini:2: time_based needs runtime=TIME: it says when to end"),
      (["bs=4k", "bsrange=8k-16k"], "f.ini:2: bs=4k lies outside f.ini:3: bsrange=8k-16k"),
      (
        ["rw=rw", "rwmixread=60", "rwmixwrite=60"],
        "f.ini:3: rwmixread=60 and f.ini:4: rwmixwrite=60 do not add up to 100"
      ),
      (["filename=/a", "uri=nbd://b"], "f.ini:2: filename=/a and f.ini:3: uri=nbd://b exclude"),
      (["rw=read", "rwmixread=70"], "f.ini:3: rwmixread goes with rw=rw or rw=randrw, not"),
      (["rwmixwrite=70"], "f.ini:2: rwmixwrite goes with rw=rw or rw=randrw, not with rw=read"),
      (["rw=trim", "verify=crc32c"], "f.ini:3: verify=crc32c and f.ini:2: rw=trim exclude"),
      (["rw=randread", "fsync=1"], "f.ini:3: fsync counts writes, and rw=randread makes none"),
      (["fdatasync=1"], "f.ini:2: fdatasync counts writes, and rw=read makes none"),
      (["end_fsync"], "f.ini:2: end_fsync has nothing to flush after rw=read"),
      (["size=2k"], "f.ini:2: size=2k is smaller than a block: bs=4k"),
      (["bs=8k", "io_size=4k"], "f.ini:3: io_size=4k is smaller than a block: f.ini:2: bs=8k"),
      (["norandommap"], "f.ini:2: norandommap goes with random work, not rw=read"),
      (["random_distribution=zipf:2"], "f.ini:2: random_distribution goes with random work"),
      (["verify_fatal"], "f.ini:2: verify_fatal goes with verify=crc32c"),
      (["rw=write", "do_verify"], "f.ini:3: do_verify goes with verify=crc32c"),
      (["verify=crc32c", "do_verify=0"], "f.ini:3: do_verify reads back what was written"),
      (
        ["rw=write", "verify=crc32c", "numjobs=2"],
        "f.ini:3: verify=crc32c and f.ini:4: numjobs=2 exclude each other"
      ),
      (["verify=crc32c", "bs=1000"], "f.ini:2: verify=crc32c needs blocks that are multiples of"),
      (["verify=crc32c", "offset=100"], "f.ini:2: verify=crc32c needs an offset that is"),
      (["bs=4k", "bs=8k"], "f.ini:3: bs is given twice, first as f.ini:2: bs"),
      (["bs=4k", "blocksize=8k"], "f.ini:3: blocksize is given twice, first as f.ini:2: bs"),
      (["iodeph=4"], "f.ini:2: unknown option 'iodeph': did you mean 'iodepth'?"),
      (["steadystate=iops:2%"], "f.ini:2: unknown option 'steadystate'"),
      (["bs"], "f.ini:2: bs needs a value: bs=SIZE"),
    ])
  func contradictions(lines: [String], message: String) {
    let file = #expect(throws: UsageError.self) { try fromFile(lines) }
    #expect(file?.message.hasPrefix(message) == true, "\(file?.message ?? "")")
    // The same from the command line, in its own words.
    #expect(throws: UsageError.self) { try fromCommandLine(lines) }
  }

  @Test("what fio's users have in their files is accepted with a note")
  func notes() throws {
    let text =
      "[j]\nioengine=libaio\nthread\ninvalidate=1\nrandrepeat=1\n"
      + "random_generator=lfsr\nclocksource=cpu\n"
    let plan = try JobPlan(JobFile(text, name: "f.ini"), settings(["--ioengine=nbd"]))
    #expect(plan.notes.count == 7)
    #expect(
      plan.notes[0]
        == "f.ini:2: ioengine=libaio makes no difference: the target decides: NBD by a client of "
        + "its own, files and devices by io_uring")
    #expect(plan.notes[6].hasPrefix("--ioengine=nbd makes no difference"))
    #expect(plan.jobs[0].given.isEmpty)
  }

  @Test("a section wins over global, a later global over an earlier, the command line over all")
  func precedence() throws {
    let text = """
      [global]
      bs=8k
      iodepth=4
      [first]
      rw=write
      [global]
      iodepth=16
      [second]
      bsrange=4k-16k
      runtime=60
      """
    let file = try JobFile(text, name: "f.ini")
    let plain = try JobPlan(file).jobs.map(\.options)
    #expect(plain.map(\.name) == ["first", "second"])
    #expect(plain.map(\.ioDepth) == [4, 16])
    #expect(plain.map(\.blockByteCountMin) == [8192, 4096])
    #expect(plain.map(\.blockByteCountMax) == [8192, 16384])
    let changed = try JobPlan(file, settings(["--runtime=5", "--bs=512"])).jobs
    #expect(changed.map(\.options.runtimeNanoseconds) == [5_000_000_000, 5_000_000_000])
    #expect(changed.map(\.options.blockByteCountMax) == [512, 512])
    #expect(changed[0].given == ["bs", "iodepth", "rw", "runtime"])
  }

  @Test("defaults for all jobs need not concern each, but one of them")
  func sharedDefaults() throws {
    let text = "[global]\nrwmixread=70\nfsync=1\n[a]\nrw=randrw\n[b]\nrw=read\n"
    let jobs = try JobPlan(JobFile(text, name: "f.ini")).jobs
    #expect(jobs.map(\.options.readPercent) == [70, 50])
    #expect(jobs.map(\.options.fsyncInterval) == [1, nil])
    #expect(jobs.map(\.given) == [["rwmixread", "fsync", "rw"], ["rw"]])
    let idle = "[global]\nfsync=1\n[a]\nrw=randread\n[b]\nrw=read\n"
    #expect(
      throws: UsageError("f.ini:2: fsync counts writes, and rw=randread makes none")
    ) { try JobPlan(JobFile(idle, name: "f.ini")) }
  }

  @Test("the command's table has every option once, and its help fits")
  func helpFits() {
    let program = Program(name: "ashlar", version: "1", summary: "s", commands: [command])
    var help = ""
    let code = program.run(
      ["bench", "--help"], output: { help += $0 }, complaint: { _ in })
    #expect(code == 0)
    for option in JobOption.all { #expect(help.contains("--\(option.name)")) }
    #expect(help.split(separator: "\n").allSatisfy { $0.count <= 80 })
  }
}

@Suite("Bench: ini files")
struct JobFileTests {
  @Test("comments, blanks, line ends of other systems and aliases are read")
  func reads() throws {
    let text =
      "; a comment\r\n# another\r\n\r\n  [ reads ]  ; why\r\n\tbs = 8k # pages\r\n"
      + " filename=/srv/a#1;b.img\r\ntime_based\r\nruntime=1"
    let job = try #require(try JobPlan(JobFile(text, name: "f")).jobs.first).options
    #expect(job.name == "reads")
    #expect(job.blockByteCountMax == 8192)
    #expect(job.target == "/srv/a#1;b.img")
    #expect(job.isTimeBased)
  }

  @Test("a byte order mark before the first line is passed over")
  func byteOrderMark() throws {
    let jobs = try JobPlan(JobFile("\u{FEFF}[a]\r\nbs=8k\r\n", name: "f")).jobs
    #expect(jobs.map(\.options.blockByteCountMax) == [8192])
  }

  @Test("sections may share a name, as in fio")
  func sameName() throws {
    let jobs = try JobPlan(JobFile("[a]\nbs=1k\n[a]\nbs=2k\n", name: "f")).jobs
    #expect(jobs.map(\.options.blockByteCountMax) == [1024, 2048])
  }

  @Test(
    "what is no ini file is refused with its line",
    arguments: [
      ("", "f: describes no job: a section such as [reads] makes one"),
      ("[global]\nbs=4k\n", "f: describes no job: a section such as [reads] makes one"),
      ("bs=4k\n[a]\n", "f:1: 'bs' stands before the first [section]"),
      ("[a\nbs=4k\n", "f:1: the section '[a' lacks its ']'"),
      ("[a] b\n", "f:1: nothing may follow '[a]'"),
      ("[]\n", "f:1: the section has no name"),
      ("[a]\n=4k\n", "f:2: '=4k' has no name before '='"),
      ("[a]\ninclude other.ini\n", "f:2: include is not supported: copy the other file's lines"),
      ("[a]\nbs 4k\n", "f:2: 'bs 4k' lacks its '='"),
      ("[a]\nbs=\u{FFFD}\n", "f:2: the line is not text"),
      ("[a]\nbs=4k\0\n", "f:2: the line is not text"),
    ])
  func refuses(text: String, message: String) {
    let error = #expect(throws: UsageError.self) { try JobFile(text, name: "f") }
    #expect(error?.message.hasPrefix(message) == true, "\(error?.message ?? "")")
  }
}
