import DiskFormat
import Geometry
import IO
package import RAID
import Replication
package import Simulator
import Units
import Volumes

/// One node of a pair: media that outlive its machines, and what runs on the present one.
// Safe: a simulation runs on one thread.
package final class PairNode: @unchecked Sendable {
  package let name: String
  let simulation: Simulation
  let network: SimulatedNetwork
  package let media: [SimulatedMedium]
  /// Where what a copy overwrites is kept; nil for nowhere.
  package var undoMedium: SimulatedMedium?
  let level: RAIDLevel
  package var options = ArrayOptions()
  /// Who decides between the nodes, where one does.
  package var arbiter: PairArbiter?
  package private(set) var machine: SimulatedMachine?
  /// The present machine's disks: the members, and where the undo region is.
  package private(set) var disks: [SimulatedDisk] = []
  package private(set) var undoDisk: SimulatedDisk?
  /// Nil while it is down, or has not come up yet.
  package private(set) var host: PairHost?
  private(set) var isCreated = true
  private(set) var startFailure: String?
  /// Told of each crash of its machines.
  var onCrash: @Sendable (CrashKind) -> Void = { _ in }
  private var lifeCount = 0
  /// The machine of its next life crashes at this operation.
  var plannedCrash: (operation: Int, kind: CrashKind)?

  init(
    _ name: String, _ simulation: Simulation, _ network: SimulatedNetwork, level: RAIDLevel
  ) {
    self.name = name
    self.simulation = simulation
    self.network = network
    self.level = level
    let count = level == .raid1 ? 2 : 3
    media = (0..<count).map { _ in SimulatedMedium(byteCount: 4 << 20) }
    options.dirtyBytesMax = 1 << 20
    options.tableCacheBytes = 1 << 16
    options.logPolicy = .full
    options.destageDelayNanoseconds = 20_000_000
  }

  var address: String { "tcp:\(name):1" }
  package var isUp: Bool { host != nil && machine?.crashKind == nil }

  private func handles(_ machine: SimulatedMachine) -> [MemberHandle<SimulatedDisk>] {
    disks = media.map { SimulatedDisk(machine, $0) }
    return disks.enumerated().map { index, disk in
      MemberHandle(name: "\(name)\(index)", disk: disk, byteCount: media[index].live.byteCount)
    }
  }

  /// A disk does not answer until it is released.
  func hangDisk(_ index: Int) {
    if machine?.crashKind == nil { disks[index].isStuck = true }
  }

  func releaseDisks() {
    for disk in disks where disk.isStuck { disk.release() }
  }

  /// The machine crashes at one of its next operations.
  func planCrash(in operations: Int, _ kind: CrashKind) {
    guard let machine, machine.crashKind == nil else { return }
    machine.faultPlan.fail(
      operation: machine.faultPlan.operationCount + operations, with: .crash(kind))
  }

  func forgetPlannedCrashes() { machine?.faultPlan.removeAll() }

  /// Makes its array.
  func create() throws {
    let (machine, members, creation) = try makeCreation()
    try simulation.run(on: machine) {
      try await creation.write(to: members)
      for member in members { await member.disk.close() }
    }
    machine.crash(.kill)
  }

  /// Makes it anew, while the simulation runs; what was there before is gone.
  func beginCreation() {
    isCreated = false
    guard let (machine, members, creation) = try? makeCreation() else { return }
    machine.start {
      guard (try? await creation.write(to: members)) != nil else { return }
      for member in members { await member.disk.close() }
      self.isCreated = true
    }
  }

  private func makeCreation() throws -> (
    SimulatedMachine, [MemberHandle<SimulatedDisk>], ArrayCreation
  ) {
    let machine = SimulatedMachine(simulation, name: "\(name)-create")
    let members = handles(machine)
    let settings = CreationSettings(
      name: name, level: level, chunkBytes: 8192,
      logByteCount: (1 << 20) * UInt64(media.count) / 2, createdSeconds: 1)
    let creation = try ArrayCreation(
      settings, members.map { CreationCandidate(name: $0.name, byteCount: $0.byteCount) },
      randomNumber: { machine.randomNumber() })
    return (machine, members, creation)
  }

  /// Starts a machine; the array is up some time later.
  package func boot() {
    guard machine == nil || machine?.crashKind != nil else { return }
    lifeCount += 1
    let machine = SimulatedMachine(simulation, name: "\(name)\(lifeCount)")
    self.machine = machine
    machine.onCrash = { [weak self] kind in
      self?.host = nil
      self?.onCrash(kind)
    }
    if let planned = plannedCrash {
      machine.faultPlan.fail(operation: planned.operation, with: .crash(planned.kind))
      plannedCrash = nil
    }
    host = nil
    startFailure = nil
    machine.start { await self.start(machine) }
  }

  private func start(_ machine: SimulatedMachine) async {
    do throws(ArrayStartError) {
      let members = handles(machine)
      let volume = try await ArrayEngine.start(
        members: members, machine: machine, options: options,
        log: { [name, simulation] in
          unsafe PairNode.tell("\(simulation.nowNanoseconds / 1_000_000) ms \(name): \($1)")
        })
      var undo: UndoRegion<SimulatedDisk>?
      if let undoMedium {
        let nodeID = await volume.engine.nodeView.nodeID
        let disk = SimulatedDisk(machine, undoMedium)
        undoDisk = disk
        do throws(UndoError) {
          undo = try await UndoRegion(
            disk, byteCount: undoMedium.live.byteCount, arrayID: nodeID)
        } catch {
          startFailure = error.words
          return
        }
      }
      let host = PairHost(machine, volume, self, undo: undo)
      await host.open()
      if machine.crashKind == nil { self.host = host }
    } catch {
      startFailure = "\(error)"
    }
  }

  /// Whether its newest configuration on disk waits for its replica.
  var replicaCountsOnDisk: Bool { newestSuperblock?.replication.peers.first?.counts ?? false }

  /// Whether that says that it is a replica, with nothing missing or amid a copy.
  func isReplicaOnDisk(isConsistent: Bool) -> Bool {
    guard let state = newestSuperblock?.replication else { return false }
    return state.role == .replica && state.isConsistent == isConsistent
  }

  private var newestSuperblock: Superblock? {
    guard let memory = AlignedMemory(byteCount: 4096) else { return nil }
    defer { withExtendedLifetime(memory) {} }
    let buffer = memory.buffer
    var newest: Superblock?
    for medium in media {
      for copy in 0..<UInt64(2) {
        medium.copyBytes(ByteRange(from: copy * 4096, to: (copy + 1) * 4096), into: buffer)
        guard let found = try? Superblock.decode(buffer) else { continue }
        if found.eventCount >= newest?.eventCount ?? 0 { newest = found }
      }
    }
    return newest
  }

  /// Ends the machine at once.
  package func crash(_ kind: CrashKind) { machine?.crash(kind) }
}

