import Parity
import Testing

@Suite("Parity: CRC32C")
struct CRC32CTests {
  /// One bit at a time, straight from the definition.
  private func naiveChecksum(_ bytes: some Sequence<UInt8>) -> UInt32 {
    var register = UInt32.max
    for byte in bytes {
      register ^= UInt32(byte)
      for _ in 0..<8 { register = (register >> 1) ^ (register & 1 == 1 ? 0x82F6_3B78 : 0) }
    }
    return ~register
  }

  private func checksum(_ bytes: [UInt8]) -> UInt32 {
    // Safe: the span is used while the array lives.
    unsafe CRC32C.checksum(bytes.span.bytes)
  }

  private func pattern(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 167 &+ $0 >> 8 &+ 13) }
  }

  @Test("the check value and the vectors of RFC 3720, B.4, come out")
  func standardVectors() {
    #expect(checksum(Array("123456789".utf8)) == 0xE306_9283)
    #expect(checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
    #expect(checksum([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
    #expect(checksum(Array(0..<32)) == 0x46DD_794E)
    #expect(checksum(Array((0..<32).reversed())) == 0x113F_DB5C)
  }

  @Test("no bytes give 0")
  func emptyInput() {
    #expect(checksum([]) == 0)
    #expect(CRC32C().value == 0)
  }

  @Test("every length up to 600 at every address alignment agrees with the definition")
  func everyLengthAndAlignment() {
    let bytes = pattern(700)
    // Safe: the span is used while the array lives.
    let span = unsafe bytes.span.bytes
    for start in 0..<17 {
      for count in 0...(start == 0 ? 600 : 70) {
        let expected = naiveChecksum(bytes[start..<start + count])
        #expect(CRC32C.checksum(span.extracting(start..<start + count)) == expected)
      }
    }
  }

  @Test("every cut into two pieces gives the checksum of the whole")
  func incrementalEqualsWhole() {
    let bytes = pattern(300)
    let whole = checksum(bytes)
    // Safe: the span is used while the array lives.
    let span = unsafe bytes.span.bytes
    for cut in 0...bytes.count {
      var crc = CRC32C()
      crc.update(span.extracting(0..<cut))
      let middle = crc.value
      crc.update(span.extracting(cut..<bytes.count))
      #expect(crc.value == whole)
      var continued = CRC32C(continuing: middle)
      continued.update(span.extracting(cut..<bytes.count))
      #expect(continued == crc)
    }
  }

  @Test("a number counts as its eight bytes, little-endian")
  func numberIsItsBytes() {
    var crc = CRC32C()
    crc.update(0x0807_0605_0403_0201)
    #expect(crc.value == checksum([1, 2, 3, 4, 5, 6, 7, 8]))
  }

  @Test("every flipped bit of a 512-byte sector changes the checksum")
  func flippedBitsShow() {
    var bytes = pattern(512)
    let whole = checksum(bytes)
    for index in bytes.indices {
      for bit in 0..<8 {
        bytes[index] ^= 1 << UInt8(bit)
        #expect(checksum(bytes) != whole)
        bytes[index] ^= 1 << UInt8(bit)
      }
    }
  }
}
