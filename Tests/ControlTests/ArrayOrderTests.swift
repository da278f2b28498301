import DiskFormat
import Testing

@testable import Control

private let allOrders: [ArrayOrder] = [
  .failMember("1"), .removeMember("/srv/a.img"), .addMember(place: "/srv/d.img", isForced: true),
  .addMember(place: "nbd://host/d", isForced: false),
  .replaceMember("2", place: "/srv/d.img", isForced: false), .pauseRebuild, .resumeRebuild,
  .beginScrub(repairs: false), .beginScrub(repairs: true), .pauseScrub, .resumeScrub, .cancelScrub,
  .setLatencyBudget(nanoseconds: 20_000_000),
  .replica(
    .add(address: "tcp:b:1", mode: .b, lossPolicy: .stop, timeoutMilliseconds: 2000)),
  .replica(.remove("tcp:b:1")), .replica(.promote(isForced: true)), .replica(.demote),
  .replica(.diff), .replica(.seed), .replica(.stepBack(.takeBack)), .replica(.stepBack(.giveUp)),
  .replica(.stepBack(.follow)), .replica(.exportDiverged("/srv/saved")),
  .replica(.verify("tcp:b:1")), .replica(.verify(nil)), .replica(.cancelVerify),
  .replica(.resync(discard: "4096", exported: nil)),
  .replica(.resync(discard: nil, exported: "/srv/saved")),
]

@Suite("Control: orders")
struct ArrayOrderTests {
  @Test("each order is read back from its line", arguments: allOrders)
  func readsBack(order: ArrayOrder) throws {
    let line = ControlRequest.order(order).line
    #expect(try ControlRequest(line: Array(line.dropLast())) == .order(order))
  }

  @Test("the lines are those of docs/control.md")
  func isDocumented() {
    func text(_ order: ArrayOrder) -> String {
      String(decoding: ControlRequest.order(order).line.dropLast(), as: UTF8.self)
    }
    #expect(
      text(.replaceMember("2", place: "/srv/d.img", isForced: false))
        == #"{"version":1,"command":"member","action":"replace","member":"2","#
        + #""place":"/srv/d.img","force":false}"#)
    #expect(
      text(.beginScrub(repairs: true))
        == #"{"version":1,"command":"scrub","action":"repair"}"#)
    #expect(text(.pauseRebuild) == #"{"version":1,"command":"rebuild","action":"pause"}"#)
    #expect(
      text(.setLatencyBudget(nanoseconds: 20_000_000))
        == #"{"version":1,"command":"latency-budget","nanoseconds":20000000}"#)
  }

  @Test("force may be left out, and is then not meant")
  func forceIsOptional() throws {
    let text = #"{"version":1,"command":"member","action":"add","place":"/a"}"#
    #expect(
      try ControlRequest(line: Array(text.utf8))
        == .order(.addMember(place: "/a", isForced: false)))
  }

  @Test(
    "an order that lacks something, or has it of another type, is refused and says what",
    arguments: [
      (#""command":"member""#, "action"),
      (#""command":"member","action":"destroy","member":"1""#, "action"),
      (#""command":"member","action":1,"member":"1""#, "action"),
      (#""command":"member","action":"fail""#, "member"),
      (#""command":"member","action":"fail","member":1"#, "member"),
      (#""command":"member","action":"fail","member":"""#, "member"),
      (#""command":"member","action":"add""#, "place"),
      (#""command":"member","action":"add","place":"relative""#, "place"),
      (#""command":"member","action":"add","place":"/a","force":1"#, "force"),
      (#""command":"member","action":"add","place":"/a","force":null"#, "force"),
      (#""command":"member","action":"replace","place":"/a""#, "member"),
      (#""command":"member","action":"replace","member":"1""#, "place"),
      (#""command":"rebuild""#, "action"), (#""command":"rebuild","action":"cancel""#, "action"),
      (#""command":"scrub","action":"begin""#, "action"),
      (#""command":"scrub","action":["check"]"#, "action"),
      (#""command":"replica","action":"erase""#, "action"),
      (#""command":"replica","action":"export-diverged""#, "file"),
      (#""command":"replica","action":"export-diverged","file":"relative""#, "file"),
      (#""command":"replica","action":"resync","exported":"relative""#, "exported"),
      (#""command":"replica","action":"resync","exported":7"#, "exported"),
      (#""command":"latency-budget""#, "nanoseconds"),
      (#""command":"latency-budget","nanoseconds":-1"#, "nanoseconds"),
      (#""command":"latency-budget","nanoseconds":99999"#, "nanoseconds"),
      (#""command":"latency-budget","nanoseconds":2e7"#, "nanoseconds"),
      (#""command":"latency-budget","nanoseconds":60000000001"#, "nanoseconds"),
    ])
  func refuses(members: String, name: String) {
    #expect {
      try ControlRequest(line: Array(#"{"version":1,\#(members)}"#.utf8))
    } throws: { error in
      guard let refusal = error as? ControlRefusal else { return false }
      return refusal.code == "malformed_request" && refusal.message.contains("'\(name)'")
        && !refusal.action.isEmpty
    }
  }

  @Test("an outcome travels as JSON without loss")
  func outcomeTravels() throws {
    var outcome = OrderOutcome("slot 1: the rebuild has begun", memberID: "a-b")
    var response = ControlResponse.done(outcome, processID: 7)
    #expect(try ControlResponse(line: Array(response.line.dropLast())) == response)
    (outcome.slot, outcome.seat, outcome.wasCreated) = (1, 4, true)
    (outcome.destroyed, outcome.notes) = (["x holds data"], ["not direct"])
    outcome.ranges = [ArrayRangeReport(offsetBytes: 4096, byteCount: 8192)]
    outcome.file = "/saved"
    response = .done(outcome, processID: 7)
    #expect(try ControlResponse(line: Array(response.line.dropLast())) == response)
  }
}
