package import DiskFormat
import Geometry
package import IO
import Units
import Volumes

// What this node is to others that hold the same device, and what it makes durable of that.
extension ArrayEngine {
  /// What it is now; waits for nothing.
  package var nodeView: NodeView {
    let position = parts.openLog?.position ?? StreamPosition(number: 0, chain: 0)
    return NodeView(
      nodeID: parts.arrayID, blockCount: geometry.blockCount,
      replication: membership.replication,
      // A crash can have taken the records behind which the last of them began; and one that is to be
      // copied to has records of its own until then, as many perhaps, but others.
      timelines: membership.timelines.filter {
        $0.start.number < position.number || $0.start == position
      },
      position: position, isOpen: isOpen && clientAccess == .readWrite,
      isEmpty: isSeed
        || position.number == 0 && parts.table.nextPresent(from: 0) == nil && parts.index.isEmpty)
  }

  /// Whether clients are served.
  package var clientAccess: ClientAccess {
    let state = membership.replication
    switch state.role {
    case .alone: return .readWrite
    case .replica:
      guard state.isConsistent else {
        return .none(
          "it is a replica, and the copy that it is being made is not complete"
            + (state.undoID != .none
              ? " ('ashlar replica step-back NAME' returns to the state before it)" : ""))
      }
      return .readOnly(
        "it is a replica: writes are its primary's ('ashlar promote NAME' makes it one)")
    case .primary:
      if let superseded = nodes.superseded { return .none(superseded) }
      if state.isHandedOver {
        return .readOnly(
          "its role was handed over ('ashlar promote NAME --force NAME' takes it back)")
      }
      guard nodes.isHeard || options.plants(.startsUnheard) else {
        return .none(
          "its replica has not been heard since the start: another node may be the primary by now "
            + "('ashlar promote NAME --force NAME' goes on without)")
      }
      if nodes.stoppedSinceSeconds != nil, nodes.hasFailedClients {
        return .readOnly(
          "a write failed because its replica was lost, and '--on-peer-loss stop' is in force: what a "
            + "client believes to be written may not be. Unmount it, 'ashlar stop' and serve the array "
            + "again: then it goes on with its replica")
      }
      if nodes.stoppedSinceSeconds != nil {
        return .readOnly(
          "its replica is lost, and '--on-peer-loss stop' is in force: writes are refused until it "
            + "is back ('ashlar replica remove' goes on without)")
      }
      return .readWrite
    }
  }

  /// Told when there is something new for sessions to look at.
  package func watchNodes(_ onChange: @escaping @Sendable () -> Void) { nodes.onChange = onChange }

  // MARK: Configuration

  private func peerIndex(_ nodeID: Identifier) -> Int? {
    membership.replication.peers.firstIndex { $0.nodeID == nodeID }
  }

  /// Makes a state of replication durable, on all members, before the return.
  private func record(
    _ change: (inout ReplicationState) -> Void
  ) async throws(ArrayError) {
    change(&membership.replication)
    try await membership.change()
    if let reason = membership.stopReason { throw .stopped(reason) }
    restoreReplicas()
    nodes.onChange()
  }

  /// What the log needs to know of replicas, from the configuration.
  func restoreReplicas() {
    guard let log = parts.openLog else { return }
    if membership.replication.role == .replica, let primary = membership.replication.peers.first {
      keepForPrimary(primary.nodeID, behind: log.checkpointNumber)
    }
    guard membership.replication.role == .primary else { return }
    watchReplicas()
    for peer in membership.replication.peers where log.replica(peer.nodeID) == nil {
      _ = log.addReplica(
        peer.nodeID, mode: peer.mode, counts: peer.counts,
        // The checkpoint never passed what it may lack, unless that was given up.
        durable: max(peer.position.number, log.checkpointNumber))
    }
  }

  // MARK: Replicas of a primary

