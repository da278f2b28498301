import NBDWire
import Testing
import Units

/// A chunk as a server sends it.
private func chunk(_ type: UInt64, isLast: Bool = true, _ payload: [UInt8]) -> [UInt8] {
  big(0x668e_33ef, 4) + big(isLast ? 1 : 0, 2) + big(type, 2) + big(9, 8)
    + big(UInt64(payload.count), 4) + payload
}

private func request(
  _ command: NBDCommand, _ flags: CommandFlags = [], at offset: UInt64 = 4096,
  _ count: UInt32 = 4096
) -> Request {
  Request(
    flags: flags, commandNumber: command.rawValue, cookie: 9, offsetBytes: offset, byteCount: count)
}

private func content(_ bytes: [UInt8], _ request: Request) throws(ReplyError) -> ChunkContent {
  let result = withSpan(bytes) { span in
    Result { () throws(ReplyError) in
      let chunk = try Chunk(parsing: span, at: 0)
      return try chunk.content(
        of: span.extracting(droppingFirst: ReplyHeader.chunkByteCount), answering: request)
    }
  }
  return try result.get()
}

/// Delivers chunks one after the other.
private func reply(_ request: Request, _ chunks: [UInt8]...) throws(ReplyError) -> StructuredReply {
  var reply = StructuredReply(answering: request)
  for bytes in chunks {
    let header = try withSpan(bytes) { span in
      Result { () throws(ReplyError) in try Chunk(parsing: span, at: 0) }
    }.get()
    try reply.append(header, try content(bytes, request))
  }
  return reply
}

private func data(_ offset: UInt64, _ count: Int, isLast: Bool = false) -> [UInt8] {
  chunk(1, isLast: isLast, big(offset, 8) + [UInt8](repeating: 7, count: count))
}

private func hole(_ offset: UInt64, _ count: UInt64, isLast: Bool = false) -> [UInt8] {
  chunk(2, isLast: isLast, big(offset, 8) + big(count, 4))
}

private func status(_ extents: [(UInt64, UInt64)], isLast: Bool = true) -> [UInt8] {
  chunk(5, isLast: isLast, big(1, 4) + extents.flatMap { big($0.0, 4) + big($0.1, 4) })
}

private let none = chunk(0, [])

