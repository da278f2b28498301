import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// What a client finds in a block.
enum Found: Equatable, Sendable {
  /// What `ArrayLab.block` gives for it.
  case version(UInt8)
  case zeros
  /// Neither: what nobody wrote.
  case garbage
  /// The read failed.
  case unreadable
  /// The array did not start, and said why.
  case refused(String)

  var isRefused: Bool {
    if case .refused = self { true } else { false }
  }
}

/// One run of an array, on a machine of its own, for the histories of the rules.
///
/// Histories are steered, not drawn: what happens when is decided by what is seen on the media.
struct ArrayStage: Sendable {
  let lab: ArrayLab
  let machine: SimulatedMachine
  /// By slot; nil where the member is left out.
  let disks: [SimulatedDisk?]
  let client: ArrayClient

  func write(_ block: UInt64, _ version: UInt8, durably: Bool = false) async throws {
    try await client.write(block * 4096, lab.block(version, block), durably: durably)
  }

  func find(_ block: UInt64) async -> Found {
    do {
      let bytes = try await client.read(lab.range(block))
      return lab.recognize(bytes, block)
    } catch {
      return .unreadable
    }
  }

  func pass(milliseconds: Double) async {
    await machine.sleep(nanoseconds: UInt64(milliseconds * 1_000_000))
  }

  /// Lets the machine go on until something is seen.
  ///
  /// - Returns: false when it was not seen in time.
  func wait(milliseconds: Int = 100, until isSeen: () -> Bool) async -> Bool {
    let end = machine.nowNanoseconds + UInt64(milliseconds) * 1_000_000
    while !isSeen() {
      guard machine.nowNanoseconds < end else { return false }
      await machine.pauseShortly()
    }
    return true
  }

  /// The process is gone; what it wrote stays.
  func kill() async { await crash(.kill) }

  /// The power goes, and with it what was not synced, except where a member's fate says otherwise.
  func losePower(_ fates: [Int: UnflushedFate] = [:]) async {
    for (slot, medium) in lab.media.enumerated() {
      medium.unflushedFate = fates[slot] ?? .loseAll
    }
    await crash(.powerLoss)
  }

  private func crash(_ kind: CrashKind) async {
    machine.crash(kind)
    await machine.sleep(nanoseconds: 1)
  }

  /// How many fdatasyncs have begun.
  var synchronizeCount: Int { machine.faultPlan.count(of: .synchronize) }

  /// All members take exactly so long for a transfer, and for an fdatasync so many times as long.
  func setLatency(microseconds: UInt64, synchronizeFactor: UInt64 = 40, of slots: [Int]? = nil) {
    for slot in slots ?? Array(disks.indices) {
      disks[slot]?.latency = DiskLatency(
        shortestNanoseconds: microseconds * 1000, longestNanoseconds: microseconds * 1000,
        synchronizeFactor: synchronizeFactor, slowPerMillion: 0)
    }
  }

  func waitUntilOptimal() async throws {
    for _ in 0..<1000 {
      if await client.status().state == .optimal { return }
      await pass(milliseconds: 20)
    }
    Issue.record("not optimal: \(await client.status().cause)")
  }
}

extension SimulationFailure {
  /// Nobody went on, rather than something being wrong.
  var isHang: Bool { reason == .hung || reason == .deadlinePassed }
}

extension SimulatedMachine {
  /// The time between two looks.
  fileprivate func pauseShortly() async { await sleep(nanoseconds: 20_000) }
}

extension ArrayLab {
  /// Longer than any history: what waits for this clock does not happen.
  static let never: UInt64 = 60_000_000_000

  /// A new array with version 1 in some blocks, and in the first positions of a row, at home on all
  /// members.
  static func filled(
    _ level: RAIDLevel, memberCount: Int, _ bug: PlantedBug? = nil, blocks: [UInt64] = [],
    row: UInt64 = 0, positionCount: Int = 0, memberByteCount: UInt64 = 4 << 20,
    extraCount: Int = 0
  ) throws -> ArrayLab {
    let lab = ArrayLab(
      level, memberCount: memberCount, memberByteCount: memberByteCount, extraCount: extraCount)
    try lab.create(seed: 1)
    let row = try lab.blocks(ofRow: row, count: positionCount)
    try lab.play(seed: 2) { stage in
      for block in blocks + row { try await stage.write(block, 1) }
      try await stage.client.close()
    }
    // The bug is in what follows; and nothing happens there but what the history asks for.
    lab.options.plantedBug = bug
    lab.options.destageDelayNanoseconds = never
    lab.options.sealDelayNanoseconds = never
    return lab
  }

  /// The same on media of its own.
  func copy() -> ArrayLab { ArrayLab(level, memberCount: memberCount, copying: self) }

