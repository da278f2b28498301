import DiskFormat
import Geometry
import IO
import Parity
import TestSupport

// The input is a byte of choice, then a structure from its beginning on; zeros follow it up to its
// end. Whatever a decoder accepts has to be exactly what the encoder writes for it: then nothing in
// it went unseen.

@_cdecl("LLVMFuzzerTestOneInput")
func fuzzDiskFormat(_ data: UnsafePointer<UInt8>?, _ byteCount: Int) -> CInt {
  // Safe: passed on as it came.
  let input = unsafe fuzzInput(data, byteCount)
  guard let choice = input.first else { return 0 }
  let content = Array(input.dropFirst())
  let kind = Int(choice & 3)
  let wholeByteCount = kind == 3 ? max(4096, (content.count + 4095) & ~4095) : 4096
  let memory = AlignedMemory.holding(
    Array(content.prefix(wholeByteCount))
      + Array(repeating: 0, count: max(0, wholeByteCount - content.count)))
  defer { withExtendedLifetime(memory) {} }
  let bytes = memory.buffer
  // Few inputs have a right checksum by themselves; without it nothing behind it is tried.
  if choice & 4 != 0 { seal(bytes, kind) }
  // A structure may also be cut anywhere.
  let seen = choice & 8 != 0 ? bytes.prefix(content.count % (wholeByteCount + 1)) : bytes
  let arrayID = choice & 16 != 0 ? Identifier(high: 1, low: 2) : arrayID(of: bytes)
  do throws(FormatError) {
    switch kind {
    case 0: try superblock(seen)
    case 1: try tablePage(seen, arrayID, bytes.loadUInt64(at: 32))
    case 2: try mapPage(seen, arrayID, bytes.loadUInt64(at: 32))
    default: try batch(seen, arrayID)
    }
  } catch {}
  return 0
}

private func arrayID(of bytes: IOBuffer) -> Identifier {
  Identifier(
    high: bytes.loadUInt64(at: 16).byteSwapped, low: bytes.loadUInt64(at: 24).byteSwapped)
}

private func seal(_ bytes: IOBuffer, _ kind: Int) {
  let magics: [StaticString] = ["ASHLARSB", "ASHLARCT", "ASHLARPM", "ASHLARLB"]
  for (index, letter) in "\(magics[kind])".utf8.enumerated() {
    bytes.storeUInt8(letter, at: index)
  }
  bytes.storeUInt32(1, at: 8)
  if kind == 3 { bytes.storeUInt32(UInt32(bytes.byteCount), at: 32) }
  bytes.storeUInt32(0, at: 12)
  bytes.storeUInt32(CRC32C.checksum(bytes.bytes), at: 12)
}

private func expectSame(_ accepted: IOBuffer, _ written: IOBuffer) {
  precondition(accepted.array == written.array, "accepted what is never written")
}

private func superblock(_ bytes: IOBuffer) throws(FormatError) {
  let superblock = try Superblock.decode(bytes)
  let memory = AlignedMemory.ofTest(4096)
  defer { withExtendedLifetime(memory) {} }
  superblock.encode(into: memory.buffer)
  expectSame(bytes, memory.buffer)
  let geometry = try? StripeGeometry(
    level: superblock.level, memberCount: superblock.memberCount,
    chunkBytes: superblock.chunkBytes, memberBlockCount: superblock.memberBlockCount)
  guard let geometry else { preconditionFailure("accepted without a geometry") }
  precondition(superblock.layout.endBytes(geometry: geometry) < 1 << 63)
}

private func tablePage(
  _ bytes: IOBuffer, _ arrayID: Identifier, _ number: UInt64
) throws(FormatError) {
  let header = try TablePage.verify(bytes, arrayID: arrayID, pageNumber: number)
  let memory = AlignedMemory.ofTest(4096)
  defer { withExtendedLifetime(memory) {} }
  for index in 0..<TablePlacement.entriesPerPage {
    TablePage.setEntry(TablePage.entry(in: bytes, at: index), in: memory.buffer, at: index)
  }
  TablePage.seal(memory.buffer, header: header)
  expectSame(bytes, memory.buffer)
}

private func mapPage(
  _ bytes: IOBuffer, _ arrayID: Identifier, _ number: UInt64
) throws(FormatError) {
  let sequence = try PageMap.verify(bytes, arrayID: arrayID, number: number)
  let memory = AlignedMemory.ofTest(4096)
  defer { withExtendedLifetime(memory) {} }
  for index in 0..<Int(PageMap.entriesPerPage) {
    PageMap.setFlags(PageMap.flags(in: bytes, at: index), in: memory.buffer, at: index)
  }
  PageMap.seal(memory.buffer, arrayID: arrayID, number: number, sequence: sequence)
  expectSame(bytes, memory.buffer)
}

private func batch(_ bytes: IOBuffer, _ arrayID: Identifier) throws(FormatError) {
  if bytes.byteCount >= 4096 { _ = try LogBatch.sizes(bytes.prefix(4096), arrayID: arrayID) }
  let batch = try LogBatch.decode(bytes, arrayID: arrayID)
  _ = batch.isPayloadIntact(bytes)
  let memory = AlignedMemory.ofTest(LogBatchHeader.headerBytesMax)
  defer { withExtendedLifetime(memory) {} }
  memory.buffer.fill(with: 0xA5)
  var encoder = LogBatchEncoder(
    memory.buffer, copyCount: batch.header.copies.count,
    previousRunCount: batch.header.previousRuns.count)
  for record in batch.records {
    switch record {
    case .write(let run, let clientSequence, let payloadIndex, let checksums):
      precondition(payloadIndex == encoder.payloadBlockCount)
      encoder.appendWrite(run, clientSequence: clientSequence) { checksums[$0] }
    case .trim(let run, let clientSequence):
      encoder.appendTrim(run, clientSequence: clientSequence)
    case .intent(let intent): encoder.appendIntent(intent)
    case .direct(let intent): encoder.appendDirect(intent)
    case .position(let position): encoder.appendPosition(position)
    }
  }
  precondition(encoder.payloadBlockCount == batch.payloadBlockCount)
  let (headerByteCount, chain) = encoder.finish(batch.header)
  precondition(headerByteCount == batch.headerByteCount)
  precondition(chain == batch.chain)
  expectSame(bytes.prefix(headerByteCount), memory.buffer.prefix(headerByteCount))
}
