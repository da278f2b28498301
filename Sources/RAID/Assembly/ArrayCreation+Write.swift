import DiskFormat
import Geometry
package import IO

// The order makes a crash at any instant harmless:
//
// 1. what was there is destroyed on all members, durably: no old superblock is left that could
//    assemble with a new one;
// 2. the page map, durably: every table page is absent, whatever lies in its place (rule T3);
// 3. superblocks with event count 0 on all members, durably. Alone they are refused as unfinished;
// 4. superblocks with event count 1, first in B, then in A. One of them, on any member, proves that
//    all members got through step 3, and the others then count as one event behind.
//
// Between 3 and 4 everything is read back, so that one device by two names is found.
extension ArrayCreation {
  private static var chunkBytes: Int { 1 << 20 }

  /// Makes the members.
  ///
  /// - Parameter members: in the order of the candidates.
  /// - Throws: `CreationError`; then there is no array, and whatever was on the members is gone.
  package func write<D: Disk>(to members: [MemberHandle<D>]) async throws(CreationError) {
    precondition(members.count == drafts.count)
    precondition(zip(members, memberNames).allSatisfy { $0.name == $1 })
    guard let memory = AlignedMemory(byteCount: Self.chunkBytes) else { throw .outOfMemory }
    defer { withExtendedLifetime(memory) {} }
    let buffer = memory.buffer

    buffer.fill(with: 0)
    let head = buffer.prefix(2 * Superblock.byteCount)
    for member in members { try await Self.write(head, at: 0, to: member) }
    for member in members { try await Self.synchronize(member) }
    for member in members { try await writeMap(to: member, buffer) }
    for member in members { try await Self.synchronize(member) }

    let block = buffer.prefix(Superblock.byteCount)
    try await writeSuperblocks(drafts, to: members, block)
    try await verify(members)
    for sequence in 1...2 as ClosedRange<UInt64> {
      let finals = drafts.indices.map { slot in
        var superblock = finished(slot: slot)
        superblock.superblockSequence = sequence
        return superblock
      }
      do throws(CreationError) {
        try await writeSuperblocks(finals, to: members, block)
      } catch {
        // From the first of these on the array is there as far as it was written.
        guard case .disk(let path, let step, let cause) = error else { throw error }
        throw .notFinished(path: path, step: step, cause)
      }
    }
  }

  /// Map pages that call every table page absent, each in its first slot; the second is cleared.
  private func writeMap<D: Disk>(
    to member: MemberHandle<D>, _ buffer: IOBuffer
  ) async throws(CreationError) {
    let arrayID = drafts[0].arrayID
    let pageCount = layout.mapByteCount / UInt64(2 * 4096)
    let pagesPerChunk = UInt64(Self.chunkBytes / (2 * 4096))
    var first: UInt64 = 0
    while first < pageCount {
      let count = min(pagesPerChunk, pageCount - first)
      let chunk = buffer.prefix(Int(count) * 2 * 4096)
      chunk.fill(with: 0)
      for index in 0..<count {
        let page = chunk.slice(Int(index) * 2 * 4096, 4096)
        PageMap.seal(page, arrayID: arrayID, number: first + index, sequence: 1)
      }
      try await Self.write(chunk, at: layout.mapOffset + first * 2 * 4096, to: member)
      first += count
    }
  }

  private func writeSuperblocks<D: Disk>(
    _ superblocks: [Superblock], to members: [MemberHandle<D>], _ block: IOBuffer
  ) async throws(CreationError) {
    for (superblock, member) in zip(superblocks, members) {
      superblock.encode(into: block)
      let copy = superblock.superblockSequence % 2
      try await Self.write(block, at: copy * MemberLayout.superblockBytes, to: member)
    }
    for member in members { try await Self.synchronize(member) }
  }

  /// Reads the drafts back.
  private func verify<D: Disk>(_ members: [MemberHandle<D>]) async throws(CreationError) {
    for (slot, member) in members.enumerated() {
      let found = await MemberReport.read(member).newest
      guard let found else { throw .notKept(path: member.name) }
      if found == drafts[slot] { continue }
      guard found.arrayID == drafts[slot].arrayID, members.indices.contains(found.slot),
        found.slot != slot
      else { throw .notKept(path: member.name) }
      throw .sameDevice(path: member.name, other: members[found.slot].name)
    }
  }

  private static func write<D: Disk>(
    _ buffer: IOBuffer, at offsetBytes: UInt64, to member: MemberHandle<D>
  ) async throws(CreationError) {
    do throws(DiskError) {
      try await member.disk.write(at: offsetBytes, from: buffer)
    } catch {
      throw .disk(path: member.name, step: "write to", error)
    }
  }

  private static func synchronize<D: Disk>(
    _ member: MemberHandle<D>
  ) async throws(CreationError) {
    do throws(DiskError) {
      try await member.disk.synchronize()
    } catch {
      throw .disk(path: member.name, step: "flush", error)
    }
  }
}
