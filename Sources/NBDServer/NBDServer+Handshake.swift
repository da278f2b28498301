import IO
import NBDWire

// Negotiation: what the wire format demands is decided by `Negotiation`, which is pure; here are
// the socket and the clock.
extension NBDServer {
  /// Greets the client and answers its options until it has chosen the export.
  ///
  /// - Returns: false when the connection is to be closed.
  func negotiate(_ connection: ServedConnection) async -> Bool {
    connection.receiveDeadlineNanoseconds = machine.nowNanoseconds + options.handshakeNanoseconds
    startWatching()
    let export = export
    connection.export = export
    var negotiation = Negotiation(exports: [export], limits: options.negotiationLimits)
    guard await send(negotiation.greeting(), to: connection) else { return false }
    while true {
      negotiation.isShuttingDown = isStopping
      let (consumed, outcome) = negotiation.advance(connection.unconsumed.bytes)
      connection.consume(consumed)
      switch outcome {
      case .needsMoreBytes:
        guard await receiveMore(connection) else { return false }
      case .reply(let bytes):
        guard await send(bytes, to: connection) else { return false }
      case .transmission(let agreement, let bytes):
        guard await send(bytes, to: connection) else { return false }
        connection.agreement = agreement
        connection.receiveDeadlineNanoseconds = nil
        return true
      case .close(let reason, let bytes):
        if negotiation.hasViolation {
          violationCount += 1
          connection.endReason = reason
        }
        if !bytes.isEmpty { _ = await send(bytes, to: connection) }
        return false
      }
    }
  }

  /// Receives into the room behind what has not been consumed.
  ///
  /// - Returns: false when the client is gone.
  func receiveMore(_ connection: ServedConnection) async -> Bool {
    connection.compact()
    connection.incoming.removeAll()
    connection.incoming.append(connection.received.buffer.dropFirst(connection.end))
    do throws(StreamError) {
      connection.end += try await connection.stream.receive(into: connection.incoming)
      return true
    } catch {
      note(error, on: connection)
      return false
    }
  }

  /// Sends bytes of the handshake.
  private func send(_ bytes: [UInt8], to connection: ServedConnection) async -> Bool {
    guard let memory = await buffers.acquire(byteCount: bytes.count, isReserved: true) else {
      return false
    }
    defer { buffers.release(memory, isReserved: true) }
    let buffer = memory.buffer.prefix(bytes.count)
    buffer.copy(from: bytes)
    connection.outgoing.removeAll()
    connection.outgoing.append(buffer)
    do throws(StreamError) {
      try await connection.stream.send(connection.outgoing)
      return true
    } catch {
      note(error, on: connection)
      return false
    }
  }

  func note(_ error: StreamError, on connection: ServedConnection) {
    connection.isBroken = true
    switch error {
    case .closedByPeer: break
    case .broken(let error):
      if connection.endReason == nil && !isStopping {
        connection.endReason = "the connection broke: \(error)"
      }
    }
  }
}
