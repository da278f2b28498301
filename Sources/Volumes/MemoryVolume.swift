package import IO
package import Units

/// A device in memory: gone with the process, and the baseline of benchmarks.
///
/// Pages take memory when they are first written; trim gives them back.
package final class MemoryVolume: Volume {
  package let traits: VolumeTraits
  package private(set) var health = VolumeHealth.optimal
  package var oldestOperationNanoseconds: UInt64? { nil }
  private let memory: AlignedMemory
  /// A bit for each 4 KiB page: it has been written since it was last given back.
  private var writtenPages: [UInt64]

  private static let pageByteCount: UInt64 = 4096
  /// Longer requests pause here and there, so that other clients are served in between.
  private static let byteCountPerTurn: UInt64 = 8 << 20

  /// Reserves address space for the device.
  ///
  /// - Returns: nil when there is not so much address space.
  package init?(byteCount: UInt64) {
    guard let size = Int(exactly: byteCount), size > 0, size <= 1 << 46,
      let memory = AlignedMemory(byteCount: size)
    else { return nil }
    self.memory = memory
    let pageCount = (size + 4095) / 4096
    writtenPages = [UInt64](repeating: 0, count: (pageCount + 63) / 64)
    traits = VolumeTraits(
      kind: "memory", byteCount: byteCount, isReadOnly: false, isRotational: false,
      preferredBlockBytes: 4096)
  }

  package func read(_ range: ByteRange, into buffer: IOBuffer) async throws(VolumeError) {
    buffer.prefix(Int(range.byteCount)).copy(from: bytes(of: range))
  }

  package func write(
    _ range: ByteRange, from buffer: IOBuffer, durably: Bool
  ) async throws(VolumeError) {
    _ = try writeAtOnce(range, from: buffer, durably: durably)
  }

  package func residentBytes(of range: ByteRange) -> IOBuffer? { bytes(of: range) }

  package func writeAtOnce(
    _ range: ByteRange, from buffer: IOBuffer, durably: Bool
  ) throws(VolumeError) -> Bool {
    try checkRunning()
    bytes(of: range).copy(from: buffer.prefix(Int(range.byteCount)))
    markWritten(range, true)
    return true
  }

  package func flush() async throws(VolumeError) {
    try checkRunning()
  }

  package func trim(_ range: ByteRange, durably: Bool) async throws(VolumeError) {
    try checkRunning()
    try await inTurns(range.alignedInside(Self.pageByteCount)) { part in
      memory.discard(Int(part.offsetBytes), Int(part.byteCount))
      markWritten(part, false)
    }
  }

  package func writeZeroes(
    _ range: ByteRange, keepAllocated: Bool, onlyIfFast: Bool, durably: Bool
  ) async throws(VolumeError) {
    try checkRunning()
    if keepAllocated {
      // Only touching a page reserves it, and that takes as long as writing it.
      if onlyIfFast { throw .notSupported }
      try await inTurns(range) { part in
        bytes(of: part).fill(with: 0)
        markWritten(part, true)
      }
      return
    }
    let inside = range.alignedInside(Self.pageByteCount)
    guard !inside.isEmpty else {
      bytes(of: range).fill(with: 0)
      return
    }
    bytes(of: ByteRange(from: range.offsetBytes, to: inside.offsetBytes)).fill(with: 0)
    bytes(of: ByteRange(from: inside.endBytes, to: range.endBytes)).fill(with: 0)
    try await inTurns(inside) { part in
      memory.discard(Int(part.offsetBytes), Int(part.byteCount))
      markWritten(part, false)
    }
  }

  package func extents(
    of range: ByteRange, into extents: ExtentList
  ) async throws(VolumeError) {
    var offset = range.offsetBytes
    var pagesLeft = Self.byteCountPerTurn / Self.pageByteCount * 64
    while offset < range.endBytes && pagesLeft > 0 {
      let page = offset / Self.pageByteCount
      let isWritten = isWritten(page)
      var next = page + 1
      let lastPage = (range.endBytes - 1) / Self.pageByteCount
      while next <= lastPage && pagesLeft > 0 && self.isWritten(next) == isWritten {
        next += 1
        pagesLeft -= 1
      }
      let end = min(next * Self.pageByteCount, range.endBytes)
      let extent = Extent(byteCount: end - offset, isHole: !isWritten, isZero: !isWritten)
      guard extents.append(extent) else { return }
      offset = end
      pagesLeft = pagesLeft == 0 ? 0 : pagesLeft - 1
    }
  }

  package func prefetch(_ range: ByteRange) async {}

  package func fail(cause: String, action: String) {
    health = .failed(cause: cause, action: action)
  }

  package func close() async throws(VolumeError) {}

  private func checkRunning() throws(VolumeError) {
    if case .failed = health { throw .stopped }
  }

  private func bytes(of range: ByteRange) -> IOBuffer {
    memory.buffer.slice(Int(range.offsetBytes), Int(range.byteCount))
  }

  /// Applies `step` to the range in parts, and lets others run between them.
  private func inTurns(
    _ range: ByteRange, _ step: (ByteRange) -> Void
  ) async throws(VolumeError) {
    var offset = range.offsetBytes
    while offset < range.endBytes {
      let end = min(offset + Self.byteCountPerTurn, range.endBytes)
      step(ByteRange(from: offset, to: end))
      offset = end
      guard offset < range.endBytes else { return }
      await Task.yield()
      try checkRunning()
    }
  }

  private func isWritten(_ page: UInt64) -> Bool {
    writtenPages[Int(page / 64)] & (1 << (page % 64)) != 0
  }

  private func markWritten(_ range: ByteRange, _ value: Bool) {
    guard !range.isEmpty else { return }
    let first = range.offsetBytes / Self.pageByteCount
    let last = (range.endBytes - 1) / Self.pageByteCount
    for word in first / 64...last / 64 {
      let low = word == first / 64 ? first % 64 : 0
      let high = word == last / 64 ? last % 64 : 63
      let bits = (UInt64.max >> (63 - high)) & (UInt64.max << low)
      if value {
        writtenPages[Int(word)] |= bits
      } else {
        writtenPages[Int(word)] &= ~bits
      }
    }
  }
}