  /// Makes a node a replica of this one; it does not count before it is in step.
  package func addPeer(
    nodeID: Identifier, mode: ReplicaMode, lossPolicy: LossPolicy, timeoutMilliseconds: UInt32,
    address: String
  ) async throws(ReplicaCommandError) {
    await commandTurn.acquire()
    defer { commandTurn.release() }
    let state = membership.replication
    guard state.role != .replica else {
      throw .notNow("it is a replica itself: replicas are added at its primary")
    }
    guard nodeID != parts.arrayID else { throw .notNow("that is this array itself") }
    let peer = Peer(
      nodeID: nodeID, mode: mode, counts: false, position: StreamPosition(number: 0, chain: 0),
      sinceSeconds: options.unixSeconds(), address: address)
    do throws(ArrayError) {
      if let index = peerIndex(nodeID) {
        try state.checkTerms(of: state.peers[index], mode, lossPolicy)
        try await record {
          $0.peers[index].mode = mode
          $0.peers[index].address = address
          $0.lossPolicy = lossPolicy
          $0.peerTimeoutMilliseconds = timeoutMilliseconds
        }
        parts.log.replica(nodeID)?.mode = mode
        return
      }
      guard state.peers.count < ReplicationState.peerCountMax else {
        throw ArrayError.refused(ReplicaCommandError.tooMany.words)
      }
      // Nobody can have taken over from one that had nobody.
      if state.role == .alone { nodes.isHeard = true }
      try await record {
        $0.role = .primary
        $0.lossPolicy = lossPolicy
        $0.peerTimeoutMilliseconds = timeoutMilliseconds
        $0.peers.append(peer)
      }
      restoreReplicas()
    } catch {
      throw .array(error)
    }
    parts.events.note("node \(nodeID) (\(address)) is a replica, mode \(mode.name)")
  }

  /// Takes a replica off the list: nobody waits for it any more, and nothing is kept for it.
  package func removePeer(_ nodeID: Identifier) async throws(ReplicaCommandError) {
    await commandTurn.acquire()
    defer { commandTurn.release() }
    guard let index = peerIndex(nodeID) else { throw .unknownReplica(nodeID) }
    let isLast = membership.replication.peers.count == 1
    if membership.replication.role == .primary {
      guard await askArbiter(.goOnAlone, without: nodeID) ?? true else {
        throw .notNow("the arbiter does not let this node go on without it")
      }
    }
    do throws(ArrayError) {
      try await record {
        $0.peers.remove(at: index)
        if isLast { $0 = .alone }
      }
    } catch {
      throw .array(error)
    }
    if isLast {
      forgetNodes()
      endAbandoningRequests()
    }
    parts.log.removeReplica(nodeID)
    parts.events.note("node \(nodeID) is no longer a replica")
  }

  private func forgetNodes() {
    nodes.isHeard = false
    nodes.superseded = nil
    nodes.stoppedSinceSeconds = nil
    nodes.divergence = nil
  }

  /// A replica has been heard, and this node has all that it has: clients are served.
  ///
  /// After a crash a timeline begins: replicas that were not heard may have records that this node has
  /// lost, and numbers again (rule C1).
  ///
  /// - Returns: whether one has begun: the others have to be told in a new hello.
  package func noteHeard() async throws(ArrayError) -> Bool {
    guard membership.replication.role == .primary, !nodes.isHeard else { return false }
    var hasBegun = false
    if !plan.isClean, !options.plants(.recoversWithoutTimeline) {
      let view = nodeView
      membership.timelines = Self.newest(
        view.timelines
          + [Timeline(timelineID: membership.drawIdentifier(), start: view.position)])
      try await record { _ in }
      hasBegun = true
    }
    nodes.isHeard = true
    nodes.divergence = nil
    nodes.onChange()
    return hasBegun
  }

