package import DiskFormat
import IO

/// What a node asks of whoever decides between two (docs/replication.md, section 7).
package struct ArbiterRequest: Equatable, Sendable {
  /// What is asked.
  package enum Question: String, Equatable, Sendable {
    /// May this node acknowledge without the replicas that are not in `inSync`?
    case goOnAlone
    /// May it become the primary?
    case bePromoted
    /// Acknowledgements wait for the replicas in `inSync`: each of them may be promoted.
    case inSync
    /// An operator has decided, whatever else is so.
    case force
  }

  package var question: Question
  package var nodeID: Identifier
  /// Drawn at each start of the node, and counts its questions in it: one that is carried out late is
  /// refused when a later one was answered.
  package var runID: Identifier
  package var number: UInt64
  /// All that this node is in, the newest last.
  package var timelineIDs: [Identifier]
  /// The replicas that acknowledgements wait for, this node left out.
  package var inSync: [Identifier]

  package init(
    question: Question, nodeID: Identifier, runID: Identifier, number: UInt64,
    timelineIDs: [Identifier], inSync: [Identifier]
  ) {
    self.question = question
    self.nodeID = nodeID
    self.runID = runID
    self.number = number
    self.timelineIDs = timelineIDs
    self.inSync = inSync
  }
}

/// What an arbiter keeps: one record, changed as a whole or not at all (rule C5).
package struct ArbiterRecord: Equatable, Sendable {
  /// Counts changes.
  package var version: UInt64
  /// Who may be the primary.
  package var holder: Identifier
  /// The holder's newest timeline, when it said so last.
  package var timelineID: Identifier
  /// Who has everything that was acknowledged, the holder included: nobody else is promoted.
  package var inSync: [Identifier]
  /// The holder's last question that was answered.
  package var runID: Identifier
  package var number: UInt64

  package init(
    version: UInt64, holder: Identifier, timelineID: Identifier, inSync: [Identifier],
    runID: Identifier, number: UInt64
  ) {
    self.version = version
    self.holder = holder
    self.timelineID = timelineID
    self.inSync = inSync
    self.runID = runID
    self.number = number
  }

  /// Decides a question by the record as it is.
  ///
  /// Nobody who holds it loses it but to a node in its in-sync set; whoever goes on alone takes the
  /// others out of that first. So two nodes never both have a yes that counts.
  ///
  /// - Returns: the record that says yes, to be written before anybody is told; nil for no.
  package static func answer(
    _ request: ArbiterRequest, _ record: ArbiterRecord?
  ) -> ArbiterRecord? {
    let isHolder = record?.holder == request.nodeID
    if let record, isHolder, record.runID == request.runID, request.number <= record.number {
      return nil
    }
    switch request.question {
    case .force: break
    case .goOnAlone, .inSync:
      // The first primary that asks takes it.
      guard record == nil || isHolder else { return nil }
    case .bePromoted:
      guard let record, isHolder || record.inSync.contains(request.nodeID),
        request.timelineIDs.contains(record.timelineID)
      else { return nil }
    }
    let takesOver = request.question == .bePromoted || request.question == .force
    return ArbiterRecord(
      version: (record?.version ?? 0) &+ 1, holder: request.nodeID,
      timelineID: request.timelineIDs.last ?? .none,
      inSync: [request.nodeID] + (takesOver ? [] : request.inSync), runID: request.runID,
      number: request.number)
  }
}

extension ArrayEngine {
  /// Who is asked before this node goes on alone, or is promoted; an answer that does not come is no.
  package func setArbiter(_ ask: @escaping @Sendable (ArbiterRequest) async -> Bool) {
    nodes.arbiter = ask
    nodes.arbiterRunID = membership.drawIdentifier()
  }

  /// Asks the arbiter, if there is one.
  ///
  /// One question at a time; while it is out, who is in sync is looked at only by who holds the turn.
  ///
  /// - Returns: nil without an arbiter.
  func askArbiter(
    _ question: ArbiterRequest.Question, without leaving: Identifier? = nil
  ) async -> Bool? {
    guard let ask = nodes.arbiter else { return nil }
    await nodes.arbiterTurn.acquire()
    defer { nodes.arbiterTurn.release() }
    let inSync = countingReplicas.filter { $0 != leaving }
    nodes.arbiterNumber += 1
    let request = ArbiterRequest(
      question: question, nodeID: parts.arrayID, runID: nodes.arbiterRunID,
      number: nodes.arbiterNumber, timelineIDs: nodeView.timelines.map(\.timelineID),
      inSync: inSync)
    let answer = ArbiterAnswer()
    let machine = machine
    Task(executorPreference: machine) { answer.isYes = await ask(request) }
    let began = machine.nowNanoseconds
    while answer.isYes == nil,
      machine.nowNanoseconds - began < options.arbiterDeadlineNanoseconds
    { await machine.sleep(nanoseconds: 2_000_000) }
    let isYes = answer.isYes == true
    // Without a yes nobody knows what was written down.
    nodes.arbiterKnows = isYes && question != .bePromoted && question != .force ? inSync : nil
    return isYes
  }

  /// The replicas that acknowledgements wait for, and that nobody is setting aside.
  private var countingReplicas: [Identifier] {
    guard membership.replication.role == .primary, let log = parts.openLog else { return [] }
    return log.replicas.filter { $0.counts && !$0.isBeingSetAside }.map(\.nodeID)
  }

  /// Tells the arbiter who is in sync, whenever that has changed; and asks it again where it has not
  /// let this node go on.
  func tendArbiter() async {
    guard nodes.arbiter != nil, isOpen, membership.replication.role == .primary,
      nodes.superseded == nil, !membership.replication.isHandedOver
    else { return }
    let now = machine.nowNanoseconds
    guard now >= nodes.arbiterNextNanoseconds else { return }
    let timeout = UInt64(membership.replication.peerTimeoutMilliseconds) * 1_000_000
    if !nodes.isHeard {
      // Its replicas have had their time to connect.
      let since = nodes.unheardSinceNanoseconds ?? now
      nodes.unheardSinceNanoseconds = since
      guard now - since > 4 * timeout else { return }
      nodes.arbiterNextNanoseconds = now + 1_000_000_000
      do throws(ReplicaCommandError) {
        parts.events.note(try await promote(isForced: false))
      } catch {}
      return
    }
    if nodes.stoppedSinceSeconds != nil, !nodes.hasFailedClients {
      for replica in parts.log.replicas where replica.counts && !replica.isConnected {
        nodes.arbiterNextNanoseconds = now + 1_000_000_000
        await setAside(replica.nodeID, because: "is not connected")
      }
      return
    }
    guard nodes.arbiterKnows != countingReplicas else { return }
    if await askArbiter(.inSync) == false {
      nodes.arbiterNextNanoseconds = machine.nowNanoseconds + 1_000_000_000
    }
  }
}

// Safe: the task that asks and the one that waits run on the same executor.
private final class ArbiterAnswer: @unchecked Sendable { var isYes: Bool? }
