import NBDWire
import Testing

private typealias Say = ClientBytes

@Suite("NBDWire: metadata contexts")
struct MetadataContextTests {
  private let structured = Say.option(Say.structuredReply)

  private func context(_ option: UInt64, _ identifier: UInt64) -> OptionAnswer {
    OptionAnswer(
      option: option, type: OptionAnswer.metaContext,
      data: big(identifier, 4) + Array("base:allocation".utf8))
  }

  /// What is selected after these options and GO on `name`.
  private func selection(_ name: String, _ options: [UInt8]...) -> UInt32? {
    converse(structured, options.flatMap { $0 }, Say.option(Say.go, Say.query(name)))
      .agreement?.allocationContextIdentifier
  }

  @Test(
    "NBD 31: without structured replies: ERR_INVALID", arguments: [Say.listMeta, Say.setMeta])
  func needsStructuredReplies(option: UInt64) {
    let exchange = converse(
      Say.option(option, Say.metadata("disk", ["base:allocation"])),
      Say.option(Say.go, Say.query("disk")))
    #expect(exchange.types.first == OptionAnswer.invalid)
    #expect(exchange.agreement?.allocationContextIdentifier == nil)
  }

  @Test(
    "NBD 31: data cut off at any byte, or with one byte more: ERR_INVALID, and in step",
    arguments: [Say.listMeta, Say.setMeta])
  func dataCutAnywhere(option: UInt64) {
    let whole = Say.metadata("disk", ["base:allocation", "x-y:z"])
    for data in (0..<whole.count).map({ Array(whole[..<$0]) }) + [whole + [0]] {
      let exchange = converse(structured, Say.option(option, data), Say.option(Say.list))
      #expect(exchange.types[1] == OptionAnswer.invalid)
      #expect(exchange.types.last == OptionAnswer.acknowledged)
    }
  }

  @Test("NBD 31: lengths and counts up to 2^32 - 1: ERR_INVALID", arguments: [0, 8, 12])
  func hugeLengths(offset: Int) {
    let whole = Say.metadata("disk", ["base:allocation"])
    for value: UInt64 in [0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFC, 0xFFFF_FFFF] {
      var data = whole
      data.replaceSubrange(offset..<offset + 4, with: big(value, 4))
      let exchange = converse(structured, Say.option(Say.setMeta, data))
      #expect(exchange.types.last == OptionAnswer.invalid)
    }
  }

  @Test("NBD 32: queries of unknown namespaces and unknown leaves find nothing, which is no error")
  func unknownQueries() {
    let queries = [
      "", ":", "base", "base:alloc", "base:allocation2", "base:allocation:", "BASE:allocation",
      "x-y:z", "qemu:dirty-bitmap:b",
    ]
    for query in queries {
      for option in [Say.listMeta, Say.setMeta] {
        let exchange = converse(structured, Say.option(option, Say.metadata("disk", [query])))
        #expect(exchange.answers.dropFirst() == [.acknowledged(option)])
      }
    }
  }

  @Test("NBD 32: base: alone lists all of its contexts, and selects none")
  func baseWildcard() {
    let list = converse(structured, Say.option(Say.listMeta, Say.metadata("disk", ["base:"])))
    #expect(list.answers.dropFirst() == [context(9, 0), .acknowledged(Say.listMeta)])
    let set = converse(structured, Say.option(Say.setMeta, Say.metadata("disk", ["base:"])))
    #expect(set.answers.dropFirst() == [.acknowledged(Say.setMeta)])
    #expect(selection("disk", Say.option(Say.setMeta, Say.metadata("disk", ["base:"]))) == nil)
  }

  @Test("NBD 33: no queries: LIST_META_CONTEXT lists all, SET_META_CONTEXT selects none")
  func noQueries() {
    let list = converse(structured, Say.option(Say.listMeta, Say.metadata("")))
    #expect(list.answers.dropFirst() == [context(9, 0), .acknowledged(Say.listMeta)])
    let set = converse(structured, Say.option(Say.setMeta, Say.metadata("disk")))
    #expect(set.answers.dropFirst() == [.acknowledged(Say.setMeta)])
    #expect(selection("disk", Say.option(Say.setMeta, Say.metadata("disk"))) == nil)
  }

