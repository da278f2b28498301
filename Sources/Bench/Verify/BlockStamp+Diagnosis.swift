import IO

// What a bad block is. Slow and careful: it runs for blocks that failed the quick check only.

extension BlockStamp {
  private enum Finding {
    case sound(SectorStamp)
    case zeros
    case damaged
    case noStamp
  }

  /// - Returns: nil when the block is legal after all, which `.between` allows of mixed sectors.
  func diagnose(
    _ block: IOBuffer, at offsetBytes: UInt64, expecting expectation: BlockExpectation
  ) -> BlockFault? {
    let findings = self.findings(block, at: offsetBytes, expecting: expectation)
    guard
      let kind = damage(in: block, findings, at: offsetBytes, expecting: expectation)
        ?? misplacement(findings, at: offsetBytes, expecting: expectation)
        ?? judgement(of: findings, at: offsetBytes, expecting: expectation)
    else { return nil }
    return BlockFault(
      offsetBytes: offsetBytes, byteCount: blockByteCount, expectation: expectation, kind: kind)
  }

  private func sector(_ index: Int, of block: IOBuffer) -> IOBuffer {
    block.slice(index * SectorStamp.byteCount, SectorStamp.byteCount)
  }

  private func findings(
    _ block: IOBuffer, at offsetBytes: UInt64, expecting expectation: BlockExpectation
  ) -> [Finding] {
    var findings = (0..<blockByteCount / SectorStamp.byteCount).map { index -> Finding in
      let sector = sector(index, of: block)
      if sector.isZero { return .zeros }
      if SectorStamp.isSound(sector) { return .sound(SectorStamp(reading: sector)) }
      return SectorStamp.hasMagic(sector) ? .damaged : .noStamp
    }
    // A sector may have lost its magic and be ours all the same: what it holds tells.
    for index in findings.indices {
      guard case .noStamp = findings[index] else { continue }
      let likeness = self.likeness(
        of: index, block, findings, at: offsetBytes, expecting: expectation)
      if likeness.isRecognised { findings[index] = .damaged }
    }
    return findings
  }

  // MARK: Damage

  private func damage(
    in block: IOBuffer, _ findings: [Finding], at offsetBytes: UInt64,
    expecting expectation: BlockExpectation
  ) -> BlockFault.Kind? {
    let damaged = findings.indices.filter { index in
      if case .damaged = findings[index] { return true }
      return false
    }
    guard let first = damaged.first else { return nil }
    let start = first * SectorStamp.byteCount
    let likeness = self.likeness(
      of: first, block, findings, at: offsetBytes, expecting: expectation)
    guard likeness.isRecognised, let firstBytes = likeness.firstBytes else {
      let whole = start..<start + SectorStamp.byteCount
      return .corrupt(
        BlockDamage(firstBytes: whole, bitCount: nil, bits: [], sectorCount: damaged.count))
    }
    let bits =
      likeness.bitCount <= BlockDamage.bitsListedMax
      ? likeness.firstBits.map { $0 + start * 8 } : []
    return .corrupt(
      BlockDamage(
        firstBytes: firstBytes.lowerBound + start..<firstBytes.upperBound + start,
        bitCount: likeness.bitCount, bits: bits, sectorCount: damaged.count))
  }

  /// The comparison with that of all likely contents which has the most in common.
  private func likeness(
    of index: Int, _ block: IOBuffer, _ findings: [Finding], at offsetBytes: UInt64,
    expecting expectation: BlockExpectation
  ) -> Likeness {
    let sector = sector(index, of: block)
    let stated = SectorStamp(reading: sector)
    var best = Likeness(of: sector, to: stated)
    // A sound header names the content by itself.
    if SectorStamp.hasSoundHeader(sector) { return best }

    var place = expected(at: offsetBytes, generation: 0)
    place.index = UInt32(truncatingIfNeeded: index)
    func consider(_ generation: UInt32, run: UInt64) {
      var candidate = place
      candidate.generation = generation
      candidate.run = run
      let likeness = Likeness(of: sector, to: candidate)
      if likeness.equalByteCount > best.equalByteCount { best = likeness }
    }
    switch expectation {
    case .exactly(let generation): consider(generation, run: run)
    case .between(let range):
      for generation in range.prefix(16) { consider(generation, run: run) }
    case .anyGeneration, .anything: break
    }
    for case .sound(let sibling) in findings where sibling.seed == seed {
      consider(sibling.generation, run: sibling.run)
      if best.isRecognised { return best }
    }
    // The damage may be in the generation or the run that the header states.
    consider(stated.generation, run: stated.run)
    consider(stated.generation, run: run)
    for bit in 0..<32 where !best.isRecognised {
      consider(stated.generation ^ (1 << UInt32(bit)), run: stated.run)
    }
    for bit in 0..<64 where !best.isRecognised {
      consider(stated.generation, run: stated.run ^ (1 << UInt64(bit)))
    }
    return best
  }

