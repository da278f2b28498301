package import DiskFormat
package import Geometry
package import IO

/// Writes superblocks, A and B in turn, on any number of members at once.
///
/// Each call ends with an fdatasync, so that the one not written is durable whenever the other is
/// overwritten (rule T1). Calls take turns.
package final class SuperblockWriter<M: Machine, D: Disk> {
  private struct Entry {
    var superblock: Superblock
    /// The sequence of the last one known to be durable; its place must not be overwritten.
    var durableSequence: UInt64
    /// It was read, and whoever wrote it may not have come to sync it.
    var isUnsynced = true
  }

  private let members: MemberSet<M, D>
  private let options: ArrayOptions
  private let turn = TurnLock()
  private var entries: [Entry?]
  private let buffers: OwnedBufferPool

  package init(members: MemberSet<M, D>, options: ArrayOptions) {
    self.members = members
    self.options = options
    entries = [Entry?](repeating: nil, count: members.seats.upperBound)
    buffers = OwnedBufferPool(
      byteCount: members.seats.upperBound * Superblock.byteCount, idleCountMax: 2)
  }

  /// Says what a member's newest superblock is, as it was read or first written.
  ///
  /// `writeAll` goes on from there.
  package func adopt(_ superblock: Superblock, slot: Int) {
    entries[slot] = Entry(
      superblock: superblock, durableSequence: superblock.superblockSequence)
  }

  /// Lets the member of a seat take a slot: `body` does, while nothing is being written.
  package func move(_ seat: Int, to slot: Int, _ body: () -> Void) async {
    await turn.acquire()
    entries[slot] = entries[seat]
    entries[seat] = nil
    body()
    turn.release()
  }

  /// Forgets the member of a place: `body` takes it away, while nothing is being written.
  package func forget(_ place: Int, _ body: () -> Void) async {
    await turn.acquire()
    entries[place] = nil
    body()
    turn.release()
  }

  /// The last superblock that was given to a member.
  package func superblock(slot: Int) -> Superblock? { entries[slot]?.superblock }

  /// Changes the superblocks of some members, and returns when they are durable.
  ///
  /// - Parameters:
  ///   - chosen: members whose superblock has been adopted.
  ///   - update: makes the new superblock from the last one; their sequence is not its business.
  /// - Returns: what failed; those members are to be put out. Each member that is not among them
  ///   has its new superblock durably.
  package func writeAll(
    slots chosen: @autoclosure () -> SlotSet, update: (inout Superblock, Int) -> Void
  ) async -> [OperationFailure] {
    await turn.acquire()
    defer { turn.release() }
    // Who is in which place may have changed while it waited.
    var slots = chosen()
    guard !slots.isEmpty else { return [] }
    guard let memory = buffers.take() else {
      // Nobody's fault, but nobody has what must be written.
      return slots.map {
        OperationFailure(
          slot: $0, attachment: members[$0].attachment, kind: .write, tag: 0,
          error: .disk(.refused(.outOfMemory)))
      }
    }
    let group = members.makeGroup()
    var unsynced = SlotSet()
    while slots.subtracting(unsynced).contains(where: { entries[$0]?.isUnsynced ?? false }) {
      await synchronizeAdopted(slots.subtracting(unsynced), group)
      unsynced = SlotSet(group.failures.map(\.slot))
      // Another list may count by now, with others on it.
      slots = chosen()
    }
    submitWrites(slots.subtracting(unsynced), memory, group, update)
    await group.wait()
    let failed = SlotSet(group.failures.map(\.slot))
    for slot in slots.subtracting(failed) { members.synchronize(slot, group) }
    await group.wait()
    let failures = group.failures
    for slot in slots.subtracting(SlotSet(failures.map(\.slot))) {
      guard let sequence = entries[slot]?.superblock.superblockSequence else { continue }
      entries[slot]?.durableSequence = sequence
    }
    members.release(group)
    buffers.give(memory)
    return failures
  }

  /// Makes superblocks durable that were found on members: the other place is overwritten now, and a
  /// power loss must not take both (rule T1).
  private func synchronizeAdopted(_ slots: SlotSet, _ group: OperationGroup) async {
    let unsynced = SlotSet(slots.filter { entries[$0]?.isUnsynced ?? false })
    guard !unsynced.isEmpty else { return }
    for slot in unsynced { members.synchronize(slot, group) }
    await group.wait()
    for slot in unsynced.subtracting(SlotSet(group.failures.map(\.slot))) {
      entries[slot]?.isUnsynced = false
    }
  }

  private func submitWrites(
    _ slots: SlotSet, _ memory: OwnedBuffer, _ group: OperationGroup,
    _ update: (inout Superblock, Int) -> Void
  ) {
    for slot in slots {
      guard var entry = entries[slot] else {
        preconditionFailure("the superblock of slot \(slot) was not adopted")
      }
      let last = entry.superblock.superblockSequence
      update(&entry.superblock, slot)
      // After a failure the next one goes to the same place again.
      let isOther = (last + 1) % 2 != entry.durableSequence % 2
      entry.superblock.superblockSequence = isOther ? last + 1 : last + 2
      entries[slot] = entry
      let place: UInt64 =
        options.plants(.superblockSlotOverwritten) ? 0 : entry.superblock.superblockSequence % 2
      let buffer = memory.buffer.slice(slot * Superblock.byteCount, Superblock.byteCount)
      entry.superblock.encode(into: buffer)
      members.write(
        slot, atBytes: place * UInt64(Superblock.byteCount), from: buffer, keeping: memory, group)
    }
  }
}
