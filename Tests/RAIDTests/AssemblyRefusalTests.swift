import DiskFormat
import Geometry
import RAID
import Testing

@Suite("Assembly: refused members")
struct AssemblyRefusalTests {
  /// Decides in every rotation, and expects one refusal that says all of `words`.
  private func expectRefused(
    _ reports: [MemberReport], _ kind: String, _ words: [String],
    _ location: SourceLocation = #_sourceLocation
  ) {
    var seen: Set<String> = []
    for shift in reports.indices {
      let order = Array(reports[shift...] + reports[..<shift])
      for isForced in [false, true] {
        let result = AssemblyPlan.decide(
          reports: order, options: AssemblyOptions(isForced: isForced))
        #expect(result.kind == kind, sourceLocation: location)
        seen.insert(result.refusal?.description ?? "")
      }
    }
    #expect(seen.count == 1, "the words depend on the order", sourceLocation: location)
    for word in words {
      #expect(seen.allSatisfy { $0.contains(word) }, "\(word)", sourceLocation: location)
    }
  }

  private func identity(_ array: SampleArray, _ slot: Int) -> [String] {
    [array.path(slot), array.superblocks[slot].memberID.description]
  }

  @Test("a member of another array is refused, with both arrays named")
  func foreign() throws {
    let one = try SampleArray(.raid5, 3)
    let two = try SampleArray(.raid5, 3, array: 2)
    expectRefused(
      one.reports([0, 1]) + [two.report(2)], "foreign",
      identity(one, 0) + identity(two, 2) + [
        one.superblocks[0].arrayID.description, two.superblocks[0].arrayID.description, "'db1'",
        "'db2'",
      ])
  }

  @Test("two copies of one member are refused, with both names")
  func duplicate() throws {
    let array = try SampleArray(.raid5, 3)
    let member = array.report(1)
    let copy = MemberReport(
      name: "/copies/1", byteCount: member.byteCount, copyA: member.copyA, copyB: member.copyB)
    expectRefused(array.reports + [copy], "duplicate", identity(array, 1) + ["/copies/1"])
    // Also when one of them is an older state of the other.
    var older = array
    older.configure(2, current: [0, 1, 2], on: [0, 1, 2])
    expectRefused(older.reports + [copy], "duplicate", ["/copies/1"])
  }

  @Test("members that disagree on what never changes are refused, with both values")
  func mixedUp() throws {
    let array = try SampleArray(.raid5, 3)
    let level = try SampleArray(.raid1, 3)
    expectRefused(
      array.reports([0, 1]) + [level.report(2)], "mixedUp",
      identity(array, 0) + identity(array, 2) + ["raid5", "raid1"])
    var renamed = array
    renamed.superblocks[2].name = "other"
    expectRefused(renamed.reports, "mixedUp", ["'db1'", "'other'"])
    let wider = try SampleArray(.raid5, 4)
    expectRefused(array.reports([0, 1]) + [wider.report(2)], "mixedUp", ["3", "4"])
    var created = array
    created.superblocks[1].createdSeconds += 1
    expectRefused(created.reports, "mixedUp", ["the time of creation"])
  }

  @Test("one configuration with two contents is refused")
  func mixedConfiguration() throws {
    var array = try SampleArray(.raid5, 3)
    array.superblocks[1].eventCount += 1
    expectRefused(array.reports, "mixedUp", ["event count"])
    array = try SampleArray(.raid5, 3)
    array.superblocks[1].memberStates[0] = .out
    expectRefused(array.reports, "mixedUp", ["current", "out"])
    array = try SampleArray(.raid5, 3)
    array.superblocks[1].configurationHistory = []
    expectRefused(array.reports, "mixedUp", ["comes from"])
  }

