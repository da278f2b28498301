import DiskFormat
import Geometry
import IO

extension ChecksumTable {
  /// Reads the page map from all members in sync.
  ///
  /// Of each page of the map the valid one with the highest sequence counts. Where no member has
  /// one, all the pages of the table that it describes count as present and changed: what does not
  /// exist is then found to be lost, but nothing that exists is taken for never-written.
  package func loadMap() async throws(ArrayError) {
    let batch = Self.batchPageCount
    let batchBytes = batch * 2 * PageCache.pageBytes
    guard let memory = OwnedBuffer(byteCount: members.count * batchBytes) else {
      throw .outOfMemory
    }
    var first = 0
    while first < flags.mapPages.count {
      let numbers = first..<min(first + batch, flags.mapPages.count)
      let answered = await readMap(numbers, memory, batchBytes)
      for number in numbers {
        let offset = (number - first) * 2 * PageCache.pageBytes
        adopt(number, answered, memory) { $0 * batchBytes + offset }
      }
      first = numbers.upperBound
    }
  }

  private func mapOffset(_ number: Int, _ slot: Int) -> UInt64 {
    layout.mapOffset + UInt64(number * 2 + slot) * TablePlacement.slotBytes
  }

  /// - Returns: the members that answered.
  private func readMap(
    _ numbers: Range<Int>, _ memory: OwnedBuffer, _ batchBytes: Int
  ) async -> SlotSet {
    let buffer = memory.buffer
    let byteCount = numbers.count * 2 * PageCache.pageBytes
    var answered = members.currentSlots
    let group = members.makeGroup()
    for slot in answered {
      members.read(
        slot, atBytes: mapOffset(numbers.lowerBound, 0),
        into: buffer.slice(slot * batchBytes, byteCount), keeping: memory, group)
    }
    await group.wait()
    let failures = group.failures
    members.release(group)
    for failure in failures {
      let part = buffer.slice(failure.slot * batchBytes, byteCount)
      guard case .disk = failure.error else {
        answered.remove(failure.slot)
        await expelForReading(failure)
        continue
      }
      if await !readMapSingly(numbers, failure.slot, part, memory) {
        answered.remove(failure.slot)
      }
    }
    return answered
  }

  /// Each slot alone, where all together could not be read.
  private func readMapSingly(
    _ numbers: Range<Int>, _ member: Int, _ part: IOBuffer, _ memory: OwnedBuffer
  ) async -> Bool {
    let group = members.makeGroup()
    let bytes = PageCache.pageBytes
    for index in 0..<numbers.count * 2 {
      members.read(
        member, atBytes: mapOffset(numbers.lowerBound, 0) + UInt64(index * bytes),
        into: part.slice(index * bytes, bytes), keeping: memory, group, tag: index)
    }
    await group.wait()
    let failures = group.failures
    members.release(group)
    for failure in failures {
      guard case .disk = failure.error else {
        await expelForReading(failure)
        return false
      }
      part.slice(failure.tag * bytes, bytes).fill(with: 0xff)
    }
    return true
  }

  /// Takes over the newest of what the members have of a map page.
  private func adopt(
    _ number: Int, _ answered: SlotSet, _ memory: OwnedBuffer, at offset: (Int) -> Int
  ) {
    let buffer = memory.buffer
    let bytes = PageCache.pageBytes
    var best: (sequence: UInt64, buffer: IOBuffer)?
    var newest = [UInt64?](repeating: nil, count: members.count)
    for member in answered {
      flags.mapPages[number].copies[member] = .noneIsValid
      for slot in 0...1 {
        let part = buffer.slice(offset(member) + slot * bytes, bytes)
        guard let sequence = verifiedMapPage(part, number) else { continue }
        pageSequence = max(pageSequence, sequence)
        if sequence > best?.sequence ?? 0 || best == nil { best = (sequence, part) }
        if let seen = newest[member], seen >= sequence { continue }
        newest[member] = sequence
        flags.mapPages[number].copies[member] = CopyKnowledge(newestSlot: slot)
      }
    }
    for page in flags.pages(ofMapPage: number) {
      let index = Int(page % PageMap.entriesPerPage)
      let found = best.map { PageMap.flags(in: $0.buffer, at: index) } ?? [.present, .changed]
      flags.set(page, TableFlags.Flags(found))
    }
    if best == nil {
      lostMapPageCount += 1
      flags.mapPages[number].isDirty = true
    }
    for member in answered where newest[member] != best?.sequence {
      if newest[member] == nil { members[member].counters.checksumErrors += 1 }
      repairedCopyCount += 1
      flags.mapPages[number].isDirty = true
    }
  }

  private func verifiedMapPage(_ part: IOBuffer, _ number: Int) -> UInt64? {
    do throws(FormatError) {
      return try PageMap.verify(part, arrayID: arrayID, number: UInt64(number))
    } catch {
      return nil
    }
  }

  // MARK: Writing

