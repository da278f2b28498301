import DiskFormat
import Geometry
import Glibc
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

@Suite("RAID: the checksum table")
struct TableTests {
  static let shapes: [(RAIDLevel, Int)] = [
    (.raid0, 2), (.raid1, 3), (.raid5, 3), (.raid6, 4), (.raid10, 3), (.raid10, 4),
  ]

  @Test("what was written is found by the next process, and the rest is absent", arguments: shapes)
  func roundTrip(level: RAIDLevel, memberCount: Int) throws {
    let site = try MemberSite(seed: 1, level: level, memberCount: memberCount)
    try site.run { host in
      try await host.format(7, 1)
      #expect(host.table.dirtyPageCount == 0 && !host.table.mapIsDirty)
      try await host.change(3, 2)
      #expect(host.table.dirtyPageCount == 1)
      host.table.markChanged(2)
      host.table.markChanged(5)
      host.table.clearChanged([2])
      try await host.table.writeDirty()
      try await host.table.writeMap()
    }
    let next = site.reopened()
    try next.run { host in
      let table = host.table
      try await table.loadMap()
      for page: UInt64 in 0..<12 {
        #expect(try await host.version(page) == (page >= 7 ? nil : page == 3 ? 2 : 1))
      }
      #expect(table.nextChanged(from: 0) == 5 && table.nextChanged(from: 6) == nil)
      #expect(table.nextPresent(from: 4) == 4 && table.nextPresent(from: 7) == nil)
      #expect(table.presentPageCount == 7 && table.changedPageCount == 1)
      #expect(table.repairedCopyCount == 0 && table.dirtyPageCount == 0)
      let row = table.placement.rows(ofPage: 11).lowerBound
      #expect(table.entry(row: row, position: 0) == .neverWritten)
    }
  }

  @Test("the two slots of each copy are written in turn (T1)", arguments: shapes)
  func slotsAlternate(level: RAIDLevel, memberCount: Int) throws {
    let site = try MemberSite(seed: 2, level: level, memberCount: memberCount)
    try site.run { host in try await host.format(2, 1) }
    let copyCount = TablePlacement(site.geometry).copyCount
    var last = (0..<copyCount).map { site.newestSlot(1, copy: $0) }
    for version: UInt32 in 2..<7 {
      // Twice by the same process, then by one that has to look.
      let writer = version < 4 ? site : site.reopened()
      try writer.run { host in
        if version >= 4 { try await host.table.loadMap() }
        try await host.change(1, version)
        try await host.table.writeDirty()
      }
      let now = (0..<copyCount).map { site.newestSlot(1, copy: $0) }
      #expect(now == last.map { 1 - $0 })
      last = now
    }
  }

  @Test("a damaged or unreadable copy is replaced by the other", arguments: [true, false])
  func repair(isUnreadable: Bool) throws {
    let site = try MemberSite(seed: 3, level: .raid5, memberCount: 3)
    try site.run { host in
      try await host.format(3, 1)
      try await host.change(1, 2)
      try await host.table.writeDirty()
    }
    for copy in 0...1 {
      let (member, range) = site.place(1, copy: copy, slot: site.newestSlot(1, copy: copy))
      if isUnreadable {
        site.media[member].makeUnreadable(ByteRange(from: range.offsetBytes, to: range.endBytes))
      } else {
        site.media[member].flipBits(at: range.offsetBytes + 1000)
      }
      let next = site.reopened()
      try next.run { host in
        try await host.table.loadMap()
        #expect(try await host.version(1) == 2)
        #expect(host.table.repairedCopyCount == 1)
        #expect(host.table.dirtyPageCount == 1)
        #expect(host.members[member].counters.checksumErrors == 1)
        try await host.table.writeDirty()
        #expect(host.members[member].counters.healedBlocks == 1)
      }
      try site.reopened().run { host in
        try await host.table.loadMap()
        #expect(try await host.version(1) == 2)
        #expect(host.table.repairedCopyCount == 0)
      }
    }
  }

  @Test("a page without a valid copy is lost, also when it is all zeros (T3)")
  func lost() throws {
    for bug in [nil, PlantedBug.zeroPageIsNeverWritten] {
      let site = try MemberSite(seed: 4, level: .raid5, memberCount: 3)
      try site.run { host in try await host.format(3, 1) }
      for copy in 0...1 {
        for slot in 0...1 {
          let (member, range) = site.place(2, copy: copy, slot: slot)
          site.media[member].overwrite(
            at: range.offsetBytes, with: [UInt8](repeating: 0, count: 4096))
        }
      }
      var options = ArrayOptions()
      options.plantedBug = bug
      try site.reopened(options: options).run { host in
        try await host.table.loadMap()
        let found = await outcome { () async throws(TableError) in try await host.version(2) }
        #expect(found == (bug == nil ? .failure(.pageLost(2)) : .success(0)))
        #expect(try await host.version(1) == 1)
      }
    }
  }

