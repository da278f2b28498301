import DiskFormat
import Geometry
import IO

/// A page on its way into memory, and those who wait for it.
final class PageLoad {
  /// The page was trimmed or created meanwhile: what is read no longer counts.
  var isObsolete = false
  fileprivate var hasEnded = false
  fileprivate var error: TableError?
  fileprivate var waiting: [WaitPoint] = []

  fileprivate func wait() async {
    // Safe: resumed once, by `end`, or here: others may have run meanwhile.
    unsafe await withUnsafeContinuation { (waiter: UnsafeContinuation<Void, Never>) in
      if hasEnded {
        unsafe waiter.resume()
      } else {
        var point = WaitPoint()
        unsafe point.put(waiter)
        waiting.append(point)
      }
    }
  }

  func end(_ error: TableError?) {
    hasEnded = true
    self.error = error
    for var point in waiting { point.signal() }
    waiting.removeAll()
  }
}

/// What was found in one copy of a page.
struct CopyReading {
  /// Nil for a slot that is not valid.
  var headers: (TablePageHeader?, TablePageHeader?) = (nil, nil)
  /// The member answered, with data or with the word that its medium cannot be read.
  var wasRead = false
  /// A slot that is not valid holds something.
  var hasGarbage = false

  /// The valid slot with the higher sequence.
  var newest: (slot: Int, header: TablePageHeader)? {
    switch headers {
    case (let first?, let second?):
      second.sequence > first.sequence ? (1, second) : (0, first)
    case (let first?, nil): (0, first)
    case (nil, let second?): (1, second)
    case (nil, nil): nil
    }
  }

  var knowledge: CopyKnowledge {
    wasRead ? CopyKnowledge(newestSlot: newest?.slot) : .unknown
  }
}

extension ChecksumTable {
  /// Brings a page into memory; an absent one needs nothing.
  ///
  /// It may leave again at the next suspension unless it is pinned then. Calls for one page share
  /// one reading.
  package func load(_ number: UInt64) async throws(TableError) {
    while !isLoaded(number) {
      if let running = loads[number] {
        await running.wait()
        if let error = running.error { throw error }
        continue
      }
      let load = PageLoad()
      loads[number] = load
      let error = await perform(load, number)
      loads[number] = nil
      load.end(error)
      if let error { throw error }
    }
  }

  /// Loads a page and pins it.
  ///
  /// - Returns: false when it is absent; there is no pin then.
  package func loadPinned(_ number: UInt64) async throws(TableError) -> Bool {
    try await load(number)
    guard isPresent(number) else { return false }
    pin(number)
    return true
  }

  /// Brings pages into memory, reading them side by side, as far as that is easy: what is missing
  /// afterwards is for `load` to get, or to say why not.
  package func loadAhead(_ wanted: [UInt64]) async {
    var rest = wanted.filter { !isLoaded($0) && loads[$0] == nil }[...]
    while !rest.isEmpty {
      let numbers = Array(rest.prefix(Self.batchPageCount))
      rest = rest.dropFirst(numbers.count)
      guard let memory = probeBuffers.take() else { return }
      let begun = numbers.map { _ in PageLoad() }
      for (number, load) in zip(numbers, begun) { loads[number] = load }
      let readings = await readCopies(of: numbers, into: memory)
      let copyCount = placement.copyCount
      for (index, (number, load)) in zip(numbers, begun).enumerated() {
        let first = index * copyCount
        let error = adopt(
          number, load, readings[first..<first + copyCount], memory, firstCopy: first)
        loads[number] = nil
        load.end(error)
      }
      probeBuffers.give(memory)
    }
  }

  private func perform(_ load: PageLoad, _ number: UInt64) async -> TableError? {
    guard let memory = loadBuffers.take() else { return .outOfMemory }
    defer { loadBuffers.give(memory) }
    let readings = await readCopies(of: [number], into: memory)
    return adopt(number, load, readings[...], memory, firstCopy: 0)
  }

  /// Takes the newest copy that was read, whose place in the memory counts from `firstCopy`.
  func adopt(
    _ number: UInt64, _ load: PageLoad, _ readings: ArraySlice<CopyReading>,
    _ memory: OwnedBuffer, firstCopy: Int, notesRepairs: Bool = true
  ) -> TableError? {
    guard !load.isObsolete, isPresent(number) else { return nil }
    guard let (copy, newest) = newestCopy(readings, number) else { return .pageLost(number) }
    guard let page = cache.add(number) else { return .outOfMemory }
    page.buffer.copy(from: slotBuffer(memory, firstCopy + copy, newest.slot))
    page.trimSequence = newest.header.trimSequence
    page.sequence = newest.header.sequence
    noteChange(page)
    for (copy, reading) in readings.enumerated() {
      page.copies[copy] = reading.knowledge
      if notesRepairs { noteRepair(page, copy, reading, newest.header.sequence) }
    }
    return nil
  }

