import IO
package import Units

/// How far the pass that reads everything back has come.
struct VerifyCursor {
  var blockIndex: UInt64 = 0
}

/// What a job with `verify` knows of its blocks.
///
/// A job that writes knows the generation of each block it has written, and nothing of the others.
/// A job that only reads knows what an earlier run has saved, or takes every generation of the
/// same seed for right.
package struct Verifier: Sendable {
  private let stamp: BlockStamp
  private let region: ByteRange
  private let blockByteCount: UInt64
  private let table: GenerationTable?
  private let saved: VerifyState?
  /// The bytes of the blocks that this run has written.
  private(set) var writtenByteCount: UInt64 = 0

  /// For options that are resolved against the target, with what an earlier run has written, if it
  /// is known, and a number that no other run has.
  ///
  /// Nil when nothing is to be verified, or there is no memory for the table.
  package init?(options: JobOptions, region: ByteRange, saved: VerifyState?, run: UInt64) {
    guard options.verify == .crc32c else { return nil }
    self.region = region
    self.saved = saved
    blockByteCount = options.blockByteCountMin
    stamp = BlockStamp(
      seed: saved?.seed ?? options.randomSeed, run: saved?.run ?? run,
      blockByteCount: Int(blockByteCount))
    if options.writes {
      guard let table = GenerationTable(region: region, blockByteCount: blockByteCount) else {
        return nil
      }
      self.table = table
    } else {
      table = nil
    }
  }

  private var lastBlockIndex: UInt64 { region.byteCount / blockByteCount }

  func blockCount(of range: ByteRange) -> UInt64 { range.byteCount / blockByteCount }

  // MARK: Writing

  /// Fills what is about to be written to a range.
  mutating func fill(_ buffer: IOBuffer, _ range: ByteRange) {
    guard let table else { return }
    var offset = range.offsetBytes
    while offset < range.endBytes {
      if table.generation(at: offset) == 0 { writtenByteCount += blockByteCount }
      offset += blockByteCount
    }
    table.begin(range)
    stamp.fill(buffer, at: range.offsetBytes, from: table)
  }

  /// The write has been acknowledged.
  func commit(_ range: ByteRange) { table?.commit(range) }

  /// Nobody knows whether the write was made.
  func abandon(_ range: ByteRange) { table?.abandon(range) }

  // MARK: Checking

  /// Checks each block of what was read, and adds what it finds.
  func check(_ buffer: IOBuffer, _ range: ByteRange, _ result: inout VerificationResult) {
    var start = 0
    while start < buffer.byteCount {
      let offset = range.offsetBytes + UInt64(start)
      let block = buffer.slice(start, Int(blockByteCount))
      start += Int(blockByteCount)
      let expectation = expectation(at: offset)
      if case .anything = expectation { continue }
      result.blocksChecked += 1
      result.byteCount += blockByteCount
      if let fault = stamp.verify(block, at: offset, expecting: expectation) {
        result.add(kind: fault.kind.name, sentence: fault.description)
      }
    }
  }

  private func expectation(at offset: UInt64) -> BlockExpectation {
    if let table { return table.expectation(at: offset) ?? .anything }
    return saved?.expectation(at: offset) ?? .anyGeneration
  }

  /// The next run of written blocks.
  ///
  /// - Returns: nil when there is none behind the cursor.
  func nextWritten(_ cursor: inout VerifyCursor, byteCountMax: Int) -> ByteRange? {
    guard let table else { return nil }
    let countMax = max(1, UInt64(byteCountMax) / blockByteCount)
    func isWritten(_ index: UInt64) -> Bool {
      index < lastBlockIndex
        && table.generation(at: region.offsetBytes + index * blockByteCount) > 0
    }
    while cursor.blockIndex < lastBlockIndex, !isWritten(cursor.blockIndex) {
      cursor.blockIndex += 1
    }
    let first = cursor.blockIndex
    while isWritten(cursor.blockIndex), cursor.blockIndex - first < countMax {
      cursor.blockIndex += 1
    }
    guard cursor.blockIndex > first else { return nil }
    return ByteRange(
      from: region.offsetBytes + first * blockByteCount,
      to: region.offsetBytes + cursor.blockIndex * blockByteCount)
  }

  /// What this run has written, for a later run; nil for a job that does not write.
  package var state: VerifyState? {
    guard let table else { return nil }
    var generations = [UInt32](repeating: 0, count: Int(lastBlockIndex))
    for index in generations.indices {
      let offset = region.offsetBytes + UInt64(index) * blockByteCount
      switch table.expectation(at: offset) {
      case .exactly(let generation): generations[index] = generation
      case nil: generations[index] = 0
      case .between, .anyGeneration, .anything: generations[index] = VerifyState.unknown
      }
    }
    return VerifyState(
      seed: stamp.seed, run: stamp.run, blockByteCount: blockByteCount,
      offsetBytes: region.offsetBytes, generations: generations)
  }
}
