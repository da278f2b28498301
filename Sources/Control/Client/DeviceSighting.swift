import Glibc

/// What can be found out about one device from outside: whether its server answers, and where
/// it is attached.
package struct DeviceSighting: Sendable {
  /// What the server said, or why it said nothing.
  package enum Server: Equatable, Sendable {
    case answers(StatusReport, processID: Int32)
    case silent(ControlError)
  }

  package let name: String
  package let server: Server
  package let attachment: AttachRecord?

  init(name: String, server: Server, attachment: AttachRecord?) {
    self.name = name
    self.server = server
    self.attachment = attachment
  }

  /// Asks the server.
  ///
  /// Takes no longer than the deadline, whatever state the server is in.
  package init(
    _ name: String, in directory: RuntimeDirectory, until deadline: Deadline
  ) throws(RuntimeDirectoryError) {
    self.name = name
    let path = try directory.controlSocketPath(name)
    attachment = AttachRecord.load(try directory.attachRecordPath(name)).flatMap { record in
      Attachment.isInPlace(record) ? record : nil
    }
    do throws(ControlError) {
      var client = try ControlClient(path: path, until: deadline)
      guard case .status(let report, let processID) = try client.ask(.status, until: deadline)
      else { throw .unexpectedResponse("no status") }
      server = .answers(report, processID: processID)
    } catch {
      server = .silent(Self.settled(error))
    }
  }

  /// The kernel keeps the sockets of a killed server for a moment, and they still take connections.
  private static func settled(_ error: ControlError) -> ControlError {
    switch error {
    case .closed(let processID?), .noAnswer(let processID?):
      let isGone = kill(processID, 0) != 0 && errno == ESRCH
      let hasEnded = ProcessFacts(processID: processID)?.hasEnded ?? isGone
      return hasEnded ? .notRunning(staleSocket: true) : error
    default: return error
    }
  }

  /// For `status --check`.
  package var exitCode: Int32 {
    switch server {
    case .answers(let report, _):
      switch report.state {
      case .optimal: report.isStopping ? ExitCode.failure : ExitCode.success
      case .impaired: ExitCode.failure
      case .failed: ExitCode.deviceFailed
      }
    case .silent(.notRunning): ExitCode.notRunning
    case .silent: ExitCode.deviceFailed
    }
  }

  /// For `--json`: the server's own words, and what only this side knows.
  package var json: JSONValue {
    var members: [JSONMember] = [JSONMember(name: "name", value: .string(name))]
    switch server {
    case .answers(let report, let processID):
      members.append(JSONMember(name: "running", value: true))
      members.append(JSONMember(name: "pid", value: .integer(Int64(processID))))
      members.append(JSONMember(name: "status", value: report.json))
    case .silent(let error):
      var isRunning = true
      if case .notRunning = error { isRunning = false }
      members.append(JSONMember(name: "running", value: .bool(isRunning)))
      members.append(JSONMember(name: "error", value: .string(error.explained(name))))
    }
    members.append(JSONMember(name: "attachment", value: attachment?.json ?? .null))
    return .object(members)
  }
}