@Suite("NBDWire: a client's view of replies")
struct ReplyTests {
  @Test("a simple reply is taken apart, an unknown error counts as EINVAL")
  func simple() throws {
    let success = try withSpan(big(0x6744_6698, 4) + big(0, 4) + big(9, 8)) {
      try SimpleReply(parsing: $0, at: 0)
    }
    #expect(success.error == nil)
    #expect(success.cookie == 9)
    let failure = try withSpan([0] + big(0x6744_6698, 4) + big(1234, 4) + big(9, 8)) {
      try SimpleReply(parsing: $0, at: 1)
    }
    #expect(failure.error == .invalid)
    #expect(throws: ReplyError.wrongMagic(0x668e_33ef)) {
      try withSpan(none) { try SimpleReply(parsing: $0, at: 0) }
    }
    #expect(throws: ReplyError.wrongMagic(0x6744_6698)) {
      try withSpan(big(0x6744_6698, 4) + [UInt8](repeating: 0, count: 16)) {
        try Chunk(parsing: $0, at: 0)
      }
    }
  }

  @Test("flags of a chunk that nobody has defined are ignored")
  func unknownChunkFlags() throws {
    var bytes = none
    bytes[4] = 0xFF
    bytes[5] = 0xFE
    let isLast = try withSpan(bytes) { try Chunk(parsing: $0, at: 0).isLast }
    #expect(!isLast)
  }

  @Test("NBD 47: NONE is the last and empty")
  func noneChunk() throws {
    #expect(try content(none, request(.write)) == .none)
    #expect(throws: ReplyError.unexpectedChunk(type: 0)) {
      try content(chunk(0, isLast: false, []), request(.write))
    }
    #expect(throws: ReplyError.chunkLength(type: 0, payloadByteCount: 1)) {
      try content(chunk(0, [0]), request(.write))
    }
  }

  @Test("NBD 48: data lies inside the request and has at least one byte")
  func dataChunks() throws {
    let whole = ByteRange(from: 4096, to: 8192)
    #expect(try content(data(4096, 4096), request(.read)) == .data(whole))
    #expect(throws: ReplyError.chunkLength(type: 1, payloadByteCount: 8)) {
      try content(data(4096, 0), request(.read))
    }
    #expect(throws: ReplyError.chunkLength(type: 1, payloadByteCount: 4105)) {
      try content(data(4096, 4097), request(.read))
    }
    for offset in [0, 4095, 8192, UInt64.max] {
      #expect(throws: ReplyError.outsideRequest(offsetBytes: offset, byteCount: 1)) {
        try content(data(offset, 1), request(.read))
      }
    }
    #expect(throws: ReplyError.unexpectedChunk(type: 1)) {
      try content(data(4096, 1), request(.write))
    }
  }

  @Test("NBD 48: a hole has 12 bytes, is not empty and lies inside the request")
  func holeChunks() throws {
    #expect(
      try content(hole(5000, 100), request(.read)) == .hole(ByteRange(from: 5000, to: 5100)))
    #expect(throws: ReplyError.inconsistentChunk(type: 2)) {
      try content(hole(4096, 0), request(.read))
    }
    #expect(throws: ReplyError.outsideRequest(offsetBytes: 8191, byteCount: 0xFFFF_FFFF)) {
      try content(hole(8191, 0xFFFF_FFFF), request(.read))
    }
    #expect(throws: ReplyError.chunkLength(type: 2, payloadByteCount: 13)) {
      try content(chunk(2, big(4096, 8) + big(1, 4) + [0]), request(.read))
    }
  }

  @Test("NBD 49: an error is not zero, and its text and offset lie inside the chunk")
  func errorChunks() throws {
    #expect(
      try content(chunk(32769, big(5, 4) + big(2, 2) + [0x61, 0x62]), request(.flush))
        == .error(.inputOutput, textByteCount: 2))
    #expect(
      try content(chunk(32770, big(28, 4) + big(1, 2) + [0x61] + big(8191, 8)), request(.read))
        == .errorOffset(.noSpace, offsetBytes: 8191, textByteCount: 1))
    for offset in [4095, 8192, UInt64.max] {
      #expect(throws: ReplyError.outsideRequest(offsetBytes: offset, byteCount: 1)) {
        try content(chunk(32770, big(5, 4) + big(0, 2) + big(offset, 8)), request(.read))
      }
    }
    for payload in [
      big(0, 4) + big(0, 2), big(5, 4) + big(1, 2), big(5, 4) + big(0xFFFF, 2),
    ] {
      #expect(throws: ReplyError.inconsistentChunk(type: 32769)) {
        try content(chunk(32769, payload), request(.read))
      }
    }
    #expect(throws: ReplyError.inconsistentChunk(type: 32770)) {
      try content(chunk(32770, big(5, 4) + big(1, 2) + big(4096, 8)), request(.read))
    }
    #expect(throws: ReplyError.chunkLength(type: 32769, payloadByteCount: 5)) {
      try content(chunk(32769, big(5, 4) + [0]), request(.read))
    }
  }

  @Test("unknown error types are errors, other unknown types are not survived")
  func unknownTypes() throws {
    #expect(
      try content(chunk(40000, big(77, 4) + big(0, 2) + [1, 2, 3]), request(.trim))
        == .error(.invalid, textByteCount: 0))
    for type: UInt64 in [3, 4, 6, 7, 0x7FFF] {
      #expect(throws: ReplyError.unexpectedChunk(type: UInt16(type))) {
        try content(chunk(type, []), request(.read))
      }
    }
  }

  @Test("lengths that would have to be allocated are refused by the header alone")
  func hugeLengths() {
    for (type, command): (UInt64, NBDCommand) in [
      (1, .read), (2, .read), (5, .blockStatus), (32769, .read), (32770, .read), (50000, .read),
    ] {
      let header = chunk(type, []).dropLast(4) + big(0xFFFF_FFFC, 4)
      #expect(throws: ReplyError.chunkLength(type: UInt16(type), payloadByteCount: 0xFFFF_FFFC)) {
        try withSpan(Array(header)) {
          try Chunk(parsing: $0, at: 0).leadingByteCount(answering: request(command))
        }
      }
    }
  }

  @Test("NBD 66, 67: extents are not empty, and only the last reaches beyond the request")
  func blockStatus() throws {
    #expect(
      try content(status([(1000, 0), (0xFFFF_FFFF, 3)]), request(.blockStatus))
        == .blockStatus(contextIdentifier: 1, extentCount: 2))
    let bad: [[(UInt64, UInt64)]] = [[(0, 0)], [(1, 0), (0, 0)], [(4096, 0), (1, 0)]]
    for extents in bad {
      #expect(throws: ReplyError.inconsistentChunk(type: 5)) {
        try content(status(extents), request(.blockStatus))
      }
    }
    for payload in [[], big(1, 4), big(1, 4) + [0], big(1, 4) + [UInt8](repeating: 1, count: 9)] {
      #expect(throws: ReplyError.self) { try content(chunk(5, payload), request(.blockStatus)) }
    }
    #expect(throws: ReplyError.unexpectedChunk(type: 5)) {
      try content(status([(1, 0)]), request(.read))
    }
  }

  @Test("NBD 67: REQ_ONE: one extent, not longer than the request")
  func requestOne() throws {
    let one = request(.blockStatus, .requestOne)
    #expect(
      try content(status([(4096, 0)]), one) == .blockStatus(contextIdentifier: 1, extentCount: 1))
    #expect(throws: ReplyError.outsideRequest(offsetBytes: 4096, byteCount: 4097)) {
      try content(status([(4097, 0)]), one)
    }
    #expect(throws: ReplyError.chunkLength(type: 5, payloadByteCount: 20)) {
      try content(status([(1, 0), (1, 1)]), one)
    }
  }

  @Test("an extent is read where it lies")
  func extents() {
    let payload = big(1, 4) + big(512, 4) + big(3, 4) + big(0xFFFF_FFFF, 4) + big(1, 4)
    let second = withSpan(payload) { ExtentDescriptor(parsing: $0, index: 1) }
    #expect(second.byteCount == .max)
    #expect(second.status == .hole)
  }
}