/// What runs on a machine: the array, and its node.
package actor PairHost {
  nonisolated let machine: SimulatedMachine
  package nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: the actor keeps its machine.
    unsafe machine.unownedExecutor
  }

  let volume: ArrayVolume<SimulatedMachine, SimulatedDisk>
  nonisolated let engine: ArrayEngine<SimulatedMachine, SimulatedDisk>
  nonisolated let node: ReplicationNode<SimulatedMachine, SimulatedDisk>
  private let address: String
  private let network: SimulatedNetwork
  private let name: String
  private let arbiter: PairArbiter?

  init(
    _ machine: SimulatedMachine,
    _ volume: sending ArrayVolume<SimulatedMachine, SimulatedDisk>, _ owner: PairNode,
    undo: UndoRegion<SimulatedDisk>?
  ) {
    self.machine = machine
    address = owner.address
    network = owner.network
    name = owner.name
    arbiter = owner.arbiter
    engine = volume.engine
    self.volume = volume
    var options = SessionOptions()
    options.advertisedAddress = owner.address
    options.silenceNanoseconds = 400_000_000
    options.backoffNanosecondsMin = 10_000_000
    options.backoffNanosecondsMax = 200_000_000
    let network = owner.network
    let name = owner.name
    node = ReplicationNode(
      engine: engine, machine: machine, options: options, undo: undo,
      call: { address in
        guard case .success(let stream) = await network.connect(from: machine, to: address) else {
          return nil
        }
        return stream
      },
      log: { line in
        unsafe PairNode.tell("\(machine.nowNanoseconds / 1_000_000) ms \(name): \(line)")
      })
  }

  func open() async {
    if let arbiter {
      let (machine, name) = (machine, name)
      await engine.setArbiter { await arbiter.ask($0, of: name, on: machine) }
    }
    await node.start()
    if let listener = network.listen(on: machine, at: address) {
      await node.listen(at: listener)
    }
  }

  func write(_ block: UInt64, _ count: Int, stamp: UInt64, durably: Bool) async -> Bool {
    guard let memory = AlignedMemory(byteCount: count * 4096) else { return false }
    let buffer = memory.buffer
    for word in 0..<count * 512 { buffer.storeWord(stamp, at: word * 8) }
    defer { withExtendedLifetime(memory) {} }
    do throws(VolumeError) {
      try await volume.write(
        ByteRange(from: block * 4096, to: (block + UInt64(count)) * 4096), from: buffer,
        durably: durably)
      return true
    } catch {
      return false
    }
  }

  func trim(_ block: UInt64, _ count: Int) async -> Bool {
    do throws(VolumeError) {
      try await volume.trim(
        ByteRange(from: block * 4096, to: (block + UInt64(count)) * 4096), durably: false)
      return true
    } catch {
      return false
    }
  }

  func flush() async -> Bool {
    do throws(VolumeError) {
      try await volume.flush()
      return true
    } catch {
      return false
    }
  }

  /// The stamp of a block; nil when it cannot be read, `.max` when it is torn.
  func read(_ block: UInt64) async -> UInt64? {
    guard let memory = AlignedMemory(byteCount: 4096) else { return nil }
    let buffer = memory.buffer.prefix(4096)
    defer { withExtendedLifetime(memory) {} }
    do throws(VolumeError) {
      try await volume.read(
        ByteRange(from: block * 4096, to: (block + 1) * 4096), into: buffer)
    } catch {
      return nil
    }
    let first = buffer.loadWord(at: 0)
    for word in 1..<512 where buffer.loadWord(at: word * 8) != first { return .max }
    return first
  }

  /// The same of all blocks, one by one.
  func readAll(_ count: Int) async -> [UInt64?] {
    var stamps: [UInt64?] = []
    for block in 0..<UInt64(count) { stamps.append(await read(block)) }
    return stamps
  }
}

extension PairNode {
  /// Where the nodes' words go: to standard error in a replay.
  // Safe: set once, before anything runs.
  nonisolated(unsafe) package static var tell: @Sendable (String) -> Void = { _ in }
}

extension IOBuffer {
  fileprivate func storeWord(_ word: UInt64, at offset: Int) { storeUInt64(word, at: offset) }
  fileprivate func loadWord(at offset: Int) -> UInt64 { loadUInt64(at: offset) }
}
