import DiskFormat
package import Geometry
package import RAID
import Simulator
import Units

/// Plans of the random modes, drawn from a seed.
///
/// The budget: all faults of a history, other than crashes and what every disk does now and then,
/// hit the same few members, at most as many as may be lost whichever they are. So each row, each
/// copy of a log batch and each table page has enough that is sound, whatever comes together.
package struct RandomPlan {
  /// What the command line fixes; nil is drawn.
  package var level: RAIDLevel?
  package var plantedBug: PlantedBug?
  let system: any SystemUnderTest

  package init(of system: any SystemUnderTest, level: RAIDLevel?, plantedBug: PlantedBug?) {
    self.system = system
    self.level = level
    self.plantedBug = plantedBug
  }

  /// The history of a seed.
  package func make(seed: UInt64, isBeyond: Bool) -> HistoryPlan {
    var random = RandomSource(seed: seed ^ (isBeyond ? 0xB5 : 0xA1))
    let shape = ArrayShape.drawn(level: level, &random)
    var options = ArrayOptions.drawn(&random)
    options.plantedBug = plantedBug
    var plan = HistoryPlan(seed: seed, shape: shape, options: options, lives: [])
    plan.allowsErrors = isBeyond
    if isBeyond {
      planBeyond(&plan, &random)
    } else {
      planBudget(&plan, &random)
    }
    var operatorsOwn = RandomSource(seed: seed ^ 0x0b)
    for index in plan.lives.indices { addActions(&plan.lives[index], &operatorsOwn) }
    return plan
  }

  /// Scrubs and pauses of rebuilds, at any moment of a life.
  private func addActions(_ life: inout LifePlan, _ random: inout RandomSource) {
    func drawTime(_ random: inout RandomSource) -> UInt64 {
      random.next(below: 1 << (14 + random.next(below: 14)))
    }
    for _ in 0..<random.index(below: 3) {
      life.actions.append(
        LifePlan.TimedAction(
          afterNanoseconds: drawTime(&random), action: .scrub(repairs: random.coin())))
    }
    if random.index(below: 4) == 0 {
      let time = drawTime(&random)
      life.actions.append(
        LifePlan.TimedAction(afterNanoseconds: time, action: .pauseRebuild))
      life.actions.append(
        LifePlan.TimedAction(
          afterNanoseconds: time + 1_000_000 + drawTime(&random), action: .resumeRebuild))
    }
    if random.index(below: 8) == 0 {
      life.actions.append(
        LifePlan.TimedAction(afterNanoseconds: drawTime(&random), action: .cancelScrub))
    }
    life.scrubsLast = life.waitsUntilOptimal
  }

  // MARK: Within the budget

  private func planBudget(_ plan: inout HistoryPlan, _ random: inout RandomSource) {
    var changes = MemberChanges(&plan)
    let spot = random.next()
    // Sometimes two acts: once all members are up to date again, others may fail.
    let actCount = random.index(below: 4) == 0 ? 2 : 1
    for act in 0..<actCount {
      let isLast = act == actCount - 1
      let trouble = Trouble.drawn(
        plan.shape, budget: system.redundancy(of: plan.shape), mayBeSilent: isLast, &random)
      plan.hasSilentFaults = plan.hasSilentFaults || trouble.isSilent
      for _ in 0...random.index(below: 4) { addCrashLife(&plan, trouble, &changes, spot, &random) }
      var healing = healingLife(spot, &random)
      changes.add(to: &healing, mayFail: trouble.members)
      plan.lives.append(healing)
    }
    var last = LifePlan()
    last.verifiesLast = true
    plan.lives.append(last)
  }

  /// A life with clients and a crash, and perhaps crashes of the recoveries that follow.
  private func addCrashLife(
    _ plan: inout HistoryPlan, _ trouble: Trouble, _ changes: inout MemberChanges, _ spot: UInt64,
    _ random: inout RandomSource
  ) {
    var life = LifePlan()
    trouble.afflict(&life, &random)
    changes.add(to: &life, mayFail: trouble.members)
    life.workload = .random(
      clientCount: 1 + random.index(below: 5), requestCount: 4 + random.index(below: 24),
      spot: spot &+ random.next(below: 2))
    life.verifiesFirst = random.index(below: 3) == 0
    if random.index(below: 3) == 0 {
      life.idleNanoseconds = random.next(below: 1 << (16 + random.next(below: 14)))
    }
    if random.index(below: 8) == 0 {
      life.ending = .close
    } else {
      let kind: CrashKind = random.coin() ? .kill : .powerLoss
      life.ending = .crash(kind, Self.drawInstant(&random))
    }
    plan.lives.append(life)
    guard random.coin() else { return }
    for _ in 0...random.index(below: 3) {
      var recovery = LifePlan()
      trouble.afflict(&recovery, &random)
      recovery.verifiesFirst = random.coin()
      let kind: CrashKind = random.coin() ? .kill : .powerLoss
      recovery.ending = .crash(kind, .operation(1 + random.index(below: 80)))
      plan.lives.append(recovery)
    }
  }

  private static func drawInstant(_ random: inout RandomSource) -> LifePlan.Instant {
    switch random.index(below: 6) {
    case 0: .atEnd
    case 1, 2: .afterNanoseconds(random.next(below: 1 << (18 + random.next(below: 10))))
    default: .operation(1 + random.index(below: 1 << (4 + random.index(below: 7))))
    }
  }

  /// Everything is there and sound again: so everything has to come right.
  private func healingLife(_ spot: UInt64, _ random: inout RandomSource) -> LifePlan {
    var life = LifePlan()
    life.verifiesFirst = true
    life.workload = .random(clientCount: 2, requestCount: 4, spot: spot)
    life.waitsUntilOptimal = true
    life.verifiesLast = true
    return life
  }

  // MARK: Beyond it

  private func planBeyond(_ plan: inout HistoryPlan, _ random: inout RandomSource) {
    var changes = MemberChanges(&plan)
    let spot = random.next()
    for _ in 0...random.index(below: 4) {
      var life = LifePlan()
      life.workload = .random(
        clientCount: 1 + random.index(below: 4), requestCount: 8 + random.index(below: 24),
        spot: spot)
      life.verifiesFirst = random.coin()
      life.idleNanoseconds = random.next(below: 1 << (16 + random.next(below: 14)))
      if random.index(below: 3) == 0 { life.absent = drawMembers(plan.shape, &random) }
      life.ratesHoldAtStart = false
      changes.add(to: &life, mayFail: Array(0..<plan.shape.memberCount))
      for slot in 0..<plan.shape.memberCount where random.coin() {
        life.rates[slot, default: DiskFaultRates()].readError = random.index(below: 100_000)
      }
      for _ in 0..<random.index(below: 40) {
        life.incidents.append(damage(plan.shape, &random))
      }
      switch random.index(below: 3) {
      case 0: life.ending = .close
      case 1: life.ending = .crash(.kill, Self.drawInstant(&random))
      default: life.ending = .crash(.powerLoss, Self.drawInstant(&random))
      }
      plan.lives.append(life)
    }
    var last = LifePlan()
    last.verifiesFirst = true
    plan.lives.append(last)
  }

  private func drawMembers(_ shape: ArrayShape, _ random: inout RandomSource) -> Set<Int> {
    Set(
      (0..<1 + random.index(below: shape.memberCount)).map { _ in
        random.index(below: shape.memberCount)
      })
  }

  private func damage(
    _ shape: ArrayShape, _ random: inout RandomSource
  ) -> LifePlan.TimedIncident {
    let ranges = system.damageableRanges(of: shape)
    let range = ranges[random.index(below: ranges.count)]
    let slot = random.index(below: shape.memberCount)
    let offset = range.offsetBytes + random.next(below: range.byteCount)
    return LifePlan.TimedIncident(
      afterNanoseconds: random.next(below: 1 << (14 + random.next(below: 14))),
      incident: random.coin()
        ? .flip(slot: slot, offsetBytes: offset)
        : .makeUnreadable(slot: slot, sector: offset / 512))
  }
}
