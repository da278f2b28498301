import Control
import Testing

@Suite("Control: JSON")
struct JSONTests {
  @Test(
    "what is written is read back",
    arguments: [
      .null, .bool(true), .integer(.min), .integer(.max), .real(1.5), .string(""),
      .string("a\0b\u{1F600}\"\\\n"), .array([]), .object([]),
      .array([.null, .array([.bool(false)])]),
      ["a": .integer(1), "": .string("x"), "b": ["c": .array([.string("d")])]],
    ] as [JSONValue])
  func readsBack(value: JSONValue) throws {
    // A zero byte inside text is refused on the way in: no string of ours holds one.
    let line = value.encode()
    #expect(!line.contains(UInt8(ascii: "\n")), "one line: \(value.text)")
    if value.text.contains("\\u0000") {
      #expect(throws: JSONError.self) { try JSONValue.decode(line) }
    } else {
      #expect(try JSONValue.decode(line) == value)
    }
  }

  @Test("objects keep their order")
  func keepsOrder() {
    let value: JSONValue = ["z": .integer(1), "a": .integer(2), "m": .integer(3)]
    #expect(value.text == #"{"z":1,"a":2,"m":3}"#)
  }

  @Test("a counter that does not fit is told as the maximum, an infinity as null")
  func clampsCounters() {
    #expect(JSONValue.count(UInt64.max) == .integer(.max))
    #expect(JSONValue.real(.infinity).text == "null")
  }

  @Test(
    "what is not JSON is refused",
    arguments: [
      "", " ", "{", "}", "{\"a\":1,}", "{\"a\":1}x", "{\"a\":1}{}", "{\"a\":1,\"a\":2}", "nul",
      "'a'", "\"\u{1}\"", "9223372036854775808", "1e999", "[1 2]", "{\"a\":\"\\ud800\"}",
    ])
  func refuses(text: String) {
    #expect(throws: JSONError.self) { try JSONValue.decode(Array(text.utf8)) }
  }

  @Test(
    "text that is not UTF-8 is refused",
    arguments: [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0x80], [0]])
  func refusesInvalidUTF8(bytes: [UInt8]) {
    #expect(throws: JSONError.self) {
      try JSONValue.decode([0x7B, 0x22, 0x61, 0x22, 0x3A, 0x22] + bytes + [0x22, 0x7D])
    }
  }

  @Test("nesting is bounded, whether or not it is closed", arguments: [33, 1000, 3000, 30_000])
  func boundsDepth(depth: Int) throws {
    let open = String(repeating: "[", count: depth)
    let close = String(repeating: "]", count: depth)
    #expect(throws: JSONError.self) { try JSONValue.decode(Array((open + close).utf8)) }
    #expect(throws: JSONError.self) { try JSONValue.decode(Array(open.utf8)) }
    let allowed = String(repeating: "[", count: 32) + String(repeating: "]", count: 32)
    #expect(throws: Never.self) { try JSONValue.decode(Array(allowed.utf8)) }
  }

  @Test("every beginning and every flipped bit of a line is read or refused, never more")
  func survivesDamage() throws {
    let line = ControlResponse.status(sampleReport, processID: 7).line.dropLast()
    let whole = Array(line)
    for end in whole.indices { _ = try? ControlResponse(line: Array(whole[..<end])) }
    for index in whole.indices {
      for bit in 0..<8 {
        var damaged = whole
        damaged[index] ^= UInt8(1 << bit)
        _ = try? ControlResponse(line: damaged)
        _ = try? ControlRequest(line: damaged)
      }
    }
    #expect(try ControlResponse(line: whole) == .status(sampleReport, processID: 7))
  }
}
