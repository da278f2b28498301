import DiskFormat
import IO
import Parity
import Replication
import TestSupport

// The input is a byte of choice, then a frame: head, body, payload. Whatever the decoder accepts has
// to be exactly what the encoder writes for it: then nothing in it went unseen.

@_cdecl("LLVMFuzzerTestOneInput")
func fuzzReplicationStream(_ data: UnsafePointer<UInt8>?, _ byteCount: Int) -> CInt {
  // Safe: passed on as it came.
  let input = unsafe fuzzInput(data, byteCount)
  guard let choice = input.first else { return 0 }
  let memory = AlignedMemory.holding(Array(input.dropFirst()))
  defer { withExtendedLifetime(memory) {} }
  let bytes = memory.buffer.prefix(input.count - 1)
  // Few inputs have a right checksum by themselves; without it nothing behind it is tried.
  if choice & 1 != 0 { seal(bytes, takesAll: choice & 2 != 0) }
  do throws(FormatError) {
    try frame(bytes)
  } catch {}
  return 0
}

/// Makes magic, version and checksum right; if it is told so, all that is there becomes the body.
private func seal(_ bytes: IOBuffer, takesAll: Bool) {
  guard bytes.byteCount >= StreamFrameHead.byteCount else { return }
  for (index, letter) in "ASHLARRS".utf8.enumerated() { bytes.storeUInt8(letter, at: index) }
  bytes.storeUInt32(1, at: 8)
  let behind = bytes.byteCount - StreamFrameHead.byteCount
  if takesAll { bytes.storeUInt32(UInt32(behind & ~7), at: 40) }
  let frameByteCount = StreamFrameHead.byteCount + min(behind, Int(bytes.loadUInt32(at: 40)))
  bytes.storeUInt32(0, at: 12)
  bytes.storeUInt32(CRC32C.checksum(bytes.prefix(frameByteCount).bytes), at: 12)
}

private func frame(_ bytes: IOBuffer) throws(FormatError) {
  let head = try StreamFrameHead.decode(bytes)
  precondition(head.bodyByteCount <= StreamFrameHead.bodyBytesMax)
  precondition(head.payloadBlockCount <= StreamFrameHead.payloadBlocksMax)
  let behind = bytes.dropFirst(StreamFrameHead.byteCount)
  let body = behind.prefix(min(head.bodyByteCount, behind.byteCount))
  let payload = behind.dropFirst(body.byteCount)
  let message = try StreamMessage.verify(head: bytes, body: body).message
  switch message {
  case .records(let records): _ = records.firstBadBlock(payload)
  case .copyBlocks(let copy): _ = copy.firstBadBlock(payload)
  case .blocks(let blocks): _ = blocks.firstBadBlock(payload)
  default: precondition(head.payloadBlockCount == 0)
  }
  let memory = AlignedMemory.ofTest(StreamFrameHead.byteCount + StreamFrameHead.bodyBytesMax)
  defer { withExtendedLifetime(memory) {} }
  let byteCount = message.encode(
    into: memory.buffer, timelineID: head.timelineID, frameNumber: head.frameNumber)
  precondition(
    memory.buffer.prefix(byteCount).array == bytes.prefix(byteCount).array,
    "accepted what is never written")
}
