import Parity

/// The field and the parities straight from their definitions, a byte and a bit at a time.
enum NaiveParity {
  /// The product of two polynomials over GF(2), modulo x^8 + x^4 + x^3 + x^2 + 1.
  static func product(_ one: UInt8, _ other: UInt8) -> UInt8 {
    var sum: UInt32 = 0
    for bit in 0..<8 where other & (1 << UInt8(bit)) != 0 { sum ^= UInt32(one) << UInt32(bit) }
    for bit in stride(from: 14, through: 8, by: -1) where sum & (1 << UInt32(bit)) != 0 {
      sum ^= 0x11D << UInt32(bit - 8)
    }
    return UInt8(sum)
  }

  /// 2 to the power of `exponent`.
  static func power(_ exponent: Int) -> UInt8 {
    (0..<exponent).reduce(1) { power, _ in product(power, 2) }
  }

  /// `products[c][b]` is c times b.
  static let products: [[UInt8]] = (0..<256).map { coefficient in
    (0..<256).map { product(UInt8(coefficient), UInt8($0)) }
  }

  // Plain loops: these run for every byte of every row in builds that are not optimised.

  static func scaled(_ bytes: [UInt8], by coefficient: UInt8) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: bytes.count)
    add(bytes, times: coefficient, to: &result)
    return result
  }

  static func sum(_ one: [UInt8], _ other: [UInt8]) -> [UInt8] {
    var result = other
    add(one, times: 1, to: &result)
    return result
  }

  static func add(_ bytes: [UInt8], times coefficient: UInt8, to target: inout [UInt8]) {
    let row = products[Int(coefficient)]
    var index = 0
    while index < bytes.count {
      target[index] ^= row[Int(bytes[index])]
      index += 1
    }
  }

  static func p(_ data: [[UInt8]], byteCount: Int) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: byteCount)
    for block in data { add(block, times: 1, to: &result) }
    return result
  }

  static func q(_ data: [[UInt8]], byteCount: Int) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: byteCount)
    for (index, block) in data.enumerated() { add(block, times: power(index), to: &result) }
    return result
  }
}

/// What a row of blocks holds.
enum Content: CaseIterable, CustomStringConvertible, Sendable {
  case zeros
  case ones
  /// A single block that is not zero, and in it a single bit.
  case oneBit
  case counting
  case random

  var description: String {
    switch self {
    case .zeros: "zeros"
    case .ones: "ones"
    case .oneBit: "one bit"
    case .counting: "counting"
    case .random: "random"
    }
  }

  func blocks(_ count: Int, byteCount: Int) -> [[UInt8]] {
    var generator = SeededGenerator(seed: UInt64(count * 8192 + byteCount))
    return (0..<count).map { block in
      switch self {
      case .zeros: return [UInt8](repeating: 0, count: byteCount)
      case .ones: return [UInt8](repeating: 0xFF, count: byteCount)
      case .oneBit:
        var bytes = [UInt8](repeating: 0, count: byteCount)
        if block == count / 2 { bytes[byteCount - 1] = 0x80 }
        return bytes
      case .counting:
        return (0..<byteCount).map { UInt8(truncatingIfNeeded: $0 &* 3 &+ block &* 85 &+ $0 >> 8) }
      case .random: return generator.bytes(byteCount)
      }
    }
  }
}

/// SplitMix64: the same bytes for the same seed everywhere.
struct SeededGenerator {
  private var state: UInt64

  init(seed: UInt64) {
    state = seed
  }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }

  /// - Precondition: a multiple of 8.
  mutating func bytes(_ count: Int) -> [UInt8] {
    precondition(count % 8 == 0)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    while bytes.count < count {
      // Safe: the eight bytes of a local that outlives the call.
      unsafe withUnsafeBytes(of: next().littleEndian) { unsafe bytes.append(contentsOf: $0) }
    }
    return bytes
  }
}

/// Aligned memory with marked surroundings, so that a byte written outside shows.
@safe
final class Memory {
  private static let guardBytes = 64
  private static let mark: UInt8 = 0xA5

  // Safe: allocated in `init`, freed in `deinit`; accesses stay inside `byteCount` and the guards.
  private let start: UnsafeMutableRawPointer
  let byteCount: Int

  /// Copies bytes to memory of its own, moved by `shift`, so that not every buffer starts a line.
  init(_ bytes: [UInt8], shift: Int = 0) {
    byteCount = bytes.count
    let whole = bytes.count + 2 * Self.guardBytes
    unsafe start = .allocate(byteCount: whole + 32, alignment: 64)
    // Safe: inside the memory just allocated.
    unsafe _ = start.initializeMemory(as: UInt8.self, repeating: Self.mark, count: whole + 32)
    self.shift = shift
    fill(bytes)
  }

  convenience init(byteCount: Int, garbage: UInt8 = 0x5C) {
    self.init([UInt8](repeating: garbage, count: byteCount))
  }

  deinit {
    // Safe: allocated in `init`.
    unsafe start.deallocate()
  }

  private let shift: Int

  private var base: UnsafeMutableRawPointer { unsafe start + Self.guardBytes + shift }

  func fill(_ bytes: [UInt8]) {
    precondition(bytes.count == byteCount)
    // Safe: `byteCount` bytes at `base` are inside.
    unsafe UnsafeMutableRawBufferPointer(start: base, count: byteCount).copyBytes(from: bytes)
  }

  /// What is in it.
  var bytes: [UInt8] {
    // Safe: `byteCount` bytes at `base` are inside.
    unsafe [UInt8](UnsafeRawBufferPointer(start: base, count: byteCount))
  }

  /// Whether everything around the buffer is as it was.
  var guardsAreIntact: Bool {
    let first = Self.guardBytes + shift
    let rest = 2 * Self.guardBytes + 32 - first
    // Safe: both ranges are inside the allocation, which is `rest` longer than what ends before.
    let before = unsafe [UInt8](UnsafeRawBufferPointer(start: start, count: first))
    let behind = unsafe [UInt8](
      UnsafeRawBufferPointer(start: start + first + byteCount, count: rest))
    return before == [UInt8](repeating: Self.mark, count: first)
      && behind == [UInt8](repeating: Self.mark, count: rest)
  }

  var parity: ParityBuffer { unsafe ParityBuffer(base, byteCount: byteCount) }

  /// A part of it.
  func slice(_ offset: Int, _ count: Int) -> ParityBuffer {
    precondition(offset >= 0 && count >= 0 && offset + count <= byteCount)
    return unsafe ParityBuffer(base + offset, byteCount: count)
  }
}
