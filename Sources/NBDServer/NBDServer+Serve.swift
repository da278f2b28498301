import IO
import NBDWire
import Units
import Volumes

// Serving: at once where the volume need not wait, else in the loop of a slot.
extension NBDServer {
  // MARK: At once

  /// Answers a READ from where the bytes lie, without a buffer, a copy or a suspension.
  ///
  /// - Returns: false when the volume has to fetch them.
  func readResidentBytes(_ slot: RequestSlot, of connection: ServedConnection) -> Bool {
    guard let bytes = volume.residentBytes(of: slot.range) else { return false }
    slot.found = bytes
    answer(slot, of: connection, error: nil)
    return true
  }

  /// Reads into the slot's buffer and answers, if the volume has the bytes without waiting.
  ///
  /// - Returns: false when it has not.
  func readBufferedAtOnce(_ slot: RequestSlot, of connection: ServedConnection) -> Bool {
    let buffer = payload(of: slot)
    var failure: NBDErrorCode?
    do throws(VolumeError) {
      guard try volume.readAtOnce(slot.range, into: buffer) else { return false }
    } catch {
      failure = errorCode(error, of: slot)
    }
    slot.found = buffer
    answer(slot, of: connection, error: failure)
    return true
  }

  /// Writes `bytes` and answers, if the volume can do that without waiting.
  ///
  /// - Returns: false when it cannot.
  func writeAtOnce(
    _ bytes: IOBuffer, _ slot: RequestSlot, of connection: ServedConnection
  ) -> Bool {
    let isDurable = slot.request.flags.contains(.forceUnitAccess)
    var failure: NBDErrorCode?
    do throws(VolumeError) {
      guard try volume.writeAtOnce(slot.range, from: bytes, durably: isDurable) else {
        return false
      }
    } catch {
      failure = errorCode(error, of: slot)
    }
    // The same memory takes the next payload, while it is still in the processor's cache.
    releasePayload(of: slot, connection)
    answer(slot, of: connection, error: failure)
    return true
  }

  // MARK: In a slot's task

  /// Has the slot's task serve the request.
  func handOver(_ slot: RequestSlot, of connection: ServedConnection) {
    servingCount += 1
    slot.servingSinceNanoseconds = machine.nowNanoseconds
    slot.state = .serving
    if !slot.hasTask {
      slot.hasTask = true
      let (index, number) = (slot.index, connection.number)
      Task(executorPreference: machine) {
        await self.serveRequests(ofSlot: index, connectionNumber: number)
      }
    }
    slot.handOver()
  }

  /// Serves one request after the other until the slot is retired.
  func serveRequests(ofSlot index: Int, connectionNumber: Int) async {
    guard let connection = connections[connectionNumber] else { return }
    let slot = connection.slots[index]
    while await slot.nextRequest() {
      let error = await perform(slot)
      servingCount -= 1
      if slot.state == .abandoned {
        // It was answered long ago; the slot is free when that answer has been sent, too.
        if slot.errorIsSent { release(slot, of: connection) } else { slot.state = .replying }
      } else {
        answer(slot, of: connection, error: error)
      }
    }
  }

  /// Has the volume do it.
  ///
  /// - Returns: the error for the wire, or nil.
  private func perform(_ slot: RequestSlot) async -> NBDErrorCode? {
    do throws(VolumeError) {
      try await request(slot)
      return nil
    } catch {
      return errorCode(error, of: slot)
    }
  }

  private func errorCode(_ error: VolumeError, of slot: RequestSlot) -> NBDErrorCode {
    switch error {
    case .noSpace:
      noteFailure(slot, error)
      return .noSpace
    case .notSupported:
      // The only error that is an ordinary answer: FAST_ZERO that would not be fast.
      return slot.request.flags.contains(.fastZero) ? .notSupported : .inputOutput
    case .inputOutput, .stopped:
      noteFailure(slot, error)
      return .inputOutput
    }
  }

  private func request(_ slot: RequestSlot) async throws(VolumeError) {
    let flags = slot.request.flags
    let isDurable = flags.contains(.forceUnitAccess)
    switch slot.command {
    case .read:
      if volume.lends(slot.range), let lent = try await volume.readLent(slot.range) {
        slot.lent = lent
        slot.found = lent.bytes
        return
      }
      let buffer = payload(of: slot)
      try await volume.read(slot.range, into: buffer)
      slot.found = buffer
    case .write:
      try await volume.write(slot.range, from: payload(of: slot), durably: isDurable)
    case .flush:
      try await volume.flush()
    case .trim:
      try await volume.trim(slot.range, durably: isDurable)
    case .writeZeroes:
      try await volume.writeZeroes(
        slot.range, keepAllocated: flags.contains(.noHole), onlyIfFast: flags.contains(.fastZero),
        durably: isDurable)
    case .cache:
      await volume.prefetch(slot.range)
    case .blockStatus:
      try await prepareBlockStatus(slot)
    case .disconnect:
      preconditionFailure("DISC is not handed to a slot")
    }
  }

  func payload(of slot: RequestSlot) -> IOBuffer {
    guard let memory = slot.payload else { preconditionFailure("a request without its buffer") }
    return memory.buffer.prefix(Int(slot.request.byteCount))
  }

  private func noteFailure(_ slot: RequestSlot, _ error: VolumeError) {
    logRarely(
      .error,
      "\(slot.command) of \(slot.request.byteCount) bytes at \(slot.request.offsetBytes) failed: "
        + describe(error))
  }

