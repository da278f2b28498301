import IO
import NBDWire
import Units

// What a client may answer with on its own when it meets something that it was not told of: 64 KiB
// of one option's data, and so many replies to one option.
private let optionByteCountMax = 64 << 10
private let optionReplyCountMax = 128

/// The handshake of one connection, from the greeting to the chosen export.
///
/// Nothing that the server says is believed: lengths are bounded before anything is received, and
/// the number of replies is too.
final class ClientHandshake<Stream: ByteStream> {
  private let stream: Stream
  private let options: ClientOptions
  private let clock: HandshakeClock
  let received: ReceiveBuffer
  private let outgoingMemory: AlignedMemory
  private let incoming = ScatterList(capacity: 1)
  private let outgoing = ScatterList(capacity: 1)
  private var omitsZeroes = false

  /// A name of 4096 bytes and what surrounds it.
  private static var outgoingByteCount: Int { 8192 }

  init?(_ stream: Stream, _ options: ClientOptions, _ clock: HandshakeClock) {
    guard let received = ReceiveBuffer(),
      let outgoingMemory = AlignedMemory(byteCount: Self.outgoingByteCount)
    else { return nil }
    self.stream = stream
    self.options = options
    self.clock = clock
    self.received = received
    self.outgoingMemory = outgoingMemory
  }

  /// Talks to the server until it has given us the export.
  func run() async throws(ClientError) -> RemoteExport {
    guard ExportDescription.isValidText(options.exportName) else {
      throw .refused(reason: "an export's name has at most 4096 bytes, and no zero among them")
    }
    try await greet()
    let isStructured = options.wantsStructuredReplies ? try await askForStructuredReplies() : false
    var report = try await go()
    if report == nil { report = try await exportByName() }
    guard let report else { throw .notUnderstood(reason: "the server names no export") }
    guard received.count == 0 else {
      throw .notUnderstood(
        reason: "the server sent \(received.count) bytes that nobody had asked for")
    }
    return try report.judged(usesStructuredReplies: isStructured)
  }

  // MARK: Greeting

  private func greet() async throws(ClientError) {
    try await receive(Handshake.greetingByteCount, "its greeting")
    let buffer = received.whole
    let bytes = buffer.bytes
    let at = received.start
    let magic: UInt64 = bytes.bigEndian(at: at)
    let style: UInt64 = bytes.bigEndian(at: at + 8)
    let flags: UInt16 = bytes.bigEndian(at: at + 16)
    guard magic == Handshake.greetingMagic else {
      throw .notUnderstood(reason: "what answers there does not greet as an NBD server does")
    }
    guard style == Handshake.optionMagic else {
      let isOld = style == Handshake.oldstyleMagic
      throw .notUnderstood(
        reason: isOld
          ? "the server speaks the oldstyle handshake only, which was given up in 2015: "
            + "update the server, or let it serve the newstyle"
          : "what answers there greets almost as an NBD server does")
    }
    guard flags & Handshake.fixedNewstyle != 0 else {
      throw .notUnderstood(reason: "the server lacks the fixed newstyle handshake: update it")
    }
    received.consume(Handshake.greetingByteCount)
    omitsZeroes = flags & Handshake.noZeroes != 0
    let answer = flags & (Handshake.fixedNewstyle | Handshake.noZeroes)
    var message: [UInt8] = []
    message.appendBigEndian(UInt32(answer))
    try await send(message)
  }

  // MARK: Options

  /// One reply to an option; its data lies in the buffer until it is consumed.
  private struct Reply {
    var typeNumber: UInt32
    var byteCount: Int

    var type: OptionReplyType? { OptionReplyType(rawValue: typeNumber) }
    /// Also of errors that nobody has defined yet.
    var isError: Bool { typeNumber & 0x8000_0000 != 0 }
  }

