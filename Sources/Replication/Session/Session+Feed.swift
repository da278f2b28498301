import DiskFormat
import IO
import RAID

// The side of the primary: records and copies go out, acknowledgements come in.
extension Session {
  /// Feeds a replica to the end of the connection.
  func feed(_ theirs: Hello) async throws(SessionEnd) {
    guard let replica = onArray({ $0.replicaProgress(theirs.nodeID) }) else {
      let refusal = Refusal(
        code: .notReplica, words: "it is not on this primary's list of replicas")
      try? await channel.send(.refusal(refusal), timelineID: timelineID)
      throw .refused(refusal)
    }
    guard !replica.isConnected else {
      let refusal = Refusal(code: .busy, words: "another connection serves it")
      try? await channel.send(.refusal(refusal), timelineID: timelineID)
      throw .refused(refusal)
    }
    // The peer has nothing that this node lacks: it may serve.
    let hasBegun: Bool
    do throws(ArrayError) {
      hasBegun = try await engine.noteHeard()
    } catch {
      throw .stopped(error.words)
    }
    guard end == nil else { throw .lost("it has ended") }
    guard !hasBegun else { throw .lost("a timeline has begun after a crash: it is told of that") }
    guard !replica.isConnected else { throw .lost("another connection serves it") }
    self.replica = replica
    progressNanoseconds = machine.nowNanoseconds
    let start = theirs.position.number
    let mayFollow =
      theirs.flags.contains(.isConsistent) && !theirs.flags.contains(.isEmpty)
      && !chainIsUnknown
      && onArray { $0.reachesBack(to: start) }
    if !mayFollow {
      do throws(ArrayError) {
        try await engine.beginCopying(theirs.nodeID)
      } catch {
        throw .stopped(error.words)
      }
      guard !replica.isConnected else { throw .lost("another connection serves it") }
    }
    // What is behind it is sent as records, whether it is shown here already or not.
    let base = onArray { $0.publishedPosition }
    if !mayFollow {
      // The replica's log begins there: what this node lost before it in a crash could not be fetched.
      do throws(ArrayError) {
        try await engine.flushLog()
      } catch {
        throw .stopped(error.words)
      }
      guard !replica.isConnected else { throw .lost("another connection serves it") }
    }
    isCopying = !mayFollow
    log(
      "node \(theirs.nodeID) is connected: "
        + (isCopying
          ? "everything is compared with what it has, and what differs is copied"
          : "it has records up to \(start), and is sent those up to \(base.number)"))
    phase = isCopying ? .copying : .catchingUp
    onArray {
      $0.connectReplica(
        replica, at: isCopying ? 0 : start, sentThrough: isCopying ? base.number : start)
    }
    defer { onArray { $0.disconnectReplica(replica) } }
    if isCopying { beginCopy(base) }
    spawn { session throws(SessionEnd) in try await session.runFeeder(replica) }
    spawn { session throws(SessionEnd) in try await session.runFeedReader(replica) }
    spawn { session throws(SessionEnd) in try await session.runCounter(replica) }
    spawn { session throws(SessionEnd) in try await session.runClock() }
    if isCopying { startCopiers() }
    await wait { false }
  }

  // MARK: Sending

  private func runFeeder(_ replica: ReplicaProgress) async throws(SessionEnd) {
    while end == nil {
      if try await sendOutgoing(sent: replica.sent) { continue }
      if replica.flushWanted > flushSent, replica.sent >= replica.flushWanted {
        flushSent = replica.flushWanted
        try await channel.send(
          .flushRequest(FlushRequest(number: flushSent)), timelineID: timelineID)
        continue
      }
      if replica.sent < onArray({ $0.streamPosition.number }) {
        try await sendBatch(replica)
        continue
      }
      if end != nil { return }
      await replica.waitForSignal()
    }
  }

