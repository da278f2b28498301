import NBDWire
import Testing

private typealias Say = ClientBytes

@Suite("NBDWire: options without data")
struct OptionTests {
  @Test("NBD 13: EXPORT_NAME: size, flags, and 124 zeroes unless both sides agreed on NO_ZEROES")
  func exportName() {
    let expected = big(1 << 30, 8) + big(0b1101_0110_1101, 2)
    let short = converse(flags: 3, Say.option(Say.exportName, Array("disk".utf8)))
    #expect(short.otherBytes == expected)
    let long = converse(flags: 1, Say.option(Say.exportName, Array("disk".utf8)))
    #expect(long.otherBytes == expected + [UInt8](repeating: 0, count: 124))
    #expect(
      long.agreement
        == Agreement(
          exportIndex: 0, usesStructuredReplies: false, allocationContextIdentifier: nil))
  }

  @Test("NBD 13: EXPORT_NAME: the empty name is the default export, others go by their name")
  func exportNameFinds() {
    #expect(converse(Say.option(Say.exportName)).agreement?.exportIndex == 0)
    let other = converse(Say.option(Say.exportName, Array("other".utf8)))
    #expect(other.agreement?.exportIndex == 1)
    #expect(other.otherBytes == big(8192, 8) + big(0b1_0011, 2))
  }

  @Test("NBD 13: EXPORT_NAME: an unknown name closes without an answer")
  func exportNameUnknown() {
    let names: [[UInt8]] = [
      Array("dis".utf8), Array("disk2".utf8), Array("Disk".utf8), [0], Array("disk\0".utf8),
      [UInt8](repeating: 0x61, count: 4097),
    ]
    for name in names {
      let exchange = converse(Say.option(Say.exportName, name))
      #expect(exchange.closeReason?.contains("unknown export") == true)
      #expect(exchange.otherBytes.isEmpty)
      #expect(exchange.answers.isEmpty)
      #expect(!exchange.hasViolation)
    }
    let none = converse(Say.option(Say.exportName), exports: [])
    #expect(none.closeReason?.contains("unknown export") == true)
  }

  @Test("names are compared byte by byte: another spelling of the same character is another name")
  func namesAreBytes() {
    let exports = [ExportDescription(name: "\u{e9}", description: "", byteCount: 1, flags: [])]
    #expect("\u{e9}" == "e\u{301}")
    let same = converse(Say.option(Say.go, Say.query("\u{e9}")), exports: exports)
    #expect(same.agreement != nil)
    let other = converse(Say.option(Say.go, Say.query("e\u{301}")), exports: exports)
    #expect(other.types == [OptionAnswer.unknown])
  }

  @Test("NBD 14: ABORT is acknowledged, its data ignored, then the connection closes")
  func abort() {
    for data in [[], [UInt8](repeating: 7, count: 100)] {
      let exchange = converse(Say.option(Say.abort, data), Say.option(Say.list))
      #expect(exchange.answers == [.acknowledged(Say.abort)])
      #expect(exchange.closeReason?.contains("ABORT") == true)
      #expect(!exchange.hasViolation)
    }
  }

  @Test("NBD 15: LIST: a SERVER reply for each export with name and description, then ACK")
  func list() {
    let exchange = converse(Say.option(Say.list))
    #expect(
      exchange.answers == [
        OptionAnswer(
          option: 3, type: OptionAnswer.server, data: big(4, 4) + Array("diska disk".utf8)),
        OptionAnswer(option: 3, type: OptionAnswer.server, data: big(5, 4) + Array("other".utf8)),
        .acknowledged(Say.list),
      ])
    #expect(converse(Say.option(Say.list), exports: []).answers == [.acknowledged(Say.list)])
  }

  @Test("NBD 15: LIST with data: ERR_INVALID", arguments: [1, 4, 65536])
  func listWithData(byteCount: Int) {
    let data = [UInt8](repeating: 0, count: byteCount)
    let exchange = converse(Say.option(Say.list, data), Say.option(Say.abort))
    #expect(exchange.types == [OptionAnswer.invalid, OptionAnswer.acknowledged])
  }

  @Test("NBD 16: STARTTLS without TLS: ERR_POLICY, with data ERR_INVALID, never TLS_REQD")
  func startTLS() {
    let exchange = converse(
      Say.option(Say.startTLS), Say.option(Say.startTLS, [0]), Say.option(Say.startTLS))
    #expect(
      exchange.types == [OptionAnswer.policy, OptionAnswer.invalid, OptionAnswer.policy])
    #expect(exchange.closeReason == nil)
  }

  @Test("NBD 17: a refused STARTTLS changes nothing: the options behind it are in plain text")
  func optionsBehindRefusedStartTLS() {
    let exchange = converse(
      Say.option(Say.structuredReply), Say.option(Say.startTLS),
      Say.option(Say.go, Say.query("disk")))
    #expect(
      exchange.types == [
        OptionAnswer.acknowledged, OptionAnswer.policy, OptionAnswer.info,
        OptionAnswer.acknowledged,
      ])
    #expect(exchange.agreement?.usesStructuredReplies == true)
  }

  @Test("NBD 30: STRUCTURED_REPLY: ACK, a second time too; with data ERR_INVALID and no effect")
  func structuredReply() {
    let twice = converse(
      Say.option(Say.structuredReply), Say.option(Say.structuredReply),
      Say.option(Say.structuredReply, [1]), Say.option(Say.go, Say.query("")))
    #expect(
      twice.types.prefix(3) == [
        OptionAnswer.acknowledged, OptionAnswer.acknowledged, OptionAnswer.invalid,
      ])
    #expect(twice.agreement?.usesStructuredReplies == true)
    let refused = converse(
      Say.option(Say.structuredReply, [1]), Say.option(Say.go, Say.query("")))
    #expect(refused.types.first == OptionAnswer.invalid)
    #expect(refused.agreement?.usesStructuredReplies == false)
  }

  @Test("NBD 35: EXTENDED_HEADERS: ERR_UNSUP, and structured replies and GO work afterwards")
  func extendedHeaders() {
    let exchange = converse(
      Say.option(Say.extendedHeaders), Say.option(Say.structuredReply),
      Say.option(Say.go, Say.query("disk")))
    #expect(exchange.types.prefix(2) == [OptionAnswer.unsupported, OptionAnswer.acknowledged])
    #expect(exchange.agreement?.usesStructuredReplies == true)
  }

  @Test("NBD 36: PEEK_EXPORT, option 4: ERR_UNSUP")
  func peekExport() {
    #expect(converse(Say.option(Say.peekExport)).types == [OptionAnswer.unsupported])
  }
}
