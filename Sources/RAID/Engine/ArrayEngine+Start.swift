package import DiskFormat
import Geometry
import IO

/// Why an array does not start.
package enum ArrayStartError: Error, Sendable {
  /// The members do not make an array, or must not start now.
  case assembly(AssemblyRefusal)
  /// Somebody else serves it.
  case inUse(Ownership.Use)
  /// The log lacks something that was durable.
  case logDamaged(firstSequence: UInt64, runs: [BlockRun]?)
  case array(ArrayError)

  /// Whether `ArrayOptions.isForced` would make the difference.
  package var canBeForced: Bool {
    if case .assembly(.mayHaveDiverged) = self { return true }
    return false
  }
}

extension ArrayEngine {
  /// Assembles members, recovers, and serves.
  ///
  /// The members come in any order, stale ones too; `log` is told what happens, a line each.
  /// Each configuration is handed to `record` before any member has it. What is to be kept of scrubs
  /// is handed to `keepScrub`, which must not wait: losing it costs a new scrub.
  package static func start(
    members all: [MemberHandle<D>], machine: M, options given: ArrayOptions,
    log: @escaping @Sendable (EventSeverity, String) -> Void,
    record: @escaping @Sendable (Superblock) async -> Void = { _ in },
    keepScrub: @escaping @Sendable (ScrubState) -> Void = { _ in }
  ) async throws(ArrayStartError) -> ArrayVolume<M, D> {
    var options = given
    let probe = MemberProbe<M, D>(machine)
    let answers = await probe.ask(
      all, withinNanoseconds: options.memberDeadlineNanoseconds)
    for (member, answer) in zip(all, answers) where answer == nil {
      log(.warning, "\(member.name) does not answer: the array is started without it")
      options.noteSilence(of: member.name)
    }
    var members = zip(all, answers).filter { $0.1 != nil }.map(\.0)
    var reports = answers.compactMap { $0 }
    if options.watchesOwners, Ownership.mustWatch(reports) {
      await machine.sleep(nanoseconds: Ownership.watchNanoseconds)
      // Another probe: the first may still be waiting for somebody.
      let again = await MemberProbe<M, D>(machine).ask(
        members, withinNanoseconds: options.memberDeadlineNanoseconds)
      for (member, answer) in zip(members, again) where answer == nil {
        log(.warning, "\(member.name) does not answer any more: the array is started without it")
        options.noteSilence(of: member.name)
      }
      reports = zip(reports, again).filter { $0.1 != nil }.map(\.0)
      members = zip(members, again).filter { $0.1 != nil }.map(\.0)
      let later = again.compactMap { $0 }
      switch Ownership.judge(before: reports, after: later) {
      case .free: break
      case .abandoned(let warnings): for warning in warnings { log(.warning, warning) }
      case .inUse(let use): throw .inUse(use)
      }
      reports = later
    }
    let plan: AssemblyPlan
    let assembly = AssemblyOptions(
      isForced: options.isForced, knownConfiguration: options.knownConfiguration,
      absences: options.absences,
      plantedBug: options.plantedBug)
    switch AssemblyPlan.decide(reports: reports, options: assembly) {
    case .success(let decided): plan = decided
    case .failure(let refusal): throw .assembly(refusal)
    }
    for warning in plan.warnings { log(.warning, warning) }
    if let text = impossibility(plan) { throw .array(.stopped(text)) }
    let engine: ArrayEngine
    do throws(ArrayError) {
      engine = try ArrayEngine(
        machine: machine, plan: plan, members: members, options: options, log: log,
        record: record)
      await engine.continueScrub(keepScrub)
    } catch {
      throw .array(error)
    }
    let late = all.indices.filter { answers[$0]?.newest == nil }
    do throws(ArrayStartError) {
      try await engine.open(members)
      for member in plan.unlisted { await members[member.report].disk.close() }
      for index in late { await engine.watchForLate(all[index], index, probe) }
    } catch {
      await engine.end()
      throw error
    }
    return ArrayVolume(engine)
  }

