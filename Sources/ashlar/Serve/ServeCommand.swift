import Control
import Glibc
import IO
import NBDServer
import NBDWire
import Ring
import Units

/// `ashlar serve`: one device, in the foreground, until it is stopped.
let serveCommand = Command(
  name: "serve",
  summary: "serve an array, or a plain device, over NBD",
  usage: [
    "NAME [options]", "MEMBER... [options]", "--file PATH [--size SIZE] [options]",
    "--memory SIZE [options]",
  ],
  discussion: [
    "Serves an array, or one plain device without redundancy, until 'ashlar stop NAME', SIGTERM, "
      + "SIGINT or SIGHUP, then finishes what is in flight, flushes, and ends. Logs to standard "
      + "error.",
    "NAME is an array that 'ashlar create' made or that was served here before. MEMBERs are files, "
      + "block devices and NBD URIs, in any order; 'ashlar examine' tells what would be started "
      + "of them. An array with missing members starts as long as their blocks can be computed, "
      + "unless the missing could have gone on alone; --force starts it then, too.",
    "The control socket and, without --listen, the NBD socket are NAME.control and NAME.sock in "
      + "the runtime directory: $ASHLAR_RUNTIME_DIR, or /run/ashlar, or the user's own.",
    "A socket passed by systemd (LISTEN_FDS) is served as well.",
  ],
  operands: [
    Operand(
      "NAME|MEMBER", isRequired: false, isRepeatable: true,
      help: "the array, by its name or by its members")
  ],
  options: [
    .flag(
      "force",
      help: "start although members are missing that could have gone on alone: what they wrote "
        + "then is not in the array, and they cannot come back as they are"),
    .flag(
      "no-resync",
      help:
        "do not bring members up to date that come back, and leave spares where they are, until "
        + "'rebuild --resume'; what 'member add' and 'member replace' "
        + "begin in this run goes on"),
    Option(
      "log-policy", "POLICY",
      help: "which writes go through the log this time, auto or full; default: as it was created"),
    Option(
      "member-timeout", "DURATION", default: "10s",
      help: "for a member to answer; then it is put out, if the array can do without it"),
    Option(
      "spare-delay", "DURATION", default: "60s",
      help: "how long a member may be gone until a spare takes its slot; for one that failed it is "
        + "at once"),
    Option(
      "latency-budget", "DURATION", default: "20ms",
      help: "what requests of clients may take, 99 of 100, because of rebuild and scrub"),
    Option("table-cache", "SIZE", default: "64M", help: "memory for checksums"),
    Option(
      "write-memory", "SIZE", default: "64M",
      help: "memory for what is in the log and not yet home"),
    Option(
      "replication", "ADDRESS",
      help: "where other nodes with the same device connect to this one: unix:PATH or "
        + "tcp:HOST:PORT; beyond loopback with --insecure-plain"),
    Option(
      "advertise", "ADDRESS",
      help: "what other nodes are told that they reach this one by; default: as --replication"),
    Option(
      "arbiter", "file:PATH",
      help:
        "who decides between two nodes: a record that both have in a folder they share; without "
        + "its yes, in time, neither goes on alone nor is promoted"),
    Option(
      "undo", "FILE",
      help:
        "while this array is copied to as a replica, keep what is overwritten in FILE, so that the "
        + "copy can be taken back ('ashlar replica step-back')"),
    Option(
      "undo-size", "SIZE", default: "4G",
      help: "create FILE with this size when it does not exist; when it is full, a copy waits"),
    Option("file", "PATH", help: "serve a file or block device"),
    Option("size", "SIZE", help: "create the file with this size when it does not exist"),
    Option(
      "direct", "on|off", help: "pass the page cache by; default: on where the file system can"),
    Option("memory", "SIZE", help: "serve memory, forgotten at the end"),
    .flag("read-only", help: "refuse writes"),
    Option(
      "request-timeout", "DURATION", default: "60s",
      help: "for the disk to answer; then the device stops and says so"),
    Option("name", "NAME", help: "the device's name; default: from the file's name, or 'memory'"),
    Option("description", "TEXT", help: "shown to clients that list exports"),
    Option(
      "listen", "ADDRESS", isRepeatable: true,
      help: "unix:PATH, or tcp:HOST:PORT with port 10809 when left out"),
    Option(
      "socket-mode", "MODE", default: "0600", help: "permission bits of unix sockets, octal"),
    .flag(
      "insecure-plain",
      help: "allow TCP beyond loopback without encryption: anyone who reaches it can read and "
        + "write everything"),
    Option("max-connections", "N", default: "100", help: "clients; further ones wait"),
    Option("max-requests", "N", default: "128", help: "requests in flight per client"),
    Option("max-total-requests", "N", default: "4096", help: "requests in flight in all"),
    Option("max-bytes", "SIZE", default: "64M", help: "payload memory per client"),
    Option("max-total-bytes", "SIZE", default: "256M", help: "payload memory in all"),
    Option("max-options", "N", default: "32", help: "options in one handshake"),
    Option("max-option-size", "SIZE", default: "64k", help: "data of one handshake option"),
    Option("handshake-timeout", "DURATION", default: "10s", help: "for the whole handshake"),
    Option(
      "stall-timeout", "DURATION", default: "60s",
      help: "for a client to send a payload or take its replies, plus 1 s a MiB"),
    Option("shutdown-timeout", "DURATION", default: "20s", help: "for an orderly end"),
  ],
  headings: [
    "force": "arrays", "file": "plain devices", "description": "every device",
  ],
  run: { options throws(UsageError) in
    let settings = try ServeSettings(options)
    let machine: RingMachine
    do throws(RingError) {
      machine = try RingMachine()
    } catch {
      Complaint.print(command: "serve", error.explanation)
      return ExitCode.failure
    }
    let signals: SignalStream
    do throws(SystemError) {
      signals = try SignalStream([SIGTERM, SIGINT, SIGHUP], machine: machine)
    } catch {
      Complaint.print(command: "serve", "signals cannot be received: \(error)")
      return ExitCode.failure
    }
    return machine.run {
      await Daemon(machine: machine, settings: settings, signals: signals).run()
    }
  })

