import DiskFormat
import Geometry
package import IO
package import Units
package import Volumes

/// An array as the NBD server sees it.
package final class ArrayVolume<M: Machine, D: Disk>: Volume {
  package nonisolated let engine: ArrayEngine<M, D>
  package let traits: VolumeTraits

  init(_ engine: ArrayEngine<M, D>) {
    self.engine = engine
    let plan = engine.plan
    traits = VolumeTraits(
      kind: "\(plan.geometry.level.name) of \(plan.geometry.memberCount) members",
      byteCount: plan.geometry.byteCount, isReadOnly: false, isRotational: false,
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
    let out = membership.lostSlots
    let lost = parts.lostRuns
    if out.isEmpty && lost.isEmpty { return .optimal }
    var causes: [String] = []
    var actions: [String] = []
    if !lost.isEmpty {
      causes.append(lostWords(lost))
      actions.append(
        "write these blocks again, from a backup: until then reads of them fail, and nothing else "
          + "does")
    }
    if !out.isEmpty {
      let names = out.map(memberWords).joined(separator: ", ")
      causes.append("without \(out.count == 1 ? "member" : "members") \(names)")
      actions.append(
        "see why at each member's line, and bring it back to its place: it is taken back by "
          + "itself; one that failed a write stays out until 'ashlar stop' and 'ashlar serve'")
    }
    return .impaired(
      cause: causes.joined(separator: "; "), action: actions.joined(separator: "; "))
  }

  private func memberWords(_ slot: Int) -> String {
    let name = parts.members[slot].name
    return name.isEmpty ? "\(slot)" : "\(slot) (\(name))"
  }

  private func lostWords(_ runs: [BlockRun]) -> String {
    let count = runs.reduce(0) { $0 + $1.blockCount }
    let first = runs[0].firstBlock * 4096
    let last = first + runs[0].blockCount * 4096 - 1
    let more = parts.lostBlocks.isFull ? " or more" : ""
    return "\(count)\(more) block\(count == 1 ? " is" : "s are") lost, beyond redundancy "
      + "(bytes \(first) to \(last)\(runs.count > 1 ? ", ..." : ""))"
  }

  /// All members are in sync, and it accepts writes; blocks that are lost may still be.
  package var isWhole: Bool { membership.stopReason == nil && membership.lostSlots.isEmpty }
}
