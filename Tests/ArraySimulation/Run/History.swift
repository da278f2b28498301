import IO
import Simulator
import Volumes

/// Runs one plan from the creation of the array to its last stop, and tells what came of it.
package final class History: @unchecked Sendable {
  /// What came of it.
  package struct Result: Sendable {
    package var violation: Violation?
    /// Equal for equal runs.
    package var digest: UInt64
    package var tally: Tally
    /// Operations of each life's disks until the device served, and until it ended.
    package var operationsToServe: [Int]
    package var operations: [Int]
    package var trace: [String]
  }

  /// How much virtual time and how many steps a life may take: beyond that something hangs.
  private var limits: Simulation.Limits {
    Simulation.Limits(virtualNanoseconds: 900_000_000_000, stepCount: plan.stepCountMax)
  }

  let plan: HistoryPlan
  let system: any SystemUnderTest
  let shelf: BufferShelf
  let simulation: Simulation
  let media: [SimulatedMedium]
  let model: DeviceModel
  let tally = Tally()
  private var operationsToServe: [Int] = []
  private var operations: [Int] = []
  /// All members were up to date when it was last closed.
  private var closedWhole = false

  package init(
    _ plan: HistoryPlan, of system: any SystemUnderTest, shelf: BufferShelf,
    recordsTrace: Bool = false
  ) {
    self.plan = plan
    self.system = system
    self.shelf = shelf
    simulation = Simulation(seed: plan.seed, recordsTrace: recordsTrace)
    let byteCount = system.mediumBytes(of: plan.shape)
    media = (0..<plan.shape.memberCount + plan.extraCount).map { _ in
      SimulatedMedium(byteCount: byteCount)
    }
    model = DeviceModel(
      sectorCount: plan.shape.sectorCount, promises: system.promises.held(to: plan), salt: plan.seed
    )
    // Copies of mirrors tell each other's lies, up to as many as may be lost.
    guard !plan.shape.isMirrored || plan.allowsErrors else { return }
    let (shape, media) = (plan.shape, media)
    model.homeHasLied = { sector in
      let home = shape.homeSector(of: sector)
      return media.contains { $0.hasLied(sector: home) }
    }
  }

  /// Runs it all.
  package func run() -> Result {
    if create() {
      for life in plan.lives {
        run(life)
        guard model.violation == nil else { break }
      }
    }
    if model.violation == nil, closedWhole, !plan.hasSilentFaults, !plan.allowsErrors,
      let text = system.disagreement(between: media, plan.shape)
    {
      model.report(Violation(.becomesWhole, "after a stop with all members up to date: \(text)"))
    }
    if model.violation == nil, closedWhole, let count = system.clientRecordCount(on: media),
      count > model.recordCountMax
    {
      model.report(
        Violation(
          .countsClients,
          "the log counts \(count) records, and clients can have caused \(model.recordCountMax)"))
    }
    tally.adoptedCount = model.adoptedCount
    for medium in media { tally.injectedCount += medium.injected.totalCount }
    simulation.end()
    shelf.takeBack()
    return Result(
      violation: model.violation, digest: simulation.trace.digest, tally: tally,
      operationsToServe: operationsToServe, operations: operations, trace: simulation.trace.lines)
  }

  private func create() -> Bool {
    let machine = SimulatedMachine(simulation, name: "maker")
    let disks = media.prefix(plan.shape.memberCount).map { SimulatedDisk(machine, $0) }
    let (system, shape, model) = (system, plan.shape, model)
    judge({ "the creation" }) { () throws(SimulationFailure) in
      try simulation.run(on: machine, within: limits) {
        do throws(StartRefusal) {
          try await system.create(shape, on: disks, of: machine)
        } catch {
          model.report(Violation(.becomesWhole, "the array was not made: \(error.reason)"))
        }
      }
    }
    machine.crash(.kill)
    return model.violation == nil
  }

  // MARK: A life

  private func run(_ plan: LifePlan) {
    shelf.takeBack()
    tally.lifeCount += 1
    let machine = SimulatedMachine(simulation, name: "life \(tally.lifeCount)")
    // Those that are absent lose their power with the others.
    let disks = media.map { SimulatedDisk(machine, $0) }
    prepare(plan, disks)
    if case .crash(let kind, let instant) = plan.ending { arm(machine, kind, instant) }
    let life = Life(plan, of: self, on: machine, disks)
    judge({ "life \(self.tally.lifeCount), \(life.stage)" }) { () throws(SimulationFailure) in
      try simulation.run(on: machine, within: limits) { await life.run() }
    }
    operationsToServe.append(life.operationsToServe ?? machine.faultPlan.operationCount)
    operations.append(machine.faultPlan.operationCount)
    tally.operationCount += machine.faultPlan.operationCount
    finish(plan, life, machine)
  }

  /// Sets what the media do in this life.
  private func prepare(_ plan: LifePlan, _ disks: [SimulatedDisk]) {
    for (slot, medium) in media.enumerated() {
      medium.faultRates = plan.rates(ofMember: slot, isServing: false)
      medium.unflushedFate = plan.fates[slot]?.fate(of: medium) ?? .drawn
      if let latency = plan.latencies[slot] { disks[slot].latency = latency }
    }
  }

  private func arm(_ machine: SimulatedMachine, _ kind: CrashKind, _ instant: LifePlan.Instant) {
    switch instant {
    case .operation(let number): machine.faultPlan.fail(operation: number, with: .crash(kind))
    case .afterNanoseconds(let nanoseconds):
      simulation.schedule(afterNanoseconds: nanoseconds) { machine.crash(kind) }
    case .atEnd: break
    }
  }

  private func finish(_ plan: LifePlan, _ life: Life, _ machine: SimulatedMachine) {
    closedWhole = false
    switch plan.ending {
    case .close where machine.crashKind == nil:
      closedWhole = life.closedWhole
      // What is still running after a stop has nothing left to do; a start that was refused, too.
      machine.crash(.kill)
      if !life.isClosed { model.crash(.kill) }
    case .close: break
    case .crash(let kind, _):
      machine.crash(kind)
      model.crash(machine.crashKind ?? kind)
      tally.crashCount += 1
    }
  }

  private func judge(
    _ what: () -> String, _ body: () throws(SimulationFailure) -> Void
  ) {
    do throws(SimulationFailure) { try body() } catch {
      guard !plan.allowsErrors || error.reason == .tooManySteps else {
        tally.unansweredCount += 1
        return
      }
      model.report(
        Violation(
          .answersInTime,
          "\(what()): \(error); \(model.openRequestCount) requests have no answer"))
    }
  }
}

extension InjectedDiskFaults {
  /// All kinds together.
  var totalCount: Int {
    readErrors + writeErrors + synchronizeErrors + lostWrites + misdirectedWrites
      + misdirectedReads + flippedBits + damagedSectors + stuckOperations
  }
}