  /// Why superblocks that are whole can still not be served; nil where they can.
  ///
  /// Counters that no array reaches were not written by one: adding to them would overflow.
  private static func impossibility(_ plan: AssemblyPlan) -> String? {
    guard plan.layout.logByteCount >= LogLimits.regionBytesMin else {
      return "the log of \(plan.layout.logByteCount) bytes is too small"
    }
    for superblock in plan.superblocks.compactMap({ $0 }) + [plan.newest] {
      let counters = [
        superblock.superblockSequence, superblock.eventCount, superblock.epochFirstSequence,
        superblock.checkpointSequence, superblock.checkpointClientSequence, superblock.horizon,
        superblock.heartbeat, superblock.pageSequence,
      ]
      // The epoch is the upper part of the pages' sequence numbers.
      guard superblock.logEpoch < 1 << 23, counters.allSatisfy({ $0 < 1 << 63 }) else {
        return "the superblock of member \(superblock.slot) has numbers that no array reaches"
      }
    }
    return nil
  }

  // MARK: Opening

  private func open(_ members: [MemberHandle<D>]) async throws(ArrayStartError) {
    let begin = machine.readClock()
    attach(members)
    startTasks()
    let recovered = try await readDurably()
    parts.recovered = recovered
    do throws(ArrayError) {
      if plan.hasOlderCopy { try await markAllChanged() }
      try await beginEpoch(recovered)
      try await loadTable()
      try await replay(recovered)
    } catch {
      throw .array(error)
    }
    recovery.wasClean = plan.isClean
    recovery.batchCount = recovered.batchCount
    startWriting()
    isOpen = true
    recovery.nanoseconds = machine.readClock() - begin
    if !recovery.wasClean { parts.events.note(recovery.words) }
    if resyncsAutomatically { await resyncStale() }
  }

  private func attach(_ handles: [MemberHandle<D>]) {
    for slot in 0..<geometry.memberCount {
      let member = parts.members[slot]
      switch plan.slots[slot] {
      case .current(let report):
        member.identify(plan.newest.memberIDs[slot], name: handles[report].name)
        member.attach(handles[report].disk, state: .current)
        if let superblock = plan.superblocks[slot] {
          superblocks.adopt(superblock, slot: slot)
        }
      case .stale(let report, let reason):
        member.identify(
          plan.newest.memberIDs[slot], name: handles[report].name,
          absence: "it is out of date: \(reason.words)")
        member.attach(handles[report].disk, state: .syncing)
        member.putOut(reason == .failed ? .commanded : nil)
      case .missing(let wasCurrent):
        let known = options.absences[plan.newest.memberIDs[slot].description]
        member.identify(
          plan.newest.memberIDs[slot], name: known?.place ?? "",
          absence: known?.reason ?? "it is not among the members that were given")
        if !wasCurrent, plan.newest.memberStates[slot] == .failed { member.putOut(.commanded) }
      }
    }
    for content in plan.reserves { attach(content, handles) }
  }

  private func attach(_ content: ReserveContent, _ handles: [MemberHandle<D>]) {
    let (seat, memberID) = (content.reserve.seat, content.reserve.memberID)
    let member = parts.members[seat]
    member.targetSlot = content.reserve.targetSlot
    guard let report = content.report, let superblock = content.superblock else {
      let known = options.absences[memberID.description]
      return member.identify(
        memberID, name: known?.place ?? "",
        absence: known?.reason ?? "it is not among the members that were given")
    }
    take(seat, superblock, handles[report])
  }

  /// A reserve is there.
  func take(_ seat: Int, _ superblock: Superblock, _ handle: MemberHandle<D>) {
    let member = parts.members[seat]
    member.identify(superblock.memberID, name: handle.name)
    member.attach(handle.disk, state: .syncing)
    superblocks.adopt(superblock, slot: seat)
    if let slot = member.targetSlot { parts.members.beginMirroring(slot, to: seat) }
  }

  /// Reads the log and makes what it holds durable (rule L3).
  ///
  /// A batch that goes bad in between is judged like any other that cannot be read.
  private func readDurably() async throws(ArrayStartError) -> RecoveredLog<M, D> {
    var triesLeft = 3
    while true {
      let begin = machine.readClock()
      let recovered = try await readLog()
      let end = machine.readClock()
      recovery.readNanoseconds += end - begin
      if options.plants(.recoveryServesBeforeDurable) { return recovered }
      do throws(ArrayError) {
        try await recovered.rewrite()
        recovery.rewriteNanoseconds += machine.readClock() - end
        return recovered
      } catch {
        triesLeft -= 1
        guard recovered.hasLostBatch, triesLeft > 0 else { throw .array(error) }
      }
    }
  }

