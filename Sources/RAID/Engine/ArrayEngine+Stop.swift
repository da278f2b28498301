import DiskFormat
import Geometry
import IO

extension ArrayEngine {
  /// Brings everything home, says so in the superblocks, and ends.
  ///
  /// An array that cannot be left clean is recovered at its next start.
  func close() async throws(ArrayError) {
    guard isOpen else { return }
    var failure: ArrayError?
    do throws(ArrayError) {
      try await flushAll()
      await keeper.drain()
      // What the seals and the destage logged last.
      try await parts.log.endSealing()
      await keeper.drain()
      isOpen = false
      if membership.stopReason == nil, keeper.isIdle || parts.index.isEmpty,
        parts.log.checkpointSequence == parts.log.writtenSequence
      {
        membership.markClean()
      }
      membership.ownerNonce = .none
      if membership.stopReason == nil { try await membership.writeAll() }
    } catch {
      failure = error
    }
    isOpen = false
    await end()
    if let failure { throw failure }
  }

  /// Ends the tasks and closes the members.
  func end() async {
    isOpen = false
    isEnding = true
    keeper.stop()
    keeper.scrub.keepPosition()
    parts.events.tellUntold(isLast: true)
    parts.openLog?.stop(.stopped("the array is closed"))
    parts.payloads.close()
    timerRest.signal()
    wakeJanitor()
    await parts.members.endLanes()
    await waitForTasks()
    for slot in 0..<parts.members.seats.upperBound {
      let member = parts.members[slot]
      // What is with the kernel still needs the descriptor.
      guard member.isDrained, member.pendingCount == 0, !probedSlots.contains(slot),
        let disk = member.detach()
      else { continue }
      await disk.close()
    }
  }

  private func waitForTasks() async {
    while runningTaskCount > 0 {
      // Safe: resumed once, by the last task, or here: others may have run meanwhile.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if runningTaskCount == 0 { return unsafe waiter.resume() }
        var point = WaitPoint()
        unsafe point.put(waiter)
        taskEnd.append(point)
      }
    }
  }
}
