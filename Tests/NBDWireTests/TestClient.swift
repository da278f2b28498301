import NBDWire

/// Calls `body` with the bytes as a span.
func withSpan<Result>(_ bytes: [UInt8], _ body: (RawSpan) throws -> Result) rethrows -> Result {
  // Safe: the span does not leave the closure.
  try unsafe bytes.withUnsafeBytes { try body(unsafe RawSpan(_unsafeBytes: $0)) }
}

/// The bytes that `fill` writes at the start of a buffer of 0xEE; it returns how many.
func written(capacity: Int = 8192, _ fill: (inout MutableRawSpan) -> Int) -> [UInt8] {
  var bytes = [UInt8](repeating: 0xEE, count: capacity)
  // Safe: the span does not leave the closure.
  let count = unsafe bytes.withUnsafeMutableBytes {
    var span = unsafe MutableRawSpan(_unsafeBytes: $0)
    return fill(&span)
  }
  precondition(bytes[count...].allSatisfy { $0 == 0xEE }, "bytes behind the end were written")
  return Array(bytes[..<count])
}

/// A big-endian number of `byteCount` bytes, written independently of the module under test.
func big(_ value: UInt64, _ byteCount: Int) -> [UInt8] {
  (0..<byteCount).reversed().map { UInt8(value >> UInt64($0 * 8) & 0xFF) }
}

/// The big-endian number in the bytes.
func number(_ bytes: some Sequence<UInt8>) -> UInt64 {
  bytes.reduce(0) { $0 << 8 | UInt64($1) }
}

/// What a client says while it negotiates.
enum ClientBytes {
  static func flags(_ value: UInt64) -> [UInt8] { big(value, 4) }

  static func option(_ number: UInt64, _ data: [UInt8] = []) -> [UInt8] {
    header(number, byteCount: UInt64(data.count)) + data
  }

  static func header(_ number: UInt64, byteCount: UInt64) -> [UInt8] {
    Array("IHAVEOPT".utf8) + big(number, 4) + big(byteCount, 4)
  }

  static func string(_ text: String) -> [UInt8] { big(UInt64(text.utf8.count), 4) + text.utf8 }

  /// The data of INFO and GO.
  static func query(_ name: String, _ infoTypes: [UInt64] = []) -> [UInt8] {
    string(name) + big(UInt64(infoTypes.count), 2) + infoTypes.flatMap { big($0, 2) }
  }

  /// The data of LIST_META_CONTEXT and SET_META_CONTEXT.
  static func metadata(_ name: String, _ queries: [String] = []) -> [UInt8] {
    string(name) + big(UInt64(queries.count), 4) + queries.flatMap { string($0) }
  }

  static let exportName: UInt64 = 1
  static let abort: UInt64 = 2
  static let list: UInt64 = 3
  static let peekExport: UInt64 = 4
  static let startTLS: UInt64 = 5
  static let info: UInt64 = 6
  static let go: UInt64 = 7
  static let structuredReply: UInt64 = 8
  static let listMeta: UInt64 = 9
  static let setMeta: UInt64 = 10
  static let extendedHeaders: UInt64 = 11
}

/// One reply to an option, taken apart by the test's own rules.
struct OptionAnswer: Equatable {
  var option: UInt64
  var type: UInt64
  var data: [UInt8]

  static let acknowledged: UInt64 = 1
  static let server: UInt64 = 2
  static let info: UInt64 = 3
  static let metaContext: UInt64 = 4
  static let unsupported: UInt64 = 1 << 31 + 1
  static let policy: UInt64 = 1 << 31 + 2
  static let invalid: UInt64 = 1 << 31 + 3
  static let unknown: UInt64 = 1 << 31 + 6
  static let shutdown: UInt64 = 1 << 31 + 7
  static let tooBig: UInt64 = 1 << 31 + 9

  static func acknowledged(_ option: UInt64) -> OptionAnswer {
    OptionAnswer(option: option, type: acknowledged, data: [])
  }

  var text: String { String(decoding: data, as: UTF8.self) }
}

/// What a server under test said, and where it ended.
struct Exchange: Equatable {
  var answers: [OptionAnswer] = []
  /// What is no reply to an option: the answer to EXPORT_NAME.
  var otherBytes: [UInt8] = []
  var agreement: Agreement?
  var closeReason: String?
  var hasViolation = false
  /// What was received and not consumed.
  var restByteCount = 0

  var types: [UInt64] { answers.map(\.type) }

  /// INFO replies by their information type.
  var information: [UInt64: [UInt8]] {
    Dictionary(
      answers.filter { $0.type == OptionAnswer.info }.map {
        (number($0.data.prefix(2)), Array($0.data.dropFirst(2)))
      },
      uniquingKeysWith: { first, _ in first })
  }
}

/// A caller of `Negotiation`, as the server's connection is one.
struct Caller {
  var negotiation: Negotiation
  private(set) var exchange = Exchange()
  private var buffer: [UInt8] = []

  init(exports: [ExportDescription], limits: NegotiationLimits = NegotiationLimits()) {
    negotiation = Negotiation(exports: exports, limits: limits)
  }

  mutating func receive(_ bytes: some Sequence<UInt8>) {
    buffer += bytes
    while exchange.agreement == nil, exchange.closeReason == nil {
      var step = negotiation
      let (consumed, outcome) = withSpan(buffer) { step.advance($0) }
      negotiation = step
      buffer.removeFirst(consumed)
      switch outcome {
      case .needsMoreBytes: break
      case .reply(let reply): take(reply)
      case .transmission(let agreement, let reply):
        take(reply)
        exchange.agreement = agreement
      case .close(let reason, let reply):
        take(reply)
        exchange.closeReason = reason
        exchange.hasViolation = negotiation.hasViolation
      }
      if outcome == .needsMoreBytes { break }
    }
    exchange.restByteCount = buffer.count
  }

  private mutating func take(_ bytes: [UInt8]) {
    var rest = bytes[...]
    while rest.count >= 20, number(rest.prefix(8)) == 0x3_e889_0455_65a9 {
      let byteCount = Int(number(rest.dropFirst(16).prefix(4)))
      precondition(rest.count >= 20 + byteCount, "a reply is longer than its bytes")
      exchange.answers.append(
        OptionAnswer(
          option: number(rest.dropFirst(8).prefix(4)), type: number(rest.dropFirst(12).prefix(4)),
          data: Array(rest.dropFirst(20).prefix(byteCount))))
      rest = rest.dropFirst(20 + byteCount)
    }
    exchange.otherBytes += rest
  }
}

/// Two exports, the first with everything.
let twoExports = [
  ExportDescription(
    name: "disk", description: "a disk", byteCount: 1 << 30,
    flags: [
      .sendFlush, .sendForceUnitAccess, .sendTrim, .sendWriteZeroes, .canMultiConnect, .sendCache,
      .sendFastZero,
    ]),
  ExportDescription(
    name: "other", description: "", byteCount: 8192, flags: [.readOnly, .rotational],
    minimumBlockBytes: 512, preferredBlockBytes: 8192, maximumPayloadBytes: 1 << 20),
]

/// Says client flags and options to a fresh server.
func converse(
  flags: UInt64 = 3, _ options: [UInt8]..., exports: [ExportDescription] = twoExports,
  limits: NegotiationLimits = NegotiationLimits(), isShuttingDown: Bool = false
) -> Exchange {
  var caller = Caller(exports: exports, limits: limits)
  caller.negotiation.isShuttingDown = isShuttingDown
  caller.receive(ClientBytes.flags(flags) + options.flatMap { $0 })
  return caller.exchange
}

/// Seeded numbers: a failure repeats.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }
}
