import NBDWire
import Testing

private typealias Say = ClientBytes

@Suite("NBDWire: handshake")
struct HandshakeTests {
  @Test("NBD 1: the greeting is NBDMAGIC, IHAVEOPT and the flags FIXED_NEWSTYLE and NO_ZEROES")
  func greeting() {
    let bytes = Negotiation(exports: twoExports).greeting()
    #expect(bytes == Array("NBDMAGICIHAVEOPT".utf8) + [0, 3])
  }

  @Test("NBD 2: every single unknown client flag closes", arguments: 2..<32)
  func unknownClientFlag(bit: Int) {
    let exchange = converse(flags: 3 | 1 << UInt64(bit), Say.option(Say.list))
    #expect(exchange.closeReason?.contains("client flags") == true)
    #expect(exchange.hasViolation)
    #expect(exchange.answers.isEmpty)
  }

  @Test("NBD 2: each mix of the two offered client flags goes on", arguments: 0..<4)
  func offeredClientFlags(flags: Int) {
    let exchange = converse(flags: UInt64(flags))
    #expect(exchange.closeReason == nil)
    #expect(exchange.restByteCount == 0)
  }

  @Test(
    "NBD 4: without fixed newstyle every option but EXPORT_NAME closes",
    arguments: [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 99])
  func onlyExportNameWithoutFixedNewstyle(option: Int) {
    let exchange = converse(flags: 2, Say.option(UInt64(option)))
    #expect(exchange.closeReason?.contains("fixed newstyle") == true)
    #expect(exchange.hasViolation)
    #expect(exchange.answers.isEmpty)
  }

  @Test("NBD 4: without fixed newstyle EXPORT_NAME begins transmission")
  func exportNameWithoutFixedNewstyle() {
    let exchange = converse(flags: 0, Say.option(Say.exportName, Array("disk".utf8)))
    #expect(exchange.agreement?.exportIndex == 0)
  }

  @Test("NBD 5: a wrong option magic closes, whichever byte of it is wrong", arguments: 0..<8)
  func wrongOptionMagic(index: Int) {
    var option = Say.option(Say.list)
    option[index] ^= 0x20
    let exchange = converse(option)
    #expect(exchange.closeReason?.contains("magic") == true)
    #expect(exchange.hasViolation)
  }

  @Test("NBD 6: each answered option gets its own number back")
  func optionNumbersAreEchoed() {
    let numbers: [UInt64] = [
      Say.list, Say.peekExport, Say.startTLS, Say.info, Say.structuredReply, Say.listMeta,
      Say.setMeta, Say.extendedHeaders, 0, 12, 0x7FFF_FFFF, 0xFFFF_FFFF, Say.go,
    ]
    for option in numbers {
      let exchange = converse(Say.option(option))
      #expect(!exchange.answers.isEmpty)
      #expect(exchange.answers.allSatisfy { $0.option == option })
      #expect(exchange.otherBytes.isEmpty)
    }
  }