@Suite("NBDWire: chunks that belong together")
struct StructuredReplyTests {
  @Test("NBD 48: complete cover in any order succeeds")
  func anyOrder() throws {
    let pieces = [(4096, 1), (4097, 1000), (5097, 1), (5098, 3094)] as [(UInt64, Int)]
    for order in permutations(Array(pieces.indices)) {
      var answer = StructuredReply(answering: request(.read))
      for (position, index) in order.enumerated() {
        let isLast = position == order.count - 1
        let bytes =
          index % 2 == 0
          ? data(pieces[index].0, pieces[index].1, isLast: isLast)
          : hole(pieces[index].0, UInt64(pieces[index].1), isLast: isLast)
        let header = try withSpan(bytes) { try Chunk(parsing: $0, at: 0) }
        try answer.append(header, try content(bytes, request(.read)))
      }
      #expect(answer.isComplete)
      #expect(answer.error == nil)
    }
  }

  private func permutations(_ items: [Int]) -> [[Int]] {
    guard items.count > 1 else { return [items] }
    return items.flatMap { first in
      permutations(items.filter { $0 != first }).map { [first] + $0 }
    }
  }

  @Test("NBD 48: any overlap is refused")
  func overlap() {
    for (offset, count) in [(4096, 1), (4100, 8), (4090 + 6, 4096), (4105, 1)] as [(UInt64, Int)] {
      #expect(throws: ReplyError.self) {
        try reply(request(.read), data(4096, 10), data(offset, count))
      }
      #expect(throws: ReplyError.self) {
        try reply(request(.read), hole(4096, 10), hole(offset, UInt64(count)))
      }
    }
    #expect(throws: ReplyError.overlappingContent(offsetBytes: 5000)) {
      try reply(request(.read), data(5000, 1), data(4096, 1), data(4500, 600))
    }
  }

  @Test("NBD 48: success without complete cover is refused")
  func missing() {
    #expect(throws: ReplyError.missingContent(offsetBytes: 4096)) {
      try reply(request(.read), none)
    }
    #expect(throws: ReplyError.missingContent(offsetBytes: 4096)) {
      try reply(request(.read), data(4097, 4095, isLast: true))
    }
    #expect(throws: ReplyError.missingContent(offsetBytes: 8191)) {
      try reply(request(.read), data(4096, 4095), none)
    }
    #expect(throws: ReplyError.missingContent(offsetBytes: 4097)) {
      try reply(request(.read), data(4096, 1), data(4098, 4094), none)
    }
    #expect(throws: ReplyError.missingContent(offsetBytes: 4096)) {
      try reply(request(.blockStatus), none)
    }
  }

  @Test("NBD 49: after an error chunk the cover may be partial, and the first error counts")
  func failed() throws {
    let first = chunk(32769, isLast: false, big(5, 4) + big(0, 2))
    let second = chunk(32769, isLast: true, big(22, 4) + big(0, 2))
    let answer = try reply(request(.read), data(4096, 1), first, second)
    #expect(answer.isComplete)
    #expect(answer.error == .inputOutput)
  }

  @Test("NBD 50: DF: one content chunk, errors and NONE may follow")
  func dontFragment() throws {
    let whole = request(.read, .dontFragment)
    #expect(try reply(whole, data(4096, 4096), none).isComplete)
    #expect(throws: ReplyError.tooFragmented) {
      try reply(whole, data(4096, 2048), data(6144, 2048, isLast: true))
    }
  }

  @Test("NBD 66: one status chunk for a context")
  func oneStatusChunk() throws {
    #expect(try reply(request(.blockStatus), status([(1, 0)])).isComplete)
    #expect(throws: ReplyError.overlappingContent(offsetBytes: 4096)) {
      try reply(request(.blockStatus), status([(1, 0)], isLast: false), status([(1, 0)]))
    }
  }

  @Test("nothing comes behind the last chunk")
  func afterEnd() {
    #expect(throws: ReplyError.afterEnd) { try reply(request(.write), none, none) }
  }

  @Test("commands without content succeed with NONE, and zero lengths too")
  func withoutContent() throws {
    for command in [NBDCommand.write, .flush, .trim, .cache, .writeZeroes] {
      #expect(try reply(request(command), none).isComplete)
    }
    #expect(try reply(request(.read, at: 0, 0), none).isComplete)
  }

  @Test("more separate pieces than any server sends are refused, before memory runs out")
  func manyPieces() throws {
    let long = request(.read, at: 0, 1 << 25)
    var answer = StructuredReply(answering: long)
    let bytes = hole(0, 1)
    let header = try withSpan(bytes) { try Chunk(parsing: $0, at: 0) }
    for index in 0..<UInt64(StructuredReply.pieceCountMax) {
      try answer.append(header, .hole(ByteRange(from: index * 2, to: index * 2 + 1)))
    }
    #expect(throws: ReplyError.tooFragmented) {
      try answer.append(header, .hole(ByteRange(from: 1 << 20, to: 1 << 20 + 1)))
    }
  }
}
