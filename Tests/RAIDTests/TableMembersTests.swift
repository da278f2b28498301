import DiskFormat
import Geometry
import Glibc
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

@Suite("RAID: the checksum table and its members")
struct TableMembersTests {
  @Test("a member that fails a write or fdatasync goes, and what it missed is marked (T5)")
  func memberFails() throws {
    for kind in [OperationKind.write, .synchronize] {
      for number in 1...3 {
        let site = try MemberSite(seed: UInt64(number), level: .raid5, memberCount: 3)
        try site.run { host in try await host.format(6, 1) }
        let plan = site.machine.faultPlan
        plan.fail(operation: plan.count(of: kind) + number, of: kind, with: .failure(EIO))
        let host = site.host
        try site.machine.run {
          try await host.perform { host in
            for page: UInt64 in 0..<6 { try await host.change(page, 2) }
            try await host.table.writeDirty()
            #expect(host.keeper.expulsions.count == 1)
            guard let slot = host.keeper.expulsions.first?.slot else { return }
            let placement = host.table.placement
            for page: UInt64 in 0..<6 {
              let isKept = (0..<placement.copyCount).contains {
                placement.slot(ofPage: page, copy: $0) == slot
              }
              #expect(host.table.isChanged(page) == isKept)
            }
            try await host.table.writeMap()
            #expect(host.table.dirtyPageCount == 0 && !host.table.mapIsDirty)
          }
        }
        let gone = try site.run { host in host.keeper.expulsions.map(\.slot) } ?? []
        try site.reopened(absent: SlotSet(gone)).run { host in
          try await host.table.loadMap()
          #expect(host.table.changedPageCount == 4)
          for page: UInt64 in 0..<6 { #expect(try await host.version(page) == 2) }
        }
      }
    }
  }

  @Test("when nobody can be spared the write fails, and the pages stay dirty")
  func nobodyCanBeSpared() throws {
    let site = try MemberSite(seed: 2, level: .raid0, memberCount: 2)
    try site.run { host in
      try await host.format(3, 1)
      try await host.change(1, 2)
    }
    site.media[1].faultRates.writeError = 1_000_000
    let host = site.host
    try site.machine.run {
      try await host.perform { host in
        do throws(ArrayError) {
          try await host.table.writeDirty()
          Issue.record("it was written")
        } catch {
          #expect(error == .stopped("nobody can be spared"))
        }
        #expect(host.table.dirtyPageCount == 1)
        let version = try await host.version(1)
        #expect(version == 2)
      }
    }
  }

  @Test("a member that comes back gets its copies anew, and is not believed before (T4, T8)")
  func memberReturns() throws {
    for bug in [nil, PlantedBug.syncingMemberIsRead] {
      var options = ArrayOptions()
      options.plantedBug = bug
      let site = try MemberSite(seed: 3, level: .raid1, memberCount: 2, options: options)
      try site.run { host in
        try await host.format(6, 1)
        // The other one lives on alone.
        host.members[1].putOut(.commanded)
        await host.members[1].waitUntilDrained()
        for page: UInt64 in 0..<3 {
          try await host.change(page, 2)
          host.table.markChanged(page)
        }
        try await host.table.writeDirty()
        try await host.table.writeMap()
      }
      let next = site.reopened(options: options, absent: SlotSet([1]))
      let disk = next.disks[1]
      // A history of its own, with higher sequences.
      try site.reopened(absent: SlotSet([0])).run { host in
        try await host.table.loadMap()
        for round: UInt32 in 10..<14 {
          for page: UInt64 in 0..<3 { try await host.change(page, round) }
          try await host.table.writeDirty()
        }
      }
      try next.run { host in
        let table = host.table
        try await table.loadMap()
        #expect(table.changedPageCount == 3)
        host.members[1].attach(disk, state: .syncing)
        #expect(try await host.version(0) == (bug == nil ? 2 : 13))
        guard bug == nil else { return }
        #expect(try await table.writeCopies(of: 0..<12, ofSlot: 1, to: 1))
        #expect(try await table.writeMapCopies(to: 1))
        host.members[1].setState(.current)
        table.clearChanged(0..<3)
        try await table.writeDirty()
        try await table.writeMap()
      }
      guard bug == nil else { continue }
      for gone in 0...1 {
        try site.reopened(absent: SlotSet([gone])).run { host in
          try await host.table.loadMap()
          #expect(host.table.changedPageCount == 0)
          for page: UInt64 in 0..<6 {
            #expect(try await host.version(page) == (page < 3 ? 2 : 1))
          }
        }
      }
      try site.reopened().run { host in
        try await host.table.loadMap()
        for page: UInt64 in 0..<6 { _ = try await host.version(page) }
        #expect(host.table.repairedCopyCount == 0)
      }
    }
  }

  @Test("one damaged map page is replaced; with none left, everything counts as present")
  func map() throws {
    let site = try MemberSite(seed: 4, level: .raid5, memberCount: 3)
    try site.run { host in try await host.format(3, 1) }
    let start = site.layout.mapOffset
    for member in 0..<3 {
      for slot: UInt64 in 0...1 {
        site.media[member].flipBits(at: start + slot * 4096 + 500)
      }
      let isLost = member == 2
      try site.reopened().run { host in
        let table = host.table
        try await table.loadMap()
        #expect(table.lostMapPageCount == (isLost ? 1 : 0))
        #expect(table.mapIsDirty)
        #expect(table.presentPageCount == (isLost ? 12 : 3))
        #expect(table.changedPageCount == (isLost ? 12 : 0))
        #expect(try await host.version(2) == 1)
        guard isLost else { return }
        // What never was is found to be lost, not taken for never-written.
        let found = await outcome { () async throws(TableError) in try await host.version(5) }
        #expect(found == .failure(.pageLost(5)))
      }
    }
  }

  @Test("a stuck member does not stop a load; its late answer harms nobody")
  func stuckLoad() throws {
    var options = ArrayOptions()
    options.memberDeadlineNanoseconds = 500_000_000
    let site = try MemberSite(seed: 5, level: .raid5, memberCount: 3)
    try site.run { host in try await host.format(6, 1) }
    let next = site.reopened(options: options)
    let disks = next.disks
    try next.run { host in
      try await host.table.loadMap()
      disks[1].isStuck = true
      for page: UInt64 in 0..<6 { #expect(try await host.version(page) == 1) }
      #expect(host.keeper.expulsions.map(\.slot) == [1])
      disks[1].release()
      await host.members[1].waitUntilDrained()
      for page: UInt64 in 0..<6 { #expect(try await host.version(page) == 1) }
      #expect(host.table.dirtyPageCount == 0)
    }
  }
}
