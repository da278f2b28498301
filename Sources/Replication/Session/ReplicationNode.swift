package import DiskFormat
package import IO
package import RAID

/// A node among those that hold one device: it listens for the others, and calls them while it is
/// the primary.
///
/// Runs on the array's executor. Give it listeners and a way to call; it ends with `stop`.
package actor ReplicationNode<M: Machine, D: Disk> {
  nonisolated let machine: M
  package nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: the actor keeps its machine.
    unsafe machine.unownedExecutor
  }

  let engine: ArrayEngine<M, D>
  /// Keeps what a copy overwrites here; nil when nobody asked for that.
  let undo: UndoRegion<D>?
  private let options: SessionOptions
  private let call: @Sendable (String) async -> M.MachineStream?
  private let log: @Sendable (String) -> Void
  private(set) var sessions: [Session<M, D>] = []
  /// A copy was taken back: no primary is followed before an operator says so.
  var isHolding = false
  /// The one session that serves each node.
  private var claims: [(nodeID: Identifier, session: Session<M, D>)] = []
  private var listeners: [M.MachineListener] = []
  /// Peers that a task calls.
  private var called: Set<String> = []
  /// Why the last connection with each peer ended; for status.
  private var lastEnds: [Identifier: String] = [:]
  /// The last comparison with each peer.
  private var verifications: [Identifier: Verification] = [:]
  private(set) var isStopped = false
  private var runningTaskCount = 0
  private var rests: [WaitPoint] = []
  private var changeCount: UInt64 = 0

  /// Makes a node of an array; `start` begins.
  ///
  /// `call` connects to an address, and returns nil when nobody answers; it is bounded in time. `log`
  /// is told what happens, a line each.
  package init(
    engine: ArrayEngine<M, D>, machine: M, options: SessionOptions, undo: UndoRegion<D>? = nil,
    call: @escaping @Sendable (String) async -> M.MachineStream?,
    log: @escaping @Sendable (String) -> Void
  ) {
    self.engine = engine
    self.machine = machine
    self.options = options
    self.undo = undo
    self.call = call
    self.log = log
  }

  // MARK: Life

  /// Begins to call peers, and looks again whenever the array's role changes.
  package func start() {
    engine.assumeIsolated { array in
      array.watchNodes { [weak self] in self?.assumeIsolated { $0.noteChange() } }
    }
    spawn { node in await node.runWatchdog() }
    noteChange()
  }

  /// Accepts others at a listener.
  package func listen(at listener: M.MachineListener) {
    listeners.append(listener)
    let index = listeners.count - 1
    spawn { node in await node.runListener(index) }
  }

  /// Ends all connections, and returns when nothing is under way.
  package func stop() async {
    isStopped = true
    for listener in listeners { listener.stop() }
    for session in sessions { session.finish(.stopped("this node is being stopped")) }
    noteChange()
    while runningTaskCount > 0 { await waitForChange() }
    for listener in listeners { await listener.close() }
    listeners = []
  }

  private func spawn(_ body: @escaping @Sendable (isolated ReplicationNode) async -> Void) {
    runningTaskCount += 1
    let machine = machine
    Task(executorPreference: machine) { await self.runTask(body) }
  }

  private func runTask(_ body: @Sendable (isolated ReplicationNode) async -> Void) async {
    await body(self)
    runningTaskCount -= 1
    noteEnd()
  }

  private func noteEnd() {
    changeCount += 1
    let waiting = rests
    rests = []
    for var point in waiting { point.signal() }
  }

  func waitForChange() async {
    let seen = changeCount
    // Safe: resumed once, by `noteEnd`, or here.
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      guard changeCount == seen else { return unsafe waiter.resume() }
      var point = WaitPoint()
      unsafe point.put(waiter)
      rests.append(point)
    }
  }

  /// The role, or a replica's standing, may be another.
  private func noteChange() {
    noteEnd()
    for session in sessions { session.signal() }
    guard !isStopped else { return }
    for peer in wanted where called.insert(peer.address).inserted {
      let address = peer.address
      spawn { node in await node.runCaller(address) }
    }
  }

  /// The peers that this node calls: those of a primary.
  var wanted: [Peer] {
    let state = engine.assumeIsolated { $0.nodeView.replication }
    guard state.role == .primary else { return [] }
    return state.peers.filter { !$0.address.isEmpty }
  }

  // MARK: Connections

  private func runListener(_ index: Int) async {
    while !isStopped, index < listeners.count {
      switch await listeners[index].acceptOnce() {
      case .success(let stream):
        spawn { node in await node.serve(stream, expecting: nil) }
      case .failure(let error):
        guard !isStopped else { return }
        log("cannot accept a connection for replication: \(error)")
        await machine.sleep(nanoseconds: options.backoffNanosecondsMin)
      }
    }
  }

  /// Calls a peer again and again while it is wanted and not connected.
  private func runCaller(_ address: String) async {
    var backoff = options.backoffNanosecondsMin
    while !isStopped, let peer = wanted.first(where: { $0.address == address }) {
      if isConnected(peer.nodeID) {
        backoff = options.backoffNanosecondsMin
        await waitForChange()
        continue
      }
      if let stream = await call(address) {
        let began = machine.nowNanoseconds
        await serve(stream, expecting: peer.nodeID)
        if machine.nowNanoseconds - began > options.silenceNanoseconds {
          backoff = options.backoffNanosecondsMin
        }
      } else {
        lastEnds[peer.nodeID] = "nobody answers at \(address)"
      }
      guard !isStopped else { break }
      // Not in step with the other, who may be calling just now.
      await machine.sleep(nanoseconds: backoff + machine.randomNumber() % (backoff / 2 + 1))
      backoff = min(backoff * 2, options.backoffNanosecondsMax)
    }
    called.remove(address)
  }

  private func claim(_ nodeID: Identifier, _ session: Session<M, D>) -> Bool {
    guard !claims.contains(where: { $0.nodeID == nodeID }) else { return false }
    claims.append((nodeID, session))
    return true
  }

  private func isConnected(_ nodeID: Identifier) -> Bool {
    sessions.contains { $0.end == nil && $0.theirs?.nodeID == nodeID && $0.phase != .connecting }
  }

  private func serve(_ stream: M.MachineStream, expecting nodeID: Identifier?) async {
    guard !isStopped, !isHolding,
      let session = Session(
        engine, machine, stream, options: options, hello: hello(to: nodeID),
        log: log)
    else {
      stream.shutdown()
      return await stream.close()
    }
    session.undo = undo
    sessions.append(session)
    let end = await session.run(
      isExpected: { theirs in
        if let nodeID, theirs.nodeID != nodeID {
          return Refusal(
            code: .unrelated, words: "another node than \(nodeID) answers: \(theirs.nodeID)")
        }
        if theirs.peerID != .none, theirs.peerID != session.mine.nodeID {
          return Refusal(code: .unrelated, words: "this is not the node that was called")
        }
        guard !self.assumeIsolated({ $0.isConnected(theirs.nodeID) }) else {
          return Refusal(code: .busy, words: "there is a connection with this node already")
        }
        return nil
      }, claim: { nodeID in self.assumeIsolated { $0.claim(nodeID, session) } })
    sessions.removeAll { $0 === session }
    session.interrupt("the connection ended: \(end.words)")
    await settle(end, session)
    claims.removeAll { $0.session === session }
    noteEnd()
  }

  /// What follows from the end of a connection.
  private func settle(_ end: SessionEnd, _ session: Session<M, D>) async {
    guard let theirs = session.theirs else { return }
    // Who only asks who this is goes away again.
    if session.phase == .connecting, case .lost = end { return }
    let isNews = lastEnds[theirs.nodeID] != end.words
    lastEnds[theirs.nodeID] = end.words
    if isNews { log("replication with node \(theirs.nodeID) ended: \(end.words)") }
    if case .refused(let refusal) = end, refusal.code == .diverged, isAsInHello(session) {
      // Whose last timeline the other has, and more, was superseded.
      let last = session.mine.timelines.last?.timelineID
      let isSuperseded =
        theirs.role == .primary && theirs.timelines.last?.timelineID != last
        && theirs.timelines.contains { $0.timelineID == last }
      await engine.noteDivergence(
        "node \(theirs.nodeID) has another history: \(refusal.words)",
        after: refusal.firstNumber, isSuperseded: isSuperseded)
    }
    if session.replica != nil, !isStopped {
      await engine.setAside(theirs.nodeID, because: "is not connected (\(end.words))")
    }
  }

  /// Whether this node is still what it said in a session that has ended: else what that came to says
  /// nothing any more.
  private func isAsInHello(_ session: Session<M, D>) -> Bool {
    let view = engine.assumeIsolated { $0.nodeView }
    return view.replication.role == session.mine.role
      && view.replication.isConsistent == session.mine.flags.contains(.isConsistent)
      && view.timelines.last == session.mine.timelines.last
  }

  private func hello(to nodeID: Identifier?) -> Hello {
    let view = engine.assumeIsolated { $0.nodeView }
    var flags: Hello.Flags = []
    if view.replication.isConsistent { flags.insert(.isConsistent) }
    if view.isOpen { flags.insert(.isOpen) }
    if view.isEmpty { flags.insert(.isEmpty) }
    if view.replication.isHandedOver { flags.insert(.isHandedOver) }
    let peer = view.replication.peers.first { $0.nodeID == nodeID }
    return Hello(
      nodeID: view.nodeID, peerID: nodeID ?? .none, blockCount: view.blockCount,
      role: view.replication.role, flags: flags, lossPolicy: view.replication.lossPolicy,
      mode: peer?.mode ?? view.replication.peers.first?.mode ?? .c,
      peerTimeoutMilliseconds: view.replication.peerTimeoutMilliseconds,
      position: view.position, timelines: view.timelines, address: options.advertisedAddress)
  }

  // MARK: Commands

  /// Asks who listens at an address.
  private func probe(_ address: String) async throws(ReplicaCommandError) -> Hello {
    guard let stream = await call(address) else {
      throw .notNow("nobody answers at \(address)")
    }
    let machine = machine
    guard let channel = FrameChannel(stream, clock: { machine.nowNanoseconds }) else {
      throw .array(.outOfMemory)
    }
    var answer: Hello?
    var words = "it does not speak this protocol"
    let watch = Task(executorPreference: machine) { [options] in
      await machine.sleep(nanoseconds: options.silenceNanoseconds)
      stream.shutdown()
    }
    do throws(SessionEnd) {
      let hello = hello(to: nil)
      let timelineID = hello.timelines.last?.timelineID ?? .none
      try await channel.send(.hello(hello), timelineID: timelineID)
      let frame = try await channel.receive { PayloadSlot(byteCount: $0) }
      if case .hello(let theirs) = frame.message { answer = theirs }
    } catch {
      words = error.words
    }
    stream.shutdown()
    await watch.value
    await stream.close()
    guard let answer else { throw .notNow("at \(address): \(words)") }
    return answer
  }

  /// Makes the node at an address a replica of this one.
  package func addReplica(
    at address: String, mode: ReplicaMode, lossPolicy: LossPolicy, timeoutMilliseconds: UInt32
  ) async throws(ReplicaCommandError) -> Identifier {
    guard address.utf8.count <= Peer.addressBytesMax else {
      throw .notNow("the address is longer than \(Peer.addressBytesMax) bytes")
    }
    let theirs = try await probe(address)
    let view = await engine.nodeView
    guard theirs.blockCount == view.blockCount else {
      throw .notNow(
        "the devices differ in size: \(view.blockCount * 4096) bytes here, "
          + "\(theirs.blockCount * 4096) there")
    }
    let isKnown = view.replication.peers.contains { $0.nodeID == theirs.nodeID }
    guard isKnown || theirs.flags.contains(.isEmpty) else {
      throw .notNow(
        "the array at \(address) is not empty: a replica's data would take its place. 'ashlar replica seed' "
          + "there gives up what it holds; or create it anew ('ashlar create --force' names what it destroys)"
      )
    }
    try await engine.addPeer(
      nodeID: theirs.nodeID, mode: mode, lossPolicy: lossPolicy,
      timeoutMilliseconds: timeoutMilliseconds, address: address)
    noteChange()
    return theirs.nodeID
  }

  /// No longer waits for a replica, or keeps anything for it.
  package func removeReplica(_ nodeID: Identifier) async throws(ReplicaCommandError) {
    try await engine.removePeer(nodeID)
    for session in sessions where session.theirs?.nodeID == nodeID {
      session.finish(.stopped("the replica was removed"))
    }
    noteChange()
  }

  /// Makes this node the primary.
  ///
  /// - Returns: what was done, in words.
  package func promote(isForced: Bool) async throws(ReplicaCommandError) -> String {
    let words = try await engine.promote(isForced: isForced)
    isHolding = false
    // Whoever still sends as a primary is refused; the peers are called anew.
    for session in sessions
    where session.replica == nil && !engine.options.plants(.takesSuperseded) {
      session.finish(.stopped("this node was promoted"))
    }
    noteChange()
    return words
  }

  /// Gives up the role of the primary, when a replica has everything durably.
  package func demote() async throws(ReplicaCommandError) -> String {
    let position = try await engine.beginHandOver()
    for session in sessions where session.replica != nil { session.handOver(at: position) }
    return "the role is handed over at record \(position.number): promote a replica now"
  }

  /// Gives up what only this node has, and follows the other history.
  package func resync(
    _ consent: DivergenceConsent
  ) async throws(ReplicaCommandError) -> DivergedData {
    let data = try await engine.resync(consent)
    noteChange()
    return data
  }

  /// Begins to compare everything with a replica that is in step: the only one, without its identity.
  ///
  /// - Returns: with whom.
  package func beginVerify(_ nodeID: Identifier?) async throws(ReplicaCommandError) -> Identifier {
    let view = await engine.nodeView
    guard view.replication.role == .primary else {
      throw .notNow("it is not a primary: a comparison is begun there")
    }
    guard nodeID != nil || view.replication.peers.count == 1 else {
      throw .notNow("it has \(view.replication.peers.count) replicas: say which one")
    }
    guard let peer = view.replication.peers.first(where: { $0.nodeID == nodeID ?? $0.nodeID })
    else { throw .unknownReplica(nodeID ?? .none) }
    if let old = verifications[peer.nodeID], old.isRunning {
      throw .notNow("a comparison with it is under way")
    }
    guard
      let session = sessions.first(where: {
        $0.theirs?.nodeID == peer.nodeID && $0.end == nil && $0.phase == .inStep
      })
    else { throw .notNow("the replica is not in step: only then there is something to compare") }
    let seconds = engine.options.unixSeconds()
    let verification = Verification(
      of: peer.nodeID, blockCount: view.blockCount, unixSeconds: seconds)
    verifications[peer.nodeID] = verification
    session.begin(verification)
    return peer.nodeID
  }

  /// Ends comparisons that are under way, where they are.
  ///
  /// - Returns: whether there was one.
  package func cancelVerify() -> Bool {
    var wasRunning = false
    for session in sessions where session.verification?.isRunning == true {
      session.interrupt("it was cancelled")
      wasRunning = true
    }
    return wasRunning
  }

  /// What that would be; nil when no other history was met.
  package func divergedData() async throws(ReplicaCommandError) -> DivergedData? {
    do throws(ArrayError) {
      return try await engine.divergedData()
    } catch {
      throw .array(error)
    }
  }

  /// How each connection is; waits for nothing.
  package var connections: [ConnectionStatus] {
    let view = engine.assumeIsolated { $0.nodeView }
    return view.replication.peers.map { peer in
      let session = sessions.last { $0.theirs?.nodeID == peer.nodeID && $0.end == nil }
      let progress = engine.assumeIsolated { $0.replicaProgress(peer.nodeID) }
      return ConnectionStatus(
        peer: peer, phase: session?.phase,
        lastEnd: session == nil ? lastEnds[peer.nodeID] : nil,
        receivedNumber: progress?.received ?? 0, loggedNumber: progress?.logged ?? 0,
        durableNumber: progress?.durable ?? 0, copiedUnitCount: session?.copyProgress.done ?? 0,
        copyUnitCount: session?.copyProgress.all ?? 0,
        copyBytesPerSecond: session?.copyRate.bytesPerSecond ?? 0,
        copySecondsLeft: session?.copySecondsLeft,
        verification: verifications[peer.nodeID]?.status)
    }
  }
}