  @Test("loads of one page share one reading, and all learn of its error")
  func sharedLoads() throws {
    for seed in Seeds.of(5) {
      let site = try MemberSite(seed: seed, level: .raid5, memberCount: 3)
      try site.run { host in try await host.format(3, 1) }
      let next = site.reopened()
      let count = Box(0)
      try next.run { host in
        try await host.table.loadMap()
        count.value = next.machine.faultPlan.count(of: .read)
      }
      let host = next.host
      try next.machine.run {
        await withTaskGroup(of: Void.self) { group in
          for _ in 0..<5 {
            group.addTask(executorPreference: next.machine) {
              let version = try? await host.perform { try await $0.version(1) }
              #expect(version == 1)
            }
          }
        }
      }
      // Two copies, once.
      #expect(next.machine.faultPlan.count(of: .read) == count.value + 2)
    }
  }

  @Test("the cache is bounded; what is dirty or pinned stays, and asks to be written")
  func cacheBound() throws {
    var options = ArrayOptions()
    options.tableCacheBytes = 10 * 4096
    let site = try MemberSite(
      seed: 5, level: .raid5, memberCount: 3, pageCount: 60, options: options)
    try site.run { host in
      let table = host.table
      table.initializeMap()
      #expect(table.cachedPageCountMax == 10)
      for page: UInt64 in 0..<40 {
        try await host.change(page, 1)
        #expect(table.wantsWriting == (table.dirtyPageCount >= 5))
        if page % 7 == 6 { try await table.writeDirty() }
        #expect(table.cachedPageCount <= 10)
      }
      try await table.writeDirty()
      #expect(try await table.loadPinned(3))
      for page: UInt64 in 0..<40 {
        #expect(try await host.version(page) == 1)
        #expect(table.cachedPageCount <= 10)
        #expect(table.isLoaded(3))
      }
      table.unpin(3)
      for page: UInt64 in 20..<40 { try await host.change(page, 2) }
      #expect(table.cachedPageCount >= 20 && table.wantsWriting)
      try await table.writeDirty()
      #expect(table.cachedPageCount <= 10 && !table.wantsWriting)
      for page: UInt64 in 0..<40 { #expect(try await host.version(page) == (page < 20 ? 1 : 2)) }
    }
  }

  @Test("a page that changes while it is written is written again")
  func changedWhileWritten() throws {
    for seed in Seeds.of(10) {
      let site = try MemberSite(seed: seed, level: .raid5, memberCount: 3)
      let host = site.host
      try site.run { host in
        try await host.format(3, 1)
        try await host.change(1, 2)
      }
      try site.machine.run {
        let writing = site.machine.start {
          try? await host.perform { try await $0.table.writeDirty() }
        }
        try await host.perform { host in
          while host.table.dirtyPageCount > 0 {
            await host.members.machine.sleep(nanoseconds: 1000)
          }
          host.set(1, 3)
          #expect(host.table.dirtyPageCount == 1)
        }
        await writing.value
        try await host.perform { host in
          #expect(host.table.dirtyPageCount == 1)
          try await host.table.writeDirty()
        }
      }
      try site.reopened().run { host in
        try await host.table.loadMap()
        #expect(try await host.version(1) == 3)
      }
    }
  }

  @Test("a generation changes with each change, and never comes back")
  func generations() throws {
    let site = try MemberSite(seed: 6)
    try site.run { host in
      try await host.format(2, 1)
      let table = host.table
      var seen: Set<UInt64> = [table.generation(ofPage: 1)]
      host.set(1, 2)
      #expect(seen.insert(table.generation(ofPage: 1)).inserted)
      table.blank(1, trimSequence: 5)
      #expect(table.generation(ofPage: 1) == 0)
      try table.create(1)
      #expect(seen.insert(table.generation(ofPage: 1)).inserted)
    }
  }

  @Test("a trimmed page is absent, and remembers its trim when it is created again (D7)")
  func trims() throws {
    let site = try MemberSite(seed: 7, level: .raid5, memberCount: 3)
    try site.run { host in
      try await host.format(4, 1)
      let table = host.table
      table.blank(1, trimSequence: 11)
      table.blank(2, trimSequence: 12)
      table.blank(9, trimSequence: 13)
      #expect(table.trimSequence(ofPage: 1) == 11)
      #expect(try await host.version(1) == nil)
      #expect(table.dirtyPageCount == 0 && table.mapIsDirty)
      try await host.change(2, 3)
      try await host.change(9, 4)
      try await table.writeDirty()
      try await table.writeMap()
      table.forgetTrims(through: 11)
      #expect(table.trimSequence(ofPage: 9) == 13)
    }
    try site.reopened().run { host in
      let table = host.table
      try await table.loadMap()
      #expect(try await host.version(1) == nil)
      #expect(try await host.version(2) == 3)
      #expect(try await host.version(9) == 4)
      #expect(table.trimSequence(ofPage: 1) == 0 && table.trimSequence(ofPage: 2) == 12)
      #expect(table.trimSequence(ofPage: 0) == nil)
      // What lies in its place from before does not come back with it.
      try await host.change(1, 9)
      try await table.writeDirty()
      try await table.writeMap()
    }
    try site.reopened().run { host in
      try await host.table.loadMap()
      #expect(try await host.version(1) == 9)
    }
  }
}

/// What an operation came to, where its error is part of the test.
func outcome<Value>(
  _ body: () async throws(TableError) -> Value
) async -> Result<Value, TableError> {
  do throws(TableError) { return .success(try await body()) } catch { return .failure(error) }
}
