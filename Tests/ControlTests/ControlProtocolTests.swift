import Control
import NBDServer
import Testing
import Volumes

@Suite("Control: requests and responses")
struct ControlProtocolTests {
  @Test("requests are read back, and more members do no harm")
  func requestsReadBack() throws {
    for request in [ControlRequest.status, .stop] {
      #expect(try ControlRequest(line: Array(request.line.dropLast())) == request)
      #expect(request.line.last == UInt8(ascii: "\n"))
    }
    let text = #" {"later":[1],"command":"status","version":1} "#
    #expect(try ControlRequest(line: Array(text.utf8)) == .status)
  }

  @Test(
    "a wrong request is refused with a code",
    arguments: [
      ("x", "malformed_request"), ("[]", "malformed_request"), ("1", "malformed_request"),
      ("{}", "malformed_request"), (#"{"version":1}"#, "malformed_request"),
      (#"{"version":1,"command":3}"#, "malformed_request"),
      (#"{"version":"1","command":"status"}"#, "malformed_request"),
      (#"{"version":1.0,"command":"status"}"#, "malformed_request"),
      (#"{"version":2,"command":"status"}"#, "unsupported_version"),
      (#"{"version":1,"command":"format"}"#, "unknown_command"),
      (#"{"version":1,"command":"Status"}"#, "unknown_command"),
    ])
  func refuses(text: String, code: String) {
    #expect {
      try ControlRequest(line: Array(text.utf8))
    } throws: { error in
      guard let refusal = error as? ControlRefusal else { return false }
      return refusal.code == code && !refusal.message.isEmpty && !refusal.action.isEmpty
    }
  }

  @Test("responses are read back")
  func responsesReadBack() throws {
    let responses: [ControlResponse] = [
      .status(sampleReport, processID: 42), .stopping(processID: 1),
      .stopped(complaint: nil, processID: 2), .stopped(complaint: "no space", processID: 3),
      .refused(ControlRefusal(code: "a", message: "b", action: "c")),
    ]
    for response in responses {
      #expect(try ControlResponse(line: Array(response.line.dropLast())) == response)
    }
  }

  @Test("the keys of a status are those that docs/control.md promises")
  func statusKeysAreStable() {
    let latency = { (p50: Int, p99: Int, p999: Int, most: Int, mean: Int) in
      #"{"p50_nanoseconds":\#(p50),"p99_nanoseconds":\#(p99),"p99_9_nanoseconds":\#(p999),"#
        + #""max_nanoseconds":\#(most),"mean_nanoseconds":\#(mean)}"#
    }
    let none = #"{"count":0,"byte_count":0,"error_count":0,"latency":\#(latency(0, 0, 0, 0, 0))}"#
    let expected =
      #"{"name":"disk1","state":"impaired","cause":"the file system is full","#
      + #""action":"make room","stopping":true,"up_nanoseconds":7500000000000,"#
      + #""device":{"kind":"file /srv/a.img (direct)","byte_count":10737418240,"#
      + #""read_only":false,"rotational":true,"preferred_block_bytes":4096},"#
      + #""listeners":["unix:/run/ashlar/disk1.sock"],"#
      + #""connections":[{"peer":"user 0, process 12","requests_in_flight":4,"#
      + #""bytes_in_flight":65536,"up_nanoseconds":90000000000}],"#
      + #""connection_count_max":100,"accepted_count":9,"violation_count":1,"#
      + #""requests":{"read":{"count":3,"byte_count":12288,"error_count":1,"#
      + #""latency":\#(latency(12, 5000, 5000, 5000, 1674))},"#
      + #""write":{"count":2,"byte_count":8192,"error_count":0,"#
      + #""latency":\#(latency(0, 0, 0, 0, 0))},"flush":\#(none),"other":\#(none)},"#
      + #""requests_in_flight":5,"buffer_bytes_in_use":131072,"buffer_bytes_max":67108864,"#
      + #""oldest_request_nanoseconds":1050000,"#
      + #""loop":{"turn_count":11,"enter_count":12,"job_count":13,"completion_count":14}}"#
    #expect(sampleReport.json.text == expected)
  }

  @Test("a status that lacks any one member is refused, one with more is read")
  func everyMemberIsNeeded() throws {
    guard case .object(let members) = sampleReport.json else {
      Issue.record("a status is an object")
      return
    }
    for index in members.indices {
      var fewer = members
      fewer.remove(at: index)
      #expect(throws: ControlError.self) { try StatusReport(.object(fewer)) }
    }
    let more = members + [JSONMember(name: "members", value: .array([]))]
    #expect(try StatusReport(.object(more)) == sampleReport)
  }

  @Test("each health has its state, cause and action")
  func healthBecomesState() {
    var status = sampleStatus
    status.health = .optimal
    #expect(StatusReport(status).state == .optimal)
    #expect(StatusReport(status).cause == "")
    status.health = .failed(cause: "c", action: "a")
    #expect(StatusReport(status).state == .failed)
    #expect(StatusReport(status).cause == "c")
    #expect(StatusReport(status).action == "a")
  }
}
