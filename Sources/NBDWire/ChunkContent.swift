package import Units

/// What a chunk says, checked against the request that it answers.
package enum ChunkContent: Equatable, Sendable {
  /// Nothing more to say.
  case none
  /// The bytes of this range follow the 8 bytes of the offset.
  case data(ByteRange)
  /// This range reads as zeros.
  case hole(ByteRange)
  /// Extents from the request's offset on: see `ExtentDescriptor`.
  case blockStatus(contextIdentifier: UInt32, extentCount: Int)
  /// The request failed; the text lies in the payload from byte 6 on.
  case error(NBDErrorCode, textByteCount: Int)
  /// The request failed at an offset inside its range.
  case errorOffset(NBDErrorCode, offsetBytes: UInt64, textByteCount: Int)
}

/// One extent of a status chunk.
package struct ExtentDescriptor: Equatable, Sendable {
  package let byteCount: UInt32
  package let status: AllocationStatus

  /// Reads an extent of a status chunk's payload.
  ///
  /// - Precondition: `index` is below the `extentCount` of the chunk's content.
  package init(parsing payload: RawSpan, index: Int) {
    let offset = 4 + index * ReplyHeader.blockStatusExtentByteCount
    self.byteCount = payload.bigEndian(at: offset)
    self.status = AllocationStatus(rawValue: payload.bigEndian(at: offset + 4))
  }
}

extension Chunk {
  /// What the chunk says.
  ///
  /// - Parameters:
  ///   - payload: its first `leadingByteCount(answering: request)` bytes or more.
  ///   - request: what it answers; its range does not wrap.
  /// - Returns: lengths and ranges that lie inside the payload and the request.
  /// - Throws: what `leadingByteCount` throws, `outsideRequest` and `inconsistentChunk`.
  package func content(
    of payload: RawSpan, answering request: Request
  ) throws(ReplyError) -> ChunkContent {
    let neededByteCount = try leadingByteCount(answering: request)
    precondition(payload.byteCount >= neededByteCount)
    switch ChunkType(rawValue: typeNumber) {
    case .some(.none):
      return .none
    case .offsetData:
      return .data(
        try range(payload.bigEndian(at: 0), payloadByteCount - 8, inside: request))
    case .offsetHole:
      let holeByteCount: UInt32 = payload.bigEndian(at: 8)
      guard holeByteCount > 0 else { throw .inconsistentChunk(type: typeNumber) }
      return .hole(try range(payload.bigEndian(at: 0), holeByteCount, inside: request))
    case .blockStatus:
      let extentCount = (neededByteCount - 4) / ReplyHeader.blockStatusExtentByteCount
      try checkExtents(extentCount, of: payload, answering: request)
      return .blockStatus(
        contextIdentifier: payload.bigEndian(at: 0), extentCount: extentCount)
    case .errorOffset:
      let (error, textByteCount) = try failure(in: payload, fieldByteCount: 8)
      let offset: UInt64 = payload.bigEndian(at: 6 + textByteCount)
      _ = try range(offset, 1, inside: request)
      return .errorOffset(error, offsetBytes: offset, textByteCount: textByteCount)
    case .error, nil:
      // An error of an unknown type begins like all others.
      let (error, textByteCount) = try failure(in: payload, fieldByteCount: 0)
      return .error(error, textByteCount: textByteCount)
    }
  }

  private func range(
    _ offset: UInt64, _ count: UInt32, inside request: Request
  ) throws(ReplyError) -> ByteRange {
    let whole = ByteRange(offsetBytes: request.offsetBytes, byteCount: UInt64(request.byteCount))
    guard let whole, let part = ByteRange(offsetBytes: offset, byteCount: UInt64(count)),
      part.offsetBytes >= whole.offsetBytes, part.endBytes <= whole.endBytes
    else { throw .outsideRequest(offsetBytes: offset, byteCount: UInt64(count)) }
    return part
  }

  /// No extent is empty, only the last reaches beyond the request, and none does with REQ_ONE.
  private func checkExtents(
    _ count: Int, of payload: RawSpan, answering request: Request
  ) throws(ReplyError) {
    // At most 2^20 times 2^32: no overflow.
    var coveredByteCount: UInt64 = 0
    for index in 0..<count {
      guard coveredByteCount < request.byteCount else {
        throw .inconsistentChunk(type: typeNumber)
      }
      let extent = ExtentDescriptor(parsing: payload, index: index)
      guard extent.byteCount > 0 else { throw .inconsistentChunk(type: typeNumber) }
      coveredByteCount += UInt64(extent.byteCount)
    }
    if request.flags.contains(.requestOne), coveredByteCount > request.byteCount {
      throw .outsideRequest(offsetBytes: request.offsetBytes, byteCount: coveredByteCount)
    }
  }

  /// The error number and the length of its text, before `fieldByteCount` bytes of other fields.
  private func failure(
    in payload: RawSpan, fieldByteCount: Int
  ) throws(ReplyError) -> (error: NBDErrorCode, textByteCount: Int) {
    let textByteCount = Int(payload.bigEndian(at: 4, as: UInt16.self))
    guard let error = NBDErrorCode.received(payload.bigEndian(at: 0)),
      textByteCount <= ExportDescription.stringByteCountMax,
      6 + textByteCount + fieldByteCount <= Int(payloadByteCount)
    else { throw .inconsistentChunk(type: typeNumber) }
    return (error, textByteCount)
  }
}
