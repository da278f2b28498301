import Glibc
import IO
import NBDWire
import Ring

/// What all connections share: the export, and the one buffer that every read returns.
final class Echo: Sendable {
  let export: ExportDescription
  let payload: AlignedMemory
  let machine: RingMachine

  private static let payloadByteCountMax: UInt32 = 32 << 20

  /// - Returns: nil when there is no memory for the payload.
  init?(byteCount: UInt64, machine: RingMachine) {
    guard let payload = AlignedMemory(byteCount: Int(Self.payloadByteCountMax)) else { return nil }
    // Real pages with something in them: what is sent must not be the kernel's page of zeros.
    let buffer = payload.buffer
    buffer.fill(with: 0xA5)
    self.payload = payload
    self.machine = machine
    export = ExportDescription(
      name: "echo", description: "answers and stores nothing", byteCount: byteCount,
      flags: [.sendFlush, .sendForceUnitAccess, .sendTrim, .sendWriteZeroes, .canMultiConnect],
      maximumPayloadBytes: Self.payloadByteCountMax)
  }

  /// Serves whoever connects, one task each, until the listener is stopped.
  func accept(from listener: RingListener) async {
    while true {
      switch await listener.acceptOnce() {
      case .success(let stream):
        Task(executorPreference: machine) {
          if let connection = EchoConnection(stream: stream, echo: self) { await connection.run() }
          await stream.close()
        }
      case .failure(let error) where error.number == ECANCELED:
        return
      case .failure:
        // Out of descriptors, or a client that left at once: others may still come.
        await machine.sleep(nanoseconds: 10_000_000)
      }
    }
  }
}

/// One client: receive what there is, answer all of it with one send, and so on.
final class EchoConnection {
  private let stream: RingStream
  private let echo: Echo
  /// Received and not yet consumed: `received[start..<end]`.
  private let received: AlignedMemory
  private var start = 0
  private var end = 0
  private let headers: AlignedMemory
  private let incoming = ScatterList(capacity: 1)
  private let outgoing = ScatterList(capacity: 1024)
  private var agreement = Agreement(
    exportIndex: 0, usesStructuredReplies: false, allocationContextIdentifier: nil)
  /// A write, answered when the rest of its payload has come and been dropped.
  private var unfinishedWrite: (cookie: UInt64, byteCountLeft: Int)?
  private var usedHeaderByteCount = 0
  /// Where in `headers` those begin that are not in `outgoing` yet.
  private var pieceStart = 0

  // More than a unix socket holds, so that one receive empties it.
  private static let receivedByteCount = 256 << 10
  // A whole status chunk is the longest.
  private static let headerByteCountMax =
    ReplyHeader.blockStatusHeaderByteCount + ReplyHeader.blockStatusExtentByteCount

  init?(stream: RingStream, echo: Echo) {
    guard let received = AlignedMemory(byteCount: Self.receivedByteCount),
      let headers = AlignedMemory(byteCount: 1024 * Self.headerByteCountMax)
    else { return nil }
    self.stream = stream
    self.echo = echo
    self.received = received
    self.headers = headers
  }

  func run() async {
    do throws(StreamError) {
      guard try await negotiate() else { return }
      while answerRequests() {
        try await stream.send(outgoing)
        if !hasWholeRequest { try await receive() }
      }
      try await stream.send(outgoing)
    } catch {
      // The client has left: nothing is lost, since nothing is kept.
    }
  }

  private var unconsumed: IOBuffer {
    let buffer = received.buffer
    return buffer.slice(start, end - start)
  }

  /// Receives into the room behind what has not been consumed.
  private func receive() async throws(StreamError) {
    let rest = unconsumed
    let buffer = received.buffer
    if start > 0 { buffer.copy(from: rest) }
    start = 0
    end = rest.byteCount
    incoming.removeAll()
    incoming.append(buffer.dropFirst(end))
    end += try await stream.receive(into: incoming)
  }

  // MARK: Handshake

  /// - Returns: false when the connection is to be closed.
  private func negotiate() async throws(StreamError) -> Bool {
    var negotiation = Negotiation(exports: [echo.export])
    try await send(negotiation.greeting())
    while true {
      let input = unconsumed
      let (consumed, outcome) = negotiation.advance(input.bytes)
      start += consumed
      switch outcome {
      case .needsMoreBytes: try await receive()
      case .reply(let bytes): try await send(bytes)
      case .transmission(let agreement, let bytes):
        try await send(bytes)
        self.agreement = agreement
        return true
      case .close(_, let bytes):
        try await send(bytes)
        return false
      }
    }
  }

