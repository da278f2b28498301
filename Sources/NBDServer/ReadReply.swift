import IO
import NBDWire

/// The structured reply to a READ: data chunks, and hole chunks where the data is all zeros.
///
/// Zeros are found by looking at what was read: data that is not zero is told by its first bytes,
/// so looking costs next to nothing, and zeros need not be sent.
enum ReadReply {
  /// Zeros are left out by whole blocks of the device.
  private static let blockByteCount = 4096

  /// Writes headers and pieces into the slot.
  ///
  /// - Precondition: `data` is not empty.
  static func write(_ slot: RequestSlot, _ data: IOBuffer) {
    let maySplit = !slot.request.flags.contains(.dontFragment)
    var headerOffset = 0
    var chunkCount = 0
    var start = 0
    while start < data.byteCount {
      let isLastRoom = chunkCount == RequestSlot.chunkCountMax - 1
      let (end, isZero) =
        maySplit && !isLastRoom ? run(from: start, in: data) : (data.byteCount, false)
      let isLast = end == data.byteCount
      var bytes = slot.headers.mutableBytes
      let offsetBytes = slot.request.offsetBytes + UInt64(start)
      let headerByteCount =
        isZero
        ? ReplyHeader.encodeHoleChunk(
          offsetBytes: offsetBytes, holeByteCount: UInt32(end - start), isLast: isLast,
          cookie: slot.request.cookie, into: &bytes, at: headerOffset)
        : ReplyHeader.encodeDataChunk(
          offsetBytes: offsetBytes, dataByteCount: UInt32(end - start), isLast: isLast,
          cookie: slot.request.cookie, into: &bytes, at: headerOffset)
      slot.pieces.append(slot.headers.slice(headerOffset, headerByteCount))
      if !isZero { slot.pieces.append(data.slice(start, end - start)) }
      headerOffset += headerByteCount
      chunkCount += 1
      start = end
    }
  }

  /// The longest run of blocks from `start` on that are all zero, or all not zero.
  static func run(from start: Int, in data: IOBuffer) -> (end: Int, isZero: Bool) {
    func end(of start: Int) -> Int { min(start + blockByteCount, data.byteCount) }
    func isZeroBlock(_ start: Int) -> Bool {
      // A short rest is sent as it is: a header would be as long.
      end(of: start) - start >= 512 && data.slice(start, end(of: start) - start).isZero
    }
    let isZero = isZeroBlock(start)
    var next = end(of: start)
    while next < data.byteCount && isZeroBlock(next) == isZero { next = end(of: next) }
    return (next, isZero)
  }
}
