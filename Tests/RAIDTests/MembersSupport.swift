import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Units

typealias TestMembers = MemberSet<SimulatedMachine, SimulatedDisk>
typealias TestTable = ChecksumTable<SimulatedMachine, SimulatedDisk>

/// A keeper that puts members out, and refuses when too few would be left.
final class TestKeeper: MembershipKeeper {
  func place(of failure: OperationFailure) -> Int? { failure.slot }
  func settleChanges() async throws(ArrayError) {}

  let members: TestMembers
  let spareCount: Int
  private(set) var expulsions: [(slot: Int, reason: ExpulsionReason)] = []

  init(_ members: TestMembers, spareCount: Int) {
    self.members = members
    self.spareCount = spareCount
  }

  func expel(_ slot: Int, _ reason: ExpulsionReason) async throws(ArrayError) {
    guard members[slot].state != .out else { return }
    guard expulsions.count < spareCount else { throw .stopped("nobody can be spared") }
    expulsions.append((slot, reason))
    members[slot].putOut(reason)
  }

  func stop(_ reason: String) {}
}

/// The actor that members and table belong to, as the engine is one.
actor MemberHost {
  private let machine: SimulatedMachine
  let members: TestMembers
  let keeper: TestKeeper
  let table: TestTable
  let geometry: StripeGeometry

  init(
    _ machine: SimulatedMachine, _ disks: [SimulatedDisk], _ geometry: StripeGeometry,
    options: ArrayOptions, absent: SlotSet = SlotSet(), laneCountMax: Int = 64
  ) {
    self.machine = machine
    self.geometry = geometry
    let layout = MemberLayout(geometry: geometry, logByteCount: 8192)
    let members = TestMembers(
      machine: machine, options: options, layout: layout, memberCount: disks.count,
      laneCountMax: laneCountMax)
    for (slot, disk) in disks.enumerated() where !absent.contains(slot) {
      members[slot].identify(Identifier(high: 7, low: UInt64(slot)), name: "disk\(slot)")
      members[slot].attach(disk, state: .current)
    }
    self.members = members
    let keeper = TestKeeper(members, spareCount: geometry.redundancy)
    self.keeper = keeper
    table = TestTable(
      geometry: geometry, placement: TablePlacement(geometry), layout: layout,
      arrayID: Identifier(high: 1, low: 2), members: members, membership: keeper,
      options: options, pageSequence: 0)
  }

  nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: the actor keeps the machine.
    unsafe machine.unownedExecutor
  }

  /// Starts the ticker, and sees to it that lanes are started.
  func start() {
    members.spawnLane = { slot in
      Task(executorPreference: self.machine) { await self.runLane(slot) }
    }
    Task(executorPreference: machine) { await self.runTicker() }
  }

  private func runLane(_ slot: Int) async { await members.runLane(slot) }

  private func runTicker() async { await members.runTicker() }

  /// Runs `body` on this actor.
  func perform<Value: Sendable>(
    _ body: @Sendable (isolated MemberHost) async throws -> Value
  ) async throws -> Value {
    try await body(self)
  }
}

/// Members on one machine of its own.
struct MemberSite {
  let simulation: Simulation
  let machine: SimulatedMachine
  let media: [SimulatedMedium]
  let disks: [SimulatedDisk]
  let host: MemberHost

  init(
    seed: UInt64, level: RAIDLevel = .raid1, memberCount: Int = 2, pageCount: UInt64 = 12,
    options: ArrayOptions = ArrayOptions(), laneCountMax: Int = 64
  ) throws {
    let geometry = try Self.geometry(level, memberCount, pageCount: pageCount)
    let layout = MemberLayout(geometry: geometry, logByteCount: 8192)
    // Tables and a little data.
    let media = (0..<memberCount).map { _ in
      SimulatedMedium(byteCount: layout.dataOffset + 1 << 20)
    }
    self.init(
      Simulation(seed: seed), media, geometry, options: options, laneCountMax: laneCountMax)
  }

  /// A new process that opens what another has left, or a part of it.
  init(
    _ simulation: Simulation, _ media: [SimulatedMedium], _ geometry: StripeGeometry,
    options: ArrayOptions = ArrayOptions(), absent: SlotSet = SlotSet(), laneCountMax: Int = 64
  ) {
    self.simulation = simulation
    self.media = media
    let machine = SimulatedMachine(simulation)
    self.machine = machine
    disks = media.map { SimulatedDisk(machine, $0) }
    host = MemberHost(
      machine, disks, geometry, options: options, absent: absent, laneCountMax: laneCountMax)
  }

  static func geometry(
    _ level: RAIDLevel, _ memberCount: Int, pageCount: UInt64
  ) throws -> StripeGeometry {
    let width: UInt64 =
      switch level {
      case .raid0: 1
      case .raid10: 2
      default: UInt64(memberCount)
      }
    let rows = 504 / width * pageCount
    let blocks =
      switch level {
      case .raid0, .raid10: rows * width / UInt64(memberCount)
      default: rows
      }
    return try StripeGeometry(
      level: level, memberCount: memberCount, chunkBytes: 4096, memberBlockCount: blocks)
  }

  /// Runs `body` on the actor, with lanes and ticker started.
  ///
  /// - Returns: nil when the machine crashed.
  @discardableResult
  func run<Value: Sendable>(
    _ body: @escaping @Sendable (isolated MemberHost) async throws -> Value
  ) throws -> Value? {
    let host = host
    return try machine.run {
      await host.start()
      return try await host.perform(body)
    }
  }
}

extension OwnedBuffer {
  static func ofTest(_ byteCount: Int) -> OwnedBuffer {
    OwnedBuffer(AlignedMemory.ofTest(byteCount))
  }

  static func holding(_ bytes: [UInt8]) -> OwnedBuffer {
    OwnedBuffer(AlignedMemory.holding(bytes))
  }
}
