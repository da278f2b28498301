package import NBDWire

/// Why there is no connection to an export.
package enum ClientError: Error, Equatable, Sendable {
  /// The server does not give us the export; its words, where it had some.
  case refused(reason: String)
  /// What answers is no NBD server that we understand, or one that breaks the rules.
  case notUnderstood(reason: String)
  /// The connection ended, or nothing came in time.
  case lost(reason: String)
  /// No memory for the connection's buffers.
  case outOfMemory

  /// What happened, for an operator.
  package var explanation: String {
    switch self {
    case .refused(let reason), .notUnderstood(let reason), .lost(let reason): reason
    case .outOfMemory: "out of memory for the connection's buffers"
    }
  }
}

/// Why a request failed.
package enum RequestError: Error, Equatable, Sendable {
  /// The server's answer, or the answer that it has announced in its handshake. Other requests may
  /// succeed.
  case refused(NBDErrorCode)
  /// The connection is gone, and with it every request: it broke, the server did not answer, or
  /// its answers cannot be trusted. Whether a write took effect is not known.
  case lost(reason: String)
}

/// What a server did that no server may do.
struct ServerFault: Error, Equatable {
  let reason: String

  init(_ reason: String) {
    self.reason = reason
  }

  /// A reply that contradicts its request, or itself.
  init(_ error: ReplyError, answering request: Request) {
    let what =
      "the reply to a \(Self.name(request)) of \(request.byteCount) bytes at \(request.offsetBytes)"
    reason =
      switch error {
      case .wrongMagic(let magic): "\(what) begins with 0x\(String(magic, radix: 16))"
      case .unexpectedChunk(let type): "\(what) has a chunk of type \(type), which does not belong"
      case .chunkLength(let type, let byteCount):
        "\(what) has a chunk of type \(type) with an impossible length of \(byteCount)"
      case .inconsistentChunk(let type): "\(what) has a chunk of type \(type) that makes no sense"
      case .outsideRequest(let offset, let byteCount):
        "\(what) has \(byteCount) bytes at \(offset), where nobody asked for them"
      case .overlappingContent(let offset): "\(what) has the bytes at \(offset) twice"
      case .missingContent(let offset): "\(what) lacks bytes at \(offset)"
      case .tooFragmented: "\(what) comes in too many pieces"
      case .afterEnd: "\(what) goes on after its end"
      }
  }

  private static func name(_ request: Request) -> String {
    switch NBDCommand(rawValue: request.commandNumber) {
    case .read: "READ"
    case .write: "WRITE"
    case .disconnect: "DISC"
    case .flush: "FLUSH"
    case .trim: "TRIM"
    case .cache: "CACHE"
    case .writeZeroes: "WRITE_ZEROES"
    case .blockStatus: "BLOCK_STATUS"
    case nil: "request"
    }
  }
}
