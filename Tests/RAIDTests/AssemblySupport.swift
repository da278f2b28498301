import DiskFormat
import Geometry
import RAID

/// A small array as its members' superblocks tell it, for tests of what is decided about them.
struct SampleArray {
  let geometry: StripeGeometry
  let layout: MemberLayout
  /// What each slot's member has in both copies.
  var superblocks: [Superblock]

  static func identifier(_ kind: UInt64, _ number: Int) -> Identifier {
    Identifier(high: kind, low: UInt64(number))
  }

  static func configurationID(_ number: Int) -> Identifier { identifier(0xc0ff, number) }

  init(_ level: RAIDLevel, _ memberCount: Int, array: Int = 1) throws {
    geometry = try StripeGeometry(
      level: level, memberCount: memberCount, chunkBytes: 4096, memberBlockCount: 16)
    let layout = MemberLayout(geometry: geometry, logByteCount: 1 << 20)
    self.layout = layout
    let memberIDs = (0..<memberCount).map { Self.identifier(UInt64(array) << 32 | 0x3e, $0 + 1) }
    superblocks = memberIDs.indices.map { slot in
      Superblock(
        arrayID: Self.identifier(0xa44a, array), memberID: memberIDs[slot], slot: slot,
        name: "db\(array)", level: level, memberCount: memberCount, chunkBytes: 4096,
        memberBlockCount: 16, layout: layout, createdSeconds: 1_700_000_000, eventCount: 1,
        configurationID: Self.configurationID(array * 1000), memberIDs: memberIDs,
        memberStates: memberIDs.map { _ in .current },
        timelines: [
          Timeline(
            timelineID: Self.identifier(0x71, 1), start: StreamPosition(number: 0, chain: 0))
        ],
        superblockSequence: 10, isClean: true, logEpoch: 1, epochFirstSequence: 1,
        checkpointSequence: 5, checkpointChain: 0, checkpointClientSequence: 0,
        logTailOffset: 0, horizon: 5, pageSequence: 1, ownerNonce: .none, heartbeat: 0,
        configurationHistory: [Self.identifier(0xdead, array)])
    }
  }

  var byteCount: UInt64 { layout.endBytes(geometry: geometry) }
  var allSlots: [Int] { Array(0..<geometry.memberCount) }

  func path(_ slot: Int) -> String { "/members/\(superblocks[slot].name)-\(slot)" }

  /// Both copies good, the newest in `superblocks`.
  func report(_ slot: Int) -> MemberReport {
    var older = superblocks[slot]
    older.superblockSequence -= 1
    let isEven = superblocks[slot].superblockSequence % 2 == 0
    return MemberReport(
      name: path(slot), byteCount: byteCount,
      copyA: .valid(isEven ? superblocks[slot] : older),
      copyB: .valid(isEven ? older : superblocks[slot]))
  }

  func reports(_ slots: [Int]) -> [MemberReport] { slots.map(report) }
  var reports: [MemberReport] { reports(allSlots) }

  /// The configuration after that of `source`, written to `slots` only.
  mutating func configure(
    _ number: Int, current: [Int], syncing: [Int] = [], on slots: [Int], from source: Int? = nil
  ) {
    let states = allSlots.map { slot -> MemberState in
      current.contains(slot) ? .current : syncing.contains(slot) ? .syncing : .out
    }
    let next = superblocks[source ?? slots[0]].reconfigured(
      memberIDs: superblocks[0].memberIDs, memberStates: states,
      configurationID: Self.configurationID(number))
    for slot in slots {
      var own = next
      own.slot = slot
      own.memberID = superblocks[slot].memberID
      own.superblockSequence = superblocks[slot].superblockSequence + 2
      superblocks[slot] = own
    }
  }

  func decide(
    _ slots: [Int], isForced: Bool = false, known: Int? = nil
  ) -> Result<AssemblyPlan, AssemblyRefusal> {
    AssemblyPlan.decide(
      reports: reports(slots),
      options: AssemblyOptions(
        isForced: isForced,
        knownConfiguration: known.map { Self.configurationID($0).description }))
  }
}

extension Result where Success == AssemblyPlan, Failure == AssemblyRefusal {
  var refusal: AssemblyRefusal? {
    if case .failure(let refusal) = self { refusal } else { nil }
  }

  var plan: AssemblyPlan? { try? get() }

  /// A word for the kind of refusal, for tables of expectations; "plan" when there is one.
  var kind: String {
    switch self {
    case .success: "plan"
    case .failure(let refusal): refusal.kind
    }
  }
}

extension AssemblyRefusal {
  var kind: String {
    switch self {
    case .noSuperblock: "noSuperblock"
    case .newerVersion: "newerVersion"
    case .contradictoryCopies: "contradictoryCopies"
    case .foreign: "foreign"
    case .impossible: "impossible"
    case .duplicate: "duplicate"
    case .mixedUp: "mixedUp"
    case .truncated: "truncated"
    case .creationUnfinished: "creationUnfinished"
    case .fork: "fork"
    case .tooOld: "tooOld"
    case .tooFew: "tooFew"
    case .mayHaveDiverged: "mayHaveDiverged"
    }
  }
}

/// Every list of slots below `count`.
func subsets(_ count: Int) -> [[Int]] {
  (0..<1 << count).map { bits in (0..<count).filter { bits & 1 << $0 != 0 } }
}