  /// The copy that counts: only members in sync have a say (rule T4).
  private func newestCopy(
    _ readings: ArraySlice<CopyReading>, _ number: UInt64
  ) -> (copy: Int, newest: (slot: Int, header: TablePageHeader))? {
    var best: (copy: Int, newest: (slot: Int, header: TablePageHeader))?
    for (copy, reading) in readings.enumerated() {
      let member = members[placement.slot(ofPage: number, copy: copy)]
      guard member.state == .current || options.plants(.syncingMemberIsRead) else { continue }
      guard let newest = reading.newest else { continue }
      if let best, best.newest.header.sequence >= newest.header.sequence { continue }
      best = (copy, newest)
    }
    return best
  }

  /// A copy that is not the newest is written again with the next `writeDirty`.
  private func noteRepair(
    _ page: CachedPage, _ copy: Int, _ reading: CopyReading, _ sequence: UInt64
  ) {
    let member = members[placement.slot(ofPage: page.number, copy: copy)]
    guard member.state == .current, reading.wasRead else { return }
    if let newest = reading.newest, newest.header.sequence == sequence { return }
    if reading.hasGarbage || reading.newest == nil { member.counters.checksumErrors += 1 }
    repairedCopyCount += 1
    page.repairSlots.insert(member.slot)
    markDirty(page)
  }

  // MARK: Reading copies

  func slotBuffer(_ memory: OwnedBuffer, _ copyIndex: Int, _ slot: Int) -> IOBuffer {
    let bytes = PageCache.pageBytes
    let buffer = memory.buffer
    return buffer.slice((copyIndex * 2 + slot) * bytes, bytes)
  }

  /// Reads both slots of all copies of some pages, from all members that are written.
  ///
  /// - Returns: for each page in turn its copies. Sequences that were seen count as used.
  func readCopies(of numbers: [UInt64], into memory: OwnedBuffer) async -> [CopyReading] {
    let copyCount = placement.copyCount
    let bytes = PageCache.pageBytes
    let buffer = memory.buffer
    var readings = [CopyReading](repeating: CopyReading(), count: numbers.count * copyCount)
    let group = members.makeGroup()
    for (index, number) in numbers.enumerated() {
      for copy in 0..<copyCount {
        let tag = index * copyCount + copy
        let slot = placement.slot(ofPage: number, copy: copy)
        readings[tag].wasRead = members[slot].isUsable
        guard members[slot].isUsable else { continue }
        members.read(
          slot, atBytes: offset(number, copy, 0), into: buffer.slice(tag * 2 * bytes, 2 * bytes),
          keeping: memory, group, tag: tag)
      }
    }
    await group.wait()
    let failures = group.failures
    members.release(group)
    for failure in failures {
      if case .disk = failure.error {
        let number = numbers[failure.tag / copyCount]
        readings[failure.tag].wasRead = await readSlots(
          number, failure.tag % copyCount, memory, failure.tag)
      } else {
        readings[failure.tag].wasRead = false
        await expelForReading(failure)
      }
    }
    for tag in readings.indices where readings[tag].wasRead {
      judge(&readings[tag], numbers[tag / copyCount], memory, tag)
    }
    return readings
  }

  /// Each slot alone, where both together could not be read.
  ///
  /// - Returns: false when the member has gone meanwhile.
  private func readSlots(
    _ number: UInt64, _ copy: Int, _ memory: OwnedBuffer, _ copyIndex: Int
  ) async -> Bool {
    let member = placement.slot(ofPage: number, copy: copy)
    let group = members.makeGroup()
    for slot in 0...1 {
      members.read(
        member, atBytes: offset(number, copy, slot), into: slotBuffer(memory, copyIndex, slot),
        keeping: memory, group, tag: slot)
    }
    await group.wait()
    let failures = group.failures
    members.release(group)
    for failure in failures {
      guard case .disk = failure.error else {
        await expelForReading(failure)
        return false
      }
      // Nothing valid looks like this.
      slotBuffer(memory, copyIndex, failure.tag).fill(with: 0xff)
    }
    return true
  }

  /// A member that does not answer goes; whether the array can spare it does not concern readers.
  func expelForReading(_ failure: OperationFailure) async {
    guard failure.error == .timedOut else { return }
    do throws(ArrayError) {
      try await membership.expel(failure, .timedOut)
    } catch {}
  }

  private func judge(
    _ reading: inout CopyReading, _ number: UInt64, _ memory: OwnedBuffer, _ copyIndex: Int
  ) {
    for slot in 0...1 {
      let buffer = slotBuffer(memory, copyIndex, slot)
      guard let header = verified(buffer, number) else {
        if !buffer.isZero { reading.hasGarbage = true }
        continue
      }
      pageSequence = max(pageSequence, header.sequence)
      if slot == 0 { reading.headers.0 = header } else { reading.headers.1 = header }
    }
  }

  private func verified(_ buffer: IOBuffer, _ number: UInt64) -> TablePageHeader? {
    do throws(FormatError) {
      return try TablePage.verify(buffer, arrayID: arrayID, pageNumber: number)
    } catch {
      guard options.plants(.zeroPageIsNeverWritten), buffer.isZero else { return nil }
      return TablePageHeader(
        arrayID: arrayID, pageNumber: number, sequence: 0, trimSequence: 0)
    }
  }

  /// Where a slot of a copy lies, from the start of its member.
  func offset(_ number: UInt64, _ copy: Int, _ slot: Int) -> UInt64 {
    layout.tableOffset + placement.offsetBytes(ofPage: number, copy: copy, slot: slot)
  }
}
