import DiskFormat
import Geometry
import Glibc
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

@Suite("RAID: the checksum table and crashes")
struct TableCrashTests {
  /// One history: a durable state, changes that are written, a power loss at some operation.
  private struct History {
    let site: MemberSite
    /// 0: nothing is promised; 1: the pages are; 2: so is the map.
    let progress = Box(0)
    var hasCrashed: Bool { site.machine.crashKind != nil }

    init(
      seed: UInt64, _ level: RAIDLevel, _ memberCount: Int, crashAt operation: Int,
      fate: UnflushedFate, bug: PlantedBug?
    ) throws {
      var options = ArrayOptions()
      options.plantedBug = bug
      let site = try MemberSite(
        seed: seed, level: level, memberCount: memberCount, pageCount: 9, options: options)
      self.site = site
      try site.run { host in try await host.format(6, 1) }
      for medium in site.media { medium.unflushedFate = fate }
      let plan = site.machine.faultPlan
      plan.fail(operation: plan.operationCount + operation, with: .crash(.powerLoss))
      let progress = progress
      let host = site.host
      try site.machine.run {
        try await host.perform { host in
          for page: UInt64 in 0..<3 { try await host.change(page, 2) }
          host.table.blank(3, trimSequence: 8)
          host.table.blank(4, trimSequence: 9)
          try await host.change(4, 2)
          try await host.change(6, 2)
          try await host.table.writeDirty()
          progress.value = 1
          try await host.table.writeMap()
          progress.value = 2
        }
      }
    }

    private func allowed(_ page: UInt64) -> [UInt32?] {
      switch (page, progress.value) {
      case (0..<3, 0), (4, 0): [1, 2]
      case (0..<3, _), (4, _): [2]
      case (3, 2): [nil]
      case (3, _): [nil, 1]
      case (5, _): [1]
      case (6, 2): [2]
      case (6, _): [nil, 2]
      default: [nil]
      }
    }

    /// What is wrong with what the next process finds, with all members or without one.
    func firstWrong() throws -> String? {
      let memberCount = site.media.count
      let reductions = site.geometry.redundancy > 0 ? -1..<memberCount : -1..<0
      let legal = (0..<9).map { allowed(UInt64($0)) }
      for gone in reductions {
        let next = site.reopened(absent: gone < 0 ? SlotSet() : SlotSet([gone]))
        let wrong = try next.run { host -> String? in
          try await host.table.loadMap()
          if host.table.lostMapPageCount > 0 { return "the map is lost" }
          for page: UInt64 in 0..<9 {
            let found = await outcome { () async throws(TableError) in
              try await host.version(page)
            }
            guard case .success(let version) = found, legal[Int(page)].contains(version) else {
              return "without \(gone), page \(page) is \(found), not of \(legal[Int(page)])"
            }
          }
          return nil
        }
        next.simulation.endCrashed(next.machine)
        if let wrong = wrong ?? nil { return wrong }
      }
      return nil
    }
  }

  private static var fates: [UnflushedFate] { [.drawn, .drawn, .keepAll, .loseAll] }

  @Test(
    "a power loss at any operation leaves each page as it was or as it was to be",
    arguments: [(RAIDLevel.raid1, 2), (.raid5, 3), (.raid0, 2), (.raid10, 3)])
  func crashAtEachOperation(level: RAIDLevel, memberCount: Int) throws {
    for seed in Seeds.of(2) {
      for fate in Self.fates {
        var operation = 1
        while true {
          let history = try History(
            seed: seed &+ UInt64(operation) << 32, level, memberCount, crashAt: operation,
            fate: fate, bug: nil)
          let wrong = try history.firstWrong()
          #expect(
            wrong == nil, "operation \(operation), \(Seeds.replay(seed, "TableCrashTests"))")
          guard history.hasCrashed else { break }
          operation += 1
        }
        #expect(operation > 15)
      }
    }
  }

  @Test("always the same slot: a page is lost sooner or later (T1)")
  func plantedSameSlot() throws {
    var wrongCount = 0
    for operation in 1..<40 where wrongCount == 0 {
      for seed in 0..<4 where wrongCount == 0 {
        let history = try History(
          seed: UInt64(seed), .raid5, 3, crashAt: operation, fate: .drawn,
          bug: .tableSlotOverwritten)
        if try history.firstWrong() != nil { wrongCount += 1 }
      }
    }
    #expect(wrongCount > 0)
  }
}

extension Simulation {
  /// Frees what a machine that is no longer needed holds of this simulation.
  func endCrashed(_ machine: SimulatedMachine) { machine.crash(.kill) }
}