  /// A replica is in step: from now on acknowledgements wait for it, and then that is recorded.
  package func beginCounting(_ nodeID: Identifier) async throws(ArrayError) {
    guard let replica = parts.log.replica(nodeID), let index = peerIndex(nodeID) else { return }
    // Before the configuration says so (rule C5).
    if !options.plants(.countsBeforeWaiting) { parts.log.setCounts(replica, true) }
    guard !membership.replication.peers[index].counts else { return endPolicyStop() }
    let seconds = options.unixSeconds()
    try await record {
      guard let index = $0.peers.firstIndex(where: { $0.nodeID == nodeID }) else { return }
      $0.peers[index].counts = true
      $0.peers[index].sinceSeconds = seconds
    }
    parts.log.setCounts(replica, true)
    parts.events.note("replica \(nodeID) is in step")
    endPolicyStop()
  }

  /// A lost replica keeps writes from being accepted, and its return would end that.
  package var isStoppedByPolicy: Bool {
    nodes.stoppedSinceSeconds != nil && !nodes.hasFailedClients
  }

  /// A replica has to be copied to anew, also one that counted: until that is done it confirms
  /// nothing, and cannot be promoted; so what waits for it is shown, but with the policy `stop` nothing
  /// further is accepted.
  package func beginCopying(_ nodeID: Identifier) async throws(ArrayError) {
    guard let replica = parts.log.replica(nodeID), let index = peerIndex(nodeID) else { return }
    guard replica.counts || membership.replication.peers[index].counts else { return }
    replica.isBeingSetAside = true
    defer { replica.isBeingSetAside = false }
    let mayGoOn = await askArbiter(.goOnAlone, without: nodeID) ?? true
    if membership.replication.lossPolicy == .stop || !mayGoOn {
      stopByPolicy("replica \(nodeID) has to be copied to anew")
    }
    let seconds = options.unixSeconds()
    try await record {
      guard let index = $0.peers.firstIndex(where: { $0.nodeID == nodeID }) else { return }
      $0.peers[index].counts = false
      $0.peers[index].sinceSeconds = seconds
    }
    parts.log.setCounts(replica, false)
  }

  private func endPolicyStop(_ reason: String = "its replica is back") {
    guard nodes.stoppedSinceSeconds != nil, !nodes.hasFailedClients else { return }
    endAbandoningRequests()
    nodes.stoppedSinceSeconds = nil
    parts.events.note("\(reason): writes are accepted again")
    nodes.onChange()
  }

  /// A replica does not answer: nothing is acknowledged without it before that is recorded, or
  /// nothing more is acknowledged at all.
  package func setAside(_ nodeID: Identifier, because reason: String) async {
    guard isOpen, let replica = parts.openLog?.replica(nodeID), replica.counts,
      !replica.isBeingSetAside
    else { return }
    guard membership.replication.lossPolicy == .goOn else {
      return stopByPolicy("replica \(nodeID) \(reason)")
    }
    replica.isBeingSetAside = true
    defer { replica.isBeingSetAside = false }
    guard await askArbiter(.goOnAlone, without: nodeID) ?? true else {
      return stopByPolicy(
        "replica \(nodeID) \(reason), and the arbiter does not let this node go on alone")
    }
    guard let index = peerIndex(nodeID), replica.counts else { return }
    let known = replica.durable
    let seconds = options.unixSeconds()
    if options.plants(.setsAsideUnrecorded) { parts.log.setCounts(replica, false) }
    do throws(ArrayError) {
      try await record {
        $0.peers[index].counts = false
        $0.peers[index].sinceSeconds = seconds
        $0.peers[index].position = StreamPosition(number: known, chain: 0)
      }
    } catch {
      // Without a configuration that says so nobody goes on: the array has stopped.
      return
    }
    // It may have come in step again meanwhile, which is recorded behind this.
    guard let index = peerIndex(nodeID), !membership.replication.peers[index].counts else { return }
    parts.log.setCounts(replica, false)
    // It may have been refused before.
    endPolicyStop("the arbiter lets this node go on alone")
    parts.events.note(
      "replica \(nodeID) is set aside: it \(reason); the data is not mirrored", .warning)
  }

