import DiskFormat
import Geometry
import RAID
import Testing

/// What a start makes of reserves, and of whoever was cut short while it left its seat for a slot.
@Suite("Assembly: reserves")
struct AssemblyReserveTests {
  /// A RAID-5 of three, and a fourth device that becomes a reserve and then takes slot 1.
  private struct Stage {
    var array: SampleArray
    let newID = SampleArray.identifier(0x3e, 77)
    var newcomer: Superblock

    init(targetSlot: Int?) throws {
      array = try SampleArray(.raid5, 3)
      newcomer = array.superblocks[0]
      let reserve = Reserve(seat: 3, memberID: newID, targetSlot: targetSlot)
      for slot in array.allSlots {
        array.superblocks[slot] = listing(array.superblocks[slot], reserve)
      }
      newcomer = listing(newcomer, reserve)
      (newcomer.memberID, newcomer.slot) = (newID, 3)
    }

    private func listing(_ superblock: Superblock, _ reserve: Reserve) -> Superblock {
      superblock.reconfigured(
        memberIDs: superblock.memberIDs, memberStates: superblock.memberStates,
        reserves: [reserve], configurationID: SampleArray.configurationID(2))
    }

    /// The list in which the new one has slot 1.
    func exchanged(_ superblock: Superblock) -> Superblock {
      var ids = superblock.memberIDs
      ids[1] = newID
      var next = superblock.reconfigured(
        memberIDs: ids, memberStates: [.current, .current, .current], reserves: [],
        configurationID: SampleArray.configurationID(3))
      if next.memberID == newID { next.slot = 1 }
      next.superblockSequence += 1
      return next
    }

    func report(_ superblock: Superblock, _ name: String, old: Superblock? = nil) -> MemberReport {
      MemberReport(
        name: name, byteCount: array.byteCount, copyA: .valid(superblock),
        copyB: .valid(old ?? superblock))
    }

    func decide(_ superblocks: [(String, Superblock)]) -> Result<AssemblyPlan, AssemblyRefusal> {
      AssemblyPlan.decide(reports: superblocks.map { report($0.1, $0.0) })
    }
  }

  @Test("a reserve is found by the list, is no source, and is not missed where it is missing")
  func listed() throws {
    let stage = try Stage(targetSlot: nil)
    let all = stage.array.superblocks
    let plan = try stage.decide([
      ("a", all[0]), ("b", all[1]), ("new", stage.newcomer), ("c", all[2]),
    ]).get()
    #expect(plan.currentSlots == SlotSet([0, 1, 2]))
    #expect(plan.reserves.map(\.report) == [2] && plan.reserves.map(\.reserve.seat) == [3])
    #expect(plan.warnings.isEmpty)
    let without = try stage.decide([("a", all[0]), ("b", all[1]), ("c", all[2])]).get()
    #expect(without.reserves.map(\.report) == [nil])
    #expect(without.warnings.contains { $0.contains("seat 3") && $0.contains("missing") })
    // It does not make up for a member.
    #expect(stage.decide([("a", all[0]), ("new", stage.newcomer)]).kind == "tooFew")
  }

  @Test("a list that only the reserve has counts; with it gone the others go on without")
  func onlyReserveHasList() throws {
    let stage = try Stage(targetSlot: 1)
    let before = try SampleArray(.raid5, 3).superblocks
    let plan = try stage.decide([
      ("a", before[0]), ("b", before[1]), ("c", before[2]), ("new", stage.newcomer),
    ]).get()
    #expect(plan.currentSlots.count == 3 && plan.newest.reserves.count == 1)
    #expect(plan.checkpoint.memberID == before[0].memberID)
  }

  @Test("amid an exchange: whoever has the new list, it counts, and who was replaced is left out")
  func exchange() throws {
    let stage = try Stage(targetSlot: 1)
    let (old, new) = (stage.array.superblocks, stage.newcomer)
    for holders in subsets(3) {
      // Of the two survivors and the new one.
      let a = holders.contains(0) ? stage.exchanged(old[0]) : old[0]
      let c = holders.contains(1) ? stage.exchanged(old[2]) : old[2]
      let d = holders.contains(2) ? stage.exchanged(new) : new
      let plan = try stage.decide([("a", a), ("b", old[1]), ("c", c), ("new", d)]).get()
      #expect(plan.currentSlots == SlotSet([0, 1, 2]), "\(holders)")
      if holders.isEmpty {
        #expect(plan.slots[1] == .current(report: 1) && plan.unlisted.isEmpty)
      } else {
        #expect(plan.slots[1] == .current(report: 3), "\(holders)")
        #expect(plan.superblocks[1]?.slot == 1)
        let refused = try #require(plan.unlisted.first)
        #expect(refused.member.path == "b" && refused.inItsPlace == stage.newID)
        #expect(plan.warnings.contains(refused.words))
      }
      // One of them is lost in the same instant.
      for lost in 0..<4 {
        let all = [("a", a), ("b", old[1]), ("c", c), ("new", d)]
        let rest = all.indices.filter { $0 != lost }.map { all[$0] }
        let kind = stage.decide(rest).kind
        #expect(kind == "plan", "\(holders) without \(all[lost].0): \(kind)")
      }
    }
  }

  @Test("two superblocks that name a seat and a slot are one member's")
  func betweenSeatAndSlot() throws {
    let stage = try Stage(targetSlot: 1)
    var newer = stage.exchanged(stage.newcomer)
    newer.superblockSequence = stage.newcomer.superblockSequence + 1
    let all = stage.array.superblocks
    let plan = try AssemblyPlan.decide(
      reports: [
        stage.report(all[0], "a"), stage.report(all[2], "c"),
        stage.report(newer, "new", old: stage.newcomer),
      ]
    ).get()
    #expect(plan.slots[1] == .current(report: 2))
  }

  @Test("examine tells of reserves and of who is refused")
  func examined() throws {
    let stage = try Stage(targetSlot: 1)
    let all = stage.array.superblocks
    let examination = Examination([
      stage.report(all[0], "a"), stage.report(all[1], "b"), stage.report(all[2], "c"),
      stage.report(stage.newcomer, "new"),
    ])
    #expect(examination.usesAll)
    #expect(
      examination.lines.contains {
        $0.contains("seat 3 (replacement of slot 1, member \(stage.newID)): new")
      })
    let array = try #require(examination.outcomes.first)
    #expect(array.plan?.reserves.count == 1)
    let after = Examination([
      stage.report(stage.exchanged(all[0]), "a"), stage.report(all[1], "b"),
      stage.report(stage.exchanged(all[2]), "c"),
      stage.report(stage.exchanged(stage.newcomer), "new"),
    ])
    #expect(after.canStart && !after.usesAll)
    #expect(after.lines.contains { $0.contains("b (member") && $0.contains("is refused") })
  }
}
