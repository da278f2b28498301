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
  /// - Parameters:
  ///   - excluded: members not to be asked.
  ///   - wanted: where only this position matters, reading stops short of what it does not need.
  /// - Returns: an image to be given back to `rowImages`.
  func loadRow(
    _ row: UInt64, excluding excluded: SlotSet = SlotSet()
  ) async throws(ArrayError) -> RowImage {
    try await loadPage(ofRow: row)
    let image = try rowImages.take()
    let readable = readableSlots.subtracting(excluded)
    let group = members.makeGroup()
    for position in 0..<geometry.width {
      let entry = table.entry(row: row, position: position) ?? .neverWritten
      image.entries[position] = entry
      guard entry.state == .written else {
        image.parts[position] = .zeros
        continue
      }
      let place = geometry.place(ofRow: row, position: position)
      guard readable.contains(place.slot) else {
        image.parts[position] = .absent
        continue
      }
      image.parts[position] = .good
      members.read(
        place.slot, atBytes: layout.dataOffset + place.memberBlock * 4096,
        into: image.buffer(position), keeping: image.memory, tag: position, group)
    }
    await group.wait()
    for failure in group.failures {
      image.parts[failure.tag] = failure.error == .absent ? .absent : .bad
      await noteReadFailure(failure.slot, failure.error)
    }
    members.giveBack(group)
    verify(image, row: row)
    _ = image.solve(geometry) { position in self.plainChecksum(image, row: row, position) }
    return image
  }

  /// Marks the blocks that do not match their entries as bad.
  private func verify(_ image: RowImage, row: UInt64) {
    for position in 0..<geometry.width where image.parts[position] == .good {
      guard image.entries[position].state == .written else { continue }
      let place = geometry.place(ofRow: row, position: position)
      let found = CRC32C.checksum(image.buffer(position).bytes) ^ mask(place)
      guard found != image.entries[position].checksum else { continue }
      image.parts[position] = .bad
      members.noteChecksumError(place.slot)
    }
  }

  /// What a written block's CRC32C must be, without the mask.
  private func plainChecksum(_ image: RowImage, row: UInt64, _ position: Int) -> UInt32? {
    guard image.entries[position].state == .written else { return nil }
    return image.entries[position].checksum ^ mask(geometry.place(ofRow: row, position: position))
  }

  /// A member that did not answer in time is put out; one that failed a read is not.
  func noteReadFailure(_ slot: Int, _ error: MemberError) async {
    switch error {
    case .timedOut: try? await keeper.expel(slot, .timedOut)
    case .disk(let cause):
      if cause.isDisconnection { try? await keeper.expel(slot, .disconnected) }
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
    guard let logReader else { preconditionFailure("nothing was left in the log") }
    guard await logReader.readPayload(batchSequence, payloadIndex, into: target),
      CRC32C.checksum(target.bytes) == checksum
    else {
      throw .unreadable(block: block)
    }
  }
}
