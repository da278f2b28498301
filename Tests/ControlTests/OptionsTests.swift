import Control
import Testing

/// A command that declares one option of each kind and runs `body` with what was parsed.
private func command(
  _ body: @escaping @Sendable (ParsedOptions) throws(UsageError) -> Int32 = { _ in 0 }
) -> Command {
  Command(
    name: "serve", summary: "serve a device",
    operands: [Operand("NAME", isRequired: false, help: "what to call it")],
    options: [
      Option("memory", "SIZE", help: "a size"),
      Option("listen", "ADDRESS", isRepeatable: true, help: "where"),
      Option("connections", "N", default: "100", help: "how many"),
      Option("timeout", "DURATION", default: "30s", help: "how long"),
      Option("direct", "on|off", default: "on", help: "direct I/O"),
      .flag("read-only", help: "refuse writes"),
      Option("rw", "KIND", aliases: ["readwrite"], help: "what to do"),
      .toggle("time_based", help: "until the time is over"),
      .toggle("stonewall", aliases: ["wait_for_previous"], isOnByDefault: true, help: "one by one"),
    ],
    run: body)
}

private func program(_ command: Command) -> Program {
  Program(name: "ashlar", version: "1.2.3", summary: "a test", commands: [command])
}

/// Everything that a run printed.
private struct Run {
  var code: Int32 = -1
  var output = ""
  var complaint = ""

  init(_ arguments: [String], _ command: Command = checkingCommand()) {
    var output = ""
    var complaint = ""
    code = program(command).run(
      arguments, output: { output += $0 }, complaint: { complaint += $0 })
    self.output = output
    self.complaint = complaint
  }
}

private func checkingCommand() -> Command {
  command { options throws(UsageError) in
    _ = try options.value("memory", as: .size(in: 512...(1 << 40)))
    _ = try options.values("listen", as: .listenAddress)
    _ = try options.required("connections", as: .integer(in: 1...1000))
    _ = try options.required("timeout", as: .duration)
    _ = try options.required("direct", as: .choice(["on", "off"]))
    return 0
  }
}

