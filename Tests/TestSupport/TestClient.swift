package import IO
package import Simulator

/// Why a test's client got no answer.
package enum ClientError: Error, Equatable, Sendable {
  case closedByServer
  case broken(SystemError)
  case malformed(String)
}

/// What a server told in the handshake.
package struct TestExport: Equatable, Sendable {
  package var byteCount: UInt64
  package var flags: UInt16
  package var contextIdentifier: UInt32?
  /// Minimum, preferred, maximum; nil when the server did not say.
  package var blockBytes: [UInt64]?

  package func has(_ bit: UInt16) -> Bool { flags & (1 << bit) != 0 }
}

/// An NBD client on a simulated machine, written without the server's code.
///
/// What it submits is sent by a task of its own, so that a server which has stopped reading does
/// not stop the client from reading.
package final class TestClient: @unchecked Sendable {
  package let machine: SimulatedMachine
  package let stream: SimulatedStream
  package private(set) var export = TestExport(byteCount: 0, flags: 0)
  private let memory = AlignedMemory.ofTest(256 << 10)
  private let incoming = ScatterList(capacity: 1)
  private var received = ByteQueue()
  private var parser: ReplyParser?
  private var outbox: [[UInt8]] = []
  private var isSending = false
  private let sent = Gate()
  private var lastCookie: UInt64 = 0
  private var early: [UInt64: TestReply] = [:]

  package init(_ machine: SimulatedMachine, _ stream: SimulatedStream) {
    self.machine = machine
    self.stream = stream
  }

  /// How many requests were submitted and have not been answered.
  package var pendingCount: Int { parser?.pendingCount ?? 0 }

  // MARK: Handshake

  /// Connects and goes through the handshake.
  package static func connect(
    _ machine: SimulatedMachine, _ network: SimulatedNetwork, to address: String,
    _ wishes: TestWishes = TestWishes()
  ) async throws(ClientError) -> TestClient {
    switch await network.connect(from: machine, to: address) {
    case .failure(let error): throw .broken(error)
    case .success(let stream):
      let client = TestClient(machine, stream)
      try await client.negotiate(wishes)
      return client
    }
  }

  /// Says all options at once, then looks at the answers.
  package func negotiate(_ wishes: TestWishes = TestWishes()) async throws(ClientError) {
    submit(WireBytes.handshake(wishes))
    let greeting = try await take(18)
    guard greeting[..<16].elementsEqual("NBDMAGICIHAVEOPT".utf8),
      WireBytes.number(greeting[16...]) == 3
    else { throw .malformed("the greeting") }
    if wishes.usesStructuredReplies { try await expectAcknowledgement(of: 8) }
    if wishes.selectsAllocation {
      let (type, data) = try await optionReply(to: 10)
      guard type == 4, data.count >= 4 else { throw .malformed("no context, but \(type)") }
      export.contextIdentifier = UInt32(WireBytes.number(data[..<4]))
      try await expectAcknowledgement(of: 10)
    }
    while true {
      let (type, data) = try await optionReply(to: 7)
      if type == 1 { break }
      guard type == 3, data.count >= 2 else { throw .malformed("GO was answered with \(type)") }
      switch WireBytes.number(data[..<2]) {
      case 0 where data.count == 12:
        export.byteCount = WireBytes.number(data[2..<10])
        export.flags = UInt16(WireBytes.number(data[10...]))
      case 3 where data.count == 14:
        export.blockBytes = [2, 6, 10].map { WireBytes.number(data[$0..<$0 + 4]) }
      default: break
      }
    }
    parser = ReplyParser(
      isStructured: wishes.usesStructuredReplies, contextIdentifier: export.contextIdentifier)
    parser?.queue = received
    received = ByteQueue()
  }

  private func expectAcknowledgement(of option: UInt64) async throws(ClientError) {
    let (type, data) = try await optionReply(to: option)
    guard type == 1, data.isEmpty else { throw .malformed("\(option) was answered with \(type)") }
  }

  /// One reply to an option.
  package func optionReply(
    to option: UInt64
  ) async throws(ClientError) -> (type: UInt64, data: [UInt8]) {
    let header = try await take(20)
    guard WireBytes.number(header[..<8]) == 0x3_e889_0455_65a9,
      WireBytes.number(header[8..<12]) == option
    else { throw .malformed("an option reply") }
    let data = try await take(Int(WireBytes.number(header[16...])))
    return (WireBytes.number(header[12..<16]), data)
  }

  // MARK: Requests

  /// Sends a request some time, and returns its cookie.
  @discardableResult
  package func submit(_ request: TestRequest) -> UInt64 {
    lastCookie += 1
    if request.command != TestRequest.disconnect { parser?.expect(request, cookie: lastCookie) }
    submit(request.header(cookie: lastCookie) + request.payload)
    return lastCookie
  }

  /// Sends bytes some time.
  package func submit(_ bytes: [UInt8]) {
    guard !bytes.isEmpty else { return }
    outbox.append(bytes)
    guard !isSending else { return }
    isSending = true
    machine.start { await self.sendOutbox() }
  }

  private func sendOutbox() async {
    let pieces = ScatterList(capacity: 1)
    while !outbox.isEmpty {
      let bytes = outbox.removeFirst()
      let memory = AlignedMemory.holding(bytes)
      pieces.removeAll()
      pieces.append(memory.buffer.prefix(bytes.count))
      do throws(StreamError) { try await stream.send(pieces) } catch { outbox = [] }
    }
    isSending = false
    sent.signal()
  }

  /// Returns when everything submitted has been taken by the stream, or the stream is broken.
  package func waitUntilSent() async {
    await sent.wait { !self.isSending }
  }

  /// Submits a request and waits for its answer.
  package func perform(_ request: TestRequest) async throws(ClientError) -> TestReply {
    try await reply(to: submit(request))
  }

  /// The answer to one request; answers to others are kept.
  package func reply(to cookie: UInt64) async throws(ClientError) -> TestReply {
    while true {
      if let reply = early.removeValue(forKey: cookie) { return reply }
      let reply = try await receiveReply()
      early[reply.cookie] = reply
    }
  }

  /// The next answer, whichever comes.
  package func nextReply() async throws(ClientError) -> TestReply {
    if let cookie = early.keys.min(), let reply = early.removeValue(forKey: cookie) {
      return reply
    }
    return try await receiveReply()
  }

  private func receiveReply() async throws(ClientError) -> TestReply {
    while true {
      do throws(MalformedReply) {
        if let reply = try parser?.next() { return reply }
      } catch {
        throw .malformed(error.reason)
      }
      parser?.queue.append(try await receiveSome())
    }
  }

  // MARK: Bytes

  /// The next bytes of the handshake.
  package func take(_ byteCount: Int) async throws(ClientError) -> [UInt8] {
    while true {
      if let bytes = received.take(byteCount) { return bytes }
      received.append(try await receiveSome())
    }
  }

  /// As `take`, but leaves every further byte unread.
  package func takeNoMore(than byteCount: Int) async throws(ClientError) -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < byteCount {
      bytes += try await receiveSome(atMost: byteCount - bytes.count)
    }
    return bytes
  }

  private func receiveSome(
    atMost byteCountMax: Int = 256 << 10
  ) async throws(ClientError) -> [UInt8] {
    incoming.removeAll()
    incoming.append(memory.buffer.prefix(byteCountMax))
    do throws(StreamError) {
      return memory.buffer.prefix(try await stream.receive(into: incoming)).array
    } catch {
      switch error {
      case .closedByPeer: throw .closedByServer
      case .broken(let error): throw .broken(error)
      }
    }
  }

  /// Whether the server closes, with nothing more to say.
  package func expectEnd() async -> Bool {
    do throws(ClientError) {
      let bytes = try await receiveSome()
      return bytes.isEmpty
    } catch {
      return error == .closedByServer || error == .broken(SystemError(104))
    }
  }

  /// Leaves without a word.
  package func close() async {
    stream.shutdown()
    await waitUntilSent()
    await stream.close()
  }
}
