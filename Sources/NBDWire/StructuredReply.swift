import Units

/// Whether the chunks that answer one request fit together.
///
/// A client feeds every chunk's content to it. Content must not overlap, must cover a READ
/// completely unless it failed, and nothing may come behind the last chunk.
package struct StructuredReply: Sendable {
  /// Pieces out of order are kept as separate ranges up to this many; no server sends so many.
  package static let pieceCountMax = 4096

  private let request: Request
  /// What has come while it is one run: nearly always, and then nothing is allocated.
  private var run: ByteRange?
  /// What has come, sorted, neighbours joined, as soon as it is more than one run.
  private var pieces: [ByteRange] = []
  private var contentCount = 0
  private var statusContexts: Set<UInt32> = []
  /// The first error that was reported.
  package private(set) var error: NBDErrorCode?
  /// The last chunk has come: the request is done.
  package private(set) var isComplete = false

  package init(answering request: Request) {
    self.request = request
  }

  /// Adds the next chunk.
  ///
  /// - Throws: when the server's reply contradicts itself: close the connection.
  package mutating func append(
    _ chunk: Chunk, _ content: ChunkContent
  ) throws(ReplyError) {
    guard !isComplete else { throw .afterEnd }
    switch content {
    case .none: break
    case .data(let range), .hole(let range):
      contentCount += 1
      guard contentCount == 1 || !request.flags.contains(.dontFragment) else {
        throw .tooFragmented
      }
      try insert(range)
    case .blockStatus(let contextIdentifier, _):
      guard statusContexts.insert(contextIdentifier).inserted else {
        throw .overlappingContent(offsetBytes: request.offsetBytes)
      }
    case .error(let code, _), .errorOffset(let code, _, _):
      error = error ?? code
    }
    guard chunk.isLast else { return }
    try checkCompleteness()
    isComplete = true
  }

  private mutating func insert(_ range: ByteRange) throws(ReplyError) {
    guard pieces.isEmpty else { return try insertAmongPieces(range) }
    guard let first = run else {
      run = range
      return
    }
    if first.endBytes == range.offsetBytes {
      run = ByteRange(from: first.offsetBytes, to: range.endBytes)
    } else if range.endBytes == first.offsetBytes {
      run = ByteRange(from: range.offsetBytes, to: first.endBytes)
    } else {
      pieces = [first]
      run = nil
      try insertAmongPieces(range)
    }
  }

  private mutating func insertAmongPieces(_ range: ByteRange) throws(ReplyError) {
    // The first piece that ends behind the start of the new one; most often there is none.
    var index = pieces.count
    while index > 0, pieces[index - 1].endBytes > range.offsetBytes { index -= 1 }
    if index < pieces.count, pieces[index].offsetBytes < range.endBytes {
      throw .overlappingContent(offsetBytes: max(range.offsetBytes, pieces[index].offsetBytes))
    }
    var joined = range
    if index < pieces.count, pieces[index].offsetBytes == range.endBytes {
      joined = ByteRange(from: joined.offsetBytes, to: pieces.remove(at: index).endBytes)
    }
    if index > 0, pieces[index - 1].endBytes == joined.offsetBytes {
      pieces[index - 1] = ByteRange(from: pieces[index - 1].offsetBytes, to: joined.endBytes)
      return
    }
    guard pieces.count < Self.pieceCountMax else { throw .tooFragmented }
    pieces.insert(joined, at: index)
  }

  private func checkCompleteness() throws(ReplyError) {
    guard error == nil, request.byteCount > 0 else { return }
    switch NBDCommand(rawValue: request.commandNumber) {
    case .read:
      guard let first = run ?? pieces.first, first.offsetBytes == request.offsetBytes else {
        throw .missingContent(offsetBytes: request.offsetBytes)
      }
      guard first.byteCount == UInt64(request.byteCount) else {
        throw .missingContent(offsetBytes: first.endBytes)
      }
    case .blockStatus:
      guard !statusContexts.isEmpty else {
        throw .missingContent(offsetBytes: request.offsetBytes)
      }
    case .write, .disconnect, .flush, .trim, .cache, .writeZeroes, nil: return
    }
  }
}
