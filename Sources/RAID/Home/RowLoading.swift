import DiskFormat
import Geometry
import IO
import Parity

extension ArrayParts {
  /// Reads every written block of a row from the members that are believed, verifies each, and
  /// solves what is missing.
  ///
  /// Nothing holds the row: what comes of it is right because it verifies against entries that were
  /// read before, or it is reported as unknown.
  ///
  /// Members that are `excluded` are not asked. Who loads a row again, because of what was found
  /// bad in it, does not count that twice. The image is to be given back to `rowImages`.
  func loadRow(
    _ row: UInt64, excluding excluded: SlotSet = SlotSet(), isAgain: Bool = false
  ) async throws(ArrayError) -> RowImage {
    try await loadPage(ofRow: row)
    var taken = try rowImages.take()
    let readable = readableSlots.subtracting(excluded)
    let group = members.makeGroup()
    for position in 0..<geometry.width {
      let entry = table.entry(row: row, position: position) ?? .neverWritten
      taken.entries[position] = entry
      guard entry.state == .written else {
        // A parity whose content is not known is not zeros.
        let isLostParity = entry.state == .lost && position >= geometry.dataCount
        taken.parts[position] = isLostParity && geometry.parityCount > 0 ? .bad : .zeros
        continue
      }
      let place = geometry.place(ofRow: row, position: position)
      guard readable.contains(place.slot) else {
        taken.parts[position] = .absent
        continue
      }
      taken.parts[position] = .good
      members.readData(
        place, into: taken.buffer(position), keeping: taken.memory, group, tag: position)
    }
    await group.wait()
    for failure in group.failures {
      taken.parts[failure.tag] = failure.error == .absent ? .absent : .bad
      if failure.error != .absent { taken.failedReads |= 1 << UInt32(failure.tag) }
      await noteReadFailure(failure)
    }
    members.release(group)
    if !taken.memory.isIdle {
      // What was given up may yet land there.
      guard let copy = RowImage(copying: taken) else { throw .outOfMemory }
      taken = copy
    }
    let image = taken
    verify(image, row: row, isAgain: isAgain)
    _ = image.solve(geometry) { position in self.plainChecksum(image, row: row, position) }
    return image
  }

  /// Marks the blocks that do not match their entries as bad.
  private func verify(_ image: RowImage, row: UInt64, isAgain: Bool) {
    for position in 0..<geometry.width where image.parts[position] == .good {
      guard image.entries[position].state == .written else { continue }
      let place = geometry.place(ofRow: row, position: position)
      let found = BlockChecksum.of(image.buffer(position).bytes) ^ mask(place)
      guard found != image.entries[position].checksum else { continue }
      image.parts[position] = .bad
      if !isAgain { members[place.slot].counters.checksumErrors += 1 }
    }
  }

  /// What a written block's checksum must be, without the mask.
  func plainChecksum(_ image: RowImage, row: UInt64, _ position: Int) -> UInt32? {
    guard image.entries[position].state == .written else { return nil }
    return image.entries[position].checksum ^ mask(geometry.place(ofRow: row, position: position))
  }

  /// A member that did not answer in time, or was cut short, is put out; one that failed a read is
  /// not.
  func noteReadFailure(_ failure: OperationFailure) async {
    switch failure.error {
    case .timedOut: try? await keeper.expel(failure, .timedOut)
    case .disk(let cause):
      if cause.isDisconnection { try? await keeper.expel(failure, .disconnected) }
      // Not a sector that cannot be read: what lay there is gone, and a write would hide it.
      if case .endedEarly(let end) = cause {
        try? await keeper.expel(failure, .lost(.cutShort(atBytes: end)))
      }
    case .absent: break
    }
  }
}

extension DiskError {
  /// The way to the member is gone, rather than a sector of it.
  var isDisconnection: Bool {
    guard case .refused(let error) = self else { return false }
    return error.isDisconnection
  }
}

extension ArrayParts {
  /// Asks the keeper of home to heal a row.
  func requestHeal(_ row: UInt64) {
    healQueue.append(row)
    wakeKeeper()
  }

  /// Reads a payload that recovery left in the log.
  func readLogged(
    _ batchSequence: UInt64, _ payloadIndex: Int, checksum: UInt32, block: UInt64,
    into target: IOBuffer
  ) async throws(ArrayError) {
    guard let recovered else { preconditionFailure("nothing was left in the log") }
    try await recovered.readPayload(
      ofBatch: batchSequence, at: payloadIndex, checksum: checksum, block: block, into: target)
  }

  /// Reads payloads that recovery left in the log, side by side.
  func readLogged(_ wants: [PayloadWant]) async throws(ArrayError) {
    guard !wants.isEmpty else { return }
    guard let recovered else { preconditionFailure("nothing was left in the log") }
    try await recovered.readPayloads(wants)
  }

  // MARK: Failures

  /// Puts out the members whose operations failed, and gives the group back.
  func expelFailed(_ group: OperationGroup) async throws(ArrayError) {
    let failures = group.failures
    members.release(group)
    for failure in failures {
      guard let reason = failure.reasonToExpel else { continue }
      try await keeper.expel(failure, reason)
    }
  }

  /// Makes what was written to these members durable; those that fail are put out.
  func synchronize(_ slots: SlotSet) async throws(ArrayError) {
    let group = members.makeGroup()
    for slot in slots.intersection(members.writableSlots) { members.synchronize(slot, group) }
    await group.wait()
    try await expelFailed(group)
  }

  /// The same for members that are brought up to date, in slots or seats.
  func synchronizeTargets(_ places: [Int]) async throws(ArrayError) {
    let group = members.makeGroup()
    for place in places { members.synchronize(place, group) }
    await group.wait()
    try await expelFailed(group)
  }

  // MARK: Pages and counters

  /// Makes sure that a page's entries can be changed: loads it, or makes it, or replaces one whose
  /// copies are all gone.
  func preparePage(_ page: UInt64) async throws(ArrayError) {
    if !table.isPresent(page) { return try create(page) }
    do throws(ArrayError) {
      try await load(page: page)
    } catch {
      guard case .unreadable = error else { throw error }
      try checkServing()
      try replaceLostPage(page)
    }
  }

  private func create(_ page: UInt64) throws(ArrayError) {
    do throws(TableError) {
      try table.create(page)
    } catch {
      throw .outOfMemory
    }
  }

  /// A page whose copies are all gone: nothing it described can be told right from wrong.
  private func replaceLostPage(_ page: UInt64) throws(ArrayError) {
    let rows = placement.rows(ofPage: page)
    events.note(
      "all copies of table page \(page) are damaged: the blocks of rows \(rows.lowerBound) to "
        + "\(rows.upperBound - 1) cannot be verified and are lost until they are written", .error)
    table.blank(page, trimSequence: 0)
    try create(page)
    for row in rows {
      for position in 0..<geometry.width {
        table.setEntry(.lost, row: row, position: position)
        guard position < geometry.dataCount else { continue }
        _ = lostBlocks.insert(geometry.block(ofRow: row, position: position))
      }
    }
  }

  /// A block that was bad has been written again as it should be.
  func noteHealed(_ row: UInt64, _ position: Int) {
    let place = geometry.place(ofRow: row, position: position)
    members[place.slot].counters.healedBlocks += 1
    let isData = position < geometry.dataCount || geometry.isMirrored
    let block =
      isData ? geometry.block(ofRow: row, position: geometry.isMirrored ? 0 : position) : nil
    let what = block.map { "block \($0)" } ?? "a parity"
    events.noteHealed(
      row: row, block: block,
      "healed \(what) on member \(place.slot) (member block \(place.memberBlock))")
  }
}
