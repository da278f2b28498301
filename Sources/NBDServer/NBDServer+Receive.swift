import IO
import NBDWire
import Units

// Receiving requests. One receive brings as many as the socket holds; payloads that have not
// arrived yet are received straight into the buffers they are written from.
extension NBDServer {
  /// Reads requests and hands them to slots until the client leaves or breaks the rules.
  func receiveRequests(of connection: ServedConnection) async {
    while !connection.isBroken {
      guard connection.unconsumedByteCount >= Request.headerByteCount else {
        if let pause = pauseBeforeReceiving(connection) {
          await machine.sleep(nanoseconds: pause)
        }
        guard await receiveMore(connection) else { return }
        continue
      }
      guard let request = Request(parsing: connection.unconsumed.bytes, at: 0) else {
        return endForViolation(connection, "a request without its magic number")
      }
      connection.consume(Request.headerByteCount)
      connection.pacing.count(request)
      // As it was when this client chose it.
      switch connection.agreement.judge(request, export: connection.export ?? export) {
      case .serve(let command):
        if takeAtOnce(request, command, on: connection) {
          if hasRepliesForOneTurn(connection) { await machine.sleep(nanoseconds: 0) }
          continue
        }
        guard await take(request, command, on: connection) else { return }
      case .refuse(let error):
        guard await refuse(request, error, on: connection) else { return }
      case .disconnect:
        return
      case .violation(let reason):
        return endForViolation(connection, reason)
      }
    }
  }

  /// Whether to let the loop send what there is before more is added.
  ///
  /// The client then takes it while the server goes on, instead of both waiting for each other in
  /// turn, and buffers serve again while they are in the processor's cache. One turn, no longer: a
  /// client may send all that it has to say before it takes a reply.
  private func hasRepliesForOneTurn(_ connection: ServedConnection) -> Bool {
    connection.replies.count >= Self.replyCountPerTurn
      || connection.replyByteCount >= Self.replyByteCountPerTurn
  }

  private func pauseBeforeReceiving(_ connection: ServedConnection) -> UInt64? {
    // What the volume still has must be answered as soon as it is done.
    guard servingCount == 0 else { return nil }
    let untakenByteCount =
      connection.pacing.shouldAskForUntaken ? connection.stream.untakenByteCount : 0
    let pause = connection.pacing.pauseBeforeReceiving(
      queuedReplyCount: connection.replies.count, untakenByteCount: untakenByteCount)
    return pause > 0 ? pause : nil
  }

  private func endForViolation(_ connection: ServedConnection, _ reason: String) {
    violationCount += 1
    if connection.endReason == nil { connection.endReason = reason }
  }

  /// Takes a request for which nothing has to be waited for.
  ///
  /// A slot and a buffer are vacant, and the payload has come: that is nearly every one, and an
  /// `await` costs a fifth of a microsecond even where it does not suspend.
  ///
  /// - Returns: false when it has to be taken the long way; nothing was done then.
  private func takeAtOnce(
    _ request: Request, _ command: NBDCommand, on connection: ServedConnection
  ) -> Bool {
    let payloadByteCount = command == .write ? Int(request.byteCount) : 0
    guard !isStopping && !deviceIsStuck && payloadByteCount <= connection.unconsumedByteCount,
      request.byteCount > 0 || command == .flush,
      let slot = slotAtOnce(of: connection)
    else { return false }
    begin(request, command, in: slot, of: connection)
    if command == .read && readResidentBytes(slot, of: connection) { return true }
    if payloadByteCount > 0 && mayWriteAtOnce
      && writeAtOnce(connection.unconsumed.prefix(payloadByteCount), slot, of: connection)
    {
      connection.consume(payloadByteCount)
      return true
    }
    let bufferByteCount = Self.bufferByteCount(of: request, command)
    if bufferByteCount > 0 {
      guard acquireAtOnce(bufferByteCount, for: slot, of: connection) else {
        release(slot, of: connection)
        return false
      }
    }
    if command == .read && readBufferedAtOnce(slot, of: connection) { return true }
    if payloadByteCount > 0 {
      payload(of: slot).copy(from: connection.unconsumed.prefix(payloadByteCount))
      connection.consume(payloadByteCount)
    }
    handOver(slot, of: connection)
    return true
  }

