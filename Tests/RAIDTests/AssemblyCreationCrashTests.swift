import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

@Suite("Assembly: creation on disks")
struct AssemblyCreationCrashTests {
  private static let byteCount: UInt64 = 8 << 20
  private static let shapes: [(RAIDLevel, Int)] = [(.raid1, 2), (.raid5, 3), (.raid10, 3)]

  private func media(_ count: Int, byteCount: UInt64 = Self.byteCount) -> [SimulatedMedium] {
    (0..<count).map { _ in SimulatedMedium(byteCount: byteCount) }
  }

  private func members(
    _ machine: SimulatedMachine, _ media: [SimulatedMedium]
  ) -> [MemberHandle<SimulatedDisk>] {
    media.enumerated().map {
      MemberHandle(
        name: "/d/\($0.offset)", disk: SimulatedDisk(machine, $0.element),
        byteCount: $0.element.live.byteCount)
    }
  }

  private func creation(
    _ level: RAIDLevel, _ count: Int, seed: UInt64, byteCount: UInt64 = Self.byteCount,
    spareCount: Int = 0
  ) throws -> ArrayCreation {
    var random = RandomSource(seed: seed)
    let all = (0..<count + spareCount).map {
      CreationCandidate(name: "/d/\($0)", byteCount: byteCount)
    }
    let settings = CreationSettings(
      name: "db", level: level, logByteCount: 4 << 20, createdSeconds: 1)
    return try ArrayCreation(
      settings, Array(all.prefix(count)), spares: Array(all.dropFirst(count))
    ) { random.next() }
  }

  /// What the media say, seen from a machine that has just come up.
  private func reports(_ media: [SimulatedMedium], seed: UInt64) throws -> [MemberReport] {
    let machine = SimulatedMachine(seed: seed)
    let members = members(machine, media)
    let reports = try machine.run { await MemberReport.readAll(members) }
    return try #require(reports)
  }

