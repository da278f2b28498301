import DiskFormat
import Geometry
import IO
import Parity
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// Puts members out at once, and says so in the world's superblocks.
final class FakeKeeper: MembershipKeeper {
  func place(of failure: OperationFailure) -> Int? { failure.slot }
  func settleChanges() async throws(ArrayError) {}

  let world: LogWorld
  let members: MemberSet<SimulatedMachine, SimulatedDisk>
  var expelled: [(slot: Int, reason: ExpulsionReason)] = []

  init(_ world: LogWorld, _ members: MemberSet<SimulatedMachine, SimulatedDisk>) {
    self.world = world
    self.members = members
  }

  func expel(_ slot: Int, _ reason: ExpulsionReason) async throws(ArrayError) {
    if !world.out.contains(slot) {
      members[slot].putOut(reason)
      var out = world.out
      out.insert(slot)
      guard world.geometry.canServe(without: out) else { throw .stopped("member \(slot) failed") }
      world.out = out
      world.start.members.removeAll { $0.slot == slot }
      expelled.append((slot, reason))
    }
    await members.machine.sleep(nanoseconds: 100_000)
  }

  func stop(_ reason: String) {}
}

/// Keeps what is published, and pins it until it is settled.
final class FakePublisher: LogPublisher {
  typealias Log = WriteLog<SimulatedMachine, SimulatedDisk>
  weak var log: Log?
  let world: LogWorld

  init(_ world: LogWorld) {
    self.world = world
  }

  var published: [(number: Int, batchSequence: UInt64)] = []
  /// What is not settled, oldest first.
  var unsettled: [(number: Int, batchSequence: UInt64, blockCount: Int)] = []
  private(set) var unsettledBlockCount = 0

  func publishWrite(
    _ run: BlockRun, batchSequence: UInt64, payload: IOBuffer, payloadIndex: Int,
    checksums: ArraySlice<UInt32>, token: UInt64
  ) {
    for block in 0..<Int(run.blockCount) {
      let bytes = payload.slice(block * 4096, 4096)
      #expect(BlockChecksum.of(bytes.bytes) == checksums[checksums.startIndex + block])
    }
    #expect(token == UInt64(LogWorld.number(run)))
    if let log, log.writtenSequence < batchSequence {
      world.seenEarly.append(LogWorld.number(run))
    }
    take(LogWorld.number(run), batchSequence, Int(run.blockCount))
  }

  func publishTrim(_ run: BlockRun, batchSequence: UInt64, token: UInt64) {
    take(LogWorld.number(run), batchSequence, 1)
  }

  func take(_ number: Int, _ batchSequence: UInt64, _ blockCount: Int) {
    log?.pin(batchSequence)
    published.append((number, batchSequence))
    unsettled.append((number, batchSequence, blockCount))
    unsettledBlockCount += blockCount
  }

  func settle(_ count: Int) {
    for entry in unsettled.prefix(count) {
      unsettledBlockCount -= entry.blockCount
      log?.unpin(entry.batchSequence)
    }
    unsettled.removeFirst(count)
  }
}