  /// Receives what belongs to the request and hands it to a slot.
  ///
  /// - Returns: false when the client is gone.
  private func take(
    _ request: Request, _ command: NBDCommand, on connection: ServedConnection
  ) async -> Bool {
    let payloadByteCount = command == .write ? Int(request.byteCount) : 0
    guard !isStopping else { return await refuse(request, .shutdown, on: connection) }
    guard !deviceIsStuck else { return await refuse(request, .inputOutput, on: connection) }
    let slot = await vacantSlot(of: connection)
    begin(request, command, in: slot, of: connection)
    if request.byteCount == 0 && command != .flush {
      // Nothing to do; unspecified by the protocol, and no reason to disconnect.
      answer(slot, of: connection, error: nil)
      return true
    }
    if command == .read && readResidentBytes(slot, of: connection) { return true }
    let bufferByteCount = Self.bufferByteCount(of: request, command)
    if bufferByteCount > 0 {
      guard await acquirePayload(bufferByteCount, for: slot, of: connection) else {
        let isDropped = await dropPayload(payloadByteCount, of: connection)
        answer(slot, of: connection, error: deviceIsStuck ? .inputOutput : .noMemory)
        return isDropped
      }
    }
    if payloadByteCount > 0 {
      guard await receivePayload(into: payload(of: slot), of: connection) else {
        release(slot, of: connection)
        return false
      }
    }
    // The wait for a slot, a buffer or the payload may have been long.
    guard !isStopping && !deviceIsStuck else {
      answer(slot, of: connection, error: isStopping ? .shutdown : .inputOutput)
      return true
    }
    if command == .write && mayWriteAtOnce
      && writeAtOnce(payload(of: slot), slot, of: connection)
    {
      return true
    }
    handOver(slot, of: connection)
    return true
  }

  /// Whether a WRITE may be served before everything else that is under way.
  ///
  /// The protocol would allow it always. But clients that trim a block and write it in the same
  /// breath expect to find what they wrote (fio's trimwrite does): a WRITE goes behind what came before
  /// it, into the loop's queue, as long as there is any.
  private var mayWriteAtOnce: Bool { servingCount == 0 }

  /// What a request needs beyond its headers.
  private static func bufferByteCount(of request: Request, _ command: NBDCommand) -> Int {
    switch command {
    case .read, .write: Int(request.byteCount)
    case .blockStatus: BlockStatusReply.byteCountMax
    case .disconnect, .flush, .trim, .cache, .writeZeroes: 0
    }
  }

  /// Answers with an error, after dropping a payload so that the stream stays in step.
  private func refuse(
    _ request: Request, _ error: NBDErrorCode, on connection: ServedConnection
  ) async -> Bool {
    if request.commandNumber == NBDCommand.write.rawValue {
      guard await dropPayload(Int(request.byteCount), of: connection) else { return false }
    }
    let slot = await vacantSlot(of: connection)
    let command = NBDCommand(rawValue: request.commandNumber) ?? .cache
    begin(request, command, in: slot, of: connection)
    answer(slot, of: connection, error: error)
    return true
  }

  private func begin(
    _ request: Request, _ command: NBDCommand, in slot: RequestSlot,
    of connection: ServedConnection
  ) {
    slot.request = request
    slot.command = command
    slot.contextIdentifier = connection.agreement.allocationContextIdentifier
    slot.receivedNanoseconds = machine.nowNanoseconds
    // A refused request may name bytes that no device has.
    slot.range =
      ByteRange(offsetBytes: request.offsetBytes, byteCount: UInt64(request.byteCount))
      ?? ByteRange(from: 0, to: 0)
    connection.requestsInFlight += 1
    requestsInFlight += 1
    startWatching()
  }

  // MARK: Slots and buffers