@Suite("Control: the command line")
struct OptionsTests {
  @Test("values are taken from both forms, defaults where nothing is given")
  func takesValues() throws {
    let options = try ParsedOptions(
      ["--memory", "64k", "--listen=unix:/a", "--listen", "tcp:h:1", "--read-only", "disk"],
      for: command())
    #expect(try options.value("memory", as: .size) == 65536)
    #expect(
      try options.values("listen", as: .listenAddress)
        == [.unix(path: "/a"), .tcp(host: "h", port: 1)])
    #expect(try options.required("connections", as: .integer(in: 1...1000)) == 100)
    #expect(try options.required("timeout", as: .duration) == 30_000_000_000)
    #expect(options.flag("read-only"))
    #expect(options.isGiven("memory"))
    #expect(!options.isGiven("connections"))
    #expect(options.operands == ["disk"])
  }

  @Test("an option that is neither given nor has a default is nil, and no list")
  func absentIsNil() throws {
    let options = try ParsedOptions([], for: command())
    #expect(try options.value("memory", as: .size) == nil)
    #expect(try options.values("listen", as: .text).isEmpty)
    #expect(!options.flag("read-only"))
    #expect(options.operand(0) == nil)
  }

  @Test("a toggle is on when it is named, and what its value says when it has one")
  func toggles() throws {
    let none = try ParsedOptions([], for: command())
    #expect(!none.flag("time_based") && none.flag("stonewall"))
    #expect(!none.isGiven("time_based") && none.text("time_based") == nil)
    let named = try ParsedOptions(["--time_based", "--wait_for_previous=0"], for: command())
    #expect(named.flag("time_based") && !named.flag("stonewall"))
    #expect(named.isGiven("stonewall") && named.text("stonewall") == "0")
    #expect(try ParsedOptions(["--time_based=1", "x"], for: command()).flag("time_based"))
    #expect(try !ParsedOptions(["--time_based=0"], for: command()).flag("time_based"))
  }

  @Test("an alias stands for its option, and counts as the same")
  func aliases() throws {
    let options = try ParsedOptions(["--readwrite=randread"], for: command())
    #expect(try options.value("rw", as: .text) == "randread")
    #expect(options.text("rw") == "randread")
    #expect(throws: UsageError("--rw is given twice")) {
      try ParsedOptions(["--rw", "read", "--readwrite", "write"], for: command())
    }
  }

  @Test("behind -- everything is positional")
  func doubleDashEndsOptions() throws {
    #expect(try ParsedOptions(["--", "--memory"], for: command()).operands == ["--memory"])
  }

  @Test("a value that starts with a dash is taken with =, or when it has a single one")
  func dashedValues() throws {
    #expect(
      try ParsedOptions(["--memory=--x"], for: command()).value("memory", as: .text) == "--x")
    #expect(
      try ParsedOptions(["--memory", "-x"], for: command()).value("memory", as: .text) == "-x")
  }

  @Test(
    "a wrong command line is one line that says what is wrong, and 64",
    arguments: [
      (["--memroy", "1k"], "unknown option '--memroy'; did you mean '--memory'?"),
      (["--zzz"], "unknown option '--zzz'"),
      (["-m"], "unknown option '-m'"),
      (["--memory"], "--memory needs a value: --memory SIZE"),
      (["--memory", "--read-only"], "--memory needs a value: --memory SIZE"),
      (["--memory=1k", "--memory=2k"], "--memory is given twice"),
      (["--read-only", "--read-only"], "--read-only is given twice"),
      (["--read-only=yes"], "--read-only is a flag and takes no value"),
      (["--time_based=yes"], "--time_based: 'yes' is neither 0 nor 1"),
      (["--time_based", "--time_based=0"], "--time_based is given twice"),
      (["--readwrit=x"], "unknown option '--readwrit'; did you mean '--readwrite'?"),
      (["a", "b"], "surplus argument 'b'"),
      (["--memory", "1GB"], "--memory: '1GB' has the ambiguous unit 'GB'"),
      (["--memory", "1"], "--memory: '1' is outside 512 to 1T"),
      (["--memory", ""], "--memory: '' does not start with a number"),
      (["--connections", "0"], "--connections: '0' is outside 1 to 1000"),
      (["--connections", "1e3"], "--connections: '1e3' is not a whole number"),
      (["--timeout", "5"], "--timeout: '5' has no unit: write for example 5s"),
      (["--direct", "maybe"], "--direct: 'maybe' is not one of on, off"),
      (["--listen", "/a"], "--listen: '/a' is not a listen address"),
    ])
  func complains(arguments: [String], message: String) {
    let run = Run(["serve"] + arguments)
    #expect(run.code == 64)
    #expect(run.output.isEmpty)
    #expect(run.complaint.hasPrefix("ashlar serve: \(message)"), "\(run.complaint)")
    #expect(run.complaint.hasSuffix("; see 'ashlar serve --help'\n"))
    #expect(run.complaint.split(separator: "\n").count == 1)
  }

  @Test(
    "an unknown command gets a suggestion where one is near",
    arguments: [
      ("srve", "did you mean 'serve'?"), ("hlep", "did you mean 'help'?"),
      ("--versoin", "did you mean '--version'?"), ("xyzzy", "unknown command 'xyzzy'; see"),
    ])
  func suggestsCommands(word: String, message: String) {
    let run = Run([word])
    #expect(run.code == 64)
    #expect(run.complaint.contains(message), "\(run.complaint)")
  }

  @Test("a beginning of one name is taken for it rather than for another of its length")
  func suggestsContinuation() {
    #expect(nearestName(to: "--rate", among: ["--name", "--rate_iops"]) == "--rate_iops")
    #expect(nearestName(to: "--nam", among: ["--name", "--namely"]) == "--name")
    #expect(nearestName(to: "--nmae", among: ["--name", "--rate_iops"]) == "--name")
  }

  @Test("no command, and an argument that is not UTF-8, are refused")
  func refusesNothingAndDamage() {
    #expect(Run([]).code == 64)
    #expect(Run([]).complaint == "ashlar: no command given; see 'ashlar --help'\n")
    #expect(Run(["serve", "a\u{FFFD}b"]).complaint.contains("not valid UTF-8"))
  }

  @Test("required options and operands are missed")
  func missesRequired() {
    let strict = Command(
      name: "stop", summary: "stop", operands: [Operand("NAME", help: "which")],
      options: [Option("why", "TEXT", isRequired: true, help: "why")], run: { _ in 0 })
    #expect(Run(["stop", "a"], strict).complaint.contains("--why TEXT is missing"))
    #expect(Run(["stop", "--why=x"], strict).complaint.contains("NAME is missing"))
    #expect(Run(["stop", "--why=x", "a"], strict).code == 0)
  }

  @Test("help is made from the table, fits 80 columns and names every option")
  func helpFromTheTable() {
    for arguments in [["serve", "--help"], ["help", "serve"], ["serve", "--memory", "x", "-h"]] {
      let run = Run(arguments)
      #expect(run.code == 0)
      #expect(run.complaint.isEmpty)
      for option in command().options { #expect(run.output.contains("--\(option.name)")) }
      #expect(run.output.contains("(default 100)"))
      #expect(run.output.contains("(may be repeated)"))
      #expect(run.output.split(separator: "\n").allSatisfy { $0.count <= 80 }, "\(run.output)")
    }
    #expect(Run(["--help"]).output.contains("serve a device"))
    #expect(Run(["help", "serve", "x"]).code == 64)
    #expect(Run(["--version"]).output == "ashlar 1.2.3\n")
    for word in ["version", "--version"] {
      let run = Run([word, "extra"])
      #expect(run.code == ExitCode.usage && run.output.isEmpty)
      #expect(run.complaint.contains("surplus argument 'extra' behind '\(word)'"))
    }
  }

  @Test("what a command returns and throws reaches the caller")
  func passesResults() {
    #expect(Run(["serve"], command { _ in 3 }).code == 3)
    let refusing = command { _ throws(UsageError) in throw UsageError("no") }
    #expect(Run(["serve"], refusing).complaint == "ashlar serve: no; see 'ashlar serve --help'\n")
  }
}