/// The actor that a log belongs to, on a machine of its own.
actor LogHost {
  typealias Log = WriteLog<SimulatedMachine, SimulatedDisk>

  nonisolated let world: LogWorld
  nonisolated let machine: SimulatedMachine
  nonisolated let disks: [SimulatedDisk]
  let members: MemberSet<SimulatedMachine, SimulatedDisk>
  let keeper: FakeKeeper
  private let publisher: FakePublisher
  private var openLog: Log?
  private(set) var spaceWantedCount = 0
  private(set) var roundCount = 0
  private(set) var isDestaging = false

  nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: the actor keeps the machine.
    unsafe machine.unownedExecutor
  }

  init(_ world: LogWorld) {
    self.world = world
    machine = SimulatedMachine(world.simulation)
    let machine = machine
    disks = world.media.map { SimulatedDisk(machine, $0) }
    members = MemberSet(
      machine: machine, options: world.options, layout: world.layout,
      memberCount: world.geometry.memberCount)
    keeper = FakeKeeper(world, members)
    publisher = FakePublisher(world)
  }

  func setUp() {
    let machine = machine
    members.spawnLane = { slot in
      Task(executorPreference: machine) { await self.runLane(slot) }
    }
    for slot in world.currentSlots { members[slot].attach(disks[slot], state: .current) }
    Task(executorPreference: machine) { await self.runTicker() }
  }

  private func runLane(_ slot: Int) async { await members.runLane(slot) }
  private func runTicker() async { await members.runTicker() }

  // MARK: Opening

  /// Recovers the log, and says what it found; with `serves`, goes on with a new epoch.
  func open(serves: Bool = true, rewrites: Bool = true) async throws -> FoundLog {
    setUp()
    var found = FoundLog()
    let reader = LogReader(
      members: members, membership: keeper, arrayID: world.arrayID, layout: world.layout,
      options: world.options)
    let recovered: RecoveredLog<SimulatedMachine, SimulatedDisk>
    do throws(LogReadError) {
      recovered = try await reader.read(world.start)
    } catch {
      found.error = error
      return found
    }
    if rewrites { try await recovered.rewrite() }
    found.endSequence = recovered.endSequence
    found.clientSequence = recovered.position.number
    found.horizon = recovered.horizon
    for index in 0..<recovered.batchCount {
      found.badCopyCount += recovered.batch(at: index).badSlots.count
      try await list(recovered, recovered.batch(at: index), into: &found)
    }
    guard serves else { return found }
    world.start.epoch += world.options.plants(.recoveryKeepsEpoch) ? 0 : 1
    world.start.epochFirstSequence = recovered.endSequence + 1
    world.start.horizon = recovered.endSequence
    let log = try Log(
      members: members, membership: keeper, machine: machine, arrayID: world.arrayID,
      geometry: world.geometry, layout: world.layout, options: world.options,
      resuming: recovered, epoch: world.start.epoch)
    serve(log)
    for record in found.records {
      publisher.take(record.number, record.batchSequence, record.blockCount)
    }
    return found
  }

  private func serve(_ log: Log) {
    openLog = log
    publisher.log = log
    log.publisher = publisher
    log.onSpaceWanted = { [weak self] in self?.assumeIsolated { $0.spaceWantedCount += 1 } }
    for _ in 0..<log.writerCount {
      Task(executorPreference: machine) { await self.runWriter() }
    }
    Task(executorPreference: machine) { await self.runSealer() }
  }

  private func runWriter() async { await openLog?.runWriter() }
  private func runSealer() async { await openLog?.runSealer() }

  private func list(
    _ recovered: RecoveredLog<SimulatedMachine, SimulatedDisk>, _ batch: RecoveredBatch,
    into found: inout FoundLog
  ) async throws {
    for record in batch.batch.records {
      switch record {
      case .intent, .direct, .position: found.intentCount += 1
      case .trim(let run, _):
        found.records.append(
          FoundLog.Record(
            number: LogWorld.number(run), batchSequence: batch.batch.header.sequence,
            payloadIndex: 0, blockCount: 1, isTrim: true))
      case .write(let run, _, let index, let checksums):
        var entry = FoundLog.Record(
          number: LogWorld.number(run), batchSequence: batch.batch.header.sequence,
          payloadIndex: index, blockCount: checksums.count)
        for block in checksums.indices {
          let expected = LogWorld.checksum(number: entry.number, block: block)
          if checksums[block] != expected { entry.wrong = "record \(entry.number) is another" }
          let memory = AlignedMemory.ofTest(4096)
          do throws(ArrayError) {
            try await recovered.readPayload(
              ofBatch: entry.batchSequence, at: index + block, checksum: expected, block: 0,
              into: memory.buffer)
          } catch {
            entry.wrong = "record \(entry.number), block \(block): \(error)"
          }
        }
        found.records.append(entry)
      }
    }
  }

  // MARK: Using it

  var log: Log {
    guard let openLog else { preconditionFailure("the log of a test was not opened") }
    return openLog
  }

  /// Appends a write and notes its course in the world.
  @discardableResult
  func append(blockCount: Int = 1) async throws(ArrayError) -> Int {
    let number = world.nextNumber
    world.nextNumber += 1
    world.begun.append(number)
    let memory = AlignedMemory.ofTest(blockCount * 4096)
    LogWorld.fill(memory.buffer, number: number)
    try await log.append(
      write: LogWorld.run(number, blockCount: blockCount), payload: memory.buffer,
      token: UInt64(number))
    world.acknowledged.append(number)
    return number
  }

  @discardableResult
  func trim() async throws(ArrayError) -> Int {
    let number = world.nextNumber
    world.nextNumber += 1
    world.begun.append(number)
    try await log.append(
      trim: LogWorld.run(number, blockCount: 64), unsettledBlockCount: 1, token: UInt64(number))
    world.acknowledged.append(number)
    return number
  }

  func flush() async throws(ArrayError) {
    let covered = world.acknowledged
    try await log.flush()
    world.flushed.formUnion(covered)
  }

  func appendIntents(_ count: Int) async throws(ArrayError) -> UInt64 {
    let intents = (0..<count).map { row in
      RowIntent(
        row: UInt64(row),
        blocks: [IntentBlock](
          repeating: .written(batchSequence: 1, checksum: 7), count: world.geometry.dataCount),
        paritySectorChecksums: [UInt32](repeating: 9, count: 8 * world.geometry.parityCount))
    }
    return try await log.appendIntents(intents[...])
  }

  /// Settles what is oldest, as a destage and a checkpoint would.
  func destageRound(entryCountMax: Int = 64) async throws(ArrayError) {
    let entries = publisher.unsettled.prefix(entryCountMax)
    let count = entries.count
    if count > 0 {
      var intents: UInt64?
      if world.geometry.parityCount > 0 {
        intents = try await appendIntents(entries.reduce(0) { $0 + $1.blockCount })
      } else {
        try await flush()
      }
      await machine.sleep(nanoseconds: 200_000)
      if let intents { log.unpin(intents) }
      publisher.settle(count)
    }
    try await flush()
    await writeCheckpoint()
    roundCount += 1
  }

  func writeCheckpoint() async {
    let candidate = log.checkpointCandidate
    let fields = log.checkpointFields(at: candidate)
    let tails = world.currentSlots.map {
      LogStart.Member(
        slot: $0, checkpointSequence: candidate,
        tailOffset: log.tailOffset($0, checkpoint: candidate))
    }
    await machine.sleep(nanoseconds: 300_000)
    for entry in publisher.published where entry.batchSequence <= candidate {
      world.home.insert(entry.number)
    }
    world.start.checkpointSequence = fields.sequence
    world.start.checkpointChain = fields.chain
    world.start.checkpointPosition = fields.position
    world.start.horizon = fields.horizon
    world.start.members = tails.filter { !world.out.contains($0.slot) }
    log.checkpointWritten(candidate)
  }

  /// Destages whenever the log wants space, until `stop`.
  func destageOnDemand(entryCountMax: Int) async {
    isDestaging = true
    while isDestaging {
      if log.needsSpace {
        do throws(ArrayError) {
          try await destageRound(entryCountMax: entryCountMax)
        } catch {
          return
        }
      } else {
        await machine.sleep(nanoseconds: 50_000)
      }
    }
  }

  func expel(_ slot: Int) async throws(ArrayError) {
    try await keeper.expel(slot, .disconnected)
  }
  func settleAll() { publisher.settle(publisher.unsettled.count) }
  func endDestaging() { isDestaging = false }
  func stop() { openLog?.stop(.stopped("the test ends")) }

  var published: [Int] { publisher.published.map(\.number) }
  var publishedBatches: [UInt64] { publisher.published.map(\.batchSequence) }
  var horizon: UInt64 { log.horizon }
  var writtenSequence: UInt64 { log.writtenSequence }
  var checkpointSequence: UInt64 { log.checkpointSequence }
  var checkpointCandidate: UInt64 { log.checkpointCandidate }
  var fillFraction: Double { log.fillFraction }
  var needsSpace: Bool { log.needsSpace }
  var isStopped: Bool { log.stopReason != nil }
  var expelledSlots: [Int] { keeper.expelled.map(\.slot) }
  func clientSequence(at sequence: UInt64) -> UInt64 {
    log.checkpointFields(at: sequence).position.number
  }
}
