import Glibc
package import IO

/// What a control socket accepts: one JSON object a line, with a line of response for each, two for
/// a stop.
package enum ControlRequest: Equatable, Sendable {
  case status
  case stop
  case order(ArrayOrder)

  /// Of the requests and responses; a server answers only its own.
  package static var protocolVersion: Int64 { 1 }
  /// A longer request is refused and the connection closed.
  package static var lineByteCountMax: Int { 64 << 10 }

  /// Reads one line, without its newline.
  package init(line: [UInt8]) throws(ControlRefusal) {
    let json: JSONValue
    do throws(JSONError) {
      json = try JSONValue.decode(line)
    } catch {
      throw ControlRefusal(
        code: "malformed_request", message: "the line is not JSON: \(error)",
        action: "send one JSON object a line")
    }
    guard case .object = json else {
      throw ControlRefusal(
        code: "malformed_request", message: "the line is not a JSON object",
        action: "send {\"version\":1,\"command\":\"status\"}")
    }
    guard let version = json["version"]?.integer else {
      throw ControlRefusal(
        code: "malformed_request", message: "'version' is missing or not an integer",
        action: "send \"version\":1")
    }
    guard version == Self.protocolVersion else {
      throw ControlRefusal(
        code: "unsupported_version", message: "version \(version) is not known to this server",
        action: "send \"version\":1, or use the ashlar program of the server's own version")
    }
    switch json["command"]?.string {
    case "status": self = .status
    case "stop": self = .stop
    case let command? where ArrayOrder.commandNames.contains(command):
      self = .order(try ArrayOrder(command: command, json))
    case let command?:
      let known = ["status", "stop"] + ArrayOrder.commandNames
      throw ControlRefusal(
        code: "unknown_command", message: "the command '\(command)' is not known to this server",
        action: "use one of \(known.joined(separator: ", "))")
    case nil:
      throw ControlRefusal(
        code: "malformed_request", message: "'command' is missing or not text",
        action: "send \"command\":\"status\"")
    }
  }

  /// The line, newline included.
  package var line: [UInt8] {
    var members = [JSONMember(name: "version", value: .integer(Self.protocolVersion))]
    switch self {
    case .status: members.append(JSONMember(name: "command", value: "status"))
    case .stop: members.append(JSONMember(name: "command", value: "stop"))
    case .order(let order):
      members += order.members.map { JSONMember(name: $0.0, value: $0.1) }
    }
    return JSONValue.object(members).encode() + [UInt8(ascii: "\n")]
  }
}

/// Why a server does not do what was asked.
package struct ControlRefusal: Error, Equatable, Sendable {
  /// For programs; stable.
  package var code: String
  package var message: String
  /// What to do next.
  package var action: String

  package init(code: String, message: String, action: String) {
    self.code = code
    self.message = message
    self.action = action
  }

  /// An order for an array was given to something else.
  package static let isPlainDevice = ControlRefusal(
    code: "not_an_array", message: "it is a plain device, which has no members",
    action: "'ashlar create' makes arrays")
}

/// One line of response; a request to stop gets two.
package enum ControlResponse: Equatable, Sendable {
  case status(StatusReport, processID: Int32)
  /// At once: it will stop.
  case stopping(processID: Int32)
  /// The device has been stopped; the complaint says what went wrong, nil for nothing.
  case stopped(complaint: String?, processID: Int32)
  /// An order was carried out.
  case done(OrderOutcome, processID: Int32)
  case refused(ControlRefusal)

  /// The line, newline included.
  package var line: [UInt8] { json.encode() + [UInt8(ascii: "\n")] }

  package var json: JSONValue {
    switch self {
    case .status(let report, let processID):
      [
        "version": .integer(ControlRequest.protocolVersion), "ok": true,
        "server": Self.server(processID), "status": report.json,
      ]
    case .stopping(let processID):
      [
        "version": .integer(ControlRequest.protocolVersion), "ok": true,
        "server": Self.server(processID), "stopping": true,
      ]
    case .stopped(let complaint, let processID):
      [
        "version": .integer(ControlRequest.protocolVersion), "ok": true,
        "server": Self.server(processID), "stopped": true,
        "complaint": complaint.map { .string($0) } ?? .null,
      ]
    case .done(let outcome, let processID):
      [
        "version": .integer(ControlRequest.protocolVersion), "ok": true,
        "server": Self.server(processID), "done": outcome.json,
      ]
    case .refused(let refusal):
      [
        "version": .integer(ControlRequest.protocolVersion), "ok": false,
        "error": [
          "code": .string(refusal.code), "message": .string(refusal.message),
          "action": .string(refusal.action),
        ],
      ]
    }
  }

  private static func server(_ processID: Int32) -> JSONValue {
    [
      "program": "ashlar", "version": .string(ashlarVersion), "pid": .integer(Int64(processID)),
    ]
  }

  /// Reads a line that a server sent, without its newline.
  package init(line: [UInt8]) throws(ControlError) {
    let json: JSONValue
    do throws(JSONError) {
      json = try JSONValue.decode(line)
    } catch {
      throw .unexpectedResponse("not JSON: \(error)")
    }
    guard json["version"]?.integer == ControlRequest.protocolVersion else {
      throw .unexpectedResponse("not of version \(ControlRequest.protocolVersion)")
    }
    switch json["ok"]?.bool {
    case true?:
      let processID = Int32(clamping: json["server"]?["pid"]?.integer ?? 0)
      if let status = json["status"] {
        self = .status(try StatusReport(status), processID: processID)
      } else if json["stopping"]?.bool == true {
        self = .stopping(processID: processID)
      } else if json["stopped"]?.bool == true {
        self = .stopped(complaint: json["complaint"]?.string, processID: processID)
      } else if let done = json["done"] {
        self = .done(try OrderOutcome(JSONReader(done, path: "done")), processID: processID)
      } else {
        throw .unexpectedResponse("neither a status, a promise to stop, nor something done")
      }
    case false?:
      let error = json["error"]
      self = .refused(
        ControlRefusal(
          code: error?["code"]?.string ?? "unknown", message: error?["message"]?.string ?? "",
          action: error?["action"]?.string ?? ""))
    case nil: throw .unexpectedResponse("'ok' is missing")
    }
  }
}

/// Why a server could not be asked.
package enum ControlError: Error, Equatable, Sendable {
  /// Nothing listens: no socket, or a socket that a server left behind when it died.
  case notRunning(staleSocket: Bool)
  /// Connecting or talking failed.
  case unreachable(SystemError)
  /// No answer within the time allowed. The process is the one at the other end, where known.
  case noAnswer(processID: Int32?)
  /// It closed the connection instead of answering.
  case closed(processID: Int32?)
  /// It answered something that this program does not understand.
  case unexpectedResponse(String)
  /// It refused.
  case refused(ControlRefusal)
  /// It was asked to stop and has not ended in time.
  case stillRunning(processID: Int32)
}
