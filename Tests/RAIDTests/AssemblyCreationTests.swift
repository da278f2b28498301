import DiskFormat
import Geometry
import RAID
import Simulator
import Testing

@Suite("Assembly: what is created")
struct AssemblyCreationTests {
  private func candidates(_ sizes: [UInt64]) -> [CreationCandidate] {
    sizes.enumerated().map { CreationCandidate(name: "/d/\($0.offset)", byteCount: $0.element) }
  }

  private func settings(
    _ level: RAIDLevel, log: UInt64 = 8 << 20, size: UInt64? = nil, isForced: Bool = false
  ) -> CreationSettings {
    CreationSettings(
      name: "db", level: level, logByteCount: log, memberByteCount: size,
      createdSeconds: 1_700_000_000, isForced: isForced)
  }

  private func create(
    _ settings: CreationSettings, _ candidates: [CreationCandidate],
    spares: [CreationCandidate] = []
  ) -> Result<ArrayCreation, CreationRefusal> {
    var random = RandomSource(seed: 1)
    do throws(CreationRefusal) {
      return .success(
        try ArrayCreation(settings, candidates, spares: spares) { random.next() })
    } catch {
      return .failure(error)
    }
  }

  private func refusal(
    _ settings: CreationSettings, _ candidates: [CreationCandidate],
    spares: [CreationCandidate] = []
  ) -> CreationRefusal? {
    let result = create(settings, candidates, spares: spares)
    return if case .failure(let refusal) = result { refusal } else { nil }
  }

  @Test(
    "every draft and every final superblock is one that readers accept",
    arguments: AssemblyPlanTests.shapes)
  func superblocks(level: RAIDLevel, memberCount: Int) throws {
    let sizes = [UInt64](repeating: 64 << 20, count: memberCount)
    let creation = try create(settings(level), candidates(sizes)).get()
    let finals = creation.drafts.indices.map { creation.finished(slot: $0, superblockSequence: 1) }
    for superblock in creation.drafts + finals { try superblock.validate() }
    #expect(creation.layout.endBytes(geometry: creation.geometry) <= 64 << 20)
    #expect(Set(creation.drafts.map(\.memberID)).count == memberCount)
    let reports = zip(creation.drafts, finals).enumerated().map { slot, pair in
      MemberReport(
        name: "/d/\(slot)", byteCount: 64 << 20, copyA: .valid(pair.0), copyB: .valid(pair.1))
    }
    let plan = try AssemblyPlan.decide(reports: reports).get()
    #expect(plan.isClean)
    #expect(plan.currentSlots.count == memberCount)
    #expect(plan.geometry == creation.geometry)
    #expect(plan.warnings == [])
  }

  @Test("spares begin in the seats behind the slots, and every superblock lists them")
  func spares() throws {
    let size: UInt64 = 64 << 20
    let all = candidates([size, size, size, size + 4096, 2 * size])
    let creation = try create(settings(.raid5), Array(all[..<3]), spares: Array(all[3...])).get()
    #expect(creation.memberNames == all.map(\.name))
    #expect(creation.drafts.map(\.slot) == [0, 1, 2, 3, 4])
    let finals = creation.drafts.indices.map { creation.finished(slot: $0, superblockSequence: 1) }
    for superblock in creation.drafts + finals {
      try superblock.validate()
      #expect(superblock.reserves.map(\.seat) == [3, 4])
      #expect(superblock.reserves.map(\.memberID) == creation.drafts[3...].map(\.memberID))
    }
    let reports = zip(creation.drafts, finals).enumerated().map { place, pair in
      MemberReport(
        name: "/d/\(place)", byteCount: all[place].byteCount, copyA: .valid(pair.0),
        copyB: .valid(pair.1))
    }
    let plan = try AssemblyPlan.decide(reports: reports).get()
    #expect(plan.currentSlots.count == 3)
    #expect(plan.reserves.map(\.report) == [3, 4])
    #expect(plan.warnings == [])
  }

