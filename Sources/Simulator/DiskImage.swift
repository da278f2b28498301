import IO
import Parity
package import Units

/// A sparse run of bytes: the contents of one simulated medium at one time.
///
/// Memory is reserved for the whole capacity and costs something only where it was written.
package final class DiskImage: @unchecked Sendable {
  /// The unit in which space is taken and given back.
  static let blockBytes: UInt64 = 4096

  package let capacityBytes: UInt64
  /// The size as the file system tells it.
  package private(set) var byteCount: UInt64
  /// How many blocks have space of their own.
  package private(set) var allocatedBlockCount = 0
  /// Bytes behind `byteCount`, and those of blocks without space, are zero at all times.
  private let memory: AlignedMemory
  /// One bit a block.
  private var allocated: [UInt64]

  /// An image that is one hole.
  init(byteCount: UInt64, capacityBytes: UInt64) {
    precondition(byteCount <= capacityBytes)
    guard let size = Int(exactly: capacityBytes), let memory = AlignedMemory(byteCount: size)
    else { preconditionFailure("no memory for a simulated medium of \(capacityBytes) bytes") }
    self.byteCount = byteCount
    self.capacityBytes = capacityBytes
    self.memory = memory
    let blockCount = size / Int(Self.blockBytes) + 1
    allocated = [UInt64](repeating: 0, count: blockCount / 64 + 1)
  }

  /// An independent image with the same contents.
  package func copy() -> DiskImage {
    let other = DiskImage(byteCount: byteCount, capacityBytes: capacityBytes)
    forEachAllocatedRun { other.view($0).copy(from: view($0)) }
    other.allocated = allocated
    other.allocatedBlockCount = allocatedBlockCount
    return other
  }

  /// The CRC32C of size, allocation and contents: equal for equal images.
  package var checksum: UInt32 {
    var crc = CRC32C()
    crc.update(byteCount)
    forEachAllocatedRun { run in
      crc.update(run.offsetBytes)
      crc.update(run.byteCount)
      crc.update(view(run).bytes)
    }
    return crc.value
  }

  private func forEachAllocatedRun(_ body: (ByteRange) -> Void) {
    var offset: UInt64 = 0
    while offset < capacityBytes {
      if allocated[Int(offset / Self.blockBytes / 64)] == 0 {
        offset = (offset / (Self.blockBytes * 64) + 1) * Self.blockBytes * 64
        continue
      }
      let end = runEnd(at: offset)
      if isAllocated(at: offset) { body(ByteRange(from: offset, to: end)) }
      offset = end
    }
  }

  /// The bytes of a range, as they are now.
  package func bytes(_ range: ByteRange) -> [UInt8] {
    precondition(range.endBytes <= capacityBytes)
    let source = view(range)
    // Safe: the closure fills all `byteCount` bytes that it says it does.
    return unsafe [UInt8](unsafeUninitializedCapacity: source.byteCount) { target, count in
      if let base = target.baseAddress {
        unsafe IOBuffer(base, byteCount: source.byteCount).copy(from: source)
      }
      count = source.byteCount
    }
  }

  /// Whether the byte's block has space of its own.
  package func isAllocated(at offsetBytes: UInt64) -> Bool {
    let block = Int(offsetBytes / Self.blockBytes)
    return allocated[block / 64] & (1 << UInt64(block % 64)) != 0
  }

  /// The first block start behind `offsetBytes` that is of the other kind, or the capacity.
  func runEnd(at offsetBytes: UInt64) -> UInt64 {
    let kind = isAllocated(at: offsetBytes)
    var end = (offsetBytes / Self.blockBytes + 1) * Self.blockBytes
    while end < capacityBytes, isAllocated(at: end) == kind { end += Self.blockBytes }
    return min(end, capacityBytes)
  }

  // MARK: Changing

  func view(_ range: ByteRange) -> IOBuffer {
    memory.buffer.slice(Int(range.offsetBytes), Int(range.byteCount))
  }

  /// Writes, takes space, and grows the size where the range passes it.
  func write(_ range: ByteRange, from source: IOBuffer) {
    guard !range.isEmpty else { return }
    precondition(range.endBytes <= capacityBytes)
    view(range).copy(from: source.prefix(Int(range.byteCount)))
    allocate(range)
    byteCount = max(byteCount, range.endBytes)
  }

  /// Zeroes a range, and gives whole blocks back or keeps their space.
  func clear(_ range: ByteRange, mode: ClearMode) {
    guard !range.isEmpty else { return }
    precondition(range.endBytes <= capacityBytes)
    view(range).fill(with: 0)
    switch mode {
    case .zeroRange: allocate(range)
    case .punchHole:
      // The last block of the file is whole when the range reaches its end.
      let end = range.endBytes >= byteCount ? capacityBytes : range.endBytes
      let first = (range.offsetBytes + Self.blockBytes - 1) / Self.blockBytes
      let last =
        end == capacityBytes ? (range.endBytes - 1) / Self.blockBytes + 1 : end / Self.blockBytes
      release(blocks: first, last)
    }
  }

  /// Cuts or extends to a size.
  func setByteCount(_ newByteCount: UInt64) {
    precondition(newByteCount <= capacityBytes)
    if newByteCount < byteCount {
      view(ByteRange(from: newByteCount, to: byteCount)).fill(with: 0)
      let first = (newByteCount + Self.blockBytes - 1) / Self.blockBytes
      release(blocks: first, (byteCount + Self.blockBytes - 1) / Self.blockBytes)
    }
    byteCount = newByteCount
  }

  /// How many bytes from the start of a range can be written with so much space left.
  func writableByteCount(_ range: ByteRange, freeBlockCount: Int) -> UInt64 {
    var free = freeBlockCount
    var offset = range.offsetBytes
    while offset < range.endBytes {
      if !isAllocated(at: offset) {
        guard free > 0 else { break }
        free -= 1
      }
      offset = (offset / Self.blockBytes + 1) * Self.blockBytes
    }
    return min(offset, range.endBytes) - range.offsetBytes
  }

  private func allocate(_ range: ByteRange) {
    let first = Int(range.offsetBytes / Self.blockBytes)
    let last = Int((range.endBytes - 1) / Self.blockBytes)
    for block in first...last {
      let bit = UInt64(1) << UInt64(block % 64)
      guard allocated[block / 64] & bit == 0 else { continue }
      allocated[block / 64] |= bit
      allocatedBlockCount += 1
    }
  }

  private func release(blocks first: UInt64, _ end: UInt64) {
    guard first < end else { return }
    for block in Int(first)..<Int(end) {
      let bit = UInt64(1) << UInt64(block % 64)
      guard allocated[block / 64] & bit != 0 else { continue }
      allocated[block / 64] &= ~bit
      allocatedBlockCount -= 1
    }
  }
}
