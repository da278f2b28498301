import IO

// Sending: one task per connection, so that the bytes of two replies never mix.
extension NBDServer {
  /// Sends queued replies, as many as there are in one call, until the connection is finished.
  func sendReplies(of number: Int) async {
    guard let connection = connections[number] else { return }
    while true {
      if connection.replies.isEmpty {
        if connection.isFinished && connection.requestsInFlight == 0 { break }
        // Safe: resumed once, by `answer` or when the connection is finished.
        unsafe await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
          unsafe connection.replyArrival.put(continuation)
        }
        continue
      }
      let count = gather(connection)
      let byteCount = connection.outgoing.byteCount
      if !connection.isBroken {
        connection.sendDeadlineNanoseconds = stallDeadline(byteCount)
        do throws(StreamError) {
          try await connection.stream.send(connection.outgoing)
        } catch {
          note(error, on: connection)
          // The receiver must notice, too.
          connection.stream.shutdown()
        }
        connection.sendDeadlineNanoseconds = nil
      }
      connection.replyByteCount -= byteCount
      connection.pacing.noteSent(replyCount: count, byteCount: byteCount)
      releaseSent(count, of: connection)
    }
    connection.senderHasEnded = true
    connection.drained.signal()
  }

  /// Puts the pieces of the first replies into the outgoing list.
  ///
  /// - Returns: how many replies.
  private func gather(_ connection: ServedConnection) -> Int {
    let list = connection.outgoing
    list.removeAll()
    var count = 0
    for slot in connection.replies {
      guard slot.pieces.count <= list.vacantPieceCount else { break }
      // Buffers come back when the whole call has ended: do not let it grow without end.
      guard count == 0 || list.byteCount < Self.bytesPerSendMax else { break }
      for piece in slot.pieces { list.append(piece) }
      count += 1
    }
    return count
  }

  private static var bytesPerSendMax: Int { 1 << 20 }

  private func releaseSent(_ count: Int, of connection: ServedConnection) {
    for index in 0..<count {
      let slot = connection.replies[index]
      if slot.state == .abandoned {
        // The volume still has it: `serveRequests` releases it.
        slot.errorIsSent = true
      } else {
        release(slot, of: connection)
      }
    }
    connection.replies.removeFirst(count)
  }
}
