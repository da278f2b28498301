import DiskFormat
import Geometry
import IO
import Parity

/// A block of a record's payload, and where it is to go.
struct PayloadWant {
  var batchSequence: UInt64
  /// Its place in the batch's payload.
  var payloadIndex: Int
  /// The checksum that the record says.
  var checksum: UInt32
  /// The array's block, for the error.
  var block: UInt64
  /// 4096 bytes.
  var target: IOBuffer
}

extension RecoveredLog {
  private static var payloadGroupCount: Int { 256 }

  /// Reads blocks side by side, each verified, from whichever copy is good.
  ///
  /// - Throws: `unreadable` when a block has no good copy.
  func readPayloads(_ wants: [PayloadWant]) async throws(ArrayError) {
    guard
      let memory = OwnedBuffer(byteCount: min(wants.count, Self.payloadGroupCount) * 4096)
    else { throw .outOfMemory }
    var rest = wants[...]
    while !rest.isEmpty {
      let part = rest.prefix(Self.payloadGroupCount)
      rest = rest.dropFirst(part.count)
      for want in await readTogether(Array(part), memory) {
        try await readPayload(
          ofBatch: want.batchSequence, at: want.payloadIndex, checksum: want.checksum,
          block: want.block, into: want.target)
      }
    }
  }

  /// - Returns: those whose first copy was not good.
  private func readTogether(_ wants: [PayloadWant], _ memory: OwnedBuffer) async -> [PayloadWant] {
    // A read that was given up may yet land there.
    guard memory.isIdle else { return wants }
    let buffer = memory.buffer
    var isAsked = [Bool](repeating: false, count: wants.count)
    let group = members.makeGroup()
    for (index, want) in wants.enumerated() {
      guard let found = batch(want.batchSequence),
        want.payloadIndex < found.batch.payloadBlockCount
      else { continue }
      let slots = found.goodSlots.intersection(members.currentSlots)
      // Turn by turn, so that all members have their share.
      guard let slot = slots.dropFirst(index % max(1, slots.count)).first(where: { _ in true }),
        let offset = found.offset(slot)
      else { continue }
      isAsked[index] = true
      let shift = UInt64(found.batch.headerByteCount + want.payloadIndex * 4096)
      members.read(
        slot, atBytes: layout.logOffset + offset + shift, into: buffer.slice(index * 4096, 4096),
        keeping: memory, group, tag: index)
    }
    await group.wait()
    for failure in group.failures { isAsked[failure.tag] = false }
    members.release(group)
    var missed: [PayloadWant] = []
    for (index, want) in wants.enumerated() {
      let bytes = buffer.slice(index * 4096, 4096)
      if isAsked[index], BlockChecksum.of(bytes.bytes) == want.checksum {
        want.target.copy(from: bytes)
      } else {
        missed.append(want)
      }
    }
    return missed
  }
}
