import Control
import Glibc
import IO
import Units

/// `ashlar stop NAME`.
enum StopCommand {
  static let command = Command(
    name: "stop",
    summary: "end the server of a device in good order",
    discussion: [
      "The server takes no new clients, finishes the requests it has, flushes, and ends. stop "
        + "returns when its process is gone, with 1 when that end was not in good order: then it "
        + "says what is not durable.",
      "--force goes on although the device is attached, and kills a server that does not answer "
        + "or does not end in time. Acknowledged writes survive that; requests under way fail.",
    ],
    operands: [Operand("NAME", help: "the device")],
    options: [
      Option("timeout", "DURATION", default: "30s", help: "how long to wait for its end"),
      .flag("force", help: "see above"),
      .flag("json", help: "print the outcome as a JSON object"),
    ],
    run: run)

  @Sendable private static func run(_ options: ParsedOptions) throws(UsageError) -> Int32 {
    let name = try Conversion<String>.deviceName.convert(options.operand(0) ?? "", for: "NAME")
    let timeout = try options.required(
      "timeout", as: .duration(in: 1_000_000...604_800_000_000_000))
    let isForced = options.flag("force")
    let path: String
    do throws(RuntimeDirectoryError) {
      guard let directory = try RuntimeDirectory.existing() else {
        return notRunning(name)
      }
      path = try directory.controlSocketPath(name)
      let record = AttachRecord.load(try directory.attachRecordPath(name))
      if let record, Attachment.isInPlace(record), !isForced {
        return failed(
          "\(name) is attached as \(record.device): run 'ashlar detach \(name)' first; --force "
            + "stops it all the same, and whatever uses the device then gets errors")
      }
    } catch {
      return failed(error.description)
    }
    do throws(ControlError) {
      let end = try stop(name, path, timeout, isForced)
      if options.flag("json") {
        let outcome: JSONValue = [
          "version": .integer(1), "name": .string(name), "stopped": true,
          "killed": .bool(end.wasKilled), "complaint": end.complaint.map { .string($0) } ?? .null,
        ]
        guard Terminal.output.write(outcome.text + "\n") else { return ExitCode.failure }
      }
      guard let complaint = end.complaint else { return ExitCode.success }
      return failed("\(name) has ended, not in good order: \(complaint)")
    } catch {
      if case .notRunning = error { return notRunning(name) }
      return failed(error.explained(name))
    }
  }

  /// How a server ended.
  private struct End {
    var wasKilled = false
    /// What it said went wrong.
    var complaint: String?
  }

  private static func stop(
    _ name: String, _ path: String, _ timeout: UInt64, _ isForced: Bool
  ) throws(ControlError) -> End {
    let deadline = Deadline(afterNanoseconds: timeout)
    let answerDeadline = Deadline(afterNanoseconds: min(timeout, 2_000_000_000))
    let processID: Int32
    var client: ControlClient?
    do throws(ControlError) {
      var asked = try ControlClient(path: path, until: answerDeadline)
      guard case .stopping(let answered) = try asked.ask(.stop, until: answerDeadline) else {
        throw .unexpectedResponse("no promise to stop")
      }
      processID = answered
      client = consume asked
    } catch {
      guard isForced, case .noAnswer(let silent?) = error else { throw error }
      try kill(silent)
      return End(wasKilled: true)
    }
    if let facts = ProcessFacts(processID: processID) {
      let hasEnded = waitWithProgress(name, deadline) {
        !ProcessFacts.isRunning(processID, startTicks: facts.startTicks)
      }
      guard hasEnded else {
        guard isForced else { throw .stillRunning(processID: processID) }
        try kill(processID)
        return End(wasKilled: true)
      }
    }
    // A process of another namespace cannot be seen: then its last word is waited for.
    do throws(ControlError) {
      return End(complaint: try client?.outcome(until: deadline))
    } catch .closed {
      return End(complaint: "it ended without saying how: its log may tell")
    } catch .noAnswer {
      throw .stillRunning(processID: processID)
    }
  }

  private static func waitWithProgress(
    _ name: String, _ deadline: Deadline, _ condition: () -> Bool
  ) -> Bool {
    let startNanoseconds = Deadline.nowNanoseconds
    while !deadline.hasPassed {
      let pause = Deadline(afterNanoseconds: min(2_000_000_000, deadline.remainingNanoseconds))
      if pause.wait(until: condition) { return true }
      let waited = TimeSpan.formatUptime(
        nanoseconds: Deadline.nowNanoseconds - startNanoseconds)
      Terminal.error.write("ashlar stop: waiting for \(name) to finish its requests, \(waited)\n")
    }
    return condition()
  }

  /// Kills the server, once it is certain that it is one.
  private static func kill(_ processID: Int32) throws(ControlError) {
    // With socket activation the kernel names the manager that made the socket.
    guard let facts = ProcessFacts(processID: processID),
      SmallFile.text("/proc/\(processID)/comm") == "ashlar"
    else { throw .noAnswer(processID: processID) }
    guard Glibc.kill(processID, SIGKILL) == 0 else { throw .unreachable(.last) }
    let deadline = Deadline(afterNanoseconds: 10_000_000_000)
    guard deadline.wait(until: { !ProcessFacts.isRunning(processID, startTicks: facts.startTicks) })
    else { throw .stillRunning(processID: processID) }
    Terminal.error.write("ashlar stop: killed process \(processID)\n")
  }

  private static func notRunning(_ name: String) -> Int32 {
    failed("\(name) is not running, so nothing was stopped: 'ashlar status' lists what runs")
  }

  private static func failed(_ message: String) -> Int32 {
    Complaint.print(command: "stop", message)
    return ExitCode.failure
  }
}