  /// Receives the next reply, all of it; the data is then the first to be consumed.
  private func reply(to option: NBDOption) async throws(ClientError) -> Reply {
    try await receive(Handshake.optionReplyHeaderByteCount, "the reply to an option")
    let buffer = received.whole
    let bytes = buffer.bytes
    let at = received.start
    let magic: UInt64 = bytes.bigEndian(at: at)
    let number: UInt32 = bytes.bigEndian(at: at + 8)
    let type: UInt32 = bytes.bigEndian(at: at + 12)
    let byteCount = Int(bytes.bigEndian(at: at + 16, as: UInt32.self))
    guard magic == Handshake.optionReplyMagic, number == option.rawValue else {
      throw .notUnderstood(reason: "the server's reply to an option is none")
    }
    guard byteCount <= optionByteCountMax else {
      throw .notUnderstood(reason: "the server announces \(byteCount) bytes about one option")
    }
    received.consume(Handshake.optionReplyHeaderByteCount)
    try await receive(byteCount, "the reply to an option")
    return Reply(typeNumber: type, byteCount: byteCount)
  }

  /// - Returns: whether the server grants them.
  private func askForStructuredReplies() async throws(ClientError) -> Bool {
    try await send(option: .structuredReply, data: [])
    let reply = try await reply(to: .structuredReply)
    received.consume(reply.byteCount)
    if reply.type == .acknowledged, reply.byteCount == 0 { return true }
    guard reply.isError else {
      throw .notUnderstood(
        reason: "the server answers STRUCTURED_REPLY with \(reply.typeNumber)")
    }
    return false
  }

  /// Asks for the export in the way of today.
  ///
  /// - Returns: nil when the server does not know this way.
  private func go() async throws(ClientError) -> ExportReport? {
    let name = Array(options.exportName.utf8)
    var data: [UInt8] = []
    data.appendBigEndian(UInt32(name.count))
    data += name
    data.appendBigEndian(UInt16(1))
    data.appendBigEndian(InfoType.blockSize.rawValue)
    try await send(option: .go, data: data)
    var report = ExportReport()
    var isDescribed = false
    for _ in 0..<optionReplyCountMax {
      let reply = try await reply(to: .go)
      defer { received.consume(reply.byteCount) }
      switch reply.type {
      case .acknowledged:
        guard isDescribed else {
          throw .notUnderstood(reason: "the server does not say how large the export is")
        }
        return report
      case .info:
        if try note(reply, in: &report) { isDescribed = true }
      case .unsupported: return nil
      default:
        guard reply.isError else {
          throw .notUnderstood(reason: "the server answers GO with \(reply.typeNumber)")
        }
        throw .refused(reason: explain(reply))
      }
    }
    throw .notUnderstood(reason: "the server does not come to an end with its answer to GO")
  }

  /// Takes what an INFO reply says into the report.
  ///
  /// - Returns: whether it was the size and the flags.
  private func note(_ reply: Reply, in report: inout ExportReport) throws(ClientError) -> Bool {
    let buffer = received.whole
    let bytes = buffer.bytes
    let at = received.start
    guard reply.byteCount >= 2 else {
      throw .notUnderstood(reason: "the server's information about the export is empty")
    }
    switch InfoType(rawValue: bytes.bigEndian(at: at)) {
    case .export where reply.byteCount == 12:
      report.byteCount = bytes.bigEndian(at: at + 2)
      report.flags = TransmissionFlags(rawValue: bytes.bigEndian(at: at + 10))
      return true
    case .blockSize where reply.byteCount == 14:
      report.blockBytes = ExportReport.BlockBytes(
        minimum: bytes.bigEndian(at: at + 2), preferred: bytes.bigEndian(at: at + 6),
        maximum: bytes.bigEndian(at: at + 10))
    case .export, .blockSize:
      throw .notUnderstood(
        reason: "the server's information about the export has \(reply.byteCount) bytes")
    case .name, .description, nil: break
    }
    return false
  }

