import IO
import Units

// The three tasks of a connection. The sender and the receiver end when it is lost, the watchdog
// when both have ended.
extension NBDClient {
  /// Sends queued requests, as many as there are in one call.
  func sendRequests() async {
    while table.lossReason == nil {
      if table.hasQueued {
        table.gather(into: outgoing)
        await sendOutgoing()
        table.endSend(nowNanoseconds: machine.nowNanoseconds)
      } else if closeDeadlineNanoseconds != nil {
        table.gatherDisconnect(into: outgoing)
        await sendOutgoing()
        lose("the connection was closed")
      } else {
        await waitForRequests()
      }
    }
    senderHasEnded = true
    noteEnd()
  }

  private func sendOutgoing() async {
    do throws(StreamError) {
      try await stream.send(outgoing)
    } catch {
      lose(describe(error))
    }
  }

  private func waitForRequests() async {
    // Safe: resumed once, by whoever queues a request, or by the connection's end.
    unsafe await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
      guard !table.hasQueued, closeDeadlineNanoseconds == nil, table.lossReason == nil else {
        return unsafe continuation.resume()
      }
      unsafe table.putSender(continuation)
    }
  }

  /// Receives replies until the connection is lost.
  func receiveReplies() async {
    while table.lossReason == nil {
      reader.prepareReceive(incoming)
      do throws(StreamError) {
        let count = try await stream.receive(into: incoming)
        reader.noteReceived(count, nowNanoseconds: machine.nowNanoseconds)
      } catch {
        lose(describe(error))
        break
      }
      do throws(ServerFault) { try reader.takeIn() } catch { lose(error.reason) }
    }
    receiverHasEnded = true
    noteEnd()
  }

  private func describe(_ error: StreamError) -> String {
    switch error {
    case .closedByPeer where reader.isWithinReply:
      "the server closed the connection in the middle of a reply"
    case .closedByPeer: "the server closed the connection"
    case .broken(let error): "the connection broke: \(error)"
    }
  }

  // MARK: The watchdog

  private static var tickNanoseconds: UInt64 { 1_000_000_000 }

  /// Looks once a second for a request that the server does not answer, while there is any.
  func watch() async {
    while !(senderHasEnded && receiverHasEnded) {
      if table.pendingCount > 0 || closeDeadlineNanoseconds != nil {
        await machine.sleep(nanoseconds: Self.tickNanoseconds)
        inspect()
      } else {
        await waitForSomethingToWatch()
      }
    }
  }

  private func waitForSomethingToWatch() async {
    // Safe: resumed once, by whoever begins a request, or by the connection's end.
    unsafe await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
      let hasEnded = senderHasEnded && receiverHasEnded
      guard table.pendingCount == 0, closeDeadlineNanoseconds == nil, !hasEnded else {
        return unsafe continuation.resume()
      }
      unsafe table.putWatchdog(continuation)
    }
  }

  private func inspect() {
    let now = machine.nowNanoseconds
    if let oldest = table.oldestNanoseconds, now - min(now, oldest) >= options.requestNanoseconds {
      lose("no answer for \(TimeSpan.format(nanoseconds: options.requestNanoseconds))")
    }
    if let deadline = closeDeadlineNanoseconds, now >= deadline {
      lose("the connection was closed")
    }
  }
}