  /// One run, which ends with its body, its crash, or when the time is over.
  func play(
    seed: UInt64, without lost: [Int] = [], milliseconds: UInt64 = 600_000,
    _ body: @escaping @Sendable (ArrayStage) async throws -> Void
  ) throws {
    let machine = SimulatedMachine(seed: seed)
    defer { machine.crash(.kill) }
    try machine.run(within: Simulation.Limits(virtualNanoseconds: milliseconds * 1_000_000)) {
      let members = self.handles(machine, without: SlotSet(lost))
      let disks = self.media.indices.map { slot in
        members.first { $0.name == "member\(slot)" }?.disk
      }
      let client = try await self.start(machine, members)
      try await body(ArrayStage(lab: self, machine: machine, disks: disks, client: client))
    }
  }

  /// What the next start finds in blocks, by force if need be, on a copy of the media.
  func found(_ blocks: [UInt64], without lost: [Int] = [], isForced: Bool = true) throws -> [Found]
  {
    let next = copy()
    next.options.isForced = isForced
    next.options.resyncsAutomatically = false
    let found = Box([Found]())
    let machine = SimulatedMachine(seed: 77)
    defer { machine.crash(.kill) }
    try machine.run {
      do throws(ArrayStartError) {
        let volume = try await ArrayEngine.start(
          members: next.handles(machine, without: SlotSet(lost)), machine: machine,
          options: next.options, log: { _, _ in })
        let client = ArrayClient(machine, volume)
        let stage = ArrayStage(lab: next, machine: machine, disks: [], client: client)
        for block in blocks { found.value.append(await stage.find(block)) }
      } catch {
        found.value = blocks.map { _ in .refused(String(describing: error)) }
      }
    }
    return found.value
  }

  func found(_ block: UInt64, without lost: [Int] = [], isForced: Bool = true) throws -> Found {
    try #require(try found([block], without: lost, isForced: isForced).first)
  }

  func recognize(_ bytes: [UInt8], _ number: UInt64) -> Found {
    for version in 1...UInt8(9) where bytes == block(version, number) { return .version(version) }
    return bytes.allSatisfy { $0 == 0 } ? .zeros : .garbage
  }

  // MARK: Places

  /// The blocks at the first positions of a row.
  func blocks(ofRow row: UInt64, count: Int) throws -> [UInt64] {
    let geometry = try geometry()
    return (0..<count).map { geometry.block(ofRow: row, position: $0) }
  }

  /// Where a block of a row is, and how far from the member's start.
  func home(row: UInt64, position: Int) throws -> (slot: Int, range: ByteRange) {
    let place = try geometry().place(ofRow: row, position: position)
    let start = try layout().dataOffset + place.memberBlock * 4096
    return (place.slot, ByteRange(from: start, to: start + 4096))
  }

  /// Where a row of a mirror lies on each of its members, by slot.
  func homes(row: UInt64) throws -> [ByteRange] {
    let all = try media.indices.map { try home(row: row, position: $0) }
    return all.sorted { $0.slot < $1.slot }.map(\.range)
  }

  /// Where a block of content lies in a member's log, as the member would be read now.
  func logOffset(_ slot: Int, of content: [UInt8]) throws -> UInt64? {
    let layout = try layout()
    return stride(from: layout.logOffset, to: layout.tableOffset, by: 4096).first { offset in
      media[slot].live.bytes(ByteRange(from: offset, to: offset + 4096)) == content
    }
  }

  /// The members that have a version of a block in their log.
  func logSlots(_ block: UInt64, _ version: UInt8) throws -> [Int] {
    try media.indices.filter { try logOffset($0, of: self.block(version, block)) != nil }
  }

  /// Whether a member has something there that no fdatasync has covered.
  func isUnsynced(_ slot: Int, _ range: ByteRange) -> Bool {
    media[slot].live.bytes(range) != media[slot].durable.bytes(range)
  }

  /// Whether a new superblock is on its way to a member.
  func hasUnsyncedSuperblock(_ slot: Int) -> Bool {
    isUnsynced(slot, ByteRange(from: 0, to: 2 * MemberLayout.superblockBytes))
  }
}

extension UnflushedFate {
  /// Of what was not synced, only the sectors of a range survive.
  static func keepOnly(_ kept: ByteRange) -> UnflushedFate {
    .chosen { sector, writes in
      kept.contains(sector * 512) ? writes.count : 0
    }
  }

  /// Of what was not synced, the first sector of each block survives: what was being written is
  /// torn, between its header and the rest.
  static var torn: UnflushedFate {
    .chosen { sector, writes in sector % 8 == 0 ? writes.count : 0 }
  }
}

extension ByteRange {
  fileprivate func contains(_ offset: UInt64) -> Bool {
    offsetBytes <= offset && offset < endBytes
  }
}