  private func sendBatch(_ replica: ReplicaProgress) async throws(SessionEnd) {
    let batch: StreamBatch?
    do throws(ArrayError) {
      readsSince[0] = machine.nowNanoseconds
      defer { readsSince[0] = nil }
      batch = try await engine.streamBatch(behind: replica.sent)
    } catch {
      throw .stopped(error.words)
    }
    guard let batch else {
      throw .lost("it fell so far behind that the log has no longer what it lacks")
    }
    var request: FlushRequest?
    if replica.flushWanted > flushSent, replica.flushWanted <= batch.end.number {
      flushSent = replica.flushWanted
      request = FlushRequest(number: flushSent)
    }
    try await channel.send(batch, timelineID: timelineID, then: request)
    onArray { $0.noteSent(replica, batch.end.number) }
    // Copies wait for what comes before them.
    if isCopying { signal() }
  }

  // MARK: Receiving

  private func runFeedReader(_ replica: ReplicaProgress) async throws(SessionEnd) {
    while end == nil {
      let frame = try await receiveFrame()
      switch frame.message {
      case .acknowledgement(let acknowledgement): note(acknowledgement, replica)
      case .checksums(let checksums):
        checksumAnswers[checksums.requestNumber] = checksums
        signal()
      case .blocks(let blocks):
        guard blocksAwaited.contains(blocks.requestNumber) else {
          throw .protocolError("blocks that nobody asked for")
        }
        blockAnswers[blocks.requestNumber] = (blocks, frame.payload)
        signal()
      case .standingNoted: break
      case let other: throw .protocolError("\(other.kind) from a replica")
      }
    }
  }

  private func note(_ acknowledgement: Acknowledgement, _ replica: ReplicaProgress) {
    copiedCount = acknowledgement.copied
    if acknowledgement.logged > replica.logged { progressNanoseconds = machine.nowNanoseconds }
    if isCopying, copyNumber > 0, unitsDone == .max, copiedCount >= copyNumber {
      isCopying = false
      phase = .catchingUp
    }
    // What is amid a copy has nothing whole.
    guard !isCopying else { return signal() }
    onArray {
      $0.note(
        replica, received: acknowledgement.received, logged: acknowledgement.logged,
        durable: acknowledgement.durable)
    }
    signal()
  }

  // MARK: Standing

  /// Lets acknowledgements wait for the replica as soon as it has everything; ends the session when
  /// the array has set it aside.
  private func runCounter(_ replica: ReplicaProgress) async throws(SessionEnd) {
    let nodeID = replica.nodeID
    while end == nil {
      await wait {
        let position = onArray { $0.streamPosition.number }
        return self.handOverPosition != nil
          || (!self.isCopying && replica.sent == position && replica.logged >= replica.sent
            && self.standingSent != true)
          || (self.standingSent == true && (!replica.counts || replica.mode != self.modeTold))
          || (self.standingSent == true && replica.logged >= position
            && self.onArray { $0.isStoppedByPolicy })
      }
      guard end == nil else { return }
      if let position = handOverPosition {
        handOverPosition = nil
        post(.handOver(HandOver(position: position)), afterNumber: position.number)
        continue
      }
      if standingSent == true, !replica.counts {
        throw .lost("it was set aside, because it did not answer in time")
      }
      if standingSent != true || replica.mode == modeTold {
        do throws(ArrayError) {
          try await engine.beginCounting(nodeID)
        } catch {
          throw .stopped(error.words)
        }
        standingSent = true
        phase = .inStep
      }
      try tellStanding(replica)
    }
  }

  private func tellStanding(_ replica: ReplicaProgress) throws(SessionEnd) {
    let state = view.replication
    guard let peer = state.peers.first(where: { $0.nodeID == replica.nodeID }) else {
      throw .lost("it was removed from the list of replicas")
    }
    modeTold = replica.mode
    post(
      .standing(
        Standing(
          number: replica.sent, counts: true, lossPolicy: state.lossPolicy, mode: peer.mode)))
  }
}
