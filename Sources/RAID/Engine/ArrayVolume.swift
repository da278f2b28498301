import DiskFormat
import Geometry
package import IO
package import Units
package import Volumes

/// An array as the NBD server sees it.
package final class ArrayVolume<M: Machine, D: Disk>: Volume {
  package nonisolated let engine: ArrayEngine<M, D>

  init(_ engine: ArrayEngine<M, D>) {
    self.engine = engine
  }

  /// What it is for a client that connects now: a replica is read-only until it is promoted.
  package var traits: VolumeTraits {
    let geometry = engine.plan.geometry
    return VolumeTraits(
      kind: "\(geometry.level.name) of \(geometry.memberCount) members",
      byteCount: geometry.byteCount,
      isReadOnly: engine.assumeIsolated { $0.clientAccess } != .readWrite, isRotational: false,
      preferredBlockBytes: 4096)
  }

  package var health: VolumeHealth { engine.assumeIsolated { $0.health } }

  /// The engine bounds its members' operations itself.
  package var oldestOperationNanoseconds: UInt64? { nil }

  package func read(_ range: ByteRange, into buffer: IOBuffer) async throws(VolumeError) {
    do throws(ArrayError) {
      try await engine.read(range, into: buffer)
    } catch {
      throw VolumeError(error)
    }
  }

  package func lends(_ range: ByteRange) -> Bool { ArrayEngine<M, D>.isLong(range) }

  package func readLent(_ range: ByteRange) async throws(VolumeError) -> (any LentMemory)? {
    do throws(ArrayError) {
      return try await engine.readLent(range)
    } catch {
      throw VolumeError(error)
    }
  }

  package func write(
    _ range: ByteRange, from buffer: IOBuffer, durably: Bool
  ) async throws(VolumeError) {
    do throws(ArrayError) {
      try await engine.write(range, from: buffer, durably: durably)
    } catch {
      throw VolumeError(error)
    }
  }

  package func flush() async throws(VolumeError) {
    do throws(ArrayError) {
      try await engine.flush()
    } catch {
      throw VolumeError(error)
    }
  }

  package func trim(_ range: ByteRange, durably: Bool) async throws(VolumeError) {
    do throws(ArrayError) {
      try await engine.trim(range, durably: durably)
    } catch {
      throw VolumeError(error)
    }
  }

  package func writeZeroes(
    _ range: ByteRange, keepAllocated: Bool, onlyIfFast: Bool, durably: Bool
  ) async throws(VolumeError) {
    let isDone: Bool
    do throws(ArrayError) {
      isDone = try await engine.writeZeroes(
        range, keepAllocated: keepAllocated, onlyIfFast: onlyIfFast, durably: durably)
    } catch {
      throw VolumeError(error)
    }
    if !isDone { throw .notSupported }
  }

  package func extents(
    of range: ByteRange, into extents: ExtentList
  ) async throws(VolumeError) {
    // The list is the caller's, who waits: nobody else has it meanwhile.
    nonisolated(unsafe) let list = extents
    do throws(ArrayError) {
      unsafe try await engine.extents(of: range, into: list)
    } catch {
      throw VolumeError(error)
    }
  }

  /// Nothing is read ahead: what clients ask for twice, their kernels keep.
  package func prefetch(_ range: ByteRange) async {}

  package func fail(cause: String, action: String) {
    engine.assumeIsolated { $0.membership.stop(cause) }
  }

  package func close() async throws(VolumeError) {
    do throws(ArrayError) {
      try await engine.close()
    } catch {
      throw VolumeError(error)
    }
  }
}

extension VolumeError {
  init(_ error: ArrayError) {
    self =
      switch error {
      case .unreadable(let block):
        .inputOutput(reason: "block \(block) is beyond redundancy")
      case .stopped: .stopped
      case .refused, .replicaLost: .inputOutput(reason: error.words)
      case .outOfMemory: .inputOutput(reason: "out of memory")
      }
  }
}

