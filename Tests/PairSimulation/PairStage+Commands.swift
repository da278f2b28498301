package import DiskFormat
import IO
package import RAID
import Replication
import Simulator
import Units

// What operators order, beside promotion; and what disks do to them.
extension PairStage {
  package func nodeID(_ node: PairNode) async throws -> Identifier {
    try await ask(node) { await $0.engine.nodeView.nodeID }
  }

  /// Nil when it follows the other history now; else why not.
  package func resync(_ node: PairNode, _ consent: DivergenceConsent) async throws -> String? {
    try await ask(node) { host in
      do throws(ReplicaCommandError) {
        _ = try await host.node.resync(consent)
        return nil
      } catch {
        return error.words
      }
    }
  }

  /// Nil when a comparison with the replica has begun; else why not.
  package func beginVerify(_ node: PairNode) async throws -> String? {
    try await ask(node) { host in
      do throws(ReplicaCommandError) {
        _ = try await host.node.beginVerify(nil)
        return nil
      } catch {
        return error.words
      }
    }
  }

  package func cancelVerify(_ node: PairNode) async throws -> Bool {
    try await ask(node) { await $0.node.cancelVerify() }
  }

  package func verification(_ node: PairNode) async throws -> VerificationStatus? {
    try await ask(node) { await $0.node.connections.first?.verification }
  }

  /// Compares everything, and returns what came of it.
  package func verify(_ node: PairNode) async throws -> VerificationStatus? {
    if let words = try await beginVerify(node) { throw Late(what: words) }
    try await wait(for: "the end of a comparison") {
      (try? await self.verification(node))??.state != .running
    }
    return try await verification(node)
  }

  package func events(_ node: PairNode) async throws -> [String] {
    try await ask(node) { await $0.engine.status.events.map(\.text) }
  }

  /// Puts content on one node that no client wrote and that verifies.
  package func forge(_ node: PairNode, _ block: UInt64, _ stamp: UInt64) async throws {
    let isDone = try await ask(node) { host -> Bool in
      guard let memory = AlignedMemory(byteCount: 4096) else { return false }
      for word in 0..<512 { memory.buffer.storeUInt64(stamp, at: word * 8) }
      let record = StreamBatch.Record(
        isTrim: false, run: BlockRun(firstBlock: block, blockCount: 1), payloadIndex: 0)
      do throws(ArrayError) {
        try await host.engine.mend([record], payload: memory.buffer.prefix(4096))
        try await host.engine.waitUntilPublished(host.engine.enqueuedRecordCount)
      } catch {
        return false
      }
      withExtendedLifetime(memory) {}
      return true
    }
    if !isDone { throw Late(what: "forged content") }
  }
}

extension PairNode {
  /// Damages a block at home, on so many members of a mirror.
  ///
  /// - Returns: on how many it was found.
  package func damage(_ block: UInt64, memberCount: Int) -> Int {
    guard let memory = AlignedMemory(byteCount: 4096) else { return 0 }
    defer { withExtendedLifetime(memory) {} }
    let buffer = memory.buffer.prefix(4096)
    var count = 0
    for medium in media.prefix(memberCount) {
      medium.copyBytes(ByteRange(from: 0, to: 4096), into: buffer)
      guard let superblock = try? Superblock.decode(buffer) else { continue }
      let offset = superblock.layout.dataOffset + block * 4096
      medium.copyBytes(ByteRange(from: offset, to: offset + 4096), into: buffer)
      guard !buffer.isZero else { continue }
      medium.flipBits(at: offset + 100)
      count += 1
    }
    return count
  }
}
