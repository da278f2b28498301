import Control
import DiskFormat
import IO
import RAID
import Ring
import Units

/// Carries out what clients of the control socket order of an array; the control server gives it one
/// order at a time.
actor ArrayDesk {
  nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe machine.unownedExecutor }

  private nonisolated let machine: RingMachine
  private let engine: ArrayEngine<RingMachine, MemberDisk>
  private let watch: MemberWatch
  private let recorder: ArrayRecorder?
  private let pauses: RebuildPauseKeeper?
  private let replicas: ReplicaDesk
  /// What a member needs to have.
  private let neededByteCount: UInt64
  private let log: @Sendable (String) -> Void

  init(
    _ engine: ArrayEngine<RingMachine, MemberDisk>, watch: MemberWatch, recorder: ArrayRecorder?,
    pauses: RebuildPauseKeeper?, replicas: ReplicaDesk, neededByteCount: UInt64,
    machine: RingMachine,
    log: @escaping @Sendable (String) -> Void
  ) {
    self.engine = engine
    self.watch = watch
    self.recorder = recorder
    self.pauses = pauses
    self.replicas = replicas
    self.neededByteCount = neededByteCount
    self.machine = machine
    self.log = log
  }

  /// Does it, or says why not.
  func perform(_ order: ArrayOrder) async -> Result<OrderOutcome, ControlRefusal> {
    do throws(ControlRefusal) {
      return .success(try await carryOut(order))
    } catch {
      return .failure(error)
    }
  }

  private func carryOut(_ order: ArrayOrder) async throws(ControlRefusal) -> OrderOutcome {
    switch order {
    case .failMember(let text): return try await fail(text)
    case .removeMember(let text): return try await remove(text)
    case .addMember(let place, let isForced): return try await add(place, isForced)
    case .replaceMember(let text, let place, let isForced):
      return try await replace(text, place, isForced)
    case .pauseRebuild:
      await engine.pauseRebuild()
      let isKept = await pauses?.keep(isPaused: true) ?? false
      var outcome = OrderOutcome("rebuilds are paused; what is done stays done")
      if !isKept {
        outcome.notes.append("that could not be written down: a restart lets them go on")
      }
      return outcome
    case .resumeRebuild:
      let wasHeld = await engine.status.resyncIsHeld
      await engine.resumeRebuild()
      let isKept = await pauses?.keep(isPaused: false) ?? true
      var outcome = OrderOutcome(
        "rebuilds go on" + (wasHeld ? ", also of members that --no-resync held back" : ""))
      if !isKept {
        outcome.notes.append("that could not be written down: a restart may find them paused")
      }
      return outcome
    case .beginScrub(let repairs):
      return try await scrub(
        "a scrub has begun that \(repairs ? "repairs what it can" : "only looks"): 'ashlar status' "
          + "shows how far it is"
      ) { engine throws(ScrubCommandError) in
        try await engine.beginScrub(repairs ? .repair : .check)
      }
    case .pauseScrub:
      return try await scrub("the scrub is paused, and keeps its position") {
        engine throws(ScrubCommandError) in try await engine.pauseScrub()
      }
    case .resumeScrub:
      return try await scrub("the scrub goes on") {
        engine throws(ScrubCommandError) in try await engine.resumeScrub()
      }
    case .cancelScrub:
      return try await scrub("the scrub has ended where it was") {
        engine throws(ScrubCommandError) in try await engine.cancelScrub()
      }
    case .replica(let order): return try await replicas.perform(order).get()
    case .setLatencyBudget(let nanoseconds):
      await engine.setLatencyBudget(nanoseconds: nanoseconds)
      return OrderOutcome(
        "until the next start, requests of clients may take "
          + "\(TimeSpan.format(nanoseconds: nanoseconds)) (p99) because of rebuild and scrub")
    }
  }

  private func scrub(
    _ words: String,
    _ body: (ArrayEngine<RingMachine, MemberDisk>) async throws(ScrubCommandError) -> Void
  ) async throws(ControlRefusal) -> OrderOutcome {
    do throws(ScrubCommandError) {
      try await body(engine)
    } catch {
      throw error.refusal
    }
    return OrderOutcome(words)
  }

  // MARK: Members

  private var report: ArrayReport {
    get async { ArrayReport(await engine.status, nowNanoseconds: 0, nowUnixSeconds: 0) }
  }

  /// The member that is meant, and its identity as the engine knows it.
  private func find(
    _ text: String
  ) async throws(ControlRefusal) -> (choice: MemberChoice, memberID: Identifier) {
    let status = await engine.status
    let choice = try MemberChoice.find(
      text, in: ArrayReport(status, nowNanoseconds: 0, nowUnixSeconds: 0))
    let identities = status.members.map(\.memberID) + status.reserves.map(\.member.memberID)
    guard let memberID = identities.first(where: { $0.description == choice.memberID }) else {
      throw ControlRefusal(
        code: "not_a_member", message: "member \(choice.memberID) has just left",
        action: "see 'ashlar status'")
    }
    return (choice, memberID)
  }

  private func fail(_ text: String) async throws(ControlRefusal) -> OrderOutcome {
    let (choice, memberID) = try await find(text)
    do throws(MemberCommandError) {
      try await engine.failMember(memberID)
    } catch {
      throw error.refusal
    }
    return outcome(
      "\(Self.words(choice)) is out, and stays out until it is added again, removed or replaced",
      choice)
  }

  private func remove(_ text: String) async throws(ControlRefusal) -> OrderOutcome {
    let (choice, memberID) = try await find(text)
    do throws(MemberCommandError) {
      try await engine.removeMember(memberID)
    } catch {
      throw error.refusal
    }
    return OrderOutcome(
      "\(Self.words(choice)) is no member any more, and is not taken back",
      memberID: choice.memberID)
  }

  private func add(
    _ place: String, _ isForced: Bool
  ) async throws(ControlRefusal) -> OrderOutcome {
    if let member = await failedMember(at: place) { return try await reinstate(member) }
    let opened = try await open(place, isForced)
    let seat = try await give(opened) { handle throws(MemberCommandError) in
      try await engine.addMember(handle)
    }
    let rebuild = await rebuildWords
    let words =
      switch seat {
      case .slot(let slot): "\(opened.member.place.text) has slot \(slot): \(rebuild)"
      case .spare(let seat): "\(opened.member.place.text) is a spare, in seat \(seat)"
      }
    return await outcome(words, opened)
  }

  /// The member that an operator put out and that is, or was, at a place.
  private func failedMember(at text: String) async -> MemberStatus? {
    let failed = await engine.status.members.filter(\.isFailed)
    guard !failed.isEmpty else { return nil }
    // That asks a file system, which may hang.
    return await Offload(machine: machine).onThread { () -> MemberStatus? in
      guard let place = try? MemberPlace(text) else { return nil }
      let identity = place.identity
      return failed.first { member in
        guard let other = try? MemberPlace(member.place) else { return false }
        return other == place || (identity != nil && other.identity == identity)
      }
    }
  }

  private func reinstate(_ member: MemberStatus) async throws(ControlRefusal) -> OrderOutcome {
    let slot: Int
    do throws(MemberCommandError) {
      slot = try await engine.reinstateMember(member.memberID)
    } catch {
      throw error.refusal
    }
    var outcome = OrderOutcome(
      "\(member.place) has slot \(slot) again: \(await rebuildWords)",
      memberID: member.memberID.description)
    outcome.slot = UInt64(clamping: slot)
    return outcome
  }

  private func replace(
    _ text: String, _ place: String, _ isForced: Bool
  ) async throws(ControlRefusal) -> OrderOutcome {
    // A wrong member is refused before anything is opened or made.
    _ = try await find(text)
    let opened = try await open(place, isForced)
    let old: (choice: MemberChoice, memberID: Identifier)
    do throws(ControlRefusal) {
      old = try await find(text)
    } catch {
      await opened.discard(Offload(machine: machine))
      throw error
    }
    try await give(opened) { handle throws(MemberCommandError) in
      try await engine.replaceMember(old.memberID, with: handle)
    }
    let name = opened.member.place.text
    let rebuild = await rebuildWords
    var outcome = await outcome("", opened)
    outcome.words =
      outcome.slot.map { "\(name) has slot \($0): \(rebuild)" }
      ?? "\(name) becomes a copy of \(Self.words(old.choice)), and then takes its place: \(rebuild)"
    return outcome
  }

  private var rebuildWords: String {
    get async {
      await engine.status.rebuildIsPaused
        ? "its rebuild waits until 'ashlar rebuild NAME --resume', because rebuilds are paused"
        : "its rebuild has begun"
    }
  }

  // MARK: New members

  private func open(
    _ place: String, _ isForced: Bool
  ) async throws(ControlRefusal) -> NewMember.Opened {
    let newMember = NewMember(
      machine: machine, neededByteCount: neededByteCount, array: await report, log: log)
    let opened = try await newMember.open(place, isForced: isForced).get()
    for loss in opened.destroyed { log("destroying what is there: \(loss)") }
    return opened
  }

  /// Hands a member over to the engine, whose it is from then on, and looks after its place.
  @discardableResult
  private func give<Value>(
    _ opened: NewMember.Opened,
    _ take: (MemberHandle<MemberDisk>) async throws(MemberCommandError) -> Value
  ) async throws(ControlRefusal) -> Value {
    let member = opened.member
    let before = await engine.status
    await recorder?.expect(
      member.place.text,
      besides: Set(before.members.map(\.memberID) + before.reserves.map(\.member.memberID)))
    let value: Value
    do throws(MemberCommandError) {
      value = try await take(member.handle)
    } catch {
      // A file that was made for this and was not taken holds nothing of anybody.
      if member.wasCreated {
        await Offload(machine: machine).removeFile(member.place.text)
      }
      await recorder?.expectNobody()
      throw error.refusal
    }
    await recorder?.expectNobody()
    await watch.watch(
      WatchedPlace(
        place: member.place, memberID: await place(member.place.text)?.memberID,
        neededByteCount: neededByteCount, isOpen: true))
    return value
  }

  private func place(_ name: String) async -> MemberStatus? {
    let status = await engine.status
    return (status.members + status.reserves.map(\.member)).first { $0.place == name }
  }

  private static func words(_ choice: MemberChoice) -> String {
    "member \(choice.number) (\(choice.place.isEmpty ? choice.memberID : choice.place))"
  }

  private func outcome(_ words: String, _ choice: MemberChoice) -> OrderOutcome {
    var outcome = OrderOutcome(words, memberID: choice.memberID)
    outcome.slot = choice.number
    return outcome
  }

  private func outcome(_ words: String, _ opened: NewMember.Opened) async -> OrderOutcome {
    let status = await engine.status
    var outcome = OrderOutcome(words)
    let name = opened.member.place.text
    if let member = status.members.first(where: { $0.place == name }) {
      outcome.memberID = member.memberID.description
      outcome.slot = UInt64(clamping: member.slot)
    } else if let reserve = status.reserves.first(where: { $0.member.place == name }) {
      outcome.memberID = reserve.member.memberID.description
      outcome.seat = UInt64(clamping: reserve.seat)
    }
    outcome.wasCreated = opened.member.wasCreated
    outcome.destroyed = opened.destroyed
    outcome.notes = opened.notes
    return outcome
  }
}

