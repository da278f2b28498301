import IO
import NBDClient
import NBDWire
import Simulator
import TestSupport

/// A server that a test scripts byte by byte.
final class ScriptedServer: @unchecked Sendable {
  let stream: SimulatedStream
  private let memory = AlignedMemory.ofTest(64 << 10)
  private let pieces = ScatterList(capacity: 1)

  init(_ stream: SimulatedStream) {
    self.stream = stream
  }

  /// Exactly so many bytes; nil when the client leaves before.
  func take(_ count: Int) async -> [UInt8]? {
    var bytes: [UInt8] = []
    while bytes.count < count {
      pieces.removeAll()
      pieces.append(memory.buffer.prefix(min(count - bytes.count, 64 << 10)))
      do throws(StreamError) {
        bytes += memory.buffer.prefix(try await stream.receive(into: pieces)).array
      } catch {
        return nil
      }
    }
    return bytes
  }

  func say(_ bytes: [UInt8]) async {
    let memory = AlignedMemory.holding(bytes)
    defer { withExtendedLifetime(memory) {} }
    let list = ScatterList(capacity: 1)
    list.append(memory.buffer.prefix(bytes.count))
    do throws(StreamError) { try await stream.send(list) } catch {}
  }

  /// The next request's header and, of a WRITE, its payload.
  func takeRequest() async -> SeenRequest? {
    guard let header = await take(28) else { return nil }
    let request = SeenRequest(
      flags: UInt16(WireBytes.number(header[4..<6])),
      command: UInt16(WireBytes.number(header[6..<8])),
      cookie: WireBytes.number(header[8..<16]), offset: WireBytes.number(header[16..<24]),
      byteCount: UInt32(WireBytes.number(header[24...])))
    if request.command == 1 { _ = await take(Int(request.byteCount)) }
    return request
  }

  /// Everything until the client leaves; then closes.
  func leave() async {
    while await take(1) != nil {}
    await close()
  }

  func close() async {
    stream.shutdown()
    await stream.close()
  }

  /// Goes through a good handshake.
  func greet(
    flags: UInt16 = 0b1_0110_1101, byteCount: UInt64 = 1 << 20, isStructured: Bool = true
  ) async {
    await say(Bytes.greeting)
    _ = await take(4)
    _ = await take(16)
    let type: UInt32 = isStructured ? 1 : 0x8000_0001
    await say(Bytes.optionReply(8, type))
    guard let header = await take(16) else { return }
    _ = await take(Int(WireBytes.number(header[12...])))
    await say(Bytes.exportInfo(byteCount, flags) + Bytes.optionReply(7, 1))
  }
}

/// A request as it came over the wire.
struct SeenRequest: Equatable, Sendable {
  var flags: UInt16
  var command: UInt16
  var cookie: UInt64
  var offset: UInt64
  var byteCount: UInt32
}

/// What servers say, written without the code under test.
enum Bytes {
  static func number(_ value: UInt64, _ byteCount: Int) -> [UInt8] {
    (0..<byteCount).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * (byteCount - 1 - $0))) }
  }

  static let greeting = Array("NBDMAGICIHAVEOPT".utf8) + [0, 3]

  static func optionReply(_ option: UInt32, _ type: UInt32, _ data: [UInt8] = []) -> [UInt8] {
    number(0x3_e889_0455_65a9, 8) + number(UInt64(option), 4) + number(UInt64(type), 4)
      + number(UInt64(data.count), 4) + data
  }

  static func exportInfo(_ byteCount: UInt64, _ flags: UInt16) -> [UInt8] {
    optionReply(7, 3, number(0, 2) + number(byteCount, 8) + number(UInt64(flags), 2))
  }

  static func blockInfo(_ minimum: UInt64, _ preferred: UInt64, _ maximum: UInt64) -> [UInt8] {
    optionReply(
      7, 3, number(3, 2) + number(minimum, 4) + number(preferred, 4) + number(maximum, 4))
  }

  static func simple(_ cookie: UInt64, error: UInt32 = 0) -> [UInt8] {
    number(0x6744_6698, 4) + number(UInt64(error), 4) + number(cookie, 8)
  }

  static func chunk(
    _ cookie: UInt64, _ type: UInt16, isLast: Bool, _ payload: [UInt8] = [],
    announced: UInt32? = nil
  ) -> [UInt8] {
    number(0x668e_33ef, 4) + number(isLast ? 1 : 0, 2) + number(UInt64(type), 2)
      + number(cookie, 8) + number(UInt64(announced ?? UInt32(payload.count)), 4) + payload
  }

  static func data(
    _ cookie: UInt64, _ offset: UInt64, _ bytes: [UInt8], isLast: Bool
  ) -> [UInt8] {
    chunk(cookie, 1, isLast: isLast, number(offset, 8) + bytes)
  }

  static func hole(
    _ cookie: UInt64, _ offset: UInt64, _ count: UInt64, isLast: Bool
  ) -> [UInt8] {
    chunk(cookie, 2, isLast: isLast, number(offset, 8) + number(count, 4))
  }

  static func error(_ cookie: UInt64, _ error: UInt64, _ text: String = "") -> [UInt8] {
    chunk(
      cookie, 32769, isLast: true,
      number(error, 4) + number(UInt64(text.utf8.count), 2) + Array(text.utf8))
  }
}

extension ClientSite {
  /// Starts a script at the far end of a new connection.
  ///
  /// - Returns: the near end.
  func play(_ script: @escaping @Sendable (ScriptedServer) async -> Void) -> SimulatedStream {
    let (near, distant) = network.pair(machine, far)
    far.start { await script(ScriptedServer(distant)) }
    return near
  }

  func connect(
    over stream: SimulatedStream, _ options: ClientOptions = ClientOptions(exportName: "a")
  ) async throws(ConnectError) -> Client {
    try await Client.connect(over: stream, options: options, machine: machine)
  }

  /// The error of a handshake with a script; nil when it ended well.
  func handshakeError(
    options: ClientOptions = ClientOptions(exportName: "a"),
    _ script: @escaping @Sendable (ScriptedServer) async -> Void
  ) async -> ConnectError? {
    do throws(ConnectError) {
      let client = try await connect(over: play(script), options)
      await client.close()
      return nil
    } catch {
      return error
    }
  }
}
