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
    let requests = directQueue.take(blockCountMax: DirectRound.blockCountMax(parts))
    // Whoever has not been told that it is home takes the log.
    defer { for request in requests { request.end(.refused) } }
    guard parts.mayWriteDirectly, let round = makeDirectRound() else { return }
    defer {
      round.letGo()
      parts.directRows = []
    }
    try await settleBefore(requests)
    try await round.prepare(requests)
    parts.directRows = requests.map { parts.geometry.rows(of: $0.run) }
    if parts.options.plants(.directHomeBeforeIntent) {
      round.begin(intentSequence: 0)
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

  private func writeHome(
    _ round: DirectRound<M, D>, intentSequence: UInt64
  ) async throws(ArrayError) {
    round.begin(intentSequence: intentSequence)
    let rows = round.rows
    guard !rows.isEmpty else { return }
    if parts.options.plants(.directUnpinsSuperseded) {
      settlingPins.removeAll { $0 == intentSequence }
      for pin in round.endSuperseded() { parts.log.unpin(pin) }
      try await checkpoint()
      settlingPins.append(intentSequence)
    }
    busyRows = Set(rows)
    defer { endBusy() }
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
    settlingPins += round.finish()
    parts.directSync.noteWritten(slots)
    settlingRows.formUnion(rows)
    pendingSinceNanoseconds = parts.machine.nowNanoseconds
    if !isWhole { try await checkpoint() }
    round.acknowledge()
  }

  private func makeDirectRound() -> DirectRound<M, D>? {
    if let directRound, !directRound.isSpent { return directRound }
    directRound = DirectRound(parts)
    return directRound
  }
}