  // MARK: Replies

  /// Counts the request, writes its reply, and queues it for the sender.
  func answer(_ slot: RequestSlot, of connection: ServedConnection, error: NBDErrorCode?) {
    count(slot, error)
    slot.pieces.removeAll(keepingCapacity: true)
    if let error {
      writeError(error, in: slot, of: connection)
    } else if slot.command == .read && slot.request.byteCount > 0 {
      writeRead(slot, of: connection)
    } else if slot.command == .blockStatus {
      writeBlockStatus(slot, of: connection)
    } else {
      writeSuccess(slot, of: connection)
    }
    if slot.state != .abandoned { slot.state = .replying }
    for piece in slot.pieces { connection.replyByteCount += piece.byteCount }
    connection.replies.append(slot)
    connection.replyArrival.signal()
  }

  private func count(_ slot: RequestSlot, _ error: NBDErrorCode?) {
    // The machine's time is that of the loop's turn: what is answered in the turn in which it came
    // would seem to have taken none.
    let turn = machine.nowNanoseconds
    let now = turn == slot.receivedNanoseconds ? machine.readClock() : turn
    let latency = now - min(now, slot.receivedNanoseconds)
    let byteCount = UInt64(slot.request.byteCount)
    switch slot.command {
    case .read: reads.record(byteCount, latency, isError: error != nil)
    case .write: writes.record(byteCount, latency, isError: error != nil)
    case .flush: flushes.record(0, latency, isError: error != nil)
    case .trim, .writeZeroes, .cache, .blockStatus, .disconnect:
      others.record(byteCount, latency, isError: error != nil)
    }
  }

  private func writeSuccess(_ slot: RequestSlot, of connection: ServedConnection) {
    var bytes = slot.headers.mutableBytes
    // A structured READ has chunks even when it is empty; other commands may stay simple.
    let count =
      slot.command == .read && connection.agreement.usesStructuredReplies
      ? ReplyHeader.encodeChunk(
        type: .none, isLast: true, cookie: slot.request.cookie, payloadByteCount: 0, into: &bytes,
        at: 0)
      : ReplyHeader.encodeSimple(error: nil, cookie: slot.request.cookie, into: &bytes, at: 0)
    slot.pieces.append(slot.headers.prefix(count))
  }

  private func writeError(
    _ error: NBDErrorCode, in slot: RequestSlot, of connection: ServedConnection
  ) {
    var bytes = slot.headers.mutableBytes
    // A READ, and any reply with a payload, must be structured once that was agreed: rule 45.
    let isChunk =
      connection.agreement.usesStructuredReplies
      && (slot.command == .read || slot.command == .blockStatus)
    let count =
      isChunk
      ? ReplyHeader.encodeErrorChunk(
        error: error, cookie: slot.request.cookie, into: &bytes, at: 0)
      : ReplyHeader.encodeSimple(error: error, cookie: slot.request.cookie, into: &bytes, at: 0)
    slot.pieces.append(slot.headers.prefix(count))
  }

  private func writeRead(_ slot: RequestSlot, of connection: ServedConnection) {
    guard let data = slot.found else { preconditionFailure("a READ that found nothing") }
    guard connection.agreement.usesStructuredReplies else {
      var bytes = slot.headers.mutableBytes
      let count = ReplyHeader.encodeSimple(
        error: nil, cookie: slot.request.cookie, into: &bytes, at: 0)
      slot.pieces.append(slot.headers.prefix(count))
      slot.pieces.append(data)
      return
    }
    ReadReply.write(slot, data)
  }

  // MARK: Giving back

  /// Makes the slot vacant and wakes whoever waits for what it held.
  func release(_ slot: RequestSlot, of connection: ServedConnection) {
    releasePayload(of: slot, connection)
    slot.found = nil
    if let lent = slot.lent {
      slot.lent = nil
      lent.giveBack()
    }
    slot.state = .idle
    slot.errorIsSent = false
    connection.vacantSlots.append(slot)
    connection.requestsInFlight -= 1
    requestsInFlight -= 1
    connection.vacancy.signal()
    if connection.requestsInFlight == 0 {
      connection.budgetArrival.signal()
      connection.drained.signal()
      // The sender ends with the last request, whoever gave it back.
      if connection.isFinished { connection.replyArrival.signal() }
    }
    while requestsInFlight < options.requestsMax && !receiversWaiting.isEmpty {
      let number = receiversWaiting.removeFirst()
      guard let waiting = connections[number], waiting.budgetArrival.isWaitedFor else { continue }
      waiting.budgetArrival.signal()
      break
    }
  }

  private func releasePayload(of slot: RequestSlot, _ connection: ServedConnection) {
    guard let memory = slot.payload else { return }
    let size = memory.buffer.byteCount
    connection.countBytes(-size, isReserved: slot.payloadIsReserved)
    slot.payload = nil
    buffers.release(memory, isReserved: slot.payloadIsReserved)
  }
}

extension RequestTotals {
  mutating func record(_ byteCount: UInt64, _ nanoseconds: UInt64, isError: Bool) {
    count += 1
    // A refused request counts what it asked for: with 4 GiB each, 2^32 headers pass 64 bits.
    self.byteCount &+= byteCount
    if isError { errorCount += 1 }
    latency.record(nanoseconds: nanoseconds)
  }
}