  private func readLog() async throws(ArrayStartError) -> RecoveredLog<M, D> {
    guard let start = LogStart(plan.superblocks.compactMap { $0 }) else {
      preconditionFailure("a plan has current members")
    }
    let reader = LogReader<M, D>(
      members: parts.members, membership: membership, arrayID: parts.arrayID,
      layout: parts.layout, options: options, geometry: geometry)
    do throws(LogReadError) {
      return try await reader.read(start)
    } catch {
      switch error {
      case .damaged(let sequence, let runs):
        throw .logDamaged(firstSequence: sequence, runs: runs)
      case .array(let error): throw .array(error)
      }
    }
  }

  /// Decides what was found: the log goes on in a new epoch, with the members that are here.
  private func beginEpoch(_ recovered: RecoveredLog<M, D>) async throws(ArrayError) {
    if options.plants(.recoveryKeepsEpoch) { membership.epoch -= 1 }
    membership.ownerNonce = membership.drawIdentifier()
    membership.beginEpoch(firstSequence: recovered.endSequence + 1)
    let states = (0..<geometry.memberCount).map(membership.listedState)
    if states != plan.newest.memberStates || plan.wasForced {
      try await membership.writeConfiguration()
    } else {
      await membership.record(membership.configuration)
      // Twice, as configurations are: neither copy of a superblock may know an older epoch only.
      for _ in 0..<2 { try await membership.writeAll() }
    }
    let log = try WriteLog(
      members: parts.members, membership: membership, machine: machine, arrayID: parts.arrayID,
      geometry: geometry, layout: parts.layout, options: options, resuming: recovered,
      epoch: membership.epoch)
    let keeper = keeper
    log.publisher = publisher
    log.onSpaceWanted = { keeper.wake() }
    log.onReplicaLost = { [unowned self] in nodes.hasFailedClients = true }
    parts.open(log)
    restoreReplicas()
  }

  /// Notes durably that a member lacks more than what changes from now on, before the list says that
  /// it is out: after a crash in between it is found once more to be an older copy.
  private func markAllChanged() async throws(ArrayError) {
    try await loadTable()
    parts.markAllChanged()
    try await parts.table.writeMap()
  }

  private func loadTable() async throws(ArrayError) {
    try await parts.table.loadMap()
    // Where nobody answered, what the map says is a guess, never to be written.
    try parts.checkServing()
  }

  // MARK: Replay

  /// Publishes what the log holds, and settles rows that a crash left half done.
  private func replay(_ recovered: RecoveredLog<M, D>) async throws(ArrayError) {
    parts.recoveredSequence = recovered.endSequence
    let intents = lastIntents(recovered)
    var taken: [UInt64: [UInt64]] = [:]
    for intent in intents.values {
      for (position, block) in intent.intent.blocks.enumerated() {
        guard case .written(let sequence, _) = block else { continue }
        taken[sequence, default: []].append(
          geometry.block(ofRow: intent.intent.row, position: position))
      }
    }
    var directs = RecoveredDirects(parts.placement)
    for index in 0..<recovered.batchCount {
      let entry = recovered.batch(at: index)
      recovery.logBytes += UInt64(entry.batch.byteCount)
      publish(entry, &directs)
      for block in taken[entry.sequence] ?? [] { resumeDestage(of: block, intents) }
      for case .intent(let intent) in entry.batch.records
      where intents[intent.row]?.batchSequence == entry.sequence {
        for (position, block) in intent.blocks.enumerated() where block == .trimmed {
          resumeDestage(of: geometry.block(ofRow: intent.row, position: position), intents)
        }
      }
    }
    let begin = machine.readClock()
    let directSettler = DirectSettler(parts)
    directSettler.dropSuperseded(by: directs.all)
    // What is newer than the trim of a whole page is in the log, or has ended that trim.
    var open = intents.values.filter {
      parts.index.trimmedPages[parts.placement.page(ofRow: $0.intent.row)] == nil
    }
    open.sort { $0.intent.row < $1.intent.row }
    let settler = Settler(parts)
    try await settler.settle(open)
    let openDirects = directs.lastOfRows
    try await directSettler.settle(openDirects)
    recovery.settledRowCount = open.count + directSettler.settledRowCount
    // What is home by now needs no destage, and no log space for another intent: a server that is
    // killed soon after each start would use up what is left of a full log (rule L5).
    var pins = directSettler.pins
    for intent in intents.values.sorted(by: { $0.intent.row < $1.intent.row }) {
      pins += endDestage(of: intent.intent, isHome: settler.homeRows.contains(intent.intent.row))
    }
    guard !open.isEmpty || !openDirects.isEmpty || !pins.isEmpty else { return }
    keeper.noteSettled(pins)
    try await keeper.checkpoint()
    recovery.settleNanoseconds = machine.readClock() - begin
  }