  private func stopByPolicy(_ words: String) {
    guard nodes.stoppedSinceSeconds == nil else { return }
    nodes.stoppedSinceSeconds = options.unixSeconds()
    if abandonRequests() { nodes.hasFailedClients = true }
    parts.events.note("writes are refused: \(words)", .error)
    nodes.onChange()
  }

  private func watchReplicas() {
    guard !nodes.isWatched else { return }
    nodes.isWatched = true
    spawn {
      await $0.runReplicaWatch()
      $0.nodes.isWatched = false
    }
  }

  /// Sets aside replicas that owe an answer for too long; until the end.
  func runReplicaWatch() async {
    while !isEnding, membership.stopReason == nil, membership.replication.role == .primary {
      let timeout = UInt64(membership.replication.peerTimeoutMilliseconds) * 1_000_000
      await machine.sleep(nanoseconds: max(1_000_000, min(timeout / 8, 250_000_000)))
      guard isOpen else { continue }
      await tendArbiter()
      let now = machine.nowNanoseconds
      for replica in parts.log.replicas {
        guard let since = parts.log.waitsSince(replica), now > since, now - since > timeout else {
          continue
        }
        await setAside(replica.nodeID, because: "has not answered for \(timeout / 1_000_000) ms")
      }
    }
  }

  // MARK: A replica

  /// Becomes, or stays, the replica of a node whose history begins with this one's.
  ///
  /// `role`: what this node was when it told the primary what it has: it may be another by now.
  /// `timelines`: the primary's; those that begin behind what is here are taken when records
  ///     come that far.
  /// `copyBase`: a copy begins, which makes this node inconsistent until `endCopy`: records count
  ///     from there.
  package func follow(
    _ primary: Identifier, from role: NodeRole, address: String, mode: ReplicaMode,
    lossPolicy: LossPolicy, timeoutMilliseconds: UInt32, timelines: [Timeline],
    copyBase: StreamPosition?
  ) async throws(ArrayError) {
    guard membership.replication.role == role else {
      throw .refused("its role has changed meanwhile")
    }
    let position = copyBase ?? parts.log.position
    nodes.timelinesAhead = timelines.filter { $0.start.number > position.number }
    let reached = timelines.filter { $0.start.number <= position.number }
    let old = membership.replication
    var state = ReplicationState()
    state.role = .replica
    state.lossPolicy = lossPolicy
    state.peerTimeoutMilliseconds = timeoutMilliseconds
    state.isConsistent = old.isConsistent && copyBase == nil
    state.undoID = copyBase == nil ? old.undoID : nodes.undoID
    let known = old.peers.first { $0.nodeID == primary }
    // In another timeline the primary may have gone on without this node: what it said before holds
    // no longer.
    let isSameTimeline = timelines.last?.timelineID == membership.timelines.last?.timelineID
    if !isSameTimeline { nodes.standingIsKnown = false }
    state.peers = [
      Peer(
        nodeID: primary, mode: mode,
        counts: old.role == .replica && copyBase == nil && isSameTimeline
          ? known?.counts ?? false : false,
        position: position, sinceSeconds: known?.sinceSeconds ?? options.unixSeconds(),
        address: address.isEmpty ? known?.address ?? "" : address)
    ]
    for peer in old.peers where peer.nodeID != primary { parts.log.removeReplica(peer.nodeID) }
    if old.role != .replica || copyBase != nil { parts.log.removeReplica(primary) }
    keepForPrimary(primary, behind: parts.log.checkpointNumber)
    endAbandoningRequests()
    nodes.superseded = nil
    nodes.divergence = nil
    nodes.stoppedSinceSeconds = nil
    nodes.hasFailedClients = false
    nodes.isHeard = false
    if state != old || reached != membership.timelines {
      membership.timelines = Self.newest(reached)
      try await record { $0 = state }
    }
    if let copyBase {
      if copyBase != parts.log.position { try await parts.log.begin(at: copyBase) }
      // What this primary has durably ends no earlier: its copy begins behind a flush.
      parts.log.removeReplica(primary)
      keepForPrimary(primary, behind: copyBase.number)
    }
    nodes.primaryIsConnected = true
  }

