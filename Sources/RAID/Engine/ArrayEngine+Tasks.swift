import IO
import Geometry

// Tasks that live as long as the array. Each is a method of the actor, so that all of it happens on
// the actor's executor.
extension ArrayEngine {
  /// What is needed before anything is read.
  func startTasks() {
    let machine = machine
    parts.members.spawnLane = { [weak self] number in
      Task(executorPreference: machine) { await self?.runLane(number) }
    }
    parts.members.stalledHandler = { [weak self] slots in
      self?.assumeIsolated { $0.noteStalled(slots) }
    }
    parts.wakeLater = { [weak self] nanoseconds in
      self?.assumeIsolated { $0.wakeKeeperLater(nanoseconds) }
    }
    membership.writeInBackground = { [weak self] in
      Task(executorPreference: machine) { await self?.writeConfigurationInBackground() }
    }
    membership.onExpulsion = { [weak self] in
      self?.assumeIsolated { $0.wakeJanitor() }
    }
    membership.onStop = { [weak self] reason in
      self?.assumeIsolated { $0.noteStop(reason) }
    }
    keeper.becomeCurrent = { [weak self] (slot: Int) async throws(ArrayError) in
      try await self?.becomeCurrent(slot)
    }
    keeper.takeOver = { [weak self] (seat: Int) async throws(ArrayError) in
      try await self?.takeOver(seat)
    }
    parts.members.mirrorFailed = { [weak self] seat, kind, error in
      self?.assumeIsolated { $0.noteMirrorFailure(seat, kind, error) }
    }
    keeper.onResyncEnd = { [weak self] in self?.assumeIsolated { $0.wakeJanitor() } }
    spawn { await $0.parts.members.runTicker() }
    spawn { await $0.runTimer() }
    spawn { await $0.runJanitor() }
  }

  /// What serving needs.
  func startWriting() {
    for _ in 0..<max(1, options.batchesInFlightMax) { spawn { await $0.parts.log.runWriter() } }
    spawn { await $0.parts.log.runSealer() }
    spawn { await $0.keeper.run() }
    if options.watchesOwners { spawn { await $0.runHeartbeat() } }
  }

  func spawn(_ body: @escaping @Sendable (isolated ArrayEngine) async -> Void) {
    runningTaskCount += 1
    let machine = machine
    Task(executorPreference: machine) { await self.runTask(body) }
  }

  private func runTask(_ body: @Sendable (isolated ArrayEngine) async -> Void) async {
    await body(self)
    runningTaskCount -= 1
    guard runningTaskCount == 0 else { return }
    let waiting = taskEnd
    taskEnd = []
    for var point in waiting { point.signal() }
  }

  private func runLane(_ number: Int) async { await parts.members.runLane(number) }

  private func noteMirrorFailure(
    _ seat: Int, _ kind: MemberOperationKind, _ error: MemberError
  ) {
    // Whoever is absent has been dropped already; one that cannot give space back keeps it.
    guard kind == .write, error != .absent else { return }
    let reason = ExpulsionReason(ofWrite: error).withLossNamed
    guard seat < geometry.memberCount else { return membership.dropReserve(seat, reason) }
    // It has left its seat for the slot of its target meanwhile.
    failuresToTell[parts.members[seat].attachment] = reason
    wakeJanitor()
  }

  private func writeConfigurationInBackground() async {
    try? await membership.writeConfiguration()
  }

  private func noteStop(_ reason: String) {
    parts.openLog?.stop(.stopped(reason))
    parts.payloads.close()
    keeper.stop()
  }

  // MARK: The keeper's clock

  private func wakeKeeperLater(_ nanoseconds: UInt64) {
    timerNanoseconds = min(timerNanoseconds ?? .max, nanoseconds)
    timerRest.signal()
  }

  private func runTimer() async {
    while !isEnding {
      if let nanoseconds = timerNanoseconds {
        timerNanoseconds = nil
        await machine.sleep(nanoseconds: nanoseconds)
        keeper.wake()
        continue
      }
      // Safe: resumed once, by `wakeKeeperLater` or `end`, or here: others may have run meanwhile.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if isEnding || timerNanoseconds != nil {
          unsafe waiter.resume()
        } else {
          unsafe timerRest.put(waiter)
        }
      }
    }
  }

  // MARK: The heartbeat

  /// Shows whoever else reaches the members that somebody serves them (rule T7).
  private func runHeartbeat() async {
    // Half of what is allowed: one write may be slow. Short steps, so that a stop does not wait.
    let stepCount = 10
    let step = Ownership.heartbeatNanosecondsMax / 2 / UInt64(stepCount)
    while !isEnding, membership.stopReason == nil {
      for _ in 0..<stepCount where !isEnding { await machine.sleep(nanoseconds: step) }
      guard isOpen else { return }
      membership.heartbeat += 1
      try? await membership.writeAll()
    }
  }

  // MARK: The janitor

  private func noteStalled(_ slots: SlotSet) {
    stalledSlots = stalledSlots.union(slots)
    wakeJanitor()
  }

  func wakeJanitor() {
    isJanitorWoken = true
    janitorRest.signal()
  }

  /// Puts out members that hang, and takes them back when they answer again.
  private func runJanitor() async {
    while !isEnding {
      isJanitorWoken = false
      let stalled = stalledSlots
      stalledSlots = SlotSet()
      for slot in stalled where parts.members[slot].isStalled {
        try? await membership.expel(slot, .timedOut)
      }
      let failed = failuresToTell
      failuresToTell = [:]
      for (attachment, reason) in failed {
        guard let place = parts.members.place(of: attachment) else { continue }
        try? await membership.expel(place, reason)
      }
      if await readmitRecovered() { continue }
      await tendReserves()
      // Safe: resumed once, by `wakeJanitor`, or here: others may have run meanwhile.
      unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
        if isJanitorWoken || isEnding {
          unsafe waiter.resume()
        } else {
          unsafe janitorRest.put(waiter)
        }
      }
    }
  }
}
