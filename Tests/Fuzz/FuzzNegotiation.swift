import NBDWire

// The input is what a client sends while it negotiates, as it comes from the socket. It is
// delivered whole and in pieces; both must be answered alike, and every answer is well-formed.

@_cdecl("LLVMFuzzerTestOneInput")
func fuzzNegotiation(_ data: UnsafePointer<UInt8>?, _ byteCount: Int) -> CInt {
  // Safe: passed on as it came.
  let input = unsafe fuzzInput(data, byteCount)
  var random = InputRandom(input)
  let limits = NegotiationLimits(
    optionByteCountMax: [64, 1000, 65536][random.next(below: 3)],
    optionCountMax: [2, 32][random.next(below: 2)],
    metadataQueryCountMax: [2, 1024][random.next(below: 2)])
  let exports = Array(sampleExports.prefix([0, 1, 3, 4][random.next(below: 4)]))
  // One input in four is met by a shutdown after some replies.
  let repliesBeforeShutdown = random.next(below: 4) == 0 ? random.next(below: 4) : Int.max

  var whole = Conversation(exports, limits, repliesBeforeShutdown)
  whole.receive(input[...])
  var split = Conversation(exports, limits, repliesBeforeShutdown)
  var rest = input[...]
  while !rest.isEmpty {
    let piece = rest.prefix(1 + random.next(below: random.next(below: 2) == 0 ? 3 : 40))
    rest = rest.dropFirst(piece.count)
    split.receive(piece)
  }
  precondition(whole.transcript == split.transcript)
  precondition(whole.agreement == split.agreement)
  precondition(whole.closeReason == split.closeReason)
  return 0
}

private let sampleExports = [
  ExportDescription(
    name: "a", description: "the first", byteCount: 1 << 20,
    flags: [.sendFlush, .sendForceUnitAccess, .sendTrim, .sendWriteZeroes, .sendFastZero]),
  ExportDescription(
    name: "", description: "", byteCount: 0, flags: [.readOnly], minimumBlockBytes: 512,
    preferredBlockBytes: 512, maximumPayloadBytes: 512),
  ExportDescription(
    name: String(repeating: "\u{e9}", count: 128), description: "two bytes a letter",
    byteCount: 1 << 62, flags: [.canMultiConnect]),
  ExportDescription(
    name: String(repeating: "n", count: 4096), description: String(repeating: "d", count: 4096),
    byteCount: 4096, flags: []),
]

/// A caller of `Negotiation` that checks every step.
private struct Conversation {
  private(set) var transcript: [UInt8]
  private(set) var agreement: Agreement?
  private(set) var closeReason: String?
  private var negotiation: Negotiation
  private let limits: NegotiationLimits
  private var buffer: [UInt8] = []
  private var replyCount = 0
  private let repliesBeforeShutdown: Int

  private var isOver: Bool { agreement != nil || closeReason != nil }

  init(
    _ exports: [ExportDescription], _ limits: NegotiationLimits, _ repliesBeforeShutdown: Int
  ) {
    negotiation = Negotiation(exports: exports, limits: limits)
    self.limits = limits
    self.repliesBeforeShutdown = repliesBeforeShutdown
    transcript = negotiation.greeting()
    precondition(transcript.count == Handshake.greetingByteCount)
  }

  mutating func receive(_ bytes: ArraySlice<UInt8>) {
    buffer += bytes
    while !isOver {
      negotiation.isShuttingDown = replyCount >= repliesBeforeShutdown
      // Safe: the span is used within the statement.
      let (consumed, outcome) = unsafe buffer.withUnsafeBytes {
        negotiation.advance(unsafe RawSpan(_unsafeBytes: $0))
      }
      precondition(consumed >= 0)
      precondition(consumed <= buffer.count)
      let option = Array(buffer.prefix(consumed))
      buffer.removeFirst(consumed)
      if outcome == .needsMoreBytes {
        precondition(buffer.count < limits.bufferedByteCountMax)
        return
      }
      check(outcome, answering: option)
    }
  }

  private mutating func check(_ outcome: Negotiation.Outcome, answering consumed: [UInt8]) {
    switch outcome {
    case .needsMoreBytes: break
    case .reply(let bytes):
      replyCount += 1
      checkReplies(bytes, to: optionNumber(in: consumed))
      transcript += bytes
    case .transmission(let agreement, let bytes):
      let number = optionNumber(in: consumed)
      if number == NBDOption.exportName.rawValue {
        precondition(bytes.count == 10 || bytes.count == 134)
      } else {
        precondition(number == NBDOption.go.rawValue)
        checkReplies(bytes, to: number)
      }
      precondition(!negotiation.isShuttingDown)
      transcript += bytes
      self.agreement = agreement
    case .close(let reason, let bytes):
      if !bytes.isEmpty { checkReplies(bytes, to: NBDOption.abort.rawValue) }
      precondition(bytes.isEmpty || !negotiation.hasViolation)
      precondition(!reason.isEmpty && reason.utf8.count <= 512)
      precondition(!reason.unicodeScalars.contains { $0.properties.generalCategory == .control })
      transcript += bytes
      closeReason = reason
    }
  }

  /// The number of the option that was consumed, with the client flags perhaps before it.
  private func optionNumber(in consumed: [UInt8]) -> UInt32 {
    var reader = InputReader(consumed)
    if reader.integer(UInt64.self) != Handshake.optionMagic {
      reader = InputReader(Array(consumed.dropFirst(Handshake.clientFlagsByteCount)))
      precondition(reader.integer(UInt64.self) == Handshake.optionMagic)
    }
    return reader.integer(UInt32.self)
  }

  /// One or more replies with the option's number, of which the last alone ends the answer.
  private func checkReplies(_ bytes: [UInt8], to number: UInt32) {
    var reader = InputReader(bytes)
    var hasEnded = false
    while reader.offset < bytes.count {
      precondition(!hasEnded)
      precondition(reader.remaining.count >= Handshake.optionReplyHeaderByteCount)
      precondition(reader.integer(UInt64.self) == Handshake.optionReplyMagic)
      precondition(reader.integer(UInt32.self) == number)
      guard let type = OptionReplyType(rawValue: reader.integer(UInt32.self)) else {
        preconditionFailure("a reply of an unknown type")
      }
      let dataByteCount = Int(reader.integer(UInt32.self))
      precondition(reader.remaining.count >= dataByteCount)
      let data = reader.remaining.prefix(dataByteCount)
      if type.isError {
        precondition(data.count <= ExportDescription.stringByteCountMax)
        precondition(!data.contains(0))
        precondition(String(validating: data, as: UTF8.self) != nil)
      } else if type == .acknowledged {
        precondition(data.isEmpty)
      }
      hasEnded = type.isError || type == .acknowledged
      for _ in 0..<dataByteCount { _ = reader.byte() }
    }
    precondition(hasEnded)
  }
}