  private func expectMaps(_ creation: ArrayCreation, _ medium: SimulatedMedium) throws {
    let layout = creation.layout
    for page in 0..<layout.mapByteCount / 8192 {
      let start = layout.mapOffset + page * 8192
      let memory = AlignedMemory.holding(
        medium.live.bytes(ByteRange(from: start, to: start + 8192)))
      let buffer = memory.buffer.prefix(4096)
      let sequence = try PageMap.verify(
        buffer, arrayID: creation.drafts[0].arrayID, number: page)
      #expect(sequence == 1)
      #expect(
        (0..<Int(PageMap.entriesPerPage)).allSatisfy {
          PageMap.flags(in: buffer, at: $0).isEmpty
        })
      #expect(memory.buffer.dropFirst(4096).isZero)
    }
  }

  @Test("what is created assembles: clean, complete, without a warning", arguments: shapes)
  func created(level: RAIDLevel, count: Int) throws {
    let media = media(count)
    let creation = try creation(level, count, seed: 1)
    let machine = SimulatedMachine(seed: 1)
    let members = members(machine, media)
    try machine.run { try await creation.write(to: members) }
    let reports = try reports(media, seed: 2)
    let plan = try AssemblyPlan.decide(reports: reports).get()
    #expect(plan.currentSlots.count == count)
    #expect(plan.isClean)
    #expect(plan.warnings == [])
    for (slot, report) in reports.enumerated() {
      // Both copies carry the configuration.
      #expect(report.copyA.superblock?.eventCount == 1)
      #expect(report.copyB.superblock?.eventCount == 1)
      #expect(report.newest?.slot == slot)
      try expectMaps(creation, media[slot])
    }
  }

  @Test(
    "a crash at each write and flush leaves nothing, or an unfinished array, or all of it",
    arguments: shapes.map { ($0.0, $0.1, 0) } + [(.raid1, 2, 1)])
  func crashes(level: RAIDLevel, memberCount: Int, spareCount: Int) throws {
    let count = memberCount + spareCount
    var kinds: Set<String> = []
    for kind in [CrashKind.kill, .powerLoss] {
      for number in 1... {
        let media = media(count)
        // An array was there before, and its creation is forced over.
        let old = try creation(level, memberCount, seed: 100, spareCount: spareCount)
        let first = SimulatedMachine(seed: 3)
        let oldMembers = members(first, media)
        try first.run { try await old.write(to: oldMembers) }

        let creation = try creation(level, memberCount, seed: 200, spareCount: spareCount)
        let machine = SimulatedMachine(seed: UInt64(number))
        machine.faultPlan.fail(operation: number, with: .crash(kind))
        let members = members(machine, media)
        let end = try machine.run { () -> Bool in
          try await creation.write(to: members)
          return true
        }
        let reports = try reports(media, seed: UInt64(number) + 1000)
        for present in subsets(count) where !present.isEmpty {
          let result = AssemblyPlan.decide(
            reports: present.map { reports[$0] }, options: AssemblyOptions(isForced: true))
          kinds.insert(result.kind)
          if result.plan?.newest.arrayID == creation.drafts[0].arrayID {
            // The new array is there: then all of it is, whoever is looked at.
            for slot in 0..<count {
              #expect(reports[slot].newest?.arrayID == creation.drafts[0].arrayID)
              try expectMaps(creation, media[slot])
            }
            let whole = AssemblyPlan.decide(reports: reports).plan
            #expect(whole?.currentSlots.count == memberCount)
            #expect(whole?.reserves.map(\.report) == Array(memberCount..<count))
          }
          let allowed = ["plan", "noSuperblock", "creationUnfinished", "tooFew"]
          #expect(allowed.contains(result.kind), "\(kind) at \(number): \(result)")
        }
        if end == true { break }
      }
    }
    #expect(kinds.isSuperset(of: ["plan", "noSuperblock", "creationUnfinished"]))
  }

  @Test("each operation that fails is told with the member's name, and nothing half is assembled")
  func failures() throws {
    for number in 1... {
      let media = media(3)
      let creation = try creation(.raid5, 3, seed: 5)
      let machine = SimulatedMachine(seed: UInt64(number))
      machine.faultPlan.fail(operation: number, with: .failure(5))
      let members = members(machine, media)
      let error = try machine.run { () -> CreationError? in
        do throws(CreationError) {
          try await creation.write(to: members)
          return nil
        } catch {
          return error
        }
      }
      guard machine.faultPlan.hitCount > 0 else { break }
      let result = AssemblyPlan.decide(reports: try reports(media, seed: 9))
      guard case .some(.some(let failed)) = error else {
        // The copy that is still empty could not be read back, which takes nothing away.
        #expect(machine.faultPlan.count(of: .read) == 6)
        #expect(result.kind == "plan")
        continue
      }
      #expect(failed.description.contains("/d/"))
      if case .notFinished = failed { continue }
      #expect(["noSuperblock", "creationUnfinished"].contains(result.kind), "\(number)")
    }
  }

  @Test("one device by two names is found before the array is finished")
  func sameDevice() throws {
    let media = media(2)
    let creation = try creation(.raid5, 3, seed: 6)
    let machine = SimulatedMachine(seed: 6)
    let members = members(machine, [media[0], media[1], media[0]])
    let error = try machine.run { () -> CreationError? in
      do throws(CreationError) {
        try await creation.write(to: members)
        return nil
      } catch {
        return error
      }
    }
    #expect(error == .sameDevice(path: "/d/0", other: "/d/2"))
    #expect(AssemblyPlan.decide(reports: try reports(media, seed: 7)).kind == "creationUnfinished")
  }

  @Test("a copy that cannot be read does not hide the other, and rot in a version number neither")
  func readErrors() throws {
    let media = media(3)
    let creation = try creation(.raid5, 3, seed: 8)
    let machine = SimulatedMachine(seed: 8)
    let members = members(machine, media)
    try machine.run { try await creation.write(to: members) }
    media[0].makeUnreadable(ByteRange(from: 512, to: 1024))
    media[1].flipBits(at: UInt64(Superblock.Field.version.offset), mask: 4)
    media[2].flipBits(at: 4096 + 300)
    let reports = try reports(media, seed: 9)
    guard case .unreadable = reports[0].copyA, case .newer = reports[1].copyA,
      case .damaged(.checksum) = reports[2].copyB
    else {
      Issue.record("\(reports.map(\.copies))")
      return
    }
    let plan = try AssemblyPlan.decide(reports: reports).get()
    #expect(plan.currentSlots.count == 3)
    #expect(plan.warnings.count == 3)
  }

  @Test("a superblock in the other copy's place is not believed")
  func misplaced() throws {
    let media = media(3)
    let creation = try creation(.raid5, 3, seed: 8)
    let machine = SimulatedMachine(seed: 8)
    let members = members(machine, media)
    try machine.run { try await creation.write(to: members) }
    let b = media[0].live.bytes(ByteRange(from: 4096, to: 8192))
    media[0].overwrite(at: 0, with: b)
    let reports = try reports(media, seed: 9)
    guard case .damaged(.misplaced) = reports[0].copyA else {
      Issue.record("\(reports[0].copyA)")
      return
    }
    #expect(AssemblyPlan.decide(reports: reports).kind == "plan")
  }

  @Test("what lies on a device is recognised from its first bytes")
  func detected() throws {
    let media = media(3)
    let creation = try creation(.raid5, 3, seed: 8)
    let memory = AlignedMemory.ofTest(65536)
    let buffer = memory.buffer
    #expect(MemberContent.detect(buffer) == nil)
    creation.drafts[1].encode(into: buffer.prefix(4096))
    #expect(MemberContent.detect(buffer) == .unfinished(creation.drafts[1]))
    let final = creation.finished(slot: 1, superblockSequence: 1)
    final.encode(into: buffer.slice(4096, 4096))
    let content = try #require(MemberContent.detect(buffer))
    #expect(content == .member(final))
    #expect(content.description.contains("array 'db' (\(final.arrayID)), slot 1"))
    buffer.storeUInt8(0xff, at: 200)
    buffer.storeUInt8(0xff, at: 4296)
    #expect(MemberContent.detect(buffer) == .damaged)
    #expect(media.count == 3)
  }

  @Test("creation costs a few writes, however large the members are")
  func instant() throws {
    let byteCount: UInt64 = 256 << 30
    let media = media(5, byteCount: byteCount)
    let creation = try creation(.raid5, 5, seed: 8, byteCount: byteCount)
    #expect(creation.geometry.byteCount > 1000 << 30)
    let machine = SimulatedMachine(seed: 8)
    let members = members(machine, media)
    try machine.run { try await creation.write(to: members) }
    #expect(machine.faultPlan.count(of: .write) <= 5 * 8)
    #expect(machine.faultPlan.count(of: .synchronize) == 5 * 5)
    #expect(media.allSatisfy { $0.live.allocatedBlockCount < 1024 })
  }
}