  /// The list as a superblock holds it: the oldest are forgotten first.
  static func newest(_ timelines: [Timeline]) -> [Timeline] {
    Array(timelines.suffix(Superblock.timelineCountMax))
  }

  /// Its primary has said whether acknowledgements wait for it.
  package func noteStanding(
    counts: Bool, lossPolicy: LossPolicy, mode: ReplicaMode
  ) async throws(ArrayError) {
    guard membership.replication.role == .replica else { return }
    nodes.standingIsKnown = counts
    guard let peer = membership.replication.peers.first,
      peer.counts != counts || peer.mode != mode
        || membership.replication.lossPolicy != lossPolicy
    else { return }
    let seconds = options.unixSeconds()
    try await record {
      $0.lossPolicy = lossPolicy
      $0.peers[0].counts = counts
      $0.peers[0].mode = mode
      $0.peers[0].sinceSeconds = seconds
    }
  }

  /// Its primary has said in this run that it has everything.
  package var isConfirmed: Bool { nodes.standingIsKnown }

  /// The link to its primary is gone.
  package func notePrimaryLost() {
    nodes.primaryIsConnected = false
    nodes.onChange()
  }

  /// A superseded or forked history was met: an operator has to decide.
  package func noteDivergence(_ words: String, after number: UInt64, isSuperseded: Bool) {
    nodes.forkNumber = number
    if nodes.divergence != words { parts.events.note(words, .error) }
    nodes.divergence = words
    if isSuperseded, membership.replication.role == .primary {
      nodes.superseded = words
      abandonRequests()
    }
    nodes.onChange()
  }

  /// Logs records of the primary in order; returns when they have their place.
  ///
  /// The payload stays as it is until so many records have been published as were handed over.
  ///
  /// `isCopy`: they are no client's and have no numbers.
  /// `isTail`: this node is a primary that fetches what it lost in a crash.
  /// `endNumber`: the number of the last.
  package func applyReplicated(
    _ records: [StreamBatch.Record], payload: IOBuffer, isCopy: Bool, isTail: Bool = false,
    endNumber: UInt64
  ) async throws(ArrayError) {
    try checkFollows(isTail: isTail)
    // Several may begin at one number.
    let reached = nodes.timelinesAhead.prefix { $0.start.number < endNumber }
    if !reached.isEmpty, !isCopy {
      nodes.timelinesAhead.removeFirst(reached.count)
      membership.timelines = Self.newest(membership.timelines + reached)
      try await record { _ in }
    }
    try await logReplicated(records, payload, isCopy: isCopy) { () throws(ArrayError) in
      // It may have been promoted meanwhile.
      try checkFollows(isTail: isTail)
    }
  }

  func checkFollows(isTail: Bool) throws(ArrayError) {
    if isTail {
      guard membership.replication.role == .primary, !nodes.isHeard else {
        throw .refused("it serves already")
      }
    } else if !options.plants(.takesSuperseded) {
      guard membership.replication.role == .replica, nodes.primaryIsConnected else {
        throw .refused("it is no replica any more")
      }
    }
  }

  /// A primary that learns of a later promotion gives way, if it has nothing that is not there too.
  ///
  /// `position`: what it said that it has; with more than that it must not give way.
  /// - Returns: false when it has more by now.
  package func giveWay(at position: StreamPosition, _ words: String) async -> Bool {
    nodes.superseded = words
    nodes.onChange()
    abandonRequests()
    // Who is under way ends first: nobody begins any more.
    let hold = await reservations.reserve(
      ByteRange(from: 0, to: geometry.byteCount), isExclusive: true)
    reservations.release(hold)
    return parts.log.position == position
  }

