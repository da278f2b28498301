import IO
import Units

// Requests whose ends lie inside a block of the disk.
//
// Example with blocks of 4096: a write of 5000 ..< 13000 becomes one of 4096 ..< 16384. The blocks
// at 4096 and 12288 are read first, because parts of them stay as they are; the block at 8192 is
// replaced whole.
extension FileVolume {
  /// Whether the kernel takes the request as it is.
  func isDirectlyTransferable(_ range: ByteRange, _ buffer: IOBuffer) -> Bool {
    alignment == 1 || (range.isAligned(to: alignment) && buffer.isAligned(to: Int(alignment)))
  }

  /// Reads the blocks around the range and copies what was asked for.
  func readAround(_ range: ByteRange, into buffer: IOBuffer) async throws(DiskError) {
    guard let outer = range.alignedOutside(alignment) else {
      throw .refused(SystemError.invalidArgument)
    }
    let bounce = try await bounce(for: outer)
    defer { bounceBuffers.release(bounce, isReserved: false) }
    try await disk.read(
      at: outer.offsetBytes, into: bounce.buffer.prefix(Int(outer.byteCount)))
    let start = Int(range.offsetBytes - outer.offsetBytes)
    buffer.copy(from: bounce.buffer.slice(start, Int(range.byteCount)))
  }

  /// Reads the blocks at the edges, puts the new bytes in, and writes them all back.
  ///
  /// - Precondition: the caller holds `outer`, the blocks around the range, exclusively.
  func writeAround(
    _ range: ByteRange, in outer: ByteRange, from buffer: IOBuffer
  ) async throws(DiskError) {
    let bounce = try await bounce(for: outer)
    defer { bounceBuffers.release(bounce, isReserved: false) }
    let outerBuffer = bounce.buffer.prefix(Int(outer.byteCount))
    let blockByteCount = Int(alignment)
    let startsInside = range.offsetBytes != outer.offsetBytes
    let endsInside = range.endBytes != outer.endBytes
    if startsInside {
      try await disk.read(at: outer.offsetBytes, into: outerBuffer.prefix(blockByteCount))
    }
    if endsInside && !(startsInside && outerBuffer.byteCount == blockByteCount) {
      let lastBlock = outerBuffer.byteCount - blockByteCount
      try await disk.read(
        at: outer.endBytes - alignment, into: outerBuffer.dropFirst(lastBlock))
    }
    let start = Int(range.offsetBytes - outer.offsetBytes)
    outerBuffer.slice(start, Int(range.byteCount)).copy(
      from: buffer.prefix(Int(range.byteCount)))
    try checkSizeBeforeWriting(outer)
    try await disk.write(at: outer.offsetBytes, from: outerBuffer)
  }

  private func bounce(for blocks: ByteRange) async throws(DiskError) -> AlignedMemory {
    guard let byteCount = Int(exactly: blocks.byteCount),
      let memory = await bounceBuffers.acquire(byteCount: byteCount, isReserved: false)
    else { throw .refused(SystemError.outOfMemory) }
    return memory
  }
}