/// What the command line asks for, checked.
struct ServeSettings: Sendable {
  enum Source: Sendable {
    case file(path: String, options: FileOptions)
    case memory(byteCount: UInt64)
    case array(ArraySource)

    /// What has become of the contents after an orderly end.
    var fateAtEnd: String {
      switch self {
      case .file: "everything is flushed"
      case .memory: "its contents are forgotten"
      case .array: "everything is home"
      }
    }
  }

  let source: Source
  /// Its name is empty while only the members know it.
  var server: ServerOptions
  let listen: [ListenAddress]
  let socketMode: UInt32
  let allowsPlainTCP: Bool

  /// NBD sizes are below 2^63.
  private static let sizes: ClosedRange<UInt64> = 512...(1 << 62)

  init(_ options: ParsedOptions) throws(UsageError) {
    source = try Self.source(options)
    server = try Self.serverOptions(options, source)
    listen = try options.values("listen", as: .listenAddress)
    allowsPlainTCP = options.flag("insecure-plain")
    let mode = try options.required("socket-mode", as: .text)
    guard let bits = UInt32(mode, radix: 8), bits <= 0o777 else {
      throw UsageError("--socket-mode: '\(mode)' is not an octal mode such as 0600 or 0660")
    }
    socketMode = bits
  }

