import Control
import Glibc
import IO

/// Talks to the server of one array, for the commands that have something done to it.
struct OrderSession {
  /// Which command it is, for messages.
  let command: String
  let name: String
  private let path: String

  /// A server takes its status, and most orders, in a step or two of its loop.
  private static let answerNanosecondsMax: UInt64 = 2_000_000_000
  /// An order waits for superblocks to be durable, and for a member to be opened and looked at; each
  /// of these waits is bounded by the server.
  private static let orderNanosecondsMax: UInt64 = 600_000_000_000

  init(command: String, name: String) throws(RuntimeDirectoryError) {
    self.command = command
    self.name = name
    if let directory = try RuntimeDirectory.existing() {
      path = try directory.controlSocketPath(name)
    } else {
      // Without the folder nothing runs; connecting finds that out.
      let (folder, _) = RuntimeDirectory.location(
        environment: environmentVariable, userID: geteuid())
      path = try RuntimeDirectory(path: folder).controlSocketPath(name)
    }
  }

  /// How the array is; never waits long.
  func array() throws(ControlError) -> ArrayReport {
    let deadline = Deadline(afterNanoseconds: Self.answerNanosecondsMax)
    var client = try ControlClient(path: path, until: deadline)
    guard case .status(let report, _) = try client.ask(.status, until: deadline) else {
      throw .unexpectedResponse("no status")
    }
    guard let array = report.array else {
      throw .refused(.isPlainDevice)
    }
    return array
  }

  /// Has something done, and waits until it is.
  func order(_ order: ArrayOrder) throws(ControlError) -> OrderOutcome {
    let deadline = Deadline(afterNanoseconds: Self.answerNanosecondsMax)
    var client = try ControlClient(path: path, until: deadline)
    let outcome = try client.ask(
      .order(order), until: Deadline(afterNanoseconds: Self.orderNanosecondsMax),
      stillWaiting: {
        tell(
          order.opensMember
            ? "waiting for \(name) to open the new member and look what it holds"
            : "waiting for \(name) to make it durable")
      })
    guard case .done(let done, _) = outcome else {
      throw .unexpectedResponse("no word of what was done")
    }
    return done
  }

  /// A line on standard error.
  func tell(_ line: String) { Terminal.error.write("ashlar \(command): \(line)\n") }

  /// Says why nothing was done.
  ///
  /// - Returns: the exit code.
  func failed(_ error: ControlError, code: Int32 = ExitCode.failure) -> Int32 {
    if case .refused(let refusal) = error {
      Complaint.print(command: command, "\(name): \(refusal.message): \(refusal.action)")
    } else {
      Complaint.print(command: command, error.explained(name))
    }
    return code
  }

  /// Says what was done.
  ///
  /// - Returns: the exit code.
  func report(_ outcomes: [OrderOutcome], wantsJSON: Bool) -> Int32 {
    for note in outcomes.flatMap(\.notes) { tell("warning: \(note)") }
    let text: String
    if wantsJSON {
      let document: JSONValue = [
        "version": .integer(1), "name": .string(name), "done": .array(outcomes.map(\.json)),
      ]
      text = document.text + "\n"
    } else {
      text = outcomes.map { outcome in
        outcome.ranges.reduce("\(name): \(outcome.words)\n") { text, range in
          text + "  bytes \(range.offsetBytes) to \(range.offsetBytes + range.byteCount - 1)\n"
        }
      }.joined()
    }
    guard Terminal.output.write(text) else {
      Complaint.print(command: command, "it is done, but standard output is closed")
      return ExitCode.failure
    }
    return ExitCode.success
  }
}
