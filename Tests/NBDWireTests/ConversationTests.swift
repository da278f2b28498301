import NBDWire
import Testing

private typealias Say = ClientBytes

/// What real clients said to a server with the exports `disk` and `spare`, recorded with socat.
private enum Recording: String, CaseIterable, Sendable {
  case qemuIO = """
    0000000349484156454f5054000000080000000049484156454f50540000000a0000001f000000046469736b0000\
    00010000000f626173653a616c6c6f636174696f6e49484156454f5054000000070000000c000000046469736b00\
    010003
    """
  case nbdinfoList = """
    0000000349484156454f5054000000080000000049484156454f5054000000030000000049484156454f50540000\
    000600000010000000046469736b000300030001000249484156454f5054000000090000000c000000046469736b\
    0000000049484156454f50540000000600000011000000057370617265000300030001000249484156454f505400\
    0000090000000d0000000573706172650000000049484156454f50540000000200000000
    """
  case oddities

  var bytes: [UInt8] {
    guard self != .oddities else {
      return Say.flags(1) + Say.option(99, [1, 2]) + Say.option(Say.list, [0])
        + Say.option(Say.go, Say.query("no")) + Say.option(Say.startTLS)
        + Say.option(Say.exportName, Array("spare".utf8)) + [0x25, 0x60]
    }
    let digits = Array(rawValue)
    return stride(from: 0, to: digits.count - 1, by: 2).map {
      UInt8(String(digits[$0...$0 + 1]), radix: 16) ?? 0
    }
  }
}

private let exports = [
  ExportDescription(
    name: "disk", description: "a small disk", byteCount: 1 << 18, flags: [.sendFlush]),
  ExportDescription(name: "spare", description: "", byteCount: 1 << 18, flags: []),
]

@Suite("NBDWire: whole conversations")
struct ConversationTests {
  private func exchange(_ pieces: [ArraySlice<UInt8>]) -> Exchange {
    var caller = Caller(exports: exports)
    for piece in pieces { caller.receive(piece) }
    return caller.exchange
  }

  @Test("qemu-io's handshake selects base:allocation and begins transmission")
  func qemuIO() {
    let result = exchange([Recording.qemuIO.bytes[...]])
    #expect(
      result.agreement
        == Agreement(exportIndex: 0, usesStructuredReplies: true, allocationContextIdentifier: 1))
    #expect(result.types == [1, 4, 1, 3, 3, 1])
    #expect(result.restByteCount == 0)
  }

  @Test("nbdinfo --list learns of both exports and ends with ABORT")
  func nbdinfoList() {
    let result = exchange([Recording.nbdinfoList.bytes[...]])
    // STRUCTURED_REPLY; LIST; INFO with name, description and block size; LIST_META_CONTEXT;
    // INFO of the export without a description; LIST_META_CONTEXT; ABORT.
    #expect(
      result.types == [1, 2, 2, 1, 3, 3, 3, 3, 1, 4, 1, 3, 3, 3, 1, 4, 1, 1])
    #expect(result.closeReason?.contains("ABORT") == true)
    #expect(!result.hasViolation)
  }

  @Test("delivered in any two or three pieces, the answers are the same", arguments: [0, 1, 2])
  func everySplit(recording: Int) {
    let bytes = Recording.allCases[recording].bytes
    let expected = exchange([bytes[...]])
    #expect(expected.agreement != nil || expected.closeReason != nil)
    // Three pieces everywhere would take a minute: the second cut moves in steps of 5.
    for first in 0...bytes.count {
      #expect(exchange([bytes[..<first], bytes[first...]]) == expected)
      for second in stride(from: first, through: bytes.count, by: 5) {
        #expect(
          exchange([bytes[..<first], bytes[first..<second], bytes[second...]]) == expected)
      }
    }
  }

  @Test("delivered in pieces of any one size, the answers are the same", arguments: [0, 1, 2])
  func everyPieceSize(recording: Int) {
    let bytes = Recording.allCases[recording].bytes
    let expected = exchange([bytes[...]])
    for size in 1...bytes.count {
      let pieces = stride(from: 0, to: bytes.count, by: size).map {
        bytes[$0..<min($0 + size, bytes.count)]
      }
      #expect(exchange(pieces) == expected)
    }
  }

  @Test("cut off at any byte: what was complete is answered, nothing else", arguments: [0, 1, 2])
  func cutAnywhere(recording: Int) {
    let bytes = Recording.allCases[recording].bytes
    let whole = exchange([bytes[...]])
    let ends = optionEnds(in: bytes)
    for count in 0..<bytes.count {
      let cut = exchange([bytes[..<count]])
      let isOver = count >= (ends.last ?? 0)
      #expect((cut.agreement != nil || cut.closeReason != nil) == isOver)
      #expect(cut.answers == Array(whole.answers.prefix(cut.answers.count)))
      let answeredOptions = ends.dropFirst().filter { $0 <= count }.count
      let answered = cut.answers.filter { $0.type == 1 || $0.type >= 1 << 31 }.count
      #expect(answered == answeredOptions - (cut.otherBytes.isEmpty ? 0 : 1))
      if !isOver { #expect(cut.restByteCount == count - (ends.last { $0 <= count } ?? 0)) }
    }
  }

  /// Where the client flags end, and then each option.
  private func optionEnds(in bytes: [UInt8]) -> [Int] {
    var ends = [4]
    while let start = ends.last, start + 16 <= bytes.count {
      ends.append(start + 16 + Int(number(bytes[start + 12..<start + 16])))
    }
    return ends
  }

  @Test("a client that sends random bytes behind its flags is closed or waited for, never served")
  func randomBytes() {
    var random = SplitMix(state: 1)
    for _ in 0..<2000 {
      let junk = (0..<Int.random(in: 1...100, using: &random)).map { _ in
        UInt8.random(in: 0...255, using: &random)
      }
      let result = exchange([Say.flags(3)[...], junk[...]])
      #expect(result.agreement == nil)
      #expect((result.closeReason != nil) == (junk.count >= 16))
    }
  }

  @Test("random changes to a conversation never trap, and what is left never passes the limit")
  func randomChanges() {
    var random = SplitMix(state: 2)
    let limits = NegotiationLimits(optionByteCountMax: 64)
    for _ in 0..<3000 {
      var bytes = Recording.allCases.randomElement(using: &random)?.bytes ?? []
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let index = Int.random(in: 0..<bytes.count, using: &random)
        bytes[index] =
          [0, 1, 0x7F, 0xFF, UInt8.random(in: 0...255, using: &random)]
          .randomElement(using: &random) ?? 0
      }
      var caller = Caller(exports: exports, limits: limits)
      caller.receive(bytes)
      let isOver = caller.exchange.agreement != nil || caller.exchange.closeReason != nil
      #expect(isOver || caller.exchange.restByteCount < limits.bufferedByteCountMax)
    }
  }
}
