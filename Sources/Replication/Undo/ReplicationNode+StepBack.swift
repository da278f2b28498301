package import DiskFormat
import IO
package import RAID

// What an operator can have done about a copy that is under way to this node.
extension ReplicationNode {
  /// Takes the copy back: the node is as it was before it, and follows nobody until it is told to.
  ///
  /// May be repeated after a crash.
  /// - Returns: where it is now.
  package func stepBack() async throws(ReplicaCommandError) -> StreamPosition {
    guard let undo else {
      throw .notNow("what copies overwrite is not kept: 'serve --undo FILE' does that")
    }
    isHolding = true
    for session in sessions { session.finish(.stopped("this node takes its copy back")) }
    while !sessions.isEmpty { await waitForChange() }
    await undo.turn.acquire()
    defer { undo.turn.release() }
    do throws(ReplicaCommandError) {
      if let words = await engine.stepBackRefusal { throw .notNow(words) }
      guard undo.isOpen else { throw .notNow("it was given up that the copy can be taken back") }
      guard await engine.nodeView.replication.undoID == undo.undoID else {
        throw .notNow(
          "the undo file is that of another copy: serve it with the one that it was begun with")
      }
      do throws(UndoError) {
        try await undo.forEachGroup { (group, contents) async throws(UndoError) in
          try await self.putBack(group, contents)
        }
      } catch {
        throw .notNow("the undo file: \(error.words)")
      }
      let position = undo.position
      do throws(ArrayError) {
        try await engine.endStepBack(at: position, timelines: undo.timelines)
      } catch {
        throw .array(error)
      }
      // Should this fail, the next copy begins it anew.
      do throws(UndoError) { try await undo.close() } catch {}
      return position
    } catch {
      isHolding = false
      throw error
    }
  }

  private func putBack(_ group: UndoGroup, _ contents: IOBuffer) async throws(UndoError) {
    var records: [StreamBatch.Record] = []
    var payloadIndex = 0
    for entry in group.entries {
      records.append(
        StreamBatch.Record(
          isTrim: entry.checksum == nil, run: BlockRun(firstBlock: entry.block, blockCount: 1),
          payloadIndex: payloadIndex))
      if entry.checksum != nil { payloadIndex += 1 }
    }
    do throws(ArrayError) {
      try await engine.putBack(records, payload: contents)
      // The memory is the next group's.
      try await engine.waitUntilPublished(await engine.enqueuedRecordCount)
    } catch {
      throw UndoError(error.words)
    }
  }

  /// What this array holds is given up for the copy that a primary is going to make of it.
  package func becomeSeed() async throws(ReplicaCommandError) { try await engine.becomeSeed() }

  /// Follows a primary again, after a step back.
  package func followAgain() throws(ReplicaCommandError) {
    guard isHolding else { throw .notNow("it follows its primary already, or is none's replica") }
    isHolding = false
  }

  /// Nobody wants the copy to be taken back: it goes on without being kept.
  package func giveUpUndo() async throws(ReplicaCommandError) {
    guard let undo, undo.isOpen else { throw .notNow("there is no copy that could be taken back") }
    for session in sessions {
      session.finish(.stopped("what the copy overwrites is kept no longer"))
    }
    await undo.turn.acquire()
    defer { undo.turn.release() }
    do throws(UndoError) {
      try await undo.close()
    } catch {
      throw .notNow("the undo file: \(error.words)")
    }
  }
}
