/// The kinds of chunks in a structured reply.
package enum ChunkType: UInt16, CaseIterable, Sendable {
  case none = 0
  case offsetData = 1
  case offsetHole = 2
  case blockStatus = 5
  case error = 32769
  case errorOffset = 32770
}

/// The state of an extent in the context `base:allocation`.
///
/// No bit at all is always a true answer.
package struct AllocationStatus: OptionSet, Equatable, Sendable {
  package let rawValue: UInt32

  @inlinable
  package init(rawValue: UInt32) { self.rawValue = rawValue }

  /// No space is reserved: a later write may fail with ENOSPC.
  @inlinable
  package static var hole: AllocationStatus { AllocationStatus(rawValue: 1 << 0) }

  /// Reads as zeros.
  @inlinable
  package static var zero: AllocationStatus { AllocationStatus(rawValue: 1 << 1) }
}

/// The headers of replies in transmission, written straight into a send buffer.
///
/// Each function writes at `offset`, returns the number of bytes written and allocates nothing.
/// Too little room is a bug in the caller and traps.
package enum ReplyHeader {
  @inlinable
  package static var simpleMagic: UInt32 { 0x6744_6698 }

  @inlinable
  package static var chunkMagic: UInt32 { 0x668e_33ef }

  /// A simple reply: `[magic 4][error 4][cookie 8]`.
  @inlinable
  package static var simpleByteCount: Int { 16 }

  /// The header of any chunk: `[magic 4][flags 2][type 2][cookie 8][payload length 4]`.
  @inlinable
  package static var chunkByteCount: Int { 20 }

  /// The header of a data chunk; the data follows it.
  @inlinable
  package static var dataChunkByteCount: Int { 28 }

  /// A whole hole chunk.
  @inlinable
  package static var holeChunkByteCount: Int { 32 }

  /// The header of a status chunk; the extents follow it.
  @inlinable
  package static var blockStatusHeaderByteCount: Int { 24 }

  @inlinable
  package static var blockStatusExtentByteCount: Int { 8 }

  /// One chunk never describes more extents (item 67).
  @inlinable
  package static var extentCountMax: Int { 1 << 20 }

  /// A simple reply.
  ///
  /// The data of a successful READ follows it, where structured replies were not negotiated.
  @inlinable
  package static func encodeSimple(
    error: NBDErrorCode?, cookie: UInt64, into bytes: inout MutableRawSpan, at offset: Int
  ) -> Int {
    bytes.storeBigEndian(simpleMagic, at: offset)
    bytes.storeBigEndian(error?.rawValue ?? 0, at: offset + 4)
    bytes.storeBigEndian(cookie, at: offset + 8)
    return simpleByteCount
  }

  /// The header that all chunks begin with.
  ///
  /// - Precondition: a chunk of type `none` is the last and has no payload.
  @inlinable
  package static func encodeChunk(
    type: ChunkType, isLast: Bool, cookie: UInt64, payloadByteCount: UInt32,
    into bytes: inout MutableRawSpan, at offset: Int
  ) -> Int {
    precondition(type != .none || (isLast && payloadByteCount == 0))
    bytes.storeBigEndian(chunkMagic, at: offset)
    bytes.storeBigEndian(UInt16(isLast ? 1 : 0), at: offset + 4)
    bytes.storeBigEndian(type.rawValue, at: offset + 6)
    bytes.storeBigEndian(cookie, at: offset + 8)
    bytes.storeBigEndian(payloadByteCount, at: offset + 16)
    return chunkByteCount
  }

  /// The header of a data chunk; exactly `dataByteCount` bytes have to follow it.
  ///
  /// - Precondition: `dataByteCount` is not zero and leaves room for the offset in a chunk.
  @inlinable
  package static func encodeDataChunk(
    offsetBytes: UInt64, dataByteCount: UInt32, isLast: Bool, cookie: UInt64,
    into bytes: inout MutableRawSpan, at offset: Int
  ) -> Int {
    precondition(dataByteCount > 0)
    precondition(dataByteCount <= UInt32.max - 8)
    _ = encodeChunk(
      type: .offsetData, isLast: isLast, cookie: cookie, payloadByteCount: dataByteCount + 8,
      into: &bytes, at: offset)
    bytes.storeBigEndian(offsetBytes, at: offset + chunkByteCount)
    return dataChunkByteCount
  }

  /// A chunk that stands for zeros.
  ///
  /// - Precondition: `holeByteCount` is not zero.
  @inlinable
  package static func encodeHoleChunk(
    offsetBytes: UInt64, holeByteCount: UInt32, isLast: Bool, cookie: UInt64,
    into bytes: inout MutableRawSpan, at offset: Int
  ) -> Int {
    precondition(holeByteCount > 0)
    _ = encodeChunk(
      type: .offsetHole, isLast: isLast, cookie: cookie, payloadByteCount: 12, into: &bytes,
      at: offset)
    bytes.storeBigEndian(offsetBytes, at: offset + chunkByteCount)
    bytes.storeBigEndian(holeByteCount, at: offset + chunkByteCount + 8)
    return holeChunkByteCount
  }

  /// The beginning of a status chunk; exactly `extentCount` extents have to follow it.
  ///
  /// - Precondition: `extentCount` is in `1...extentCountMax`.
  @inlinable
  package static func encodeBlockStatusHeader(
    contextIdentifier: UInt32, extentCount: Int, isLast: Bool, cookie: UInt64,
    into bytes: inout MutableRawSpan, at offset: Int
  ) -> Int {
    precondition(extentCount > 0)
    precondition(extentCount <= extentCountMax)
    _ = encodeChunk(
      type: .blockStatus, isLast: isLast, cookie: cookie,
      payloadByteCount: UInt32(4 + extentCount * blockStatusExtentByteCount), into: &bytes,
      at: offset)
    bytes.storeBigEndian(contextIdentifier, at: offset + chunkByteCount)
    return blockStatusHeaderByteCount
  }

  /// One extent of a status chunk: `[length 4][status 4]`.
  ///
  /// - Precondition: `byteCount` is not zero.
  @inlinable
  package static func encodeBlockStatusExtent(
    byteCount: UInt32, statusFlags: UInt32, into bytes: inout MutableRawSpan, at offset: Int
  ) -> Int {
    precondition(byteCount > 0)
    bytes.storeBigEndian(byteCount, at: offset)
    bytes.storeBigEndian(statusFlags, at: offset + 4)
    return blockStatusExtentByteCount
  }
}
