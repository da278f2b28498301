// What all fuzz targets share. Built by tools/fuzz, not by the package.

/// The fuzzer's bytes in an array of their own.
func fuzzInput(_ data: UnsafePointer<UInt8>?, _ byteCount: Int) -> [UInt8] {
  // Safe: the fuzzer hands over `byteCount` readable bytes, or none.
  unsafe Array(UnsafeBufferPointer(start: data, count: byteCount))
}

/// Numbers that depend on the input alone, so that a crash repeats, and on each of its bytes, so
/// that a recording can be an input as it is.
struct InputRandom {
  private var state: UInt64

  /// Mixes the bytes by FNV-1a.
  init(_ input: [UInt8]) {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in input { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    state = hash | 1
  }

  /// The next number below `bound`, by xorshift64*.
  mutating func next(below bound: Int) -> Int {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return Int((state &* 0x2545_f491_4f6c_dd1d) >> 33) % bound
  }
}

/// Takes numbers off the front of the input; behind its end everything is zero.
struct InputReader {
  private let input: [UInt8]
  private(set) var offset = 0

  init(_ input: [UInt8]) { self.input = input }

  var remaining: ArraySlice<UInt8> { input[min(offset, input.count)...] }

  mutating func byte() -> UInt8 {
    defer { offset += 1 }
    return offset < input.count ? input[offset] : 0
  }

  /// A big-endian number.
  mutating func integer<Integer: FixedWidthInteger>(_ type: Integer.Type) -> Integer {
    var value: UInt64 = 0
    for _ in 0..<MemoryLayout<Integer>.size { value = value << 8 | UInt64(byte()) }
    return Integer(truncatingIfNeeded: value)
  }
}
