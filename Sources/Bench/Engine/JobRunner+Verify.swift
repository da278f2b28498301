import Glibc
import IO
import Units

// Checking what was written. Two operations on one block are never in flight together, so that
// there is always one right answer.
extension JobRunner {
  /// Waits until nothing in flight touches the operation's blocks, unless all only read.
  ///
  /// - Returns: false when the job has to end first.
  func waitForOverlap(_ index: Int, _ operation: PlannedOperation) async -> Bool {
    while !isStopping, overlapsOthers(index, operation) {
      // Safe: resumed once, by `wakeOverlapping`, or here: others may have run meanwhile.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if isStopping || !overlapsOthers(index, operation) {
          unsafe waiter.resume()
        } else {
          unsafe slots[index].overlapEnd.put(waiter)
        }
      }
    }
    guard !isStopping else { return false }
    // Taken here and now, before another that waited is resumed.
    slots[index].range = operation.range
    slots[index].isChanging = operation.kind != .read
    return true
  }

  private func overlapsOthers(_ index: Int, _ operation: PlannedOperation) -> Bool {
    let isReading = operation.kind == .read
    for other in slots.indices where other != index {
      guard let range = slots[other].range, !isReading || slots[other].isChanging else { continue }
      // A flush has an empty range and is in nobody's way.
      if !range.isEmpty, range.overlaps(operation.range) { return true }
    }
    return false
  }

  /// Has everybody look again who waits for a block.
  func wakeOverlapping() {
    guard verifier != nil else { return }
    for index in slots.indices { slots[index].overlapEnd.signal() }
  }

  /// After an operation that succeeded: remembers what was written, checks what was read.
  func finishVerified(_ operation: PlannedOperation, _ buffer: IOBuffer) {
    switch operation.kind {
    case .read: check(buffer, operation.range)
    case .write: verifier?.commit(operation.range)
    case .trim: break
    }
  }

  func check(_ buffer: IOBuffer, _ range: ByteRange) {
    guard let verifier, var found = verification else { return }
    verification = nil
    verifier.check(buffer, range, &found)
    verification = found
    if options.stopsAtFirstBadBlock, hasFault { stop() }
  }

  /// A slot of the pass that reads back everything that was written.
  func readBack(_ index: Int) async {
    let buffer = slots[index].memory.buffer
    while !isStopping {
      guard let range = verifier?.nextWritten(&verifyCursor, byteCountMax: buffer.byteCount) else {
        return
      }
      let piece = buffer.prefix(Int(range.byteCount))
      slots[index].startNanoseconds = machine.readClock()
      slots[index].range = range
      slots[index].isChanging = false
      operationsInFlight += 1
      var failure: TargetError?
      do throws(TargetError) {
        try await target.read(at: range.offsetBytes, into: piece)
      } catch {
        failure = error
      }
      operationsInFlight -= 1
      performedOperationCount += 1
      guard !isAbandoned else { return }
      slots[index].range = nil
      switch failure {
      case nil: check(piece, range)
      case .refused:
        // What cannot be read is no bad block; the others are still worth checking.
        verification?.unreadable += verifier?.blockCount(of: range) ?? 0
        noteUnreadable(failure)
      case .lost(let reason): fail(.lost(reason: reason))
      }
    }
  }

  /// What this job has written; an operation that was given up counts as not known.
  package var verifyState: VerifyState? {
    if isAbandoned {
      for slot in slots where slot.isChanging {
        if let range = slot.range { verifier?.abandon(range) }
      }
    }
    return verifier?.state
  }

  private func noteUnreadable(_ failure: TargetError?) {
    guard case .refused(let reason) = failure else { return }
    errorCount += 1
    guard firstError == nil else { return }
    firstError = "reading back: \(reason)"
    errorNumber = EIO
  }
}
