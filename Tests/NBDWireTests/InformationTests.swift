import NBDWire
import Testing

private typealias Say = ClientBytes

@Suite("NBDWire: INFO and GO")
struct InformationTests {
  @Test(
    "NBD 23: a name length beyond the data: ERR_INVALID, and the next option is understood",
    arguments: [Say.info, Say.go])
  func nameLengthBeyondData(option: UInt64) {
    let whole = Say.query("disk", [1, 3])
    for length: UInt64 in [11, 4096, 4097, 0x7FFF_FFFF, 0xFFFF_FFFC, 0xFFFF_FFFF] {
      let exchange = converse(
        Say.option(option, big(length, 4) + whole.dropFirst(4)), Say.option(Say.list))
      #expect(exchange.types.first == OptionAnswer.invalid)
      #expect(exchange.types.last == OptionAnswer.acknowledged)
    }
  }

  @Test(
    "NBD 23: every wrong number of information requests: ERR_INVALID",
    arguments: [Say.info, Say.go])
  func countDiffersFromData(option: UInt64) {
    for count: UInt64 in [0, 1, 3, 4, 0x7FFF, 0x8000, 0xFFFF] {
      let data = Say.string("disk") + big(count, 2) + big(1, 2) + big(3, 2)
      #expect(converse(Say.option(option, data)).types == [OptionAnswer.invalid])
    }
  }

  @Test("NBD 23: data cut off at any byte, or with one byte more: ERR_INVALID")
  func dataCutAnywhere() {
    let whole = Say.query("disk", [1, 3])
    for count in 0..<whole.count {
      let exchange = converse(
        Say.option(Say.go, Array(whole[..<count])), Say.option(Say.go, whole))
      #expect(exchange.types.first == OptionAnswer.invalid)
      #expect(exchange.agreement != nil)
    }
    #expect(converse(Say.option(Say.go, whole + [0])).types == [OptionAnswer.invalid])
  }

  @Test("NBD 23: a name of 256, 257 or 4096 bytes is unknown, of 4097 bytes or with NUL invalid")
  func longNames() {
    for byteCount in [256, 257, 4095, 4096, 4097, 10_000] {
      let name = String(repeating: "n", count: byteCount)
      let expected = byteCount <= 4096 ? OptionAnswer.unknown : OptionAnswer.invalid
      #expect(converse(Say.option(Say.info, Say.query(name))).types == [expected])
      #expect(converse(Say.option(Say.go, Say.query(name))).types == [expected])
    }
    #expect(converse(Say.option(Say.go, Say.query("di\0k"))).types == [OptionAnswer.invalid])
    let notText = big(2, 4) + [0xC3, 0x28] + big(0, 2)
    #expect(converse(Say.option(Say.go, notText)).types == [OptionAnswer.invalid])
  }

  @Test("an export whose name has 4096 bytes is listed, described and chosen")
  func longestName() {
    let name = String(repeating: "\u{e9}", count: 2048)
    let text = String(repeating: "d", count: 4096)
    let exports = [ExportDescription(name: name, description: text, byteCount: 1, flags: [])]
    let exchange = converse(
      Say.option(Say.list), Say.option(Say.go, Say.query(name, [1, 2])), exports: exports)
    #expect(exchange.answers.first?.data.count == 4 + 4096 + 4096)
    #expect(exchange.information[1] == Array(name.utf8))
    #expect(exchange.information[2] == Array(text.utf8))
    #expect(exchange.agreement != nil)
  }

