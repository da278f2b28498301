import NBDWire

// The input is an export and an agreement in 16 bytes, then requests as a client sends them, the
// payloads of WRITEs included. What is served is answered as a server might, and the client's
// decoders must find the answer good.

@_cdecl("LLVMFuzzerTestOneInput")
func fuzzTransmission(_ data: UnsafePointer<UInt8>?, _ byteCount: Int) -> CInt {
  // Safe: passed on as it came.
  let input = unsafe fuzzInput(data, byteCount)
  var reader = InputReader(input)
  let export = sampleExport(&reader)
  let choice = reader.byte()
  _ = reader.byte()
  let agreement = Agreement(
    exportIndex: 0, usesStructuredReplies: choice & 1 != 0,
    allocationContextIdentifier: choice & 3 == 3 ? UInt32(choice) : nil)
  var offset = reader.offset
  while input.count - offset >= Request.headerByteCount {
    // Safe: the span is used within the statement.
    let request = unsafe input.withUnsafeBytes {
      Request(parsing: unsafe RawSpan(_unsafeBytes: $0), at: offset)
    }
    guard let request else { return 0 }
    checkEncoding(of: request, Array(input[offset..<offset + Request.headerByteCount]))
    offset += Request.headerByteCount
    let verdict = agreement.judge(request, export: export)
    switch verdict {
    case .disconnect, .violation: return 0
    case .refuse(let error):
      checkRefusal(error, of: request, agreement)
    case .serve(let command):
      checkService(command, of: request, export, agreement)
    }
    if request.commandNumber == NBDCommand.write.rawValue {
      precondition(
        request.byteCount
          <= max(export.maximumPayloadBytes, Agreement.tolerableWriteByteCount))
      offset += Int(request.byteCount)
    }
  }
  return 0
}

/// `[flags 2][minimum 1][preferred 1][payload 1][unused 1][size 8]`, each made legal.
private func sampleExport(_ reader: inout InputReader) -> ExportDescription {
  var flags = TransmissionFlags(rawValue: reader.integer(UInt16.self) & 0x0FFF)
  flags.subtract([.sendDontFragment, .sendResize])
  if flags.contains(.sendFastZero) { flags.insert(.sendWriteZeroes) }
  let minimum = UInt32(1) << (reader.byte() % 17)
  let preferred = max(max(512, minimum), UInt32(1) << (reader.byte() % 31))
  let payload = max(preferred, UInt32(1) << (reader.byte() % 32))
  _ = reader.byte()
  let size = (reader.integer(UInt64.self) & (1 << 63 - 1)) & ~UInt64(minimum - 1)
  return ExportDescription(
    name: "x", description: "", byteCount: size, flags: flags, minimumBlockBytes: minimum,
    preferredBlockBytes: preferred, maximumPayloadBytes: payload)
}

/// The bytes that `fill` writes into a fresh buffer; it returns their number.
private func encoded(_ fill: (inout MutableRawSpan) -> Int) -> [UInt8] {
  var bytes = [UInt8](repeating: 0xEE, count: 64)
  // Safe: the span does not leave the closure.
  let count = unsafe bytes.withUnsafeMutableBytes {
    var span = unsafe MutableRawSpan(_unsafeBytes: $0)
    return fill(&span)
  }
  precondition(bytes[count...].allSatisfy { $0 == 0xEE })
  return Array(bytes[..<count])
}

private func checkEncoding(of request: Request, _ bytes: [UInt8]) {
  let again = encoded {
    request.encode(into: &$0, at: 0)
    return Request.headerByteCount
  }
  precondition(again == bytes)
}

private func checkRefusal(_ error: NBDErrorCode, of request: Request, _ agreement: Agreement) {
  precondition(agreement.usesStructuredReplies || error != .notSupported)
  let simple = encoded {
    ReplyHeader.encodeSimple(error: error, cookie: request.cookie, into: &$0, at: 0)
  }
  precondition(decodedSimple(simple)?.error == error)
  let chunk = encoded {
    ReplyHeader.encodeErrorChunk(
      error: error, message: "refused", cookie: request.cookie, into: &$0, at: 0)
  }
  var reply = StructuredReply(answering: request)
  deliver(chunk, to: &reply, answering: request)
  precondition(reply.isComplete && reply.error == error)
}

