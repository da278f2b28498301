package import DiskFormat
import Glibc
package import IO
package import RAID

// Safe: one thread after the other uses it, never two at once.
/// Writes what only one node has into a new file (docs/formats/diverged-file.md).
///
/// The file's blocks are what the records say, the last one of each block.
package final class DivergedFileWriter: @unchecked Sendable {
  private let descriptor: Int32
  private let path: String
  private let data: DivergedData
  private var head: DivergedFileHead
  /// The places of the ranges' first blocks among all blocks.
  private let places: [UInt64]
  private var states: [UInt8]
  private let zeros: AlignedMemory

  /// More is not kept in memory, a byte for each block.
  package static let blockCountMax: UInt64 = 1 << 26

  /// Makes the file; one that exists is refused with EEXIST.
  package init(
    _ path: String, _ data: DivergedData, arrayID: Identifier, timelineID: Identifier,
    createdSeconds: UInt64
  ) throws(SystemError) {
    let blockCount = data.runs.reduce(UInt64(0)) { $0 + $1.blockCount }
    guard blockCount <= Self.blockCountMax else { throw SystemError(EFBIG) }
    guard let zeros = AlignedMemory(byteCount: 4096) else { throw SystemError(ENOMEM) }
    self.zeros = zeros
    self.path = path
    self.data = data
    head = DivergedFileHead(
      arrayID: arrayID, timelineID: timelineID, forkNumber: data.forkNumber, end: data.end,
      recordCount: data.recordCount, rangeCount: UInt64(data.runs.count), blockCount: blockCount,
      createdSeconds: createdSeconds, contentChecksum: 0)
    var places: [UInt64] = []
    var place: UInt64 = 0
    for run in data.runs {
      places.append(place)
      place += run.blockCount
    }
    self.places = places
    states = Array(repeating: 0, count: Int(blockCount))
    // Safe: the path lives until the call returns.
    descriptor = unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw SystemError.last }
    guard ftruncate(descriptor, off_t(clamping: head.fileByteCount)) == 0 else {
      let error = SystemError.last
      remove()
      throw error
    }
  }

  deinit { close(descriptor) }

  /// Takes the file away again: it holds nothing that counts.
  package func remove() {
    SmallFile.remove(path)
  }

  /// Writes records in their order.
  package func write(_ batch: StreamBatch) throws(SystemError) {
    defer { withExtendedLifetime(batch) {} }
    for record in batch.records {
      for index in 0..<record.run.blockCount {
        guard let place = place(of: record.run.firstBlock + index) else {
          throw SystemError(EINVAL)
        }
        let wasWritten = states[Int(place)] == 1
        states[Int(place)] = record.isTrim ? 0 : 1
        guard record.isTrim else {
          let payload = batch.payload.slice((record.payloadIndex + Int(index)) * 4096, 4096)
          try write(payload, at: blocksOffset + place * 4096)
          continue
        }
        if wasWritten { try write(zeros.buffer.prefix(4096), at: blocksOffset + place * 4096) }
      }
    }
  }

  private var blocksOffset: UInt64 {
    UInt64(DivergedFileHead.byteCount) + head.rangesByteCount + head.statesByteCount
  }

  private func place(of block: UInt64) -> UInt64? {
    var (low, high) = (0, data.runs.count)
    while low < high {
      let middle = (low + high) / 2
      if data.runs[middle].firstBlock <= block { low = middle + 1 } else { high = middle }
    }
    guard low > 0 else { return nil }
    let run = data.runs[low - 1]
    guard block < run.firstBlock + run.blockCount else { return nil }
    return places[low - 1] + (block - run.firstBlock)
  }

  /// Ends the file; when this returns, all of it is durable.
  package func finish() throws(SystemError) {
    guard let memory = AlignedMemory(byteCount: 1 << 20) else { throw SystemError(ENOMEM) }
    let buffer = memory.buffer
    defer { withExtendedLifetime(memory) {} }
    for (index, run) in data.runs.enumerated() {
      buffer.storeUInt64(run.firstBlock, at: 0)
      buffer.storeUInt64(run.blockCount, at: 8)
      try write(buffer.prefix(16), at: UInt64(DivergedFileHead.byteCount + index * 16))
    }
    let statesOffset = UInt64(DivergedFileHead.byteCount) + head.rangesByteCount
    var done = 0
    while done < states.count {
      let count = min(states.count - done, buffer.byteCount)
      for index in 0..<count { buffer.storeUInt8(states[done + index], at: index) }
      try write(buffer.prefix(count), at: statesOffset + UInt64(done))
      done += count
    }
    guard fdatasync(descriptor) == 0 else { throw SystemError.last }
    head.contentChecksum = try contentChecksum(of: descriptor, head, through: buffer)
    let page = buffer.prefix(DivergedFileHead.byteCount)
    head.encode(into: page)
    try write(page, at: 0)
    guard fsync(descriptor) == 0 else { throw SystemError.last }
    let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
    guard SmallFile.synchronizeFolder(folder) else { throw SystemError.last }
  }

  private func write(_ bytes: IOBuffer, at offset: UInt64) throws(SystemError) {
    var done = 0
    while done < bytes.byteCount {
      // Safe: the view is as long as pwrite is told, and outlives the call.
      let rest = bytes.dropFirst(done)
      let count = unsafe pwrite(
        descriptor, rest.baseAddress, rest.byteCount, off_t(offset) + off_t(done))
      if count > 0 {
        done += count
      } else if errno != EINTR {
        throw SystemError.last
      }
    }
  }
}