  /// By row, unless a direct write came after it: one is not destaged or written directly again
  /// before its table page is durable, so only the last can be open.
  private func lastIntents(_ recovered: RecoveredLog<M, D>) -> [UInt64: OpenIntent] {
    var intents: [UInt64: OpenIntent] = [:]
    for index in 0..<recovered.batchCount {
      let entry = recovered.batch(at: index)
      for record in entry.batch.records {
        switch record {
        case .intent(let intent):
          intents[intent.row] = OpenIntent(intent: intent, batchSequence: entry.sequence)
        case .direct(let intent):
          for row in geometry.rows(of: intent.run) { intents[row] = nil }
        case .write, .trim, .position: continue
        }
      }
    }
    return intents
  }

  private func publish(_ entry: RecoveredBatch, _ directs: inout RecoveredDirects) {
    for record in entry.batch.records {
      recovery.recordCount += 1
      switch record {
      case .write(let run, _, let payloadIndex, let checksums):
        publisher.publishRecovered(
          run, batchSequence: entry.sequence, payloadIndex: payloadIndex, checksums: checksums)
      case .trim(let run, _):
        publisher.publishTrim(run, batchSequence: entry.sequence) { directs.announces($0) }
        // A page that is gone as a whole says nothing of what was there before.
        directs.removeAll(ofPages: pages(of: run)) { publisher.covers(run, page: $0) }
      case .intent(let intent): directs.remove(intent.row)
      case .direct(let intent):
        directs.append(
          OpenDirect(intent: intent, batchSequence: entry.sequence), geometry.rows(of: intent.run))
      case .position: break
      }
    }
  }

  /// The pages that have anything of a run, or of its stripes.
  private func pages(of run: BlockRun) -> ClosedRange<UInt64> {
    let last = run.firstBlock + max(run.blockCount, 1) - 1
    // Inside a stripe of chunks rows do not rise with the blocks.
    let unit = geometry.parityCount > 0 ? geometry.chunkBlockCount : 1
    let first = geometry.rowPosition(ofBlock: run.firstBlock).row / unit * unit
    let end = geometry.rowPosition(ofBlock: last).row / unit * unit + unit
    return parts.placement.page(
      ofRow: first)...parts.placement.page(
        ofRow: min(end, geometry.rowCount) - 1)
  }

  /// The version of a block that is the newest now is the one that its row's last intent took home:
  /// versions behind it get pins of their own.
  private func resumeDestage(of block: UInt64, _ intents: [UInt64: OpenIntent]) {
    let place = geometry.rowPosition(ofBlock: block)
    guard let pending = parts.index[block], let intent = intents[place.row]?.intent else { return }
    let isTaken =
      switch intent.blocks[place.position] {
      case .written(let sequence, let checksum):
        pending.batchSequence == sequence && pending.checksum == checksum
          && pending.content != .zeros
      case .trimmed: pending.content == .zeros
      case .unchanged, .lost: false
      }
    if isTaken { parts.index.beginDestage(block) }
  }

  /// - Returns: the pins to be released when the table is durable.
  private func endDestage(of intent: RowIntent, isHome: Bool) -> [UInt64] {
    var pins: [UInt64] = []
    for (position, state) in intent.blocks.enumerated() where state != .unchanged {
      let block = geometry.block(ofRow: intent.row, position: position)
      guard let taken = parts.index[block]?.destagedSequence, taken != 0 else { continue }
      if isHome {
        if let pin = parts.index.endDestage(block, batchSequence: taken) { pins.append(pin) }
      } else {
        parts.index.abandonDestage(block, ledger: parts.log)
      }
    }
    return pins
  }
}

extension ArrayParts {
  /// Where the content of a block lies among the payload of a recovered batch.
  func payloadIndex(ofBlock block: UInt64, inBatch sequence: UInt64) -> Int? {
    guard let batch = recovered?.batch(sequence)?.batch else { return nil }
    var found: Int?
    for record in batch.records {
      guard case .write(let run, _, let payloadIndex, _) = record, run.firstBlock <= block,
        block - run.firstBlock < run.blockCount
      else { continue }
      found = payloadIndex + Int(block - run.firstBlock)
    }
    return found
  }
}
