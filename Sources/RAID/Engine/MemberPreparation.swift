import DiskFormat
import Geometry
import IO

/// Prepares a new member in its seat, as `ArrayCreation` does for a whole array.
///
/// What was there is destroyed first, durably: no old superblock is left that could count. Then the
/// page map says that every table page is absent (rule T3). Its superblocks come with the first
/// configuration that lists it. Each operation has its deadline.
struct MemberPreparation<M: Machine, D: Disk> {
  private static var chunkBytes: Int { 1 << 20 }

  let members: MemberSet<M, D>
  let seat: Int
  let arrayID: Identifier

  /// - Returns: what went wrong, if anything.
  func run() async -> OperationFailure? {
    guard let memory = OwnedBuffer(byteCount: Self.chunkBytes) else {
      return OperationFailure(
        slot: seat, attachment: members[seat].attachment, kind: .write, tag: 0,
        error: .disk(.refused(.outOfMemory)))
    }
    let buffer = memory.buffer
    buffer.fill(with: 0)
    if let failure = await write(buffer.prefix(2 * Superblock.byteCount), at: 0, memory) {
      return failure
    }
    if let failure = await synchronize() { return failure }
    let pairBytes = 2 * TablePlacement.slotBytes
    let pageCount = members.layout.mapByteCount / pairBytes
    var first: UInt64 = 0
    while first < pageCount {
      let count = min(UInt64(Self.chunkBytes) / pairBytes, pageCount - first)
      let chunk = buffer.prefix(Int(count * pairBytes))
      chunk.fill(with: 0)
      for index in 0..<count {
        PageMap.seal(
          chunk.slice(Int(index * pairBytes), PageMap.byteCount), arrayID: arrayID,
          number: first + index, sequence: 1)
      }
      let offset = members.layout.mapOffset + first * pairBytes
      if let failure = await write(chunk, at: offset, memory) { return failure }
      first += count
    }
    return await synchronize()
  }

  private func write(
    _ buffer: IOBuffer, at offsetBytes: UInt64, _ memory: OwnedBuffer
  ) async -> OperationFailure? {
    await perform { members.write(seat, atBytes: offsetBytes, from: buffer, keeping: memory, $0) }
  }

  private func synchronize() async -> OperationFailure? {
    await perform { members.synchronize(seat, $0) }
  }

  private func perform(_ submit: (OperationGroup) -> Void) async -> OperationFailure? {
    let group = members.makeGroup()
    submit(group)
    await group.wait()
    let failure = group.failures.first
    members.release(group)
    return failure
  }
}
