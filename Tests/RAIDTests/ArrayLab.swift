import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units
import Volumes

/// An array on simulated media, which outlive the machines that serve it.
final class ArrayLab: @unchecked Sendable {
  let level: RAIDLevel
  /// Of the members, then of devices that may become members.
  let media: [SimulatedMedium]
  let memberCount: Int
  let settings: CreationSettings
  var options = ArrayOptions()
  /// Takes down the state of scrubs.
  var keepScrub: @Sendable (ScrubState) -> Void = { _ in }
  /// Told of each configuration, as a registry is.
  var record: @Sendable (Superblock) -> Void = { _ in }

  init(
    _ level: RAIDLevel, memberCount: Int, memberByteCount: UInt64 = 4 << 20,
    chunkBytes: UInt64 = 8192, logShareBytes: UInt64 = 1 << 20, extraCount: Int = 0
  ) {
    self.level = level
    self.memberCount = memberCount
    media = (0..<memberCount + extraCount).map { _ in SimulatedMedium(byteCount: memberByteCount) }
    let copies: Int =
      switch level {
      case .raid0: 1
      case .raid1: memberCount
      case .raid5, .raid10: 2
      case .raid6: 3
      }
    settings = CreationSettings(
      name: "lab", level: level, chunkBytes: chunkBytes,
      logByteCount: logShareBytes * UInt64(memberCount) / UInt64(copies), createdSeconds: 1)
    options.logPolicy = .auto
    options.dirtyBytesMax = 1 << 20
    options.tableCacheBytes = 1 << 16
    options.resyncsAutomatically = true
  }

  /// The same array on copies of the media.
  init(_ level: RAIDLevel, memberCount: Int, copying other: ArrayLab) {
    self.level = level
    self.memberCount = memberCount
    media = other.media.map { SimulatedMedium(copyOf: $0.live) }
    settings = other.settings
    options = other.options
  }

  typealias Handle = MemberHandle<SimulatedDisk>

  func handles(_ machine: SimulatedMachine, without lost: SlotSet = SlotSet()) -> [Handle] {
    media.indices.filter { slot in
      !lost.contains(slot) && (slot < memberCount || !superblocks(ofMember: slot).isEmpty)
    }.map { handle($0, machine) }
  }

  func handle(_ slot: Int, _ machine: SimulatedMachine) -> Handle {
    Handle(
      name: "member\(slot)", disk: SimulatedDisk(machine, media[slot]),
      byteCount: media[slot].live.byteCount)
  }

  /// Creates the array on a machine of its own; the first devices behind the members can be spares.
  func create(seed: UInt64, spareCount: Int = 0) throws {
    let machine = SimulatedMachine(seed: seed)
    let members = (0..<memberCount + spareCount).map { handle($0, machine) }
    let candidates = members.map { CreationCandidate(name: $0.name, byteCount: $0.byteCount) }
    let creation = try ArrayCreation(
      settings, Array(candidates.prefix(memberCount)),
      spares: Array(candidates.dropFirst(memberCount)),
      randomNumber: { machine.randomNumber() })
    try machine.run {
      try await creation.write(to: members)
      for member in members { await member.disk.close() }
    }
  }

  /// Starts it.
  func start(
    _ machine: SimulatedMachine, without lost: SlotSet = SlotSet()
  ) async throws -> ArrayClient {
    try await start(machine, handles(machine, without: lost))
  }

  /// Starts it with members that were opened before.
  func start(_ machine: SimulatedMachine, _ members: [Handle]) async throws -> ArrayClient {
    ArrayClient(
      machine,
      try await ArrayEngine.start(
        members: members, machine: machine, options: options, log: { _, _ in },
        record: { [record] in record($0) }, keepScrub: keepScrub))
  }
}

extension ArrayLab {
  /// The newest superblock of all members.
  func superblock() throws -> Superblock {
    let all = media.indices.flatMap { superblocks(ofMember: $0) }
    return try #require(all.max { $0.superblockSequence < $1.superblockSequence })
  }

  func layout() throws -> MemberLayout { try superblock().layout }

  func geometry() throws -> StripeGeometry { try #require(try superblock().geometry) }

  func range(_ block: UInt64) -> ByteRange { ByteRange(from: block * 4096, to: (block + 1) * 4096) }

  /// The content of a block in a version.
  func block(_ version: UInt8, _ number: UInt64) -> [UInt8] {
    (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ Int(number) &* 7) ^ (version &* 37) }
  }
}

/// A volume and the actor that uses it.
actor ArrayClient {
  let machine: SimulatedMachine
  let volume: ArrayVolume<SimulatedMachine, SimulatedDisk>
  nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: the actor keeps its machine.
    unsafe machine.unownedExecutor
  }

  init(
    _ machine: SimulatedMachine,
    _ volume: sending ArrayVolume<SimulatedMachine, SimulatedDisk>
  ) {
    self.machine = machine
    self.volume = volume
  }

  var byteCount: UInt64 { volume.traits.byteCount }

  func read(_ range: ByteRange) async throws -> [UInt8] {
    let memory = try #require(AlignedMemory(byteCount: Int(range.byteCount)))
    let buffer = memory.buffer.prefix(Int(range.byteCount))
    if volume.lends(range), let lent = try await volume.readLent(range) {
      defer { lent.giveBack() }
      return lent.bytes.array
    }
    try await volume.read(range, into: buffer)
    let bytes = buffer.array
    withExtendedLifetime(memory) {}
    return bytes
  }

  func write(_ offsetBytes: UInt64, _ bytes: [UInt8], durably: Bool = false) async throws {
    let memory = AlignedMemory.holding(bytes)
    let buffer = memory.buffer.prefix(bytes.count)
    try await volume.write(
      ByteRange(from: offsetBytes, to: offsetBytes + UInt64(bytes.count)), from: buffer,
      durably: durably)
    withExtendedLifetime(memory) {}
  }

  func flush() async throws { try await volume.flush() }
  func trim(_ range: ByteRange) async throws { try await volume.trim(range, durably: false) }
  func close() async throws { try await volume.close() }
  func health() -> VolumeHealth { volume.health }
  func add(_ handle: ArrayLab.Handle) async throws -> MemberSeat {
    try await volume.engine.addMember(handle)
  }
  func replace(_ memberID: Identifier, _ handle: ArrayLab.Handle) async throws {
    try await volume.engine.replaceMember(memberID, with: handle)
  }
  func fail(_ memberID: Identifier) async throws { try await volume.engine.failMember(memberID) }
  func reinstate(_ memberID: Identifier) async throws -> Int {
    try await volume.engine.reinstateMember(memberID)
  }
  func offer(_ handle: ArrayLab.Handle) async -> MemberOffer { await volume.engine.offer(handle) }
  /// Its file is another one now.
  func lose(_ memberID: Identifier) async {
    await volume.engine.noteLoss(.replaced, of: memberID)
  }
  func pauseRebuild() async { await volume.engine.pauseRebuild() }
  func remove(_ memberID: Identifier) async throws {
    try await volume.engine.removeMember(memberID)
  }
  func status() -> ArrayStatus { volume.engine.assumeIsolated { $0.status } }
  func settledRowCount() -> Int { volume.engine.assumeIsolated { $0.recovery.settledRowCount } }
}