  /// Asks for the export in the old way, which has no answer but success.
  private func exportByName() async throws(ClientError) -> ExportReport {
    try await send(option: .exportName, data: Array(options.exportName.utf8))
    let padding = omitsZeroes ? 0 : Handshake.exportNamePaddingByteCount
    do throws(ClientError) {
      try await receive(10 + padding, "the export's size")
    } catch {
      guard case .lost = error, !clock.isLate else { throw error }
      throw .refused(
        reason: "the server closed the connection; perhaps it has no export "
          + WireText.quoted(Array(options.exportName.utf8)))
    }
    let buffer = received.whole
    let bytes = buffer.bytes
    let at = received.start
    let report = ExportReport(
      byteCount: bytes.bigEndian(at: at),
      flags: TransmissionFlags(rawValue: bytes.bigEndian(at: at + 8)))
    received.consume(10 + padding)
    return report
  }

  /// An error reply in an operator's words, and in the server's.
  private func explain(_ reply: Reply) -> String {
    let export =
      options.exportName.isEmpty
      ? "default export" : "export " + WireText.quoted(Array(options.exportName.utf8))
    let what =
      switch reply.type {
      case .unknown: "the server has no \(export)"
      case .policy: "the server's policy forbids the \(export)"
      case .platform: "the server's platform cannot serve the \(export)"
      case .tlsRequired: "the server wants TLS for the \(export), which is not supported here"
      case .shutdown: "the server is shutting down"
      case .blockSizeRequired: "the server wants to be asked for block sizes, though it was"
      case .tooBig: "the server finds the request for the \(export) too long"
      case .invalid: "the server finds the request for the \(export) invalid"
      default: "the server refuses the \(export) with error \(reply.typeNumber & 0x7FFF_FFFF)"
      }
    guard reply.byteCount > 0 else { return what }
    return "\(what); it says " + WireText.quoted(received.unconsumed.prefixBytes(reply.byteCount))
  }

  /// Tells the server that we leave; it need not answer, and we do not wait.
  func abort() async {
    do throws(ClientError) { try await send(option: .abort, data: []) } catch {}
  }

  // MARK: Bytes

  private func send(option: NBDOption, data: [UInt8]) async throws(ClientError) {
    var message: [UInt8] = []
    message.appendBigEndian(Handshake.optionMagic)
    message.appendBigEndian(option.rawValue)
    message.appendBigEndian(UInt32(data.count))
    try await send(message + data)
  }

  private func send(_ bytes: [UInt8]) async throws(ClientError) {
    let buffer = outgoingMemory.buffer.prefix(bytes.count)
    buffer.copy(from: bytes)
    outgoing.removeAll()
    outgoing.append(buffer)
    do throws(StreamError) {
      try await stream.send(outgoing)
    } catch {
      throw lost(error, during: "the handshake")
    }
  }

  /// Waits until so many bytes lie in the buffer.
  private func receive(_ byteCount: Int, _ what: String) async throws(ClientError) {
    while received.count < byteCount {
      received.compact()
      incoming.removeAll()
      incoming.append(received.room)
      do throws(StreamError) {
        received.append(try await stream.receive(into: incoming))
      } catch {
        throw lost(error, during: what)
      }
    }
  }

  private func lost(_ error: StreamError, during what: String) -> ClientError {
    if clock.isLate {
      let limit = TimeSpan.format(nanoseconds: options.handshakeNanoseconds)
      return .lost(reason: "the server did not finish the handshake within \(limit)")
    }
    switch error {
    case .closedByPeer: return .lost(reason: "the server closed the connection before \(what)")
    case .broken(let error): return .lost(reason: "the connection broke before \(what): \(error)")
    }
  }
}

/// Whether a handshake has taken too long; shared with the task that watches it.
final class HandshakeClock: @unchecked Sendable {
  // Used on the machine's executor only.
  var isLate = false
  var isOver = false
}

extension IOBuffer {
  /// A copy of the first bytes.
  fileprivate func prefixBytes(_ count: Int) -> [UInt8] {
    (0..<count).map { self[$0] }
  }
}