  private static func source(_ options: ParsedOptions) throws(UsageError) -> Source {
    let memory = try options.value("memory", as: .size(in: sizes))
    let path = try options.value("file", as: .path)
    guard options.operands.isEmpty else {
      for name in ["file", "memory", "size", "direct", "name", "request-timeout"]
      where options.isGiven(name) {
        let instead = name == "request-timeout" ? "; an array's is --member-timeout" : ""
        throw UsageError(
          "--\(name) is for plain devices, and '\(options.operands[0])' is an array\(instead)")
      }
      if options.flag("read-only") { throw UsageError("--read-only goes with --file only") }
      return .array(try ArraySource(options))
    }
    for name in ArraySource.optionNames where options.isGiven(name) {
      throw UsageError("--\(name) is for arrays: give an array's name or its members")
    }
    switch (path, memory) {
    case (nil, nil):
      throw UsageError(
        "say what to serve: an array's NAME, its MEMBERs, --file PATH or --memory SIZE")
    case (.some, .some): throw UsageError("--file and --memory exclude each other")
    case (nil, .some(let byteCount)):
      for name in ["size", "direct"] where options.isGiven(name) {
        throw UsageError("--\(name) goes with --file only")
      }
      if options.flag("read-only") { throw UsageError("--read-only goes with --file only") }
      return .memory(byteCount: byteCount)
    case (.some(let path), nil):
      let isReadOnly = options.flag("read-only")
      let byteCount = try options.value("size", as: .size(in: sizes))
      if isReadOnly && byteCount != nil {
        throw UsageError("--size and --read-only exclude each other")
      }
      let direct = try options.value("direct", as: .choice(["on", "off"]))
      let caching: FileOptions.Caching =
        switch direct {
        case "on": .direct
        case "off": .buffered
        default: .directIfPossible
        }
      return .file(
        path: path,
        options: FileOptions(isReadOnly: isReadOnly, caching: caching, createByteCount: byteCount))
    }
  }

  private static func serverOptions(
    _ options: ParsedOptions, _ source: Source
  ) throws(UsageError) -> ServerOptions {
    let name: String
    if case .array(let array) = source {
      name = array.registeredName ?? ""
    } else if let given = try options.value("name", as: .deviceName) {
      name = given
    } else {
      name = try defaultName(of: source)
    }
    var server = ServerOptions(name: name)
    let description = try options.value(
      "description",
      as: Conversion { text in
        text.utf8.count <= 4096 && !text.utf8.contains(0)
          ? .success(text) : .failure(UsageError("is longer than 4096 bytes or holds a zero byte"))
      })
    if let description { server.description = description }
    server.connectionCountMax = try options.required(
      "max-connections", as: .integer(in: 1...10_000))
    server.requestsPerConnectionMax = try options.required(
      "max-requests", as: .integer(in: 1...1024))
    server.requestsMax = try options.required(
      "max-total-requests", as: .integer(in: 1...1_000_000))
    let payloads: ClosedRange<UInt64> = 1 << 20...(1 << 40)
    server.bytesPerConnectionMax = Int(try options.required("max-bytes", as: .size(in: payloads)))
    server.bytesMax = Int(try options.required("max-total-bytes", as: .size(in: payloads)))
    server.negotiationLimits.optionCountMax = try options.required(
      "max-options", as: .integer(in: 4...100_000))
    server.negotiationLimits.optionByteCountMax = Int(
      try options.required("max-option-size", as: .size(in: 8192...(112 << 10))))
    let times: ClosedRange<UInt64> = 1_000_000_000...86_400_000_000_000
    server.handshakeNanoseconds = try options.required(
      "handshake-timeout", as: .duration(in: times))
    server.stallNanoseconds = try options.required("stall-timeout", as: .duration(in: times))
    server.requestNanoseconds = try options.required("request-timeout", as: .duration(in: times))
    server.shutdownNanoseconds = try options.required("shutdown-timeout", as: .duration(in: times))
    return server
  }

  /// The file's name without its folder and extension, as far as it makes a valid name.
  private static func defaultName(of source: Source) throws(UsageError) -> String {
    guard case .file(let path, _) = source else { return "memory" }
    let last = path.split(separator: "/").last.map(String.init) ?? ""
    let stem = last.lastIndex(of: ".").map { String(last[..<$0]) } ?? last
    let name = stem.isEmpty ? last : stem
    guard isValidDeviceName(name) else {
      throw UsageError("the name '\(name)' \(deviceNameRule); choose one with --name")
    }
    return name
  }
}
