import IO
import RAID
import Simulator
import Units
import Volumes

/// One run of the device: start, clients, verification, stop.
///
/// It belongs to the machine; when that crashes, it simply ends in mid-sentence.
final class Life: @unchecked Sendable {
  private let plan: LifePlan
  private let history: HistoryPlan
  private let system: any SystemUnderTest
  private let shelf: BufferShelf
  private let model: DeviceModel
  private let tally: Tally
  private let media: [SimulatedMedium]
  private let machine: SimulatedMachine
  private var disks: [SimulatedDisk]
  /// What it is at, for the report of a hang.
  private(set) var stage = "starting"
  private(set) var operationsToServe: Int?
  private(set) var isClosed = false
  private(set) var closedWhole = false
  private var areCommandsUnderWay = false

  private static let optimalNanosecondsMax: UInt64 = 600_000_000_000

  init(
    _ plan: LifePlan, of history: History, on machine: SimulatedMachine, _ disks: [SimulatedDisk]
  ) {
    self.plan = plan
    self.history = history.plan
    system = history.system
    shelf = history.shelf
    model = history.model
    tally = history.tally
    media = history.media
    self.machine = machine
    self.disks = disks
  }

  func run() async {
    guard let device = await start() else { return }
    operationsToServe = machine.faultPlan.operationCount
    model.serve()
    for (slot, medium) in media.enumerated() {
      medium.faultRates = plan.rates(ofMember: slot, isServing: true)
    }
    for timed in plan.incidents { schedule(timed) }
    for timed in plan.actions { schedule(timed, device) }
    let machine = machine
    if !plan.commands.isEmpty {
      areCommandsUnderWay = true
      Task(executorPreference: machine) { await self.carryOutCommands(on: device) }
    }
    let reader = client(of: device)
    stage = "reading everything, first"
    if plan.verifiesFirst { guard await reader.readAll() else { return } }
    stage = "serving clients"
    await runClients(of: device)
    guard model.violation == nil else { return }
    stage = "carrying out commands"
    while areCommandsUnderWay { await machine.sleep(nanoseconds: 100_000) }
    stage = "being idle"
    if plan.idleNanoseconds > 0 { await machine.sleep(nanoseconds: plan.idleNanoseconds) }
    stage = "bringing members up to date"
    if plan.waitsUntilOptimal, system.promises.becomesOptimal {
      guard await waitUntilOptimal(device) else { return }
    }
    stage = "scrubbing"
    if plan.scrubsLast { guard await scrub(device) else { return } }
    stage = "reading everything, last"
    if plan.verifiesLast { guard await reader.readAll() else { return } }
    stage = "stopping"
    if plan.ending == .close { await close(device) }
    stage = "done"
  }

  // MARK: The operator

  private func schedule(_ timed: LifePlan.TimedAction, _ device: any DeviceUnderTest) {
    let machine = machine
    machine.start {
      await machine.sleep(nanoseconds: timed.afterNanoseconds)
      await device.perform(timed.action)
    }
  }

  /// Nothing is wrong that no fault has left, and nothing is wrong any more after a repair.
  private func scrub(_ device: any DeviceUnderTest) async -> Bool {
    if history.hasSilentFaults { _ = await device.scrub(repairs: true) }
    guard let found = await device.scrub(repairs: false), !history.allowsErrors else {
      return model.violation == nil
    }
    // What a crash amid direct writes and a lost member may leave (the exception of P5).
    if let lost = found.lostSectors, lost.allSatisfy(model.excusesAll) {
      return model.violation == nil
    }
    model.report(
      Violation(
        .becomesWhole,
        "a scrub \(history.hasSilentFaults ? "after a repair" : "without faults") finds \(found.words)"
      ))
    return false
  }

  // MARK: Starting and stopping

  /// - Returns: nil when it was refused; that is told to the model where nothing excuses it.
  private func start() async -> (any DeviceUnderTest)? {
    let present = disks.indices.map { plan.absent.contains($0) ? nil : disks[$0] }
    var setup = StartSetup(
      machine: machine, shape: history.shape, disks: present, options: history.options)
    do throws(StartRefusal) { return try await system.start(setup) } catch {
      tally.refusalCount += 1
      // With members missing, or as good as missing, it may need to be told that these did not go
      // on alone. Within the budget that is true.
      let isSomeoneMissing =
        !(plan.absent.isEmpty && plan.rates.isEmpty)
        || media.contains { isLost($0) }
      let mayForce = !history.allowsErrors && isSomeoneMissing
      guard error.canBeForced, mayForce else {
        return refuse(error)
      }
    }
    setup.options.isForced = true
    tally.forcedCount += 1
    // Another process: what hangs in the first one is not its own.
    disks = disks.map { disk in
      let fresh = SimulatedDisk(machine, disk.medium)
      fresh.latency = disk.latency
      return fresh
    }
    setup.disks = disks.indices.map { plan.absent.contains($0) ? nil : disks[$0] }
    do throws(StartRefusal) { return try await system.start(setup) } catch {
      return refuse(error)
    }
  }

