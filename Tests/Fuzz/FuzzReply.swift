import NBDWire
import Units

// The input is a request of 28 bytes, then what a server sends for it. A client must survive any
// of it, and must not take a reply for complete that does not cover the request.

@_cdecl("LLVMFuzzerTestOneInput")
func fuzzReply(_ data: UnsafePointer<UInt8>?, _ byteCount: Int) -> CInt {
  // Safe: passed on as it came.
  let input = unsafe fuzzInput(data, byteCount)
  guard input.count >= Request.headerByteCount else { return 0 }
  // Safe: the span does not leave the closure.
  unsafe input.withUnsafeBytes {
    let span = unsafe RawSpan(_unsafeBytes: $0)
    guard let request = Request(parsing: span, at: 0),
      // A client sends no range that wraps.
      !request.offsetBytes.addingReportingOverflow(UInt64(request.byteCount)).overflow
    else { return }
    receiveReply(to: request, span.extracting(droppingFirst: Request.headerByteCount))
  }
  return 0
}

private func receiveReply(to request: Request, _ bytes: RawSpan) {
  if bytes.byteCount >= ReplyHeader.simpleByteCount {
    _ = try? SimpleReply(parsing: bytes, at: 0)
  }
  var reply = StructuredReply(answering: request)
  var coveredByteCount: UInt64 = 0
  var offset = 0
  do throws(ReplyError) {
    while bytes.byteCount - offset >= ReplyHeader.chunkByteCount {
      let chunk = try Chunk(parsing: bytes, at: offset)
      offset += ReplyHeader.chunkByteCount
      let leadingByteCount = try chunk.leadingByteCount(answering: request)
      precondition(leadingByteCount <= Int(chunk.payloadByteCount))
      guard bytes.byteCount - offset >= leadingByteCount else { return }
      let payload = bytes.extracting(offset..<offset + leadingByteCount)
      let content = try chunk.content(of: payload, answering: request)
      try reply.append(chunk, content)
      coveredByteCount += check(content, payload, request)
      // Data itself is of no interest: a short input stands for all of it.
      offset += min(Int(chunk.payloadByteCount), leadingByteCount)
    }
  } catch {
    return
  }
  guard reply.isComplete, reply.error == nil else { return }
  if request.commandNumber == NBDCommand.read.rawValue {
    precondition(coveredByteCount == UInt64(request.byteCount))
  }
}

/// Looks at everything that a client would use.
///
/// - Returns: how many bytes of a READ it delivers.
private func check(_ content: ChunkContent, _ payload: RawSpan, _ request: Request) -> UInt64 {
  switch content {
  case .none: return 0
  case .data(let range), .hole(let range):
    precondition(range.offsetBytes >= request.offsetBytes)
    precondition(range.endBytes <= request.offsetBytes + UInt64(request.byteCount))
    precondition(range.byteCount > 0)
    return range.byteCount
  case .blockStatus(_, let extentCount):
    precondition(extentCount > 0)
    for index in 0..<extentCount {
      precondition(ExtentDescriptor(parsing: payload, index: index).byteCount > 0)
    }
    return 0
  case .error(_, let textByteCount):
    precondition(payload.byteCount >= 6 + textByteCount)
    return 0
  case .errorOffset(_, let offset, let textByteCount):
    precondition(payload.byteCount >= 14 + textByteCount)
    precondition(offset >= request.offsetBytes)
    return 0
  }
}
