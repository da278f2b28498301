import Glibc
import IO
import Units

// What each of a job's slots does, from the limits of the job to the end of an operation.
extension JobRunner {
  // MARK: Limits

  /// How many bytes the job transfers.
  var byteCountMax: UInt64 { options.ioByteCount ?? region.byteCount }

  /// Whether one more operation may start.
  private func mayIssue(_ now: UInt64) -> Bool {
    if isStopping || now >= deadlineNanoseconds { return false }
    if !isCounting {
      guard now >= countFromNanoseconds else { return true }
      startCounting()
    }
    if let most = options.operationCountMax, issuedOperationCount >= most { return false }
    return options.isTimeBased || issuedByteCount < byteCountMax
  }

  private func startCounting() {
    isCounting = true
    phase = .running
    issuedByteCount = openByteCount
    issuedOperationCount = openOperationCount
  }

  /// The sync that is due; nil for none.
  ///
  /// As fio has it: the job itself issues one after every so many writes, and does not wait for
  /// the other writes in flight.
  private func takeSync() -> SyncKind? {
    if let interval = options.fsyncInterval, writesSinceSync >= interval {
      writesSinceSync = 0
      return .all
    }
    if let interval = options.fdatasyncInterval, writesSinceDataSync >= interval {
      writesSinceDataSync = 0
      return .data
    }
    return nil
  }

  enum SyncKind { case all, data }

  // MARK: A slot

  func work(_ index: Int) async {
    let buffer = slots[index].memory.buffer
    var now = machine.readClock()
    while true {
      if !isStopping, let kind = takeSync() {
        now = await synchronize(index, isDataOnly: kind == .data)
        continue
      }
      guard mayIssue(now) else { return }
      if rateLimit != nil {
        now = await waitForTurn(now)
        guard mayIssue(now) else { return noteIdle(until: now) }
      }
      guard let operation = takeOperation() else { return }
      if verifier != nil, !(await waitForOverlap(index, operation)) { return }
      let piece = buffer.prefix(Int(operation.range.byteCount))
      if operation.kind == .write { fillForWrite(piece, operation.range) }
      slots[index].range = operation.range
      slots[index].isChanging = operation.kind != .read
      now = await perform(operation, index, piece)
    }
  }

  private func takeOperation() -> PlannedOperation? {
    var next = plan.next()
    if next == nil {
      // The pass is over: there is more to transfer, or time left.
      plan.startOver()
      next = plan.next()
    }
    guard let next else { return nil }
    issuedByteCount += next.range.byteCount
    issuedOperationCount += 1
    openByteCount += next.range.byteCount
    openOperationCount += 1
    if next.kind == .write {
      writesSinceSync += 1
      writesSinceDataSync += 1
    }
    return next
  }

  private func fillForWrite(_ buffer: IOBuffer, _ range: ByteRange) {
    if verifier != nil {
      verifier?.fill(buffer, range)
    } else {
      serial &+= 1
      BenchMark.put(into: buffer, at: range.offsetBytes, serial: serial)
    }
  }

  /// Waits until the rate allows one more operation, or the job has to end.
  private func waitForTurn(_ now: UInt64) async -> UInt64 {
    guard let due = rateLimit?.reserve(now: now) else { return now }
    var now = now
    while now < due, mayIssue(now) {
      // In pieces, so that an interrupt is noticed, and when others have taken what was left.
      await machine.sleep(nanoseconds: min(min(due, deadlineNanoseconds) - now, 100_000_000))
      now = machine.readClock()
    }
    return now
  }

  /// After a wait that the end of the runtime or an interrupt cut short: it is part of the time
  /// that the job took, as in fio, or few operations would seem more than the rate allows.
  private func noteIdle(until now: UInt64) {
    guard isCounting, wasInterrupted || now >= deadlineNanoseconds else { return }
    lastEndNanoseconds = max(lastEndNanoseconds, min(now, deadlineNanoseconds))
  }

  /// Performs one operation, and counts it.
  ///
  /// - Returns: the time at its end.
  private func perform(
    _ operation: PlannedOperation, _ index: Int, _ buffer: IOBuffer
  ) async -> UInt64 {
    let range = operation.range
    let start = machine.readClock()
    slots[index].startNanoseconds = start
    operationsInFlight += 1
    var failure: TargetError?
    do throws(TargetError) {
      switch operation.kind {
      case .read: try await target.read(at: range.offsetBytes, into: buffer)
      case .write: try await target.write(at: range.offsetBytes, from: buffer)
      case .trim: try await target.trim(at: range.offsetBytes, byteCount: range.byteCount)
      }
    } catch {
      failure = error
    }
    let end = machine.readClock()
    operationsInFlight -= 1
    performedOperationCount += 1
    guard !isAbandoned else { return end }
    slots[index].range = nil
    if let failure {
      if operation.kind == .write { verifier?.abandon(range) }
      fail(failure)
    } else {
      count(operation.kind, range, end, end - start)
      if verifier != nil { finishVerified(operation, buffer) }
    }
    openByteCount -= range.byteCount
    openOperationCount -= 1
    if verifier != nil { wakeOverlapping() }
    return end
  }

  @inline(__always)
  private func count(
    _ direction: OperationKind, _ range: ByteRange, _ end: UInt64, _ latency: UInt64
  ) {
    guard isCounting || countsFrom(end) else { return }
    directions[direction.rawValue].operationCount += 1
    directions[direction.rawValue].byteCount += range.byteCount
    directions[direction.rawValue].latency.record(nanoseconds: latency)
    if samplesLatency { intervalLatency.record(nanoseconds: latency) }
    lastEndNanoseconds = max(lastEndNanoseconds, end)
  }

  /// Whether the ramp was over at `now`; then counting begins.
  private func countsFrom(_ now: UInt64) -> Bool {
    guard now >= countFromNanoseconds else { return false }
    startCounting()
    return true
  }

  private func synchronize(_ index: Int, isDataOnly: Bool) async -> UInt64 {
    let start = machine.readClock()
    slots[index].startNanoseconds = start
    slots[index].range = ByteRange(from: region.offsetBytes, to: region.offsetBytes)
    slots[index].isChanging = false
    operationsInFlight += 1
    var failure: TargetError?
    do throws(TargetError) {
      try await target.flush(isDataOnly: isDataOnly)
    } catch {
      failure = error
    }
    let end = machine.readClock()
    operationsInFlight -= 1
    performedOperationCount += 1
    guard !isAbandoned else { return end }
    slots[index].range = nil
    if let failure {
      fail(failure)
    } else if isCounting || countsFrom(end) {
      sync.operationCount += 1
      sync.latency.record(nanoseconds: end - start)
      lastEndNanoseconds = max(lastEndNanoseconds, end)
    }
    return end
  }

  func flushOnce(_ index: Int) async {
    _ = await synchronize(index, isDataOnly: false)
  }

  // MARK: Failures

  func fail(_ error: TargetError) {
    switch error {
    case .refused(let reason): fail(reason, EIO)
    case .lost(let reason): fail("the target is lost: \(reason)", ENOTCONN)
    }
  }

  /// Counts an error; the first ends the job.
  func fail(_ reason: String, _ number: Int32) {
    errorCount += 1
    if firstError == nil {
      firstError = reason
      errorNumber = number
    }
    stop()
  }
}
