import NBDWire
import Testing

@Suite("NBDWire: request headers")
struct RequestTests {
  private let bytes: [UInt8] =
    [0x25, 0x60, 0x95, 0x13] + [0x80, 0x05] + [0x12, 0x34] + [1, 2, 3, 4, 5, 6, 7, 8]
    + [0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8] + [0xA1, 0xA2, 0xA3, 0xA4]

  private let request = Request(
    flags: CommandFlags(rawValue: 0x8005), commandNumber: 0x1234, cookie: 0x0102_0304_0506_0708,
    offsetBytes: 0xF1F2_F3F4_F5F6_F7F8, byteCount: 0xA1A2_A3A4)

  @Test("every field lies where the protocol has it, at any offset", arguments: [0, 1, 7, 28])
  func parsing(offset: Int) {
    let padded = [UInt8](repeating: 0, count: offset) + bytes
    #expect(withSpan(padded) { Request(parsing: $0, at: offset) } == request)
  }

  @Test("encoding gives the same bytes")
  func encoding() {
    let encoded = written {
      request.encode(into: &$0, at: 0)
      return Request.headerByteCount
    }
    #expect(encoded == bytes)
  }

  @Test("NBD 43: a magic that is wrong in any bit is refused", arguments: 0..<32)
  func wrongMagic(bit: Int) {
    var wrong = bytes
    wrong[bit / 8] ^= 1 << (bit % 8)
    #expect(withSpan(wrong) { Request(parsing: $0, at: 0) } == nil)
  }

  @Test("NBD 43: the magics of replies and of extended requests are refused")
  func otherMagics() {
    for magic: UInt64 in [0x6744_6698, 0x668e_33ef, 0x21e4_1c71, 0x6e8a_278c, 0] {
      let wrong = big(magic, 4) + bytes.dropFirst(4)
      #expect(withSpan(wrong) { Request(parsing: $0, at: 0) } == nil)
    }
  }

  @Test("a header that is cut off traps")
  func cutOff() async {
    await #expect(processExitsWith: .failure) {
      _ = withSpan([UInt8](repeating: 0, count: 27)) { Request(parsing: $0, at: 0) }
    }
    await #expect(processExitsWith: .failure) {
      _ = withSpan([UInt8](repeating: 0, count: 56)) { Request(parsing: $0, at: 29) }
    }
  }
}