  @Test("NBD 7: an unknown option with LIST in one segment: ERR_UNSUP, then LIST is answered")
  func unknownOptionThenList() {
    for byteCount in [0, 1, 16, 65536] {
      let junk = [UInt8](repeating: 0x49, count: byteCount)
      let exchange = converse(Say.option(12345, junk), Say.option(Say.list))
      #expect(exchange.answers.first?.option == 12345)
      #expect(
        exchange.types == [
          OptionAnswer.unsupported, OptionAnswer.server, OptionAnswer.server,
          OptionAnswer.acknowledged,
        ])
    }
  }

  @Test(
    "NBD 8: an option length beyond the cap closes on the header alone",
    arguments: [65537, 1 << 31, 0xFFFF_FFFF])
  func optionBeyondCap(byteCount: Int) {
    for option in [Say.exportName, Say.abort, Say.list, Say.go, 77] {
      let exchange = converse(Say.header(option, byteCount: UInt64(byteCount)))
      #expect(exchange.closeReason?.contains("more than 65536") == true)
      #expect(exchange.hasViolation)
      #expect(exchange.answers.isEmpty)
    }
  }

  @Test("NBD 8: an option length at the cap is waited for")
  func optionAtCap() {
    let exchange = converse(Say.header(Say.list, byteCount: 65536))
    #expect(exchange.closeReason == nil)
    #expect(exchange.restByteCount == 16)
  }

  @Test("NBD 9: error replies have bit 31, and a text in UTF-8 without NUL of 4096 bytes at most")
  func errorTexts() {
    let longName = String(repeating: "\u{20ac}", count: 1365)
    let errors = converse(
      Say.option(99), Say.option(Say.list, [0]), Say.option(Say.startTLS),
      Say.option(Say.info, Say.query(longName)), Say.option(Say.go, Say.query("\u{1}\u{85}\"")),
      Say.option(Say.setMeta, Say.metadata("disk")), Say.option(Say.go, [0, 0]))
    #expect(errors.answers.count == 7)
    for answer in errors.answers {
      #expect(answer.type & 1 << 31 != 0)
      #expect(!answer.data.isEmpty)
      #expect(answer.data.count <= 4096)
      #expect(!answer.data.contains(0))
      #expect(String(validating: answer.data, as: UTF8.self) != nil)
    }
  }

  @Test("NBD 10: bad options of every kind are answered, and negotiation goes on")
  func badOptionsDoNotDisconnect() {
    let exchange = converse(
      Say.option(0), Say.option(Say.list, [1, 2, 3]), Say.option(Say.startTLS, [0]),
      Say.option(Say.info), Say.option(Say.go), Say.option(Say.go, Say.query("nothere")),
      Say.option(Say.structuredReply, [0]), Say.option(Say.listMeta), Say.option(Say.setMeta),
      Say.option(Say.extendedHeaders), Say.option(Say.go, Say.query("disk")))
    #expect(exchange.types.prefix(10).allSatisfy { $0 & 1 << 31 != 0 })
    #expect(exchange.agreement?.exportIndex == 0)
    #expect(exchange.closeReason == nil)
  }

  @Test("NBD 11: during shutdown every option but ABORT is answered ERR_SHUTDOWN")
  func shutdown() {
    for option in [0, Say.list, 4, 5, Say.info, Say.go, 8, 9, 10, 11, 99] {
      let exchange = converse(
        Say.option(option, Say.query("disk")), Say.option(Say.abort), isShuttingDown: true)
      #expect(exchange.types == [OptionAnswer.shutdown, OptionAnswer.acknowledged])
      #expect(exchange.closeReason?.contains("ABORT") == true)
      #expect(!exchange.hasViolation)
    }
  }

  @Test("NBD 11: during shutdown EXPORT_NAME closes without a word")
  func shutdownMeetsExportName() {
    let exchange = converse(Say.option(Say.exportName), isShuttingDown: true)
    #expect(exchange.closeReason == "shutting down")
    #expect(exchange.otherBytes.isEmpty)
    #expect(!exchange.hasViolation)
  }

  @Test("NBD 12: 32 options are answered, the next closes")
  func optionCount() {
    let options = [[UInt8]](repeating: Say.option(99), count: 32).flatMap { $0 }
    let answered = converse(options)
    #expect(answered.answers.count == 32)
    #expect(answered.closeReason == nil)
    for last in [Say.option(Say.abort), Say.option(Say.go, Say.query("disk"))] {
      let refused = converse(options, last)
      #expect(refused.answers.count == 32)
      #expect(refused.closeReason?.contains("more than 32 options") == true)
      #expect(refused.hasViolation)
    }
  }

  @Test("after the end of negotiation nothing is consumed and the answer is to close")
  func afterTheEnd() {
    for end in [Say.option(Say.abort), Say.option(Say.go, Say.query("disk"))] {
      var negotiation = Negotiation(exports: twoExports)
      _ = withSpan(Say.flags(3) + end) { negotiation.advance($0) }
      let (consumed, outcome) = withSpan(Say.option(Say.list)) { negotiation.advance($0) }
      #expect(consumed == 0)
      #expect(outcome == .close(reason: "negotiation is already over", reply: []))
    }
  }

  @Test("what follows the option that begins transmission is left to the caller")
  func bytesBehindGo() {
    let exchange = converse(Say.option(Say.go, Say.query("disk")), [1, 2, 3])
    #expect(exchange.agreement != nil)
    #expect(exchange.restByteCount == 3)
  }
}