  /// A member that lied, and no longer says who it is.
  private func isLost(_ medium: SimulatedMedium) -> Bool {
    // A device that was never a member, or is being made one again, says nothing.
    (history.extraCount == 0 || history.hasSilentFaults) && !system.isRecognizable(medium)
  }

  private func refuse(_ refusal: StartRefusal) -> (any DeviceUnderTest)? {
    if !history.allowsErrors {
      let absent = plan.absent.isEmpty ? "none" : "\(plan.absent.sorted())"
      model.report(
        Violation(
          .becomesWhole, "the start was refused (members missing: \(absent)): \(refusal.reason)"))
    }
    return nil
  }

  private func waitUntilOptimal(_ device: any DeviceUnderTest) async -> Bool {
    let deadline = machine.nowNanoseconds + Self.optimalNanosecondsMax
    while !(await device.isOptimal()) {
      guard machine.nowNanoseconds < deadline else {
        if !history.allowsErrors, !media.contains(where: isLost) {
          model.report(
            Violation(
              .becomesWhole,
              "members are all there, and it is not optimal after "
                + "\(Self.optimalNanosecondsMax / 1_000_000_000) s: \(await device.describe())"))
        }
        return history.allowsErrors || model.violation == nil
      }
      await device.takeBackMembers()
      await device.fillEmptySlots()
      await machine.sleep(nanoseconds: 100_000_000)
    }
    return true
  }

  private func close(_ device: any DeviceUnderTest) async {
    let isWhole = await device.isOptimal()
    do throws(VolumeError) { try await device.close() } catch {
      if !history.allowsErrors {
        model.report(Violation(.rightOrError, "the stop failed, which no fault excuses: \(error)"))
      }
      return
    }
    model.close()
    isClosed = true
    closedWhole = isWhole && system.promises.becomesOptimal
  }

  // MARK: Clients

  private func client(of device: any DeviceUnderTest) -> Client {
    Client(
      device: device, model: model, machine: machine, tally: tally,
      allowsErrors: history.allowsErrors, memory: shelf.take())
  }

  private func runClients(of device: any DeviceUnderTest) async {
    switch plan.workload {
    case .script(let requests):
      let client = client(of: device)
      for request in requests { guard await client.perform(request) else { return } }
    case .scripts(let lists):
      await withTaskGroup(of: Void.self) { group in
        for requests in lists {
          let client = client(of: device)
          group.addTask(executorPreference: machine) {
            for request in requests { guard await client.perform(request) else { return } }
          }
        }
      }
    case .random(let clientCount, let requestCount, let spot):
      await withTaskGroup(of: Void.self) { group in
        for number in 0..<clientCount {
          let client = client(of: device)
          let random = RandomSource(seed: spot &+ UInt64(number + 1) &* 0x9E37_79B9)
          var source = RequestSource(history.shape, spot: spot, random)
          group.addTask(executorPreference: machine) {
            for _ in 0..<requestCount {
              guard await client.perform(source.next()) else { return }
            }
          }
        }
      }
    }
  }

  // MARK: Commands and incidents

  private func carryOutCommands(on device: any DeviceUnderTest) async {
    for timed in plan.commands {
      await machine.sleep(nanoseconds: timed.afterNanoseconds)
      await device.carryOut(timed.command)
    }
    areCommandsUnderWay = false
  }

  private func schedule(_ timed: LifePlan.TimedIncident) {
    let (media, disks) = (media, disks)
    machine.simulation.schedule(afterNanoseconds: timed.afterNanoseconds) {
      switch timed.incident {
      case .stick(let slot): disks[slot].isStuck = true
      case .release(let slot): disks[slot].release()
      case .answerAgain(let slot): disks[slot].isStuck = false
      case .makeUnreadable(let slot, let sector):
        media[slot].makeUnreadable(ByteRange(from: sector * 512, to: sector * 512 + 512))
      case .flip(let slot, let offset): media[slot].flipBits(at: offset)
      case .loseWrite(let slot, let offset, let byteCount):
        media[slot].writeTraps.append(
          WriteTrap(ByteRange(from: offset, to: offset + byteCount)))
      case .clear(let slot, let offset, let byteCount):
        media[slot].overwrite(
          at: offset, with: [UInt8](repeating: 0, count: Int(byteCount)))
      }
    }
  }
}
