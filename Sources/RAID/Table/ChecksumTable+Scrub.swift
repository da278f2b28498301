import DiskFormat
import Geometry
import IO

/// A copy of a page that is not as it should be, or a page without any.
struct TableCopyTrouble: Equatable {
  var page: UInt64
  /// Whose copy; nil when no copy is left.
  var slot: Int?
  var isRepaired = false
}

extension ChecksumTable {
  /// Reads all copies of some pages, also of those that are in memory, and tells which are damaged
  /// or old; with `repairs` these are written again.
  ///
  /// For the loop that owns home: nobody else writes pages meanwhile. The pages that are in memory
  /// afterwards are pinned: `pinned` says which. An old copy of a page that is going to be written
  /// anyway, as `isExpected` tells, is what a crash leaves, and no trouble.
  ///
  /// - Precondition: all are present, and at most `batchPageCount`.
  func inspectCopies(
    of numbers: [UInt64], repairs: Bool, isExpected: (UInt64) -> Bool, pinned: inout [UInt64]
  ) async throws(ArrayError) -> [TableCopyTrouble] {
    while let number = numbers.first(where: { loads[$0] != nil }) {
      // Somebody is reading it: what comes of that is looked at below.
      do throws(TableError) { try await load(number) } catch {}
    }
    var begun: [UInt64: PageLoad] = [:]
    for number in numbers {
      if cache.find(number) != nil {
        pin(number)
        pinned.append(number)
      } else {
        let load = PageLoad()
        begun[number] = load
        loads[number] = load
      }
    }
    guard let memory = probeBuffers.take() else {
      for (number, load) in begun {
        loads[number] = nil
        load.end(.outOfMemory)
      }
      throw .outOfMemory
    }
    let readings = await readCopies(of: numbers, into: memory)
    var troubles: [TableCopyTrouble] = []
    var isOutOfMemory = false
    for (index, number) in numbers.enumerated() {
      let first = index * placement.copyCount
      let copies = readings[first..<first + placement.copyCount]
      if let load = begun[number] {
        // Quietly: what is wrong is repaired below, if at all.
        let error = adopt(number, load, copies, memory, firstCopy: first, notesRepairs: false)
        loads[number] = nil
        load.end(error)
        if case .pageLost = error { troubles.append(TableCopyTrouble(page: number)) }
        if error == .outOfMemory { isOutOfMemory = true }
        if cache.find(number) != nil {
          pin(number)
          pinned.append(number)
        }
      }
      guard let page = cache.find(number), page.pinCount > 0 else { continue }
      judge(page, copies, isExpected(number) || page.isDirty, &troubles)
    }
    probeBuffers.give(memory)
    if isOutOfMemory { throw .outOfMemory }
    guard repairs else { return troubles }
    return try await repairCopies(troubles)
  }

  private func judge(
    _ page: CachedPage, _ copies: ArraySlice<CopyReading>, _ isWrittenSoon: Bool,
    _ troubles: inout [TableCopyTrouble]
  ) {
    // One that was never written durably has nothing that could be wrong.
    guard isPresent(page.number), !flags[page.number].contains(.unwritten), page.sequence > 0
    else { return }
    for (copy, reading) in copies.enumerated() {
      let member = members[placement.slot(ofPage: page.number, copy: copy)]
      guard member.state == .current, member.isUsable, reading.wasRead else { continue }
      if let newest = reading.newest {
        if isWrittenSoon || newest.header.sequence >= page.sequence { continue }
      }
      // It was met before, and is written with the page.
      if page.repairSlots.contains(member.slot) { continue }
      member.counters.checksumErrors += 1
      page.copies[copy] = reading.knowledge
      troubles.append(TableCopyTrouble(page: page.number, slot: member.slot))
    }
  }

  /// Lets go of pages that were only looked at, so that whoever loads them next repairs them.
  func forget(_ numbers: some Sequence<UInt64>) {
    for number in numbers { cache.forget(number) }
  }

  private func repairCopies(
    _ found: [TableCopyTrouble]
  ) async throws(ArrayError) -> [TableCopyTrouble] {
    var troubles = found
    for trouble in troubles {
      guard let slot = trouble.slot, let page = cache.find(trouble.page) else { continue }
      page.repairSlots.insert(slot)
      repairedCopyCount += 1
      markDirty(page)
    }
    let pages = Set(troubles.compactMap { $0.slot == nil ? nil : $0.page }).sorted()
    guard !pages.isEmpty else { return troubles }
    try await writeDirty(pages)
    for index in troubles.indices {
      guard let slot = troubles[index].slot, let page = cache.find(troubles[index].page) else {
        continue
      }
      troubles[index].isRepaired = !page.repairSlots.contains(slot)
    }
    return troubles
  }
}
