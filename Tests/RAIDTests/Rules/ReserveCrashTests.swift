import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// Power loss at the operations of every change of membership, with what a member had not synced
/// kept on one member and lost on the others, and with members lost in the same instant: T3, T4, T6.
@Suite("Rules: power loss while members come and go")
struct ReserveCrashTests {
  private static let blocks: [UInt64] = [0, 1, 9, 40]
  private static let step = 37

  /// What clients were told before the power went.
  private struct Acknowledged: Sendable {
    var versions: [UInt64: UInt8] = [:]
    /// On its way: there or not.
    var open: [UInt64: UInt8] = [:]

    func isLegal(_ found: Found, _ block: UInt64) -> Bool {
      guard case .version(let version) = found else { return false }
      return version == versions[block] || version == open[block]
    }
  }

  /// One run up to a power loss at an operation, or to its end.
  private struct Run {
    let lab: ArrayLab
    let acknowledged: Acknowledged
    /// The configuration on record last.
    let known: String
    let hasEnded: Bool
  }

  private typealias Scenario = @Sendable (ArrayStage, [Identifier]) async throws -> Void

  private func run(
    _ base: ArrayLab, crashAt number: Int, _ prepare: @escaping Scenario,
    _ scenario: @escaping Scenario
  ) throws -> Run {
    let lab = base.copy()
    let acknowledged = Box(Acknowledged())
    let (known, hasEnded) = (Box(""), Box(false))
    let pattern = number % (lab.media.count + 1)
    lab.record = { known.value = $0.configurationID.description }
    try lab.play(seed: 3) { stage in
      for block in Self.blocks {
        try await stage.write(block, 2, durably: true)
        acknowledged.value.versions[block] = 2
      }
      let ids = await stage.client.status().members.map(\.memberID)
      try await prepare(stage, ids)
      for (slot, medium) in lab.media.enumerated() {
        medium.unflushedFate = slot == pattern ? .keepAll : .loseAll
      }
      let plan = stage.machine.faultPlan
      plan.fail(operation: plan.operationCount + number, with: .crash(.powerLoss))
      await withTaskGroup(of: Void.self) { group in
        group.addTask(executorPreference: stage.machine) {
          await Self.writeOn(stage, acknowledged)
        }
        group.addTask(executorPreference: stage.machine) { try? await scenario(stage, ids) }
      }
      plan.removeAll()
      hasEnded.value = true
      await stage.losePower()
    }
    return Run(
      lab: lab, acknowledged: acknowledged.value, known: known.value, hasEnded: hasEnded.value)
  }

  private static func writeOn(_ stage: ArrayStage, _ acknowledged: Box<Acknowledged>) async {
    for version in 3...9 as ClosedRange<UInt8> {
      for block in blocks {
        acknowledged.value.open[block] = version
        do { try await stage.write(block, version, durably: true) } catch { return }
        acknowledged.value.versions[block] = version
      }
    }
  }

  /// Everything that a start may meet afterwards.
  ///
  /// Where a member was out before or goes out, there may be nothing left to lose.
  private func judge(_ run: Run, spareable: Bool, _ note: String) throws {
    let lab = run.lab
    for lost in [[]] + lab.media.indices.map({ [$0] }) where spareable || lost.isEmpty {
      let found = try lab.found(Self.blocks, without: lost)
      let isLegal = zip(found, Self.blocks).allSatisfy { run.acknowledged.isLegal($0, $1) }
      #expect(isLegal, "\(note), without \(lost): \(found), \(run.acknowledged)")
    }
    // More are missing than may be: then nothing is served, or what is right; the record proves
    // who went on.
    let next = lab.copy()
    next.options.knownConfiguration = run.known
    let all = Array(lab.media.indices)
    for kept in all.map({ [$0] }) + all.map({ lost in all.filter { $0 != lost } }) {
      let others = all.filter { !kept.contains($0) }
      let found = try next.found(Self.blocks, without: others, isForced: false)
      let isLegal = zip(found, Self.blocks).allSatisfy {
        $0.isRefused || run.acknowledged.isLegal($0, $1)
      }
      #expect(isLegal, "\(note), only \(kept): \(found), \(run.acknowledged)")
    }
    try goOn(run, note)
  }

