internal import IO
package import Units

/// How often this run has written each block of a job's region: four bytes a block.
///
/// Memory is touched only where blocks are written. One block has at most one operation in flight
/// (the engine's part), so a write counts from its `begin` on: nobody reads the block before it
/// has ended. Used on the machine's executor only.
package final class GenerationTable: @unchecked Sendable {
  private let offsetBytes: UInt64
  private let blockByteCount: UInt64
  private let blockCount: UInt64
  private let memory: AlignedMemory
  /// For blocks whose last write failed: the generation that may still be there; 0 for what was
  /// there before this run.
  ///
  /// Few, and none in a healthy run.
  private var oldestLegal: [UInt64: UInt32] = [:]

  /// 8 GiB of numbers.
  package static let blockCountMax: UInt64 = 1 << 31

  /// No block written yet; nil when there is no memory.
  ///
  /// The blocks are the smallest of the job; a rest at the region's end is left out.
  ///
  /// - Precondition: the region has 1 to `blockCountMax` blocks.
  package init?(region: ByteRange, blockByteCount: UInt64) {
    precondition(blockByteCount > 0)
    offsetBytes = region.offsetBytes
    self.blockByteCount = blockByteCount
    blockCount = region.byteCount / blockByteCount
    precondition(blockCount > 0 && blockCount <= Self.blockCountMax)
    guard let memory = AlignedMemory(byteCount: Int(blockCount) * 4) else { return nil }
    self.memory = memory
  }

  /// How often the block at an offset has been written, or begun to be.
  ///
  /// - Precondition: a block of the region starts there.
  package func generation(at offset: UInt64) -> UInt32 { load(index(of: offset)) }

  /// What a read of the block must find.
  ///
  /// - Returns: nil when this run has not written it.
  /// - Precondition: a block of the region starts there, and no write of it is in flight.
  package func expectation(at offset: UInt64) -> BlockExpectation? {
    let index = index(of: offset)
    let generation = load(index)
    guard generation > 0 else { return nil }
    guard !oldestLegal.isEmpty, let oldest = oldestLegal[index] else {
      return .exactly(generation)
    }
    // Nothing is known when what was there before may still be, or numbers have begun anew.
    return oldest == 0 || oldest > generation ? .anything : .between(oldest...generation)
  }

  /// Counts one more write of each block of a range, before it is filled and sent.
  ///
  /// - Precondition: the range consists of blocks of the region, none of them in flight.
  package func begin(_ range: ByteRange) {
    // 0 means never written, also after four thousand million writes.
    forEach(range) { index in
      let generation = load(index)
      store(generation == .max ? 1 : generation + 1, index)
    }
  }

  /// The write has been acknowledged.
  package func commit(_ range: ByteRange) {
    guard !oldestLegal.isEmpty else { return }
    forEach(range) { oldestLegal[$0] = nil }
  }

  /// The write has failed, or nobody knows whether it was made: until the next that succeeds, old
  /// and new are both right, sector by sector.
  package func abandon(_ range: ByteRange) {
    forEach(range) { index in
      if oldestLegal[index] == nil {
        let generation = load(index)
        oldestLegal[index] = generation - min(generation, 1)
      }
    }
  }

  private func forEach(_ range: ByteRange, _ body: (UInt64) -> Void) {
    precondition(range.byteCount % blockByteCount == 0)
    guard !range.isEmpty else { return }
    let first = index(of: range.offsetBytes)
    let count = range.byteCount / blockByteCount
    precondition(count <= blockCount - first)
    for index in first..<first + count { body(index) }
  }

  private func index(of offset: UInt64) -> UInt64 {
    precondition(offset >= offsetBytes)
    precondition((offset - offsetBytes) % blockByteCount == 0)
    let index = (offset - offsetBytes) / blockByteCount
    precondition(index < blockCount)
    return index
  }

  private func load(_ index: UInt64) -> UInt32 {
    let buffer = memory.buffer
    // Safe: `index` is below `blockCount`, which the memory was made for, and it is aligned.
    return unsafe buffer.baseAddress.load(fromByteOffset: Int(index) * 4, as: UInt32.self)
  }

  private func store(_ generation: UInt32, _ index: UInt64) {
    let buffer = memory.buffer
    // Safe: as in `load`.
    unsafe buffer.baseAddress.storeBytes(
      of: generation, toByteOffset: Int(index) * 4, as: UInt32.self)
  }
}