  @Test("members that were cut short count as missing; without others they are refused by name")
  func truncated() throws {
    var array = try SampleArray(.raid5, 3)
    func short(_ slot: Int, _ byteCount: UInt64) -> MemberReport {
      let report = array.report(slot)
      return MemberReport(
        name: report.name, byteCount: byteCount, copyA: report.copyA, copyB: report.copyB)
    }
    let cut = array.byteCount - 1
    expectRefused(
      [short(1, cut)], "truncated", identity(array, 1) + ["\(cut)", "it was cut short"])
    var reports = array.reports
    reports[1] = short(1, cut)
    let plan = try AssemblyPlan.decide(reports: reports).get()
    #expect(plan.missingSlots == SlotSet([1]))
    #expect(plan.warnings.contains { $0.contains("it was cut short") })
    reports[2] = short(2, cut)
    #expect(AssemblyPlan.decide(reports: reports).kind == "tooFew")
    // One that grew is none the worse.
    reports = array.reports
    reports[1] = short(1, array.byteCount + 4096)
    #expect(AssemblyPlan.decide(reports: reports).kind == "plan")
    // What one that was cut short knows of configurations counts: the others are out of date.
    array.configure(2, current: [1], on: [1])
    expectRefused([array.report(0), short(1, cut), array.report(2)], "truncated", ["cut short"])
  }

  @Test("a member that a newer version wrote is refused by name, in either copy")
  func newerVersion() throws {
    let array = try SampleArray(.raid5, 3)
    let newer = SuperblockReading.newer(found: 7, supported: 1, isIntact: true)
    let good = array.report(1)
    for copies in [(newer, good.copyB), (good.copyA, newer), (newer, newer)] {
      var reports = array.reports
      reports[1] = MemberReport(
        name: good.name, byteCount: good.byteCount, copyA: copies.0, copyB: copies.1)
      expectRefused(reports, "newerVersion", [good.name, "version 7"])
    }
    // Checked differently, and nothing else there: newer too, rather than damaged.
    let unknown = SuperblockReading.newer(found: 8, supported: 1, isIntact: false)
    let report = MemberReport(
      name: "/members/x", byteCount: 1, copyA: unknown, copyB: .damaged(.noMagic))
    expectRefused(array.reports([0, 1]) + [report], "newerVersion", ["/members/x", "version 8"])
  }

  @Test("a member whose two copies name different members is refused, with both")
  func contradictoryCopies() throws {
    let one = try SampleArray(.raid5, 3)
    let two = try SampleArray(.raid5, 3, array: 2)
    let report = MemberReport(
      name: "/members/x", byteCount: one.byteCount, copyA: one.report(1).copyA,
      copyB: two.report(0).copyB)
    expectRefused(
      one.reports([0, 2]) + [report], "contradictoryCopies",
      [
        "/members/x", one.superblocks[1].memberID.description,
        two.superblocks[0].memberID.description,
      ])
  }

  @Test("a superblock that contradicts itself is refused, with the field")
  func impossible() throws {
    let array = try SampleArray(.raid5, 3)
    let changes: [(String, (inout Superblock) -> Void)] = [
      ("does not have 3 members", { $0.memberIDs.removeLast() }),
      ("does not have 3 members", { $0.memberStates.removeLast() }),
      ("names a member twice", { $0.memberIDs[0] = $0.memberIDs[2] }),
      ("does not name itself", { $0.memberID = SampleArray.identifier(5, 5) }),
      ("longer than its event count", { $0.eventCount = 0 }),
      ("geometry", { $0.layout.dataOffset += 4096 }),
      ("geometry", { $0.chunkBytes = 5000 }),
    ]
    for (words, change) in changes {
      var broken = array
      change(&broken.superblocks[1])
      expectRefused(broken.reports, "impossible", [array.path(1), words])
    }
  }

  @Test("a creation that was interrupted is refused, and says what to do")
  func unfinished() throws {
    var array = try SampleArray(.raid5, 3)
    for slot in array.allSlots {
      array.superblocks[slot].eventCount = 0
      array.superblocks[slot].configurationHistory = []
    }
    expectRefused(array.reports, "creationUnfinished", ["ashlar create", array.path(1)])
    expectRefused(array.reports([1]), "creationUnfinished", ["'db1'"])
    // One final superblock proves that all members were prepared.
    array.configure(1, current: [0, 1, 2], on: [1])
    #expect(try array.decide([0, 1, 2]).get().currentSlots.count == 3)
  }
}