  /// A start with everybody goes on with it, and in the end redundancy is whole.
  private func goOn(_ run: Run, _ note: String) throws {
    let lab = run.lab.copy()
    lab.options.knownConfiguration = run.known
    let listed = Box([Int]())
    let settled = Box([Found]())
    try lab.play(seed: 5) { stage in
      for block in Self.blocks { settled.value.append(await stage.find(block)) }
      // A slot that was emptied stays so, unless there is somebody.
      let isWhole = await stage.waitFor(milliseconds: 100_000) { status in
        status.members.allSatisfy { $0.state == .current || $0.memberID == .none }
          && status.reserves.allSatisfy { $0.targetSlot == nil }
      }
      let status = await stage.client.status()
      #expect(isWhole, "\(note): \(status.members.map(\.state)), \(status.reserves)")
      listed.value = status.members.compactMap { member in
        lab.media.indices.first { "member\($0)" == member.place }
      }
      try await stage.client.close()
    }
    let isLegal = zip(settled.value, Self.blocks).allSatisfy {
      run.acknowledged.isLegal($0, $1)
    }
    #expect(isLegal, "\(note): \(settled.value), \(run.acknowledged)")
    guard listed.value.count == lab.memberCount, lab.level != .raid0 else { return }
    for lost in listed.value {
      // It was settled which of what was open is there.
      let found = try lab.found(Self.blocks, without: [lost])
      #expect(found == settled.value, "\(note), later without \(lost)")
    }
  }

  private func everywhere(
    _ level: RAIDLevel, _ memberCount: Int, extraCount: Int = 1, _ name: String,
    spareable: Bool = false, prepare: @escaping Scenario = { _, _ in },
    _ scenario: @escaping Scenario
  ) throws {
    let base = try ArrayLab.filled(
      level, memberCount: memberCount, blocks: Self.blocks, extraCount: extraCount)
    base.options.destageDelayNanoseconds = 1_000_000
    base.options.sealDelayNanoseconds = 1_000_000
    // ASHLAR_SEEDS=37 is every operation.
    for first in Seeds.of(1) {
      var number = 1 + Int(first)
      while true {
        let run = try run(base, crashAt: number, prepare, scenario)
        try judge(run, spareable: spareable, "\(name) of \(level), operation \(number)")
        if run.hasEnded { break }
        number += Self.step
      }
      #expect(number > 2 * Self.step, "there was next to nothing to be interrupted")
    }
  }

  @Test("T3, T6: adding a member to a slot that was emptied")
  func add() throws {
    try everywhere(
      .raid1, 2, "add",
      prepare: { stage, ids in
        try await stage.client.fail(ids[1])
        try await stage.client.remove(ids[1])
      }
    ) { stage, ids in
      _ = try await stage.client.add(stage.lab.handle(2, stage.machine))
      try await stage.waitUntilOptimal()
    }
  }

  @Test("T6: failing and removing a member")
  func failAndRemove() throws {
    try everywhere(.raid5, 3, extraCount: 0, "remove") { stage, ids in
      try await stage.client.fail(ids[1])
      try await stage.client.remove(ids[1])
    }
  }

  @Test("T6: adding a spare, and removing it")
  func spare() throws {
    try everywhere(.raid5, 3, "spare", spareable: true) { stage, ids in
      _ = try await stage.client.add(stage.lab.handle(3, stage.machine))
      let reserve = await stage.client.status().reserves.first
      if let reserve { try await stage.client.remove(reserve.member.memberID) }
    }
  }

  @Test("T3, T4, T6: a spare takes the slot of a member that fails")
  func takeOver() throws {
    try everywhere(
      .raid5, 3, "take-over",
      prepare: { stage, ids in _ = try await stage.client.add(stage.lab.handle(3, stage.machine)) }
    ) { stage, ids in
      try await stage.client.fail(ids[1])
      try await stage.waitUntilOptimal()
    }
  }

  @Test("T3, T4, T6: replacing a member that serves", arguments: [RAIDLevel.raid1, .raid5])
  func replace(level: RAIDLevel) throws {
    let memberCount = level == .raid1 ? 2 : 3
    try everywhere(level, memberCount, "replace", spareable: true) { stage, ids in
      try await stage.client.replace(ids[1], stage.lab.handle(memberCount, stage.machine))
      _ = await stage.waitFor(milliseconds: 20_000) { $0.reserves.isEmpty }
    }
  }

  @Test("T4, T6: replacing a member that fails meanwhile")
  func replaceFailing() throws {
    try everywhere(.raid5, 3, "replace a failing one") { stage, ids in
      try await stage.client.replace(ids[1], stage.lab.handle(3, stage.machine))
      await stage.pass(milliseconds: 3)
      try await stage.client.fail(ids[1])
      try await stage.waitUntilOptimal()
    }
  }
}
