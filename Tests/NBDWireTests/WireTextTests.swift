import Testing

@testable import NBDWire

@Suite("NBDWire: text from and to the wire")
struct WireTextTests {
  @Test(
    "quoting escapes what could forge or hide a log line",
    arguments: [
      ("disk", "\"disk\""),
      ("", "\"\""),
      ("a\nb\r\tc", "\"a\\u{a}b\\u{d}\\u{9}c\""),
      ("\u{1b}[2J\u{7f}\u{85}", "\"\\u{1b}[2J\\u{7f}\\u{85}\""),
      ("say \"x\" \\", "\"say \\\"x\\\" \\\\\""),
      ("\u{202e}gpj.exe\u{2028}\u{feff}", "\"\\u{202e}gpj.exe\\u{2028}\\u{feff}\""),
      ("\u{e9}\u{20ac}\u{1f600}", "\"\u{e9}\u{20ac}\u{1f600}\""),
      ("\0", "\"\\u{0}\""),
    ])
  func quoting(text: String, expected: String) {
    #expect(WireText.quoted(Array(text.utf8)) == expected)
  }

  @Test("quoting repairs broken UTF-8")
  func quotingBrokenText() {
    #expect(WireText.quoted([0x61, 0xFF, 0x62]) == "\"a\u{fffd}b\"")
    #expect(WireText.quoted([0xC3]) == "\"\u{fffd}\"")
  }

  @Test("quoting cuts between characters, for every length of prefix and of character")
  func quotingIsBounded() {
    for character in ["a", "\u{e9}", "\u{20ac}", "\u{1f600}", "\u{1}"] {
      for prefix in 0..<5 {
        let text = String(repeating: "x", count: prefix) + String(repeating: character, count: 300)
        let quoted = WireText.quoted(Array(text.utf8))
        #expect(quoted.utf8.count <= 256 + 5)
        #expect(quoted.utf8.count > 256 - 6)
        #expect(quoted.hasSuffix("\"..."))
        #expect(!quoted.unicodeScalars.contains("\u{fffd}"))
      }
    }
    let whole = String(repeating: "x", count: 256)
    #expect(WireText.quoted(Array(whole.utf8)) == "\"\(whole)\"")
    #expect(WireText.quoted(Array((whole + "x").utf8)) == "\"\(whole)\"...")
  }

  @Test("NBD 9: a text is cut at a character boundary, at every length")
  func cutting() {
    let text = "a\u{e9}\u{20ac}\u{1f600}z"
    for byteCount in 0...12 {
      let cut = WireText.cut(text, byteCountMax: byteCount)
      #expect(cut.count <= byteCount)
      #expect(cut.count > byteCount - 4 || cut.count == text.utf8.count)
      #expect(Array(text.utf8).starts(with: cut))
      #expect(String(validating: cut, as: UTF8.self) != nil)
    }
    #expect(WireText.cut(text, byteCountMax: 5) == Array("a\u{e9}".utf8))
    #expect(WireText.cut(text, byteCountMax: 11) == Array(text.utf8))
  }

  @Test("NBD 9: an error text beyond 4096 bytes is cut")
  func longRefusal() {
    let text = "x" + String(repeating: "\u{20ac}", count: 2000)
    let reply = OptionRefusal(type: .unknown, text: text).reply(to: 7)
    // 1 + 1365 * 3 = 4096.
    #expect(reply.count == 20 + 4096)
    #expect(String(validating: reply[20...], as: UTF8.self) != nil)
  }

  @Test("close reasons quote a hostile name in one bounded line")
  func hostileNames() {
    let names: [[UInt8]] = [
      Array("x\nashlar: all is well\u{1b}[1A".utf8), [UInt8](repeating: 10, count: 65536),
      [UInt8](repeating: 0xFF, count: 65536), [0x22, 0x5C, 0],
    ]
    for name in names {
      let exchange = converse(ClientBytes.option(ClientBytes.exportName, name))
      let reason = exchange.closeReason ?? ""
      #expect(reason.hasPrefix("EXPORT_NAME for the unknown export \""))
      #expect(reason.utf8.count < 320)
      #expect(!reason.unicodeScalars.contains { $0.properties.generalCategory == .control })
    }
  }
}
