import DiskFormat
import Geometry
import RAID
import Simulator

/// An array as far as membership goes: members with superblocks, and which acknowledged writes
/// each has.
///
/// It follows rule T6 as the engine does: configurations go to both copies of every survivor before
/// anything is acknowledged, and a crash can come before, in or after each superblock's write.
struct AssemblyModel {
  struct Member {
    var copies: [SuperblockReading]
    /// Acknowledged writes, one bit each.
    var writes: UInt64 = 0

    func report(_ name: String, _ byteCount: UInt64) -> MemberReport {
      MemberReport(name: name, byteCount: byteCount, copyA: copies[0], copyB: copies[1])
    }
  }

  enum Crash: Error { case crash }

  private(set) var members: [Member]
  private(set) var acknowledged: UInt64 = 0
  /// A start was forced: from then on writes may be on one side only.
  private(set) var wasForced = false
  /// Some member lies behind a fork or was refused for good.
  private(set) var problems: [String] = []
  private(set) var startCount = 0
  private(set) var forkCount = 0
  private let array: SampleArray
  private var random: RandomSource
  private var known: Identifier?
  private var configurationCount = 5000
  private var crashPerMillion = 0
  private let mayForce: Bool

  init(_ level: RAIDLevel, _ memberCount: Int, seed: UInt64, mayForce: Bool) throws {
    let array = try SampleArray(level, memberCount)
    self.array = array
    self.mayForce = mayForce
    random = RandomSource(seed: seed)
    members = array.reports.map { Member(copies: [$0.copyA, $0.copyB]) }
    known = array.superblocks[0].configurationID
  }

  /// One life of the array: a start with some members, work, and an end of some kind.
  mutating func step() {
    let count = members.count
    var present = (0..<count).filter { _ in random.happens(perMillion: 800_000) }
    if random.happens(perMillion: 200_000) { present = Array(0..<count) }
    guard !present.isEmpty else { return }
    for index in stride(from: present.count - 1, to: 0, by: -1) {
      present.swapAt(index, random.index(below: index + 1))
    }
    let options = AssemblyOptions(
      isForced: mayForce && random.happens(perMillion: 150_000),
      knownConfiguration: random.coin() ? known?.description : nil)
    let decided = decide(present, options)
    if !isSame(decided, present, decide(present.sorted(), options), present.sorted()) {
      problems.append("the order matters: \(present)")
    }
    switch decided {
    case .failure(let refusal): judge(refusal, present)
    case .success(let plan):
      startCount += 1
      judge(plan, present)
      crashPerMillion = random.coin() ? 100_000 : 0
      do { try serve(plan, present) } catch {}
    }
  }

  private func decide(
    _ present: [Int], _ options: AssemblyOptions
  ) -> Result<AssemblyPlan, AssemblyRefusal> {
    let reports = present.map { members[$0].report(array.path($0), array.byteCount) }
    return AssemblyPlan.decide(reports: reports, options: options)
  }

  /// Whether two decisions say the same of the same members.
  private func isSame(
    _ one: Result<AssemblyPlan, AssemblyRefusal>, _ order: [Int],
    _ other: Result<AssemblyPlan, AssemblyRefusal>, _ otherOrder: [Int]
  ) -> Bool {
    switch (one, other) {
    case (.failure(let one), .failure(let other)): one == other
    case (.success(let one), .success(let other)):
      one.newest == other.newest && one.checkpoint == other.checkpoint
        && one.warnings == other.warnings && one.superblocks == other.superblocks
        && one.currentReports.map { $0.map { order[$0] } }
          == other.currentReports.map { $0.map { otherOrder[$0] } }
        && one.staleReports.map { $0.map { order[$0] } }
          == other.staleReports.map { $0.map { otherOrder[$0] } }
    default: false
    }
  }

  // MARK: What must hold

  private mutating func judge(_ refusal: AssemblyRefusal, _ present: [Int]) {
    switch refusal {
    case .tooFew, .mayHaveDiverged:
      // With everybody there, and nothing ever forced, it always starts.
      if present.count == members.count, !wasForced {
        problems.append("refused with all members: \(refusal)")
      }
    case .fork:
      forkCount += 1
      if !wasForced, present.count == members.count {
        problems.append("a fork with all members, though nothing was forced: \(refusal)")
      }
    default: problems.append("\(refusal)")
    }
  }

