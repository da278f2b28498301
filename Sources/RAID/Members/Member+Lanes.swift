import IO
import Units

/// A task that performs a member's operations one after the other.
final class MemberLane {
  /// Handed to it while it waited.
  var operation: MemberOperation?
  var rest = WaitPoint()
}

extension Member {
  /// Hands an operation to a lane, or queues it.
  func submit(_ operation: MemberOperation) {
    if let error = refusal(operation.kind) {
      tell(operation, error)
      commons.operations.give(operation)
      return
    }
    // Lanes rest only when the queue is empty, so nothing is overtaken.
    if let lane = idleLanes.popLast() {
      begin(operation)
      lane.operation = operation
      lane.rest.signal()
    } else {
      queue.append(operation)
      if startingLaneCount < queue.count, laneCount < commons.laneCountMax {
        laneCount += 1
        startingLaneCount += 1
        commons.spawnLane(number)
      }
    }
  }

  /// The body of a lane: performs operations until `MemberSet.endLanes`.
  package func runLane() async {
    startingLaneCount -= 1
    let lane = MemberLane()
    while true {
      if let operation = lane.operation ?? takeQueued() {
        lane.operation = nil
        await perform(operation)
      } else if commons.lanesAreEnding || isRetired {
        break
      } else {
        await rest(lane)
      }
    }
    laneCount -= 1
    signalChange()
  }

  private func rest(_ lane: MemberLane) async {
    // Safe: resumed once, by `submit` or `endIdleLanes`, or here: others may have run meanwhile.
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      if queue.first != nil || commons.lanesAreEnding || isRetired {
        unsafe waiter.resume()
      } else {
        unsafe lane.rest.put(waiter)
        idleLanes.append(lane)
      }
    }
  }

  func endIdleLanes() {
    for lane in idleLanes { lane.rest.signal() }
    idleLanes.removeAll()
  }

  private func takeQueued() -> MemberOperation? {
    guard let operation = queue.popFirst() else { return nil }
    begin(operation)
    return operation
  }

  /// From here on the deadline runs, and the operation counts as being with the kernel.
  private func begin(_ operation: MemberOperation) {
    operation.startedNanoseconds = commons.machine.nowNanoseconds
    started.append(operation)
    laneOperationCount += 1
    // Not earlier: with nothing begun, the ticker finds no deadline and rests again.
    commons.timers.tickerRest.signal()
  }

  private func perform(_ operation: MemberOperation) async {
    // Between the hand-over and now the member may have gone out.
    if !operation.isAbandoned, let disk {
      let covered = writtenGeneration
      noteStart(operation)
      let error = await Self.answer(operation, disk)
      noteEnd(operation, error, covered: covered)
      if !operation.isAbandoned {
        started.remove(operation)
        tell(operation, error.map { .disk($0) })
      }
    }
    laneOperationCount -= 1
    commons.operations.give(operation)
    if laneOperationCount == 0 { signalChange() }
  }

  private static func answer(_ operation: MemberOperation, _ disk: D) async -> DiskError? {
    do throws(DiskError) {
      switch (operation.kind, operation.buffer) {
      case (.read, let buffer?): try await disk.read(at: operation.offsetBytes, into: buffer)
      case (.write, let buffer?): try await disk.write(at: operation.offsetBytes, from: buffer)
      case (.synchronize, _): try await disk.synchronize()
      case (.punch, _):
        let end = operation.offsetBytes + operation.byteCount
        try await disk.clear(
          ByteRange(from: operation.offsetBytes, to: end), mode: .punchHole)
      case (_, nil): preconditionFailure("a transfer without a buffer")
      }
      return nil
    } catch {
      return error
    }
  }

  // MARK: Draining

  /// Waits until nothing is with the kernel, however long that takes.
  package func waitUntilDrained() async {
    while !isDrained { await restUntilChange { self.isDrained } }
  }

  /// Waits until all lanes have ended, or the rest of them hang on a disk that is given up.
  func waitUntilLanesEnded() async {
    while laneCount > 0, isUsable || isDrained {
      await restUntilChange { self.laneCount == 0 || !(self.isUsable || self.isDrained) }
    }
  }

  private func restUntilChange(_ isDone: () -> Bool) async {
    // Safe: resumed once, by `signalChange`, or here: others may have run meanwhile.
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      if isDone() {
        unsafe waiter.resume()
      } else {
        var point = WaitPoint()
        unsafe point.put(waiter)
        changeWaiters.append(point)
      }
    }
  }

  func signalChange() {
    guard !changeWaiters.isEmpty else { return }
    let waiting = changeWaiters
    changeWaiters.removeAll()
    for var point in waiting { point.signal() }
  }
}