  /// The copy is complete and durable: this node is a prefix of its primary again (rule C3).
  package func endCopy() async throws(ArrayError) {
    if !options.plants(.copyEndsEarly) {
      try await parts.log.flush()
      try await parts.flushDirect()
    }
    try await record {
      $0.isConsistent = true
      $0.undoID = .none
    }
    parts.events.note("the copy is complete: this node has all of its primary's data")
  }

  // MARK: Roles

  /// Makes this node the primary, or lets one go on that has not heard its replicas.
  ///
  /// - Returns: what was done and may have been lost, in words.
  package func promote(isForced: Bool) async throws(ReplicaCommandError) -> String {
    await commandTurn.acquire()
    defer { commandTurn.release() }
    let state = membership.replication
    switch state.role {
    case .alone: throw .notNow("it has no replicas and is none: it serves writes already")
    case .primary: return try await goOn(state, isForced: isForced)
    case .replica: return try await takeOver(state, isForced: isForced)
    }
  }

  private func goOn(
    _ state: ReplicationState, isForced: Bool
  ) async throws(ReplicaCommandError) -> String {
    if nodes.superseded == nil, nodes.isHeard, !state.isHandedOver {
      throw .notNow("it is the primary, and serves")
    }
    guard await isLetGoOn(isForced: isForced) else {
      throw .needsForce(
        nodes.superseded ?? "its replicas have not been heard: one of them may have been promoted, "
          + "and would have writes that this node does not have")
    }
    try await beginTimeline { state in
      for index in state.peers.indices { state.peers[index].counts = false }
      state.isHandedOver = false
    }
    for replica in parts.log.replicas { parts.log.setCounts(replica, false) }
    return
      "it goes on as the primary, in a new timeline, without its replicas: a replica that cannot be "
      + "reached does not know that, and must not be promoted"
  }

  /// A primary that has not heard its replicas may go on: an operator, or the arbiter, says so.
  private func isLetGoOn(isForced: Bool) async -> Bool {
    guard !isForced else {
      _ = await askArbiter(.force)
      return true
    }
    guard nodes.superseded == nil, !membership.replication.isHandedOver else { return false }
    // Nobody counts any more before it is asked: what it notes is that this node is alone.
    for replica in parts.log.replicas { replica.isBeingSetAside = true }
    defer { for replica in parts.log.replicas { replica.isBeingSetAside = false } }
    return await askArbiter(.goOnAlone) ?? false
  }

  private func takeOver(
    _ state: ReplicationState, isForced: Bool
  ) async throws(ReplicaCommandError) -> String {
    guard state.isConsistent || options.plants(.promotesInconsistent) else {
      throw .notNow(
        "it is inconsistent: the copy that it is being made is not complete, and what is here is "
          + "no state that the primary ever had")
    }
    guard let primary = state.peers.first else {
      throw .notNow("its configuration does not say whose replica it is")
    }
    var doubt: String?
    if !state.isHandedOver, nodes.primaryIsConnected {
      doubt =
        "its primary \(primary.nodeID) is connected: 'ashlar demote' there hands the role over"
    }
    if doubt == nil || isForced, let isLet = await askArbiter(isForced ? .force : .bePromoted) {
      if !isLet { doubt = doubt ?? "the arbiter does not say that this node may be promoted" }
      guard membership.replication == state, isForced || !nodes.primaryIsConnected else {
        throw .notNow("its primary has come back meanwhile")
      }
    } else if doubt == nil, !state.isHandedOver {
      if !(primary.counts && primary.mode == .c && state.lossPolicy == .stop)
        || !(nodes.standingIsKnown || plan.isClean)
      {
        // With `stop`, nothing was acknowledged that is not here.
        doubt =
          "its link to the primary \(primary.nodeID) is down: the primary may have gone on alone, "
          + "and all that it acknowledged since would be lost"
      }
    }
    if let doubt, !isForced, !options.plants(.promotesOutdated) { throw .needsForce(doubt) }
    // The stream ends here: whoever still sends is refused by his timeline.
    nodes.primaryIsConnected = false
    do throws(ArrayError) {
      // Records that were taken and not logged yet come before the fork.
      try await parts.log.waitUntilPublished(parts.log.enqueuedCount)
    } catch {
      throw .array(error)
    }
    // What was kept for the primary was kept on other terms. It is called as soon as the role is
    // recorded: by then the log knows it as a replica.
    for peer in state.peers { parts.log.removeReplica(peer.nodeID) }
    try await beginTimeline { state in
      state.role = .primary
      state.isHandedOver = false
      for index in state.peers.indices { state.peers[index].counts = false }
    }
    return "it is the primary now, from record \(parts.log.position.number) on"
      + (doubt.map { "; forced although \($0)" } ?? "")
  }