  private func vacantSlot(of connection: ServedConnection) async -> RequestSlot {
    // Each connection may always have one request: those who hold the rest cannot stop it.
    while requestsInFlight >= options.requestsMax && connection.requestsInFlight > 0
      && !deviceIsStuck
    {
      receiversWaiting.append(connection.number)
      // Safe: resumed once, by `release`.
      unsafe await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
        unsafe connection.budgetArrival.put(continuation)
      }
    }
    while true {
      if let slot = slotOfConnection(connection) { return slot }
      await waitForVacancy(of: connection)
    }
  }

  /// A slot, if there is one and the server's budget of requests has room.
  private func slotAtOnce(of connection: ServedConnection) -> RequestSlot? {
    guard requestsInFlight < options.requestsMax || connection.requestsInFlight == 0 else {
      return nil
    }
    return slotOfConnection(connection)
  }

  private func slotOfConnection(_ connection: ServedConnection) -> RequestSlot? {
    if let slot = connection.vacantSlots.popLast() { return slot }
    // A stuck device keeps its slots: one more answers in their place.
    let countMax = options.requestsPerConnectionMax + (deviceIsStuck ? 1 : 0)
    return connection.slots.count < countMax ? makeSlot(of: connection) : nil
  }

  private func makeSlot(of connection: ServedConnection) -> RequestSlot {
    let index = connection.slots.count
    let headers = connection.slotHeaders.buffer.slice(
      index * RequestSlot.headerByteCount, RequestSlot.headerByteCount)
    let slot = RequestSlot(index: index, headers: headers)
    connection.slots.append(slot)
    return slot
  }

  func waitForVacancy(of connection: ServedConnection) async {
    // Safe: resumed once, by `release`.
    unsafe await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
      unsafe connection.vacancy.put(continuation)
    }
  }

  /// Takes a buffer for the slot, if there is room for it now.
  private func acquireAtOnce(
    _ byteCount: Int, for slot: RequestSlot, of connection: ServedConnection
  ) -> Bool {
    guard let size = BufferPool.size(for: byteCount),
      connection.bytesInFlight == 0
        || connection.bytesInFlight + size <= options.bytesPerConnectionMax
    else { return false }
    let isReserved = connection.reservedBytesInFlight + size <= ServerOptions.reservedByteCount
    guard let memory = buffers.acquireAtOnce(byteCount: byteCount, isReserved: isReserved) else {
      return false
    }
    connection.countBytes(size, isReserved: isReserved)
    slot.payload = memory
    slot.payloadIsReserved = isReserved
    return true
  }

  private func acquirePayload(
    _ byteCount: Int, for slot: RequestSlot, of connection: ServedConnection
  ) async -> Bool {
    guard let size = BufferPool.size(for: byteCount) else { return false }
    while connection.bytesInFlight > 0
      && connection.bytesInFlight + size > options.bytesPerConnectionMax
    {
      guard !deviceIsStuck else { return false }
      await waitForVacancy(of: connection)
    }
    guard !deviceIsStuck else { return false }
    let isReserved =
      connection.reservedBytesInFlight + size <= ServerOptions.reservedByteCount
    connection.countBytes(size, isReserved: isReserved)
    guard let memory = await buffers.acquire(byteCount: byteCount, isReserved: isReserved) else {
      connection.countBytes(-size, isReserved: isReserved)
      return false
    }
    slot.payload = memory
    slot.payloadIsReserved = isReserved
    return true
  }

  // MARK: Payloads

  /// Fills a buffer: first with what has been received already, then from the socket.
  ///
  /// The last receive also takes what follows the payload. How much of it: the next header only
  /// when this payload is large, since the next payload is then likely large too, and what is
  /// received behind its header would have to be copied; else as much as there is room for.
  private func receivePayload(
    into buffer: IOBuffer, of connection: ServedConnection
  ) async -> Bool {
    let byteCount = buffer.byteCount
    var done = min(byteCount, connection.unconsumedByteCount)
    buffer.copy(from: connection.unconsumed.prefix(done))
    connection.consume(done)
    guard done < byteCount else { return true }
    connection.receiveDeadlineNanoseconds = stallDeadline(byteCount)
    defer { connection.receiveDeadlineNanoseconds = nil }
    let tailByteCount =
      byteCount >= Self.largePayloadByteCount ? Request.headerByteCount : Self.tailByteCount
    while done < byteCount {
      // Everything received has been consumed, so the buffer is empty.
      connection.incoming.removeAll()
      connection.incoming.append(buffer.dropFirst(done))
      connection.incoming.append(connection.received.buffer.prefix(tailByteCount))
      do throws(StreamError) {
        let count = try await connection.stream.receive(into: connection.incoming)
        let payloadPart = min(count, byteCount - done)
        done += payloadPart
        connection.end = count - payloadPart
      } catch {
        note(error, on: connection)
        return false
      }
    }
    return true
  }

  private static var replyCountPerTurn: Int { 8 }
  private static var replyByteCountPerTurn: Int { 128 << 10 }
  private static var largePayloadByteCount: Int { 32 << 10 }
  private static var tailByteCount: Int { 64 << 10 }

  /// Receives a payload that nobody wants.
  private func dropPayload(_ byteCount: Int, of connection: ServedConnection) async -> Bool {
    var left = byteCount
    connection.receiveDeadlineNanoseconds = stallDeadline(byteCount)
    defer { connection.receiveDeadlineNanoseconds = nil }
    // The request has not begun, so nothing else has.
    startWatching()
    while true {
      let dropped = min(left, connection.unconsumedByteCount)
      connection.consume(dropped)
      left -= dropped
      guard left > 0 else { return true }
      guard await receiveMore(connection) else { return false }
    }
  }

  /// A stalled peer is dropped: a fixed time and a second for each MiB.
  func stallDeadline(_ byteCount: Int) -> UInt64 {
    machine.nowNanoseconds + options.stallNanoseconds + UInt64(byteCount) * 1_000_000_000 >> 20
  }
}
