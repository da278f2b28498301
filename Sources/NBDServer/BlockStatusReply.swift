import IO
import NBDWire
import Units
import Volumes

/// The limits of one answer to BLOCK_STATUS; a client asks again from where it ended.
enum BlockStatusReply {
  static let extentCountMax = 256
  static let byteCountMax =
    ReplyHeader.blockStatusHeaderByteCount
    + extentCountMax * ReplyHeader.blockStatusExtentByteCount
}

extension NBDServer {
  /// Asks the volume and writes the answer into the slot's buffer.
  func prepareBlockStatus(_ slot: RequestSlot) async throws(VolumeError) {
    let wantsOne = slot.request.flags.contains(.requestOne)
    let list = ExtentList(capacity: wantsOne ? 1 : BlockStatusReply.extentCountMax)
    try await volume.extents(of: slot.range, into: list)
    guard !list.extents.isEmpty, list.byteCount <= slot.range.byteCount else {
      throw .inputOutput(reason: "the extents do not fit the request")
    }
    guard let buffer = slot.payload?.buffer,
      let identifier = slot.contextIdentifier
    else { preconditionFailure("BLOCK_STATUS without its buffer or context") }
    var bytes = buffer.mutableBytes
    var offset = ReplyHeader.encodeBlockStatusHeader(
      contextIdentifier: identifier, extentCount: list.extents.count, isLast: true,
      cookie: slot.request.cookie, into: &bytes, at: 0)
    for extent in list.extents {
      var status: AllocationStatus = []
      if extent.isHole { status.insert(.hole) }
      if extent.isZero { status.insert(.zero) }
      // An extent lies inside the request, whose length has 32 bits.
      offset += ReplyHeader.encodeBlockStatusExtent(
        byteCount: UInt32(truncatingIfNeeded: extent.byteCount), statusFlags: status.rawValue,
        into: &bytes, at: offset)
    }
    slot.statusByteCount = offset
  }

  func writeBlockStatus(_ slot: RequestSlot, of connection: ServedConnection) {
    guard let buffer = slot.payload?.buffer else { return }
    slot.pieces.append(buffer.prefix(slot.statusByteCount))
  }
}
