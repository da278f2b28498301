import Control
import Glibc

/// `ashlar status [NAME]`.
enum StatusCommand {
  /// A server takes its status in one step on its loop: two seconds of silence mean trouble.
  private static let answerNanosecondsMax: UInt64 = 2_000_000_000

  static let command = Command(
    name: "status",
    summary: "show how the served devices are",
    discussion: [
      "Shows state, cause and action first, then the device, its clients, and what was asked of "
        + "it. Without NAME it shows every device of the runtime directory. A server that does not "
        + "answer within 2 seconds is said not to.",
      "Of an array it shows what can be lost now, how far rebuild and scrub are and what they found, "
        + "members and reserves with what is wrong with each, how full the log is, and what happened "
        + "last; with --json all of it.",
      "With --check the exit code tells: 0 optimal, 1 impaired (an array: degraded, resyncing) or "
        + "stopping, 2 failed or not answering, 3 not running; of several devices the worst counts.",
    ],
    operands: [Operand("NAME", isRequired: false, help: "only this device")],
    options: [
      .flag("watch", help: "show it again every second, with rates, until interrupted"),
      .flag("json", help: "print one JSON object on a line, as in docs/control.md"),
      .flag("check", help: "print one line a device and tell the state by the exit code"),
    ],
    run: run)

  @Sendable private static func run(_ options: ParsedOptions) throws(UsageError) -> Int32 {
    if options.flag("watch"), options.flag("check") {
      throw UsageError("--check looks once: leave out --watch")
    }
    var name: String?
    if let text = options.operand(0) {
      name = try Conversion<String>.deviceName.convert(text, for: "NAME")
    }
    do throws(RuntimeDirectoryError) {
      return try options.flag("watch")
        ? watch(name, json: options.flag("json")) : once(name, options)
    } catch {
      Complaint.print(command: "status", error.description)
      return options.flag("check") ? ExitCode.deviceFailed : ExitCode.failure
    }
  }

  private static func once(
    _ name: String?, _ options: ParsedOptions
  ) throws(RuntimeDirectoryError) -> Int32 {
    let sightings = try look(name)
    let wasPrinted: Bool
    if options.flag("json") {
      wasPrinted = Terminal.output.write(json(sightings) + "\n")
    } else if options.flag("check") {
      wasPrinted = Terminal.output.write(
        sightings.isEmpty ? nothing : sightings.map(checkLine).joined())
    } else {
      wasPrinted = Terminal.output.write(text(sightings, [:], 0))
    }
    guard wasPrinted else { return ExitCode.failure }
    if options.flag("check") {
      // The worst of them, in this order.
      let codes = [
        ExitCode.deviceFailed, ExitCode.notRunning, ExitCode.failure, ExitCode.success,
      ]
      let seen = sightings.isEmpty ? [ExitCode.notRunning] : sightings.map(\.exitCode)
      return codes.first { seen.contains($0) } ?? ExitCode.success
    }
    guard name != nil, let sighting = sightings.first, case .silent = sighting.server else {
      return ExitCode.success
    }
    return ExitCode.failure
  }

  private static func watch(
    _ name: String?, json wantsJSON: Bool
  ) throws(RuntimeDirectoryError) -> Int32 {
    let clearsScreen = Terminal.output.isInteractive && !wantsJSON
    var previous: [String: StatusReport] = [:]
    var previousNanoseconds = Deadline.nowNanoseconds
    var isFirst = true
    while true {
      let sightings = try look(name)
      let now = Deadline.nowNanoseconds
      var block =
        wantsJSON
        ? json(sightings) + "\n" : text(sightings, previous, now - previousNanoseconds)
      if clearsScreen {
        // Home, then erase what is below: without the flicker of erasing first.
        block =
          "\u{1B}[H"
          + block.split(separator: "\n", omittingEmptySubsequences: false)
          .joined(separator: "\u{1B}[K\n") + "\u{1B}[J"
      } else if !isFirst, !wantsJSON {
        block = "\n" + block
      }
      guard Terminal.output.write(block) else { return ExitCode.failure }
      previous = [:]
      for sighting in sightings {
        if case .answers(let report, _) = sighting.server { previous[sighting.name] = report }
      }
      previousNanoseconds = now
      isFirst = false
      let spent = Deadline.nowNanoseconds - now
      Deadline.pause(milliseconds: Int32(1000 - min(spent / 1_000_000, 1000)))
    }
  }

  private static func look(_ name: String?) throws(RuntimeDirectoryError) -> [DeviceSighting] {
    guard let directory = try RuntimeDirectory.existing() else {
      guard let name else { return [] }
      // Without the folder nothing runs; the sighting finds that out by itself.
      let (path, _) = RuntimeDirectory.location(
        environment: environmentVariable, userID: geteuid())
      return [try sighting(name, in: RuntimeDirectory(path: path))]
    }
    if let name { return [try sighting(name, in: directory)] }
    var sightings: [DeviceSighting] = []
    for name in try directory.names(withEnding: "control") {
      sightings.append(try sighting(name, in: directory))
    }
    return sightings
  }

  private static func sighting(
    _ name: String, in directory: RuntimeDirectory
  ) throws(RuntimeDirectoryError) -> DeviceSighting {
    try DeviceSighting(
      name, in: directory, until: Deadline(afterNanoseconds: answerNanosecondsMax))
  }

  private static func text(
    _ sightings: [DeviceSighting], _ previous: [String: StatusReport],
    _ elapsedNanoseconds: UInt64
  ) -> String {
    guard !sightings.isEmpty else {
      return nothing
    }
    return sightings.map { sighting in
      StatusText.describe(
        sighting, previous: previous[sighting.name], elapsedNanoseconds: elapsedNanoseconds,
        nowUnixSeconds: UInt64(max(0, time(nil))))
    }.joined(separator: "\n")
  }

  /// Names the folder, because another user's devices are in another one.
  private static var nothing: String {
    let (path, _) = RuntimeDirectory.location(environment: environmentVariable, userID: geteuid())
    return "no device is served in \(path): 'ashlar serve --help' says how to start one\n"
  }

  private static func json(_ sightings: [DeviceSighting]) -> String {
    let document: JSONValue = ["version": .integer(1), "devices": .array(sightings.map(\.json))]
    return document.text
  }

  private static func checkLine(_ sighting: DeviceSighting) -> String {
    switch sighting.server {
    case .answers(let report, _):
      let cause = report.cause.isEmpty ? "" : ": \(report.cause)"
      let stopping = report.isStopping ? ", stopping" : ""
      return "\(sighting.name): \(report.stateWord)\(stopping)\(cause)\n"
    case .silent(let error): return "\(error.explained(sighting.name))\n"
    }
  }
}