extension MemberCommandError {
  /// For the control socket: a code, what is wrong, and what to do.
  fileprivate var refusal: ControlRefusal {
    let (code, action) =
      switch self {
      case .notAMember: ("not_a_member", "see 'ashlar status'")
      case .isServing: ("is_serving", "then remove it")
      case .isReserve: ("is_reserve", "or wait until it has a slot")
      case .wouldStop: ("would_stop", "bring the members back that are out, or add new ones, first")
      case .tooSmall: ("too_small", "choose a larger one")
      case .isMember: ("is_a_member", "choose another one")
      case .notThere:
        (
          "not_there",
          "put it back, or take it off the list ('ashlar member remove NAME MEMBER') and add another"
        )
      case .noRoom: ("no_room", "then add this one")
      case .busy: ("busy", "try again then")
      case .notWritable: ("not_writable", "look what is wrong with it, or choose another one")
      case .stopped: ("stopped", "see 'ashlar status'")
      }
    return ControlRefusal(code: code, message: words, action: action)
  }
}

extension ScrubCommandError {
  /// For the control socket.
  fileprivate var refusal: ControlRefusal {
    let (code, action) =
      switch self {
      case .alreadyRunning: ("scrub_under_way", "'ashlar status' shows how far it is")
      case .notRunning: ("no_scrub", "'ashlar scrub' begins one")
      case .stopped: ("stopped", "see 'ashlar status'")
      }
    return ControlRefusal(code: code, message: words, action: action)
  }
}