@Suite("Control: listen addresses")
struct ListenAddressTests {
  @Test(
    "addresses are read, and written as they are read",
    arguments: [
      ("unix:/run/a.sock", .unix(path: "/run/a.sock"), "unix:/run/a.sock"),
      ("tcp:localhost:10810", .tcp(host: "localhost", port: 10810), "tcp:localhost:10810"),
      ("tcp:localhost", .tcp(host: "localhost", port: 10809), "tcp:localhost:10809"),
      ("tcp:[::1]:0", .tcp(host: "::1", port: 0), "tcp:[::1]:0"),
      ("tcp:[::1]", .tcp(host: "::1", port: 10809), "tcp:[::1]:10809"),
      ("tcp::5", .tcp(host: "", port: 5), "tcp::5"),
      ("tcp:*:5", .tcp(host: "", port: 5), "tcp::5"),
    ] as [(String, ListenAddress, String)])
  func reads(text: String, address: ListenAddress, written: String) throws {
    #expect(try ListenAddress(text) == address)
    #expect(address.description == written)
    #expect(try ListenAddress(written) == address)
  }

  @Test(
    "what is no address is refused with its reason",
    arguments: [
      ("", .unknownKind), ("/a", .unknownKind), ("unix:", .noPath), ("unix:a\0b", .noPath),
      ("unix:/" + String(repeating: "a", count: 107), .pathTooLong(byteCount: 108)),
      ("tcp:", .noHost), ("tcp:*", .noHost), ("tcp:10809", .noHost), ("tcp:[::1", .unclosedBracket),
      ("tcp:::1:5", .bareIPv6), ("tcp:a:65536", .badPort("65536")), ("tcp:a:", .badPort("")),
      ("tcp:a:-1", .badPort("-1")), ("tcp:[::1]5", .badPort("5")),
    ] as [(String, ListenAddressError)])
  func refuses(text: String, error: ListenAddressError) {
    #expect(throws: error) { try ListenAddress(text) }
  }
}