  @Test("NBD 34: base:allocation is selected once, however often it is asked for")
  func selected() {
    let queries = ["x:y", "base:allocation", "base:", "base:allocation"]
    let exchange = converse(structured, Say.option(Say.setMeta, Say.metadata("disk", queries)))
    #expect(exchange.answers.dropFirst() == [context(10, 1), .acknowledged(Say.setMeta)])
    #expect(selection("disk", Say.option(Say.setMeta, Say.metadata("disk", queries))) == 1)
  }

  @Test("NBD 34: the selection holds for GO and EXPORT_NAME on the same name only")
  func selectionIsKeyedToTheName() {
    let set = Say.option(Say.setMeta, Say.metadata("disk", ["base:allocation"]))
    #expect(selection("disk", set) == 1)
    #expect(selection("other", set) == nil)
    #expect(selection("", set) == nil)
    let byName = converse(structured, set, Say.option(Say.exportName, Array("disk".utf8)))
    #expect(byName.agreement?.allocationContextIdentifier == 1)
    let byOther = converse(structured, set, Say.option(Say.exportName, Array("other".utf8)))
    #expect(byOther.agreement?.allocationContextIdentifier == nil)
    let empty = Say.option(Say.setMeta, Say.metadata("", ["base:allocation"]))
    #expect(selection("", empty) == 1)
  }

  @Test("NBD 34: a later SET_META_CONTEXT replaces the selection, also when it fails")
  func selectionIsReplaced() {
    let set = Say.option(Say.setMeta, Say.metadata("disk", ["base:allocation"]))
    let failing = [
      Say.metadata("disk"), Say.metadata("disk", ["x:y"]), Say.metadata("nothere"),
      Say.metadata("other", ["base:allocation"]), [1, 2, 3],
    ]
    for data in failing {
      #expect(selection("disk", set, Say.option(Say.setMeta, data)) == nil)
      #expect(selection("disk", Say.option(Say.setMeta, data), set) == 1)
    }
  }

  @Test("NBD 34: LIST_META_CONTEXT, INFO and a refused GO leave the selection as it is")
  func selectionStays() {
    let set = Say.option(Say.setMeta, Say.metadata("disk", ["base:allocation"]))
    let between = [
      Say.option(Say.listMeta, Say.metadata("other")), Say.option(Say.info, Say.query("other")),
      Say.option(Say.go, Say.query("nothere")), structured,
    ]
    #expect(selection("disk", set, between.flatMap { $0 }) == 1)
  }

  @Test("NBD 34: more queries than the limit: TOO_BIG, and the selection is gone")
  func tooManyQueries() {
    let limits = NegotiationLimits(metadataQueryCountMax: 3)
    let set = Say.option(Say.setMeta, Say.metadata("disk", ["base:allocation"]))
    for count in [3, 4] {
      let queries = [String](repeating: "base:allocation", count: count)
      let exchange = converse(
        structured, set, Say.option(Say.setMeta, Say.metadata("disk", queries)),
        Say.option(Say.go, Say.query("disk")), limits: limits)
      #expect(exchange.types.contains(OptionAnswer.tooBig) == (count == 4))
      #expect(exchange.agreement?.allocationContextIdentifier == (count == 4 ? nil : 1))
    }
  }

  @Test("an unknown export: ERR_UNKNOWN", arguments: [Say.listMeta, Say.setMeta])
  func unknownExport(option: UInt64) {
    let exchange = converse(
      structured, Say.option(option, Say.metadata("nothere", ["base:allocation"])))
    #expect(exchange.types.last == OptionAnswer.unknown)
  }

  @Test("a shutdown drops the selection of a SET_META_CONTEXT that it refuses")
  func shutdownDropsSelection() {
    var caller = Caller(exports: twoExports)
    let set = Say.option(Say.setMeta, Say.metadata("disk", ["base:allocation"]))
    caller.receive(Say.flags(3) + structured + set)
    caller.negotiation.isShuttingDown = true
    caller.receive(set)
    caller.negotiation.isShuttingDown = false
    caller.receive(Say.option(Say.go, Say.query("disk")))
    #expect(caller.exchange.agreement?.allocationContextIdentifier == nil)
  }
}
