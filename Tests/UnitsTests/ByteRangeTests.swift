import Testing
import Units

@Suite("Units: byte ranges")
struct ByteRangeTests {
  /// Every range within 0 ..< 18, as a range and as the set of its bytes.
  private static let small: [(range: ByteRange, bytes: Set<UInt64>)] = (0..<18).flatMap { start in
    (start..<18).map { end in
      (ByteRange(from: UInt64(start), to: UInt64(end)), Set(UInt64(start)..<UInt64(end)))
    }
  }

  @Test("offset and count are kept, and the end follows from them")
  func endFollows() throws {
    for start: UInt64 in 0..<18 {
      for count: UInt64 in 0..<18 {
        let range = try #require(ByteRange(offsetBytes: start, byteCount: count))
        #expect(range.offsetBytes == start)
        #expect(range.byteCount == count)
        #expect(range.endBytes == start + count)
        #expect(range.isEmpty == (count == 0))
        #expect(range == ByteRange(from: start, to: start + count))
      }
    }
  }

  @Test("a range whose end passes UInt64.max is refused, one that ends there is not")
  func endMustBeExpressible() {
    for distance: UInt64 in 0..<5 {
      for count: UInt64 in 0..<10 {
        let range = ByteRange(offsetBytes: .max - distance, byteCount: count)
        #expect((range != nil) == (count <= distance))
      }
    }
    #expect(ByteRange(offsetBytes: .max, byteCount: .max) == nil)
    #expect(ByteRange(offsetBytes: 0, byteCount: .max)?.endBytes == .max)
  }

  @Test("non-empty ranges overlap exactly when they share a byte")
  func overlapIsASharedByte() {
    for (first, firstBytes) in Self.small where !first.isEmpty {
      for (second, secondBytes) in Self.small where !second.isEmpty {
        #expect(first.overlaps(second) == !firstBytes.isDisjoint(with: secondBytes))
      }
    }
  }

  @Test(
    "the aligned range inside holds exactly the whole blocks", arguments: [1, 2, 4, 8] as [UInt64])
  func alignedInside(alignment: UInt64) {
    for (range, bytes) in Self.small {
      let inside = range.alignedInside(alignment)
      let blocks = Set(bytes.map { $0 / alignment }).filter { block in
        (block * alignment..<(block + 1) * alignment).allSatisfy(bytes.contains)
      }
      #expect(inside.byteCount == UInt64(blocks.count) * alignment)
      guard let first = blocks.min() else { continue }
      #expect(inside.offsetBytes == first * alignment)
      #expect(inside.isAligned(to: alignment))
    }
  }

  @Test(
    "the aligned range outside is the smallest one around", arguments: [1, 2, 4, 8] as [UInt64])
  func alignedOutside(alignment: UInt64) throws {
    for (range, _) in Self.small {
      let outside = try #require(range.alignedOutside(alignment))
      #expect(outside.isAligned(to: alignment))
      #expect(outside.offsetBytes <= range.offsetBytes)
      #expect(range.offsetBytes - outside.offsetBytes < alignment)
      #expect(outside.endBytes >= range.endBytes)
      #expect(outside.endBytes - range.endBytes < alignment)
    }
  }

  @Test("rounding up past UInt64.max gives nil outside and nothing inside")
  func roundingAtTheEnd() {
    let last = ByteRange(from: .max - 2, to: .max)
    #expect(last.alignedOutside(4096) == nil)
    #expect(last.alignedInside(4096).isEmpty)
    let long = ByteRange(from: .max - 8191, to: .max)
    #expect(long.alignedOutside(4096) == nil)
    #expect(long.alignedInside(4096) == ByteRange(from: .max - 8191, to: .max - 4095))
  }

  @Test("aligned means that both ends are multiples")
  func alignmentOfBothEnds() {
    for (range, _) in Self.small {
      let expected = range.offsetBytes % 4 == 0 && range.endBytes % 4 == 0
      #expect(range.isAligned(to: 4) == expected)
    }
  }

  @Test("an end before the start traps")
  func reversedEndsTrap() async {
    await #expect(processExitsWith: .failure) {
      _ = ByteRange(from: 2, to: 1)
    }
  }
}