  /// Makes every change of the map that was made before the call durable, on all members.
  ///
  /// A page that was created is called present only if `writeDirty` has written it since.
  package func writeMap() async throws(ArrayError) {
    await writeTurn.acquire()
    let numbers = flags.mapPages.indices.filter { flags.mapPages[$0].isDirty }
    var failure: ArrayError?
    do throws(ArrayError) {
      try await writeMapPages(numbers)
    } catch {
      failure = error
      for number in numbers { flags.mapPages[number].isDirty = true }
    }
    writeTurn.release()
    if let failure { throw failure }
  }

  private func writeMapPages(_ numbers: [Int]) async throws(ArrayError) {
    var rest = numbers[...]
    while !rest.isEmpty {
      let batch = Array(rest.prefix(Self.batchPageCount))
      rest = rest.dropFirst(batch.count)
      try await writeMapBatch(batch)
    }
  }

  private func writeMapBatch(_ numbers: [Int]) async throws(ArrayError) {
    guard let memory = writeBuffers.take() else { throw .outOfMemory }
    let group = members.makeGroup()
    var written = members.writableSlots
    var targets: [[Int]] = []
    for (index, number) in numbers.enumerated() {
      flags.mapPages[number].isDirty = false
      pageSequence += 1
      let part = sealMapPage(number, into: memory, index, sequence: pageSequence)
      targets.append(flags.mapPages[number].copies.map(\.nextSlot))
      for slot in written {
        let target = options.plants(.tableSlotOverwritten) ? 0 : targets[index][slot]
        members.write(
          slot, atBytes: mapOffset(number, target), from: part, keeping: memory, group)
      }
    }
    await group.wait()
    var failures = group.failures
    members.release(group)
    writeBuffers.give(memory)
    written = written.subtracting(SlotSet(failures.map(\.slot)))
    let unsynchronized = await synchronize(written)
    written = written.subtracting(SlotSet(unsynchronized.map(\.slot)))
    failures += unsynchronized
    for (index, number) in numbers.enumerated() {
      for slot in written {
        flags.mapPages[number].copies[slot] = CopyKnowledge(newestSlot: targets[index][slot])
      }
    }
    try await membership.expel(failures)
    guard !written.isEmpty else { throw .stopped("the page map could not be written anywhere") }
  }

  /// Fills a part of the buffer with a page of the map as it may be on disk now.
  private func sealMapPage(
    _ number: Int, into memory: OwnedBuffer, _ index: Int, sequence: UInt64
  ) -> IOBuffer {
    let buffer = memory.buffer
    let part = buffer.slice(index * PageCache.pageBytes, PageCache.pageBytes)
    part.fill(with: 0)
    for page in flags.pages(ofMapPage: number) {
      PageMap.setFlags(
        flags.durableFlags(page), in: part, at: Int(page % PageMap.entriesPerPage))
    }
    PageMap.seal(part, arrayID: arrayID, number: UInt64(number), sequence: sequence)
    return part
  }

  /// Writes the whole map to one member anew, in both slots, durably.
  ///
  /// For a member that is *syncing*: nothing that it had is believed, so nothing of it is left.
  ///
  /// - Returns: false when the member was put out meanwhile.
  package func writeMapCopies(to slot: Int) async throws(ArrayError) -> Bool {
    await writeTurn.acquire()
    var failures: [OperationFailure] = []
    var isWritten = true
    var rest = flags.mapPages.indices[...]
    while !rest.isEmpty, failures.isEmpty {
      let batch = rest.prefix(Self.batchPageCount)
      rest = rest.dropFirst(batch.count)
      guard let more = await writeMapBatch(batch, to: slot) else {
        isWritten = false
        break
      }
      failures += more
    }
    if isWritten, failures.isEmpty { failures = await synchronize(SlotSet([slot])) }
    writeTurn.release()
    guard isWritten else { throw .outOfMemory }
    try await membership.expel(failures)
    return failures.isEmpty
  }

  private func writeMapBatch(_ numbers: Range<Int>, to slot: Int) async -> [OperationFailure]? {
    guard let memory = writeBuffers.take() else { return nil }
    let group = members.makeGroup()
    for (index, number) in numbers.enumerated() {
      // What it says may be newer than on the others, which get it with a higher sequence.
      pageSequence += 1
      let part = sealMapPage(number, into: memory, index, sequence: pageSequence)
      flags.mapPages[number].isDirty = true
      if slot < members.count { flags.mapPages[number].copies[slot] = .firstIsNewest }
      for target in 0...1 {
        members.write(
          slot, atBytes: mapOffset(number, target), from: part, keeping: memory, group)
      }
    }
    await group.wait()
    let failures = group.failures
    members.release(group)
    writeBuffers.give(memory)
    return failures
  }
}

extension TableFlags.Flags {
  init(_ flags: PageMap.Flags) {
    self = []
    if flags.contains(.present) { insert(.present) }
    if flags.contains(.changed) { insert(.changed) }
  }
}
