/// What a client says, put together by the tests' own rules.
package enum WireBytes {
  /// A big-endian number of `byteCount` bytes.
  package static func big(_ value: UInt64, _ byteCount: Int) -> [UInt8] {
    (0..<byteCount).reversed().map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
  }

  /// The big-endian number in the bytes.
  package static func number(_ bytes: some Sequence<UInt8>) -> UInt64 {
    bytes.reduce(0) { $0 << 8 | UInt64($1) }
  }

  package static func option(_ number: UInt64, _ data: [UInt8] = []) -> [UInt8] {
    Array("IHAVEOPT".utf8) + big(number, 4) + big(UInt64(data.count), 4) + data
  }

  package static func string(_ text: String) -> [UInt8] {
    big(UInt64(text.utf8.count), 4) + text.utf8
  }

  /// Client flags and options up to GO, as a client sends them that waits for no answer.
  package static func handshake(_ wishes: TestWishes) -> [UInt8] {
    var bytes = big(3, 4)
    if wishes.usesStructuredReplies { bytes += option(8) }
    if wishes.selectsAllocation {
      bytes += option(10, string(wishes.name) + big(1, 4) + string("base:allocation"))
    }
    bytes += option(7, string(wishes.name) + big(1, 2) + big(3, 2))
    return bytes
  }
}

/// What a test's client asks for in its handshake.
package struct TestWishes: Sendable {
  package var usesStructuredReplies = true
  package var selectsAllocation = true
  package var name = ""

  package init() {}

  /// Neither structured replies nor block status.
  package static var simple: TestWishes {
    var wishes = TestWishes()
    wishes.usesStructuredReplies = false
    wishes.selectsAllocation = false
    return wishes
  }
}

/// A request as a test writes it: nothing in it needs to be right.
package struct TestRequest: Sendable {
  package static var read: UInt16 { 0 }
  package static var write: UInt16 { 1 }
  package static var disconnect: UInt16 { 2 }
  package static var flush: UInt16 { 3 }
  package static var trim: UInt16 { 4 }
  package static var cache: UInt16 { 5 }
  package static var writeZeroes: UInt16 { 6 }
  package static var blockStatus: UInt16 { 7 }

  package static var durable: UInt16 { 1 << 0 }
  package static var noHole: UInt16 { 1 << 1 }
  package static var dontFragment: UInt16 { 1 << 2 }
  package static var requestOne: UInt16 { 1 << 3 }
  package static var fastZero: UInt16 { 1 << 4 }

  package var command: UInt16
  package var flags: UInt16
  package var offset: UInt64
  package var byteCount: UInt32
  /// What follows the header; of a WRITE, usually `byteCount` bytes.
  package var payload: [UInt8]

  package init(
    _ command: UInt16, _ offset: UInt64 = 0, _ byteCount: UInt32 = 0, flags: UInt16 = 0,
    payload: [UInt8] = []
  ) {
    self.command = command
    self.flags = flags
    self.offset = offset
    self.byteCount = byteCount
    self.payload = payload
  }

  package static func write(
    _ offset: UInt64, _ payload: [UInt8], flags: UInt16 = 0
  ) -> TestRequest {
    TestRequest(
      write, offset, UInt32(truncatingIfNeeded: payload.count), flags: flags, payload: payload)
  }

  package func header(cookie: UInt64) -> [UInt8] {
    WireBytes.big(0x2560_9513, 4) + WireBytes.big(UInt64(flags), 2)
      + WireBytes.big(UInt64(command), 2) + WireBytes.big(cookie, 8) + WireBytes.big(offset, 8)
      + WireBytes.big(UInt64(byteCount), 4)
  }
}