/// A peer, and the connection with it.
package struct ConnectionStatus: Equatable, Sendable {
  package var peer: Peer
  /// Nil when there is none.
  package var phase: SessionPhase?
  /// Why the last one ended; nil while there is one, or when there was none.
  package var lastEnd: String?
  package var receivedNumber: UInt64
  package var loggedNumber: UInt64
  package var durableNumber: UInt64
  /// Of a copy that is under way; both 0 else.
  package var copiedUnitCount: UInt64
  package var copyUnitCount: UInt64
  package var copyBytesPerSecond: UInt64
  package var copySecondsLeft: ClosedRange<UInt64>?
  /// The last comparison of everything, since this node was started.
  package var verification: VerificationStatus?
}

extension Session {
  /// The primary has given up its role at a position.
  func handOver(at position: StreamPosition) {
    handOverPosition = position
    signal()
  }

  var copySecondsLeft: ClosedRange<UInt64>? {
    let (done, all) = copyProgress
    return all > 0
      ? copyRate.secondsLeft(forBytes: (all - done) * Self.unitBlockCount * 4096) : nil
  }

  var copyProgress: (done: UInt64, all: UInt64) {
    guard isCopying, replica != nil else { return (0, 0) }
    return (min(unitsDone, unitCount), unitCount)
  }
}