  // MARK: Sound sectors that are wrong

  private func isOwn(_ stamp: SectorStamp, run: UInt64) -> Bool {
    stamp.seed == seed && stamp.run == run
  }

  /// The run that the block's sectors should be of: this one, or for a process that only reads,
  /// that of the first sector with the right seed.
  private func run(of findings: [Finding], expecting expectation: BlockExpectation) -> UInt64 {
    guard case .anyGeneration = expectation else { return run }
    for case .sound(let stamp) in findings where stamp.seed == seed { return stamp.run }
    return run
  }

  private func misplacement(
    _ findings: [Finding], at offsetBytes: UInt64, expecting expectation: BlockExpectation
  ) -> BlockFault.Kind? {
    let run = run(of: findings, expecting: expectation)
    for (index, finding) in findings.enumerated() {
      guard case .sound(let stamp) = finding, isOwn(stamp, run: run) else { continue }
      let shift = UInt64(index * SectorStamp.byteCount)
      if stamp.placeBytes != offsetBytes &+ shift {
        return .misplaced(foundOffset: stamp.placeBytes &- shift)
      }
    }
    return nil
  }

  private func judgement(
    of findings: [Finding], at offsetBytes: UInt64, expecting expectation: BlockExpectation
  ) -> BlockFault.Kind? {
    let run = run(of: findings, expecting: expectation)
    var pieces: [TornPiece] = []
    for (index, finding) in findings.enumerated() {
      let content = content(of: finding, run: run)
      if let last = pieces.last, last.content == content {
        pieces[pieces.count - 1].sectors = last.sectors.lowerBound...index
      } else {
        pieces.append(TornPiece(sectors: index...index, content: content))
      }
    }
    if case .between(let range) = expectation {
      let areLegal = pieces.allSatisfy { piece in
        if case .generation(let generation) = piece.content { return range.contains(generation) }
        return false
      }
      if areLegal { return nil }
    }
    guard pieces.count == 1 else { return .torn(pieces) }
    switch pieces[0].content {
    case .generation(let generation): return .stale(foundGeneration: generation)
    case .zeros: return .zeros
    case .foreign(let seed): return .foreign(foundSeed: seed)
    case .otherBlockSize(let byteCount): return .otherBlockSize(foundByteCount: byteCount)
    case .noStamp: return .noStamp
    }
  }

  private func content(of finding: Finding, run: UInt64) -> SectorContent {
    switch finding {
    case .zeros: return .zeros
    case .damaged, .noStamp: return .noStamp
    case .sound(let stamp):
      guard isOwn(stamp, run: run) else { return .foreign(seed: stamp.seed) }
      guard Int(stamp.blockByteCount) == blockByteCount else {
        return .otherBlockSize(byteCount: stamp.blockByteCount)
      }
      return .generation(stamp.generation)
    }
  }
}

/// How much a sector has in common with what it may have been.
private struct Likeness {
  var equalByteCount = 0
  var bitCount = 0
  /// The first differing bits, a few more than are listed.
  var firstBits: [Int] = []
  /// The first run of differing bytes.
  var firstBytes: Range<Int>?

  /// Whether this many equal bytes cannot be chance.
  ///
  /// Two unrelated sectors have two on average, and hardly ever twenty; the headers of two
  /// generations of one sector have 48.
  var isRecognised: Bool { equalByteCount >= 64 }

  init(of sector: IOBuffer, to stamp: SectorStamp) {
    var image = [UInt8](repeating: 0, count: SectorStamp.byteCount)
    // Safe: the view is used inside the closure only.
    unsafe image.withUnsafeMutableBytes { raw in
      guard let base = raw.baseAddress else { return }
      let expected = unsafe IOBuffer(base, byteCount: raw.count)
      stamp.write(into: expected)
      for start in stride(from: 0, to: SectorStamp.byteCount, by: 8) {
        let difference = sector.loadWord(at: start) ^ expected.loadWord(at: start)
        compare(difference, at: start)
      }
    }
  }

  /// Takes eight bytes that differ by these bits.
  private mutating func compare(_ difference: UInt64, at start: Int) {
    guard difference != 0 else {
      equalByteCount += 8
      return
    }
    bitCount += difference.nonzeroBitCount
    for index in 0..<8 {
      let byte = UInt8(truncatingIfNeeded: difference >> UInt64(index * 8))
      if byte == 0 { equalByteCount += 1 } else { note(byte, at: start + index) }
    }
  }

  private mutating func note(_ difference: UInt8, at index: Int) {
    if firstBits.count <= BlockDamage.bitsListedMax {
      for bit in 0..<8 where difference >> UInt8(bit) & 1 == 1 {
        firstBits.append(index * 8 + bit)
      }
    }
    if let run = firstBytes {
      if run.upperBound == index { firstBytes = run.lowerBound..<index + 1 }
    } else {
      firstBytes = index..<index + 1
    }
  }
}