  private func send(_ bytes: [UInt8]) async throws(StreamError) {
    guard !bytes.isEmpty, let memory = AlignedMemory(byteCount: bytes.count) else { return }
    defer { withExtendedLifetime(memory) {} }
    let buffer = memory.buffer.prefix(bytes.count)
    buffer.copy(from: bytes)
    outgoing.removeAll()
    outgoing.append(buffer)
    try await stream.send(outgoing)
  }

  // MARK: Transmission

  /// Whether `answerRequests` can go on without receiving.
  private var hasWholeRequest: Bool {
    unfinishedWrite == nil && end - start >= Request.headerByteCount
  }

  /// Fills `outgoing` with the answers to all that was received, as far as there is room.
  ///
  /// - Returns: false when the client wants to leave or is out of step.
  private func answerRequests() -> Bool {
    outgoing.removeAll()
    usedHeaderByteCount = 0
    pieceStart = 0
    defer { endPiece() }
    while true {
      dropPayload()
      guard hasWholeRequest, hasRoom else { return true }
      let input = unconsumed
      guard let request = Request(parsing: input.bytes, at: 0) else { return false }
      start += Request.headerByteCount
      switch request.commandNumber {
      case NBDCommand.disconnect.rawValue: return false
      case NBDCommand.write.rawValue:
        unfinishedWrite = (request.cookie, Int(request.byteCount))
      case NBDCommand.read.rawValue where request.byteCount > 0:
        guard request.byteCount <= echo.export.maximumPayloadBytes else { return false }
        answerRead(request)
      case NBDCommand.blockStatus.rawValue where request.byteCount > 0:
        answerBlockStatus(request)
      default: answerSimply(request.cookie)
      }
    }
  }

  /// For what one turn of the loop may add: a write's answer and a read's.
  private var hasRoom: Bool {
    outgoing.vacantPieceCount >= 4
      && headers.buffer.byteCount - usedHeaderByteCount >= 2 * Self.headerByteCountMax
  }

  /// Consumes what has arrived of a write's payload, and answers the write when that was all.
  private func dropPayload() {
    guard let (cookie, left) = unfinishedWrite else { return }
    let dropped = min(left, end - start)
    start += dropped
    unfinishedWrite = dropped < left ? (cookie, left - dropped) : nil
    if dropped == left { answerSimply(cookie) }
  }

  private func answerSimply(_ cookie: UInt64, error: NBDErrorCode? = nil) {
    let headers = headers.buffer
    var target = headers.mutableBytes
    usedHeaderByteCount += ReplyHeader.encodeSimple(
      error: error, cookie: cookie, into: &target, at: usedHeaderByteCount)
  }

  private func answerRead(_ request: Request) {
    guard agreement.usesStructuredReplies else {
      answerSimply(request.cookie)
      return appendPayload(request)
    }
    let headers = headers.buffer
    var target = headers.mutableBytes
    usedHeaderByteCount += ReplyHeader.encodeDataChunk(
      offsetBytes: request.offsetBytes, dataByteCount: request.byteCount, isLast: true,
      cookie: request.cookie, into: &target, at: usedHeaderByteCount)
    appendPayload(request)
  }

  /// All of it is data: clients that copy ask.
  private func answerBlockStatus(_ request: Request) {
    guard let context = agreement.allocationContextIdentifier else {
      return answerSimply(request.cookie, error: .invalid)
    }
    let headers = headers.buffer
    var target = headers.mutableBytes
    usedHeaderByteCount += ReplyHeader.encodeBlockStatusHeader(
      contextIdentifier: context, extentCount: 1, isLast: true, cookie: request.cookie,
      into: &target, at: usedHeaderByteCount)
    usedHeaderByteCount += ReplyHeader.encodeBlockStatusExtent(
      byteCount: request.byteCount, statusFlags: 0, into: &target, at: usedHeaderByteCount)
  }

  private func appendPayload(_ request: Request) {
    endPiece()
    let payload = echo.payload.buffer
    outgoing.append(payload.prefix(Int(request.byteCount)))
  }

  /// Makes the headers since the last payload one piece.
  private func endPiece() {
    let headers = headers.buffer
    outgoing.append(headers.slice(pieceStart, usedHeaderByteCount - pieceStart))
    pieceStart = usedHeaderByteCount
  }
}
