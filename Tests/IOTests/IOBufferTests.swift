import IO
import Testing

@Suite("IO: buffers")
struct IOBufferTests {
  private func memory(_ byteCount: Int = 4096) throws -> AlignedMemory {
    try #require(AlignedMemory(byteCount: byteCount))
  }

  private func bytes(_ buffer: IOBuffer) -> [UInt8] {
    (0..<buffer.byteCount).map { buffer.bytes.unsafeByte($0) }
  }

  @Test(
    "fresh memory is zero, page-aligned, and rounded up to whole pages",
    arguments: [0, 1, 4096, 4097])
  func freshMemory(byteCount: Int) throws {
    let memory = try memory(byteCount)
    #expect(memory.buffer.byteCount == max(1, (byteCount + 4095) / 4096) * 4096)
    #expect(memory.buffer.isZero)
    // Safe: the address is looked at, not followed.
    #expect(unsafe UInt(bitPattern: memory.buffer.baseAddress) % 4096 == 0)
  }

  @Test("every slice shows exactly its bytes")
  func slices() throws {
    let memory = try memory()
    let view = memory.buffer.prefix(20)
    for index in 0..<20 { view.slice(index, 1).fill(with: UInt8(index)) }
    for start in 0...20 {
      for count in 0...(20 - start) {
        let expected = (start..<start + count).map { UInt8($0) }
        #expect(bytes(view.slice(start, count)) == expected)
      }
      #expect(bytes(view.dropFirst(start)) == (start..<20).map { UInt8($0) })
      #expect(bytes(view.prefix(start)) == (0..<start).map { UInt8($0) })
    }
  }

  @Test("copying leaves what lies behind the source's length")
  func copyKeepsTheRest() throws {
    let memory = try memory()
    let source = memory.buffer.slice(0, 4)
    let target = memory.buffer.slice(100, 8)
    source.fill(with: 7)
    target.fill(with: 9)
    target.copy(from: source)
    #expect(bytes(target) == [7, 7, 7, 7, 9, 9, 9, 9])
  }

  @Test("overlapping copies move as if through a third place")
  func overlappingCopy() throws {
    let memory = try memory()
    for index in 0..<8 { memory.buffer.slice(index, 1).fill(with: UInt8(index)) }
    memory.buffer.slice(2, 6).copy(from: memory.buffer.slice(0, 6))
    #expect(bytes(memory.buffer.prefix(8)) == [0, 1, 0, 1, 2, 3, 4, 5])
  }

  @Test("a buffer is zero only when every byte is")
  func zeroMeansEveryByte() throws {
    let memory = try memory()
    for count in 0...40 {
      let view = memory.buffer.slice(64, count)
      // Bytes outside do not matter.
      memory.buffer.slice(63, 1).fill(with: 1)
      memory.buffer.slice(64 + count, 1).fill(with: 1)
      #expect(view.isZero)
      for index in 0..<count {
        view.slice(index, 1).fill(with: 0x80)
        #expect(!view.isZero)
        view.slice(index, 1).fill(with: 0)
      }
      memory.buffer.slice(64 + count, 1).fill(with: 0)
    }
  }

  @Test("discarded pages read as zeros, and the others stay")
  func discard() throws {
    let memory = try memory(3 * 4096)
    memory.buffer.fill(with: 5)
    memory.discard(4096, 4096)
    #expect(memory.buffer.slice(4096, 4096).isZero)
    #expect(bytes(memory.buffer.slice(4095, 1)) == [5])
    #expect(bytes(memory.buffer.slice(8192, 1)) == [5])
  }

  @Test("a slice outside the view traps")
  func slicesOutsideTrap() async {
    await #expect(processExitsWith: .failure) {
      _ = AlignedMemory(byteCount: 4096)?.buffer.slice(4090, 7)
    }
    await #expect(processExitsWith: .failure) {
      _ = AlignedMemory(byteCount: 4096)?.buffer.slice(-1, 1)
    }
    await #expect(processExitsWith: .failure) {
      _ = AlignedMemory(byteCount: 4096)?.buffer.slice(0, -1)
    }
    await #expect(processExitsWith: .failure) {
      _ = AlignedMemory(byteCount: 4096)?.buffer.slice(1, .max)
    }
    await #expect(processExitsWith: .failure) {
      _ = AlignedMemory(byteCount: 4096)?.buffer.dropFirst(4097)
    }
    await #expect(processExitsWith: .failure) {
      _ = AlignedMemory(byteCount: 4096)?.buffer.prefix(4097)
    }
  }

  @Test("a copy longer than its target traps")
  func longCopyTraps() async {
    await #expect(processExitsWith: .failure) {
      guard let memory = AlignedMemory(byteCount: 4096) else { return }
      memory.buffer.prefix(3).copy(from: memory.buffer.slice(8, 4))
    }
  }
}

extension RawSpan {
  /// The byte at an index that the caller has checked.
  func unsafeByte(_ index: Int) -> UInt8 {
    // Safe: checked by the span; a byte has no invalid patterns.
    unsafe unsafeLoad(fromByteOffset: index, as: UInt8.self)
  }
}
