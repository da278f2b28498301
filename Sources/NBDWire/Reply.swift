/// Why a server's reply cannot be trusted: the connection has to be closed.
package enum ReplyError: Error, Equatable, Sendable {
  case wrongMagic(UInt32)
  /// A type that the request cannot be answered with.
  case unexpectedChunk(type: UInt16)
  /// A length that its type, or the request, does not allow.
  case chunkLength(type: UInt16, payloadByteCount: UInt32)
  /// A success where an error must be, a text longer than its chunk, an extent of no bytes.
  case inconsistentChunk(type: UInt16)
  case outsideRequest(offsetBytes: UInt64, byteCount: UInt64)
  /// Content that was sent before.
  case overlappingContent(offsetBytes: UInt64)
  /// Success without all of the content.
  case missingContent(offsetBytes: UInt64)
  /// Several content chunks for a request with DF, or more pieces than anybody sends.
  case tooFragmented
  /// A chunk behind the last one.
  case afterEnd
}

/// A simple reply, as a client receives it, 16 bytes.
package struct SimpleReply: Equatable, Sendable {
  package let error: NBDErrorCode?
  package let cookie: UInt64

  /// Reads the reply that starts at `offset`.
  ///
  /// - Throws: `wrongMagic`.
  /// - Precondition: `ReplyHeader.simpleByteCount` bytes lie behind `offset`.
  package init(parsing bytes: RawSpan, at offset: Int) throws(ReplyError) {
    let magic: UInt32 = bytes.bigEndian(at: offset)
    guard magic == ReplyHeader.simpleMagic else { throw .wrongMagic(magic) }
    self.error = NBDErrorCode.received(bytes.bigEndian(at: offset + 4))
    self.cookie = bytes.bigEndian(at: offset + 8)
  }
}

/// The header of a chunk, as a client receives it, 20 bytes.
///
/// A client finds the request by `cookie`, asks `leadingByteCount` how much of the payload to
/// read, `content` what it means, and `StructuredReply` whether it fits what came before.
package struct Chunk: Equatable, Sendable {
  package let isLast: Bool
  package let typeNumber: UInt16
  package let cookie: UInt64
  package let payloadByteCount: UInt32

  /// Reads the header that starts at `offset`.
  ///
  /// Flags that nobody has defined are ignored.
  ///
  /// - Throws: `wrongMagic`.
  /// - Precondition: `ReplyHeader.chunkByteCount` bytes lie behind `offset`.
  package init(parsing bytes: RawSpan, at offset: Int) throws(ReplyError) {
    let magic: UInt32 = bytes.bigEndian(at: offset)
    guard magic == ReplyHeader.chunkMagic else { throw .wrongMagic(magic) }
    self.isLast = bytes.bigEndian(at: offset + 4, as: UInt16.self) & 1 != 0
    self.typeNumber = bytes.bigEndian(at: offset + 6)
    self.cookie = bytes.bigEndian(at: offset + 8)
    self.payloadByteCount = bytes.bigEndian(at: offset + 16)
  }

  /// Chunk types with bit 15 are errors, also those that are not known.
  package var isError: Bool { typeNumber & 0x8000 != 0 }

  /// The longest payload of an error chunk that is still read: any text and some more fields.
  private static let errorByteCountMax: UInt32 = 6 + 4096 + 256

  /// How many bytes of the payload `content` has to see.
  ///
  /// All of it, except for data: there the offset alone, and the data goes where it belongs.
  ///
  /// - Throws: `unexpectedChunk` or `chunkLength`, before anything is allocated.
  package func leadingByteCount(answering request: Request) throws(ReplyError) -> Int {
    let command = NBDCommand(rawValue: request.commandNumber)
    let isPossible: Bool
    switch ChunkType(rawValue: typeNumber) {
    case .some(.none):
      guard isLast else { throw .unexpectedChunk(type: typeNumber) }
      isPossible = payloadByteCount == 0
    case .offsetData:
      guard command == .read else { throw .unexpectedChunk(type: typeNumber) }
      guard payloadByteCount > 8, payloadByteCount - 8 <= request.byteCount else {
        throw .chunkLength(type: typeNumber, payloadByteCount: payloadByteCount)
      }
      return 8
    case .offsetHole:
      guard command == .read else { throw .unexpectedChunk(type: typeNumber) }
      isPossible = payloadByteCount == 12
    case .blockStatus:
      guard command == .blockStatus else { throw .unexpectedChunk(type: typeNumber) }
      let extentByteCount = UInt32(ReplyHeader.blockStatusExtentByteCount)
      let longest = 4 + extentByteCount * UInt32(ReplyHeader.extentCountMax)
      let isOne = !request.flags.contains(.requestOne) || payloadByteCount == 4 + extentByteCount
      isPossible =
        payloadByteCount > 4 && payloadByteCount % extentByteCount == 4
        && payloadByteCount <= longest && isOne
    case .error:
      isPossible = payloadByteCount >= 6 && payloadByteCount <= Self.errorByteCountMax
    case .errorOffset:
      isPossible = payloadByteCount >= 14 && payloadByteCount <= Self.errorByteCountMax
    case nil:
      guard isError else { throw .unexpectedChunk(type: typeNumber) }
      isPossible = payloadByteCount >= 6 && payloadByteCount <= Self.errorByteCountMax
    }
    guard isPossible else {
      throw .chunkLength(type: typeNumber, payloadByteCount: payloadByteCount)
    }
    return Int(payloadByteCount)
  }
}
