/// A server said what the protocol forbids.
package struct MalformedReply: Error, Equatable, Sendable {
  package let reason: String

  package init(_ reason: String) { self.reason = reason }
}

/// The whole answer to one request.
package struct TestReply: Equatable, Sendable {
  package var cookie: UInt64
  /// 0 is success.
  package var error: UInt32 = 0
  /// Of a READ that succeeded: as many bytes as were asked for.
  package var data: [UInt8] = []
  /// Of a BLOCK_STATUS: lengths and flags.
  package var extents: [TestExtent] = []
  /// The types of its chunks in order; empty for a simple reply.
  package var chunkTypes: [UInt16] = []

  package init(cookie: UInt64) { self.cookie = cookie }
}

/// One extent as it came over the wire.
package struct TestExtent: Equatable, Sendable {
  package var byteCount: UInt32
  package var flags: UInt32

  package init(_ byteCount: UInt32, _ flags: UInt32) {
    self.byteCount = byteCount
    self.flags = flags
  }
}

/// Takes a server's replies apart, and finds fault with each that breaks a rule of NBD.
///
/// Written from the protocol's text, without the codecs that the server uses.
package struct ReplyParser: Sendable {
  private struct Pending {
    let request: TestRequest
    var reply: TestReply
    /// Of a READ: which bytes have come.
    var covered: [Range<UInt64>] = []
    var contentCount = 0
    var hasStatus = false
  }

  package var queue = ByteQueue()
  /// How many requests have not been answered.
  package var pendingCount: Int { pending.count }
  private var pending: [UInt64: Pending] = [:]
  private let isStructured: Bool
  private let contextIdentifier: UInt32?

  private static let legalErrors: Set<UInt32> = [1, 5, 12, 22, 28, 75, 95, 108]

  /// Begins where transmission begins.
  package init(isStructured: Bool, contextIdentifier: UInt32?) {
    self.isStructured = isStructured
    self.contextIdentifier = contextIdentifier
  }

  /// Says that a request was sent, under a cookie that no unanswered one has.
  package mutating func expect(_ request: TestRequest, cookie: UInt64) {
    precondition(pending[cookie] == nil)
    pending[cookie] = Pending(request: request, reply: TestReply(cookie: cookie))
  }

  /// The next answer that is complete.
  ///
  /// - Returns: nil when more bytes have to arrive first.
  package mutating func next() throws(MalformedReply) -> TestReply? {
    while queue.count >= 4 {
      switch queue.number(at: 0, 4) {
      case 0x6744_6698: return try nextSimple()
      case 0x668e_33ef:
        guard isStructured else { throw MalformedReply("a chunk that was not negotiated") }
        guard queue.count >= 20 else { return nil }
        let byteCount = Int(queue.number(at: 16, 4))
        guard byteCount <= 32 << 20 + 8 else { throw MalformedReply("a chunk of \(byteCount)") }
        guard queue.count >= 20 + byteCount else { return nil }
        if let reply = try takeChunk(byteCount) { return reply }
      default: throw MalformedReply("no reply begins with \(queue.number(at: 0, 4))")
      }
    }
    return nil
  }

  private mutating func nextSimple() throws(MalformedReply) -> TestReply? {
    guard queue.count >= 16 else { return nil }
    let error = UInt32(queue.number(at: 4, 4))
    let cookie = queue.number(at: 8, 8)
    guard var found = pending[cookie] else { throw MalformedReply("the cookie \(cookie)") }
    let command = found.request.command
    let isRead = command == TestRequest.read
    if isStructured {
      guard !isRead else { throw MalformedReply("a READ answered by a simple reply") }
      guard command != TestRequest.blockStatus || error != 0 else {
        throw MalformedReply("a BLOCK_STATUS answered by a simple reply")
      }
    }
    guard found.reply.chunkTypes.isEmpty else { throw MalformedReply("simple after chunks") }
    let dataByteCount = isRead && error == 0 ? Int(found.request.byteCount) : 0
    guard queue.count >= 16 + dataByteCount else { return nil }
    _ = queue.take(16)
    found.reply.error = try legal(error, of: found.request)
    found.reply.data = queue.take(dataByteCount) ?? []
    pending[cookie] = nil
    return found.reply
  }

  /// - Returns: the reply, where this was its last chunk.
  private mutating func takeChunk(_ byteCount: Int) throws(MalformedReply) -> TestReply? {
    let flags = queue.number(at: 4, 2)
    let type = UInt16(queue.number(at: 6, 2))
    let cookie = queue.number(at: 8, 8)
    guard flags & ~1 == 0 else { throw MalformedReply("the chunk flags \(flags)") }
    guard var found = pending[cookie] else { throw MalformedReply("the cookie \(cookie)") }
    _ = queue.take(20)
    guard let payload = queue.take(byteCount) else { throw MalformedReply("no payload") }
    found.reply.chunkTypes.append(type)
    try Self.add(type, payload, flags, contextIdentifier, to: &found)
    guard flags & 1 != 0 else {
      pending[cookie] = found
      return nil
    }
    try Self.checkWhole(found)
    pending[cookie] = nil
    return found.reply
  }

  private static func add(
    _ type: UInt16, _ payload: [UInt8], _ flags: UInt64, _ contextIdentifier: UInt32?,
    to found: inout Pending
  ) throws(MalformedReply) {
    switch type {
    case 0:
      guard payload.isEmpty, flags & 1 != 0 else { throw MalformedReply("a NONE chunk") }
    case 1:
      guard payload.count >= 9 else { throw MalformedReply("a data chunk without data") }
      let start = WireBytes.number(payload[..<8])
      try cover(start, UInt64(payload.count - 8), &found)
      let first = Int(start - found.request.offset)
      found.reply.data.replaceSubrange(first..<first + payload.count - 8, with: payload[8...])
    case 2:
      guard payload.count == 12 else { throw MalformedReply("a hole chunk") }
      try cover(WireBytes.number(payload[..<8]), WireBytes.number(payload[8...]), &found)
    case 5: try addStatus(payload, contextIdentifier, &found)
    case 32769, 32770:
      guard payload.count >= 6 else { throw MalformedReply("a short error chunk") }
      let textByteCount = Int(WireBytes.number(payload[4..<6]))
      let rest = type == 32769 ? 0 : 8
      guard payload.count == 6 + textByteCount + rest, textByteCount <= 4096 else {
        throw MalformedReply("an error chunk")
      }
      let error = UInt32(WireBytes.number(payload[..<4]))
      guard error != 0, legalErrors.contains(error) else { throw MalformedReply("error \(error)") }
      if found.reply.error == 0 { found.reply.error = error }
    default: throw MalformedReply("a chunk of type \(type)")
    }
  }

  private static func cover(
    _ start: UInt64, _ byteCount: UInt64, _ found: inout Pending
  ) throws(MalformedReply) {
    let request = found.request
    guard request.command == TestRequest.read else { throw MalformedReply("data for no READ") }
    let whole = request.offset..<request.offset + UInt64(request.byteCount)
    guard byteCount > 0, start >= whole.lowerBound, start < whole.upperBound,
      byteCount <= whole.upperBound - start
    else { throw MalformedReply("data outside its READ") }
    let range = start..<start + byteCount
    guard !found.covered.contains(where: { $0.overlaps(range) }) else {
      throw MalformedReply("data twice")
    }
    found.covered.append(range)
    found.contentCount += 1
    guard found.contentCount == 1 || request.flags & TestRequest.dontFragment == 0 else {
      throw MalformedReply("a DF read in pieces")
    }
    if found.reply.data.isEmpty {
      found.reply.data = [UInt8](repeating: 0, count: Int(request.byteCount))
    }
  }

  private static func addStatus(
    _ payload: [UInt8], _ contextIdentifier: UInt32?, _ found: inout Pending
  ) throws(MalformedReply) {
    let request = found.request
    guard request.command == TestRequest.blockStatus, !found.hasStatus else {
      throw MalformedReply("a status chunk")
    }
    found.hasStatus = true
    guard payload.count >= 12, payload.count % 8 == 4, payload.count <= 4 + 8 << 20,
      UInt32(WireBytes.number(payload[..<4])) == contextIdentifier
    else { throw MalformedReply("a status chunk of \(payload.count) bytes") }
    var covered: UInt64 = 0
    for start in stride(from: 4, to: payload.count, by: 8) {
      let byteCount = UInt32(WireBytes.number(payload[start..<start + 4]))
      guard byteCount > 0, covered < request.byteCount else {
        throw MalformedReply("an extent of \(byteCount) bytes behind \(covered)")
      }
      covered += UInt64(byteCount)
      found.reply.extents.append(
        TestExtent(byteCount, UInt32(WireBytes.number(payload[start + 4..<start + 8]))))
    }
    guard request.flags & TestRequest.requestOne != 0 else { return }
    guard found.reply.extents.count == 1, covered <= request.byteCount else {
      throw MalformedReply("REQ_ONE was not honoured")
    }
  }

  private static func checkWhole(_ found: Pending) throws(MalformedReply) {
    guard found.reply.error == 0 else { return }
    switch found.request.command {
    case TestRequest.read:
      let covered = found.covered.reduce(0) { $0 + UInt64($1.count) }
      guard covered == UInt64(found.request.byteCount) else {
        throw MalformedReply("a READ of \(found.request.byteCount) got \(covered) bytes")
      }
    case TestRequest.blockStatus:
      guard found.hasStatus else { throw MalformedReply("a BLOCK_STATUS without status") }
    default: break
    }
  }

  private func legal(
    _ error: UInt32, of request: TestRequest
  ) throws(MalformedReply) -> UInt32 {
    guard error == 0 || Self.legalErrors.contains(error) else {
      throw MalformedReply("error \(error)")
    }
    guard error != 95 || request.flags & TestRequest.fastZero != 0 else {
      throw MalformedReply("ENOTSUP without FAST_ZERO")
    }
    return error
  }
}
