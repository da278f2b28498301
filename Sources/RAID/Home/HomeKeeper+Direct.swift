import DiskFormat
import Geometry
import IO

// Requests whose whole rows go home directly: docs/upkeep.md, section 6.
extension HomeKeeper {
  /// Asks for whole rows to be written home; the request is told what came of it.
  func requestDirectWrite(_ request: DirectRequest) {
    guard !hasStopped else { return request.end(.refused) }
    directQueue.append(request)
    wake()
  }

  /// The blocks of a request that may go home directly, in whole rows; 0 when none may.
  var directBlockCountMax: Int {
    parts.mayWriteDirectly ? DirectRound.blockCountMax(parts) : 0
  }

  /// Takes those that wait home, as many as one round takes.
  func writeDirect() async throws(ArrayError) {
    let taken = directQueue.take(blockCountMax: DirectRound.blockCountMax(parts))
    // Whoever has not been told that it is home takes the log.
    defer { for request in taken { request.end(.refused) } }
    guard parts.mayWriteDirectly, let round = makeDirectRound() else { return }
    defer { round.letGo() }
    try await settleBefore(taken)
    let requests = taken.filter(isAllHome)
    guard !requests.isEmpty else { return }
    try await round.prepare(requests)
    if parts.options.plants(.directHomeBeforeIntent) {
      round.begin()
      let (group, _) = await round.write()
      try await parts.expelFailed(group)
    }
    guard let sequence = try await parts.log.tryAppend(direct: round.intents) else { return }
    settlingPins.append(sequence)
    guard parts.mayWriteDirectly else { return }
    try await writeHome(round, intentSequence: sequence)
  }

  /// A row is not written again before its table page is durable, nor its page's trim (rule D1).
  private func settleBefore(_ requests: [DirectRequest]) async throws(ArrayError) {
    var pages: Set<UInt64> = []
    var isSettling = false
    for request in requests {
      let rows = parts.geometry.rows(of: request.run)
      isSettling = isSettling || rows.contains { settlingRows.contains($0) }
      let last = parts.placement.page(ofRow: rows.upperBound - 1)
      pages.formUnion(parts.placement.page(ofRow: rows.lowerBound)...last)
    }
    if pages.contains(where: { parts.index.trimmedPages[$0] != nil }) { try await applyTrims() }
    if isSettling || trimmedPages.contains(where: { pages.contains($0) }) { try await checkpoint() }
  }

  /// Whether home, and the table durably, have everything that the log has of a request's blocks: only
  /// then may a recovery take whatever the log has of before its intent for replaced (rule L4).
  ///
  /// As long as the request is held, nobody adds to that.
  private func isAllHome(_ request: DirectRequest) -> Bool {
    if parts.options.plants(.directOvertakesLogged) { return true }
    let rows = parts.geometry.rows(of: request.run)
    let pages =
      parts.placement.page(
        ofRow: rows.lowerBound)...parts.placement.page(
        ofRow: rows.upperBound - 1)
    return pages.allSatisfy { parts.index.trimmedPages[$0] == nil }
      && (request.run.firstBlock..<request.run.endBlock).allSatisfy { parts.index[$0] == nil }
  }

  private func writeHome(
    _ round: DirectRound<M, D>, intentSequence: UInt64
  ) async throws(ArrayError) {
    round.begin()
    let rows = round.rows
    busyRows = Set(rows)
    defer { endBusy() }
    parts.directSync.beginRound()
    defer { parts.directSync.endRound() }
    let (group, slots) = await round.write()
    let hasFailed = !group.failures.isEmpty
    if hasFailed, parts.options.plants(.failedDirectAcknowledged) { round.acknowledge() }
    try await parts.expelFailed(group)
    // Whoever hangs is out, durably, before anything counts without it (rule T6).
    await parts.log.settleMembership()
    try parts.log.checkRunning()
    let isWhole = !hasFailed && !parts.hasIncompleteMembers
    if !isWhole {
      // Without that member what is torn could not be told from what is there (rule D3).
      try await parts.synchronize(slots)
    }
    round.finish()
    parts.directSync.noteWritten(slots)
    settlingRows.formUnion(rows)
    // What was logged before goes on waiting for its time.
    if parts.index.isEmpty { pendingSinceNanoseconds = parts.machine.nowNanoseconds }
    if !isWhole { try await checkpoint() }
    round.acknowledge()
  }

  private func makeDirectRound() -> DirectRound<M, D>? {
    if let directRound, !directRound.isSpent { return directRound }
    directRound = DirectRound(parts)
    return directRound
  }
}