  /// A new timeline begins here, durably, before anything is acknowledged in it (rule C1).
  private func beginTimeline(
    _ change: (inout ReplicationState) -> Void
  ) async throws(ReplicaCommandError) {
    do throws(ArrayError) {
      try await parts.log.flush()
      if !options.plants(.promotesWithoutTimeline) {
        let view = nodeView
        membership.timelines = Self.newest(
          view.timelines
            + [Timeline(timelineID: membership.drawIdentifier(), start: view.position)])
      }
      nodes.timelinesAhead = []
      let position = parts.log.position
      let seconds = options.unixSeconds()
      try await record {
        change(&$0)
        for index in $0.peers.indices {
          $0.peers[index].position = position
          $0.peers[index].sinceSeconds = seconds
        }
      }
    } catch {
      throw .array(error)
    }
    endAbandoningRequests()
    nodes.isHeard = true
    nodes.superseded = nil
    nodes.divergence = nil
    nodes.stoppedSinceSeconds = nil
    nodes.hasFailedClients = false
    nodes.onChange()
    parts.events.note("this node is the primary from record \(parts.log.position.number) on")
  }

  /// Gives up the role in good order: everything is made durable on both sides first.
  ///
  /// - Returns: the position that the replica has to have.
  package func beginHandOver() async throws(ReplicaCommandError) -> StreamPosition {
    await commandTurn.acquire()
    defer { commandTurn.release() }
    let state = membership.replication
    guard state.role == .primary else { throw .notNow("it is not a primary") }
    guard state.peers.contains(where: \.counts),
      parts.log.replicas.contains(where: { $0.counts && $0.isConnected })
    else {
      throw .notNow("no replica is connected and in step: there is nobody to hand the role to")
    }
    do throws(ArrayError) {
      // From here on nobody writes; who is under way ends first.
      membership.replication.isHandedOver = true
      let everything = ByteRange(from: 0, to: geometry.byteCount)
      let hold = await reservations.reserve(everything, isExclusive: true)
      reservations.release(hold)
      try await flushAll()
      guard membership.replication.peers.contains(where: \.counts) else {
        membership.replication.isHandedOver = false
        throw ArrayError.refused("the replica was lost meanwhile")
      }
      try await record { $0.isHandedOver = true }
    } catch {
      membership.replication.isHandedOver = false
      throw .array(error)
    }
    parts.events.note("the role of the primary is handed over")
    return parts.log.position
  }

  /// The primary has given up its role, and everything is here durably.
  package func takeHandOver(at position: StreamPosition) async throws(ArrayError) {
    try await parts.log.flush()
    guard membership.replication.role == .replica, parts.log.position == position else { return }
    try await record { $0.isHandedOver = true }
  }
}