private func checkService(
  _ command: NBDCommand, of request: Request, _ export: ExportDescription, _ agreement: Agreement
) {
  let (end, overflow) = request.offsetBytes.addingReportingOverflow(UInt64(request.byteCount))
  precondition(!overflow && end <= export.byteCount)
  precondition(request.byteCount % export.minimumBlockBytes == 0)
  let isChange = command == .write || command == .trim || command == .writeZeroes
  precondition(!isChange || !export.flags.contains(.readOnly))
  let hasPayload = command == .read || command == .write
  precondition(!hasPayload || request.byteCount <= export.maximumPayloadBytes)
  precondition(command != .blockStatus || agreement.allocationContextIdentifier != nil)
  var reply = StructuredReply(answering: request)
  if command == .read, request.byteCount > 0 {
    answerRead(request, &reply)
  } else if command == .blockStatus, let context = agreement.allocationContextIdentifier {
    answerStatus(request, context, &reply)
  } else {
    let simple = encoded {
      ReplyHeader.encodeSimple(error: nil, cookie: request.cookie, into: &$0, at: 0)
    }
    precondition(decodedSimple(simple) != nil && decodedSimple(simple)?.error == nil)
    let none = encoded {
      ReplyHeader.encodeChunk(
        type: .none, isLast: true, cookie: request.cookie, payloadByteCount: 0, into: &$0, at: 0)
    }
    deliver(none, to: &reply, answering: request)
  }
  precondition(reply.isComplete && reply.error == nil)
}

/// The second half as a hole, then the first half as data; with DF all of it as data.
private func answerRead(_ request: Request, _ reply: inout StructuredReply) {
  let isWhole = request.byteCount < 2 || request.flags.contains(.dontFragment)
  let dataByteCount = isWhole ? request.byteCount : request.byteCount / 2
  if !isWhole {
    let hole = encoded {
      ReplyHeader.encodeHoleChunk(
        offsetBytes: request.offsetBytes + UInt64(dataByteCount),
        holeByteCount: request.byteCount - dataByteCount, isLast: false, cookie: request.cookie,
        into: &$0, at: 0)
    }
    deliver(hole, to: &reply, answering: request)
  }
  let data = encoded {
    ReplyHeader.encodeDataChunk(
      offsetBytes: request.offsetBytes, dataByteCount: dataByteCount, isLast: true,
      cookie: request.cookie, into: &$0, at: 0)
  }
  deliver(data, to: &reply, answering: request)
}

private func answerStatus(_ request: Request, _ context: UInt32, _ reply: inout StructuredReply) {
  let isOne = request.byteCount < 2 || request.flags.contains(.requestOne)
  let firstByteCount = isOne ? request.byteCount : request.byteCount / 2
  let status = encoded {
    var count = ReplyHeader.encodeBlockStatusHeader(
      contextIdentifier: context, extentCount: isOne ? 1 : 2, isLast: true,
      cookie: request.cookie, into: &$0, at: 0)
    count += ReplyHeader.encodeBlockStatusExtent(
      byteCount: firstByteCount, statusFlags: 3, into: &$0, at: count)
    if !isOne {
      count += ReplyHeader.encodeBlockStatusExtent(
        byteCount: request.byteCount - firstByteCount, statusFlags: 0, into: &$0, at: count)
    }
    return count
  }
  deliver(status, to: &reply, answering: request)
}

private func decodedSimple(_ bytes: [UInt8]) -> SimpleReply? {
  // Safe: the span is used within the statement.
  try? unsafe bytes.withUnsafeBytes {
    try SimpleReply(parsing: unsafe RawSpan(_unsafeBytes: $0), at: 0)
  }
}

/// Decodes one chunk of ours; that it is refused is a finding.
private func deliver(
  _ bytes: [UInt8], to reply: inout StructuredReply, answering request: Request
) {
  do {
    // Safe: the span does not leave the closure.
    try unsafe bytes.withUnsafeBytes {
      let span = unsafe RawSpan(_unsafeBytes: $0)
      let chunk = try Chunk(parsing: span, at: 0)
      precondition(chunk.cookie == request.cookie)
      let payload = span.extracting(droppingFirst: ReplyHeader.chunkByteCount)
      try reply.append(chunk, try chunk.content(of: payload, answering: request))
    }
  } catch {
    preconditionFailure("our own chunk was refused: \(error)")
  }
}