  @Test("NBD 24: success is INFO_EXPORT of 12 bytes, then ACK; unknown information is ignored")
  func exportInformation() {
    for types: [UInt64] in [[], [0], [4], [0x7FFF, 0xFFFF, 9], [0, 0, 0]] {
      let exchange = converse(Say.option(Say.info, Say.query("disk", types)))
      #expect(
        exchange.answers == [
          OptionAnswer(
            option: Say.info, type: OptionAnswer.info,
            data: big(0, 2) + big(1 << 30, 8) + big(0b1101_0110_1101, 2)),
          .acknowledged(Say.info),
        ])
    }
  }

  @Test("NBD 24: an unknown export: ERR_UNKNOWN alone, its name quoted in the text")
  func unknownExport() {
    for option in [Say.info, Say.go] {
      let exchange = converse(Say.option(option, Say.query("no such", [1, 2, 3])))
      #expect(exchange.types == [OptionAnswer.unknown])
      #expect(exchange.answers.first?.text.contains("\"no such\"") == true)
      #expect(exchange.agreement == nil)
    }
    let none = converse(Say.option(Say.go, Say.query("")), exports: [])
    #expect(none.types == [OptionAnswer.unknown])
  }

  @Test("NBD 25: GO ends with its ACK and never with zeroes, whatever the client flags")
  func noZeroesAfterGo() {
    for flags: UInt64 in [1, 3] {
      let exchange = converse(flags: flags, Say.option(Say.go, Say.query("disk")))
      #expect(exchange.otherBytes.isEmpty)
      #expect(exchange.answers.last == .acknowledged(Say.go))
      #expect(exchange.agreement?.exportIndex == 0)
    }
  }

  @Test("NBD 25: after a refused GO the next GO succeeds")
  func goAfterError() {
    let exchange = converse(
      Say.option(Say.go, Say.query("nothere")), Say.option(Say.go, Say.query("other")))
    #expect(exchange.types.first == OptionAnswer.unknown)
    #expect(exchange.agreement?.exportIndex == 1)
  }

  @Test("NBD 26: GO after INFO with the same parameters gives the same answers")
  func goRepeatsInfo() {
    for name in ["", "disk", "other"] {
      for structured in [[], Say.option(Say.structuredReply)] {
        let data = Say.query(name, [3, 2, 1, 0])
        let exchange = converse(structured, Say.option(Say.info, data), Say.option(Say.go, data))
        let infos = exchange.answers.filter { $0.option == Say.info }
        let goes = exchange.answers.filter { $0.option == Say.go }
        #expect(infos.count >= 4)
        #expect(infos.map(\.data) == goes.map(\.data))
        #expect(infos.map(\.type) == goes.map(\.type))
      }
    }
  }

  @Test("NBD 27: INFO_BLOCK_SIZE, when asked: minimum, preferred size and payload limit")
  func blockSize() {
    let disk = converse(Say.option(Say.info, Say.query("disk", [3])))
    #expect(disk.information[3] == big(1, 4) + big(4096, 4) + big(32 << 20, 4))
    let other = converse(Say.option(Say.info, Say.query("other", [3])))
    #expect(other.information[3] == big(512, 4) + big(8192, 4) + big(1 << 20, 4))
    #expect(converse(Say.option(Say.info, Say.query("other"))).information[3] == nil)
  }

  @Test("NBD 28: a client that does not ask for block sizes is served all the same")
  func blockSizeIsNeverRequired() {
    #expect(converse(Say.option(Say.go, Say.query("other"))).agreement?.exportIndex == 1)
  }

  @Test("NBD 29: INFO_NAME and INFO_DESCRIPTION say what LIST says, each once")
  func nameAndDescription() {
    let exchange = converse(Say.option(Say.info, Say.query("", [2, 1, 2, 1, 1])))
    #expect(exchange.answers.count == 4)
    #expect(exchange.information[1] == Array("disk".utf8))
    #expect(exchange.information[2] == Array("a disk".utf8))
    let other = converse(Say.option(Say.info, Say.query("other", [1, 2])))
    #expect(other.information[1] == Array("other".utf8))
    #expect(other.information[2] == nil)
  }

  @Test("NBD 37, 39: HAS_FLAGS always; DF exactly when structured replies were negotiated")
  func transmissionFlags() {
    let plain = converse(
      Say.option(Say.info, Say.query("disk")), Say.option(Say.exportName, Array("disk".utf8)))
    let structured = converse(
      Say.option(Say.structuredReply), Say.option(Say.info, Say.query("disk")),
      Say.option(Say.exportName, Array("disk".utf8)))
    let expected: [(Exchange, UInt64)] = [
      (plain, 0b1101_0110_1101), (structured, 0b1101_1110_1101),
    ]
    for (exchange, flags) in expected {
      #expect(exchange.information[0].map { number($0.suffix(2)) } == flags)
      #expect(number(exchange.otherBytes.suffix(2)) == flags)
    }
  }

  @Test("NBD 39: asking for DF before and after structured replies gives different flags")
  func flagsFollowStructuredReplies() {
    let exchange = converse(
      Say.option(Say.info, Say.query("disk")), Say.option(Say.structuredReply),
      Say.option(Say.info, Say.query("disk")))
    let flags = exchange.answers.filter { $0.type == OptionAnswer.info }.map {
      number($0.data.suffix(2)) & 0x80
    }
    #expect(flags == [0, 0x80])
  }
}
