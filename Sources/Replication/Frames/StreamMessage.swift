package import DiskFormat
package import IO

/// What a frame says, without its payload.
package enum StreamMessage: Equatable, Sendable {
  case hello(Hello)
  case chainAnswer(ChainAnswer)
  case records(StreamRecords)
  case acknowledgement(Acknowledgement)
  case flushRequest(FlushRequest)
  case keepAlive(KeepAlive)
  case refusal(Refusal)
  case standing(Standing)
  case standingNoted(StandingNoted)
  case copyBegin(CopyBegin)
  case copyBlocks(CopyBlocks)
  case copyEnd(CopyEnd)
  case checksumsWanted(ChecksumsWanted)
  case checksums(Checksums)
  case handOver(HandOver)
  case blocksWanted(BlocksWanted)
  case blocks(Blocks)

  package var kind: StreamFrameKind {
    switch self {
    case .hello: .hello
    case .chainAnswer: .chainAnswer
    case .records: .records
    case .acknowledgement: .acknowledgement
    case .flushRequest: .flushRequest
    case .keepAlive: .keepAlive
    case .refusal: .refusal
    case .standing: .standing
    case .standingNoted: .standingNoted
    case .copyBegin: .copyBegin
    case .copyBlocks: .copyBlocks
    case .copyEnd: .copyEnd
    case .checksumsWanted: .checksumsWanted
    case .checksums: .checksums
    case .handOver: .handOver
    case .blocksWanted: .blocksWanted
    case .blocks: .blocks
    }
  }

  /// The blocks that follow the body.
  package var payloadBlockCount: Int {
    switch self {
    case .records(let records): records.payloadBlockCount
    case .copyBlocks(let copy): copy.payloadBlockCount
    case .blocks(let blocks): blocks.payloadBlockCount
    default: 0
    }
  }

  // MARK: Reading

  /// Verifies the checksum over head and body, and reads what they say.
  ///
  /// `head`: 64 bytes.
  /// `body`: as many as the head says.
  package static func verify(
    head: IOBuffer, body: IOBuffer
  ) throws(FormatError) -> (head: StreamFrameHead, message: StreamMessage) {
    let decodedHead = try StreamFrameHead.decode(head)
    guard body.byteCount == decodedHead.bodyByteCount else {
      throw .field(name: "bodyByteCount", value: UInt64(decodedHead.bodyByteCount))
    }
    try StreamFrameHead.verifyChecksum(head: head, body: body)
    return (decodedHead, try decode(head: decodedHead, body: body))
  }

  /// Reads a body by the kind that its head says, whatever its checksum is.
  package static func decode(
    head: StreamFrameHead, body: IOBuffer
  ) throws(FormatError) -> StreamMessage {
    guard head.kind.hasPayload || head.payloadBlockCount == 0 else {
      throw .field(
        name: "payloadBlockCount", value: UInt64(truncatingIfNeeded: head.payloadBlockCount))
    }
    let payloadBlockCount = head.payloadBlockCount
    switch head.kind {
    case .hello: return .hello(try Hello.decode(body))
    case .chainAnswer: return .chainAnswer(try ChainAnswer.decode(body))
    case .records:
      return .records(try StreamRecords.decode(body, payloadBlockCount: payloadBlockCount))
    case .acknowledgement: return .acknowledgement(try Acknowledgement.decode(body))
    case .flushRequest: return .flushRequest(try FlushRequest.decode(body))
    case .keepAlive: return .keepAlive(try KeepAlive.decode(body))
    case .refusal: return .refusal(try Refusal.decode(body))
    case .standing: return .standing(try Standing.decode(body))
    case .standingNoted: return .standingNoted(try StandingNoted.decode(body))
    case .copyBegin: return .copyBegin(try CopyBegin.decode(body))
    case .copyBlocks:
      return .copyBlocks(try CopyBlocks.decode(body, payloadBlockCount: payloadBlockCount))
    case .copyEnd: return .copyEnd(try CopyEnd.decode(body))
    case .checksumsWanted: return .checksumsWanted(try ChecksumsWanted.decode(body))
    case .checksums: return .checksums(try Checksums.decode(body))
    case .handOver: return .handOver(try HandOver.decode(body))
    case .blocksWanted: return .blocksWanted(try BlocksWanted.decode(body))
    case .blocks:
      return .blocks(try Blocks.decode(body, payloadBlockCount: payloadBlockCount))
    }
  }

  // MARK: Writing

  /// Writes a whole frame but for its payload: head and body, one behind the other.
  ///
  /// - Precondition: `frame` has room, and the message is one that is accepted.
  /// - Returns: the bytes of both.
  package func encode(
    into frame: IOBuffer, timelineID: Identifier, frameNumber: UInt64
  ) -> Int {
    let bodyByteCount = encode(intoBody: frame.dropFirst(StreamFrameHead.byteCount))
    let head = StreamFrameHead(
      timelineID: timelineID, frameNumber: frameNumber, kind: kind, bodyByteCount: bodyByteCount,
      payloadBlockCount: payloadBlockCount)
    head.encode(into: frame, body: frame.slice(StreamFrameHead.byteCount, bodyByteCount))
    return StreamFrameHead.byteCount + bodyByteCount
  }

  private func encode(intoBody body: IOBuffer) -> Int {
    switch self {
    case .hello(let hello): hello.encode(into: body)
    case .chainAnswer(let answer): answer.encode(into: body)
    case .records(let records): records.encode(into: body)
    case .acknowledgement(let acknowledgement): acknowledgement.encode(into: body)
    case .flushRequest(let request): request.encode(into: body)
    case .keepAlive(let sign): sign.encode(into: body)
    case .refusal(let refusal): refusal.encode(into: body)
    case .standing(let standing): standing.encode(into: body)
    case .standingNoted(let noted): noted.encode(into: body)
    case .copyBegin(let begin): begin.encode(into: body)
    case .copyBlocks(let copy): copy.encode(into: body)
    case .copyEnd(let end): end.encode(into: body)
    case .checksumsWanted(let wanted): wanted.encode(into: body)
    case .checksums(let checksums): checksums.encode(into: body)
    case .handOver(let handOver): handOver.encode(into: body)
    case .blocksWanted(let wanted): wanted.encode(into: body)
    case .blocks(let blocks): blocks.encode(into: body)
    }
  }
}