  @Test("a spare is checked like a member, and must be able to take any slot")
  func refusedSpares() throws {
    let size: UInt64 = 64 << 20
    let all = candidates([size, size, size, size])
    let (members, spare) = (Array(all[..<3]), all[3])
    let needed = try create(settings(.raid5), members).get()
    let endBytes = needed.layout.endBytes(geometry: needed.geometry)
    var small = spare
    small.byteCount = endBytes - 1
    #expect(
      refusal(settings(.raid5), members, spares: [small])
        == .spareTooSmall(path: "/d/3", byteCount: endBytes - 1, needed: endBytes))
    small.byteCount = endBytes
    #expect(refusal(settings(.raid5), members, spares: [small]) == nil)
    #expect(
      refusal(settings(.raid5, size: size), members, spares: [small])
        == .memberSmallerThanAsked(path: "/d/3", byteCount: endBytes, asked: size))
    #expect(
      refusal(settings(.raid5), members, spares: [all[1]]) == .repeated(path: "/d/1"))
    #expect(
      refusal(settings(.raid5), members, spares: [spare, spare]) == .repeated(path: "/d/3"))
    #expect(refusal(settings(.raid0), members, spares: [spare]) == .spareOfNoUse)
    var foreign = spare
    foreign.foreignContent = "an ext4 file system"
    #expect(
      refusal(settings(.raid5), members, spares: [foreign])
        == .holdsSomething(["/d/3 holds an ext4 file system"]))
    let forced = try create(settings(.raid5, isForced: true), members, spares: [foreign]).get()
    #expect(forced.destroyed == ["/d/3 holds an ext4 file system"])
    let many = candidates([UInt64](repeating: size, count: 12))
    #expect(
      refusal(settings(.raid5), Array(many[..<3]), spares: Array(many[3...])) == .spareCount(9))
    #expect(refusal(settings(.raid5), Array(many[..<3]), spares: Array(many[3..<11])) == nil)
  }

  @Test("each member's share of the log holds the whole log, as often as the level keeps it")
  func logShare() throws {
    let expected: [(RAIDLevel, Int, UInt64)] = [
      (.raid0, 4, 2 << 20), (.raid1, 4, 8 << 20), (.raid5, 4, 4 << 20), (.raid6, 4, 6 << 20),
      (.raid10, 4, 4 << 20), (.raid5, 3, 5_595_136),
    ]
    for (level, count, share) in expected {
      let sizes = [UInt64](repeating: 64 << 20, count: count)
      let creation = try create(settings(level), candidates(sizes)).get()
      #expect(creation.layout.logByteCount == share, "\(level)")
      #expect(creation.layout.logByteCount % 4096 == 0)
    }
  }

  @Test("a log that is too small is refused with the least size that is enough")
  func logTooSmall() throws {
    for (level, count) in AssemblyPlanTests.shapes {
      let members = candidates([UInt64](repeating: 64 << 20, count: count))
      guard case .logTooSmall(_, let minimum) = refusal(settings(level, log: 4096), members) else {
        Issue.record("\(level) takes a log of 4 KiB")
        continue
      }
      #expect(refusal(settings(level, log: minimum), members) == nil)
      #expect(refusal(settings(level, log: minimum - 4096), members) != nil)
    }
    #expect(refusal(settings(.raid5, log: .max), candidates([1 << 30, 1 << 30, 1 << 30])) != nil)
  }

  @Test("unequal members use the smallest, and what stays unused is told")
  func unequal() throws {
    let creation = try create(
      settings(.raid5), candidates([100 << 20, 64 << 20, 64 << 20])
    ).get()
    #expect(creation.layout.endBytes(geometry: creation.geometry) <= 64 << 20)
    #expect(creation.notes.count == 1)
    #expect(creation.notes[0].contains("/d/0"))
    let limited = try create(
      settings(.raid5, size: 32 << 20), candidates([64 << 20, 64 << 20, 64 << 20])
    ).get()
    #expect(limited.layout.endBytes(geometry: limited.geometry) <= 32 << 20)
    #expect(limited.notes.count == 3)
    #expect(
      refusal(settings(.raid5, size: 65 << 20), candidates([66 << 20, 64 << 20, 66 << 20]))
        == .memberSmallerThanAsked(path: "/d/1", byteCount: 64 << 20, asked: 65 << 20))
  }

  @Test("members too few, too many, too small, or given twice are refused by name")
  func refused() throws {
    let size: UInt64 = 64 << 20
    #expect(
      refusal(settings(.raid6), candidates([size, size, size]))
        == .memberCount(3, level: .raid6, allowed: 4...32))
    #expect(refusal(settings(.raid0), candidates([UInt64](repeating: size, count: 33))) != nil)
    guard
      case .memberTooSmall(let path, _, let needed)? = refusal(
        settings(.raid5), candidates([size, 1 << 20, size]))
    else {
      Issue.record("taken")
      return
    }
    #expect(path == "/d/1")
    #expect(refusal(settings(.raid5), candidates([size, needed, size])) == nil)
    #expect(refusal(settings(.raid5), candidates([size, needed - 4096, size])) != nil)
    var twice = candidates([size, size, size])
    twice[2].name = "/d/0"
    #expect(refusal(settings(.raid5), twice) == .repeated(path: "/d/0"))
    var odd = settings(.raid5)
    odd.chunkBytes = 5000
    #expect(refusal(odd, candidates([size, size, size])) == .chunkSize(bytes: 5000))
    for name in ["", String(repeating: "x", count: 65), "a\nb"] {
      var named = settings(.raid5)
      named.name = name
      #expect(refusal(named, candidates([size, size, size])) == .name(name))
    }
  }

  @Test("members that hold something are refused, each named; force says what it destroys")
  func holdsSomething() throws {
    let old = try SampleArray(.raid5, 3, array: 7)
    var members = candidates([64 << 20, 64 << 20, 64 << 20])
    members[0].content = MemberContent.detect(old.report(2))
    members[1].foreignContent = "an ext4 file system"
    guard case .holdsSomething(let losses)? = refusal(settings(.raid5), members) else {
      Issue.record("taken")
      return
    }
    #expect(losses.count == 2)
    #expect(losses[0].contains("array 'db7' (\(old.superblocks[0].arrayID)), slot 2"))
    #expect(losses[1] == "/d/1 holds an ext4 file system")
    let creation = try create(settings(.raid5, isForced: true), members).get()
    #expect(creation.destroyed == losses)
    // What an interrupted creation left is no loss; what a newer version or damage left is.
    var unfinished = old.superblocks[0]
    unfinished.eventCount = 0
    members[0].content = .unfinished(unfinished)
    members[1].foreignContent = nil
    #expect(refusal(settings(.raid5), members) == nil)
    for content in [MemberContent.damaged, .newerVersion(found: 3)] {
      members[0].content = content
      #expect(refusal(settings(.raid5), members) != nil)
    }
  }
}