extension ArrayEngine {
  /// State, cause and action for the server's status.
  var health: VolumeHealth {
    if let reason = membership.stopReason {
      return .failed(
        cause: reason,
        action: "stop and serve the array again; 'ashlar examine' tells what is missing")
    }
    if let trouble = replicationTrouble { return trouble }
    let out = membership.lostSlots
    let lost = parts.lostRuns
    let hasLost = !lost.isEmpty || parts.lostBlocks.hasMore
    guard hasLost || !out.isEmpty else { return .optimal }
    let syncing = out.filter { parts.members[$0].state == .syncing }
    let names = out.map(memberWords).joined(separator: ", ")
    guard hasLost || syncing.count < out.count else {
      guard !keeper.resync.isPaused else {
        return .impaired(
          cause: "member\(out.count == 1 ? "" : "s") \(names) "
            + "\(out.count == 1 ? "is" : "are") not up to date, and rebuilds are paused",
          action: "'ashlar rebuild NAME --resume' lets them go on")
      }
      return .impaired(
        cause: "member\(out.count == 1 ? "" : "s") \(names) \(out.count == 1 ? "is" : "are") being "
          + "brought up to date",
        action: "wait: 'ashlar rebuild NAME --wait' tells when it is done")
    }
    let without = "without \(out.count == 1 ? "member" : "members") \(names)"
    let bringBack = actionToBringBack(out)
    guard hasLost else { return .impaired(cause: without, action: bringBack) }
    guard !out.isEmpty else {
      return .impaired(
        cause: "\(lostWords(lost)) lost, beyond redundancy\(placeWords(lost))",
        action: "write these blocks again, each as a whole, from a backup: until then reads of "
          + "them fail, and all others are served")
    }
    return .impaired(
      cause: "\(without); \(lostWords(lost)) not to be had without\(placeWords(lost))",
      action: bringBack + "; what still cannot be read then is lost")
  }

  /// What keeps clients from being served, or their data from being mirrored; a replica that follows
  /// is in no trouble.
  private var replicationTrouble: VolumeHealth? {
    let state = membership.replication
    if let divergence = nodes.divergence {
      return .impaired(
        cause: divergence,
        action:
          "on the node whose writes are to be given up, 'ashlar replica diff NAME' lists them and "
          + "'ashlar replica resync NAME' does it")
    }
    switch (state.role, clientAccess) {
    case (.primary, .readOnly(let reason)), (_, .none(let reason)):
      return .impaired(cause: reason, action: "see 'ashlar status'")
    case (.primary, .readWrite) where state.peers.contains { !$0.counts }:
      return .impaired(
        cause: "a replica is not in step: what is written now is not mirrored to it",
        action: "see at the replica's line in 'ashlar status' what it waits for")
    default: return nil
    }
  }

  private func actionToBringBack(_ out: SlotSet) -> String {
    let failed = "one that an operator failed is taken again by 'ashlar member add NAME PLACE'"
    let lost = "one that is lost for good is replaced by 'ashlar member replace NAME SLOT WITH'"
    guard out.contains(where: { !parts.members[$0].isFailed }) else { return "\(failed); \(lost)" }
    let isBack =
      resyncsAutomatically
      ? "one that is put back at its place is taken back by itself"
      : "those that are there are brought up to date by 'ashlar rebuild NAME --resume', which "
        + "--no-resync holds back"
    return "see why at each member's line: \(isBack), one that failed a write at the next start; "
      + (out.contains { parts.members[$0].isFailed } ? "\(failed); " : "") + lost
  }

  private func memberWords(_ slot: Int) -> String {
    let name = parts.members[slot].name
    return name.isEmpty ? "\(slot)" : "\(slot) (\(name))"
  }

  private func lostWords(_ runs: [BlockRun]) -> String {
    let count = runs.reduce(0) { $0 + $1.blockCount }
    if parts.lostBlocks.hasMore { return "more than \(count) blocks are" }
    return count == 1 ? "1 block is" : "\(count) blocks are"
  }

  private func placeWords(_ runs: [BlockRun]) -> String {
    guard let first = runs.first else { return "" }
    return " (bytes \(first.firstBlock * 4096) to \(first.endBlock * 4096 - 1)"
      + (runs.count > 1 || parts.lostBlocks.hasMore ? ", ...)" : ")")
  }

  /// All members are in sync, none is being replaced, and it accepts writes; blocks that are lost
  /// may still be.
  ///
  /// A member that is just becoming current counts when the configuration that says so is durable.
  package var isWhole: Bool {
    membership.stopReason == nil && membership.lostSlots.isEmpty && keeper.rebuildStatus == nil
      && parts.members.incompleteTargets.isEmpty
  }
}
