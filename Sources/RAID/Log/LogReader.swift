package import DiskFormat
package import Geometry
package import IO

/// Reads the log of an array that is being opened (docs/array.md section 5, rule L2).
package final class LogReader<M: Machine, D: Disk> {
  let members: MemberSet<M, D>
  let membership: any MembershipKeeper
  let arrayID: Identifier
  let layout: MemberLayout
  let options: ArrayOptions
  /// What batches must fit, where it is known.
  let geometry: StripeGeometry?
  var start = LogStart.empty(slots: SlotSet())
  var windows: [LogWindow] = []
  /// What follows is read while what is there is looked at: no longer when the end is looked for.
  private var readsAhead = true
  private var wants: [(window: LogWindow, offset: UInt64, count: Int)] = []

  package init(
    members: MemberSet<M, D>, membership: any MembershipKeeper, arrayID: Identifier,
    layout: MemberLayout, options: ArrayOptions, geometry: StripeGeometry? = nil
  ) {
    self.geometry = geometry
    self.members = members
    self.membership = membership
    self.arrayID = arrayID
    self.layout = layout
    self.options = options
  }

  /// Follows the log from the checkpoint to its end.
  ///
  /// - Throws: `damaged` when a batch that was durable has no good copy.
  package func read(_ start: LogStart) async throws(LogReadError) -> RecoveredLog<M, D> {
    self.start = start
    readsAhead = true
    windows = []
    for member in start.members {
      guard
        let window = LogWindow(
          member, regionBytes: layout.logByteCount, windowCount: start.members.count)
      else { throw .array(.outOfMemory) }
      windows.append(window)
    }
    let recovered = RecoveredLog(
      members: members, membership: membership, layout: layout, options: options, start: start)
    for window in windows { await readHeader(window, at: 0) { window.atStart = $0 } }
    for window in windows { await passCheckpoint(window) }
    while let found = await findNext(recovered) {
      recovered.add(found)
      for copy in found.batch.header.copies {
        for window in windows where window.slot == copy.slot {
          window.cursor = copy.offsetBytes + UInt64(found.batch.byteCount)
        }
      }
    }
    readsAhead = false
    for window in windows { await finishAhead(window) }
    try await judgeEnd(recovered)
    recovered.heads = windows.map { ($0.slot, $0.cursor) }
    windows = []
    return recovered
  }

  /// Passes the batches between this member's checkpoint and the array's.
  ///
  /// Their space is not reused before all members have the checkpoint, so they are there.
  private func passCheckpoint(_ window: LogWindow) async {
    var last = window.checkpointSequence
    while last < start.checkpointSequence {
      await look([window])
      let next = [window.atCursor.batch, window.atStart.batch].compactMap(\.self)
        .first { $0.header.sequence > last && $0.header.sequence <= start.checkpointSequence }
      guard let next, let place = next.header.copies.first(where: { $0.slot == window.slot })
      else { return }
      last = next.header.sequence
      window.cursor = place.offsetBytes + UInt64(next.byteCount)
    }
  }

  // MARK: Following

  /// The next batch, if it has a good copy.
  private func findNext(_ recovered: RecoveredLog<M, D>) async -> RecoveredBatch? {
    await look(windows)
    let sequence = recovered.endSequence + 1
    var tried: [LogBatch] = []
    for window in windows {
      for batch in window.candidates where isNext(batch, sequence, recovered) {
        if !tried.contains(where: { $0.chain == batch.chain }) { tried.append(batch) }
      }
    }
    tried.sort { $0.header.epoch > $1.header.epoch }
    for batch in tried {
      let found = await verifyCopies(batch)
      if !found.goodSlots.isEmpty { return found }
      recovered.unreadable = batch
    }
    return nil
  }

  private func isNext(
    _ batch: LogBatch, _ sequence: UInt64, _ recovered: RecoveredLog<M, D>
  ) -> Bool {
    batch.header.sequence == sequence && batch.header.previousChain == recovered.endChain
      && (sequence < start.epochFirstSequence || batch.header.epoch >= start.epoch)
  }

  /// Reads every copy on a current member.
  private func verifyCopies(_ batch: LogBatch) async -> RecoveredBatch {
    var found = RecoveredBatch(batch: batch, goodSlots: SlotSet(), badSlots: SlotSet())
    wants.removeAll(keepingCapacity: true)
    for copy in batch.header.copies {
      guard let window = windows.first(where: { $0.slot == copy.slot }) else { continue }
      if window.isPossible(copy.offsetBytes, batch.byteCount) {
        wants.append((window, copy.offsetBytes, batch.byteCount))
      } else {
        found.badSlots.insert(copy.slot)
      }
    }
    await fetch()
    for want in wants {
      if isGood(batch, want.window, want.offset) {
        found.goodSlots.insert(want.window.slot)
      } else {
        found.badSlots.insert(want.window.slot)
      }
    }
    return found
  }

  private func isGood(_ batch: LogBatch, _ window: LogWindow, _ offset: UInt64) -> Bool {
    guard window.contains(offset, batch.byteCount) else { return false }
    let isDecoded = window.cursor == offset && window.atCursor.batch?.chain == batch.chain
    guard isDecoded || decode(window, offset)?.chain == batch.chain else { return false }
    let payload = window.view(
      offset + UInt64(batch.headerByteCount), batch.payloadBlockCount * 4096)
    return options.plants(.tornBatchAccepted) || batch.isPayloadIntact(payload)
  }

  // MARK: Headers

  /// Looks for a header at the cursor of each window.
  private func look(_ windows: [LogWindow]) async {
    wants.removeAll(keepingCapacity: true)
    for window in windows {
      if case .unknown = window.atCursor {
        guard window.isPossible(window.cursor, 4096) else {
          window.atCursor = .none
          continue
        }
        wants.append((window, window.cursor, 4096))
      }
    }
    guard !wants.isEmpty else { return }
    await fetch()
    for window in windows {
      guard case .unknown = window.atCursor else { continue }
      await readHeader(window, at: window.cursor) { window.atCursor = $0 }
    }
  }

  func readHeader(
    _ window: LogWindow, at offset: UInt64, _ found: (LogWindow.Header) -> Void
  ) async {
    let batch = await header(window, at: offset)
    found(batch.map { .found($0) } ?? .none)
  }

  /// The header at an offset, if a good one is there.
  func header(_ window: LogWindow, at offset: UInt64) async -> LogBatch? {
    guard await fetch(window, offset, 4096),
      let sizes = sizes(window.view(offset, 4096)),
      window.isPossible(offset, sizes.headerByteCount + sizes.payloadBlockCount * 4096),
      await fetch(window, offset, sizes.headerByteCount)
    else { return nil }
    return decode(window, offset)
  }

  private func sizes(
    _ firstBlock: IOBuffer
  ) -> (headerByteCount: Int, payloadBlockCount: Int)? {
    do throws(FormatError) {
      return try LogBatch.sizes(firstBlock, arrayID: arrayID)
    } catch {
      return nil
    }
  }

  private func decode(_ window: LogWindow, _ offset: UInt64) -> LogBatch? {
    guard window.contains(offset, 4096), let sizes = sizes(window.view(offset, 4096)),
      window.contains(offset, sizes.headerByteCount)
    else { return nil }
    do throws(FormatError) {
      let batch = try LogBatch.decode(
        window.view(offset, sizes.headerByteCount), arrayID: arrayID)
      return isPossible(batch) ? batch : nil
    } catch {
      return nil
    }
  }

  /// Whether a batch can be one of this array: none of its numbers leads outside.
  private func isPossible(_ batch: LogBatch) -> Bool {
    let size = UInt64(batch.byteCount)
    let region = layout.logByteCount
    guard batch.header.sequence < 1 << 63, batch.header.clientSequence < 1 << 63,
      batch.header.copies.allSatisfy({
        $0.slot < members.count && size <= region && $0.offsetBytes <= region - size
      })
    else { return false }
    guard let geometry else { return true }
    return batch.records.allSatisfy { record in
      switch record {
      case .write(let run, _, _, _), .trim(let run, _):
        run.blockCount <= geometry.blockCount
          && run.firstBlock <= geometry.blockCount - run.blockCount
      case .intent(let intent):
        intent.row < geometry.rowCount && intent.blocks.count == geometry.dataCount
          && (intent.paritySectorChecksums.isEmpty
            || intent.paritySectorChecksums.count == 8 * geometry.parityCount)
      case .direct(let intent):
        intent.run.blockCount <= geometry.blockCount
          && intent.run.firstBlock <= geometry.blockCount - intent.run.blockCount
          && geometry.isWholeRows(intent.run)
      case .position(let position): position.number < 1 << 63
      }
    }
  }

  // MARK: Reading

  /// Brings a range into its window.
  private func fetch(_ window: LogWindow, _ offset: UInt64, _ count: Int) async -> Bool {
    guard window.isPossible(offset, count) else { return false }
    if window.contains(offset, count) { return true }
    wants.removeAll(keepingCapacity: true)
    wants.append((window, offset, count))
    await fetch()
    return window.contains(offset, count)
  }

  /// Brings all of `wants` into their windows, the members side by side.
  private func fetch() async {
    for want in wants where !want.window.contains(want.offset, want.count) {
      await finishAhead(want.window)
    }
    let group = members.makeGroup()
    var asked: [(window: LogWindow, count: Int)] = []
    for want in wants where !want.window.contains(want.offset, want.count) {
      guard let gap = want.window.slide(to: want.offset, want.count) else { continue }
      members.read(
        want.window.slot, atBytes: layout.logOffset + gap.offset, into: gap.buffer,
        keeping: want.window.memory, group, tag: asked.count)
      asked.append((want.window, gap.buffer.byteCount))
    }
    if !asked.isEmpty { await group.wait() }
    for (index, (window, count)) in asked.enumerated()
    where !group.failures.contains(where: { $0.tag == index }) {
      window.fill(count)
    }
    members.release(group)
    for want in wants where !want.window.contains(want.offset, want.count) {
      await readExactly(want.window, want.offset, want.count)
    }
    if readsAhead { for window in windows { beginAhead(window) } }
  }

  /// Reads on behind what a window has, if that is nearly used up; nobody waits.
  private func beginAhead(_ window: LogWindow) {
    var first = window.cursor
    for want in wants where want.window === window { first = min(first, want.offset) }
    guard let gap = window.gapAhead(keepingFrom: first) else { return }
    let group = members.makeGroup()
    members.read(
      window.slot, atBytes: layout.logOffset + gap.offset, into: gap.buffer,
      keeping: window.memory, group)
    window.beginAhead(group, gap.buffer.byteCount)
  }

  private func finishAhead(_ window: LogWindow) async {
    guard let (group, byteCount) = window.ahead else { return }
    await group.wait()
    if group.failures.isEmpty { window.fill(byteCount) } else { window.isPoorlyReadable = true }
    window.endAhead()
    members.release(group)
  }

  /// Where a long read failed: what is needed may still be readable.
  private func readExactly(_ window: LogWindow, _ offset: UInt64, _ count: Int) async {
    window.forget()
    guard let gap = window.slide(to: offset, count) else { return }
    let group = members.makeGroup()
    members.read(
      window.slot, atBytes: layout.logOffset + offset, into: gap.buffer.prefix(count),
      keeping: window.memory, group)
    await group.wait()
    if group.failures.isEmpty { window.fill(count) }
    members.release(group)
  }
}