  private mutating func judge(_ plan: AssemblyPlan, _ present: [Int]) {
    if plan.wasForced { wasForced = true }
    let current = Array(plan.currentSlots)
    let writes = members[current[0]].writes
    for slot in current where members[slot].writes != writes {
      problems.append("members with different writes are current: \(current)")
    }
    if !wasForced, writes != acknowledged {
      problems.append("acknowledged writes are missing on \(current) of \(present)")
    }
    for slot in plan.staleSlots where members[slot].writes & ~writes != 0 {
      problems.append("a stale member has writes of its own: slot \(slot)")
    }
  }

  // MARK: A life

  private mutating func serve(_ plan: AssemblyPlan, _ present: [Int]) throws {
    var states = plan.memberStates
    let isDone = plan.superblocks.allSatisfy { superblock in
      superblock.map { $0.configurationID == plan.newest.configurationID } ?? true
    }
    var superblock = plan.newest
    if states != plan.newest.memberStates || !isDone || random.coin() {
      try configure(&superblock, states)
    }
    for _ in 0..<random.index(below: 8) {
      switch random.index(below: 4) {
      case 0: acknowledge(states)
      case 1: try expel(&superblock, &states)
      case 2: try takeBack(&superblock, &states, present)
      default: try writeSuperblocks(superblock, on: current(states))
      }
    }
    acknowledge(states)
  }

  private func current(_ states: [MemberState]) -> [Int] {
    states.indices.filter { states[$0] == .current }
  }

  private mutating func acknowledge(_ states: [MemberState]) {
    // One bit for each; beyond that what is there must do.
    guard acknowledged.leadingZeroBitCount > 0 else { return }
    let write: UInt64 = acknowledged == 0 ? 1 : 1 << UInt64(64 - acknowledged.leadingZeroBitCount)
    acknowledged |= write
    for slot in current(states) { members[slot].writes |= write }
  }

  private mutating func expel(_ superblock: inout Superblock, _ states: inout [MemberState]) throws
  {
    let candidates = current(states)
    let slot = candidates[random.index(below: candidates.count)]
    let lost = SlotSet(states.indices.filter { $0 == slot || states[$0] != .current })
    guard array.geometry.canServe(without: lost) else { return }
    states[slot] = .out
    try configure(&superblock, states)
  }

  private mutating func takeBack(
    _ superblock: inout Superblock, _ states: inout [MemberState], _ present: [Int]
  ) throws {
    let candidates = present.filter { states[$0] != .current }
    guard !candidates.isEmpty else { return }
    let slot = candidates[random.index(below: candidates.count)]
    states[slot] = .syncing
    try configure(&superblock, states, also: slot)
    members[slot].writes = members[current(states)[0]].writes
    states[slot] = .current
    try configure(&superblock, states)
  }

  /// A new configuration, on both copies of each survivor.
  private mutating func configure(
    _ superblock: inout Superblock, _ states: [MemberState], also syncing: Int? = nil
  ) throws {
    configurationCount += 1
    superblock = superblock.reconfigured(
      memberIDs: superblock.memberIDs, memberStates: states,
      configurationID: SampleArray.configurationID(configurationCount))
    var slots = current(states)
    if let syncing { slots.append(syncing) }
    try writeSuperblocks(superblock, on: slots)
    try writeSuperblocks(superblock, on: slots)
    known = superblock.configurationID
  }

  private mutating func writeSuperblocks(_ superblock: Superblock, on slots: [Int]) throws {
    var order = slots
    for index in stride(from: order.count - 1, to: 0, by: -1) {
      order.swapAt(index, random.index(below: index + 1))
    }
    for slot in order {
      var own = superblock
      own.slot = slot
      own.memberID = superblock.memberIDs[slot]
      let newest = members[slot].report("", 0).newest
      own.superblockSequence = (newest?.superblockSequence ?? 0) + 1
      let copy = Int(own.superblockSequence % 2)
      if random.happens(perMillion: crashPerMillion) {
        switch random.index(below: 3) {
        case 0: break
        case 1: members[slot].copies[copy] = .valid(own)
        default:
          members[slot].copies[copy] = .damaged(.checksum(stored: 1, computed: 2))
        }
        throw Crash.crash
      }
      members[slot].copies[copy] = .valid(own)
    }
  }
}
