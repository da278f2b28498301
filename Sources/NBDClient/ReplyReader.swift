import IO
import NBDWire
import Units

/// Takes replies out of what has been received, and hands them to the requests that they answer.
///
/// It knows no sockets. Where a payload is not there yet it says so, and the rest of it is received
/// straight into the caller's buffer.
final class ReplyReader {
  let received: ReceiveBuffer
  let table: RequestTable
  private let usesStructuredReplies: Bool
  /// The READ whose data is coming, and how much of its buffer is still to be filled.
  private var payloadRequest: PendingRequest?
  private(set) var payloadLeft: IOBuffer
  private var payloadIsLast = false
  private var nowNanoseconds: UInt64 = 0

  init(_ received: ReceiveBuffer, _ table: RequestTable, usesStructuredReplies: Bool) {
    self.received = received
    self.table = table
    self.usesStructuredReplies = usesStructuredReplies
    payloadLeft = received.whole.prefix(0)
  }

  /// Whether the server has begun a reply that is not complete.
  var isWithinReply: Bool { payloadRequest != nil || received.count > 0 }

  // MARK: Receiving

  /// Points the list at where the next bytes belong: the rest of a payload, and behind it as much
  /// as may follow.
  ///
  /// Behind a large payload that is the next header only, since the next payload is then likely
  /// large too, and what is received behind its header would have to be copied.
  func prepareReceive(_ list: ScatterList) {
    list.removeAll()
    received.compact()
    let room = received.room
    guard payloadRequest != nil else { return list.append(room) }
    list.append(payloadLeft)
    let isLarge = payloadLeft.byteCount >= Self.largePayloadByteCount
    list.append(isLarge ? room.prefix(headerByteCount) : room)
  }

  private static let largePayloadByteCount = 32 << 10

  private var headerByteCount: Int {
    usesStructuredReplies ? ReplyHeader.dataChunkByteCount : ReplyHeader.simpleByteCount
  }

  /// Counts what a receive has brought into the list's pieces.
  func noteReceived(_ count: Int, nowNanoseconds: UInt64) {
    self.nowNanoseconds = nowNanoseconds
    guard payloadRequest != nil else { return received.append(count) }
    let payloadPart = min(count, payloadLeft.byteCount)
    received.append(count - payloadPart)
    advancePayload(payloadPart)
  }

  /// Takes in everything that has been received.
  func takeIn() throws(ServerFault) {
    while try takeInNext() {}
  }

  /// - Returns: whether there may be more.
  private func takeInNext() throws(ServerFault) -> Bool {
    if payloadRequest != nil {
      let count = min(payloadLeft.byteCount, received.count)
      payloadLeft.copy(from: received.unconsumed.prefix(count))
      received.consume(count)
      advancePayload(count)
      return payloadRequest == nil
    }
    guard received.count >= ReplyHeader.simpleByteCount else { return false }
    let buffer = received.whole
    let magic: UInt32 = buffer.bytes.bigEndian(at: received.start)
    if magic == ReplyHeader.simpleMagic {
      try takeSimple(buffer)
      return true
    }
    guard magic == ReplyHeader.chunkMagic, usesStructuredReplies else {
      throw ServerFault(
        "the server sent 0x\(String(magic, radix: 16)) where a reply should begin")
    }
    return try takeChunk(buffer)
  }

  private func advancePayload(_ count: Int) {
    payloadLeft = payloadLeft.dropFirst(count)
    guard payloadLeft.byteCount == 0, let entry = payloadRequest else { return }
    payloadRequest = nil
    guard payloadIsLast else { return }
    table.answer(entry, entry.reply?.error, nowNanoseconds: nowNanoseconds)
  }

  private func expectPayload(_ entry: PendingRequest, _ buffer: IOBuffer, isLast: Bool) {
    payloadRequest = entry
    payloadLeft = buffer
    payloadIsLast = isLast
  }

  // MARK: Replies

  private func takeSimple(_ buffer: IOBuffer) throws(ServerFault) {
    let reply: SimpleReply
    do throws(ReplyError) {
      reply = try SimpleReply(parsing: buffer.bytes, at: received.start)
    } catch {
      throw ServerFault("the server sent no reply: \(error)")
    }
    let entry = try table.request(cookie: reply.cookie)
    let isRead = entry.request.commandNumber == NBDCommand.read.rawValue
    guard entry.reply == nil, !(isRead && usesStructuredReplies && reply.error == nil) else {
      throw ServerFault(
        "the server mixed a simple reply into structured ones, as the protocol forbids")
    }
    received.consume(ReplyHeader.simpleByteCount)
    if isRead, reply.error == nil, let target = entry.buffer {
      expectPayload(entry, target, isLast: true)
    } else {
      table.answer(entry, reply.error, nowNanoseconds: nowNanoseconds)
    }
  }

  /// - Returns: false when not all of what has to be seen has come.
  private func takeChunk(_ buffer: IOBuffer) throws(ServerFault) -> Bool {
    guard received.count >= ReplyHeader.chunkByteCount else { return false }
    let start = received.start
    let chunk: Chunk
    do throws(ReplyError) {
      chunk = try Chunk(parsing: buffer.bytes, at: start)
    } catch {
      throw ServerFault("the server sent no reply: \(error)")
    }
    let entry = try table.request(cookie: chunk.cookie)
    let content: ChunkContent
    let leadingByteCount: Int
    do throws(ReplyError) {
      leadingByteCount = try chunk.leadingByteCount(answering: entry.request)
      guard received.count >= ReplyHeader.chunkByteCount + leadingByteCount else { return false }
      let payload = buffer.slice(start + ReplyHeader.chunkByteCount, leadingByteCount)
      content = try chunk.content(of: payload.bytes, answering: entry.request)
      try note(chunk, content, in: entry)
    } catch {
      throw ServerFault(error, answering: entry.request)
    }
    received.consume(ReplyHeader.chunkByteCount + leadingByteCount)
    switch content {
    case .data(let range):
      guard let target = part(range, of: entry) else { break }
      expectPayload(entry, target, isLast: chunk.isLast)
      return true
    case .hole(let range):
      part(range, of: entry)?.fill(with: 0)
    case .none, .blockStatus, .error, .errorOffset: break
    }
    if chunk.isLast { table.answer(entry, entry.reply?.error, nowNanoseconds: nowNanoseconds) }
    return true
  }

  /// Checks that the chunk fits those before it.
  private func note(
    _ chunk: Chunk, _ content: ChunkContent, in entry: PendingRequest
  ) throws(ReplyError) {
    // Nearly all replies are one chunk that says it all.
    if entry.reply == nil, chunk.isLast {
      switch content {
      case .data(let range) where range.byteCount == UInt64(entry.request.byteCount): return
      case .hole(let range) where range.byteCount == UInt64(entry.request.byteCount): return
      case .none where entry.request.commandNumber != NBDCommand.read.rawValue: return
      default: break
      }
    }
    var reply = entry.reply ?? StructuredReply(answering: entry.request)
    // Not two owners, or every chunk would copy what came before.
    entry.reply = nil
    try reply.append(chunk, content)
    entry.reply = reply
  }

  /// The part of a READ's buffer that a range of the export belongs in; it lies inside the request.
  private func part(_ range: ByteRange, of entry: PendingRequest) -> IOBuffer? {
    entry.buffer?.slice(
      Int(range.offsetBytes - entry.request.offsetBytes), Int(range.byteCount))
  }
}
