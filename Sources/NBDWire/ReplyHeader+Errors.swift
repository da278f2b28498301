extension ReplyHeader {
  /// The longest text that an error chunk may carry; a longer one is a bug and traps.
  package static let errorMessageByteCountMax = 4096

  /// The size of what `encodeErrorChunk` writes.
  package static func errorChunkByteCount(message: StaticString = "") -> Int {
    chunkByteCount + 6 + messageByteCount(message)
  }

  /// The size of what `encodeErrorOffsetChunk` writes.
  package static func errorOffsetChunkByteCount(message: StaticString = "") -> Int {
    errorChunkByteCount(message: message) + 8
  }

  /// A chunk that fails the whole request.
  package static func encodeErrorChunk(
    error: NBDErrorCode, message: StaticString = "", isLast: Bool = true, cookie: UInt64,
    into bytes: inout MutableRawSpan, at offset: Int
  ) -> Int {
    let textByteCount = messageByteCount(message)
    _ = encodeChunk(
      type: .error, isLast: isLast, cookie: cookie, payloadByteCount: UInt32(6 + textByteCount),
      into: &bytes, at: offset)
    store(error, message, textByteCount, into: &bytes, at: offset + chunkByteCount)
    return chunkByteCount + 6 + textByteCount
  }

  /// A chunk that fails a READ and says where: `failedOffsetBytes` lies inside the request.
  package static func encodeErrorOffsetChunk(
    error: NBDErrorCode, failedOffsetBytes: UInt64, message: StaticString = "",
    isLast: Bool = true, cookie: UInt64, into bytes: inout MutableRawSpan, at offset: Int
  ) -> Int {
    let textByteCount = messageByteCount(message)
    _ = encodeChunk(
      type: .errorOffset, isLast: isLast, cookie: cookie,
      payloadByteCount: UInt32(14 + textByteCount), into: &bytes, at: offset)
    store(error, message, textByteCount, into: &bytes, at: offset + chunkByteCount)
    bytes.storeBigEndian(failedOffsetBytes, at: offset + chunkByteCount + 6 + textByteCount)
    return chunkByteCount + 14 + textByteCount
  }

  /// `[error 4][text length 2][text]`.
  private static func store(
    _ error: NBDErrorCode, _ message: StaticString, _ textByteCount: Int,
    into bytes: inout MutableRawSpan, at offset: Int
  ) {
    bytes.storeBigEndian(error.rawValue, at: offset)
    bytes.storeBigEndian(UInt16(textByteCount), at: offset + 4)
    guard textByteCount > 0 else { return }
    for index in 0..<textByteCount {
      // Safe: a pointer representation, checked by `messageByteCount`, and inside the literal.
      let byte = unsafe message.utf8Start[index]
      bytes.storeBigEndian(byte, at: offset + 6 + index)
    }
  }

  /// A text is ours and short; a literal of a single scalar has no memory behind it.
  private static func messageByteCount(_ message: StaticString) -> Int {
    precondition(message.hasPointerRepresentation)
    precondition(message.utf8CodeUnitCount <= errorMessageByteCountMax)
    return message.utf8CodeUnitCount
  }
}
