import Parity
import Testing

@Suite("Parity: block checksum")
struct BlockChecksumTests {
  /// One bit at a time, straight from the definition.
  private func naiveSector(_ bytes: some Sequence<UInt8>) -> UInt32 {
    var register = UInt64.max
    for byte in bytes {
      register ^= UInt64(byte) << 56
      for _ in 0..<8 {
        register = (register << 1) ^ (register >> 63 == 1 ? 0xad93_d235_94c9_35a9 : 0)
      }
    }
    return UInt32(truncatingIfNeeded: ~register)
  }

  private func checksum(_ bytes: [UInt8]) -> UInt32 {
    // Safe: the span is used while the array lives.
    unsafe BlockChecksum.of(bytes.span.bytes)
  }

  private func sector(_ bytes: [UInt8]) -> UInt32 {
    // Safe: the span is used while the array lives.
    unsafe BlockChecksum.ofSector(bytes.span.bytes)
  }

  private func crc(_ bytes: [UInt8]) -> UInt32 {
    // Safe: the span is used while the array lives.
    unsafe CRC32C.checksum(bytes.span.bytes)
  }

  private func littleEndian(_ value: UInt32) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }

  private func pattern(_ count: Int, _ seed: Int = 0) -> [UInt8] {
    (0..<count).map {
      UInt8(truncatingIfNeeded: ($0 + seed) &* 167 &+ ($0 >> 8) &+ 13 &+ seed &* 31)
    }
  }

  @Test("a sector's agrees with the definition, and a block's is CRC32C over those of its sectors")
  func definition() {
    for seed in 0..<20 {
      let block = pattern(4096, seed)
      let sectors = (0..<8).map { Array(block[$0 * 512..<$0 * 512 + 512]) }
      let each = sectors.map { naiveSector($0) }
      #expect(sectors.map { sector($0) } == each)
      #expect(checksum(block) == crc(each.flatMap { littleEndian($0) }))
      #expect(BlockChecksum.ofSectors(each[...]) == checksum(block))
      var appended: [UInt32] = []
      // Safe: the span is used while the array lives.
      unsafe BlockChecksum.appendSectors(of: block.span.bytes, to: &appended)
      #expect(appended == each)
    }
  }

  @Test("blocks of zeros and of 0x11, as another program computes them")
  func known() {
    #expect(checksum([UInt8](repeating: 0, count: 4096)) == 0xf458_f6d8)
    #expect(checksum([UInt8](repeating: 0x11, count: 4096)) == 0x1bff_16cd)
  }

  @Test("data that ends with its own CRC32C has another checksum in each version")
  func ownChecksum() {
    // As pg_control, in the middle of a block of zeros, and as a directory block of ext4, at its end.
    for byteCount in [288, 4092] {
      var seen: Set<UInt32> = []
      var linear: Set<UInt32> = []
      for version in 0..<100 {
        let content = pattern(byteCount, version)
        var block = content + littleEndian(crc(content))
        block += [UInt8](repeating: 0, count: 4096 - block.count)
        seen.insert(checksum(block))
        linear.insert(crc(block))
      }
      #expect(linear.count == 1, "this is what CRC32C cannot tell")
      #expect(seen.count == 100)
    }
  }

  @Test("every change of one bit or of two bits in a sector changes its checksum")
  func nearMisses() {
    // It is linear: a change shows as what it alone makes of zeros.
    var bytes = [UInt8](repeating: 0, count: 512)
    let zeros = sector(bytes)
    var seen: Set<UInt32> = [0]
    for bit in 0..<4096 {
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
      #expect(seen.insert(sector(bytes) ^ zeros).inserted, "bit \(bit)")
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
    }
  }

  @Test("sectors that change places change the checksum of the block")
  func order() {
    let block = pattern(4096, 3)
    for first in 0..<8 {
      for second in first + 1..<8 {
        var other = block
        for index in 0..<512 { other.swapAt(first * 512 + index, second * 512 + index) }
        #expect(checksum(other) != checksum(block))
      }
    }
  }
}
